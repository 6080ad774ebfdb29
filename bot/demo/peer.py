"""Somebody else's Matrix client: plays customers and mechanics in the demo and in tests.

It shares no code with the bot's own sessions, so that both cannot be wrong in the same way: stock matrix-nio is its
encryption and its picture of rooms, the requests are its own. It is an observer that misses nothing: it fills
limited timelines, keeps what it cannot read yet, follows a server through restarts, and records in server order.
"""

import asyncio
import base64
import contextlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlencode

import aiohttp
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from nio import AsyncClient, AsyncClientConfig, EncryptionError, MegolmEvent, SyncResponse, ToDeviceResponse
from nio.api import Api
from nio.responses import KeysClaimResponse, KeysQueryResponse, KeysUploadResponse
from nio.store import SqliteStore

from bot.domain.errors import Fatal, Refused, Transient

Json = dict[str, Any]

CLIENT = "/_matrix/client/v3"
MEGOLM = "m.megolm.v1.aes-sha2"
LONG_POLL_S = 30
REQUEST_WITHIN_S = 30.0
INSIST_FOR_S = 90.0
RETRY_AFTER_S = 0.2
PAGE = 100
CLAIMS = 5
SYNC_FILTER = Api.to_json(
    {
        "presence": {"types": []},
        "account_data": {"types": []},
        "room": {"timeline": {"limit": 50}, "account_data": {"types": []}, "ephemeral": {"types": ["m.receipt"]}},
    }
)


@dataclass(frozen=True, slots=True)
class Seen:
    """One event as a person would see it. `raw` is what the server gave, still encrypted if `encrypted`."""

    room_id: str
    event_id: str
    sender: str
    type: str
    content: Json
    encrypted: bool
    state_key: str | None
    raw: Json

    @property
    def msgtype(self) -> str:
        """The kind of a message, empty for anything else."""
        return str(self.content.get("msgtype", ""))

    @property
    def body(self) -> str:
        """The text of a message, empty for anything else."""
        return str(self.content.get("body", ""))


@dataclass(slots=True)
class _Record:
    """One event in server order. `seen` is None until it can be read."""

    room_id: str
    raw: Json
    seen: Seen | None


