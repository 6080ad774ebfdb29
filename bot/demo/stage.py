"""The stage of the demo: a real homeserver, accounts, the bot as in production, and clients of people's own."""

import asyncio
import json
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from bot import app
from bot.demo.peer import Peer
from bot.demo.requests import quoted
from bot.demo.synapse import LocalSynapse
from bot.settings import load_settings
from bot.store.database import Clock, utc_now

BUSINESS = "Werkstatt Müller"
FILE = Path("build") / "demo.json"

out = Console(highlight=False, emoji=False)


@dataclass(frozen=True, slots=True)
class Person:
    """An account of the demo."""

    name: str
    mxid: str
    user: str
    password: str


@dataclass(frozen=True, slots=True)
class Stage:
    """Where it plays, and two accounts for whoever wants to join afterwards."""

    server: LocalSynapse
    folder: Path
    bot: Person
    fresh_customer: Person
    fresh_mechanic: Person


@dataclass(frozen=True, slots=True)
class Player:
    """Somebody with a client."""

    person: Person
    peer: Peer

    @property
    def name(self) -> str:
        """What the others call them."""
        return self.person.name


async def new_person(server: LocalSynapse, name: str, user: str = "") -> Person:
    """Make an account; without `user` it is called like the person."""
    user, password = user or name.lower(), secrets.token_urlsafe(9)
    return Person(name, await server.register(user, password), user, password)


async def set_up(server: LocalSynapse, folder: Path) -> Stage:
    """Make the accounts that every performance needs."""
    out.print(f"A real homeserver (Synapse) runs at [bold]{server.url}[/bold], on this machine only.")
    return Stage(
        server=server,
        folder=folder,
        bot=await new_person(server, "Bot", "werkstatt"),
        fresh_customer=await new_person(server, "Kundin", f"kundin-{secrets.token_hex(2)}"),
        fresh_mechanic=await new_person(server, "Mechaniker", f"mechaniker-{secrets.token_hex(2)}"),
    )


def write_configuration(stage: Stage, *, admins: str, more: str) -> Path:
    """Write the bot's files; `admins` is a TOML list, `more` are whole sections of TOML, the desks among them."""
    path = stage.folder / "botschaft.toml"
    path.write_text(
        f"admins = {admins}\n"
        f'[homeserver]\nurl = "{stage.server.url}"\n'
        f'[bot]\nuser_id = "{stage.bot.mxid}"\ndisplay_name = "{BUSINESS}"\npassword_file = "bot.password"\n'
        f'[business]\nname = "{BUSINESS}"\n'
        f'[storage]\nfolder = "data"\nmaster_secret_file = "master.secret"\n'
        f'[controller]\nname = "{BUSINESS} GmbH"\naddress = "Musterstraße 1, 12345 Musterstadt"\n'
        f'contact = "Telefon 01234 567890"\nauthority = "Landesbeauftragte für den Datenschutz, Musterstadt"\n'
        f'privacy_url = "https://werkstatt.example/datenschutz"\n'
        f'[hosting]\nlocation = "Musterstadt"\n'
        f"[cases]\nrename_interval_s = 0\n"
        f"{more}",
        encoding="utf-8",
    )
    for name, secret in (("bot.password", stage.bot.password), ("master.secret", secrets.token_hex(32))):
        file = stage.folder / name
        file.touch(mode=0o600)
        file.write_text(secret, encoding="ascii")
    return path


def desk(name: str, members: list[Person], keywords: list[str] | None = None) -> str:
    """Return the TOML of a desk."""
    users, words = json.dumps([member.mxid for member in members]), json.dumps(keywords or [])
    return f'[[desks]]\nid = "{name.lower()}"\nname = "{name}"\nmembers = {users}\nkeywords = {words}\n'


@asynccontextmanager
async def serving(stage: Stage, configuration: Path, now: Clock = utc_now) -> AsyncIterator[None]:
    """Run the bot as it runs in production; what stops it stops the demo."""
    ready = asyncio.Event()
    bot = asyncio.ensure_future(app.run(load_settings(configuration), ready=ready.set, now=now))
    started = asyncio.ensure_future(ready.wait())
    try:
        await asyncio.wait({bot, started}, return_when=asyncio.FIRST_COMPLETED)
        if bot.done():
            bot.result()
        out.print(f"The bot serves as [bold]{stage.bot.mxid}[/bold]; its device is cross-signed.\n")
        yield
    finally:
        started.cancel()
        bot.cancel()
        with suppress(asyncio.CancelledError):
            await bot


@asynccontextmanager
async def client(stage: Stage, person: Person) -> AsyncIterator[Player]:
    """Log somebody in, with a signed device, as long as they are needed."""
    store = stage.folder / f"client-{person.user}"
    store.mkdir()
    peer = await Peer.login(stage.server.url, person.user, person.password, store=store, cross_sign=True)
    path = f"/_matrix/client/v3/profile/{quoted(person.mxid)}/displayname"
    try:
        await peer.call("PUT", path, {"displayname": person.name})
        yield Player(person, peer)
    finally:
        await peer.close()


async def stay(stage: Stage) -> None:
    """Leave the stage to a person until cancelled; the file tells scripts how to get in."""
    facts: dict[str, object] = {
        "homeserver": stage.server.url,
        "server_name": stage.server.server_name,
        "bot": stage.bot.mxid,
        "customer": {"user": stage.fresh_customer.user, "password": stage.fresh_customer.password},
        "mechanic": {"user": stage.fresh_mechanic.user, "password": stage.fresh_mechanic.password},
    }
    _write_facts(facts)
    try:
        _invite_a_person(stage)
        await asyncio.Event().wait()
    finally:
        FILE.unlink(missing_ok=True)
        out.print("\nStopped. Nothing was left behind.")


def _write_facts(facts: dict[str, object]) -> None:
    FILE.parent.mkdir(exist_ok=True)
    draft = FILE.with_suffix(".tmp")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(facts, file, indent=2)
    draft.replace(FILE)


def _invite_a_person(stage: Stage) -> None:
    """Say how to get in; long values stand on lines of their own, so that nothing is cut off."""
    out.print("\n[bold]Now you.[/bold] Log in with any Matrix client on this machine:")
    out.print(f"  homeserver   {stage.server.url}", soft_wrap=True)
    for what, person, then in (
        ("a customer", stage.fresh_customer, f"then start a chat with {stage.bot.mxid} and write"),
        ("a mechanic", stage.fresh_mechanic, "then accept the invitations: Space, inbox, and each case as it comes"),
    ):
        out.print(f"  {what}   user {person.user}   password {person.password}", soft_wrap=True)
        out.print(f"               {then}", soft_wrap=True)
    out.print(f"The same stands in {FILE}. The server runs until you press Ctrl-C.", soft_wrap=True)
