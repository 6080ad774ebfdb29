"""A kill -9 between any two commits of the key store, and requests about keys that fail: nothing is lost, used twice or told.

What a kill leaves is exactly the bytes of the database, its log and its index at that moment, beside a server that has
done what it was asked until then. They are copied before and after every commit of a whole day (`scenario.py`); each
copy is then brought back to life, gets its last sync once more, and everything must hold.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playhouse.sqlcipher_ext import SqlCipherDatabase

from bot.domain.errors import Transient
from tests.matrix.scenario import BOT, World, live

Json = dict[str, Any]


@contextmanager
def every_commit(monkeypatch: pytest.MonkeyPatch, path: Path, look: Callable[[], None]) -> Iterator[None]:
    """Call `look` before and after everything that changes this database on disk."""
    execute, commit = SqlCipherDatabase.execute_sql, SqlCipherDatabase.commit

    def executed(self: Any, sql: str, *arguments: Any, **options: Any) -> Any:
        reads = sql.lstrip().upper().startswith(("SELECT", "PRAGMA"))
        if self.database == str(path) and not self.in_transaction() and not reads:
            look()
        return execute(self, sql, *arguments, **options)

    def committed(self: Any) -> Any:
        result = commit(self)
        if self.database == str(path):
            look()
        return result

    with monkeypatch.context() as patched:
        patched.setattr(SqlCipherDatabase, "execute_sql", executed)
        patched.setattr(SqlCipherDatabase, "commit", committed)
        yield


async def test_a_kill_between_any_two_commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "first").mkdir()
    world = World(tmp_path / "first")
    copies: list[tuple[str, World]] = []
    now = "opening"
    seen: tuple[Any, ...] = ()

    def look() -> None:
        nonlocal seen
        files = tuple(path.read_bytes() for path in sorted(world.folder.glob("bot-BOT.db*")))
        state = (files, len(world.server.calls), len(world.from_peers), len(world.from_bot))
        if files and state != seen:
            seen = state
            copies.append((now, world.copied(tmp_path / f"copy{len(copies)}")))

    with every_commit(monkeypatch, world.folder / "bot-BOT.db", look):
        async for name, step in live(world):
            now = name
            await step()
    await world.holds()
    world.close()

    assert len(copies) > 60
    for number, (name, copy) in enumerate(copies):
        try:
            await _goes_on(copy)
        except Exception as error:
            raise AssertionError(f"killed at commit {number}, in: {name}") from error
        finally:
            copy.close()


async def _goes_on(copy: World) -> None:
    if (BOT, "BOT") not in copy.people:
        copy.people[BOT, "BOT"] = None  # type: ignore[assignment]
    copy.opened()
    await copy.bot.keys.start()
    if len(copy.people) == 1:
        await copy._peers_come()
    await copy.sync()
    await copy.holds()


WAYS = ("not done", "done, answer lost", "no answer, not done", "no answer, done")
FAULTS = [
    *(("sendToDevice/m.room.encrypted", way) for way in WAYS),
    *(("keys/claim", way) for way in WAYS),
    *(("keys/upload", way) for way in WAYS[:2]),
]


class Fault:
    """Lets one occurrence of one request of the bot fail in one way."""

    def __init__(self, world: World, endpoint: str, number: int, way: str) -> None:
        self._world = world
        self._wanted = (endpoint, number, way)
        self._count = 0
        self.happened = False
        self.hangs = asyncio.Event()

    def install(self) -> None:
        client = self._world.bot.client
        plain = client.call
        endpoint, number, way = self._wanted

        async def call(method: str, path: str, body: Json | None = None, **options: Any) -> Any:
            if f"/{endpoint}" not in path:
                return await plain(method, path, body, **options)
            self._count += 1
            if self._count != number:
                return await plain(method, path, body, **options)
            self.happened = True
            if way in {"done, answer lost", "no answer, done"}:
                await plain(method, path, body, **options)
            if way.startswith("no answer"):
                self.hangs.set()
                await asyncio.Event().wait()
            raise Transient("no answer")

        client.call = call  # type: ignore[method-assign]

    async def live_through(self, step: Callable[[], Any]) -> None:
        """Do a step, as the product does: what hangs is given up, what failed is done again."""
        task, hangs = asyncio.ensure_future(step()), asyncio.ensure_future(self.hangs.wait())
        await asyncio.wait({task, hangs}, return_when=asyncio.FIRST_COMPLETED)
        if self.hangs.is_set() and not task.done():
            self.hangs.clear()
            task.cancel()
        hangs.cancel()
        outcome = (await asyncio.gather(task, hangs, return_exceptions=True))[0]
        if isinstance(outcome, Transient | asyncio.CancelledError):
            await step()
        elif isinstance(outcome, BaseException):
            raise outcome


@pytest.mark.parametrize(("endpoint", "way"), FAULTS)
async def test_a_request_fails_at_every_place(tmp_path: Path, endpoint: str, way: str) -> None:
    number = 0
    while True:
        number += 1
        folder = tmp_path / str(number)
        folder.mkdir()
        world = World(folder)
        fault: Fault | None = None
        async for name, step in live(world):
            if fault is None:
                fault = Fault(world, endpoint, number, way)
                fault.install()
            try:
                await fault.live_through(step)
            except Exception as error:
                raise AssertionError(f"{endpoint} {number} {way}, in: {name}") from error
        assert fault is not None
        if fault.happened:
            try:
                await world.holds()
            except Exception as error:
                raise AssertionError(f"{endpoint} {number} {way}") from error
        world.close()
        if not fault.happened:
            break
    assert number > 2
