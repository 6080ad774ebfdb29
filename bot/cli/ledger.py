"""`botschaft ledger ...`: what an admin and an auditor do about the ledger. The bot may be running, but for a loss."""

import asyncio
import base64
import json
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from bot import app, bundle
from bot.cli.common import ConfigOption, YesOption, confirm, load, out
from bot.domain.errors import Fatal, Refused, Transient
from bot.domain.ids import UserId
from bot.domain.ledger.audit import Claim, Report
from bot.domain.ledger.entries import Entry, stamp
from bot.domain.ledger.notes import PROOF_HEADER, Signer, parsed
from bot.domain.secrets import Purpose, derive
from bot.flows import anchoring
from bot.flows.surroundings import Ledger
from bot.matrix.transport import Transport, quote
from bot.settings import Settings
from bot.store import facts, ledger, rooms
from bot.store.database import Database, utc_now

ANCHOR = "The anchor in the admin room"
MOST_FINDINGS = 100
ONLY_LOCAL = (
    "Nothing is wrong here, but that is integrity only up to the local checkpoint (size {size}): whoever has this "
    "machine and its master secret could have rewritten all of it. Compare with a checkpoint that was kept elsewhere: "
    "botschaft ledger verify --checkpoint FILE"
)
GONE = (
    "it is not there any more, though the bot wrote one. Somebody took it away or made another admin room. If all else "
    "is right, `botschaft ledger accept-loss` goes on without it, and writes that into the ledger"
)
ACCEPTED = (
    "The bot goes on with the ledger as it stands in the database. What is missing stays missing: customers may have "
    "proofs of consents and withdrawals that nobody here knows any more. Do this only if there is no newer backup. It "
    "is written into the ledger and cannot be undone."
)


ledger_commands = typer.Typer(
    no_args_is_help=True, help="The ledger of consents: check it, show it, take it elsewhere."
)


@ledger_commands.command()
def verify(
    config: ConfigOption = None,
    checkpoint: Annotated[
        list[Path], typer.Option(help="A checkpoint or a customer's .tlog-proof that was kept elsewhere; repeat.")
    ] = [],  # noqa: B006
    offline: Annotated[bool, typer.Option("--offline", help="Do not ask the server for the anchor.")] = False,
) -> None:
    """Compute everything anew and compare it with all checkpoints; name every entry that is not what it was."""
    asyncio.run(_verify(load(config), checkpoint, offline=offline))


@ledger_commands.command()
def export(folder: Annotated[Path, typer.Argument(help="A new folder.")], config: ConfigOption = None) -> None:
    """Write a bundle without personal data that an auditor checks with tools of their own (VERIFY.md)."""
    asyncio.run(_export(load(config), folder))


@ledger_commands.command()
def checkpoint(
    config: ConfigOption = None, file: Annotated[Path | None, typer.Option(help="Write it into this file.")] = None
) -> None:
    """Sign how far the ledger goes now. Mail it to somebody outside: only such a copy binds us ourselves."""
    asyncio.run(_checkpoint(load(config), file))


@ledger_commands.command()
def show(
    entry: Annotated[str, typer.Argument(help="Number or fingerprint; without it the last ones.")] = "",
    config: ConfigOption = None,
    proof: Annotated[Path | None, typer.Option(help="Write its proof (.tlog-proof) into this file.")] = None,
) -> None:
    """Show the last entries, or one of them with all it says, which may be personal."""
    asyncio.run(_show(load(config), entry, proof))


@ledger_commands.command("accept-loss")
def accept_loss(config: ConfigOption = None, yes: YesOption = False) -> None:
    """Go on although the ledger has less than its anchor knew, on record, under a new name. Stop the bot first."""
    settings = load(config)
    confirm(ACCEPTED, yes=yes)
    asyncio.run(_accept_loss(settings))


def _own(settings: Settings) -> Ledger:
    return Ledger(UserId(settings.bot.user_id), derive(settings.storage.master_secret(), Purpose.LEDGER_SIGNING))


async def _verify(settings: Settings, files: list[Path], *, offline: bool) -> None:
    outside = [Claim(str(file), _note_in(file)) for file in files]
    async with app.stored(settings) as database:
        signer = await _own(settings).signer(database)
        anchor = None if offline else await _anchor(settings, database, signer)
        claims = [*outside, *([Claim(ANCHOR, anchor)] if anchor is not None else [])]
        report = await ledger.audited(database, signer.verifier, claims)
    out.print(f"Ledger:   {escape(signer.origin)}", soft_wrap=True)
    out.print(f"Entries:  {report.size}, the content of {report.erased} erased")
    out.print(f"Root:     {base64.b64encode(report.root).decode()}")
    _print_agreed(report, {claim.where for claim in claims})
    for position in report.restored:
        out.print(f"[yellow]•[/yellow] Entry {position}: an admin went on with an older database here.")
    if report.findings:
        raise Fatal("\n".join([*_told(report), anchoring.NEXT]))
    _conclude(report, {claim.where for claim in outside})


def _print_agreed(report: Report, claims: set[str]) -> None:
    inside = [size for where, size in report.agreed if where not in claims]
    if inside:
        out.print(f"[green]✓[/green] {len(inside)} checkpoints in the database, the newest of size {max(inside)}")
    for where, size in report.agreed:
        if where in claims:
            out.print(f"[green]✓[/green] {escape(where)} (size {size})", soft_wrap=True)


def _told(report: Report) -> list[str]:
    lines = [str(finding) for finding in report.findings]
    rest = len(lines) - MOST_FINDINGS
    return lines if rest <= 0 else [*lines[:MOST_FINDINGS], f"And {rest} more."]


