"""The composition root: the only place that knows everybody. Opens, wires, runs, and closes in the right order."""

import asyncio
import fcntl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar
from zoneinfo import ZoneInfo

import structlog

from bot import systemd
from bot.doctor import examine
from bot.doctor.patient import Patient
from bot.domain.door import Door, Gift, House
from bot.domain.errors import Fatal, Refused, Transient
from bot.domain.ids import DeskId, RoomId, SessionId, UserId
from bot.domain.purpose import Controller, Federation, Hosting, Operator, Privacy
from bot.domain.secrets import Purpose, derive
from bot.domain.texts import Texts
from bot.figures import figures, is_well, readiness
from bot.flows import (
    adopting,
    anchoring,
    consenting,
    house,
    identities,
    intake,
    reconciling,
    staffing,
    states,
    verifying,
)
from bot.flows.bookkeeping import Bookkeeper
from bot.flows.dispatch import Dispatch
from bot.flows.insisting import insist
from bot.flows.intake import Batch
from bot.flows.surroundings import Desk, Ledger, Rules, Surroundings
from bot.flows.worker import Worker
from bot.matrix.account import Login, give_up_device, log_in
from bot.matrix.admin import Admin
from bot.matrix.e2ee.keys import Keys
from bot.matrix.e2ee.trust import Policy
from bot.matrix.messenger import NioMessenger
from bot.matrix.pace import Pace
from bot.matrix.session import Listeners, Session
from bot.matrix.transport import Transport, quote
from bot.privacy.loading import Loaded, load
from bot.reloading import Reloading, Sources
from bot.resources import resource_dir
from bot.settings import Settings, load_texts
from bot.store import facts, privacy_texts, staff
from bot.store.database import Clock, Database, utc_now
from bot.web.server import Watched, serving

log = structlog.get_logger()

T = TypeVar("T")

FIRST_SYNC_S = 600.0
"""How long a server may think about all rooms of an account at once (45 s for 2,000 rooms on Synapse 1.163.2)."""
LAST_WORDS_S = 5.0
"""How long an orderly stop waits for what is under way; Docker kills ten seconds after it asked."""
LAST_ANCHOR_S = 2.5
"""How long a stop may then take for the last anchor of the ledger; else the next start writes it."""
OnWait = Callable[[Transient], None]


@dataclass(frozen=True, slots=True)
class Parts:
    """What stands open while the process lives."""

    settings: Settings
    database: Database
    transport: Transport
    keys: Keys
    around: Surroundings
    bookkeeper: Bookkeeper


@dataclass(frozen=True, slots=True)
class Reload:
    """How the admin says that the configuration changed (`asked`), and where it is read again."""

    asked: asyncio.Event
    load: Callable[[], Settings]


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
    async with opened(settings, on_wait=on_wait, privacy=privacy, now=now) as parts, _watched(parts):
        systemd.tell("STATUS=Starting.")
        await _put_texts_on_record(parts)
        await start_keys(parts)
        await persistently(lambda: _show_name(parts))
        await persistently(lambda: _look_into_rooms(parts))
        await anchoring.check(parts.around)
        changes = await staff.changes(parts.database)
        parts.around.obey(staffing.in_force(rules_of(settings), changes))
        await consenting.bring_up_to_date(parts.around)
        await persistently(lambda: house.set_up(parts.around))
        await staffing.compare(parts.around, rules_of(settings))
        await states.start_clocks(parts.around)
        await persistently(lambda: _warn_of_loss(parts))
        if loaded is None:
            parts.bookkeeper.alarm("admin.no_controller")
        await verifying.end_forgotten(parts.around)
        if ready:
            ready()
        log.info("serving")
        systemd.tell("READY=1\nSTATUS=Serving.")
        await _until_stopped(parts, stop or asyncio.Event(), reload)


async def start_keys(parts: Parts) -> None:
    """Publish our keys; a device that was made for this and cannot be used does not stay on the server."""
    try:
        await persistently(parts.keys.start)
    except Fatal:
        if not parts.keys.is_published:
            await give_up_device(parts.database, parts.transport)
        raise


async def _warn_of_loss(parts: Parts) -> None:
    """Say, once a day at most, what could not be brought back after a lost disk."""
    if parts.keys.backup_is_foreign:
        parts.bookkeeper.alarm("admin.foreign_backup")
    if not await parts.keys.has_recovery_key():
        parts.bookkeeper.alarm("admin.no_recovery_key")


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


def loaded_privacy(settings: Settings) -> Loaded | None:
    """Read purposes and privacy texts; None: who is responsible is not filled in, so nobody is shown or asked anything.

    Raises:
        PrivacyProblems: with everything that is wrong with them.
    """
    if not settings.controller.is_filled_in:
        return None
    return load(operator_of(settings), settings.privacy.folder)


