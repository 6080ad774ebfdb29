"""nio's Olm machine with the receiving half done anew: whatever a stranger sends, it returns, and nothing is lost.

Against matrix-nio 0.26.0 (crypto/olm_machine.py):
- malformed to-device events and room keys raise out of `decrypt_event`, `_create_inbound_session`,
  `create_group_session` (test_poison_never_stops_the_machine);
- the account is saved before the one-time key is used up, so a used key comes back
  (`_create_inbound_session`; test_a_used_one_time_key_stays_used_after_a_restart);
- a room key at a later index replaces an earlier one (`create_group_session`; test_a_later_index_never_replaces).

No savepoints: an Olm ratchet that moved is kept, and only the content of a bad event is dropped.
"""

import json
import re
from collections.abc import Callable
from typing import Any

import structlog
import vodozemac
from nio.crypto import InboundGroupSession, InboundSession, OlmDevice
from nio.crypto.olm_machine import Olm
from unpaddedbase64 import decode_base64, encode_base64

from bot.matrix import strange_json
from bot.matrix.e2ee.store import CipherStore, InboundSessions

log = structlog.get_logger()
Json = dict[str, Any]

OLM = "m.olm.v1.curve25519-aes-sha2"
MEGOLM = "m.megolm.v1.aes-sha2"
_PUBLIC_KEY = re.compile(r"[A-Za-z0-9+/]{43}=?", re.ASCII)
AnyMessage = vodozemac.PreKeyMessage | vodozemac.AnyOlmMessage


class Dropped(Exception):
    """This to-device event is not usable; the reason is one word."""


