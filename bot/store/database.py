"""One encrypted SQLite file: opening, transactions, migrations.

One writer connection behind one lock, readers on a second one. No network call may happen inside a transaction.
What may wait for the disk, or read much, runs in a thread for each connection. The statements of a transaction do not:
they take some microseconds, and each way to the other thread and back takes a hundred.
"""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiosqlite
from sqlcipher3 import dbapi2 as sqlcipher

from bot.domain.arrival import author_mark
from bot.domain.errors import Fatal, Transient

Row = Sequence[Any]


@contextmanager
def _failures_told(file: str) -> Iterator[None]:
    """Turn SQLite's failures into ours. What is full or busy passes; what is damaged does not."""
    try:
        yield
    except sqlcipher.OperationalError as error:
        raise Transient(f"database: {type(error).__name__}") from error
    except sqlcipher.DatabaseError as error:
        if type(error) is not sqlcipher.DatabaseError:  # its subclasses are faults of ours
            raise
        raise Fatal(
            f"{file} is damaged. The bot stops before it gets worse. Copy the folder, check the disk, and restore a "
            "backup; `botschaft doctor` says more."
        ) from error


class Tx:
    """A transaction of the writer. A function that takes one cannot be called outside of it."""

    def __init__(self, connection: sqlcipher.Connection) -> None:
        self._connection = connection

    async def run(self, sql: str, *values: Any) -> int:
        """Run one statement and return how many rows it changed."""
        return int(self._connection.execute(sql, values).rowcount)

    async def run_many(self, sql: str, rows: Iterable[Row]) -> None:
        """Run one statement for each row of values."""
        self._connection.executemany(sql, rows)

    async def all(self, sql: str, *values: Any) -> list[Row]:
        """Return all rows."""
        return list(self._connection.execute(sql, values).fetchall())

    async def one(self, sql: str, *values: Any) -> Row | None:
        """Return the first row, or None."""
        rows = await self.all(sql, *values)
        return rows[0] if rows else None


class Connection(aiosqlite.Connection):
    """A connection with a thread of its own. What its thread is not busy with may also be run `here`."""

    def __init__(self, path: Path, key: bytes) -> None:
        self.here = sqlcipher.connect(str(path), isolation_level=None, check_same_thread=False, timeout=5)
        self.here.execute("PRAGMA cipher_log_level = NONE")  # its lines on stderr explain nothing to anybody
        self.here.execute(f"PRAGMA key = \"x'{key.hex()}'\"")
        super().__init__(lambda: self.here, iter_chunk_size=256)


class Database:
    """The writer, the reader, and the lock between them."""

    def __init__(self, writer: Connection, reader: Connection, name: str) -> None:
        self._name = name
        self._writer = writer
        self._reader = reader
        self._lock = asyncio.Lock()
        self._reading = 0  # reads under way in the reader's thread

    @classmethod
    async def open(cls, path: Path, *, key: bytes, migrations: Path | None) -> "Database":
        """Open or create the file and bring it to the newest version. No migrations: leave it at the version it has.

        Raises:
            Fatal: wrong key, damaged file, a version from the future, or a migration that was changed afterwards.
        """
        writer = await _connect(path, key)
        try:
            with _failures_told(path.name):
                if migrations is not None:
                    await _migrate(writer, migrations)
            reader = await _connect(path, key, only_reads=True)
        except Transient as error:
            await writer.close()
            raise Fatal(_unwritable(path)) from error
        except BaseException:
            await writer.close()
            raise
        return cls(writer, reader, path.name)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Tx]:
        """Everything inside is one commit, or nothing of it happened.

        Raises:
            Transient: the disk is full or busy; nothing was written.
            Fatal: the file is damaged.
        """
        async with self._lock:
            try:
                with _failures_told(self._name):
                    await self._writer.execute("BEGIN IMMEDIATE")
                    yield Tx(self._writer.here)
                    await self._writer.commit()
            except BaseException:
                await self._writer.rollback()
                raise

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Tx]:
        """Read several things as they were at one moment, for processes that do nothing else with the reader.

        Raises:
            Transient: the disk is in trouble.
        """
        try:
            await self._reader.execute("BEGIN")
            yield Tx(self._reader.here)
        except sqlcipher.OperationalError as error:
            raise Transient(f"database: {type(error).__name__}") from error
        finally:
            await self._reader.rollback()

    async def all(self, sql: str, *values: Any) -> list[Row]:
        """Read all rows outside of any transaction.

        Raises:
            Transient: the disk is in trouble.
            Fatal: the file is damaged.
        """
        self._reading += 1
        try:
            with _failures_told(self._name):
                return list(await self._reader.execute_fetchall(sql, values))
        finally:
            self._reading -= 1

    async def one(self, sql: str, *values: Any) -> Row | None:
        """Read the first row, or None. It is found at once, so only a connection that is busy needs its thread.

        Raises:
            Transient, Fatal: as `all`.
        """
        if self._reading:
            return next(iter(await self.all(sql, *values)), None)
        with _failures_told(self._name):
            return next(iter(self._reader.here.execute(sql, values).fetchall()), None)

    async def version(self) -> int:
        """Return the number of the last migration that was applied."""
        row = await self.one("PRAGMA user_version")
        return int(row[0]) if row else 0

    async def close(self) -> None:
        """Close both connections; the write-ahead log is folded into the file."""
        await self._reader.close()
        await self._writer.close()


