"""Key backup on the server: every Megolm session, sealed with a key that follows from nothing (Matrix 1.18).

The algorithm is `m.megolm_backup.v1.curve25519-aes-sha2`. It proves nothing about who wrote an entry: whoever runs the
server knows the public key and could add sessions in anybody's name. Therefore each entry of ours bears, inside, a MAC
by the private key, and no other entry is taken back. An entry of a session of ours also holds its first key, which no
export contains: without it, who is invited after a loss could not be given what was written before. What is not backed
up yet follows from the key store alone, so a crash loses nothing; uploads happen in the background and keep no message
waiting.
"""

import asyncio
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable
from typing import Any

import structlog
import vodozemac
from nio.crypto import InboundGroupSession

from bot.domain.errors import Refused, Transient
from bot.matrix.e2ee.machine import MEGOLM, Machine
from bot.matrix.e2ee.signing import Identity, canonical, unpadded
from bot.matrix.e2ee.store import FirstKey
from bot.matrix.transport import Transport, quote

log = structlog.get_logger()
Json = dict[str, Any]

ALGORITHM = "m.megolm_backup.v1.curve25519-aes-sha2"
BATCH = 100
LOOK_AGAIN_S = 3600.0
LONGEST_PAUSE_S = 300.0
_KEY = "backup_key"
_VERSION = "backup_version"
_MAC = "de.botschaft.mac"
_FIRST_KEY = "de.botschaft.first_key"


