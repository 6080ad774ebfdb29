"""Waiting for a condition instead of for a time."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def until(check: Callable[[], Awaitable[T] | T], timeout_s: float = 20.0) -> T:
    """Return the first true answer of `check`, asked again and again.

    Raises:
        TimeoutError: it never became true.
    """
    end = time.monotonic() + timeout_s
    while True:
        answer = check()
        value: T = await answer if isinstance(answer, Awaitable) else answer
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"not true after {timeout_s:.0f} s: {check}")
        await asyncio.sleep(0.01)
