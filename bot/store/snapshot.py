"""A consistent copy of a database that is in use, and what a copy holds."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlcipher3 import dbapi2 as sqlcipher

from bot.domain.errors import Fatal
from bot.store import facts
from bot.store.database import from_ms

LEFT_OUT = (facts.ACCESS_TOKEN, facts.DEVICE_ID, facts.RECOVERING, facts.ADOPTING)
"""What must not live twice: whoever takes up a copy is another device."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What stands in a database, in numbers."""

    version: int
    customers: int
    cases: int
    open_items: int
    parked_items: int
    newest: datetime | None  # when the last item came in


def copy(source: Path, target: Path, key: bytes, made_at: datetime) -> None:
    """Copy a database as it is at one moment, whoever is writing in it; the copy is sealed with the same key.

    It holds no way into the account, and says that whoever starts with it must look into the rooms first.

    Raises:
        Fatal: it cannot be opened, or the disk is full.
    """
    try:
        # VACUUM INTO reads in one transaction, leaves deleted pages out and keeps the cipher (tried: SQLCipher 4.19).
        _run(source, key, ("VACUUM INTO ?", (str(target),)))
        _run(
            target,
            key,
            ("PRAGMA secure_delete = ON", ()),
            ("BEGIN IMMEDIATE", ()),
            *(("DELETE FROM facts WHERE name = ?", (name,)) for name in LEFT_OUT),
            ("INSERT OR REPLACE INTO facts VALUES (?, ?)", (facts.RESTORED, made_at.isoformat())),
            ("COMMIT", ()),
        )
    except sqlcipher.DatabaseError as error:
        raise Fatal(f"{source.name} could not be copied ({error}). There is no new backup.") from error


def look(file: Path, key: bytes) -> Contents:
    """Check every page and every reference of a copy, and count.

    Raises:
        Fatal: it is damaged, or the key does not belong to it.
    """
    connection = _open(file, key)
    try:
        for pragma, sound in (
            ("cipher_integrity_check", []),
            ("integrity_check", [("ok",)]),
            ("foreign_key_check", []),
        ):
            if connection.execute(f"PRAGMA {pragma}").fetchall() != sound:
                raise Fatal(f"The database in the backup is damaged ({pragma}). Take an older backup.")
        open_items, parked, newest = connection.execute(
            "SELECT count(*) FILTER (WHERE state IN ('new', 'waiting')), count(*) FILTER (WHERE state = 'parked'),"
            " max(arrived_at) FROM arrivals"
        ).fetchone()
        return Contents(
            version=connection.execute("SELECT max(number) FROM migrations").fetchone()[0],
            customers=connection.execute("SELECT count(*) FROM customers").fetchone()[0],
            cases=connection.execute("SELECT count(*) FROM cases").fetchone()[0],
            open_items=open_items,
            parked_items=parked,
            newest=from_ms(newest) if newest is not None else None,
        )
    except sqlcipher.DatabaseError as error:
        raise Fatal(f"The database in the backup cannot be read ({error}). Take an older backup.") from error
    finally:
        connection.close()


def _open(file: Path, key: bytes) -> Any:
    connection = sqlcipher.connect(str(file), isolation_level=None, timeout=30)
    connection.execute("PRAGMA cipher_log_level = NONE")
    connection.execute(f"PRAGMA key = \"x'{key.hex()}'\"")
    return connection


def _run(file: Path, key: bytes, *statements: tuple[str, tuple[str, ...]]) -> None:
    connection = _open(file, key)
    try:
        for sql, values in statements:
            connection.execute(sql, values)
    finally:
        connection.close()