class Backup:
    """Brings sessions to the server and back. `foreign` is true while the account has a backup that is not ours."""

    def __init__(self, machine: Machine, transport: Transport) -> None:
        self._machine = machine
        self._transport = transport
        self._changed = asyncio.Event()
        self.foreign = False
        self.on_foreign: Callable[[], None] = lambda: None

    @property
    def key(self) -> bytes | None:
        """The private key of our backup."""
        stored = self._machine.store.value(_KEY)
        return bytes.fromhex(stored) if stored else None

    def adopt(self, key: bytes) -> None:
        """Use this private key, which came out of secret storage."""
        with self._machine.store.one_commit():
            self._machine.store.set_value(_KEY, key.hex())

    async def begin_anew(self) -> None:
        """Make a backup with a new key, which takes the place of whatever the account had."""
        with self._machine.store.one_commit():
            self._machine.store.remove_value(_VERSION)
            self._machine.store.remove_value(_KEY)
        shown = await self._shown()
        if shown is None:
            return
        try:
            await self._transport.call("DELETE", f"/_matrix/client/v3/room_keys/version/{quote(shown[0])}")
        except Refused as error:
            if error.status != 404:  # else it is gone already
                raise

    def missing(self) -> int:
        """Count the sessions that are not backed up."""
        return self._machine.store.count_not_backed_up()

    def look(self) -> None:
        """There may be something new to back up."""
        self._changed.set()

    async def prepare(self, identity: Identity) -> None:
        """Make sure that the account has a backup, ours; the key is stored before the server hears of it.

        A backup of somebody else is left alone, and ours stops: `foreign`.
        """
        key = self.key
        if key is None:
            key = secrets.token_bytes(32)
            self.adopt(key)
        public = _public(key)
        shown = await self._shown()
        if shown is None:
            version = await self._create(public, identity)
        elif shown[1] == public:
            version = shown[0]
        else:
            self.foreign = True
            self.on_foreign()
            return
        self.foreign = False
        if version != self._machine.store.value(_VERSION):
            with self._machine.store.one_commit():
                self._machine.store.set_value(_VERSION, version)
                self._machine.store.forget_backed_up()

    async def look_at(self) -> tuple[str | None, bool]:
        """Return the version of the account's backup, if there is one, and whether it is ours. Changes nothing."""
        key, shown = self.key, await self._shown()
        if shown is None:
            return None, False
        return shown[0], key is not None and shown[1] == _public(key)

    async def _shown(self) -> tuple[str, str] | None:
        """Return version and public key of the account's newest backup."""
        try:
            answer = await self._transport.call("GET", "/_matrix/client/v3/room_keys/version")
        except Refused as error:
            if error.status == 404:
                return None
            raise
        about = answer.get("auth_data")
        public = about.get("public_key") if isinstance(about, dict) else None
        return str(answer.get("version")), str(public).rstrip("=")

    async def _create(self, public: str, identity: Identity) -> str:
        about: Json = {"public_key": public}
        me, device = self._machine.user_id, self._machine.device_id
        signatures = {
            f"ed25519:{device}": self._machine.account.sign(canonical(about).decode()),
            f"ed25519:{identity.public('master')}": identity.sign("master", about),
        }
        body = {"algorithm": ALGORITHM, "auth_data": about | {"signatures": {me: signatures}}}
        answer = await self._transport.call("POST", "/_matrix/client/v3/room_keys/version", body)
        return str(answer["version"])

    async def run(self, identity: Identity) -> None:
        """Back up until cancelled: what is new within seconds, and a look at the server's version now and then."""
        pause = 1.0
        while True:
            self._changed.clear()
            try:
                await self.prepare(identity)
                while not self.foreign and await self.upload_some():
                    pass
                pause = 1.0
            except (Transient, Refused) as error:
                log.info("backup_waits", reason=str(error))
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE_S)
                continue
            try:
                async with asyncio.timeout(LOOK_AGAIN_S):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def upload_some(self) -> bool:
        """Back up to a hundred sessions; return whether there were any.

        Raises:
            Transient, Refused: later, then; a version that is no longer the newest is looked at again.
        """
        store = self._machine.store
        wanted, version = store.not_backed_up(BATCH), store.value(_VERSION)
        key = self.key
        if not wanted or version is None or key is None:
            return False
        sealer = vodozemac.PkEncryption.from_key(vodozemac.Curve25519PublicKey.from_base64(_public(key)))
        rooms: dict[str, Json] = {}
        done: list[tuple[str, int]] = []
        for session_id in wanted:
            session = store.load_inbound_group_session(session_id)
            assert session is not None, "it was listed a moment ago"
            sessions = rooms.setdefault(session.room_id, {"sessions": {}})["sessions"]
            sessions[session_id] = _entry(session, store.outbound(session_id), sealer, key)
            done.append((session_id, session.first_known_index))
            await asyncio.sleep(0)  # a burst of new sessions keeps nobody waiting
        await self._transport.call(
            "PUT", "/_matrix/client/v3/room_keys/keys", {"rooms": rooms}, query={"version": version}
        )
        with store.one_commit():
            store.add_backed_up(done)
        return True

    async def restore(self) -> int:
        """Fetch every session of the backup into the key store; return how many came.

        Raises:
            Transient: the server did not answer.
            Refused: there is no backup, or it is not ours.
        """
        key, shown = self.key, await self._shown()
        if key is None or shown is None or shown[1] != _public(key):
            raise Refused("the account has no key backup of ours", code="no_backup")
        answer = await self._transport.call(
            "GET", "/_matrix/client/v3/room_keys/keys", query={"version": shown[0]}, timeout_s=600
        )
        opener = vodozemac.PkDecryption.from_key(vodozemac.Curve25519SecretKey.from_bytes(key))
        found = answer.get("rooms")
        count = 0
        with self._machine.store.one_commit():
            self._machine.store.set_value(_VERSION, shown[0])
            for room_id, part in found.items() if isinstance(found, dict) else ():
                sessions = part.get("sessions") if isinstance(part, dict) else None
                for session_id, entry in sessions.items() if isinstance(sessions, dict) else ():
                    count += self._take(session_id, _opened(room_id, session_id, entry, opener, key))
        return count

    async def fetch(self, room_id: str, session_id: str) -> bool:
        """Take one session out of the backup, if it is there and by us.

        Raises:
            Transient: the server did not answer.
        """
        key, version = self.key, self._machine.store.value(_VERSION)
        if key is None or version is None or self.foreign:
            return False
        path = f"/_matrix/client/v3/room_keys/keys/{quote(room_id)}/{quote(session_id)}"
        try:
            entry = await self._transport.call("GET", path, query={"version": version})
        except Refused:
            return False  # it was never there, or the backup is another one by now
        opener = vodozemac.PkDecryption.from_key(vodozemac.Curve25519SecretKey.from_bytes(key))
        opened = _opened(room_id, session_id, entry, opener, key)
        known = self._machine.inbound_group_store.find(session_id)
        if opened is None or (known is not None and known.first_known_index <= opened[0].first_known_index):
            return False
        with self._machine.store.one_commit():
            return self._take(session_id, opened)

    def _take(self, session_id: str, opened: tuple[InboundGroupSession, FirstKey | None] | None) -> bool:
        """Keep one session of the backup; what is damaged or not by us is left out and said in the log."""
        session, first = opened or (None, None)
        if session is None or session.id != session_id:
            log.warning("backup_entry_damaged")
            return False
        if first is not None and self._machine.store.outbound(session_id) is None:
            self._machine.store.keep_outbound(session_id, session.room_id, *first)
        known = self._machine.inbound_group_store.find(session_id)
        if known is None or known.first_known_index > session.first_known_index:
            self._machine.inbound_group_store.add(session)
            self._machine.save_inbound_group_session(session)
        self._machine.store.add_backed_up([(session_id, session.first_known_index)])
        return True


