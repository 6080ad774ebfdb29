"""The file on disk: encrypted whole, migrated once, closed to the wrong key and to the future."""

import asyncio
import itertools
import threading
from pathlib import Path
from typing import Any

import pytest

from bot.domain.errors import Fatal
from bot.resources import resource_dir
from bot.store.database import Connection, Database, Tx
from tests.waiting import until

KEY = b"k" * 32


async def opened(folder: Path, *, key: bytes = KEY, migrations: Path | None = None) -> Database:
    return await Database.open(folder / "b.db", key=key, migrations=migrations or resource_dir("migrations"))


async def put(tx: Tx, name: str) -> None:
    await tx.run("INSERT INTO facts VALUES (?, ?)", name, "@anna:canary.example")


async def test_nothing_readable_stands_on_disk(tmp_path: Path) -> None:
    database = await opened(tmp_path)
    async with database.transaction() as tx:
        await put(tx, "canary-name")

    everything = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    await database.close()
    everything += b"".join(file.read_bytes() for file in tmp_path.iterdir())

    assert b"canary" not in everything
    assert b"SQLite format" not in everything
    assert b"arrivals" not in everything


async def test_the_wrong_key_is_a_clear_stop_and_changes_nothing(tmp_path: Path) -> None:
    await (await opened(tmp_path)).close()
    before = (tmp_path / "b.db").read_bytes()

    with pytest.raises(Fatal, match="master secret"):
        await opened(tmp_path, key=b"x" * 32)

    assert (tmp_path / "b.db").read_bytes() == before


async def test_whoever_is_told_to_stop_while_it_opens_leaves_no_thread_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled at each statement in turn, as by a signal in the first moment of a start."""
    before, plain = set(threading.enumerate()), Connection.execute

    async def ends(stops_at: int) -> bool:
        count = itertools.count(1)

        def execute(connection: Connection, *statement: str) -> Any:
            if next(count) == stops_at:
                task.cancel()
            return plain(connection, *statement)

        monkeypatch.setattr(Connection, "execute", execute)
        task = asyncio.ensure_future(opened(tmp_path))
        try:
            await (await task).close()
        except asyncio.CancelledError:
            return False
        return True

    stops_at = 1
    while not await ends(stops_at):
        await until(lambda: set(threading.enumerate()) <= before, what="no thread but those that were there")
        stops_at += 1
    assert stops_at > 10


async def test_a_second_opening_migrates_nothing(tmp_path: Path) -> None:
    await (await opened(tmp_path)).close()
    database = await opened(tmp_path)
    count = await database.one("SELECT count(*) FROM migrations")
    await database.close()
    assert count is not None
    assert count[0] == len(list(resource_dir("migrations").glob("*.sql")))


def copied(folder: Path) -> Path:
    target = folder / "migrations"
    target.mkdir()
    for file in resource_dir("migrations").glob("*.sql"):
        (target / file.name).write_text(file.read_text())
    return target


async def test_a_database_from_the_future_is_refused(tmp_path: Path) -> None:
    newer = copied(tmp_path)
    number = len(list(newer.glob("*.sql"))) + 1
    (newer / f"{number:04d}_more.sql").write_text("CREATE TABLE more (x TEXT) STRICT;")
    await (await opened(tmp_path, migrations=newer)).close()

    with pytest.raises(Fatal, match="version"):
        await opened(tmp_path)


async def test_a_changed_migration_is_refused(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    await (await opened(tmp_path, migrations=folder)).close()
    first = min(folder.glob("*.sql"))
    first.write_text(first.read_text() + "\n-- changed")

    with pytest.raises(Fatal, match="Migration"):
        await opened(tmp_path, migrations=folder)


async def test_a_failing_migration_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    await (await opened(tmp_path, migrations=folder)).close()
    number = len(list(folder.glob("*.sql"))) + 1
    broken = folder / f"{number:04d}_broken.sql"
    broken.write_text("CREATE TABLE half (x TEXT) STRICT; CREATE TABLE facts (x TEXT) STRICT;")

    with pytest.raises(Fatal, match="as it was before"):
        await opened(tmp_path, migrations=folder)

    broken.unlink()
    database = await opened(tmp_path, migrations=folder)
    assert await database.one("SELECT 1 FROM sqlite_master WHERE name = 'half'") is None
    await database.close()


async def test_two_writers_wait_for_each_other_and_a_failure_undoes_only_its_own(tmp_path: Path) -> None:
    database = await opened(tmp_path)

    async def good(name: str) -> None:
        async with database.transaction() as tx:
            await asyncio.sleep(0)
            await put(tx, name)

    async def bad() -> None:
        async with database.transaction() as tx:
            await put(tx, "bad")
            await asyncio.sleep(0)
            raise ValueError

    results = await asyncio.gather(good("a"), bad(), good("b"), return_exceptions=True)

    names = [row[0] for row in await database.all("SELECT name FROM facts ORDER BY name")]
    await database.close()
    assert names == ["a", "b"]
    assert [type(result) for result in results] == [type(None), ValueError, type(None)]


async def test_a_room_that_was_encrypted_stays_encrypted(tmp_path: Path) -> None:
    database = await opened(tmp_path)
    columns = "room_id, kind, ours, space, encrypted, version, replaced_by, membership"
    async with database.transaction() as tx:
        await tx.run(f"INSERT INTO rooms ({columns}) VALUES ('!r', 'case', 1, 0, 1, '12', '', 'join')")
    with pytest.raises(Exception, match="stays encrypted"):
        async with database.transaction() as tx:
            await tx.run("UPDATE rooms SET encrypted = 0")
    await database.close()


async def test_cases_from_before_there_were_five_states_keep_theirs(tmp_path: Path) -> None:
    before = copied(tmp_path)
    for file in before.glob("*.sql"):
        if file.name >= "0010":
            file.unlink()
    database = await opened(tmp_path, migrations=before)
    async with database.transaction() as tx:
        await tx.run("INSERT INTO customers (id, user_id, first_seen_at) VALUES ('c', '@anna:x', 0)")
        for number, state in enumerate(("opening", "owed", "answered", "closed"), start=1):
            await tx.run(
                "INSERT INTO cases (number, customer_id, desk, state, alias, room_id, previous, opened_at)"
                " VALUES (?, 'c', 'd', ?, ?, ?, ?, 0)",
                *(number, state, f"a{number}", f"!r{number}", number - 1 or None),
            )
        await tx.run("INSERT INTO files VALUES ('mxc://x/y', '!r1', '$e', 4)")
    await database.close()

    database = await opened(tmp_path)
    rows = await database.all("SELECT number, state, resumes, state_since > 0, previous FROM cases ORDER BY number")
    assert [tuple(row) for row in rows] == [
        (1, "opening", None, 1, None),
        (2, "owed", None, 1, 1),
        (3, "answered", None, 1, 2),
        (4, "closed", None, 1, 3),
    ]
    assert await database.all("PRAGMA foreign_key_check") == []
    async with database.transaction() as tx:
        await tx.run("UPDATE cases SET state = 'later', resumes = 'ready' WHERE number = 1")
    with pytest.raises(Exception, match="CHECK"):
        async with database.transaction() as tx:
            await tx.run("UPDATE cases SET state = 'nonsense' WHERE number = 1")
    await database.close()