def operator_of(settings: Settings) -> Operator:
    """Turn what the admin wrote about the business into plain values."""
    return Operator(
        controller=Controller(**{name: text.strip() for name, text in settings.controller.model_dump().items()}),
        hosting=Hosting(**{name: text.strip() for name, text in settings.hosting.model_dump().items()}),
        federation=Federation(settings.federation.mode),
        edition=settings.privacy.edition,
    )


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


@asynccontextmanager
async def opened(
    settings: Settings,
    *,
    looks_only: bool = False,
    on_wait: OnWait | None = None,
    privacy: Privacy | None = None,
    now: Clock = utc_now,
) -> AsyncIterator[Parts]:
    """Open everything that belongs to one data folder. `looks_only`: while somebody else may serve from it; once."""
    folder = settings.storage.folder
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with nullcontext() if looks_only else alone(folder):
        master, registrar = settings.storage.master_secret(), admin_of(settings)
        database = await Database.open(
            folder / "botschaft.db", key=derive(master, Purpose.DATABASE), migrations=resource_dir("migrations")
        )
        transport = Transport(settings.homeserver.url, timeout_s=settings.homeserver.request_timeout_s)
        try:
            device = await _logged_in(settings, database, transport, looks_only=looks_only, on_wait=on_wait)
            # Who was removed by command stays out, whatever the configuration says.
            rules = staffing.in_force(rules_of(settings), await staff.changes(database))
            keys = _keys(settings, master, device, transport, rules)
            try:
                wired = _wired(
                    *(settings, master, database, transport, keys, rules),
                    privacy=privacy,
                    registrar=registrar,
                    now=now,
                )
                yield wired
            finally:
                with suppress(Transient):  # the next start makes new sessions
                    keys.rest()
                keys.close()
        finally:
            if registrar:
                await registrar.close()
            await transport.close()
            await database.close()


def admin_of(settings: Settings) -> Admin | None:
    """Return the server's administrator, if we were given their token; nothing is asked yet."""
    token = settings.homeserver.secret_admin_token()
    if token is None:
        return None
    return Admin(settings.homeserver.admin_address, token, timeout_s=settings.homeserver.request_timeout_s)


@asynccontextmanager
async def stored(settings: Settings, *, as_it_is: bool = False) -> AsyncIterator[Database]:
    """Open the database of a data folder that exists; the bot may be serving from it. `as_it_is`: only to look.

    Raises:
        Fatal: there is none yet.
    """
    file = settings.storage.folder / "botschaft.db"
    if not file.exists():
        raise Fatal("The bot has not been started with this folder yet. Run `botschaft run`.")
    key = derive(settings.storage.master_secret(), Purpose.DATABASE)
    migrations = None if as_it_is else resource_dir("migrations")
    database = await Database.open(file, key=key, migrations=migrations)
    try:
        yield database
    finally:
        await database.close()


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the lock file of a data folder; two processes on one key store would destroy it."""
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Fatal(f"Another Botschaft is already running on the folder {folder.name}. Stop it first.") from error
        yield


async def _logged_in(
    settings: Settings, database: Database, transport: Transport, *, looks_only: bool, on_wait: OnWait | None
) -> str:
    login = login_of(settings)
    if not looks_only:
        return await persistently(lambda: log_in(database, transport, login), on_wait)
    try:
        return await log_in(database, transport, login, only_known=True)
    except Transient as error:
        raise Fatal(f"{settings.homeserver.url} does not answer: {error}. Nothing was changed.") from error


def login_of(settings: Settings) -> Login:
    """Return how to get into the bot's account."""
    return Login(UserId(settings.bot.user_id), settings.bot.secret_password(), settings.bot.device_name)


def _keys(settings: Settings, master: bytes, device: str, transport: Transport, rules: Rules) -> Keys:
    return Keys.open(
        settings.storage.folder / "keys.db",
        database_key=derive(master, Purpose.KEY_STORE),
        pickle_key=derive(master, Purpose.PICKLE),
        user_id=UserId(settings.bot.user_id),
        device_id=device,
        transport=transport,
        policy=policy_of(rules),
    )


def policy_of(rules: Rules) -> Policy:
    """Return whose devices must be signed."""
    return Policy(rules.staff, rules.strict_customers)


