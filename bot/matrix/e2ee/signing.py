"""Cross-signing: without it strict clients neither write to us nor read us. Made once, never reset by itself.

The seeds are stored before anything is published. matrix-nio 0.26.0 knows nothing of cross-signing; the steps are
those of the specification (Matrix 1.18, Cross-signing), seen to work against Synapse 1.163.2.
"""

import base64
import json
import secrets
from dataclasses import dataclass
from typing import Any

import structlog
import vodozemac
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bot.domain.errors import Fatal, Refused
from bot.matrix.e2ee.machine import Machine, is_public_key
from bot.matrix.transport import Transport

log = structlog.get_logger()
Json = dict[str, Any]
USAGES = ("master", "self_signing", "user_signing")
_SEEDS = "cross_signing_seeds"
_NEXT_SEEDS = "cross_signing_seeds_next"


def unpadded(value: bytes) -> str:
    """Encode as Matrix wants it: padded key ids are dropped without a word by other clients."""
    return base64.b64encode(value).decode().rstrip("=")


def canonical(value: Json) -> bytes:
    """Return the bytes that are signed (Matrix appendix, Canonical JSON)."""
    bare = {key: inner for key, inner in value.items() if key not in {"signatures", "unsigned"}}
    return json.dumps(bare, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()


@dataclass(frozen=True)
class Identity:
    """The three private keys of the account."""

    keys: dict[str, Ed25519PrivateKey]

    def public(self, usage: str) -> str:
        """Return the public half of one of them."""
        raw = self.keys[usage].public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return unpadded(raw)

    def seed(self, usage: str) -> bytes:
        """Return the private half of one of them."""
        return self.keys[usage].private_bytes_raw()

    def sign(self, usage: str, value: Json) -> str:
        """Sign a JSON object."""
        return unpadded(self.keys[usage].sign(canonical(value)))


def load(machine: Machine) -> Identity | None:
    """Return the identity of this key store."""
    stored = machine.store.value(_SEEDS)
    return _identity(json.loads(stored)) if stored else None


def _identity(seeds: dict[str, str]) -> Identity:
    keys = {usage: Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seeds[usage])) for usage in USAGES}
    return Identity(keys)


def create(machine: Machine) -> Identity:
    """Make an identity and store it, before anybody hears of it."""
    return adopt(machine, {usage: secrets.token_bytes(32) for usage in USAGES})


def adopt(machine: Machine, seeds: dict[str, bytes]) -> Identity:
    """Store the private keys of an identity and return it."""
    hexed = {usage: seeds[usage].hex() for usage in USAGES}
    with machine.store.one_commit():
        machine.store.set_value(_SEEDS, json.dumps(hexed))
    return _identity(hexed)


