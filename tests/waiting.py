"""Waiting for a condition instead of for a time: tests never sleep a guessed number of seconds."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

POLL_EVERY_S = 0.02

Value = TypeVar("Value")


@overload
async def until(check: Callable[[], Awaitable[Value]], *, timeout_s: float = ..., what: str = ...) -> Value: ...


@overload
async def until(check: Callable[[], Value], *, timeout_s: float = ..., what: str = ...) -> Value: ...


async def until(check: Callable[[], Any], *, timeout_s: float = 20.0, what: str = "the condition") -> Any:
    """Return the first truthy value of `check`, plain or awaited. Raises AssertionError after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = check()
        value = await found if inspect.isawaitable(found) else found
        if value:
            return value
        assert time.monotonic() < deadline, f"{what} did not come true within {timeout_s} s"
        await asyncio.sleep(POLL_EVERY_S)
