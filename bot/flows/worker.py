"""Lanes: every item in its turn, strictly in order within a lane, many lanes side by side.

An item may run again until its T2. `Transient` holds its lane, `Refused` and `Mistake` park it and tell people,
`Fatal` stops the process.
"""

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta

import structlog

from bot.domain.arrival import Item, ItemKind
from bot.domain.errors import Fatal, Mistake, Refused, Transient
from bot.domain.ids import Lane, SessionId
from bot.flows.surroundings import Surroundings
from bot.flows.warning import park
from bot.store import arrivals

SLOTS = 16
"""How many items are under way at once; the homeserver works serially anyway."""
DOOR_SLOTS = 4
"""How many invitations of strangers are. Their servers may not answer; nobody else waits for that."""

STAFF_SLOTS = 2
"""How many newcomers are invited to our rooms. A server may allow one invitation in minutes."""

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 60.0
LOOK_EVERY_S = 5.0
"""How often the clock is compared with what is due; a new timed item is seen no later."""

log = structlog.get_logger()


class Hold(Transient):
    """The item itself asks its lane to wait, at most so long; a wake-up ends the pause."""


class Worker:
    """Runs one task for each lane that has something to do."""

    def __init__(self, around: Surroundings, handle: Callable[[Item], Awaitable[None]]) -> None:
        self._around = around
        self._handle = handle
        self._slots = asyncio.Semaphore(SLOTS)
        self._slow = {
            ItemKind.INVITE: asyncio.Semaphore(DOOR_SLOTS),
            ItemKind.STAFF: asyncio.Semaphore(STAFF_SLOTS),
        }
        self._wakes: dict[Lane, asyncio.Event] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._due_changed = asyncio.Event()
        self._under_way = 0
        self._ending: asyncio.Event | None = None  # set once nothing is under way

    async def run(self) -> None:
        """Work until cancelled.

        Raises:
            ExceptionGroup: with the `Fatal` that stopped a lane.
        """
        async with self._around.database.transaction() as tx:
            await arrivals.wake_all_keyless(tx)
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            self.wake(await arrivals.open_lanes(self._around.database))
            tasks.create_task(self._watch_the_clock())

    def wake(self, lanes: Iterable[Lane]) -> None:
        """Something is new in these lanes."""
        for lane in lanes:
            running = self._wakes.get(lane)
            if running:
                running.set()
            elif self._tasks:
                self._wakes[lane] = asyncio.Event()
                self._tasks.create_task(self._lane(lane))
            self._due_changed.set()

    async def finish(self, within_s: float) -> None:
        """Begin nothing any more, and wait for what is under way, so long at most; the rest runs at the next start."""
        self._ending = asyncio.Event()
        if self._under_way:
            await _pause(self._ending, within_s)

    @property
    def is_busy(self) -> bool:
        """Tell whether more is to be done than fits side by side."""
        return self._slots.locked()

    async def keys_arrived(self, sessions: Iterable[SessionId]) -> None:
        """Keys came: what waited for them is handled now. Lanes that hold for a key look again."""
        async with self._around.database.transaction() as tx:
            lanes = await arrivals.wake_sessions(tx, sessions)
        self.wake(lanes)
        for running in self._wakes.values():
            running.set()

    async def _lane(self, lane: Lane) -> None:
        wake = self._wakes[lane]
        failures = 0
        try:
            while self._ending is None:
                wake.clear()
                try:
                    item = await arrivals.next_of(self._around.database, lane)
                    if item is None and not wake.is_set():
                        return
                    if item is not None:
                        failures = await self._try(item, wake, failures)
                except Transient as error:
                    failures = await self._wait_out(error, failures, "database")
        finally:
            # No await between the last look and this line, so a wake-up cannot fall in between.
            del self._wakes[lane]

    async def _try(self, item: Item, wake: asyncio.Event, failures: int) -> int:
        """Run one item; return how many times in a row it failed for now."""
        try:
            async with self._slow.get(item.kind, self._slots):
                await self._count(item)
        except Hold as hold:
            await _pause(wake, hold.retry_after_s or FIRST_PAUSE_S)
            return 0
        except Transient as error:
            return await self._wait_out(error, failures, item.kind.value)
        except (Refused, Mistake) as error:
            await park(self._around, item, error)
        except Fatal:
            raise
        except Exception as error:  # noqa: BLE001 - the one broad net: a fault of ours must not stop other customers
            log.error("item_failed", kind=item.kind.value, reason=type(error).__name__, stack=_where(error))
            await park(self._around, item, error)
        return 0

    async def _count(self, item: Item) -> None:
        if self._ending:
            return
        self._under_way += 1
        try:
            await self._handle(item)
        finally:
            self._under_way -= 1
            if self._ending and not self._under_way:
                self._ending.set()

    @staticmethod
    async def _wait_out(error: Transient, failures: int, kind: str) -> int:
        pause = error.retry_after_s or min(FIRST_PAUSE_S * 2**failures, LONGEST_PAUSE_S)
        log.info("item_held", kind=kind, reason=str(error), seconds=round(pause, 1))
        await asyncio.sleep(pause)
        return failures + 1

    async def _watch_the_clock(self) -> None:
        """Let items whose time has come into their lanes."""
        while True:
            self._due_changed.clear()
            try:
                wait_s = await self._wake_due()
            except Transient as error:
                log.info("clock_waits", reason=str(error))
                wait_s = LOOK_EVERY_S
            if wait_s > 0:
                await _pause(self._due_changed, min(wait_s, LOOK_EVERY_S))

    async def _wake_due(self) -> float:
        """Wake what is due; return the seconds until there may be more, 0 or less: look again."""
        due = await arrivals.next_due(self._around.database)
        wait_s = (due - self._around.now()) / timedelta(seconds=1) if due else LOOK_EVERY_S
        if wait_s <= 0:
            async with self._around.database.transaction() as tx:
                lanes = await arrivals.wake_due(tx, self._around.now())
            self.wake(lanes)
        return wait_s


async def _pause(wake: asyncio.Event, seconds: float | None) -> None:
    try:
        async with asyncio.timeout(seconds):
            await wake.wait()
    except TimeoutError:
        return


def _where(error: BaseException) -> str:
    """Name the lines of a fault without its values, which may be personal."""
    frames = traceback.extract_tb(error.__traceback__)
    return " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames[-4:]))
