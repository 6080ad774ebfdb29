"""One run of the bot: everything that must be right before the first message, in its order."""

import asyncio
from collections.abc import Callable

import structlog

from bot import systemd
from bot.app.opening import OnWait, Parts, opened, persistently, stored
from bot.app.serving import Reload, until_stopped, watched
from bot.app.values import loaded_privacy, rules_of
from bot.domain.errors import Fatal, Refused
from bot.domain.ids import SessionId
from bot.domain.purpose import Privacy
from bot.flows import adopting, anchoring, house, reconciling, staffing, states, strangers, superseding, verifying
from bot.flows.intake import Batch
from bot.matrix.account import give_up_device
from bot.matrix.session import Listeners, Session
from bot.matrix.transport import quote
from bot.settings import Settings
from bot.store import facts, privacy_texts, staff
from bot.store.database import Clock, utc_now

log = structlog.get_logger()

FIRST_SYNC_S = 600.0
"""How long a server may think about all rooms of an account at once (45 s for 2,000 rooms on Synapse 1.163.2)."""


async def run(
    settings: Settings,
    *,
    ready: Callable[[], None] | None = None,
    on_wait: OnWait | None = None,
    stop: asyncio.Event | None = None,
    reload: Reload | None = None,
    now: Clock = utc_now,
) -> None:
    """Serve until cancelled, or until `stop` is set: then what is under way is finished first.

    `ready` is called when the start is over; `on_wait` hears why the first contact with the server has to wait.
    `now` is another clock, for a demo; no setting, file or environment reaches it.

    Raises:
        Fatal: with the sentence for the admin.
    """
    (settings.storage.folder / "heartbeat").unlink(missing_ok=True)
    systemd.tell("STATUS=Waiting for the Matrix server.")
    loaded = loaded_privacy(settings)
    privacy = loaded.privacy if loaded else None
    async with (
        systemd.starting() as started,
        opened(settings, on_wait=on_wait, privacy=privacy, now=now) as parts,
        watched(parts),
    ):
        systemd.tell("STATUS=Starting.")
        await _put_texts_on_record(parts)
        await start_keys(parts)
        await persistently(lambda: _show_name(parts))
        await persistently(lambda: _look_into_rooms(parts))
        await anchoring.check(parts.around)
        changes = await staff.changes(parts.database)
        parts.around.obey(staffing.in_force(rules_of(settings), changes))
        await superseding.bring_up_to_date(parts.around)
        await persistently(lambda: house.set_up(parts.around))
        await staffing.compare(parts.around, rules_of(settings))
        await states.start_clocks(parts.around)
        await strangers.deal_anew(parts.around)
        await persistently(lambda: _warn_of_loss(parts))
        if loaded is None:
            parts.bookkeeper.alarm("admin.no_controller")
        await verifying.end_forgotten(parts.around)
        if ready:
            ready()
        log.info("serving")
        started()
        systemd.tell("READY=1\nSTATUS=Serving.")
        await until_stopped(parts, stop or asyncio.Event(), reload)


async def start_keys(parts: Parts) -> None:
    """Publish our keys; a device that was made for this and cannot be used does not stay on the server."""
    try:
        await persistently(parts.keys.start)
    except Fatal:
        if not parts.keys.is_published:
            await give_up_device(parts.database, parts.transport)
        raise


async def _put_texts_on_record(parts: Parts) -> None:
    """Write down every text before anybody is shown it.

    Raises:
        Fatal: a text changed under a version that was used; nothing was written.
    """
    if parts.around.privacy is None:
        return
    async with parts.database.transaction() as tx:
        changed = await privacy_texts.register(tx, parts.around.privacy.texts.values(), parts.around.now())
        if changed:
            raise Fatal("\n".join(changed))


async def changed_texts(settings: Settings, privacy: Privacy) -> list[str]:
    """Return what stands under a version that other words were used for. Changes nothing; the bot may be running."""
    if not (settings.storage.folder / "botschaft.db").exists():
        return []
    async with stored(settings, as_it_is=True) as database:
        return await privacy_texts.changed(database, privacy.texts.values())


async def _show_name(parts: Parts) -> None:
    """Give the account the name that customers see."""
    path = f"/_matrix/client/v3/profile/{quote(parts.settings.bot.user_id)}/displayname"
    wanted = parts.settings.bot.display_name
    try:
        answer = await parts.transport.call("GET", path)
    except Refused:
        answer = {}
    if wanted and answer.get("displayname") != wanted:
        await parts.transport.call("PUT", path, {"displayname": wanted})


async def _look_into_rooms(parts: Parts) -> None:
    """After a lost disk the first sync says which rooms we have and what we did there, before anything is sent."""
    if await facts.get(parts.database, facts.ADOPTING):
        take_in = adopting.take_in
    elif await facts.get(parts.database, facts.RESTORED) and await facts.get(parts.database, facts.SYNC_TOKEN):
        take_in = reconciling.take_in
    else:
        return

    async def batch(arrived: Batch) -> None:
        await take_in(parts.around, arrived)

    async def keys(sessions: set[SessionId]) -> None:
        """Whatever waits for a key is looked at when the worker starts."""

    session = Session(
        *(parts.transport, parts.keys, parts.database, parts.around.rules.me),
        timeout_s=parts.settings.homeserver.sync_timeout_s,
        patience_s=FIRST_SYNC_S,
        receipts=True,
    )
    await session.step(Listeners(batch, keys, lambda more: None), quick=True)


async def _warn_of_loss(parts: Parts) -> None:
    """Say, once a day at most, what could not be brought back after a lost disk."""
    if parts.keys.backup_is_foreign:
        parts.bookkeeper.alarm("admin.foreign_backup")
    if not await parts.keys.has_recovery_key():
        parts.bookkeeper.alarm("admin.no_recovery_key")
