"""People with one device each on one key server in memory."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest_asyncio

from tests.matrix.keyserver import KeyServer, Person, person

Meet = Callable[..., Awaitable[Person]]


@pytest_asyncio.fixture
async def encounter(tmp_path: Path) -> AsyncIterator[Meet]:
    """Make people; all are started unless told otherwise."""
    server = KeyServer()
    made: list[Person] = []

    async def make(user: str, device: str = "DEV", *, start: bool = True) -> Person:
        made.append(person(server, tmp_path / f"{user[1:-2]}-{device}.db", user, device))
        if start:
            await made[-1].keys.start()
        return made[-1]

    yield make
    for one in made:
        one.keys.close()
