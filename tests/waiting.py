"""Waiting for a condition instead of for a time: tests never sleep a guessed number of seconds.

A limit only tells what will never come from what is late. The seconds that a test names are those of a machine that does
nothing else; all of them are multiplied here, because several tests run side by side.
"""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

from bot.demo.peer import Peer, Seen

PATIENCE = 3
FIRST_PAUSE_S = 0.001
LONGEST_PAUSE_S = 0.05

Value = TypeVar("Value")


@overload
async def until(check: Callable[[], Awaitable[Value]], *, timeout_s: float = ..., what: str = ...) -> Value: ...


@overload
async def until(check: Callable[[], Value], *, timeout_s: float = ..., what: str = ...) -> Value: ...


async def until(check: Callable[[], Any], *, timeout_s: float = 20.0, what: str = "the condition") -> Any:
    """Return the first truthy value of `check`, plain or awaited. Raises AssertionError after the limit."""
    deadline = time.monotonic() + PATIENCE * timeout_s
    pause = FIRST_PAUSE_S
    while True:
        found = check()
        value = await found if inspect.isawaitable(found) else found
        if value:
            return value
        assert time.monotonic() < deadline, f"{what} did not come true within {PATIENCE * timeout_s} s"
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_S)


class PatientPeer(Peer):
    """A person who waits as long as `until` does."""

    async def wait_for(self, predicate: Callable[[Seen], bool], timeout_s: float = 20.0) -> Seen:
        """Return the first event, past or future, that fits. Raises TimeoutError that tells what was seen instead."""
        return await super().wait_for(predicate, PATIENCE * timeout_s)
