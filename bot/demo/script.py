"""The demo: a real homeserver, the bot, and a conversation between two people who use clients of their own.

What is printed is what these clients decrypted, nothing else. Afterwards a person may join with any Matrix client.
"""

import asyncio
import json
import os
import secrets
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bot import app
from bot.demo.peer import Peer, Seen
from bot.demo.synapse import LocalSynapse
from bot.settings import load_settings

BUSINESS = "Werkstatt Müller"
WAIT_S = 30.0
LOOK_EVERY_S = 0.1
FILE = Path("build") / "demo.json"

out = Console(highlight=False, emoji=False)


@dataclass(frozen=True, slots=True)
class Person:
    """An account of the demo."""

    name: str
    mxid: str
    user: str
    password: str


@dataclass
class Stage:
    """Who plays, and what they have seen so far."""

    server: LocalSynapse
    bot: Person
    customer: Person
    mechanic: Person
    fresh_customer: Person
    fresh_mechanic: Person
    folder: Path
    failures: list[str] = field(default_factory=list)


async def run(*, once: bool) -> bool:
    """Play the conversation and, unless `once`, stay until cancelled. Return whether everything arrived."""
    with tempfile.TemporaryDirectory(prefix="botschaft-demo-") as folder:
        async with LocalSynapse() as server:
            stage = await _stage(server, Path(folder))
            async with _bot(stage):
                await _play(stage)
                if not once:
                    await _stay(stage)
    return not stage.failures


async def _stage(server: LocalSynapse, folder: Path) -> Stage:
    out.print(f"A real homeserver (Synapse) runs at [bold]{server.url}[/bold], on this machine only.")

    async def person(name: str, user: str) -> Person:
        password = secrets.token_urlsafe(9)
        return Person(name, await server.register(user, password), user, password)

    return Stage(
        server=server,
        bot=await person("Bot", "werkstatt"),
        customer=await person("Anna", "anna"),
        mechanic=await person("Jan", "jan"),
        fresh_customer=await person("Kundin", f"kundin-{secrets.token_hex(2)}"),
        fresh_mechanic=await person("Mechaniker", f"mechaniker-{secrets.token_hex(2)}"),
        folder=folder,
    )


def _write_configuration(stage: Stage) -> Path:
    members = json.dumps([stage.mechanic.mxid, stage.fresh_mechanic.mxid])
    path = stage.folder / "botschaft.toml"
    path.write_text(
        f"admins = {members}\n"
        f'[homeserver]\nurl = "{stage.server.url}"\n'
        f'[bot]\nuser_id = "{stage.bot.mxid}"\ndisplay_name = "{BUSINESS}"\npassword_file = "bot.password"\n'
        f'[business]\nname = "{BUSINESS}"\n'
        f'[storage]\nfolder = "data"\nmaster_secret_file = "master.secret"\n'
        f'[controller]\nname = "{BUSINESS} GmbH"\naddress = "Musterstraße 1, 12345 Musterstadt"\n'
        f'contact = "Telefon 01234 567890"\nauthority = "Landesbeauftragte für den Datenschutz, Musterstadt"\n'
        f'privacy_url = "https://werkstatt.example/datenschutz"\n'
        f'[hosting]\nlocation = "Musterstadt"\n'
        f"[cases]\nrename_interval_s = 0\n"
        f'[[desks]]\nid = "annahme"\nname = "Annahme"\nmembers = {members}\n',
        encoding="utf-8",
    )
    for name, secret in (("bot.password", stage.bot.password), ("master.secret", secrets.token_hex(32))):
        file = stage.folder / name
        file.touch(mode=0o600)
        file.write_text(secret, encoding="ascii")
    return path


@asynccontextmanager
async def _bot(stage: Stage) -> AsyncIterator[None]:
    """Run the bot as it runs in production; what stops it stops the demo."""
    settings = load_settings(_write_configuration(stage))
    ready = asyncio.Event()
    bot = asyncio.ensure_future(app.run(settings, ready=ready.set))
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


async def _play(stage: Stage) -> None:
    """One conversation in both directions, encrypted, seen through two independent clients."""
    table = Table(title="One conversation, as two clients decrypted it", title_justify="left", show_lines=True)
    for column in ("room", "who", "what"):
        table.add_column(column, overflow="fold")
    async with _client(stage, stage.customer) as anna, _client(stage, stage.mechanic) as jan:
        told = _Telling(stage, table)
        await _conversation(stage, told, anna, jan)
    out.print(table)
    for failure in stage.failures:
        out.print(f"[red]✗ did not arrive:[/red] {escape(failure)}")
    if not stage.failures:
        out.print("[green]✓[/green] Every message arrived where it should, encrypted, and the note stayed inside.")


