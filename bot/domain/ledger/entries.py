"""One entry: what happened, as canonical JSON, and the commitment to it that stands in the tree.

The tree knows the commitment only. With the salt (32 random bytes) gone nobody can tell what it was a commitment to,
so an entry can be erased and the tree stays as it is.
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from bot.domain.ids import CustomerId
from bot.domain.ledger.tree import leaf_hash

VERSION = 1
SALT_BYTES = 32
LARGEST_NUMBER = 2**53 - 1
"""Beyond it JSON numbers are not the same everywhere (RFC 7493 §2.2)."""

_CONTEXT = b"consent-event/v1\x00"
_LEAF_OF_ENTRY = b"\x01"

Value = str | int | bool | None | Sequence[str] | Sequence[int]
"""What a detail may be. No fractions: they have more than one spelling."""


class LedgerKind(StrEnum):
    """What can be on record. The values are in signed trees: never change them, only add."""

    TEXT_PUBLISHED = "text_published"
    PURPOSE_PUBLISHED = "purpose_published"
    NOTICE_SHOWN = "notice_shown"
    NOTICE_FAILED = "notice_failed"
    REQUESTED = "requested"
    DEFERRED = "deferred"
    GIVEN = "given"
    REFUSED = "refused"
    RENEWED = "renewed"
    WITHDRAWN = "withdrawn"
    REVOKED = "revoked"
    EXPIRED = "expired"
    INVALIDATED = "invalidated"
    SUPERSEDED = "superseded"
    USED = "used"
    OBJECTED = "objected"
    OBJECTION_DECIDED = "objection_decided"
    RESTRICTED = "restricted"
    UNRESTRICTED = "unrestricted"
    ACCESS_REQUESTED = "access_requested"
    ACCESS_EXPORTED = "access_exported"
    RECTIFIED = "rectified"
    ERASURE_REQUESTED = "erasure_requested"
    ERASED = "erased"  # `covers`: the positions whose content is gone; nothing about a person, it is never erased
    ERASURE_REFUSED = "erasure_refused"
    SHARED = "shared"
    BREACH_NOTED = "breach_noted"
    CLOCK_ANOMALY = "clock_anomaly"
    KEY_ROTATED = "key_rotated"
    OBJECTION_LIFTED = "objection_lifted"  # the customer lets us ask again; they agreed to nothing
    RESTORED = "restored"  # an admin went on with an older database than the anchor knew


def is_name_of_ours(name: str) -> bool:
    """Tell whether a detail may be called so. Names of ASCII letters sort alike everywhere (RFC 8785 §3.2.3)."""
    return name.isascii() and name.replace("_", "").isalnum() and name not in {"v", "id", "type", "subject", "at"}


@dataclass(frozen=True, slots=True)
class Fact:
    """What happened. `id` is random, `at` the bot's clock; `subject` is our opaque id of a customer."""

    id: str
    kind: LedgerKind
    subject: CustomerId | None
    at: datetime
    details: Mapping[str, Value]

    def payload(self) -> bytes:
        """Return the canonical JSON (RFC 8785) that is committed to.

        Raises:
            ValueError: a detail is none that has one spelling only.
        """
        for name, value in self.details.items():
            if not is_name_of_ours(name) or not _is_plain(value):
                raise ValueError(f"not for the ledger: {name}")
        fixed = {"v": VERSION, "id": self.id, "type": self.kind.value, "subject": self.subject, "at": stamp(self.at)}
        whole = {**self.details, **fixed}
        return json.dumps(whole, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _is_plain(value: object) -> bool:
    if isinstance(value, int) and not isinstance(value, bool):
        return abs(value) <= LARGEST_NUMBER
    if isinstance(value, list | tuple):
        return all(isinstance(part, str | int) and _is_plain(part) for part in value)
    return value is None or isinstance(value, str | bool)


def stamp(moment: datetime) -> str:
    """Return a moment as RFC 3339 in UTC, to the millisecond."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def fact_of(payload: bytes) -> Fact:
    """Read a payload back.

    Raises:
        ValueError: it is none of ours.
    """
    try:
        whole: dict[str, Any] = json.loads(payload.decode())
        version, name, kind, subject, at = (whole.pop(field) for field in ("v", "id", "type", "subject", "at"))
        if version == VERSION:
            return Fact(name, LedgerKind(kind), subject, datetime.fromisoformat(at), whole)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("it is no entry") from error
    raise ValueError(f"it is of a version that this program does not know ({version!s:.10})")


def commitment(salt: bytes, payload: bytes) -> bytes:
    """Return what binds us to a payload and says nothing about it to whoever lacks the salt."""
    assert len(salt) == SALT_BYTES
    return hashlib.sha256(_CONTEXT + salt + payload).digest()


def hash_of_entry(committed: bytes) -> bytes:
    """Return the leaf hash of an entry; its leaf is one byte for the sort of leaf, and the commitment."""
    return leaf_hash(_LEAF_OF_ENTRY + committed)


def fingerprint(leaf: bytes) -> str:
    """Return the name of an entry for people: the first 60 bits of its leaf hash, like `K7QX-3MPA-ZB2C`."""
    letters = base64.b32encode(leaf).decode()[:12]
    return "-".join(letters[start : start + 4] for start in (0, 4, 8))


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry as it stands in the ledger. `fact` is None once it was erased, by the entry `erased_by`."""

    position: int
    committed: bytes
    fact: Fact | None
    erased_by: int | None = None

    @property
    def leaf(self) -> bytes:
        """Its leaf hash."""
        return hash_of_entry(self.committed)

    @property
    def fingerprint(self) -> str:
        """Its name for people."""
        return fingerprint(self.leaf)