class Peer:
    """One logged-in person. Make it with `Peer.login`, end it with `close`."""

    def __init__(self, http: "_Http", keys: "_Keys", *, autojoin: bool) -> None:
        self.user_id: str = keys.user_id
        self.device_id: str = keys.device_id
        self.autojoin = autojoin
        self.invites: dict[str, list[Json]] = {}
        self.receipts: dict[str, dict[str, str]] = {}
        """Room id -> user id -> event id of that user's newest read receipt."""
        self._http = http
        self._keys = keys
        self._records: list[_Record] = []
        self._known: set[str] = set()
        self._encrypted_rooms: set[str] = set()
        self._token = ""
        self._news = asyncio.Event()
        self._sending = asyncio.Lock()
        self._following: asyncio.Task[None] | None = None

    @classmethod
    async def login(
        cls,
        url: str,
        user: str,
        password: str,
        *,
        store: Path,
        cross_sign: bool = True,
        autojoin: bool = True,
        device_name: str = "peer",
    ) -> Self:
        """Log in as a new device that keeps its keys below `store`, and follow the server from now on.

        `cross_sign` makes an identity for an account that has none. A further device of an account stays unsigned.
        """
        http = _Http(url)
        try:
            request = {
                "type": "m.login.password",
                "identifier": {"type": "m.id.user", "user": user},
                "password": password,
                "initial_device_display_name": device_name,
            }
            answer = await http.insist("POST", f"{CLIENT}/login", request)
            http.authorize(answer["access_token"])
            keys = _Keys(http, answer["user_id"], answer["device_id"], store)
        except BaseException:
            await http.close()
            raise
        peer = cls(http, keys, autojoin=autojoin)
        try:
            await peer._follow_once(wait_s=0)
            if cross_sign and not await keys.has_identity():
                await keys.publish_identity()
        except BaseException:
            await peer.close()
            raise
        peer._following = asyncio.create_task(peer._follow(), name=f"sync of {peer.user_id}")
        peer._following.add_done_callback(lambda _: peer._tell())
        return peer

    @property
    def seen(self) -> list[Seen]:
        """Every event that can be read, in server order within each room."""
        return [record.seen for record in self._records if record.seen is not None]

    @property
    def unreadable(self) -> list[Json]:
        """Every event whose key has not come, as it came."""
        return [record.raw for record in self._records if record.seen is None]

    async def wait_for(self, predicate: Callable[[Seen], bool], timeout_s: float = 20.0) -> Seen:
        """Return the first event, past or future, that fits. Raises TimeoutError that tells what was seen instead."""
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    news = self._news
                    for event in self.seen:
                        if predicate(event):
                            return event
                    self._raise_if_ended()
                    await news.wait()
        except TimeoutError:
            raise TimeoutError(f"{self.user_id} waited {timeout_s} s in vain. {self._last_seen()}") from None

    async def wait_for_news(self) -> None:
        """Wait until something has happened since now."""
        await self._news.wait()
        self._raise_if_ended()

    async def start_chat(self, with_user: str, *, encrypted: bool = True) -> str:
        """Open a direct chat the way Element does, and return its room id."""
        encryption = {"type": "m.room.encryption", "state_key": "", "content": {"algorithm": MEGOLM}}
        request = {
            "preset": "trusted_private_chat",
            "is_direct": True,
            "invite": [with_user],
            "initial_state": [encryption] if encrypted else [],
        }
        room_id = str((await self.call("POST", f"{CLIENT}/createRoom", request))["room_id"])
        path = f"{CLIENT}/user/{_quoted(self.user_id)}/account_data/m.direct"
        await self._http.insist("PUT", path, {with_user: [room_id]})
        return room_id

    async def text(self, room_id: str, body: str, html: str | None = None, txn: str | None = None) -> str:
        """Send a text and return its event id. A lost connection repeats the same transaction, never the text."""
        content: Json = {"msgtype": "m.text", "body": body}
        if html is not None:
            content |= {"format": "org.matrix.custom.html", "formatted_body": html}
        return await self.send(room_id, "m.room.message", content, txn=txn)

    async def send(
        self, room_id: str, event_type: str, content: Json, *, txn: str | None = None, clear: bool = False
    ) -> str:
        """Send any event, encrypted if the room is, and return its event id. `clear` never encrypts."""
        txn = txn or secrets.token_hex(8)
        if not clear and await self._is_encrypted(room_id):
            async with self._sending:
                content = await self._keys.encrypt(room_id, event_type, content)
            event_type = "m.room.encrypted"
        path = f"{CLIENT}/rooms/{_quoted(room_id)}/send/{event_type}/{_quoted(txn)}"
        return str((await self._http.insist("PUT", path, content))["event_id"])

    async def react(self, room_id: str, event_id: str, key: str) -> str:
        """React to an event. Reactions are never encrypted."""
        relation = {"rel_type": "m.annotation", "event_id": event_id, "key": key}
        return await self.send(room_id, "m.reaction", {"m.relates_to": relation}, clear=True)

    async def redact(self, room_id: str, event_id: str, reason: str = "") -> str:
        """Delete an event and return the id of the deletion."""
        path = f"{CLIENT}/rooms/{_quoted(room_id)}/redact/{_quoted(event_id)}/{secrets.token_hex(8)}"
        return str((await self._http.insist("PUT", path, {"reason": reason} if reason else {}))["event_id"])

    async def mark_read(self, room_id: str, event_id: str) -> None:
        """Set this person's read receipt."""
        path = f"{CLIENT}/rooms/{_quoted(room_id)}/receipt/m.read/{_quoted(event_id)}"
        await self._http.insist("POST", path, {})

    async def join(self, room_id: str) -> None:
        """Join a room."""
        await self._http.insist("POST", f"{CLIENT}/join/{_quoted(room_id)}", {})

    async def leave(self, room_id: str) -> None:
        """Leave a room or decline an invitation."""
        await self._http.insist("POST", f"{CLIENT}/rooms/{_quoted(room_id)}/leave", {})

    async def rooms(self) -> list[str]:
        """Return the rooms this person is in."""
        return list((await self._http.insist("GET", f"{CLIENT}/joined_rooms"))["joined_rooms"])

    async def state(self, room_id: str, event_type: str, key: str = "") -> Json | None:
        """Return the content of a state event, None if there is none."""
        path = f"{CLIENT}/rooms/{_quoted(room_id)}/state/{_quoted(event_type)}/{_quoted(key)}"
        try:
            return await self._http.insist("GET", path)
        except Refused as refusal:
            if refusal.status == 404:
                return None
            raise

    async def call(self, method: str, path: str, body: Json | None = None) -> Json:
        """Make any request with this person's token, once. Raises Refused or Transient."""
        return await self._http.once(method, path, body)

    async def sign(self) -> None:
        """Make an identity and sign this device with it, as somebody does who follows the hint of their client."""
        await self._keys.publish_identity()

    async def reset_identity(self, password: str) -> None:
        """Replace the identity of the account, as somebody does who has lost it."""
        await self._keys.publish_identity(password)

    async def close(self) -> None:
        """Stop following and forget everything in memory. Raises what ended the following before, if anything did."""
        following, self._following = self._following, None
        try:
            if following is not None:
                following.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await following
        finally:
            await self._keys.close()
            await self._http.close()

    async def _is_encrypted(self, room_id: str) -> bool:
        if room_id not in self._encrypted_rooms and await self.state(room_id, "m.room.encryption") is not None:
            self._encrypted_rooms.add(room_id)
        return room_id in self._encrypted_rooms

    async def _follow(self) -> None:
        """Follow the server until `close`, or until this device is logged out."""
        while True:
            try:
                await self._follow_once(wait_s=LONG_POLL_S)
            except Transient as trouble:
                await asyncio.sleep(trouble.retry_after_s or RETRY_AFTER_S)
            except Refused as refusal:
                if refusal.code == "M_UNKNOWN_TOKEN":
                    return
                raise

    async def _follow_once(self, *, wait_s: int) -> None:
        """Take in one sync. The token moves last: whatever fails in between is asked for again, and known by its id."""
        query = {"timeout": str(wait_s * 1000), "filter": SYNC_FILTER}
        if self._token:
            query["since"] = self._token
        sync = await self._http.once("GET", f"{CLIENT}/sync?{urlencode(query)}", within_s=wait_s + REQUEST_WITHIN_S)
        await self._keys.take_in(sync)
        rooms = sync.get("rooms", {})
        for part in ("join", "leave"):
            for room_id, room in rooms.get(part, {}).items():
                await self._record_room(room_id, room)
        if sync.get("to_device", {}).get("events"):
            self._read_again()
        self._tell()
        await self._keys.upkeep()
        await self._answer_invites(rooms.get("invite", {}))
        self._token = sync["next_batch"]

    async def _record_room(self, room_id: str, room: Json) -> None:
        timeline = room.get("timeline", {})
        if timeline.get("limited") and "prev_batch" in timeline:
            await self._record_gap(room_id, timeline["prev_batch"])
        self._record(room_id, timeline.get("events", []))
        for event in room.get("ephemeral", {}).get("events", []):
            if event.get("type") == "m.receipt":
                self._note_receipts(room_id, event["content"])

    async def _record_gap(self, room_id: str, before: str) -> None:
        """Record what a limited timeline left out: back to the last event we know, or to the first we may read."""
        missed: list[Json] = []
        start: str | None = before
        while start is not None:
            query = urlencode({"dir": "b", "from": start, "limit": str(PAGE)})
            page = await self._http.insist("GET", f"{CLIENT}/rooms/{_quoted(room_id)}/messages?{query}")
            new = [event for event in page["chunk"] if event["event_id"] not in self._known]
            missed += new
            start = page.get("end") if len(new) == len(page["chunk"]) else None
        self._record(room_id, missed[::-1])

    def _record(self, room_id: str, events: list[Json]) -> None:
        for raw in events:
            if raw["event_id"] not in self._known:
                self._known.add(raw["event_id"])
                self._records.append(_Record(room_id, raw, self._read(room_id, raw)))

    def _read(self, room_id: str, raw: Json) -> Seen | None:
        """Return the event in clear, None if its key has not come."""
        clear, encrypted = raw, False
        if raw["type"] == "m.room.encrypted" and raw["content"]:  # An empty one was redacted.
            opened = self._keys.decrypt(room_id, raw)
            if opened is None:
                return None
            clear, encrypted = opened, True
        return Seen(
            room_id=room_id,
            event_id=raw["event_id"],
            sender=raw["sender"],
            type=clear["type"],
            content=clear["content"],
            encrypted=encrypted,
            state_key=raw.get("state_key"),
            raw=raw,
        )

    def _read_again(self) -> None:
        for record in self._records:
            if record.seen is None:
                record.seen = self._read(record.room_id, record.raw)

    def _note_receipts(self, room_id: str, content: Json) -> None:
        for event_id, kinds in content.items():
            for user in kinds.get("m.read", {}):
                self.receipts.setdefault(room_id, {})[user] = event_id

    async def _answer_invites(self, invites: Json) -> None:
        for room_id, invite in invites.items():
            self.invites[room_id] = invite.get("invite_state", {}).get("events", [])
            if self.autojoin:
                with contextlib.suppress(Refused):  # The invitation was withdrawn meanwhile.
                    await self.join(room_id)

    def _tell(self) -> None:
        """Wake up everybody who waits for something new."""
        news, self._news = self._news, asyncio.Event()
        news.set()

    def _raise_if_ended(self) -> None:
        if self._following is not None and not self._following.done():
            return
        if self._following is not None and not self._following.cancelled():
            self._following.result()
        raise Fatal(f"{self.user_id} does not follow the server any more.")

    def _last_seen(self) -> str:
        lines = [f"{event.type} {event.sender}: {event.body or event.content}" for event in self.seen[-8:]]
        return "\n  ".join([f"{len(self.unreadable)} unreadable; the last it saw:", *lines])


