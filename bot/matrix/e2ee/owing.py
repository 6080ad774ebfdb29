"""Keys that we owe: a device was to read a message and could not be reached (no one-time key, a server that is down).

What it was to read is written down before the message leaves, with the key as it was then, and tried again until the
device has it, also after a restart. Against matrix-nio 0.26.0, which skips such devices for good (olm_machine.py;
test_a_device_that_had_no_key_gets_it_later). Nobody who left the room meanwhile, and no device that is gone or no
longer believed, is given anything.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

import structlog
from nio.crypto import OlmDevice

from bot.domain.errors import Refused, Transient
from bot.matrix.e2ee.devices import Devices
from bot.matrix.e2ee.machine import Machine
from bot.matrix.e2ee.sharing import DeviceName, Sharing
from bot.matrix.e2ee.store import Owed

log = structlog.get_logger()

FIRST_PAUSE_S = 60.0
LONGEST_PAUSE_S = 3600.0
"""One-time keys come back unannounced, so there is nothing but asking again, less and less often."""
OWED_FOR_S = 30 * 24 * 3600.0


@dataclass(slots=True)
class _Patience:
    """When a device is tried next (monotonic), and how long the pause after that is."""

    next_at: float
    pause_s: float = FIRST_PAUSE_S


class Owing:
    """Pays the debts in the background. `members_of` tells who is joined or invited in a room now."""

    def __init__(self, machine: Machine, devices: Devices, sharing: Sharing, clock: Callable[[], float]) -> None:
        self._machine = machine
        self._devices = devices
        self._sharing = sharing
        self._clock = clock
        self._patience: dict[DeviceName, _Patience] = {}
        self._changed = asyncio.Event()
        self.members_of: Callable[[str], Awaitable[Iterable[str]]] = _nobody

    def look(self) -> None:
        """There is a new debt."""
        self._changed.set()

    def heard_from(self, users: Iterable[str]) -> None:
        """These people are there, or have other devices now: try theirs at once."""
        there = set(users)
        for (user, _), patience in self._patience.items():
            if user in there:
                patience.next_at = time.monotonic()
                self._changed.set()

    async def run(self) -> None:
        """Pay until cancelled. A device that was missed a moment ago is tried after a pause."""
        for owed in self._machine.store.owed():
            self._patience.setdefault(owed.device, _Patience(time.monotonic()))
        while True:
            self._changed.clear()
            try:
                wait_s = await self.pay()
            except (Transient, Refused) as error:
                log.info("owed_keys_wait", reason=str(error))
                wait_s = FIRST_PAUSE_S
            try:
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def pay(self, *, all_now: bool = False) -> float | None:
        """Try every device whose time has come; return the seconds until the next one, None if nothing is owed.

        Raises:
            Transient: the server did not answer; the debts stay.
        """
        debts = await self._valid(self._machine.store.owed())
        now = time.monotonic()
        due: list[Owed] = []
        for debt in debts:
            patience = self._patience.setdefault(debt.device, _Patience(now + FIRST_PAUSE_S))
            if all_now or patience.next_at <= now:
                due.append(debt)
        if due:
            await self._pay(due, now)
        waits = [self._patience[debt.device].next_at - now for debt in debts if debt.device in self._patience]
        return max(1.0, min(waits)) if waits else None

    async def _valid(self, debts: list[Owed]) -> list[Owed]:
        """Forget what nobody may be given any more."""
        members: dict[str, set[str]] = {}
        for room_id in {debt.room_id for debt in debts}:
            members[room_id] = set(await self.members_of(room_id))
        oldest = self._clock() - OWED_FOR_S
        kept: list[Owed] = []
        void: list[Owed] = []
        for debt in debts:
            is_there = debt.device[0] in members[debt.room_id] and self._reader(debt) is not None
            (kept if is_there and debt.since >= oldest else void).append(debt)
        if void:
            with self._machine.store.one_commit():
                for debt in void:
                    self._machine.store.forget_owed(debt)
                    self._patience.pop(debt.device, None)
        return kept

    async def _pay(self, due: list[Owed], now: float) -> None:
        await self._devices.query(self._devices.stale({debt.device[0] for debt in due}))
        readers = {debt.device: device for debt in due if (device := self._reader(debt))}
        await self._sharing.claim(readers.values())
        by_key: defaultdict[tuple[str, str, str], list[OlmDevice]] = defaultdict(list)
        for debt in due:
            if debt.device in readers:
                by_key[debt.room_id, debt.session_id, debt.session_key].append(readers[debt.device])
        paid: set[DeviceName] = set()
        for (room_id, session_id, key), devices in by_key.items():
            paid |= await self._sharing.hand_out(devices, room_id, session_id, key)
        for name in {debt.device for debt in due} - paid:
            patience = self._patience[name]
            patience.next_at = now + patience.pause_s
            patience.pause_s = min(patience.pause_s * 2, LONGEST_PAUSE_S)
        for name in paid:
            self._patience.pop(name, None)
        if paid:
            log.info("owed_keys_given", count=len(paid))

    def _reader(self, debt: Owed) -> OlmDevice | None:
        user, device_id = debt.device
        return next((device for device in self._sharing.readers(user) if device.id == device_id), None)


async def _nobody(room_id: str) -> Iterable[str]:
    """Who wires us says who is in a room; until then nobody is."""
    return ()
