"""How somebody gets to us: what a new customer is given, and the links that bring a phone to our chat."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, timedelta, tzinfo
from enum import StrEnum
from typing import Final
from urllib.parse import quote

from bot.domain.ids import UserId

ALPHABET: Final = "23456789abcdefghjkmnpqrstuvwxyz"
"""What people can read aloud and type: nothing that looks like something else."""
NAME_CHARACTERS: Final = 8
PASSWORD_GROUPS: Final = 4
TOKEN_GROUPS: Final = 3
GROUP_CHARACTERS: Final = 4


class Gift(StrEnum):
    """What a new customer is given."""

    ACCOUNT = "account"
    """A ready account with a random name and a first password."""
    TOKEN = "token"  # noqa: S105 - the name of a thing
    """A token with which they make an account themselves, once."""
    NOTHING = "nothing"
    """We cannot make either; the slip has lines to write on."""


@dataclass(frozen=True, slots=True)
class House:
    """Where customers find us. All of it may hang on a wall."""

    business: str
    bot: UserId
    provider: str  # what an app is told as the server
    app_link: str  # where the link that sets up an app begins
    web_client: str = ""  # where a browser finds a client, if there is one
    is_open: bool = False  # who has an account on any other server gets to us as well

    @property
    def chat_link(self) -> str:
        """The link that opens a chat with us in any Matrix app (specification, appendices: "Matrix URI scheme")."""
        return f"matrix:u/{quote(self.bot.removeprefix('@'), safe=':')}?action=chat"

    def setup_link(self, account: str = "") -> str:
        """The link that makes Element X ask our server, for this account (Element: "Provisioning links")."""
        hint = f"&login_hint=mxid:{quote(account, safe='@:')}" if account else ""
        return f"{self.app_link}?account_provider={quote(self.provider, safe=':')}{hint}"

    @property
    def register_page(self) -> str:
        """Where somebody with a token makes an account in a browser."""
        return f"{self.web_client.rstrip('/')}/#/register"


@dataclass(frozen=True, slots=True)
class Ticket:
    """What one customer is given. `secret` is a password or a token; both are empty if there is nothing to give."""

    gift: Gift
    account: UserId | str = ""
    secret: str = ""
    valid_until: str = ""  # a date as people write it


@dataclass(frozen=True, slots=True)
class Door:
    """What the admin decided about new customers."""

    house: House
    gives: Gift
    token_lasts: timedelta
    slip_lasts: timedelta
    per_hour: int
    zone: tzinfo = UTC  # of the days that people read


def new_name(prefix: str, choose: Callable[[str], str]) -> str:
    """Return a random local part that says nothing about its owner (40 bits)."""
    return f"{prefix}-{_group(NAME_CHARACTERS, choose)}"


def new_password(choose: Callable[[str], str]) -> str:
    """Return a first password (79 bits). `choose` picks one character of a text, unpredictably."""
    return "-".join(_group(GROUP_CHARACTERS, choose) for _ in range(PASSWORD_GROUPS))


def new_token(choose: Callable[[str], str]) -> str:
    """Return a registration token (59 bits), good once and for some days on a server that limits attempts."""
    return "-".join(_group(GROUP_CHARACTERS, choose) for _ in range(TOKEN_GROUPS))


def _group(length: int, choose: Callable[[str], str]) -> str:
    return "".join(choose(ALPHABET) for _ in range(length))
