"""Our own Megolm sessions: made, shared with every device of every member, joined or invited, before the first use.

Against matrix-nio 0.26.0: a failed `/sendToDevice` logs the client out and counts as shared (responses.py:608,
async_client.py:2268; test_a_failed_share_raises_and_is_not_counted); devices without a one-time key are skipped for
good (olm_machine.py; see `owing`); a cancelled share blocks its room for ever
(`sharing_session`; test_a_cancelled_share_blocks_nothing).
"""

import asyncio
import json
import sys
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

import structlog
from nio.crypto import OlmDevice, OutboundGroupSession

from bot.domain.errors import Refused, Transient
from bot.domain.room import Rotation
from bot.matrix.e2ee import withheld
from bot.matrix.e2ee.devices import Devices
from bot.matrix.e2ee.machine import MEGOLM, Machine
from bot.matrix.e2ee.store import Owed
from bot.matrix.e2ee.trust import Trust
from bot.matrix.transport import Transport, quote

log = structlog.get_logger()
Json = dict[str, Any]
DeviceName = tuple[str, str]

WITHHELD = "m.room_key.withheld"
DEVICES_PER_REQUEST = 20
CLAIM_TIMEOUT_S = 10.0


@dataclass
class Outbound:
    """One session of ours under way. `shared` names the devices that have its key, `missed` those that are owed it."""

    session: OutboundGroupSession
    first_key: str
    members: set[str]
    since: float  # seconds since the epoch
    shared: set[DeviceName] = field(default_factory=set)
    missed: set[DeviceName] = field(default_factory=set)
    withheld: set[DeviceName] = field(default_factory=set)


