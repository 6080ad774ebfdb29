"""Somebody else's Matrix client: plays customers and mechanics in the demo and in tests.

It shares no code with the bot's own sessions, so that both cannot be wrong in the same way: stock matrix-nio is its
encryption and its picture of rooms, the requests are its own. It is an observer that misses nothing: it fills
limited timelines, keeps what it cannot read yet, follows a server through restarts, and records in server order.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import urlencode

from nio.api import Api
from nio.crypto.attachments import decrypt_attachment, encrypt_attachment

from bot.demo.keys import Keys
from bot.demo.requests import CLIENT, REQUEST_WITHIN_S, RETRY_AFTER_S, Http, Json, quoted
from bot.domain.errors import Fatal, Refused, Transient

MEGOLM = "m.megolm.v1.aes-sha2"
LONG_POLL_S = 30
PAGE = 100
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

    def __init__(self, http: Http, keys: Keys, *, autojoin: bool) -> None:
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
        http = Http(url)
        try:
            request = {
                "type": "m.login.password",
                "identifier": {"type": "m.id.user", "user": user},
                "password": password,
                "initial_device_display_name": device_name,
            }
            answer = await http.insist("POST", f"{CLIENT}/login", request)
            http.authorize(answer["access_token"])
            keys = Keys(http, answer["user_id"], answer["device_id"], store)
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
        path = f"{CLIENT}/user/{quoted(self.user_id)}/account_data/m.direct"
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
        path = f"{CLIENT}/rooms/{quoted(room_id)}/send/{event_type}/{quoted(txn)}"
        return str((await self._http.insist("PUT", path, content))["event_id"])

    async def attach(self, room_id: str, data: bytes, content: Json) -> str:
        """Encrypt and upload a file, and send it as the message that `content` describes."""
        sealed, keys = encrypt_attachment(data)
        url = await self._http.upload(sealed)
        return await self.send(room_id, "m.room.message", content | {"file": {"url": url, **keys}})

    async def open_file(self, seen: Seen) -> bytes:
        """Download and decrypt the file of a message."""
        file = seen.content["file"]
        sealed = await self._http.download(file["url"])
        return bytes(decrypt_attachment(sealed, file["key"]["k"], file["hashes"]["sha256"], file["iv"]))

    async def react(self, room_id: str, event_id: str, key: str) -> str:
        """React to an event. Reactions are never encrypted."""
        relation = {"rel_type": "m.annotation", "event_id": event_id, "key": key}
        return await self.send(room_id, "m.reaction", {"m.relates_to": relation}, clear=True)

    async def redact(self, room_id: str, event_id: str, reason: str = "") -> str:
        """Delete an event and return the id of the deletion."""
        path = f"{CLIENT}/rooms/{quoted(room_id)}/redact/{quoted(event_id)}/{secrets.token_hex(8)}"
        return str((await self._http.insist("PUT", path, {"reason": reason} if reason else {}))["event_id"])

    async def mark_read(self, room_id: str, event_id: str) -> None:
        """Set this person's read receipt."""
        path = f"{CLIENT}/rooms/{quoted(room_id)}/receipt/m.read/{quoted(event_id)}"
        await self._http.insist("POST", path, {})

    async def join(self, room_id: str) -> None:
        """Join a room."""
        await self._http.insist("POST", f"{CLIENT}/join/{quoted(room_id)}", {})

    async def leave(self, room_id: str) -> None:
        """Leave a room or decline an invitation."""
        await self._http.insist("POST", f"{CLIENT}/rooms/{quoted(room_id)}/leave", {})

    async def rooms(self) -> list[str]:
        """Return the rooms this person is in."""
        return list((await self._http.insist("GET", f"{CLIENT}/joined_rooms"))["joined_rooms"])

    async def state(self, room_id: str, event_type: str, key: str = "") -> Json | None:
        """Return the content of a state event, None if there is none."""
        path = f"{CLIENT}/rooms/{quoted(room_id)}/state/{quoted(event_type)}/{quoted(key)}"
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
            page = await self._http.insist("GET", f"{CLIENT}/rooms/{quoted(room_id)}/messages?{query}")
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