class Machine(Olm):  # type: ignore[misc]
    """Accounts, sessions and devices of one device of ours."""

    store: CipherStore
    inbound_group_store: InboundSessions

    def __init__(self, user_id: str, device_id: str, store: CipherStore) -> None:
        super().__init__(user_id, device_id, store)
        self.asked_sessions: set[str] = set()
        self.signed_device_keys: Json | None = None
        self.on_session: Callable[[], None] = lambda: None
        self.key_owners = self._key_owners()
        store.on_rollback = self.reload

    def reload(self) -> None:
        """Forget what is in memory and read the store again: after a rollback memory is ahead of it."""
        self.account = self.store.load_account()
        self.load()
        self.key_owners = self._key_owners()
        self.outbound_group_sessions.clear()
        self.wedged_devices.clear()
        self.message_index_store.clear()

    def _key_owners(self) -> dict[str, tuple[str, str]]:
        """Say which device each identity key belongs to, deleted ones too: Olm sessions stay filed under the key."""
        owners = {self.curve25519: (self.user_id, self.device_id)}
        for device in self.device_store:
            owners.setdefault(device.curve25519, (device.user_id, device.id))
        return owners

    @property
    def curve25519(self) -> str:
        """Our own identity key."""
        return str(self.account.identity_keys["curve25519"])

    @property
    def ed25519(self) -> str:
        """Our own fingerprint key."""
        return str(self.account.identity_keys["ed25519"])

    def receive(self, event: Json) -> str | None:
        """Take one encrypted to-device event; return the id of the Megolm session whose key it brought, if it did.

        The caller holds one commit around all events of a sync.
        """
        try:
            sender, sender_key, message = _olm_message(event, self.curve25519)
            payload = self._open(sender, sender_key, message)
            return self._use(sender, sender_key, payload)
        except Dropped as reason:
            log.info("to_device_dropped", reason=str(reason))
            return None

    def _open(self, sender: str, sender_key: str, message: AnyMessage) -> Json:
        plaintext = self._decrypt_with_known(sender_key, message)
        if plaintext is None and isinstance(message, vodozemac.PreKeyMessage):
            plaintext = self._decrypt_with_new(sender_key, message)
        if plaintext is None:
            self._mark_device_for_unwedging(sender, sender_key)
            raise Dropped("undecryptable")
        return self._checked(sender, plaintext)

    def start_anew(self, withheld: Json) -> None:
        """Somebody had no channel to us (`m.no_olm`): open one to that device, so that its next message is readable."""
        sender_key = _at(withheld, "content", "sender_key")
        if isinstance(sender_key, str) and self.device_of(withheld["sender"], sender_key):
            self._mark_device_for_unwedging(withheld["sender"], sender_key)

    def _decrypt_with_known(self, sender_key: str, message: AnyMessage) -> str | None:
        is_prekey = isinstance(message, vodozemac.PreKeyMessage)
        for session in list(self.session_store[sender_key]):
            try:
                if is_prekey and not session.matches(message):
                    continue
                plaintext = session.decrypt(message)
            except ValueError:
                continue
            self.save_session(sender_key, session)
            # The session that last received is the one to send with (Matrix 1.x, Olm best practice).
            self.session_store[sender_key].sort(key=lambda known: known.use_time, reverse=True)
            return str(plaintext)
        return None

    def _decrypt_with_new(self, sender_key: str, message: vodozemac.PreKeyMessage) -> str | None:
        if any(session.matches(message) for session in self.session_store[sender_key]):
            # A message that we had before. By a fallback key it would begin the same session anew, in place of the one
            # that has gone on since, and what the sender writes next could not be read.
            return None
        try:
            session = InboundSession(self.account, message, sender_key)
            plaintext = session.decrypt(message)
        except ValueError:
            return None
        self.session_store.add(sender_key, session)
        self.save_session(sender_key, session)
        self.save_account()  # now, with the one-time key used up
        return str(plaintext)

    def _checked(self, sender: str, plaintext: str) -> Json:
        payload = parsed(plaintext)
        if payload is None:
            raise Dropped("payload")
        expected = (sender, self.user_id, self.ed25519)
        found = (payload.get("sender"), payload.get("recipient"), _at(payload, "recipient_keys", "ed25519"))
        if found != expected:
            raise Dropped("not_for_us")
        if not isinstance(payload.get("content"), dict) or not isinstance(_at(payload, "keys", "ed25519"), str):
            raise Dropped("payload")
        return payload

    def _use(self, sender: str, sender_key: str, payload: Json) -> str | None:
        content, fingerprint = payload["content"], payload["keys"]["ed25519"]
        if payload.get("type") == "m.room_key":
            session = _new_session(content, fingerprint, sender_key)
            if self.store.has_too_many_unused(sender_key):
                raise Dropped("too_many_sessions")
            return self.keep(session)
        if payload.get("type") == "m.forwarded_room_key":
            return self._use_forwarded(sender, sender_key, content)
        return None

    def keep(self, session: InboundGroupSession) -> str | None:
        """Store an inbound session, unless we know as much already or it is somebody else's."""
        known = self.inbound_group_store.find(session.id)
        if known is not None:
            if (known.sender_key, known.room_id) != (session.sender_key, session.room_id):
                raise Dropped("session_of_somebody_else")
            if known.first_known_index <= session.first_known_index:
                return None
        self.inbound_group_store.add(session)
        self.save_inbound_group_session(session)
        self.on_session()
        return str(session.id)

    def create_group_session(
        self, sender_key: str, sender_fp_key: str, room_id: str, session_id: str, session_key: str
    ) -> None:
        """What nio calls when it makes an outbound session: keep our own copy of it."""
        self.keep(InboundGroupSession(session_key, sender_fp_key, sender_key, room_id))

    def seal_olm(self, device: OlmDevice, event_type: str, content: Json) -> Json:
        """Encrypt for one device, with our signed device keys inside (`sender_device_keys`, Matrix 1.15).

        nio leaves them out; a client that does not know us yet would then never trust the keys we hand it
        (seen with matrix-sdk-crypto 0.19.1 in its strict mode). The caller holds the commit.
        """
        session = self.session_store.get(device.curve25519)
        payload: Json = {
            "type": event_type,
            "content": content,
            "sender": self.user_id,
            "sender_device": self.device_id,
            "keys": {"ed25519": self.ed25519},
            "recipient": device.user_id,
            "recipient_keys": {"ed25519": device.ed25519},
        }
        if self.signed_device_keys:
            payload["sender_device_keys"] = self.signed_device_keys
        kind, ciphertext = session.encrypt(json.dumps(payload)).to_parts()
        self.save_session(device.curve25519, session)
        sealed = {"type": kind, "body": encode_base64(ciphertext)}
        return {"algorithm": OLM, "sender_key": self.curve25519, "ciphertext": {device.curve25519: sealed}}

    def _use_forwarded(self, sender: str, sender_key: str, content: Json) -> str | None:
        """Take a forwarded key only if we asked and the session's own creator forwards it (CVE-2022-39252)."""
        session_id = content.get("session_id")
        device = self.device_of(sender, sender_key)
        is_creator = content.get("sender_key") == sender_key
        claimed = content.get("sender_claimed_ed25519_key")
        is_asked_for = isinstance(session_id, str) and session_id in self.asked_sessions
        if not is_asked_for or not is_creator or not device or claimed != device.ed25519:
            raise Dropped("forward_not_asked_for")
        room_id, key = content.get("room_id"), content.get("session_key")
        if content.get("algorithm") != MEGOLM or not isinstance(room_id, str) or not isinstance(key, str):
            raise Dropped("room_key")
        try:
            session = InboundGroupSession.import_session(key, device.ed25519, sender_key, room_id)
        except ValueError as error:
            raise Dropped("room_key") from error
        if session.id != session_id:
            raise Dropped("room_key")
        return self.keep(session)

    def verify_json(self, value: Json, public: str, user: str, name: str) -> bool:
        """Tell whether a key that a device shows is signed by it. May raise what malformed JSON raises.

        vodozemac 0.10.0 does not refuse a public key of 31 or 33 bytes, it panics, and that no `except Exception`
        catches: one device with such a key would end the process of everybody who asks for it.
        """
        return is_public_key(public) and bool(super().verify_json(value, public, user, name))

    def device_of(self, user: str, sender_key: str, fingerprint: str | None = None) -> OlmDevice | None:
        """Return the device of a user with this key, also one that is gone since (nio's own look-up omits those)."""
        if user not in self.device_store.users:
            return None
        for device in self.device_store[user].values():
            if device.curve25519 == sender_key and fingerprint in {None, device.ed25519}:
                return device
        return None