def _public(key: bytes) -> str:
    decryption = vodozemac.PkDecryption.from_key(vodozemac.Curve25519SecretKey.from_bytes(key))
    return str(decryption.public_key.to_base64()).rstrip("=")


def _mac(key: bytes, room_id: str, session_id: str, clear: Json) -> str:
    return hmac.new(key, canonical(clear | {"room": room_id, "session": session_id}), hashlib.sha256).hexdigest()


def _entry(session: InboundGroupSession, first: FirstKey | None, sealer: vodozemac.PkEncryption, key: bytes) -> Json:
    index = session.first_known_index
    clear: Json = {
        "algorithm": MEGOLM,
        "sender_key": session.sender_key,
        "sender_claimed_keys": {"ed25519": session.ed25519},
        "forwarding_curve25519_key_chain": session.forwarding_chain,
        "session_key": session.export_session(index),
    }
    if first is not None:
        clear[_FIRST_KEY] = list(first)
    clear[_MAC] = _mac(key, session.room_id, session.id, clear)
    sealed = sealer.encrypt(json.dumps(clear).encode())
    data = {
        "ephemeral": unpadded(sealed.ephemeral_key),
        "ciphertext": unpadded(sealed.ciphertext),
        "mac": unpadded(sealed.mac),
    }
    return {"first_message_index": index, "forwarded_count": 0, "is_verified": False, "session_data": data}


def _opened(
    room_id: str, session_id: str, entry: Any, opener: vodozemac.PkDecryption, key: bytes
) -> tuple[InboundGroupSession, FirstKey | None] | None:
    """Open one entry; None if it cannot be, or is not by us. The server may have put anything there."""
    try:
        data = entry["session_data"]
        message = vodozemac.Message.from_base64(data["ciphertext"], data["mac"], data["ephemeral"])
        clear = json.loads(opener.decrypt(message))
        if not hmac.compare_digest(str(clear.pop(_MAC)), _mac(key, room_id, session_id, clear)):
            return None
        chain = clear.get("forwarding_curve25519_key_chain") or []
        session = InboundGroupSession.import_session(
            clear["session_key"], clear["sender_claimed_keys"]["ed25519"], clear["sender_key"], room_id, list(chain)
        )
        return session, tuple(clear[_FIRST_KEY]) if _FIRST_KEY in clear else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
