"""One verification by short authentication string (`m.sas.v1`, Matrix 1.18), as the side that is asked. No I/O.

Whatever the other side says in whatever order, it returns; it is done only after a person has confirmed here and the
other side's MAC has named exactly the keys that we know. We never send `start`, so two starts cannot cross.

matrix-nio 0.26.0 has a SAS of its own that no other client accepts (crypto/sas.py): its commitment is hexadecimal, it
names the MAC `hkdf-hmac-sha256` and computes `hkdf-hmac-sha256.v2`, and it never vouches for the master key
(test_the_verification_of_plain_nio_is_still_broken).
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

import vodozemac

from bot.domain.verification import INVALID, KEY_MISMATCH, REFUSED, UNEXPECTED, UNKNOWN_METHOD, Progress, cancellation
from bot.matrix.e2ee.signing import unpadded

Json = dict[str, Any]

METHOD: Final = "m.sas.v1"
AGREEMENT: Final = "curve25519-hkdf-sha256"
HASH: Final = "sha256"
MAC: Final = "hkdf-hmac-sha256.v2"
EMOJI: Final = "emoji"
DECIMAL: Final = "decimal"


@dataclass(frozen=True, slots=True)
class Party:
    """One side: the device that takes part, and the keys by which it is known."""

    user: str
    device: str
    fingerprint: str  # Ed25519
    master: str  # Ed25519

    @property
    def keys(self) -> dict[str, str]:
        """The keys that are vouched for, by their ids."""
        return {f"ed25519:{self.device}": self.fingerprint, f"ed25519:{self.master}": self.master}


class _Stage(Enum):
    READY = auto()  # we said that we are
    ACCEPTED = auto()  # they chose the method, we committed ourselves to a key
    SHOWN = auto()  # both keys are there; people compare
    ENDED = auto()


class Refusal(Exception):
    """The other side gets a cancellation with this code."""


class Verification:
    """One attempt. `transaction` is what binds its messages together."""

    def __init__(self, transaction: str, us: Party, them: Party) -> None:
        self._transaction = transaction
        self._us = us
        self._them = them
        self._stage = _Stage.READY
        self._sas = vodozemac.Sas()
        self._ours = str(self._sas.public_key.to_base64())
        self._strings: tuple[str, ...] = ()
        self._secret: vodozemac.EstablishedSas | None = None
        self._confirmed = False
        self._vouched = False
        self._they_agree = False

    @property
    def ended(self) -> bool:
        """Tell whether nothing can follow any more."""
        return self._stage is _Stage.ENDED

    def begin(self, content: Mapping[str, Any]) -> Progress:
        """Answer their `request`."""
        methods = content.get("methods")
        if not isinstance(methods, list) or METHOD not in methods:
            return self.cancel(UNKNOWN_METHOD)
        return Progress((("ready", {"from_device": self._us.device, "methods": [METHOD]}),))

    def take(self, step: str, content: Mapping[str, Any]) -> Progress:
        """Take a step of theirs. Never raises."""
        if self.ended:
            return Progress()
        if step == "cancel":
            was_shown, self._stage = self._stage is _Stage.SHOWN, _Stage.ENDED
            code = content.get("code")
            return Progress(cancelled=code if isinstance(code, str) and code else REFUSED, was_shown=was_shown)
        try:
            match step, self._stage:
                case "start", _Stage.READY:
                    return self._start(content)
                case "key", _Stage.ACCEPTED:
                    return self._key(content)
                case "mac", _Stage.SHOWN if not self._they_agree:
                    return self._mac(content)
                case _:
                    raise Refusal(UNEXPECTED)
        except Refusal as refusal:
            return self.cancel(str(refusal))

    def confirm(self, *, vouched: bool) -> Progress | None:
        """A person says that the pictures are the same; `vouched`: and it is not the one who is verified.

        None: there is nothing to compare (yet, or any more).
        """
        if self._stage is not _Stage.SHOWN or self._confirmed:
            return None
        self._confirmed, self._vouched = True, vouched
        return self._with_end((("mac", self._our_mac()),))

    def cancel(self, code: str) -> Progress:
        """End it from our side."""
        if self.ended:
            return Progress()
        was_shown, self._stage = self._stage is _Stage.SHOWN, _Stage.ENDED
        return Progress((cancellation(code),), cancelled=code, was_shown=was_shown)

    def _start(self, content: Mapping[str, Any]) -> Progress:
        if content.get("from_device") != self._them.device:
            raise Refusal(KEY_MISMATCH)
        offers = {
            "key_agreement_protocols": AGREEMENT,
            "hashes": HASH,
            "message_authentication_codes": MAC,
        }
        if content.get("method") != METHOD or any(ours not in _list(content, name) for name, ours in offers.items()):
            raise Refusal(UNKNOWN_METHOD)
        strings = _list(content, "short_authentication_string")
        self._strings = tuple(name for name in (DECIMAL, EMOJI) if name in strings)
        if not self._strings:
            raise Refusal(UNKNOWN_METHOD)
        answer = {
            "method": METHOD,
            "key_agreement_protocol": AGREEMENT,
            "hash": HASH,
            "message_authentication_code": MAC,
            "short_authentication_string": list(self._strings),
            "commitment": commitment(self._ours, content),
        }
        self._stage = _Stage.ACCEPTED
        return Progress((("accept", answer),))

    def _key(self, content: Mapping[str, Any]) -> Progress:
        key = content.get("key")
        if not isinstance(key, str):
            raise Refusal(INVALID)
        try:
            theirs = vodozemac.Curve25519PublicKey.from_base64(key)
            self._secret = self._sas.diffie_hellman(theirs)
        except ValueError as error:
            raise Refusal(INVALID) from error
        them = f"{self._them.user}|{self._them.device}|{theirs.to_base64()}"
        us = f"{self._us.user}|{self._us.device}|{self._ours}"
        shown = self._secret.bytes(f"MATRIX_KEY_VERIFICATION_SAS|{them}|{us}|{self._transaction}")
        self._stage = _Stage.SHOWN
        return Progress(
            (("key", {"key": self._ours}),),
            emojis=tuple(shown.emoji_indices) if EMOJI in self._strings else (),
            numbers=tuple(shown.decimals) if DECIMAL in self._strings else (),
        )

    def _mac(self, content: Mapping[str, Any]) -> Progress:
        """Their MACs must name their device and their identity as we know them, and nothing else."""
        macs, listed, known = content.get("mac"), content.get("keys"), self._them.keys
        if not isinstance(macs, dict) or not isinstance(listed, str):
            raise Refusal(INVALID)
        if macs.keys() != known.keys():
            raise Refusal(KEY_MISMATCH)
        self._check("KEY_IDS", ",".join(sorted(macs)), listed)
        for name, key in known.items():
            self._check(name, key, macs[name])
        self._they_agree = True
        return self._with_end(())

    def _check(self, name: str, value: str, mac: object) -> None:
        assert self._secret is not None
        if not isinstance(mac, str):
            raise Refusal(INVALID)
        try:
            self._secret.verify_mac(value, self._info(self._them, self._us, name), mac)
        except ValueError as error:
            raise Refusal(KEY_MISMATCH) from error

    def _our_mac(self) -> Json:
        assert self._secret is not None
        info, keys = self._info, self._us.keys
        macs = {name: self._secret.calculate_mac(key, info(self._us, self._them, name)) for name, key in keys.items()}
        names = ",".join(sorted(keys))
        return {"mac": macs, "keys": self._secret.calculate_mac(names, info(self._us, self._them, "KEY_IDS"))}

    def _info(self, sender: Party, receiver: Party, name: str) -> str:
        people = f"{sender.user}{sender.device}{receiver.user}{receiver.device}"
        return f"MATRIX_KEY_VERIFICATION_MAC{people}{self._transaction}{name}"

    def _with_end(self, answers: tuple[tuple[str, Json], ...]) -> Progress:
        if not (self._confirmed and self._they_agree):
            return Progress(answers)
        self._stage = _Stage.ENDED
        vouched_key = self._them.master if self._vouched else ""
        return Progress((*answers, ("done", {})), done=True, vouched_key=vouched_key)


def commitment(public_key: str, start: Mapping[str, Any]) -> str:
    """Return the hash by which a key is promised: of the key, and of the whole `start` as canonical JSON.

    Raises:
        Refusal: this content has no canonical JSON (it holds halves of characters, or numbers that are none).
    """
    try:
        text = json.dumps(start, ensure_ascii=False, separators=(",", ":"), sort_keys=True, allow_nan=False)
        return unpadded(hashlib.sha256((public_key + text).encode()).digest())
    except (ValueError, RecursionError) as error:
        raise Refusal(INVALID) from error


def _list(content: Mapping[str, Any], name: str) -> list[Any]:
    value = content.get(name)
    return value if isinstance(value, list) else []
