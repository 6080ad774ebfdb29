"""A second, independent short authentication string: somebody's phone, in plain cryptography, without vodozemac.

It shares no code with the bot, so that both cannot be wrong alike (Matrix 1.18, SAS verification).
"""

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

Json = dict[str, Any]


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode().rstrip("=")


@dataclass
class Phone:
    """Who begins: it asks, starts, and compares. `keys` are what it vouches for, by key id."""

    user: str
    device: str
    keys: dict[str, str]
    bot: str
    bot_device: str = ""
    transaction: str = ""
    bot_keys: dict[str, str] = field(default_factory=dict)
    in_room: bool = True

    def __post_init__(self) -> None:
        self._private = X25519PrivateKey.generate()
        self.public = b64(self._private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))
        self.started: Json = {}
        self.promised = ""
        self._secret = b""
        self._theirs = ""

    def request(self) -> Json:
        return {
            "msgtype": "m.key.verification.request",
            "body": "wants to verify",
            "to": self.bot,
            "from_device": self.device,
            "methods": ["m.sas.v1", "m.reciprocate.v1"],
        }

    def bound(self, content: Json) -> Json:
        """Return a content with what binds it to the request."""
        if not self.in_room:
            return content | {"transaction_id": self.transaction}
        return content | {"m.relates_to": {"rel_type": "m.reference", "event_id": self.transaction}}

    def start(self, **changes: Any) -> Json:
        content = {
            "from_device": self.device,
            "method": "m.sas.v1",
            "key_agreement_protocols": ["curve25519-hkdf-sha256"],
            "hashes": ["sha256"],
            "message_authentication_codes": ["hkdf-hmac-sha256.v2", "hkdf-hmac-sha256"],
            "short_authentication_string": ["decimal", "emoji"],
        }
        self.started = self.bound(content | changes)
        return self.started

    def accepted(self, content: Json) -> Json:
        """Take their promise; return our key."""
        chosen = (content["key_agreement_protocol"], content["hash"], content["message_authentication_code"])
        assert chosen == ("curve25519-hkdf-sha256", "sha256", "hkdf-hmac-sha256.v2")
        self.promised = content["commitment"]
        return self.bound({"key": self.public})

    def compare(self, content: Json) -> tuple[list[int], list[int]]:
        """Take their key, check that it is the promised one, and return pictures and numbers."""
        self._theirs = content["key"]
        start = json.dumps(self.started, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        digest = hashlib.sha256(self._theirs.encode() + start.encode()).digest()
        assert b64(digest) == self.promised, "m.mismatched_commitment"
        public = X25519PublicKey.from_public_bytes(base64.b64decode(self._theirs + "="))
        self._secret = self._private.exchange(public)
        info = (
            f"MATRIX_KEY_VERIFICATION_SAS|{self.user}|{self.device}|{self.public}"
            f"|{self.bot}|{self.bot_device}|{self._theirs}|{self.transaction}"
        )
        bits = int.from_bytes(self._derived(info, 6), "big")
        pictures = [(bits >> (48 - 6 * (n + 1))) & 63 for n in range(7)]
        numbers = [((bits >> (48 - 13 * (n + 1))) & 8191) + 1000 for n in range(3)]
        return pictures, numbers

    def mac(self, keys: dict[str, str] | None = None) -> Json:
        """Vouch for our keys."""
        keys = self.keys if keys is None else keys
        mine = (self.user, self.device, self.bot, self.bot_device)
        macs = {name: self._mac(mine, name, key) for name, key in keys.items()}
        return self.bound({"mac": macs, "keys": self._mac(mine, "KEY_IDS", ",".join(sorted(keys)))})

    def believes(self, content: Json) -> bool:
        """Check what they vouch for: all keys of the bot, and those alone."""
        theirs = (self.bot, self.bot_device, self.user, self.device)
        names = ",".join(sorted(content["mac"]))
        wanted = {name: self._mac(theirs, name, key) for name, key in self.bot_keys.items()}
        return bool(content["mac"] == wanted and content["keys"] == self._mac(theirs, "KEY_IDS", names))

    def _mac(self, people: tuple[str, ...], name: str, value: str) -> str:
        key = self._derived("MATRIX_KEY_VERIFICATION_MAC" + "".join(people) + self.transaction + name, 32)
        return b64(hmac.new(key, value.encode(), hashlib.sha256).digest())

    def _derived(self, info: str, length: int) -> bytes:
        return HKDF(SHA256(), length, None, info.encode()).derive(self._secret)
