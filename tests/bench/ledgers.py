"""The ledger by itself: appends a second, each in a commit of its own with its fsync, and a whole verification."""

import asyncio
import secrets
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlcipher3 import dbapi2 as sqlcipher

from bot.domain.ids import CustomerId
from bot.domain.ledger import tree
from bot.domain.ledger.entries import Fact, LedgerKind, commitment, hash_of_entry
from bot.domain.ledger.notes import Signer
from bot.domain.ledger.tree import Node
from bot.resources import resource_dir
from bot.store import ledger
from bot.store.database import Database

Json = dict[str, Any]
KEY = b"k" * 32
SIGNER = Signer.from_seed("example.org/bench/ledger", b"l" * 32)
WHOLE = 100_000
DETAILS = {"purpose": "news", "text_sha256": "ab" * 32, "decision_event": "$" + "x" * 43, "words": "Ja", "lang": "de"}


def measure(rounds: int, *, appends: int, entries: int) -> Json:
    """Return both figures, medians of so many rounds. With fewer entries the second one is scaled."""
    found = [asyncio.run(_round(appends, entries)) for _ in range(rounds)]
    rates, times = zip(*found, strict=True)
    return {"ledger_appends_per_s": statistics.median(rates), "ledger_verify_100k_s": statistics.median(times)}


async def _round(appends: int, entries: int) -> tuple[float, float]:
    with tempfile.TemporaryDirectory(prefix="botschaft-ledger-") as name:
        file = Path(name) / "b.db"
        database = await _opened(file)
        started = time.perf_counter()
        for _ in range(appends):
            async with database.transaction() as tx:
                await ledger.append(tx, LedgerKind.GIVEN, DETAILS, subject=CustomerId("c"), at=datetime.now(UTC))
        rate = appends / (time.perf_counter() - started)
        await database.close()
        file.unlink()

        await (await _opened(file)).close()
        _fill(file, entries)
        database = await _opened(file)
        started = time.perf_counter()
        report = await ledger.audited(database, SIGNER.verifier)
        took = (time.perf_counter() - started) * WHOLE / entries
        assert (report.is_clean, report.size) == (True, entries), report.findings[:3]
        await database.close()
        return rate, took


async def _opened(file: Path) -> Database:
    return await Database.open(file, key=KEY, migrations=resource_dir("migrations"))


def _fill(file: Path, count: int) -> None:
    """Write so many entries at once, as if they had been appended."""
    rows, contents = [], []
    nodes: dict[Node, bytes] = {}
    for position in range(count):
        fact = Fact(secrets.token_hex(16), LedgerKind.GIVEN, CustomerId("c"), datetime.now(UTC), DETAILS)
        salt, payload = secrets.token_bytes(32), fact.payload()
        committed = commitment(salt, payload)
        rows.append((position, committed))
        contents.append((position, "c", "given", salt, payload))
        nodes |= tree.appended(nodes, position, hash_of_entry(committed))
    connection = sqlcipher.connect(str(file), isolation_level=None)
    connection.execute(f"PRAGMA key = \"x'{KEY.hex()}'\"")
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO ledger VALUES (?, ?)", rows)
    connection.executemany(
        "INSERT INTO ledger_contents (position, subject, kind, salt, payload) VALUES (?, ?, ?, ?, ?)", contents
    )
    connection.executemany(
        "INSERT INTO ledger_nodes VALUES (?, ?, ?)", [(*node, hashed) for node, hashed in nodes.items()]
    )
    connection.execute("COMMIT")
    connection.close()


if __name__ == "__main__":
    print(measure(3, appends=1000, entries=WHOLE))
