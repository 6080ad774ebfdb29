"""Opening encrypted events: decrypted, and then believed only as far as it can be proved who wrote them.

Against matrix-nio 0.26.0: plaintext that is not JSON raises out of the sync (sessions.py:348, olm_machine.py:1426);
encrypted state events are taken for state, so a stranger can add members (base_client.py:740); the inner room id and
the owner of the session are not compared (tests/matrix/test_opening.py shows each).
"""

from dataclasses import dataclass
from typing import Any

import vodozemac
from nio.crypto import InboundGroupSession, OlmDevice

from bot.domain.ids import RoomId, SessionId
from bot.domain.message import Forged, Message, NoKey, Untrusted
from bot.matrix.content import message_of
from bot.matrix.e2ee.devices import Devices
from bot.matrix.e2ee.machine import MEGOLM, Machine, parsed
from bot.matrix.e2ee.trust import Standing, Trust
from bot.matrix.handshakes import is_handshake

Json = dict[str, Any]

STATE_TYPES = frozenset(
    {
        *("m.room.create", "m.room.member", "m.room.power_levels", "m.room.join_rules", "m.room.encryption"),
        *("m.room.name", "m.room.topic", "m.room.avatar", "m.room.canonical_alias", "m.room.history_visibility"),
        *("m.room.guest_access", "m.room.tombstone", "m.room.server_acl", "m.room.pinned_events"),
        *("m.room.third_party_invite", "m.space.child", "m.space.parent"),
    }
)


@dataclass(frozen=True, slots=True)
class Opened:
    """What an encrypted event says, and the device that said it."""

    event_type: str
    content: Json
    device_id: str
    standing: Standing = Standing.SIGNED


class Opening:
    """Decrypts one event at a time; of the machine only the list of opened messages is written."""

    def __init__(self, machine: Machine, devices: Devices, trust: Trust) -> None:
        self._machine = machine
        self._trust = trust
        self._devices = devices

    async def open(self, room_id: str, event: Json) -> Opened | NoKey | Forged | Untrusted:
        """Decrypt an event and check everything that can be checked.

        Raises:
            Transient: the sender's devices had to be asked for and the server did not answer, or the key store could
                not be written; the event counts as not opened.
        """
        content = event["content"]
        session_id, ciphertext = content.get("session_id"), content.get("ciphertext")
        if content.get("algorithm") != MEGOLM or not isinstance(session_id, str) or not isinstance(ciphertext, str):
            return Forged("algorithm")
        session = self._machine.inbound_group_store.find(session_id)
        if session is None or session.room_id != room_id:
            return self._no_key(session_id, event)
        decrypted = self._decrypt(session, ciphertext, event)
        if not isinstance(decrypted, tuple):
            return decrypted
        plaintext, index = decrypted
        payload = parsed(plaintext)
        reason = self._fault(payload, room_id)
        if payload is None or reason:
            return Forged(reason)
        sender = event["sender"]
        device = await self._owner(sender, session)
        if device is None:
            return Forged("owner", _said(room_id, event, payload))
        if self._is_replay(session.id, index, event["event_id"]):
            return Forged("replay")
        standing = self._trust.standing(sender, device)
        if not self._trust.policy.believes(sender, standing) and await self._devices.query_sender(sender):
            standing = self._trust.standing(sender, device)  # it may have been signed a moment ago
        if not self._trust.policy.believes(sender, standing) and not is_handshake(payload["type"], payload["content"]):
            # A verification is how such a device becomes believed.
            return Untrusted(standing.value, _said(room_id, event, payload))
        return Opened(str(payload["type"]), payload["content"], str(device.id), standing)

    def _no_key(self, session_id: str, event: Json) -> NoKey:
        code = self._machine.store.withheld(event["sender"], session_id) if session_id.isascii() else ""
        return NoKey(SessionId(session_id), code)

    def _decrypt(self, session: InboundGroupSession, ciphertext: str, event: Json) -> tuple[str, int] | NoKey | Forged:
        try:
            if vodozemac.MegolmMessage.from_base64(ciphertext).message_index() < session.first_known_index:
                return self._no_key(session.id, event)
            plaintext, index = session.decrypt(ciphertext)
        except ValueError:
            return Forged("ciphertext")
        return str(plaintext), int(index)

    def _fault(self, payload: Json | None, room_id: str) -> str:
        if payload is None or not isinstance(payload.get("content"), dict) or not isinstance(payload.get("type"), str):
            return "payload"
        if "state_key" in payload or payload["type"] in STATE_TYPES:
            return "state"
        if payload.get("room_id") != room_id:
            return "room"
        return ""

    def _is_replay(self, session_id: str, index: int, event_id: str) -> bool:
        """Tell whether this message was opened before, under another event id; asked of its own sender's events only.

        Somebody else's copy must not make the genuine event a replay. Only what is written is in memory.
        """
        seen, message = self._machine.message_index_store, (session_id, index)
        if message not in seen:
            with self._machine.store.commit_soon():
                first = self._machine.store.first_event(session_id, index, event_id)
            seen[message] = first
        return bool(seen[message] != event_id)

    async def _owner(self, sender: str, session: InboundGroupSession) -> OlmDevice | None:
        """Return the device of the sender that made this session; None if no device of theirs did."""
        device = self._machine.device_of(sender, session.sender_key, session.ed25519)
        if device is None and await self._devices.query_sender(sender):
            device = self._machine.device_of(sender, session.sender_key, session.ed25519)
        return device


def _said(room_id: str, event: Json, payload: Json) -> Message:
    """Return what stands in an event that nobody may be believed for; only a withdrawal of consent counts."""
    return message_of(RoomId(room_id), event, str(payload["type"]), payload["content"], encrypted=False)