def _unwritable(path: Path) -> str:
    return (
        f"{path} cannot be written: the disk is full, read-only or in trouble, or another user owns the file. Nothing "
        "was changed. `botschaft doctor` says more."
    )


async def _connect(path: Path, key: bytes, *, only_reads: bool = False) -> Connection:
    connection = Connection(path, key)
    await connection
    try:
        await connection.create_function("author_mark", 2, author_mark, deterministic=True)
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "secure_delete = ON"):
            await connection.execute(f"PRAGMA {pragma}")
        if only_reads:
            await connection.execute("PRAGMA query_only = ON")
    except BaseException as error:
        await connection.close()  # its thread would keep a process alive that was told to stop
        if not isinstance(error, sqlcipher.DatabaseError):
            raise
        if isinstance(error, sqlcipher.OperationalError):
            raise Fatal(_unwritable(path)) from error
        raise Fatal(
            f"{path.name} cannot be opened with this master secret. Nothing was changed. Put back the master secret "
            "that belongs to this folder, or restore both from the same backup."
        ) from error
    return connection


def newest_version(folder: Path) -> int:
    """Return the version that this program brings a database to."""
    return len(_migrations(folder))


def _migrations(folder: Path) -> list[Path]:
    return sorted(folder.glob("[0-9][0-9][0-9][0-9]_*.sql"))


async def _migrate(connection: aiosqlite.Connection, folder: Path) -> None:
    """Apply each numbered file once, in order; one file and its number are one commit."""
    files = _migrations(folder)
    await connection.execute(
        "CREATE TABLE IF NOT EXISTS migrations (number INTEGER PRIMARY KEY, sha256 TEXT NOT NULL) STRICT"
    )
    applied = {row[0]: row[1] for row in await connection.execute_fetchall("SELECT number, sha256 FROM migrations")}
    if applied and max(applied) > len(files):
        raise Fatal(
            f"The database is of version {max(applied)}, this program knows {len(files)}. "
            "Start the newer program again, or restore a backup made before the update."
        )
    for number, file in enumerate(files, start=1):
        await _apply(connection, number, file, applied.get(number))


async def _apply(connection: aiosqlite.Connection, number: int, file: Path, known: str | None) -> None:
    script = file.read_text(encoding="utf-8")
    digest = hashlib.sha256(script.encode()).hexdigest()
    if known == digest:
        return
    if known is not None or not file.name.startswith(f"{number:04d}_"):
        raise Fatal(f"Migration {file.name} is not the one this database was made with. Install the program again.")
    # executescript() commits whatever is open before it begins, so the transaction must stand inside the script.
    try:
        await connection.executescript(
            f"BEGIN IMMEDIATE;\n{script}\nINSERT INTO migrations VALUES ({number}, '{digest}');\n"
            f"PRAGMA user_version = {number};\nCOMMIT;"
        )
    except sqlcipher.DatabaseError as error:
        await connection.rollback()
        raise Fatal(f"Migration {file.name} failed; the database is as it was before. ({error})") from error


Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The clock of production."""
    return datetime.fromtimestamp(time.time(), UTC)


def to_ms(moment: datetime) -> int:
    """Store a moment as milliseconds since 1970 in UTC."""
    return round(moment.timestamp() * 1000)


def from_ms(milliseconds: int) -> datetime:
    """Read a stored moment."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