def _conclude(report: Report, outside: set[str]) -> None:
    """Say how much was shown: never more than what a copy outside of this machine vouches for."""
    local = max((size for where, size in report.agreed if where not in outside), default=0)
    bound = max((size for where, size in report.agreed if where in outside), default=0)
    if not bound:
        out.print("[yellow]•[/yellow] " + ONLY_LOCAL.format(size=local), soft_wrap=True)
        return
    out.print(f"[green]✓[/green] The first {bound} entries are those that were signed for the copy outside.")
    if bound < report.size:
        out.print(
            f"[yellow]•[/yellow] From entry {bound} on: integrity only up to the local checkpoint (size {local}).",
            soft_wrap=True,
        )


def _note_in(file: Path) -> str:
    """Return the checkpoint in a file, which may be that of a proof.

    Raises:
        Fatal: there is none.
    """
    try:
        text = file.read_text(encoding="utf-8")
        note = text.partition("\n\n")[2] if text.startswith(PROOF_HEADER) else text
        return parsed(note).note
    except ValueError as error:
        raise Fatal(f"{file}: {error}. It must be just as `botschaft ledger checkpoint` wrote it.") from None


async def _anchor(settings: Settings, database: Database, signer: Signer) -> str | None:
    """Return what the server has as the anchor; None, with a sentence, if there is none to be had."""
    room, token = await rooms.place(database, "admin"), await facts.get(database, facts.ACCESS_TOKEN)
    if room is None or token is None:
        return None
    transport = Transport(settings.homeserver.url, timeout_s=settings.homeserver.request_timeout_s)
    transport.access_token = token
    path = f"/_matrix/client/v3/rooms/{quote(room)}/state/{anchoring.ANCHOR}/{quote(signer.origin)}"
    try:
        return str((await transport.call("GET", path)).get("checkpoint"))
    except (Transient, Refused, Fatal) as error:
        reason = str(error)
        if isinstance(error, Refused) and error.code == "M_NOT_FOUND":
            reason = GONE if await anchoring.was_written(database, signer) else "there is none yet"
        out.print(f"[yellow]•[/yellow] {ANCHOR} was not compared: {escape(reason)}.", soft_wrap=True)
        return None
    finally:
        await transport.close()


async def _export(settings: Settings, folder: Path) -> None:
    async with app.stored(settings) as database:
        signer = await _own(settings).signer(database)
        anchor = await _anchor(settings, database, signer)
        async with database.transaction() as tx:
            await ledger.checkpoint(tx, signer, at=utc_now())
        count = await bundle.write(folder, database, signer, anchor=anchor)
    out.print(
        f"[green]✓[/green] {count} entries in {escape(str(folder))}. VERIFY.md says how to check it.", soft_wrap=True
    )


async def _checkpoint(settings: Settings, file: Path | None) -> None:
    async with app.stored(settings) as database, database.transaction() as tx:
        signed = await ledger.checkpoint(tx, await _own(settings).signer(tx), at=utc_now())
    if file is None:
        typer.echo(signed.note, nl=False)
        return
    file.write_text(signed.note, encoding="utf-8")
    out.print(
        f"[green]✓[/green] Checkpoint of size {signed.size} in {escape(str(file))}. Mail it to somebody outside.",
        soft_wrap=True,
    )


async def _show(settings: Settings, name: str, proof: Path | None) -> None:
    async with app.stored(settings) as database:
        if not name:
            out.print(_table(await ledger.newest(database, 20)))
            return
        number = int(name) if name.isascii() and name.isdecimal() and len(name) < 19 else None
        entry = await (ledger.find(database, name.upper()) if number is None else ledger.entry(database, number))
        if entry is None:
            raise Fatal(f"There is no entry {name}. `botschaft ledger show` lists the last ones.")
        _print_entry(entry)
        if proof:
            async with database.transaction() as tx:
                signer = await _own(settings).signer(tx)
                text = (await ledger.proof(tx, signer, entry.position, at=utc_now(), opened=False)).text()
            proof.write_text(text, encoding="utf-8")
            out.print(f"[green]✓[/green] {escape(str(proof))} written; it says nothing of the content.", soft_wrap=True)


def _table(entries: list[Entry]) -> Table:
    table = Table("entry", "fingerprint", "what", "at (UTC)")
    for entry in entries:
        what, at = (entry.fact.kind.value, stamp(entry.fact.at)) if entry.fact else (f"erased by {entry.erased_by}", "")
        table.add_row(str(entry.position), entry.fingerprint, what, at)
    return table


def _print_entry(entry: Entry) -> None:
    out.print(f"Entry:        {entry.position}")
    out.print(f"Fingerprint:  {entry.fingerprint}")
    out.print(f"Leaf hash:    {entry.leaf.hex()}")
    if entry.fact is None:
        out.print(f"Content:      erased, by entry {entry.erased_by}")
        return
    out.print(f"What:         {entry.fact.kind.value}")
    out.print(f"At:           {stamp(entry.fact.at)}")
    out.print(f"Customer:     {entry.fact.subject or '–'}")
    for key, value in entry.fact.details.items():
        out.print(escape(f"{key}: {_harmless(json.dumps(value, ensure_ascii=False))}"), soft_wrap=True)


def _harmless(text: str) -> str:
    """Show what would else steer the terminal: customers' own words are among the details."""
    return "".join(letter if letter.isprintable() else f"\\u{ord(letter):04x}" for letter in text)


async def _accept_loss(settings: Settings) -> None:
    async with app.opened(settings) as parts:
        entry = await app.persistently(lambda: anchoring.accept_loss(parts.around))
    out.print(f"[green]✓[/green] On record as entry {entry.position}. Next: botschaft run")
