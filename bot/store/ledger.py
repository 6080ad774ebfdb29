"""The ledger on disk. An append is part of the commit of its cause; what is in the tree is never changed.

Contents can be erased: the entry stays in the tree as a commitment to nobody knows what.
"""

import secrets
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime

from bot.domain.errors import Fatal
from bot.domain.ids import CustomerId
from bot.domain.ledger import tree
from bot.domain.ledger.audit import Audit, Claim, Report
from bot.domain.ledger.audit import Row as AuditRow
from bot.domain.ledger.entries import SALT_BYTES, Entry, Fact, LedgerKind, Value, commitment, fact_of
from bot.domain.ledger.notes import Checkpoint, Proof, Signer, Verifier
from bot.domain.ledger.tree import Node
from bot.store import facts
from bot.store.database import Database, Row, Tx, to_ms

Reader = Database | Tx

ROWS_AT_ONCE = 5000
_COLUMNS = "l.position, l.commitment, c.position IS NOT NULL, c.salt, c.payload, c.subject, c.kind, c.erased_by"
_ENTRIES = f"SELECT {_COLUMNS} FROM ledger l LEFT JOIN ledger_contents c USING (position)"  # noqa: S608
DAMAGED = (
    "The ledger is damaged: {what}. Nothing was changed. `botschaft ledger verify` names every place; "
    "put back the newest backup of botschaft.db."
)


async def append(
    tx: Tx, kind: LedgerKind, details: Mapping[str, Value], *, subject: CustomerId | None, at: datetime
) -> Entry:
    """Put one entry at the end, in the caller's commit.

    Raises:
        ValueError: a detail is none that has one spelling only.
        Fatal: the stored tree is damaged.
    """
    fact = Fact(secrets.token_hex(16), kind, subject, at, details)
    salt, payload = secrets.token_bytes(SALT_BYTES), fact.payload()
    entry = Entry(await size(tx), commitment(salt, payload), fact)
    await tx.run("INSERT INTO ledger VALUES (?, ?)", entry.position, entry.committed)
    await tx.run(
        "INSERT INTO ledger_contents (position, subject, kind, salt, payload) VALUES (?, ?, ?, ?, ?)",
        *(entry.position, subject, kind.value, salt, payload),
    )
    known = await _nodes(tx, tree.neighbours(entry.position))
    for node, hashed in tree.appended(known, entry.position, entry.leaf).items():
        await tx.run("INSERT INTO ledger_nodes VALUES (?, ?, ?)", *node, hashed)
    return entry


async def erase(tx: Tx, positions: Iterable[int], details: Mapping[str, Value], *, at: datetime) -> Entry:
    """Forget the content of entries and append the entry that says so. `details` must not be about a person.

    Entries that say what was erased cannot be erased themselves; what is erased already stays so.
    """
    rows = [row for position in sorted(set(positions)) if (row := await _row(tx, position))]
    covers = [row[0] for row in rows if row[4] is not None and row[6] != LedgerKind.ERASED]
    said = await append(tx, LedgerKind.ERASED, {**details, "covers": covers}, subject=None, at=at)
    for position in covers:
        await tx.run(
            "UPDATE ledger_contents SET subject = NULL, kind = NULL, salt = NULL, payload = NULL, erased_by = ?"
            " WHERE position = ?",
            *(said.position, position),
        )
    return said


async def epoch(reader: Reader) -> int:
    """Return which name the ledger has now, counted from 1."""
    return int(await facts.get(reader, facts.LEDGER_EPOCH) or 1)


async def size(reader: Reader) -> int:
    """Return how many entries there are."""
    row = await reader.one("SELECT coalesce(max(position) + 1, 0) FROM ledger")
    return int(row[0]) if row else 0


async def root(reader: Reader, of_size: int) -> bytes:
    """Return the root of the tree of the first entries."""
    return tree.root(await _nodes(reader, tree.peaks((0, of_size))), of_size)


async def entry(reader: Reader, position: int) -> Entry | None:
    """Return one entry."""
    row = await _row(reader, position)
    return _entry(row) if row else None


async def find(reader: Reader, name: str) -> Entry | None:
    """Return the newest entry with this fingerprint."""
    for row in await reader.all("SELECT position, commitment FROM ledger ORDER BY position DESC"):
        if Entry(row[0], row[1], None).fingerprint == name:
            return await entry(reader, row[0])
    return None


async def of_subject(reader: Reader, subject: CustomerId) -> list[Entry]:
    """Return what is on record about one customer, the oldest first."""
    return [_entry(row) for row in await reader.all(f"{_ENTRIES} WHERE c.subject = ? ORDER BY c.position", subject)]


async def of_kind(reader: Reader, kind: LedgerKind) -> list[Entry]:
    """Return all entries of a kind, the oldest first."""
    return [_entry(row) for row in await reader.all(f"{_ENTRIES} WHERE c.kind = ? ORDER BY c.position", kind.value)]