def _wired(
    settings: Settings,
    master: bytes,
    database: Database,
    transport: Transport,
    keys: Keys,
    rules: Rules,
    *,
    privacy: Privacy | None,
    registrar: Admin | None,
    now: Clock,
) -> Parts:
    bookkeeper, pace = Bookkeeper(), Pace()
    pace.on_slow = lambda limit: bookkeeper.alarm("admin.slowed_down", limit=str(limit), user=settings.bot.user_id)
    keys.alarm = bookkeeper.alarm
    messenger = NioMessenger(transport, keys, database, UserId(settings.bot.user_id), pace)
    keys.follow_members(lambda room_id: messenger.readers(RoomId(room_id)))

    def follow(rules: Rules) -> None:
        keys.obey(policy_of(rules))
        list_staff(settings, rules, bookkeeper)

    around = Surroundings(
        database=database,
        messenger=messenger,
        texts=_texts(settings),
        rules=rules,
        key=derive(master, Purpose.TRANSACTION_IDS),
        now=now,
        bookkeeping=bookkeeper,
        suppression_key=derive(master, Purpose.SUPPRESSION),
        ledger=Ledger(UserId(settings.bot.user_id), derive(master, Purpose.LEDGER_SIGNING)),
        on_rules=follow,
        privacy=privacy,
        registrar=registrar,
    )
    around.examine = lambda: examine(Patient(settings, around.rules, transport, now, database, keys))
    return Parts(settings, database, transport, keys, around, bookkeeper)


def list_staff(settings: Settings, rules: Rules, bookkeeper: Bookkeeper) -> None:
    """Write who works here for the homeserver's module, in one piece; without the file people just tap “Accept”."""
    if settings.staff.file is None:
        return
    try:
        _write_whole(settings.staff.file, "".join(f"{user}\n" for user in sorted(rules.staff)))
    except OSError as error:
        log.warning("staff_not_listed", reason=type(error).__name__)
        bookkeeper.alarm("admin.staff_file", reason=type(error).__name__)


def _write_whole(file: Path, text: str) -> None:
    """Replace a file that others may read, so that whoever reads it sees all of the old or all of the new text."""
    draft = file.with_name(f".{file.name}.new")
    draft.write_text(text, encoding="utf-8")
    draft.chmod(0o644)
    draft.replace(file)


def rules_of(settings: Settings) -> Rules:
    """Turn what the admin wrote into plain values."""
    desks = tuple(
        Desk(DeskId(desk.id), desk.name, tuple(UserId(member) for member in desk.members), tuple(desk.keywords))
        for desk in settings.desks
    )
    return Rules(
        me=UserId(settings.bot.user_id),
        business=settings.business.name,
        language=settings.business.language,
        desks=desks,
        admins=tuple(UserId(admin) for admin in settings.admins),
        ignored=frozenset(UserId(user) for user in settings.customers.ignored),
        first_case_number=settings.cases.first_number,
        reopen_window=timedelta(days=settings.cases.reopen_days),
        rename_interval=timedelta(seconds=settings.cases.rename_interval_s),
        automatic_per_hour=settings.customers.automatic_answers_per_hour,
        messages_per_minute=settings.customers.messages_per_minute,
        burst=settings.customers.burst,
        unreadable_notice_after=timedelta(seconds=settings.customers.unreadable_notice_after_s),
        door=door_of(settings),
        largest_open_file=settings.customers.largest_open_file_mib * 1024 * 1024,
        read_marks=settings.cases.read_marks,
        reask_after=timedelta(days=settings.consent.reask_after_days),
        question_lasts=timedelta(days=settings.consent.question_days),
        news_interval=timedelta(seconds=settings.consent.news_interval_s),
        hours=settings.hours.hours(),
        strict_customers=settings.customers.unsigned_devices == "refuse",
        zone=ZoneInfo(settings.hours.time_zone),
        escalation=tuple(timedelta(minutes=minutes) for minutes in settings.cases.escalation_minutes),
        close_after=timedelta(days=settings.cases.close_after_days),
        archive_after=timedelta(days=settings.cases.archive_after_days),
    )


def door_of(settings: Settings) -> Door:
    """Turn what the admin wrote about new customers into plain values."""
    chosen, bot = settings.door, UserId(settings.bot.user_id)
    provider = chosen.server or bot.partition(":")[2]
    return Door(
        House(settings.business.name, bot, provider, chosen.app_link, chosen.web_client),
        gives=Gift(chosen.gives),
        token_lasts=timedelta(days=chosen.token_days),
        slip_lasts=timedelta(hours=chosen.slip_hours),
        per_hour=chosen.per_hour,
    )


async def _until_stopped(parts: Parts, stop: asyncio.Event, reload: Reload | None) -> None:
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

    sources = Sources(loaded, _texts, rules_of)
    reloading = Reloading(parts.around, parts.settings, sources)
    while True:
        await reload.asked.wait()
        reload.asked.clear()
        await insist(reloading.reload)


def _texts(settings: Settings) -> Texts:
    return load_texts(resource_dir("config") / "texts", settings.business.tone)


def _watched(parts: Parts) -> AbstractAsyncContextManager[object]:
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


async def persistently(attempt: Callable[[], Awaitable[T]], on_wait: OnWait | None = None) -> T:
    """Try until the server answers; what it refuses is for the admin to read."""
    try:
        return await insist(attempt, on_wait=on_wait)
    except Refused as error:
        raise Fatal(f"The server refused a step of the start: {error} ({error.code or error.status}).") from error


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
