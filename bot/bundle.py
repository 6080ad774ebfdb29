"""The audit bundle: everything that somebody outside needs to check the ledger with tools of their own.

Nothing in it is about a customer: commitments, signed checkpoints, the texts that customers were shown, and the entries
that say which texts and purposes there were and what was erased.
"""

import json
import shutil
from pathlib import Path

from bot.domain.errors import Fatal
from bot.domain.ledger.audit import Row
from bot.domain.ledger.entries import LedgerKind
from bot.domain.ledger.notes import Signer
from bot.domain.purpose import canonical
from bot.resources import resource_dir
from bot.store import ledger, privacy_texts
from bot.store.database import Database

PUBLISHED = frozenset({LedgerKind.TEXT_PUBLISHED, LedgerKind.PURPOSE_PUBLISHED})
"""Entries that say which words and purposes there were."""


async def write(folder: Path, database: Database, signer: Signer, *, anchor: str | None) -> int:
    """Write the bundle into a folder that must not exist yet; return how many entries it covers.

    Raises:
        Fatal: the folder exists.
    """
    try:
        folder.mkdir()
    except FileExistsError:
        raise Fatal(f"{folder} exists already. Nothing was written; name a folder that does not exist.") from None
    async with database.snapshot() as tx:
        kept = await ledger.checkpoints(tx)
        rows = [row async for portion in ledger.all_rows(tx) for row in portion]
        shown = await privacy_texts.words(tx)
    (folder / "leaves.bin").write_bytes(b"".join(row.committed for row in rows))
    _write_erasures(folder, rows)
    _write_opened(folder / "published.jsonl", rows, PUBLISHED)
    (folder / "texts").mkdir()
    for sha256, text in shown.items():
        (folder / "texts" / f"{sha256}.txt").write_bytes(canonical(text).encode())
    (folder / "checkpoints").mkdir()
    for number, (_, size, note) in enumerate(kept, start=1):
        _write(folder / "checkpoints" / f"{number:06d}-size-{size}.txt", note)
    if anchor is not None:
        _write(folder / "anchor.txt", anchor)
    _write(folder / "pub.pem", signer.verifier.pem)
    _write(folder / "vkey.txt", signer.verifier.vkey(signer.origin) + "\n")
    for name in ("verify.py", "VERIFY.md"):
        shutil.copyfile(resource_dir("config") / "audit" / name, folder / name)
    return len(rows)


def _write_erasures(folder: Path, rows: list[Row]) -> None:
    gone = [f"{row.position},{row.erased_by}" for row in rows if row.erased_by is not None]
    _write(folder / "tombstones.csv", "\n".join(["index,erased_by", *gone]) + "\n")
    _write_opened(folder / "erasures.jsonl", rows, frozenset({LedgerKind.ERASED}))


def _write_opened(file: Path, rows: list[Row], kinds: frozenset[LedgerKind]) -> None:
    """Open the entries of these kinds; none of them is about a person."""
    said = [
        {"index": row.position, "salt": row.salt.hex(), "payload": row.payload.decode()}
        for row in rows
        if row.kind in kinds and row.subject is None and row.salt and row.payload
    ]
    _write(file, "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in said))


def _write(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")
