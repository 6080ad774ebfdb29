"""What goes on side by side until the process is asked to stop, and how it stops."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial

from bot import systemd
from bot.app.opening import Parts
from bot.app.values import loaded_privacy, rules_of, texts_of
from bot.domain.errors import Refused, Transient
from bot.domain.ids import RoomId, SessionId, UserId
from bot.figures import figures, is_well, readiness
from bot.flows import anchoring, identities, intake
from bot.flows.dispatch import Dispatch
from bot.flows.insisting import insist
from bot.flows.intake import Batch
from bot.flows.worker import Worker
from bot.matrix.session import Listeners, Session
from bot.reloading import Reloading, Sources
from bot.settings import Settings
from bot.web.server import Watched, serving

LAST_WORDS_S = 5.0
"""How long an orderly stop waits for what is under way; Docker kills ten seconds after it asked."""
LAST_ANCHOR_S = 2.5
"""How long a stop may then take for the last anchor of the ledger; else the next start writes it."""


@dataclass(frozen=True, slots=True)
class Reload:
    """How the admin says that the configuration changed (`asked`), and where it is read again."""

    asked: asyncio.Event
    load: Callable[[], Settings]


async def until_stopped(parts: Parts, stop: asyncio.Event, reload: Reload | None) -> None:
    """Listen and work until `stop` is set; then finish what is under way and anchor the ledger."""
    dispatch = Dispatch(parts.around)
    worker = Worker(parts.around, dispatch.handle)
    parts.bookkeeper.wake = worker.wake

    async def batch(arrived: Batch) -> None:
        worker.wake(await intake.take_in(parts.around, arrived))
        for update in arrived.rooms:
            parts.bookkeeper.was_read(update.room_id, update.read_by)

    async def keys(sessions: set[SessionId]) -> None:
        # They are said once, and the token has moved: what waits for them must hear of it.
        await insist(lambda: worker.keys_arrived(sessions))

    def catching_up(more: bool) -> None:
        dispatch.catching_up = more

    session = Session(
        parts.transport,
        parts.keys,
        parts.database,
        parts.around.rules.me,
        timeout_s=parts.settings.homeserver.sync_timeout_s,
        patience_s=parts.settings.homeserver.request_timeout_s * 2,
        receipts=parts.around.rules.read_marks,
    )
    session.heartbeat = parts.settings.storage.folder / "heartbeat"
    try:
        async with asyncio.TaskGroup() as tasks:
            listening = tasks.create_task(session.run(Listeners(batch, keys, catching_up, lambda: worker.is_busy)))
            others = (
                tasks.create_task(worker.run()),
                tasks.create_task(parts.bookkeeper.run(parts.around)),
                tasks.create_task(parts.keys.keep_safe()),
                tasks.create_task(_watch_identities(parts)),
                tasks.create_task(_follow_configuration(parts, reload)),
                tasks.create_task(systemd.answer_watchdog(lambda: session.is_moving)),
            )
            await stop.wait()
            systemd.tell("STOPPING=1\nSTATUS=Finishing what is under way.")
            listening.cancel()
            await worker.finish(LAST_WORDS_S)
            for task in others:
                task.cancel()
    except BaseExceptionGroup as group:
        raise _plain(group) from group
    finally:
        with suppress(Transient, Refused, TimeoutError):
            async with asyncio.timeout(LAST_ANCHOR_S):
                await anchoring.anchor(parts.around)


async def _follow_configuration(parts: Parts, reload: Reload | None) -> None:
    """Read the configuration again whenever the admin asks for it."""
    if reload is None:
        return

    def loaded() -> Settings:
        fresh = reload.load()
        loaded_privacy(fresh)  # it holds after a restart only, but a start must be able to use it
        return fresh

    sources = Sources(loaded, texts_of, rules_of)
    reloading = Reloading(parts.around, parts.settings, sources)
    while True:
        await reload.asked.wait()
        reload.asked.clear()
        await insist(reloading.reload)


def watched(parts: Parts) -> AbstractAsyncContextManager[object]:
    """Show health and figures, if the admin wants it."""
    settings = parts.settings
    if not settings.web.listen:
        return nullcontext()
    numbers = partial(figures, settings, parts.database, parts.keys)
    prepared = partial(readiness, settings, parts.database, parts.keys)
    return serving(settings.web.listen, Watched(numbers, partial(is_well, settings), prepared))


async def _watch_identities(parts: Parts) -> None:
    """Tell people whose identity changed, and mechanics how to sign their device."""
    keys, news = parts.keys, asyncio.Event()
    unsigned: set[tuple[str, str]] = set()
    unreached: set[tuple[str, str]] = set()
    signed: set[tuple[str, str]] = set()

    def lacks_signature(user: str, device: str) -> None:
        unsigned.add((user, device))
        news.set()

    def not_reached(room_id: str, session_id: str) -> None:
        unreached.add((room_id, session_id))
        news.set()

    def learned(users: Iterable[str]) -> None:
        signed.update((user, keys.signatures_of(user)) for user in users if user in parts.around.rules.staff)
        news.set()

    keys.on_unsigned_staff, keys.on_identities, keys.on_unreached = lacks_signature, learned, not_reached
    while True:
        for user, master_key in keys.changed_identities():
            if await identities.announce_change(parts.around, user, master_key):
                keys.identity_announced(user, master_key)
        while unsigned:
            await identities.ask_to_sign(parts.around, *_named(unsigned.pop()))
        while unreached:
            room_id, session_id = unreached.pop()
            await identities.announce_unreached(parts.around, RoomId(room_id), session_id)
        while signed:
            await identities.share_again(parts.around, *_named(signed.pop()))
        await news.wait()
        news.clear()


def _named(pair: tuple[str, str]) -> tuple[UserId, str]:
    return UserId(pair[0]), pair[1]


def _plain(error: BaseException) -> BaseException:
    """Return the one failure that matters of a group."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