class Sharing:
    """Seals what we send."""

    def __init__(
        self, machine: Machine, devices: Devices, trust: Trust, transport: Transport, clock: Callable[[], float]
    ) -> None:
        self._machine = machine
        self._trust = trust
        self.on_unsigned_staff: Callable[[str, str], None] = lambda user, device: None
        self.on_owed: Callable[[], None] = lambda: None
        self.on_unreached: Callable[[str, str], None] = lambda room_id, session_id: None
        self._devices = devices
        self._transport = transport
        self._clock = clock
        self._outbound: dict[str, Outbound] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def rotate(self, room_id: str) -> None:
        """Use a new session from the next message on."""
        self._outbound.pop(room_id, None)

    @property
    def sessions(self) -> dict[str, Outbound]:
        """The sessions under way, by their rooms."""
        return self._outbound

    def go_on_with(self, sessions: dict[str, Outbound]) -> None:
        """Use these sessions. What happened to devices meanwhile has to be asked for before the first use."""
        for outbound in sessions.values():
            # nio's own limits are fixed (sessions.py:365) and raise in the middle of a send; ours are the room's.
            outbound.session.max_messages, outbound.session.max_age = sys.maxsize, timedelta.max
            self._devices.mark_changed(outbound.members)
        self._outbound |= sessions

    def forget_all(self) -> None:
        """After a rollback no session may be used that the store does not know."""
        self._outbound.clear()

    def readers(self, user: str) -> list[OlmDevice]:
        """Return the devices of a user that may read what we write."""
        return self._trust.believed(user, self._devices.active(user))

    async def seal(
        self,
        room_id: str,
        members: Iterable[str],
        event_type: str,
        content: Json,
        *,
        full_history: bool,
        to_all: bool = False,
        rotation: Rotation = Rotation(),  # noqa: B008 - frozen
    ) -> Json:
        """Return the encrypted content, after everybody who should read it has been given the key.

        A device that cannot be reached now is owed the key (`Owing`). `to_all`: also devices that we do not believe,
        by a session that is used this once.

        Raises:
            Transient: keys could not be asked for or handed out; nothing was encrypted.
            Refused: there is no device of anybody that could ever read it.
        """
        async with self._locks[room_id]:
            ready = self._once if to_all else partial(self._ready, full_history=full_history, rotation=rotation)
            outbound = await ready(room_id, set(members))
            outbound.session.mark_as_shared()
            plaintext = {"type": event_type, "content": content, "room_id": room_id}
            # UTF-8 as it is: nio escapes it, and a long German text would then no longer fit into an event.
            ciphertext = outbound.session.encrypt(json.dumps(plaintext, ensure_ascii=False, separators=(",", ":")))
            return {
                "algorithm": MEGOLM,
                "sender_key": self._machine.curve25519,
                "ciphertext": ciphertext,
                "session_id": outbound.session.id,
                "device_id": self._machine.device_id,
            }

    async def _ready(self, room_id: str, members: set[str], *, full_history: bool, rotation: Rotation) -> Outbound:
        outbound = self._usable(room_id, members, rotation)
        # Whoever is new here may never have been announced to us: the server tells of members of joined rooms only.
        await self._devices.query(members - outbound.members | self._devices.stale(members) if outbound else members)
        if outbound and self._lost_a_device(outbound):
            outbound = None
            await self._devices.query(members)
        if outbound is None:
            outbound = self._new(room_id, members)
        outbound.members = members
        await self._reach(outbound, room_id, full_history=full_history)
        self._outbound[room_id] = outbound
        if not outbound.shared and not outbound.missed and not full_history:
            # Sent now, this could be read by nobody, ever. In staff rooms who comes later is given the key.
            raise Refused("no device of anybody could be given the key", code="no_device")
        return outbound

    async def _once(self, room_id: str, members: set[str]) -> Outbound:
        """Return a session that every device has, whoever signed it: for a sentence that holds no secret."""
        await self._devices.query(members)
        outbound = self._new(room_id, members)
        devices = [device for user in sorted(members) for device in self._devices.active(user)]
        await self.claim(devices)
        outbound.shared = await self.hand_out(devices, room_id, outbound.session.id, outbound.first_key)
        return outbound

    def _usable(self, room_id: str, members: set[str], rotation: Rotation) -> Outbound | None:
        """Return the session of a room if it may still be used: not too old for the room, and nobody left since."""
        outbound = self._outbound.get(room_id)
        if outbound is None or outbound.members - members:
            return None
        is_worn = outbound.session.message_count >= rotation.messages
        is_old = self._clock() - outbound.since >= rotation.period / timedelta(seconds=1)
        return None if is_worn or is_old else outbound

    def _lost_a_device(self, outbound: Outbound) -> bool:
        there = {(user, device.id) for user in outbound.members for device in self.readers(user)}
        return bool(outbound.shared - there)

    def _new(self, room_id: str, members: set[str]) -> Outbound:
        with self._machine.store.one_commit():
            self._machine.create_outbound_group_session(room_id)
            session = self._machine.outbound_group_sessions[room_id]
            key = session.session_key
            self._machine.store.keep_outbound(session.id, room_id, key, round(self._clock() * 1000))
        # nio's own limits are fixed (sessions.py:365) and raise in the middle of a send; ours are the room's.
        session.max_messages, session.max_age = sys.maxsize, timedelta.max
        return Outbound(session, key, members, self._clock())

    async def _reach(self, outbound: Outbound, room_id: str, *, full_history: bool) -> None:
        """Give the key to every device that lacks it; those that cannot be reached are owed it."""
        await self._withhold(outbound, room_id)
        wanted = [
            device
            for user in sorted(outbound.members)
            for device in self.readers(user)
            if (user, device.id) not in outbound.shared | outbound.missed
        ]
        if not wanted:
            return
        await self.claim(wanted)
        key = outbound.first_key if full_history else outbound.session.session_key
        reached = await self.hand_out(wanted, room_id, outbound.session.id, key)
        outbound.shared |= reached
        missed = [device for device in wanted if (device.user_id, device.id) not in reached]
        if missed:
            await self._owe(outbound, room_id, key, missed)

    async def _owe(self, outbound: Outbound, room_id: str, key: str, devices: list[OlmDevice]) -> None:
        """Write down what these devices miss, and tell them why."""
        log.warning("devices_without_key", count=len(devices))
        names = {(device.user_id, device.id) for device in devices}
        with self._machine.store.one_commit():
            for name in names:
                self._machine.store.add_owed(Owed(name, outbound.session.id, room_id, key, self._clock()))
        outbound.missed |= names
        self.on_owed()
        if not outbound.shared:
            self.on_unreached(room_id, outbound.session.id)
        messages: defaultdict[str, Json] = defaultdict(dict)
        for device in devices:
            messages[device.user_id][device.id] = withheld.refusal("m.no_olm", self._machine.curve25519)
        try:
            await self.send_to_device(WITHHELD, messages)
        except Transient as error:
            log.info("withheld_not_told", reason=str(error))  # it explains, no more; the debt is written down

    async def _withhold(self, outbound: Outbound, room_id: str) -> None:
        """Tell devices that we do not believe that they get no key, and why (once per session)."""
        messages: defaultdict[str, Json] = defaultdict(dict)
        for user in sorted(outbound.members):
            believed = {device.id for device in self.readers(user)}
            for device in self._devices.active(user):
                if device.id in believed or (user, device.id) in outbound.withheld:
                    continue
                messages[user][device.id] = withheld.refusal(
                    "m.unverified", self._machine.curve25519, room_id=room_id, session_id=outbound.session.id
                )
                if user in self._trust.policy.staff:
                    self.on_unsigned_staff(user, device.id)
        if messages:
            log.warning("keys_withheld", count=sum(map(len, messages.values())))
            await self.send_to_device(WITHHELD, messages)
            outbound.withheld |= {(user, device) for user, told in messages.items() for device in told}

    async def claim(self, devices: Iterable[OlmDevice], *, anew: bool = False) -> list[OlmDevice]:
        """Start Olm sessions with devices that have none (`anew`: with all); return those it worked for."""
        wanted = [device for device in devices if anew or not self._machine.session_store.get(device.curve25519)]
        if not wanted:
            return []
        keys: defaultdict[str, Json] = defaultdict(dict)
        for device in wanted:
            keys[device.user_id][device.id] = "signed_curve25519"
        body = {"one_time_keys": keys, "timeout": round(CLAIM_TIMEOUT_S * 1000)}
        answer = await self._transport.call(
            "POST", "/_matrix/client/v3/keys/claim", body, timeout_s=CLAIM_TIMEOUT_S + 5
        )
        found = answer.get("one_time_keys")
        found = found if isinstance(found, dict) else {}
        with self._machine.store.one_commit():
            return [device for device in wanted if self._start(device, found)]

    def _start(self, device: OlmDevice, found: Json) -> bool:
        """Start one Olm session from a claimed key that the device has signed; a bad key skips the device."""
        try:
            key = next(iter(found[device.user_id][device.id].values()))
            if not self._machine.verify_json(key, device.ed25519, device.user_id, device.id):
                return False
            self._machine.create_session(key["key"], device.curve25519)
        except (ValueError, KeyError, TypeError, AttributeError, StopIteration, RecursionError):
            return False
        return True

    async def hand_out(self, devices: list[OlmDevice], room_id: str, session_id: str, key: str) -> set[DeviceName]:
        """Send a room key to devices with which we have an Olm session; return those that were sent it."""
        content = {"algorithm": MEGOLM, "room_id": room_id, "session_id": session_id, "session_key": key}
        known = [device for device in devices if self._machine.session_store.get(device.curve25519)]
        reached: set[DeviceName] = set()
        for begin in range(0, len(known), DEVICES_PER_REQUEST):
            part = known[begin : begin + DEVICES_PER_REQUEST]
            await self.send_olm(part, "m.room_key", content)
            names = [(device.user_id, device.id) for device in part]
            with self._machine.store.one_commit():
                self._machine.store.add_shares(session_id, names)
            reached |= set(names)
        outbound = self._outbound.get(room_id)
        if outbound and outbound.session.id == session_id:
            outbound.shared |= reached
            outbound.missed -= reached
        return reached

    async def send_olm(self, devices: list[OlmDevice], event_type: str, content: Json) -> None:
        """Send one Olm message to each of these devices. The ratchets are committed before the request leaves."""
        messages: defaultdict[str, Json] = defaultdict(dict)
        with self._machine.store.one_commit():
            self._machine.store.count_sent()
            for device in devices:
                messages[device.user_id][device.id] = self._machine.seal_olm(device, event_type, content)
        await self.send_to_device("m.room.encrypted", messages)

    async def send_to_device(self, event_type: str, messages: Json, txn: str = "") -> None:
        """PUT to-device messages; the server takes them all or none, and those of one `txn` once."""
        path = f"/_matrix/client/v3/sendToDevice/{quote(event_type)}/{txn or uuid.uuid4().hex}"
        await self._transport.call("PUT", path, {"messages": messages})

    async def share_history(self, room_id: str, user: str) -> None:
        """Give a member's devices the first key of every session of ours in a room, if they lack it."""
        async with self._locks[room_id]:
            await self._devices.query([user])
            for session_id, key in self._machine.store.outbound_of(room_id):
                known = self._machine.store.shares_of(session_id, user)
                lacking = [device for device in self.readers(user) if device.id not in known]
                if not lacking:
                    continue
                await self.claim(lacking)
                await self.hand_out(lacking, room_id, session_id, key)

    async def unwedge(self) -> None:
        """Start anew with devices whose messages we could not decrypt: a new session, and a dummy through it."""
        wedged, self._machine.wedged_devices = self._machine.wedged_devices, []
        try:
            started = await self.claim(wedged, anew=True)
            if started:
                await self.send_olm(started, "m.dummy", {})
        except Transient:
            self._machine.wedged_devices.extend(wedged)
            raise
