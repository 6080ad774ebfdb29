"""What stands open while the process lives: opened and wired in one order, closed in the other."""

import fcntl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from bot.app.staff_list import list_staff
from bot.app.values import login_of, policy_of, rules_of, texts_of
from bot.doctor import examine
from bot.doctor.patient import Patient
from bot.domain.errors import Fatal, Refused, Transient
from bot.domain.ids import RoomId, UserId
from bot.domain.purpose import Privacy
from bot.domain.secrets import Purpose, derive
from bot.flows import staffing
from bot.flows.bookkeeping import Bookkeeper
from bot.flows.insisting import insist
from bot.flows.surroundings import Ledger, Rules, Surroundings
from bot.matrix.account import log_in
from bot.matrix.admin import Admin
from bot.matrix.e2ee.keys import Keys
from bot.matrix.messenger import NioMessenger
from bot.matrix.pace import Pace
from bot.matrix.transport import Transport
from bot.resources import resource_dir
from bot.settings import Settings
from bot.store import staff
from bot.store.database import Clock, Database, utc_now

T = TypeVar("T")
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


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the lock file of a data folder; two processes on one key store would destroy it."""
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Fatal(f"Another Botschaft is already running on the folder {folder.name}. Stop it first.") from error
        yield


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


def admin_of(settings: Settings) -> Admin | None:
    """Return the server's administrator, if we were given their token; nothing is asked yet."""
    token = settings.homeserver.secret_admin_token()
    if token is None:
        return None
    return Admin(settings.homeserver.admin_address, token, timeout_s=settings.homeserver.request_timeout_s)


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
        texts=texts_of(settings),
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


async def persistently(attempt: Callable[[], Awaitable[T]], on_wait: OnWait | None = None) -> T:
    """Try until the server answers; what it refuses is for the admin to read."""
    try:
        return await insist(attempt, on_wait=on_wait)
    except Refused as error:
        raise Fatal(f"The server refused a step of the start: {error} ({error.code or error.status}).") from error
