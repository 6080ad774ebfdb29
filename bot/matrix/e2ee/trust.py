"""Whose devices we believe: cross-signing identities of others, pinned when first seen (Matrix 1.18, MSC4153).

matrix-nio 0.26.0 knows nothing of it: `/keys/query` answers lose their master keys there. Staff are trusted only with a
device signed by the identity we know; what a customer's device is worth is the admin's choice.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from nio.crypto import OlmDevice

from bot.matrix.e2ee.machine import Machine
from bot.matrix.e2ee.signing import is_signed

Json = dict[str, Any]


class Standing(StrEnum):
    """What is known of a device."""

    SIGNED = "signed"  # by the identity that we have known from the beginning, or that an admin confirmed
    UNSIGNED = "unsigned"  # by nobody, or by nobody we can check
    CHANGED = "changed"  # by an identity that is not the one we knew


@dataclass(frozen=True, slots=True)
class Policy:
    """Who must be signed. Staff always; customers if the admin says so."""

    staff: frozenset[str] = frozenset()
    strict_customers: bool = False

    def believes(self, user: str, standing: Standing) -> bool:
        """Tell whether a device of this standing is heard and given keys."""
        if user in self.staff:
            return standing is Standing.SIGNED
        return standing is not Standing.UNSIGNED or not self.strict_customers


@dataclass(slots=True)
class _Known:
    pinned: str | None = None
    current: str | None = None
    signed: dict[str, str] = field(default_factory=dict)  # device id -> fingerprint


class Trust:
    """The identities we know."""

    def __init__(self, machine: Machine, policy: Policy) -> None:
        self.policy = policy
        self._machine = machine
        self._cache: dict[str, _Known] = {}

    def believed(self, user: str, devices: Iterable[OlmDevice]) -> list[OlmDevice]:
        """Return those devices of a user that are given keys."""
        return [device for device in devices if self.policy.believes(user, self.standing(user, device))]

    def standing(self, user: str, device: OlmDevice) -> Standing:
        """Return what a device of this user is worth."""
        known = self._known(user)
        if known.current is None or known.signed.get(device.id) != device.ed25519:
            return Standing.UNSIGNED
        return Standing.SIGNED if known.current == known.pinned else Standing.CHANGED

    def learn(self, user: str, answer: Json) -> bool:
        """Take what a `/keys/query` answer shows of one user; tell whether anything changed. The caller commits."""
        known = self._known(user)
        current, signer = _identity(user, answer)
        devices = _mapping(_mapping(answer.get("device_keys")).get(user))
        signed = {
            name: fingerprint
            for name, payload in devices.items()
            if current and signer and (fingerprint := _signed_fingerprint(user, name, payload, signer))
        }
        if (known.current, known.signed) == (current, signed):
            return False
        self._machine.store.save_identity(user, known.pinned or current, current, signed)
        self._cache.pop(user, None)
        return True

    def signatures_of(self, user: str) -> str:
        """Return a digest of a user's identity and signed devices, for telling whether they changed."""
        known = self._known(user)
        text = json.dumps([known.pinned, known.current, known.signed], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def fault(self, user: str) -> str:
        """Return why no device of a user can be believed: `changed`, `unsigned`, or nothing."""
        known = self._known(user)
        if known.current is None or not known.signed:
            return "unsigned"
        return "" if known.current == known.pinned else "changed"

    def current(self, user: str) -> str | None:
        """Return the master key that a user has now."""
        return self._known(user).current

    def pin(self, user: str, *, only: str | None = None) -> bool:
        """An admin confirmed the identity that a user has now; False if they have none, or not the `only` one."""
        known = self._known(user)
        if known.current is None or only not in {None, known.current}:
            return False
        with self._machine.store.one_commit():
            self._machine.store.save_identity(user, known.current, known.current, known.signed)
        self._cache.pop(user, None)
        return True

    def forget(self) -> None:
        """Read everything from the store again."""
        self._cache.clear()

    def _known(self, user: str) -> _Known:
        if user not in self._cache:
            found = self._machine.store.identity_of(user)
            self._cache[user] = _Known(*found) if found else _Known()
        return self._cache[user]


def _identity(user: str, answer: Json) -> tuple[str | None, str | None]:
    """Return master key and self-signing key of a user, both None if anything about them is wrong."""
    master = _mapping(_mapping(answer.get("master_keys")).get(user))
    signer = _mapping(_mapping(answer.get("self_signing_keys")).get(user))
    public, signing = _public(user, master, "master"), _public(user, signer, "self_signing")
    devices = _mapping(_mapping(answer.get("device_keys")).get(user))
    if public is None or signing is None or {public, signing} & devices.keys():
        return None, None  # a device that bears the name of a key could pass for it
    return (public, signing) if is_signed(signer, user, public, public) else (None, None)


def _public(user: str, key: Json, usage: str) -> str | None:
    keys, usages = _mapping(key.get("keys")), key.get("usage")
    if key.get("user_id") != user or not isinstance(usages, list) or usage not in usages or len(keys) != 1:
        return None
    name, public = next(iter(keys.items()))
    return public if isinstance(public, str) and name == f"ed25519:{public}" else None


def _signed_fingerprint(user: str, name: str, payload: Any, signer: str) -> str | None:
    fingerprint = _mapping(_mapping(payload).get("keys")).get(f"ed25519:{name}")
    if not isinstance(fingerprint, str) or payload.get("user_id") != user or payload.get("device_id") != name:
        return None
    return fingerprint if is_signed(payload, user, signer, signer) else None


def _mapping(value: Any) -> Json:
    return value if isinstance(value, dict) else {}
