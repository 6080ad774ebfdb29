"""What leaves the house: checkpoints and proofs in the formats of C2SP, readable by tools that are not ours.

Signed notes (c2sp.org/signed-note), checkpoints (c2sp.org/tlog-checkpoint) and proofs (c2sp.org/tlog-proof, v1), signed
with Ed25519 (RFC 8032) by a key whose name is the origin of the log.
"""

import base64
import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bot.domain.ids import UserId
from bot.domain.ledger import tree

LARGEST_NOTE = 16_384  # characters
PROOF_HEADER = "c2sp.org/tlog-proof@v1"
_ED25519 = b"\x01"
_DASH = "\u2014 "


def origin_of(account: UserId, epoch: int = 1) -> str:
    """Return the name of a log: a URL without a scheme, for each account its own.

    An epoch begins when an admin went on with less than an anchor knew: one name never stands for two histories.
    """
    localpart, _, server = account.removeprefix("@").partition(":")
    name = f"{quote(server, safe=':[]')}/{quote(localpart, safe='=._-/')}/ledger"
    return name if epoch == 1 else f"{name}/{epoch}"


class NotOurs(ValueError):
    """A note that is malformed, of another log, or not signed by its key."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Size and root of a log, as its key has signed them. `note` is the signed text itself."""

    origin: str
    size: int
    root: bytes
    note: str


def _body(origin: str, size: int, root: bytes) -> str:
    return f"{origin}\n{size}\n{_base64(root)}\n"


@dataclass(frozen=True, slots=True)
class Verifier:
    """The public half of a log's key."""

    key: Ed25519PublicKey

    @property
    def raw(self) -> bytes:
        """Its 32 bytes."""
        return self.key.public_bytes(Encoding.Raw, PublicFormat.Raw)

    @property
    def pem(self) -> str:
        """The form that OpenSSL reads."""
        return self.key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def key_id(self, name: str) -> bytes:
        """Return the four bytes before each signature by this key under this name."""
        return hashlib.sha256(name.encode() + b"\n" + _ED25519 + self.raw).digest()[:4]

    def vkey(self, name: str) -> str:
        """Return the form that tools of C2SP read."""
        return f"{name}+{self.key_id(name).hex()}+{_base64(_ED25519 + self.raw)}"

    def opened(self, note: str) -> Checkpoint:
        """Read a checkpoint that this key has signed under the name of its own origin.

        Raises:
            NotOurs: it is not one.
        """
        found = parsed(note)
        body, _, signatures = note.rpartition("\n\n")
        for line in signatures.removesuffix("\n").split("\n"):
            name, signature = _signature(line)
            if name != found.origin or signature[:4] != self.key_id(name):
                continue
            try:
                self.key.verify(signature[4:], f"{body}\n".encode())
            except InvalidSignature:
                raise NotOurs("the signature does not fit") from None
            return found
        raise NotOurs("it is not signed by the key of this ledger")


@dataclass(frozen=True, slots=True)
class Signer:
    """The key of a log, under the name that is its origin."""

    origin: str
    key: Ed25519PrivateKey

    @classmethod
    def from_seed(cls, origin: str, seed: bytes) -> "Signer":
        """Make one from 32 derived bytes (RFC 8032 §5.1.5)."""
        return cls(origin, Ed25519PrivateKey.from_private_bytes(seed))

    @property
    def verifier(self) -> Verifier:
        """The public half."""
        return Verifier(self.key.public_key())

    def sign(self, size: int, root: bytes) -> Checkpoint:
        """Sign a checkpoint. The same one gives the same bytes, always."""
        body = _body(self.origin, size, root)
        signature = self.verifier.key_id(self.origin) + self.key.sign(body.encode())
        return Checkpoint(self.origin, size, root, f"{body}\n{_DASH}{self.origin} {_base64(signature)}\n")


def parsed(note: str) -> Checkpoint:
    """Read a checkpoint without looking at who signed it.

    Raises:
        NotOurs: it is malformed.
    """
    lines = note.split("\n")
    if len(note) > LARGEST_NOTE or len(lines) < 6 or lines[3] or lines[-1] or any(ord(c) < 32 for c in "".join(lines)):
        raise NotOurs("this is no checkpoint")
    origin, size, root = lines[0], lines[1], _bytes(lines[2])
    if not origin or not _is_number(size) or len(root) != tree.HASH_BYTES:
        raise NotOurs("this is no checkpoint")
    return Checkpoint(origin, int(size), root, note)


def _signature(line: str) -> tuple[str, bytes]:
    name, _, signature = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not name or not signature:
        raise NotOurs("a signature line is malformed")
    return name, _bytes(signature)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 19 and str(int(text)) == text


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise NotOurs("this is no base64") from None
    if _base64(data) != text:
        raise NotOurs("this is base64 in another spelling")
    return data


@dataclass(frozen=True, slots=True)
class Proof:
    """That an entry is in a log. `extra`, if any, is its salt and its content: whoever has it can open the entry."""

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: Checkpoint
    extra: bytes = b""

    def text(self) -> str:
        """Return the content of a `.tlog-proof` file."""
        extra = [f"extra {_base64(self.extra)}"] if self.extra else []
        lines = [PROOF_HEADER, *extra, f"index {self.index}", *map(_base64, self.hashes), "", self.checkpoint.note]
        return "\n".join(lines)

    def holds(self, leaf: bytes) -> bool:
        """Tell whether it proves this leaf hash. The signature was looked at when it was opened."""
        return tree.includes(self.checkpoint.root, self.checkpoint.size, self.index, leaf, self.hashes)


def opened_proof(text: str, verifier: Verifier) -> Proof:
    """Read a `.tlog-proof` whose checkpoint this key has signed.

    Raises:
        NotOurs: it is malformed, or of another log.
    """
    head, _, note = text.partition("\n\n")
    lines = head.split("\n")
    if lines.pop(0) != PROOF_HEADER:
        raise NotOurs("this is no proof of version 1")
    extra = _bytes(lines.pop(0).removeprefix("extra ")) if lines and lines[0].startswith("extra ") else b""
    index = lines.pop(0).removeprefix("index ") if lines and lines[0].startswith("index ") else ""
    if not _is_number(index):
        raise NotOurs("the proof names no entry")
    return Proof(int(index), _hashes(lines), verifier.opened(note), extra)


def _hashes(lines: Sequence[str]) -> tuple[bytes, ...]:
    hashes = tuple(map(_bytes, lines))
    if len(hashes) > 64 or any(len(hashed) != tree.HASH_BYTES for hashed in hashes):
        raise NotOurs("the proof holds something else than hashes")
    return hashes
