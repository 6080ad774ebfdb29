"""Synapse's admin API, as far as the door for customers and the doctor need it. Seen with Synapse 1.163.2.

It speaks with the token of a server administrator, never with the bot's own, and nothing here logs or repeats a
token or a password. What the server says no to is `Refused` with one of the codes below, never `Fatal`: a wrong
admin token must not stop the bot.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from bot.domain.errors import Fatal, Refused
from bot.domain.ids import UserId
from bot.matrix.transport import Json, Transport, quote

_V1: Final = "/_synapse/admin/v1"
_V2: Final = "/_synapse/admin/v2"


class Why(StrEnum):
    """Why the admin API does not do what was asked; the `code` of `Refused`."""

    TOKEN_INVALID = "token_invalid"  # noqa: S105 - a code, no token
    """The server does not know the token (any more)."""
    NOT_ADMIN = "not_admin"
    """The token is good, but its account is no server administrator."""
    NOT_SYNAPSE = "not_synapse"
    """There is no such API: another server, or a proxy that does not let it through."""
    ELSEWHERE = "accounts_elsewhere"
    """Accounts are made by another service (Matrix Authentication Service), not by Synapse."""
    NAME_TAKEN = "name_taken"
    """There is an account of that name."""
    UNKNOWN_USER = "unknown_user"
    """There is no such account on this server."""
    EXPIRED = "expired"
    """The time until which something should be valid has passed."""


class Registration(StrEnum):
    """What becomes of somebody who wants to make an account with a registration token."""

    OPEN = "open"
    """The server takes registrations; whether it wants a token for that, only its configuration tells."""
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class RateLimit:
    """What somebody may send; zeros mean: without limit."""

    messages_per_second: int
    burst: int


UNLIMITED: Final = RateLimit(0, 0)


class Admin:
    """One server, spoken to as its administrator."""

    def __init__(self, url: str, token: str, *, timeout_s: float = 30.0) -> None:
        self._transport = Transport(url, timeout_s=timeout_s)
        self._transport.access_token = token

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.close()

    async def version(self) -> str:
        """Return the version of Synapse; the one question that needs no administrator.

        Raises:
            Transient: the server does not answer.
            Refused: `NOT_SYNAPSE`.
        """
        answer = await self._call("GET", f"{_V1}/server_version", token=False)
        return str(answer.get("server_version", ""))

    async def check(self) -> UserId:
        """See that the token is an administrator's, and return whose it is.

        Raises:
            Transient: the server does not answer.
            Refused: `TOKEN_INVALID`, `NOT_ADMIN` or `NOT_SYNAPSE`.
        """
        me = UserId(str((await self._call("GET", "/_matrix/client/v3/account/whoami")).get("user_id", "")))
        if (await self._call("GET", f"{_V1}/users/{quote(me)}/admin")).get("admin") is not True:
            raise Refused("this account is no server administrator", code=Why.NOT_ADMIN)
        return me

    async def make_registration_token(self, token: str, *, expires_at: datetime) -> None:
        """Create a token of our choice (at most 64 of `A-Za-z0-9._~-`) that one person may register with, once.

        Again with the same token: nothing happens, whether it has been used by then or not.

        Raises:
            Transient: the server does not answer.
            Refused: as `check`, and `EXPIRED`.
        """
        wanted = {"token": token, "uses_allowed": 1, "expiry_time": int(expires_at.timestamp() * 1000)}
        try:
            await self._call("POST", f"{_V1}/registration_tokens/new", wanted)
        except Refused as error:
            # "Token already exists" and "must not be in the past" have the same code; only looking tells them apart.
            if error.status != 400:
                raise
            if not await self._has_registration_token(token):
                raise Refused("the server does not take this token", code=Why.EXPIRED, status=400) from error

    async def _has_registration_token(self, token: str) -> bool:
        try:
            await self._call("GET", f"{_V1}/registration_tokens/{quote(token)}")
        except Refused as error:
            if error.code != "M_NOT_FOUND":
                raise
            return False
        return True

    async def remove_registration_token(self, token: str) -> None:
        """Take a registration token back; absent is fine. Raises as `make_registration_token`."""
        try:
            await self._call("DELETE", f"{_V1}/registration_tokens/{quote(token)}")
        except Refused as error:
            if error.code != "M_NOT_FOUND":
                raise

    async def registration(self) -> Registration:
        """Tell whether people may register at all (the validity question of the Matrix specification, 1.2).

        Raises:
            Transient: the server does not answer.
            Refused: `NOT_SYNAPSE`.
        """
        path = "/_matrix/client/v1/register/m.login.registration_token/validity"
        try:
            await self._call("GET", path, query={"token": "x"}, token=False)
        except Refused as error:
            if error.status == 403:
                return Registration.CLOSED
            raise
        return Registration.OPEN

    async def takes_registrations(self) -> bool:
        """The same for whoever only wants to know yes or no."""
        return await self.registration() is Registration.OPEN

    async def is_free(self, localpart: str) -> bool:
        """Tell whether an account of this name could be made. Raises as `check`."""
        try:
            await self._call("GET", f"{_V1}/username_available", query={"username": localpart})
        except Refused as error:
            if error.status != 400:
                raise
            return False
        return True

    async def make_account(self, user: UserId, password: str) -> None:
        """Create an account with this password. If there is one of that name, nothing changes.

        The request itself would give an account that exists a new password, also one that its owner has changed since.
        So whoever wants a new one asks `is_free` before the name is written down, and must not be refused here.

        Raises:
            Transient: the server does not answer.
            Refused: as `check`, and `ELSEWHERE`.
        """
        await self.check()  # after that a 403 can only mean that Synapse does not make accounts
        if not await self.is_free(user[1:].partition(":")[0]):
            return
        body = {"password": password, "logout_devices": False}
        try:
            await self._call("PUT", f"{_V2}/users/{quote(user)}", body)
        except Refused as error:
            if error.code == Why.NOT_ADMIN:
                raise Refused("accounts are not made by this server", code=Why.ELSEWHERE, status=403) from error
            raise

    async def rate_limit(self, user: UserId) -> RateLimit | None:
        """Return what was set for this user alone; None: the server's general limits count.

        Raises:
            Transient: the server does not answer.
            Refused: as `check`, and `UNKNOWN_USER`.
        """
        answer = await self._of_user("GET", f"{_V1}/users/{quote(user)}/override_ratelimit")
        if not answer:
            return None
        return RateLimit(int(answer.get("messages_per_second") or 0), int(answer.get("burst_count") or 0))

    async def set_rate_limit(self, user: UserId, limit: RateLimit) -> None:
        """Set what this user may send. Raises as `rate_limit`."""
        body = {"messages_per_second": limit.messages_per_second, "burst_count": limit.burst}
        await self._of_user("POST", f"{_V1}/users/{quote(user)}/override_ratelimit", body)

    async def _of_user(self, method: str, path: str, body: Json | None = None) -> Any:
        try:
            return await self._call(method, path, body)
        except Refused as error:
            if error.status in {400, 404} and error.code != Why.NOT_SYNAPSE:
                raise Refused("no such user here", code=Why.UNKNOWN_USER, status=error.status) from error
            raise

    async def _call(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        *,
        query: dict[str, str] | None = None,
        token: bool = True,
    ) -> Any:
        try:
            return await self._transport.call(method, path, body, query=query, token=token)
        except Fatal as error:
            raise Refused("the admin token is not valid", code=Why.TOKEN_INVALID, status=401) from error
        except Refused as error:
            raise _named(error) from error


def _named(error: Refused) -> Refused:
    """Give what every call may meet its own code."""
    if error.status == 403:
        return Refused("this account is no server administrator", code=Why.NOT_ADMIN, status=403)
    if error.status == 405 or 300 <= error.status < 400 or (error.status == 404 and error.code != "M_NOT_FOUND"):
        return Refused("there is no admin API at this address", code=Why.NOT_SYNAPSE, status=error.status)
    return error
