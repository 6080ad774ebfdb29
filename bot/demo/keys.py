"""Encryption of somebody else's Matrix client: stock matrix-nio, which shares no code with the bot's own sessions."""

import base64
import secrets
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from nio import AsyncClient, AsyncClientConfig, EncryptionError, MegolmEvent, SyncResponse, ToDeviceResponse
from nio.api import Api
from nio.responses import KeysClaimResponse, KeysQueryResponse, KeysUploadResponse
from nio.store import SqliteStore

from bot.demo.requests import CLIENT, Http, Json, quoted
from bot.domain.errors import Fatal

CLAIMS = 5


class Keys:
    """Encryption: nio's Olm machine and rooms, fed by hand.

    nio 0.26.0 makes none of the requests itself, because there a failed share counts as shared and takes the access
    token with it, and because running out of one-time keys goes unnoticed.
    """

    def __init__(self, http: Http, user_id: str, device_id: str, store: Path) -> None:
        self._http = http
        self.user_id = user_id
        self.device_id = device_id
        store.mkdir(parents=True, exist_ok=True)
        config = AsyncClientConfig(store=SqliteStore, encryption_enabled=True, store_sync_tokens=False)
        self._client = AsyncClient(http.url, user_id, device_id, str(store), config)
        self._client.restore_login(user_id, device_id, "this client makes no requests")
        self._olm: Any = self._client.olm

    async def take_in(self, sync: Json) -> None:
        """Take keys, rooms and members from a sync."""
        response = SyncResponse.from_dict(sync)
        if not isinstance(response, SyncResponse):
            raise Fatal(f"nio does not understand this sync: {response}")
        await self._client.receive_response(response)
        self._olm.uploaded_key_count = sync.get("device_one_time_keys_count", {}).get("signed_curve25519", 0)

    async def upkeep(self) -> None:
        """Do what nio has found to be due: upload keys, ask for devices, repair sessions."""
        if self._olm.should_upload_keys:
            answer = await self._http.insist("POST", f"{CLIENT}/keys/upload", self._olm.share_keys())
            counts = answer["one_time_key_counts"]
            await self._client.receive_response(KeysUploadResponse(0, counts.get("signed_curve25519", 0)))
        if self._client.should_query_keys:
            await self._query(sorted(self._olm.users_for_key_query))
        if self._client.should_claim_keys:
            await self._claim(self._client.get_users_for_key_claiming())
        for message in list(self._client.outgoing_to_device_messages):
            await self._send_to_device(message.type, message.as_dict())
            await self._client.receive_response(ToDeviceResponse(message))

    async def encrypt(self, room_id: str, event_type: str, content: Json) -> Json:
        """Return the encrypted content, whose key every device of the room's people has been sent."""
        while not self._is_shared(room_id):
            await self._share(room_id)
        encrypted: Json = self._olm.group_encrypt(room_id, {"type": event_type, "content": content})
        if "m.relates_to" in content:
            encrypted["m.relates_to"] = content["m.relates_to"]
        return encrypted

    def decrypt(self, room_id: str, raw: Json) -> Json | None:
        """Return type and content in clear, None if there is no key for it."""
        event = MegolmEvent.parse_event(raw)
        if not isinstance(event, MegolmEvent):
            return None
        event.room_id = room_id
        try:
            clear: Json = self._client.decrypt_event(event).source
        except EncryptionError:
            return None
        return clear

    async def has_identity(self) -> bool:
        """Tell whether the account has a cross-signing identity."""
        answer = await self._http.insist("POST", f"{CLIENT}/keys/query", {"device_keys": {self.user_id: []}})
        return self.user_id in answer.get("master_keys", {})

    async def publish_identity(self, password: str | None = None) -> None:
        """Cross-sign this device (Matrix 1.18, Cross-signing), so that strict clients talk to it.

        A second identity, which replaces the first one, needs the account's password.
        """
        seeds = {usage: Ed25519PrivateKey.generate() for usage in ("master", "self_signing", "user_signing")}
        keys = {usage: self._public_part(usage, seed) for usage, seed in seeds.items()}
        for usage in ("self_signing", "user_signing"):
            self._sign(keys[usage], seeds["master"])
        request = {f"{usage}_key": key for usage, key in keys.items()}
        if password is not None:
            user = {"type": "m.id.user", "user": self.user_id}
            request["auth"] = {"type": "m.login.password", "identifier": user, "password": password}
        await self._http.insist("POST", f"{CLIENT}/keys/device_signing/upload", request)
        answer = await self._http.insist("POST", f"{CLIENT}/keys/query", {"device_keys": {self.user_id: []}})
        device = answer["device_keys"][self.user_id][self.device_id]
        device.pop("unsigned", None)
        self._sign(device, seeds["self_signing"])
        signatures = {self.user_id: {self.device_id: device}}
        answer = await self._http.insist("POST", f"{CLIENT}/keys/signatures/upload", signatures)
        if answer.get("failures"):
            raise Fatal(f"The server did not take the signature of the device: {answer['failures']}")

    async def close(self) -> None:
        """Close the key store."""
        await self._client.close()
        self._client.store.database.close()

    def _is_shared(self, room_id: str) -> bool:
        session = self._olm.outbound_group_sessions.get(room_id)
        return session is not None and session.shared and not session.expired

    async def _share(self, room_id: str) -> None:
        """Send the key of this room's session to every device; a repetition leaves out who has it already."""
        answer = await self._http.insist("GET", f"{CLIENT}/rooms/{quoted(room_id)}/members?not_membership=leave")
        present = {"join", "invite"}
        users = [event["state_key"] for event in answer["chunk"] if event["content"]["membership"] in present]
        await self._query(users)
        for _ in range(CLAIMS):
            missing = self._olm.get_missing_sessions(users)
            if not missing:
                break
            # nio leaves out for good whoever has no key at this moment; a busy server may have one a moment later.
            await self._claim(missing)
        shared: set[tuple[str, str]] = set()
        parts = self._olm.share_group_session_parallel(room_id, users, ignore_unverified_devices=True)
        for devices, body in parts:
            await self._send_to_device("m.room.encrypted", body)
            shared |= devices
        session = self._olm.outbound_group_sessions.get(room_id)
        if session is not None:  # Somebody came or left meanwhile: nio has dropped it, and we begin again.
            session.users_shared_with |= shared
            session.shared = True

    async def _query(self, users: list[str]) -> None:
        answer = await self._http.insist("POST", f"{CLIENT}/keys/query", {"device_keys": {user: [] for user in users}})
        await self._client.receive_response(KeysQueryResponse(answer["device_keys"], answer.get("failures", {})))

    async def _claim(self, devices: dict[str, list[str]]) -> None:
        wanted = {user: dict.fromkeys(ids, "signed_curve25519") for user, ids in devices.items()}
        answer = await self._http.insist("POST", f"{CLIENT}/keys/claim", {"one_time_keys": wanted})
        await self._client.receive_response(KeysClaimResponse(answer["one_time_keys"], answer.get("failures", {})))

    async def _send_to_device(self, event_type: str, body: Json) -> None:
        await self._http.insist("PUT", f"{CLIENT}/sendToDevice/{event_type}/{secrets.token_hex(8)}", body)

    def _public_part(self, usage: str, seed: Ed25519PrivateKey) -> Json:
        public = _public(seed)
        return {"user_id": self.user_id, "usage": [usage], "keys": {f"ed25519:{public}": public}}

    def _sign(self, value: Json, seed: Ed25519PrivateKey) -> None:
        bare = {name: inner for name, inner in value.items() if name != "signatures"}
        signature = _unpadded(seed.sign(Api.to_canonical_json(bare).encode()))
        value.setdefault("signatures", {}).setdefault(self.user_id, {})[f"ed25519:{_public(seed)}"] = signature


def _unpadded(value: bytes) -> str:
    return base64.b64encode(value).decode().rstrip("=")


def _public(seed: Ed25519PrivateKey) -> str:
    return _unpadded(seed.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))
