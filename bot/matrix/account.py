"""The bot's account on its homeserver: one device, chosen at random, whose id is stored before it is used."""

import secrets
from dataclasses import dataclass

from bot.domain.errors import Fatal, Refused
from bot.domain.ids import UserId
from bot.matrix.transport import Transport
from bot.store import facts
from bot.store.database import Database

PREFIX = "BOTSCHAFT"
"""How our device ids begin, so that those of earlier installations can be told from a person's."""


@dataclass(frozen=True, slots=True)
class Login:
    """How to get into the account."""

    user: UserId
    password: str | None
    device_name: str


async def log_in(database: Database, transport: Transport, login: Login, *, only_known: bool = False) -> str:
    """Return the device id of this installation; log in if there is no access token yet, unless `only_known`.

    Raises:
        Fatal: no password, a wrong one, or a token that belongs to somebody else.
    """
    token = await facts.get(database, facts.ACCESS_TOKEN)
    if token is None and only_known:
        raise Fatal("This folder holds no access token: the bot was not started with it, or its database was lost.")
    device = await _device(database)
    if token is None:
        token = await _new_token(transport, login, device)
        async with database.transaction() as tx:
            await facts.put(tx, facts.ACCESS_TOKEN, token)
    transport.access_token = token
    await _check_owner(transport, login.user, device)
    return device


async def give_up_device(database: Database, transport: Transport) -> None:
    """Log out a device that was made a moment ago and must not stay, and forget it."""
    await transport.call("POST", "/_matrix/client/v3/logout", {}, repeats=False)
    async with database.transaction() as tx:
        await facts.remove(tx, facts.ACCESS_TOKEN)
        await facts.remove(tx, facts.DEVICE_ID)


async def new_device(transport: Transport, login: Login) -> tuple[str, str]:
    """Log in as a new device beside what the folder knows; returns its id and its access token.

    Raises:
        Fatal: no password, or a wrong one.
    """
    device = _random_device()
    transport.access_token = await _new_token(transport, login, device)
    return device, transport.access_token


async def remove_other_devices(transport: Transport, login: Login, keep: str) -> int:
    """Log out every device of the account that an installation of ours made, but this one; return how many."""
    answer = await transport.call("GET", "/_matrix/client/v3/devices")
    names = [str(device.get("device_id")) for device in answer.get("devices") or [] if isinstance(device, dict)]
    ours = [name for name in names if name.startswith(PREFIX) and name != keep]
    if ours:
        user = {"type": "m.id.user", "user": login.user}
        auth = {"type": "m.login.password", "identifier": user, "password": login.password}
        await transport.call("POST", "/_matrix/client/v3/delete_devices", {"devices": ours, "auth": auth})
    return len(ours)


def _random_device() -> str:
    return f"{PREFIX}{secrets.token_hex(6).upper()}"


async def _device(database: Database) -> str:
    known = await facts.get(database, facts.DEVICE_ID)
    if known:
        return known
    device = _random_device()
    async with database.transaction() as tx:
        await facts.put(tx, facts.DEVICE_ID, device)
    return device


async def _new_token(transport: Transport, login: Login, device: str) -> str:
    if not login.password:
        raise Fatal("The bot has no password. Put it into the file that bot.password_file names, then start again.")
    body = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": login.user},
        "password": login.password,
        "device_id": device,
        "initial_device_display_name": login.device_name,
    }
    try:
        answer = await transport.call("POST", "/_matrix/client/v3/login", body, token=False)
    except Refused as error:
        raise Fatal(
            f"The server did not accept the bot's user name and password ({error.code or error.status}). "
            "Check bot.user_id and the file that bot.password_file names."
        ) from error
    return str(answer["access_token"])


async def _check_owner(transport: Transport, user: UserId, device: str) -> None:
    answer = await transport.call("GET", "/_matrix/client/v3/account/whoami")
    if answer.get("user_id") != user or answer.get("device_id") != device:
        raise Fatal(
            "The stored access token belongs to another account or device than this folder's. "
            "Is bot.user_id right? docs/lost-keys.md says more."
        )
