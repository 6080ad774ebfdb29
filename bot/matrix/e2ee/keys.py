"""The one door to everything about keys. Members are told to us by the caller; timelines never come near nio."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from cachetools import LRUCache

from bot.domain.errors import Transient
from bot.domain.ids import RoomId, SessionId, UserId
from bot.domain.message import Forged, NoKey, Untrusted
from bot.domain.room import Rotation
from bot.matrix.e2ee import resting, signing, withheld
from bot.matrix.e2ee.backup import Backup
from bot.matrix.e2ee.devices import Devices
from bot.matrix.e2ee.machine import MEGOLM, Machine
from bot.matrix.e2ee.opening import Opened, Opening
from bot.matrix.e2ee.owing import Owing
from bot.matrix.e2ee.own_device import DeviceStatus, OwnDevice
from bot.matrix.e2ee.recovery import Recovery
from bot.matrix.e2ee.secret_storage import SecretStorage
from bot.matrix.e2ee.self_test import SelfTest
from bot.matrix.e2ee.sharing import WITHHELD, Sharing
from bot.matrix.e2ee.signing import Signing
from bot.matrix.e2ee.store import CipherStore
from bot.matrix.e2ee.trust import Policy, Trust
from bot.matrix.e2ee.uploads import Uploads
from bot.matrix.e2ee.verifications import Verifications
from bot.matrix.e2ee.watermark import Watermark
from bot.matrix.handshakes import PREFIX
from bot.matrix.transport import Transport

log = structlog.get_logger()
Json = dict[str, Any]

STEPS_AN_HOUR = 60
SETTLE_EVERY_S = 2.0


@dataclass(frozen=True, slots=True)
class KeysArrived:
    """What the to-device messages of one sync brought."""

    sessions: frozenset[SessionId]
    withheld: tuple[str, ...] = ()  # codes, e.g. `m.unverified`
    handshakes: tuple[Json, ...] = ()  # steps of verifications, as they came


class Keys:
    """Account, sessions, devices and signatures of the one device we are."""

    def __init__(
        self,
        store: CipherStore,
        machine: Machine,
        transport: Transport,
        clock: Callable[[], float],
        policy: Policy | None = None,
    ) -> None:
        self._store = store
        self._machine = machine
        self._transport = transport
        self._trust = Trust(machine, policy or Policy())
        self._devices = Devices(machine, transport, self._trust)
        self._uploads = Uploads(machine, transport, clock)
        self._sharing = Sharing(machine, self._devices, self._trust, transport, clock)
        self._owing = Owing(machine, self._devices, self._sharing, clock)
        self._opening = Opening(machine, self._devices, self._trust)
        self._signing = Signing(machine, transport)
        self.verifications = Verifications(machine, self._devices, self._trust, self._signing)
        self._backup = Backup(machine, transport)
        storage = SecretStorage(transport, machine.user_id)
        self._watermark = Watermark(machine, storage)
        self._recovery = Recovery(machine, storage, self._backup)
        self._own_device = OwnDevice(store, machine, self._signing, self._backup, self._recovery)
        self.self_test = SelfTest(machine, transport)
        machine.on_session = self._backup.look
        self.alarm: Callable[[str], None] = lambda text: None
        self.on_identities: Callable[[Iterable[str]], None] = lambda users: None
        self.on_unsigned_staff: Callable[[str, str], None] = lambda user, device: None
        self.on_unreached: Callable[[str, str], None] = lambda room_id, session_id: None
        self.withheld_codes: Counter[str] = Counter()
        self._clock = clock
        self._asked_by: LRUCache[str, tuple[int, int]] = LRUCache(10_000)
        self._devices.on_identities = self._identities_learned
        self._sharing.on_unsigned_staff = self._staff_is_unsigned
        self._sharing.on_owed = self._owing.look
        self._sharing.on_unreached = self._nobody_was_reached
        self._backup.on_foreign = lambda: self.alarm("admin.foreign_backup")
        store.on_rollback = self._after_rollback

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        database_key: bytes,
        pickle_key: bytes,
        user_id: UserId,
        device_id: str,
        transport: Transport,
        clock: Callable[[], float] = time.time,
        policy: Policy | None = None,
    ) -> "Keys":
        """Open or create the key store of one device.

        Raises:
            Fatal: it cannot be opened with this master secret.
        """
        store = CipherStore(
            user_id, device_id, str(path.parent), pickle_key.hex(), path.name, database_key=database_key
        )
        return cls(store, Machine(user_id, device_id, store), transport, clock, policy)

    def _identities_learned(self, users: Iterable[str]) -> None:
        self.on_identities(users)

    def _staff_is_unsigned(self, user: str, device: str) -> None:
        self.on_unsigned_staff(user, device)

    def _nobody_was_reached(self, room_id: str, session_id: str) -> None:
        self.on_unreached(room_id, session_id)

    def _after_rollback(self) -> None:
        self._machine.reload()
        self._sharing.forget_all()
        self._trust.forget()

    async def start(self) -> None:
        """Check that the server knows this device as we do, upload what is missing, and be cross-signed.

        Raises:
            Fatal: the server has other keys or another identity; which command to run.
        """
        await self._own_device.check()
        await self._watermark.check()
        self._sharing.go_on_with(resting.take_up(self._machine))
        if self._sharing.sessions:
            await self._watermark.show()
        await self._signing.refuse_foreign()
        await self._uploads.refill()
        await self._signing.ensure()
        await self._backup.prepare(self._identity())

    def rest(self) -> None:
        """An orderly stop: the next start goes on with our sessions. Nothing may be sent after this.

        Raises:
            Transient: the key store could not be written; then the next start makes new ones.
        """
        resting.lay_down(self._machine, self._sharing.sessions)
        self._sharing.forget_all()

    async def keep_safe(self) -> None:
        """Back up and remember how far we are, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._backup.run(self._identity()))
            tasks.create_task(self._watermark.run())
            tasks.create_task(self._owing.run())
            tasks.create_task(self._settle())

    async def _settle(self) -> None:
        while True:
            await asyncio.sleep(SETTLE_EVERY_S)
            try:
                self._store.settle()
            except Transient as error:
                log.info("key_store_waits", reason=str(error))

    def follow_members(self, members_of: Callable[[str], Awaitable[Iterable[str]]]) -> None:
        """Say who is joined or invited in a room, for keys that are handed out later."""
        self._owing.members_of = members_of

    async def hand_out_owed(self) -> None:
        """Try at once whatever key we owe to anybody; see `Owing`."""
        await self._owing.pay(all_now=True)

    def count_not_backed_up(self) -> int:
        """Count the sessions that the key backup lacks."""
        return self._backup.missing()

    def count_owed(self) -> int:
        """Count the keys that devices should have and could not be given yet."""
        return len(self._store.owed())

    def _identity(self) -> signing.Identity:
        identity = signing.load(self._machine)
        assert identity is not None, "`start` made sure of it"
        return identity

    async def has_recovery_key(self) -> bool:
        """Tell whether the account has secret storage."""
        return await self._recovery.has_key()

    async def make_recovery_key(self) -> bytes:
        """Seal our secrets on the server with a new recovery key; see `Recovery`."""
        return await self._recovery.make_key()

    async def adopt_secrets(self, recovery_key: bytes) -> None:
        """Take identity and backup key out of secret storage into this key store; see `Recovery`."""
        await self._recovery.adopt(recovery_key)

    async def restore(self) -> int:
        """Fetch all sessions of the key backup; return how many."""
        return await self._backup.restore()

    async def replace_identity(self, password: str) -> None:
        """Give the account a new identity. The backup has to begin anew after it (`begin_backup_anew`)."""
        await self._signing.replace(password)

    async def begin_backup_anew(self) -> None:
        """Give up the account's key backup; the next start makes a new one, with a new key."""
        await self._backup.begin_anew()

    def obey(self, policy: Policy) -> None:
        """From now on this policy holds; sessions that somebody may not read any more are not used again."""
        self._trust.policy = policy

    @property
    def staff(self) -> frozenset[str]:
        """Who works here, as the configuration says."""
        return self._trust.policy.staff

    @property
    def backup_is_foreign(self) -> bool:
        """Tell whether the account has a key backup that is not ours; then nothing is backed up."""
        return self._backup.foreign

    @property
    def is_published(self) -> bool:
        """Tell whether the server has ever taken the keys of this key store."""
        return bool(self._machine.account.shared)

    @property
    def is_signed(self) -> bool:
        """Tell whether the server has shown, since the start, that our device is signed by our identity."""
        return self._machine.signed_device_keys is not None

    def take_in(
        self,
        to_device: Iterable[Json],
        changed: Iterable[str],
        left: Iterable[str],
        counts: Json | None,
        unused_fallback_types: list[Any] | None,
    ) -> KeysArrived:
        """Take everything about keys of one sync: one synchronous call, one commit, whatever strangers sent.

        Raises:
            Transient: the key store could not be written; nothing of it happened.
        """
        sessions: set[SessionId] = set()
        codes: list[str] = []
        heard_from = set(changed)
        handshakes: list[Json] = []
        with self._store.one_commit():
            for event in to_device:
                if event.get("type") == "m.room.encrypted":
                    session = self._machine.receive(event)
                    if session:
                        sessions.add(SessionId(session))
                        self._store.forget_withheld(event["sender"])
                    heard_from.add(str(event.get("sender")))
                elif event.get("type") == WITHHELD and (code := withheld.take(self._store, event)):
                    codes.append(code)
                    if code == "m.no_olm":
                        self._machine.start_anew(event)
                elif str(event.get("type")).startswith(PREFIX) and self._may_ask(str(event.get("sender"))):
                    handshakes.append(event)
        self._devices.mark_changed([*changed, *left])
        self._uploads.heed(counts, unused_fallback_types)
        self._owing.heard_from(heard_from)
        self.withheld_codes.update(codes)
        for code in codes:
            log.warning("key_withheld", code=code)
        return KeysArrived(frozenset(sessions), tuple(codes), tuple(handshakes))

    def _may_ask(self, sender: str) -> bool:
        """Anybody can send steps of verifications; beyond what a person does they are dropped before they get a row."""
        hour, count = self._asked_by.get(sender, (0, 0))
        now = int(self._clock() // 3600)
        self._asked_by[sender] = (now, count + 1 if hour == now else 1)
        return self._asked_by[sender][1] <= STEPS_AN_HOUR

    async def upkeep(self) -> None:
        """Do what a sync made necessary: refill the server, start anew with devices whose sessions broke.

        Raises:
            Transient: later, then.
            Fatal: the server knows newer keys than this key store.
        """
        await self._uploads.refill()
        await self._devices.query_stale()
        if self._machine.wedged_devices:
            await self._sharing.unwedge()

    async def open_event(self, room_id: RoomId, event: Json) -> Opened | NoKey | Forged | Untrusted:
        """Decrypt one encrypted event; see `Opening`."""
        return await self._opening.open(room_id, event)

    async def seal(
        self,
        room_id: RoomId,
        members: Iterable[UserId],
        event_type: str,
        content: Json,
        *,
        full_history: bool,
        to_all: bool = False,
        rotation: Rotation = Rotation(),  # noqa: B008 - frozen
    ) -> Json:
        """Encrypt for all devices of these members that we believe; see `Sharing`."""
        return await self._sharing.seal(
            *(room_id, members, event_type, content), full_history=full_history, to_all=to_all, rotation=rotation
        )

    def changed_identities(self) -> list[tuple[UserId, str]]:
        """Return whose identity is another one than people were told of, with their new master key."""
        return [(UserId(user), key) for user, key in self._store.changed_identities()]

    def signatures_of(self, user: str) -> str:
        """Return a digest of a user's identity and signed devices."""
        return self._trust.signatures_of(user)

    def identity_announced(self, user: UserId, master_key: str) -> None:
        """People were told of it."""
        with self._store.one_commit():
            self._store.identity_announced(user, master_key)

    async def confirm_identity(self, user: UserId) -> bool:
        """An admin confirms the identity that a user has now; False if they have none."""
        await self._devices.query([user])
        pinned = self._trust.pin(user)
        if pinned:
            self.on_identities([user])
        return pinned

    async def sign_identity(self, user: UserId, master_key: str) -> bool:
        """Sign and pin an identity that people have compared; see `Verifications`."""
        signed = await self.verifications.sign(user, master_key)
        if signed:
            self.on_identities([user])
        return signed

    async def send_to_device(self, event_type: str, user: UserId, device: str, content: Json, txn: str) -> None:
        """Send one plain to-device event; the same `txn` sends it once."""
        await self._sharing.send_to_device(event_type, {user: {device: content}}, txn)

    async def share_history(self, room_id: RoomId, user_id: UserId) -> None:
        """Give a staff member what we wrote in a room before they came."""
        await self._sharing.share_history(room_id, user_id)

    def rotate(self, room_id: RoomId) -> None:
        """Use a new session in this room from now on."""
        self._sharing.rotate(room_id)

    async def look_for_key(self, room_id: RoomId, event: Json) -> bool:
        """Look for the key of an event in our backup (True: it is here now), and ask the sender's devices, once.

        Raises:
            Transient: the server did not answer.
        """
        session_id = event["content"].get("session_id")
        if not isinstance(session_id, str) or not session_id.isascii() or session_id in self._machine.asked_sessions:
            return False
        if await self._backup.fetch(room_id, session_id):
            return True
        body = {"algorithm": MEGOLM, "room_id": room_id, "session_id": session_id}
        sender_key = event["content"].get("sender_key")
        if isinstance(sender_key, str):
            body["sender_key"] = sender_key
        request = {
            "action": "request",
            "body": body,
            "request_id": f"{session_id}",
            "requesting_device_id": self._machine.device_id,
        }
        await self._sharing.send_to_device("m.room_key_request", {event["sender"]: {"*": request}})
        self._machine.asked_sessions.add(session_id)
        return False

    async def status(self) -> DeviceStatus:
        """Compare what the server shows with what we hold."""
        return await self._own_device.status()

    def staff_faults(self) -> dict[str, list[str]]:
        """Return members of the team who cannot be believed yet, by what they lack; from what we know already."""
        found: dict[str, list[str]] = {}
        for user in sorted(self.staff):
            if fault := self._trust.fault(user):
                found.setdefault(fault, []).append(user)
        return found

    def close(self) -> None:
        """Close the key store."""
        self._store.database.close()