async def newest(reader: Reader, count: int) -> list[Entry]:
    """Return the last entries, the oldest of them first."""
    rows = await reader.all(f"{_ENTRIES} ORDER BY l.position DESC LIMIT ?", count)
    return [_entry(row) for row in reversed(rows)]


async def _row(reader: Reader, position: int) -> Row | None:
    return await reader.one(f"{_ENTRIES} WHERE l.position = ?", position)


def _entry(row: Row) -> Entry:
    try:
        return Entry(row[0], row[1], fact_of(row[4]) if row[4] is not None else None, row[7])
    except ValueError as error:
        raise Fatal(DAMAGED.format(what=f"the content of entry {row[0]} cannot be read")) from error


async def checkpoint(tx: Tx, signer: Signer, *, at: datetime) -> Checkpoint:
    """Sign size and root as they are in this commit, and keep that."""
    now = await size(tx)
    signed = signer.sign(now, await root(tx, now))
    if await tx.one("SELECT 1 FROM ledger_checkpoints WHERE origin = ? AND size = ?", signer.origin, now) is None:
        values = (signed.origin, signed.size, signed.note.encode(), to_ms(at))
        await tx.run("INSERT INTO ledger_checkpoints VALUES (?, ?, ?, ?)", *values)
    return signed


async def checkpoints(reader: Reader) -> list[tuple[str, int, str]]:
    """Return origin, size and note of every checkpoint that was made, the oldest first."""
    rows = await reader.all("SELECT origin, size, note FROM ledger_checkpoints ORDER BY made_at, size")
    return [(row[0], row[1], bytes(row[2]).decode(errors="replace")) for row in rows]


async def proof(tx: Tx, signer: Signer, position: int, *, at: datetime, opened: bool) -> Proof:
    """Prove that an entry is in the ledger as it is now. `opened`: with salt and content, for whom it is about."""
    signed = await checkpoint(tx, signer, at=at)
    ranges = tree.inclusion(position, signed.size)
    hashes = tree.path(await _nodes(tx, tree.needed(ranges)), ranges)
    row = await _row(tx, position)
    assert row is not None
    extra = row[3] + row[4] if opened and row[4] is not None else b""
    return Proof(position, tuple(hashes), signed, extra)


async def consistency(reader: Reader, old: int, new: int) -> list[bytes]:
    """Return the proof that the ledger of `new` entries begins with that of `old`."""
    ranges = tree.consistency(old, new)
    return tree.path(await _nodes(reader, tree.needed(ranges)), ranges)


async def _nodes(reader: Reader, wanted: Sequence[Node]) -> dict[Node, bytes]:
    if not wanted:
        return {}
    places = ", ".join(["(?, ?)"] * len(wanted))
    rows = await reader.all(
        f"SELECT level, position, hash FROM ledger_nodes WHERE (level, position) IN (VALUES {places})",  # noqa: S608
        *(number for node in wanted for number in node),
    )
    found = {Node(row[0], row[1]): bytes(row[2]) for row in rows}
    if len(found) != len(set(wanted)):
        raise Fatal(DAMAGED.format(what="hashes of its tree are missing"))
    return found


async def audited(database: Database, verifier: Verifier, claims: Iterable[Claim] = ()) -> Report:
    """Compute everything anew, as it stands at this moment, and compare it with our checkpoints and these claims."""
    async with database.snapshot() as tx:
        kept = [Claim(f"The checkpoint of size {at} in the database", note) for _, at, note in await checkpoints(tx)]
        audit = Audit(verifier, await _all_nodes(tx), [*kept, *claims])
        async for rows in all_rows(tx):
            for row in rows:
                audit.take(row)
        return audit.closed(await _orphans(tx))


async def _all_nodes(reader: Reader) -> dict[Node, bytes]:
    rows = await reader.all("SELECT level, position, hash FROM ledger_nodes")
    return {Node(row[0], row[1]): bytes(row[2]) for row in rows}


async def all_rows(reader: Reader) -> AsyncIterator[list[AuditRow]]:
    """Return all entries as they stand there, in their order and in portions. Read them in one snapshot."""
    last = -(2**63)
    while rows := await reader.all(f"{_ENTRIES} WHERE l.position > ? ORDER BY l.position LIMIT ?", last, ROWS_AT_ONCE):
        last = rows[-1][0]
        yield [AuditRow(row[0], row[1], bool(row[2]), *row[3:]) for row in rows]


async def _orphans(reader: Reader) -> list[int]:
    rows = await reader.all(
        "SELECT position FROM ledger_contents WHERE position NOT IN (SELECT position FROM ledger) ORDER BY position"
    )
    return [row[0] for row in rows]