class Signing:
    """Publishes the identity and checks that the server shows it as we made it."""

    def __init__(self, machine: Machine, transport: Transport) -> None:
        self._machine = machine
        self._transport = transport

    async def ensure(self) -> None:
        """Make sure that our device is signed by our identity; do nothing if it is.

        Raises:
            Fatal: the server shows an identity that is not ours. Never replaced without an admin's word.
        """
        shown = await self.refuse_foreign()
        identity = load(self._machine) or create(self._machine)
        if self.faults(shown, identity):
            await self._publish(shown, identity)
            shown = await self.shown()
            faults = self.faults(shown, identity)
            if faults:
                raise Fatal(f"The server does not show our signatures as we sent them ({', '.join(faults)}).")
        self._machine.signed_device_keys = {key: value for key, value in shown.device.items() if key != "unsigned"}

    async def refuse_foreign(self) -> "Shown":
        """Return what the server shows of us.

        Raises:
            Fatal: it is an identity that we do not hold.
        """
        shown = await self.shown()
        identity = load(self._machine)
        if shown.master is not None and (identity is None or shown.master != identity.public("master")):
            raise Fatal(
                "The bot's account has a cross-signing identity that is not in this key store: the key store was lost, "
                "or it is another one's. Nothing was changed on the server. Run `botschaft device recover`, or put "
                "back the folder and the master secret; docs/lost-keys.md says more."
            )
        return shown

    async def shown(self) -> "Shown":
        """Ask the server what it shows of us."""
        me = self._machine.user_id
        answer = await self._transport.call("POST", "/_matrix/client/v3/keys/query", {"device_keys": {me: []}})
        keys = {
            usage: _mapping(_mapping(answer.get(f"{usage}_keys")).get(me))
            for usage in ("master", "self_signing", "user_signing")
        }
        devices = _mapping(_mapping(answer.get("device_keys")).get(me))
        others = tuple(sorted(name for name in devices if name != self._machine.device_id))
        return Shown(keys, _mapping(devices.get(self._machine.device_id)), others)

    def faults(self, shown: "Shown", identity: Identity) -> list[str]:
        """Return what is missing or wrong in what the server shows, empty if all is well."""
        me, device = self._machine.user_id, self._machine.device_id
        master, signer = identity.public("master"), identity.public("self_signing")
        faults = [usage for usage in USAGES if shown.public(usage) != identity.public(usage)]
        if not faults and not is_signed(shown.keys["self_signing"], me, master, master):
            faults.append("self_signing_signature")
        if not faults and not is_signed(shown.keys["master"], me, device, self._machine.ed25519):
            faults.append("master_signature")
        if not is_signed(shown.device, me, signer, signer):
            faults.append("device_signature")
        return faults

    async def _publish(self, shown: "Shown", identity: Identity) -> None:
        master = self._key(identity, "master")
        device_name = f"ed25519:{self._machine.device_id}"
        device_signature = self._machine.account.sign(canonical(master).decode())
        if any(shown.public(usage) != identity.public(usage) for usage in USAGES):
            await self._upload_identity(identity, master)
        device = {key: value for key, value in shown.device.items() if key not in {"signatures", "unsigned"}}
        signer = f"ed25519:{identity.public('self_signing')}"
        me = self._machine.user_id
        body = {
            me: {
                self._machine.device_id: device | {"signatures": {me: {signer: identity.sign("self_signing", device)}}},
                identity.public("master"): master | {"signatures": {me: {device_name: device_signature}}},
            }
        }
        answer = await self._transport.call("POST", "/_matrix/client/v3/keys/signatures/upload", body)
        if answer.get("failures"):
            raise Fatal("The server refused the signature of the bot's device. Run `botschaft device status`.")

    async def replace(self, password: str) -> None:
        """Publish a new identity instead of whatever the server shows. Its seeds are stored first and used at last.

        Raises:
            Fatal: the server did not take it; the identity is still the old one.
        """
        stored = self._machine.store.value(_NEXT_SEEDS)
        if stored is None:
            stored = json.dumps({usage: secrets.token_bytes(32).hex() for usage in USAGES})
            with self._machine.store.one_commit():
                self._machine.store.set_value(_NEXT_SEEDS, stored)
        identity = _identity(json.loads(stored))
        await self._upload_identity(identity, self._key(identity, "master"), password)
        with self._machine.store.one_commit():
            self._machine.store.set_value(_SEEDS, stored)
            self._machine.store.remove_value(_NEXT_SEEDS)

    async def _upload_identity(self, identity: Identity, master: Json, password: str | None = None) -> None:
        body = {"master_key": master}
        if password is not None:
            user = {"type": "m.id.user", "user": self._machine.user_id}
            body["auth"] = {"type": "m.login.password", "identifier": user, "password": password}
        for usage in ("self_signing", "user_signing"):
            key = self._key(identity, usage)
            signature = {f"ed25519:{identity.public('master')}": identity.sign("master", key)}
            body[f"{usage}_key"] = key | {"signatures": {self._machine.user_id: signature}}
        try:
            await self._transport.call("POST", "/_matrix/client/v3/keys/device_signing/upload", body)
        except Refused as error:
            raise Fatal(
                f"The server did not take the bot's cross-signing identity ({error.code or error.status}). "
                "Run `botschaft device status`."
            ) from error

    async def vouch_for(self, user: str, master_key: str) -> bool:
        """Sign somebody's master key with our user-signing key; again is fine. False: the server did not take it.

        Only our own account is shown these signatures (Matrix 1.18, `/keys/signatures/upload`).

        Raises:
            Transient: the server did not answer.
        """
        identity = load(self._machine)
        answer = await self._transport.call("POST", "/_matrix/client/v3/keys/query", {"device_keys": {user: []}})
        shown = _mapping(_mapping(answer.get("master_keys")).get(user))
        bare = {key: value for key, value in shown.items() if key not in {"signatures", "unsigned"}}
        expected = {"user_id": user, "usage": ["master"], "keys": {f"ed25519:{master_key}": master_key}}
        if identity is None or bare != expected:
            return False
        signer = f"ed25519:{identity.public('user_signing')}"
        signed = bare | {"signatures": {self._machine.user_id: {signer: identity.sign("user_signing", bare)}}}
        body = {user: {master_key: signed}}
        try:
            answer = await self._transport.call("POST", "/_matrix/client/v3/keys/signatures/upload", body)
        except Refused as error:
            log.warning("signature_refused", code=error.code, status=error.status)
            return False
        if answer.get("failures"):
            log.warning("signature_refused", code="failures")
        return not answer.get("failures")

    def _key(self, identity: Identity, usage: str) -> Json:
        public = identity.public(usage)
        return {"user_id": self._machine.user_id, "usage": [usage], "keys": {f"ed25519:{public}": public}}


@dataclass(frozen=True)
class Shown:
    """What the server shows of our account: the three public keys, our device, and the names of others."""

    keys: dict[str, Json]
    device: Json
    others: tuple[str, ...] = ()

    def public(self, usage: str) -> str | None:
        """Return the public key of a usage."""
        found = _mapping(self.keys[usage].get("keys"))
        return next((key for key in found.values() if isinstance(key, str)), None)

    @property
    def master(self) -> str | None:
        """The public master key, if there is one."""
        return self.public("master")


def _mapping(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def is_signed(value: Json, user: str, key_name: str, public: str) -> bool:
    """Tell whether a JSON object bears a valid signature of a key."""
    signature = _mapping(_mapping(value.get("signatures")).get(user)).get(f"ed25519:{key_name}")
    if not isinstance(signature, str) or not is_public_key(public):
        return False
    try:
        key = vodozemac.Ed25519PublicKey.from_base64(public)
        key.verify_signature(canonical(value), vodozemac.Ed25519Signature.from_base64(signature))
    except (ValueError, RecursionError):
        return False
    return True