class _Keys:
    """Encryption: nio's Olm machine and rooms, fed by hand.

    nio 0.26.0 makes none of the requests itself, because there a failed share counts as shared and takes the access
    token with it, and because running out of one-time keys goes unnoticed.
    """

    def __init__(self, http: "_Http", user_id: str, device_id: str, store: Path) -> None:
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
        answer = await self._http.insist("GET", f"{CLIENT}/rooms/{_quoted(room_id)}/members?not_membership=leave")
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


class _Http:
    """Requests to one homeserver. Every failure is Transient or Refused."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._headers: dict[str, str] = {}
        self._session = aiohttp.ClientSession()

    def authorize(self, token: str) -> None:
        """Use this access token from now on."""
        self._headers = {"Authorization": f"Bearer {token}"}

    async def once(
        self, method: str, path: str, body: Json | None = None, *, within_s: float = REQUEST_WITHIN_S
    ) -> Json:
        """Make one request. Raises Transient or Refused."""
        timeout = aiohttp.ClientTimeout(total=within_s)
        request = self._session.request(method, self.url + path, json=body, headers=self._headers, timeout=timeout)
        try:
            async with request as response:
                status, answer = response.status, await response.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, ValueError) as trouble:
            raise Transient(f"{method} {path.partition('?')[0]}: {trouble!r}") from trouble
        if status < 400:
            return answer if isinstance(answer, dict) else {"": answer}
        if not isinstance(answer, dict):
            answer = {}
        what = f"{method} {path.partition('?')[0]}: {status} {answer.get('errcode')} {answer.get('error')}"
        if status == 429 or status >= 500:
            raise Transient(what, retry_after_s=answer.get("retry_after_ms", 0) / 1000 or None)
        raise Refused(what, code=str(answer.get("errcode", "")), status=status)

    async def insist(self, method: str, path: str, body: Json | None = None) -> Json:
        """Make a request that may be repeated until it is answered, for a minute and a half. Raises like `once`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + INSIST_FOR_S
        while True:
            try:
                return await self.once(method, path, body)
            except Transient as trouble:
                pause = trouble.retry_after_s or RETRY_AFTER_S
                if loop.time() + pause > deadline:
                    raise
                await asyncio.sleep(pause)

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()


def _quoted(part: str) -> str:
    return quote(part, safe="")


def _unpadded(value: bytes) -> str:
    return base64.b64encode(value).decode().rstrip("=")


def _public(seed: Ed25519PrivateKey) -> str:
    return _unpadded(seed.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))