def is_public_key(text: str) -> bool:
    """Tell whether this is base64 of 32 bytes, with padding or without."""
    return bool(_PUBLIC_KEY.fullmatch(text))


def parsed(text: str) -> Json | None:
    """Return a JSON object, or None for anything else that a stranger may have sent."""
    try:
        value = strange_json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _at(value: Any, *path: str) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _olm_message(event: Json, own_key: str) -> tuple[str, str, AnyMessage]:
    sender, content = event.get("sender"), event.get("content")
    if not isinstance(sender, str) or not isinstance(content, dict) or content.get("algorithm") != OLM:
        raise Dropped("not_olm")
    sender_key, ours = content.get("sender_key"), _at(content, "ciphertext", own_key)
    if not isinstance(sender_key, str) or not isinstance(ours, dict) or not isinstance(ours.get("body"), str):
        raise Dropped("not_for_us")
    try:
        vodozemac.Curve25519PublicKey.from_base64(sender_key)
        if ours.get("type") == 0:
            return sender, sender_key, vodozemac.PreKeyMessage.from_base64(ours["body"])
        if ours.get("type") == 1:
            return sender, sender_key, vodozemac.AnyOlmMessage.normal(decode_base64(ours["body"]))
    except ValueError as error:
        raise Dropped("malformed") from error
    raise Dropped("malformed")


def _new_session(content: Json, fingerprint: str, sender_key: str) -> InboundGroupSession:
    room_id, key = content.get("room_id"), content.get("session_key")
    if content.get("algorithm") != MEGOLM or not isinstance(room_id, str) or not isinstance(key, str):
        raise Dropped("room_key")
    try:
        session = InboundGroupSession(key, fingerprint, sender_key, room_id)
    except ValueError as error:
        raise Dropped("room_key") from error
    if session.id != content.get("session_id"):
        raise Dropped("room_key")
    return session
