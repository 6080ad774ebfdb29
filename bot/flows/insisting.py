"""Trying until the other side answers: for the start, where nobody else can go on meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from bot.domain.errors import Transient

LONGEST_PAUSE_S = 10.0
T = TypeVar("T")
log = structlog.get_logger()


async def insist(attempt: Callable[[], Awaitable[T]], *, on_wait: Callable[[Transient], None] | None = None) -> T:
    """Return what the attempt returns, as soon as it is not `Transient` any more. Other failures come out.

    `on_wait` hears of each failure before the pause; what it raises comes out as well.
    """
    failures = 0
    while True:
        try:
            return await attempt()
        except Transient as error:
            pause = error.retry_after_s or min(0.5 * 2**failures, LONGEST_PAUSE_S)
            failures += 1
            if on_wait:
                on_wait(error)
            log.warning("start_waits", reason=str(error), seconds=round(pause, 1))
            await asyncio.sleep(pause)
