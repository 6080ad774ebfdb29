"""What an admin does about the door from a shell: let a new customer in, print the sign. The bot may be running."""

import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bot.app import admin_of, door_of
from bot.domain.door import Door, Gift, Ticket, new_password, new_token
from bot.domain.errors import Fatal, Refused, Transient
from bot.domain.texts import Texts
from bot.flows.door import day, free_name
from bot.matrix.admin import Admin, Why
from bot.paper import sheets
from bot.paper.marks import Sheet
from bot.paper.printers import as_pdf, as_png
from bot.resources import resource_dir
from bot.settings import Settings, load_texts
from bot.store.database import utc_now

PRINTERS: Final[Mapping[str, Callable[..., bytes]]] = {".pdf": as_pdf, ".png": as_png}
WHAT_TO_DO: Final[Mapping[str, str]] = {
    Why.TOKEN_INVALID: "The server does not know the token of homeserver.admin_token_file (any more). "
    "Log in as a server administrator and put the new access token there.",
    Why.NOT_ADMIN: "The account behind homeserver.admin_token_file is no server administrator. In Synapse an "
    "account becomes one with `register_new_matrix_user --admin`, or through another administrator.",
    Why.NOT_SYNAPSE: "There is no admin API of Synapse at this address. If a proxy keeps /_synapse/admin away from "
    "homeserver.url, as it should, set homeserver.admin_url to where Synapse itself listens.",
    Why.ELSEWHERE: "Accounts on this server are made by the Matrix Authentication Service; make the account there.",
    Why.EXPIRED: "door.token_days is over before it began. Is this machine's clock right?",
}
CLOSED: Final = (
    "The server takes no registrations. For tokens set enable_registration: true and registration_requires_token: true "
    "in homeserver.yaml; or make a ready account with --account."
)
NO_PAGE: Final = (
    "A token is of use only with a page to register at: set door.web_client to the address of your Element Web, or "
    "make a ready account with --account."
)
NO_CODE: Final = (
    "No code was made, because only a server administrator can make one, and homeserver.admin_token_file is not there. "
    "Put the access token of one into it (docs/customers.md says how), and try again. Until then make an account on "
    "the server; --account prints a slip with lines for its name and first password. Nothing was printed."
)


@dataclass(frozen=True, slots=True)
class Paper:
    """A file that does not exist yet, and what it will be printed with."""

    path: Path
    private: bool

    def write(self, *printed: Sheet) -> None:
        """Print into the file, which only we may read if it holds a secret."""
        data = PRINTERS[self.path.suffix.casefold()](*printed)
        flags, mode = os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if self.private else 0o644
        with os.fdopen(os.open(self.path, flags, mode), "wb") as file:
            file.write(data)


def paper(path: Path, *, private: bool) -> Paper:
    """Look at where something is to be printed, before anything is made.

    Raises:
        Fatal: it exists, its folder does not, or it is neither PDF nor PNG.
    """
    if path.suffix.casefold() not in PRINTERS:
        raise Fatal(f"{path}: only .pdf and .png can be printed. Nothing was made.")
    if path.exists():
        raise Fatal(f"{path} exists already and is left as it is. Nothing was made; name another file with --out.")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise Fatal(f"{path.parent} is no folder that can be written. Nothing was made.")
    return Paper(path, private)


def languages_of(settings: Settings, wanted: Sequence[str]) -> list[str]:
    """Return the languages to print in, in order, each once.

    Raises:
        Fatal: there are no texts in one of them.
    """
    known = _texts().catalogue
    if unknown := [language for language in wanted if language not in known]:
        raise Fatal(f"There are no texts in {', '.join(unknown)}. There is: {', '.join(sorted(known))}.")
    return list(dict.fromkeys(wanted)) or [settings.business.language]


async def let_in(settings: Settings, gift: Gift | None, language: str) -> Ticket:
    """Make an account or a token, and return what the customer needs. Without an administrator no account is in it.

    Raises:
        Fatal: with the sentence for who asked; nothing was made.
    """
    admin, door = admin_of(settings), door_of(settings)
    wanted = gift or door.gives
    if admin is None and wanted is Gift.TOKEN:
        raise Fatal(NO_CODE)
    if admin is None:
        return Ticket(Gift.NOTHING)
    try:
        if wanted is Gift.TOKEN:
            return await _token(admin, door, language)
        return await _account(admin, door, language)
    except Refused as error:
        reason = WHAT_TO_DO.get(error.code, f"The server refused ({error.status}).")
        raise Fatal(f"{reason} Nothing was made.") from None
    except Transient as error:
        where = settings.homeserver.admin_address
        raise Fatal(f"{where} does not answer: {error}. Try again; an unused account may be left there.") from None
    finally:
        await admin.close()


async def _account(admin: Admin, door: Door, language: str) -> Ticket:
    account = await free_name(admin, _texts().render("door.name_prefix", language), door.house.bot)
    if account is None:
        raise Fatal("The server says of every name that it is taken. Nothing was made.")
    ticket = Ticket(Gift.ACCOUNT, account, new_password(secrets.choice))
    await admin.make_account(account, ticket.secret)
    return ticket


async def _token(admin: Admin, door: Door, language: str) -> Ticket:
    if not door.house.web_client:
        raise Fatal(NO_PAGE)
    if not await admin.takes_registrations():
        raise Fatal(CLOSED)
    expires_at = utc_now() + door.token_lasts
    ticket = Ticket(Gift.TOKEN, "", new_token(secrets.choice), day(expires_at.astimezone(door.zone), language))
    await admin.make_registration_token(ticket.secret, expires_at=expires_at)
    return ticket


def slips(settings: Settings, ticket: Ticket, languages: Sequence[str]) -> list[Sheet]:
    """Return the slip in each language."""
    texts = _texts(settings.business.tone)
    return [sheets.slip(door_of(settings).house, ticket, texts, language) for language in languages]


def sign(settings: Settings, languages: Sequence[str]) -> Sheet:
    """Return the sign for the counter, all languages on one sheet."""
    return sheets.sign(door_of(settings).house, _texts(settings.business.tone), languages)


def register_page(settings: Settings) -> str:
    """Return where somebody with a token makes an account."""
    return door_of(settings).house.register_page


def _texts(tone: str = "sie") -> Texts:
    return load_texts(resource_dir("config") / "texts", tone)
