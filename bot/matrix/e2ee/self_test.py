"""Trying our keys on ourselves without touching them: no ratchet moves, nothing is written, nobody else hears of it.

Therefore it may be done beside the running bot, whose ratchets nobody else may use. It costs one one-time key.
"""

from typing import Any

import vodozemac
from nio.crypto import InboundSession

from bot.matrix.e2ee.machine import MEGOLM, Machine, parsed
from bot.matrix.transport import Transport

Json = dict[str, Any]

WORDS = "Hört mich jemand?"


class SelfTest:
    """Our device seen from outside."""

    def __init__(self, machine: Machine, transport: Transport) -> None:
        self._machine = machine
        self._transport = transport

    async def one_time_keys_left(self) -> int:
        """Return how many keys the server can still hand out (the answer to an upload of nothing)."""
        answer = await self._transport.call("POST", "/_matrix/client/v3/keys/upload", {})
        counts = answer.get("one_time_key_counts")
        count = counts.get("signed_curve25519", 0) if isinstance(counts, dict) else 0
        return count if isinstance(count, int) else 0

    async def fault_for_strangers(self) -> str:
        """Be a stranger who writes to us for the first time; return why that fails, or nothing.

        The server hands out one of our keys, a device that exists in memory only seals something with it, and a copy of
        our account, as it stands on disk, opens it.

        Raises:
            Transient: the server does not answer.
        """
        me, name = self._machine.user_id, self._machine.device_id
        body = {"one_time_keys": {me: {name: "signed_curve25519"}}}
        answer = await self._transport.call("POST", "/_matrix/client/v3/keys/claim", body)
        try:
            key = next(iter(answer["one_time_keys"][me][name].values()))
            is_ours = self._machine.verify_json(key, self._machine.ed25519, me, name)
            one_time_key = vodozemac.Curve25519PublicKey.from_base64(key["key"])
        except (ValueError, KeyError, TypeError, AttributeError, StopIteration, RecursionError):
            return "no_key"
        return self._fault_of(one_time_key) if is_ours else "signature"

    def _fault_of(self, one_time_key: vodozemac.Curve25519PublicKey) -> str:
        stranger = vodozemac.Account()
        our_key = vodozemac.Curve25519PublicKey.from_base64(self._machine.curve25519)
        sealed = stranger.create_outbound_session(our_key, one_time_key).encrypt(WORDS.encode())
        message = sealed.to_pre_key()
        account = self._machine.store.load_account()
        try:
            opened = InboundSession(account, message, stranger.curve25519_key.to_base64()).decrypt(message)
        except ValueError:
            return "private_key"
        return "" if opened == WORDS else "words"

    def opens(self, room_id: str, event: Json) -> bool:
        """Tell whether the key store still opens what we once sent, as the server gives it back."""
        content = event["content"]
        session = self._machine.inbound_group_store.find(str(content.get("session_id")))
        if session is None or content.get("algorithm") != MEGOLM or session.room_id != room_id:
            return False
        try:
            plaintext, _ = session.decrypt(str(content.get("ciphertext")))
        except ValueError:
            return False
        payload = parsed(str(plaintext))
        return payload is not None and payload.get("room_id") == room_id
