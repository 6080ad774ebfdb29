"""What we do when the server asks us to slow down (429): one request at a time, in the order they came.

Each of the server's limits is kept apart, so that a room which may not be made yet delays no message. What people wait
for goes before what may come later. The order of one customer's messages is kept by their lane, not here.
"""

import asyncio
import itertools
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import TypeVar

import structlog

from bot.domain.errors import Transient

T = TypeVar("T")
log = structlog.get_logger()

CALM_AFTER_S = 60.0
"""So long after the last 429 requests still go one by one."""


class Limit(StrEnum):
    """Limits of Synapse 1.163 that a bot runs into."""

    EVENTS = "rc_message"
    ROOMS = "rc_room_creation"
    INVITES = "rc_invites"


class SlowDown(Transient):
    """The server answered 429; `retry_after_s` is always set."""


class _Queue:
    """Who waits for one limit."""

    def __init__(self) -> None:
        self.waiting: list[tuple[bool, int]] = []
        self.allowed_at = 0.0
        self.calm_at = 0.0
        self.changed = asyncio.Condition()
        self.busy = False


class Pace:
    """Lets requests through. `on_slow` is told of every 429."""

    def __init__(self) -> None:
        self._queues: defaultdict[Limit, _Queue] = defaultdict(_Queue)
        self._tickets = itertools.count()
        self.on_slow: Callable[[Limit], None] = lambda limit: None

    async def run(self, limit: Limit, request: Callable[[], Awaitable[T]], *, later: bool = False) -> T:
        """Make a request as soon as the server lets us. Raises what the request raises, but no `SlowDown`."""
        queue = self._queues[limit]
        if time.monotonic() >= queue.calm_at:
            try:
                return await request()
            except SlowDown as error:
                self._note(limit, queue, error)
        return await self._in_turn(limit, queue, request, later=later)

    async def _in_turn(self, limit: Limit, queue: _Queue, request: Callable[[], Awaitable[T]], *, later: bool) -> T:
        ticket = (later, next(self._tickets))
        queue.waiting.append(ticket)
        try:
            while True:
                async with queue.changed:
                    await queue.changed.wait_for(lambda: not queue.busy and min(queue.waiting) == ticket)
                    queue.busy = True
                try:
                    await asyncio.sleep(max(0.0, queue.allowed_at - time.monotonic()))
                    return await request()
                except SlowDown as error:
                    self._note(limit, queue, error)
                finally:
                    queue.busy = False
                    await self._tell(queue)
        finally:
            queue.waiting.remove(ticket)
            await self._tell(queue)

    @staticmethod
    async def _tell(queue: _Queue) -> None:
        async with queue.changed:
            queue.changed.notify_all()

    def _note(self, limit: Limit, queue: _Queue, error: SlowDown) -> None:
        now = time.monotonic()
        seconds = error.retry_after_s or 1.0
        queue.allowed_at = max(queue.allowed_at, now + seconds)
        queue.calm_at = now + seconds + CALM_AFTER_S
        log.info("slowed_down", limit=limit.value, seconds=round(seconds, 1))
        self.on_slow(limit)
