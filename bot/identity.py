"""What an admin does about the bot's device and identity: look, sign, recover, begin anew, trust a colleague."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bot.app import OnWait, Parts, alone, login_of, opened, persistently, start_keys
from bot.domain.errors import Fatal, Transient
from bot.domain.ids import UserId
from bot.domain.secrets import Purpose, derive
from bot.matrix.account import new_device, remove_other_devices
from bot.matrix.e2ee.own_device import DeviceStatus
from bot.matrix.e2ee.recovery import opened_secrets
from bot.matrix.e2ee.secret_storage import SecretStorage, as_words, from_words
from bot.matrix.transport import Transport
from bot.resources import resource_dir
from bot.settings import Settings
from bot.store import arrivals, facts
from bot.store.database import Database, utc_now


async def device_status(settings: Settings) -> DeviceStatus:
    """Look at the device and its signatures without changing anything; the bot may be running.

    Raises:
        Fatal: there is nothing to look at yet.
    """
    if not (settings.storage.folder / "keys.db").exists():
        raise Fatal("The bot has not been started with this folder yet, so it has no device. Run `botschaft run`.")
    async with opened(settings, looks_only=True) as parts:
        try:
            return await parts.keys.status()
        except Transient as error:
            _away(settings)(error)
            raise


def _away(settings: Settings) -> OnWait:
    """Return what ends a command before its first step: whoever waits at a shell reads a sentence instead."""

    def end(error: Transient) -> None:
        raise Fatal(f"{settings.homeserver.url} does not answer: {error}. Nothing was changed.") from error

    return end


@asynccontextmanager
async def _answering(settings: Settings) -> AsyncIterator[Parts]:
    """Open everything, if the server answers now; the steps that follow insist, so that nothing is left half done.

    Raises:
        Fatal: it does not.
    """
    async with opened(settings, on_wait=_away(settings)) as parts:
        await persistently(lambda: parts.transport.call("GET", "/_matrix/client/versions"), _away(settings))
        yield parts


async def sign_device(settings: Settings, *, new_key: bool) -> str | None:
    """See to it that the bot's device is signed and can be recovered; returns the recovery key if one was made.

    Raises:
        Fatal: with the sentence for the admin.
    """
    async with _answering(settings) as parts:
        await start_keys(parts)
        if await persistently(parts.keys.has_recovery_key) and not new_key:
            return None
        return as_words(await persistently(parts.keys.make_recovery_key))


@dataclass(frozen=True, slots=True)
class Recovered:
    """What `recover` brought back."""

    device_id: str
    sessions: int
    removed_devices: int
    keeps_customers: bool


async def recover(settings: Settings, words: str) -> Recovered:
    """Make a new device with the identity and the history of the account. Interrupted, it goes on where it was.

    Raises:
        Fatal: with the sentence for the admin; before the recovery key has opened, nothing is changed.
    """
    key = from_words(words)
    folder = settings.storage.folder
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with alone(folder):
        await _take_new_device(settings, key)
    async with opened(settings) as parts:
        await persistently(lambda: parts.keys.adopt_secrets(key))
        await persistently(parts.keys.start)
        sessions = await persistently(parts.keys.restore)
        device = str(await facts.get(parts.database, facts.DEVICE_ID))
        removed = await persistently(lambda: remove_other_devices(parts.transport, login_of(settings), device))
        keeps = await facts.get(parts.database, facts.ADOPTING) is None
        async with parts.database.transaction() as tx:
            await facts.remove(tx, facts.RECOVERING)
    return Recovered(device, sessions, removed, keeps)


async def _take_new_device(settings: Settings, key: bytes) -> None:
    """Log in anew, try the recovery key, and only then let the folder forget its old device."""
    folder = settings.storage.folder
    database_key = derive(settings.storage.master_secret(), Purpose.DATABASE)
    database = await Database.open(folder / "botschaft.db", key=database_key, migrations=resource_dir("migrations"))
    transport = Transport(settings.homeserver.url, timeout_s=settings.homeserver.request_timeout_s)
    try:
        if await facts.get(database, facts.RECOVERING):
            return
        device, token = await persistently(lambda: new_device(transport, login_of(settings)), _away(settings))
        try:
            storage = SecretStorage(transport, settings.bot.user_id)
            await persistently(lambda: opened_secrets(storage, key))
        except Fatal:
            await transport.call("POST", "/_matrix/client/v3/logout", {}, repeats=False)
            raise
        _set_aside(folder)
        async with database.transaction() as tx:
            if await facts.get(tx, facts.SYNC_TOKEN) is None:
                await facts.put(tx, facts.ADOPTING, "1")
            await facts.put(tx, facts.DEVICE_ID, device)
            await facts.put(tx, facts.ACCESS_TOKEN, token)
            await facts.put(tx, facts.RECOVERING, "1")
            await arrivals.doubt_all(tx)
    finally:
        await transport.close()
        await database.close()


def _set_aside(folder: Path) -> None:
    """Keep an old key store under another name; nothing ever reads it again by itself."""
    for name in ("keys.db", "keys.db-wal", "keys.db-shm"):
        if (folder / name).exists():
            (folder / name).rename(folder / f"old-{utc_now():%Y%m%d-%H%M%S}-{name}")


async def reset_identity(settings: Settings) -> str:
    """Give the account a new identity, signed device and recovery key; returns the recovery key.

    Raises:
        Fatal: with the sentence for the admin.
    """
    password = settings.bot.secret_password()
    if not password:
        raise Fatal("A new identity needs the bot's password. Put it into the file that bot.password_file names.")
    async with _answering(settings) as parts:
        await persistently(lambda: parts.keys.replace_identity(password))
        await persistently(parts.keys.begin_backup_anew)
        await persistently(parts.keys.start)
        return as_words(await persistently(parts.keys.make_recovery_key))


async def trust(settings: Settings, user: str) -> bool:
    """Confirm the identity that a member of staff has now; False if they have none.

    Raises:
        Fatal: the bot is running, or this is nobody of the team.
    """
    async with _answering(settings) as parts:
        if user not in parts.around.rules.staff:
            raise Fatal(f"{user} does not belong to the team. Nothing was changed.")
        return await persistently(lambda: parts.keys.confirm_identity(UserId(user)))