async def _conversation(stage: Stage, told: "_Telling", anna: Peer, jan: Peer) -> None:
    chat = await anna.start_chat(stage.bot.mxid)
    question = "Guten Tag, meine Bremse quietscht. Wann kann ich kommen?"
    await told.writes("Anna", anna, chat, question)
    await told.arrives(anna, "Kurz zum Datenschutz")
    await told.arrives(jan, "Neuer Vorgang 1001")
    card = await told.arrives(jan, "Vorgang 1001\nKunde")
    await told.arrives(jan, question)
    if card is None:
        return
    await told.writes("Jan", jan, card.room_id, ". Beläge vorn waren im März schon knapp")
    await told.arrives(jan, "🔒 Notiz")
    answer = "Morgen um 8 Uhr passt. Bitte den Fahrzeugschein mitbringen."
    await told.writes("Jan", jan, card.room_id, answer)
    await told.arrives(anna, answer)
    await told.shows(jan, card.room_id, "🟡")
    await told.writes("Anna", anna, chat, "Danke, bis morgen!")
    await told.shows(jan, card.room_id, "🔴")
    await told.arrives(jan, "Danke, bis morgen!")
    await told.writes("Jan", jan, card.room_id, "!zu")
    await told.shows(jan, card.room_id, "✅")
    await told.arrives(jan, "Vorgang geschlossen")
    told.checks("a command that stays inside", all("!zu" not in seen.body for seen in anna.seen))
    told.checks("a note that stays inside", all("Beläge" not in seen.body for seen in anna.seen))
    said = [seen for peer in (anna, jan) for seen in peer.seen if seen.sender == stage.bot.mxid and seen.msgtype]
    told.checks("encryption of everything the bot said", all(seen.encrypted for seen in said))


class _Telling:
    """Writes the table: what was sent, and what really arrived, in rooms as the clients call them."""

    def __init__(self, stage: Stage, table: Table) -> None:
        self._stage = stage
        self._table = table

    async def writes(self, who: str, peer: Peer, room: str, text: str) -> None:
        await peer.text(room, text)
        self._table.add_row(escape(await self._name(peer, room)), f"[bold]{who}[/bold]", escape(text))

    async def arrives(self, peer: Peer, text: str) -> Seen | None:
        """Wait until a client has decrypted something of the bot that contains `text`."""
        bot = self._stage.bot.mxid
        try:
            seen = await peer.wait_for(lambda s: s.sender == bot and text in s.body and s.encrypted, WAIT_S)
        except TimeoutError:
            self._stage.failures.append(text)
            return None
        name = await self._name(peer, seen.room_id)
        self._table.add_row(escape(name), f"[cyan]{BUSINESS}[/cyan]", escape(seen.body))
        return seen

    async def shows(self, peer: Peer, room: str, sign: str) -> None:
        """Wait until the room's name says in what state the case is."""
        shown = ""
        with suppress(TimeoutError):
            async with asyncio.timeout(WAIT_S):
                while not shown.startswith(sign):
                    await asyncio.sleep(LOOK_EVERY_S)
                    shown = await self._name(peer, room)
        self.checks(f"the room name {sign}", shown.startswith(sign))

    async def _name(self, peer: Peer, room: str) -> str:
        state = await peer.state(room, "m.room.name")
        return str(state["name"]) if state else f"(chat with {BUSINESS})"

    def checks(self, what: str, holds: bool) -> None:
        if not holds:
            self._stage.failures.append(what)


@asynccontextmanager
async def _client(stage: Stage, person: Person) -> AsyncIterator[Peer]:
    store = stage.folder / f"client-{person.user}"
    store.mkdir()
    peer = await Peer.login(stage.server.url, person.user, person.password, store=store, cross_sign=True)
    try:
        yield peer
    finally:
        await peer.close()


async def _stay(stage: Stage) -> None:
    """Leave the stage to a person; the file tells scripts how to get in."""
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
        (
            "a mechanic",
            stage.fresh_mechanic,
            "then accept the invitations: Space, inbox, admin room, and each case as it comes",
        ),
    ):
        out.print(f"  {what}   user {person.user}   password {person.password}", soft_wrap=True)
        out.print(f"               {then}", soft_wrap=True)
    out.print(f"The same stands in {FILE}. The server runs until you press Ctrl-C.", soft_wrap=True)
