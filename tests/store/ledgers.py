"""A ledger with a little history, and an attacker who has the file and its key: triggers do not stop them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlcipher3 import dbapi2 as sqlcipher

from bot.domain.ids import CustomerId
from bot.domain.ledger import tree
from bot.domain.ledger.audit import Claim, Report
from bot.domain.ledger.entries import Entry, LedgerKind, commitment, hash_of_entry
from bot.domain.ledger.notes import Signer
from bot.domain.ledger.tree import Node
from bot.resources import resource_dir
from bot.store import ledger
from bot.store.database import Database

KEY = b"k" * 32
SIGNER = Signer.from_seed("example.org/werkstatt/ledger", b"l" * 32)
AT = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
ANNA, BERT = CustomerId("anna"), CustomerId("bert")


async def opened(folder: Path) -> Database:
    return await Database.open(folder / "b.db", key=KEY, migrations=resource_dir("migrations"))


@asynccontextmanager
async def a_ledger(folder: Path, size: int = 0) -> AsyncIterator[Database]:
    """A database with so many entries, in turns about two customers."""
    database = await opened(folder)
    try:
        for number in range(size):
            await append(database, number)
        yield database
    finally:
        await database.close()


async def append(database: Database, number: int, kind: LedgerKind = LedgerKind.GIVEN, **details: Any) -> Entry:
    async with database.transaction() as tx:
        return await ledger.append(
            *(tx, kind, {"purpose": f"purpose {number}", **details}),
            subject=(ANNA, BERT)[number % 2],
            at=AT + timedelta(minutes=number),
        )


async def sign(database: Database) -> str:
    async with database.transaction() as tx:
        return (await ledger.checkpoint(tx, SIGNER, at=AT)).note


async def audit(database: Database, *outside: str) -> Report:
    claims = [Claim("The checkpoint from outside", note) for note in outside]
    return await ledger.audited(database, SIGNER.verifier, claims)


class Forger:
    """Has the file, its key and time."""

    def __init__(self, file: Path, key: bytes = KEY) -> None:
        self._connection = sqlcipher.connect(str(file), isolation_level=None)
        self.run(f"PRAGMA key = \"x'{key.hex()}'\"")
        self.run("PRAGMA foreign_keys = OFF")
        for (name,) in self.rows("SELECT name FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'ledger%'"):
            self.run(f"DROP TRIGGER {name}")

    def run(self, sql: str, *values: Any) -> None:
        self._connection.execute(sql, values)

    def rows(self, sql: str, *values: Any) -> list[Any]:
        return list(self._connection.execute(sql, values))

    def one(self, sql: str, *values: Any) -> Any:
        return self.rows(sql, *values)[0][0]

    def forge_content(self, position: int, old: str, new: str) -> None:
        """Change what an entry says, and its commitment with it."""
        salt, payload = self.rows("SELECT salt, payload FROM ledger_contents WHERE position = ?", position)[0]
        forged = payload.replace(old.encode(), new.encode())
        assert forged != payload
        self.run("UPDATE ledger_contents SET payload = ? WHERE position = ?", forged, position)
        self.run("UPDATE ledger SET commitment = ? WHERE position = ?", commitment(salt, forged), position)

    def rebuild_tree(self) -> None:
        """Make the stored tree fit the entries again."""
        nodes: dict[Node, bytes] = {}
        for index, (committed,) in enumerate(self.rows("SELECT commitment FROM ledger ORDER BY position")):
            nodes |= tree.appended(nodes, index, hash_of_entry(committed))
        self.run("DELETE FROM ledger_nodes")
        for node, hashed in nodes.items():
            self.run("INSERT INTO ledger_nodes VALUES (?, ?, ?)", *node, hashed)
        self._nodes = nodes

    def sign_anew(self) -> None:
        """With the stolen key: one checkpoint over what is there now, and none before."""
        size = self.one("SELECT count(*) FROM ledger")
        self.run("DELETE FROM ledger_checkpoints")
        note = SIGNER.sign(size, tree.root(self._nodes, size)).note.encode()
        self.run("INSERT INTO ledger_checkpoints VALUES (?, ?, ?, 0)", SIGNER.origin, size, note)

    def truncate(self, size: int) -> None:
        for table in ("ledger_contents", "ledger"):
            self.run(f"DELETE FROM {table} WHERE position >= ?", size)

    def close(self) -> None:
        self._connection.close()
