"""The real Messenger: what flows ask for, said in Matrix. Members and encryption come from our own tables."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any

from bot.domain.errors import Refused
from bot.domain.ids import EventId, ItemId, RoomId, TxnId, UserId
from bot.domain.message import Attachment, Forged, Message, Outgoing, Reading
from bot.domain.room import Room, RoomKind
from bot.domain.verification import Handshake, Partner, Progress
from bot.flows.messenger import GONE, STEP, Page, RoomSpec
from bot.matrix.content import message_of
from bot.matrix.e2ee.keys import Keys
from bot.matrix.e2ee.opening import Opened
from bot.matrix.e2ee.trust import Standing
from bot.matrix.files import Files
from bot.matrix.handshakes import event_of_step, handshake_of, is_handshake, relation_to, to_device_handshake
from bot.matrix.harmless import harmless_name
from bot.matrix.outgoing import event_of, relation_of
from bot.matrix.pace import Limit, Pace
from bot.matrix.rooms import RoomMaker
from bot.matrix.transport import Transport, quote
from bot.store import rooms
from bot.store.database import Database

Json = dict[str, Any]

PLAIN_TYPES = frozenset({"m.reaction", "m.room.redaction"})
"""Clients never encrypt these, so they say nothing about who wrote them but what the server claims."""

MARK_PAGES = 200
"""How far back a mark is looked for: 20,000 events. A room with more since the plan is a case for a human."""


class NioMessenger:
    """Implements `bot.flows.messenger.Messenger`."""

    def __init__(self, transport: Transport, keys: Keys, database: Database, me: UserId, pace: Pace) -> None:
        self._transport = transport
        self._pace = pace
        self._keys = keys
        self._database = database
        self._me = me
        self._maker = RoomMaker(transport, me, pace)
        self._files = Files(transport)

    async def read(self, room: RoomId, event: Json) -> Reading:
        """See the Protocol. A plain event in an encrypted room is no message of anybody."""
        event_type, content = str(event.get("type")), event.get("content")
        if not isinstance(content, dict):
            return Forged("no_content")
        if event_type != "m.room.encrypted":
            if is_handshake(event_type, content):
                # Proves nothing by itself, so it may come in clear; it becomes a step or noise, never a message.
                return handshake_of(room, event, event_type, content, me=self._me)
            facts = await self._room(room)
            if facts.encrypted and event_type not in PLAIN_TYPES:
                return Forged("not_encrypted")
            return message_of(room, event, event_type, content, encrypted=False)
        if "ciphertext" not in content:
            # Its author deleted it before we read it: there is nothing to carry.
            return message_of(room, event, "m.room.redaction", {}, encrypted=False)
        opened = await self._keys.open_event(room, event)
        if not isinstance(opened, Opened):
            return opened
        if is_handshake(opened.event_type, opened.content):
            return handshake_of(room, event, opened.event_type, opened.content, me=self._me, device=opened.device_id)
        message = message_of(room, event, opened.event_type, opened.content, encrypted=True)
        unsigned = opened.device_id if opened.standing is Standing.UNSIGNED else ""
        return replace(message, unsigned_device=unsigned) if isinstance(message, Message) else message

    async def send(self, room: RoomId, message: Outgoing, *, txn: TxnId) -> EventId:
        """See the Protocol."""
        facts = await self._room(room)
        if not facts.encrypted:
            raise Refused("this room is not encrypted", code="not_encrypted")
        people = [*self._readers(facts), self._me]
        event_type, plain = event_of(message)
        content = await self._keys.seal(
            *(room, people, event_type, plain),
            full_history=_staff_room(facts),
            to_all=message.to_all,
            rotation=facts.rotation,
        )
        return await self._put(room, "m.room.encrypted", content | {STEP: txn} | relation_of(message), txn)

    async def send_plain(self, room: RoomId, message: Outgoing, *, txn: TxnId) -> EventId:
        """See the Protocol."""
        facts = await self._room(room)
        if facts.encrypted:
            raise Refused("this room is encrypted; nothing plain goes there", code="encrypted")
        event_type, content = event_of(message)
        return await self._put(room, event_type, content | {STEP: txn}, txn)

    async def _put(self, room: RoomId, event_type: str, content: Json, txn: TxnId) -> EventId:
        path = f"{_path(room)}/send/{event_type}/{quote(txn)}"
        answer = await self._pace.run(Limit.EVENTS, lambda: self._transport.call("PUT", path, content))
        return EventId(answer["event_id"])

    async def find_mark(self, room: RoomId, txn: TxnId, *, since: datetime) -> EventId | None:
        """See the Protocol."""
        oldest_ms = since.timestamp() * 1000 - 60_000
        start: str | None = None
        for _ in range(MARK_PAGES):
            page = await self.page_back(room, start, limit=100)
            for event in page.events:
                if event.get("sender") == self._me and event.get("content", {}).get(STEP) == txn:
                    return EventId(event["event_id"])
            last = page.events[-1].get("origin_server_ts", 0) if page.events else 0
            if page.older is None or (page.events and last < oldest_ms):
                return None
            start = page.older
        raise Refused("too much was written since to look for our mark", code="mark_not_decidable")

    async def react(self, room: RoomId, event: EventId, key: str, *, txn: TxnId) -> EventId:
        """See the Protocol."""
        relation = {"rel_type": "m.annotation", "event_id": event, "key": key}
        try:
            return await self._put(room, "m.reaction", {"m.relates_to": relation, STEP: txn}, txn)
        except Refused as error:
            known = await self._our_reaction(room, event, key) if error.code == "M_DUPLICATE_ANNOTATION" else None
            if known is None:
                raise
            return known

    async def _our_reaction(self, room: RoomId, event: EventId, key: str) -> EventId | None:
        for known in await self._relations(room, event, "m.annotation"):
            relation = known.get("content", {}).get("m.relates_to", {})
            if known.get("sender") == self._me and relation.get("key") == key:
                return EventId(known["event_id"])
        return None

    async def event(self, room: RoomId, event: EventId) -> Json:
        """See the Protocol."""
        return dict(await self._transport.call("GET", f"{_path(room)}/event/{quote(event)}"))

    async def referring(self, room: RoomId, event: EventId) -> Sequence[Json]:
        """See the Protocol."""
        return await self._relations(room, event, "m.reference")

    async def _relations(self, room: RoomId, event: EventId, relation: str) -> list[Json]:
        path = f"/_matrix/client/v1/rooms/{quote(room)}/relations/{quote(event)}/{relation}"
        found: list[Json] = []
        query = {"dir": "f", "limit": "100"}
        for _ in range(MARK_PAGES):
            page = await self._transport.call("GET", path, query=query)
            found += [known for known in page.get("chunk") or [] if isinstance(known, dict)]
            if not page.get("next_batch"):
                break
            query["from"] = str(page["next_batch"])
        return found

    async def new_file(self) -> str:
        """See the Protocol."""
        return await self._files.new()

    async def seal_file(self, attachment: Attachment, mxc: str, *, secret: bytes, largest: int) -> Attachment:
        """See the Protocol."""
        return await self._files.seal(attachment, mxc, secret=secret, largest=largest)

    async def put_file(self, attachment: Attachment, data: bytes, mxc: str, *, secret: bytes) -> Attachment:
        """See the Protocol."""
        return await self._files.put(attachment, data, mxc, secret=secret)

    async def redact(self, room: RoomId, event: EventId, *, txn: TxnId) -> None:
        """See the Protocol."""
        content = (await self.event(room, event)).get("content")
        if not content:
            return
        path = f"{_path(room)}/redact/{quote(event)}/{quote(txn)}"
        body = {STEP: txn} | ({GONE: content[STEP]} if STEP in content else {})
        await self._pace.run(Limit.EVENTS, lambda: self._transport.call("PUT", path, body))

    async def create_room(self, spec: RoomSpec) -> RoomId:
        """See the Protocol. Who is invited is known to us at once, so that keys go to them before any sync."""
        room = await self._maker.create(spec)
        async with self._database.transaction() as tx:
            if await rooms.find(tx, room) is None:
                facts = Room(room, ours=True, space=spec.space, encrypted=spec.encrypted, membership="join")
                await rooms.save(tx, facts)
            there = await rooms.present(tx, room)
            for user in spec.invite:
                if user not in there:
                    await rooms.set_member(tx, room, user, "invite")
        return room

    async def drop_alias(self, alias: str) -> None:
        """See the Protocol."""
        await self._maker.drop_alias(alias)

    async def invite(self, room: RoomId, user: UserId) -> None:
        """See the Protocol."""
        request = lambda: self._transport.call("POST", f"{_path(room)}/invite", {"user_id": user})  # noqa: E731
        try:
            await self._pace.run(Limit.INVITES, request, later=True)
        except Refused as error:
            if "already" not in str(error) and await self._membership(room, user) not in {"invite", "join"}:
                raise
        async with self._database.transaction() as tx:
            if user not in await rooms.present(tx, room):
                await rooms.set_member(tx, room, user, "invite")

    async def _membership(self, room: RoomId, user: UserId) -> str:
        try:
            answer = await self._transport.call("GET", f"{_path(room)}/state/m.room.member/{quote(user)}")
        except Refused:
            return "leave"
        return str(answer.get("membership"))

    async def remove(self, room: RoomId, user: UserId) -> None:
        """See the Protocol."""
        try:
            request = lambda: self._transport.call("POST", f"{_path(room)}/kick", {"user_id": user})  # noqa: E731
            await self._pace.run(Limit.EVENTS, request)
        except Refused:
            if await self._membership(room, user) in {"invite", "join"}:
                raise
        async with self._database.transaction() as tx:
            await rooms.set_member(tx, room, user, "leave")

    async def join(self, room: RoomId) -> None:
        """See the Protocol."""
        await self._transport.call("POST", f"{_path(room)}/join", {})

    async def leave(self, room: RoomId) -> None:
        """See the Protocol."""
        try:
            await self._transport.call("POST", f"{_path(room)}/leave", {})
        except Refused as error:
            if error.status not in {403, 404}:
                raise

    async def set_state(self, room: RoomId, event_type: str, state_key: str, content: Json) -> None:
        """See the Protocol."""
        path = f"{_path(room)}/state/{quote(event_type)}/{quote(state_key)}"
        await self._pace.run(Limit.EVENTS, lambda: self._transport.call("PUT", path, content), later=True)

    async def state(self, room: RoomId, event_type: str, state_key: str) -> Json | None:
        """See the Protocol."""
        path = f"{_path(room)}/state/{quote(event_type)}/{quote(state_key)}"
        try:
            return dict(await self._transport.call("GET", path))
        except Refused as error:
            if error.code != "M_NOT_FOUND":
                raise
            return None

    async def mark_read(self, room: RoomId, event: EventId) -> None:
        """See the Protocol."""
        await self._transport.call("POST", f"{_path(room)}/receipt/m.read/{quote(event)}", {})

    async def share_history(self, room: RoomId, user: UserId) -> None:
        """See the Protocol."""
        await self._keys.share_history(room, user)

    async def look_for_key(self, room: RoomId, event: Json) -> bool:
        """See the Protocol."""
        return await self._keys.look_for_key(room, event)

    async def confirm_identity(self, user: UserId) -> bool:
        """See the Protocol."""
        return await self._keys.confirm_identity(user)

    async def begin_verification(self, request: Handshake) -> Progress:
        """See the Protocol."""
        return await self._keys.verifications.begin(request)

    async def take_handshake(self, handshake: Handshake) -> Progress | None:
        """See the Protocol."""
        return self._keys.verifications.take(handshake)

    async def confirm_verification(self, partner: Partner, *, vouched: bool) -> Progress | None:
        """See the Protocol."""
        return self._keys.verifications.confirm(partner, vouched=vouched)

    async def cancel_verification(self, partner: Partner, code: str) -> Progress | None:
        """See the Protocol."""
        return self._keys.verifications.cancel(partner, code)

    async def send_handshake(
        self, partner: Partner, step: str, content: Mapping[str, Any], *, txn: TxnId, to_all: bool
    ) -> None:
        """See the Protocol."""
        event_type, plain = event_of_step(partner, step, content)
        if partner.room is None:
            await self._keys.send_to_device(event_type, partner.user, partner.device or "*", plain, txn)
            return
        facts = await self._room(partner.room)
        if not facts.encrypted:
            await self._put(partner.room, event_type, plain | {STEP: txn}, txn)
            return
        people = [*self._readers(facts), self._me]
        sealed = await self._keys.seal(
            partner.room, people, event_type, plain, full_history=_staff_room(facts), to_all=to_all
        )
        beside = {STEP: txn, "m.relates_to": relation_to(partner)}
        await self._put(partner.room, "m.room.encrypted", sealed | beside, txn)

    def to_device_handshake(self, item: ItemId, event: Json) -> Handshake | None:
        """See the Protocol."""
        return to_device_handshake(item, event)

    async def sign_identity(self, user: UserId, master_key: str) -> bool:
        """See the Protocol."""
        return await self._keys.sign_identity(user, master_key)

    async def page_back(self, room: RoomId, start: str | None, *, limit: int) -> Page:
        """See the Protocol."""
        query = {"dir": "b", "limit": str(limit)} | ({"from": start} if start else {})
        answer = await self._transport.call("GET", f"{_path(room)}/messages", query=query)
        chunk = answer.get("chunk")
        events = tuple(event for event in chunk if isinstance(event, dict)) if isinstance(chunk, list) else ()
        end = answer.get("end")
        return Page(events, end if isinstance(end, str) else None)

    async def display_name(self, room: RoomId, user: UserId) -> str:
        """See the Protocol. For who is in the room no other server is asked: it may be away."""
        answer: Json = {}
        for path in (f"{_path(room)}/state/m.room.member/{quote(user)}", f"/_matrix/client/v3/profile/{quote(user)}"):
            with suppress(Refused):
                answer = await self._transport.call("GET", path)
                break
        return harmless_name(answer.get("displayname"), user)

    async def members(self, room: RoomId) -> Sequence[UserId]:
        """See the Protocol."""
        return await rooms.present(self._database, room)

    async def readers(self, room: RoomId) -> Sequence[UserId]:
        """Return who may have the keys of what we write in a room."""
        facts = await rooms.find(self._database, room)
        return self._readers(facts) if facts else ()

    def _readers(self, room: Room) -> list[UserId]:
        """In rooms of staff who is a member is the server's word; who works here is the configuration's."""
        return [user for user in room.present() if user in self._keys.staff or not _staff_room(room)]

    async def _room(self, room: RoomId) -> Room:
        facts = await rooms.find(self._database, room)
        if facts is None:
            raise Refused("we know nothing of this room", code="unknown_room")
        return facts


def _path(room: RoomId) -> str:
    return f"/_matrix/client/v3/rooms/{quote(room)}"


def _staff_room(room: Room) -> bool:
    """In rooms that only staff are in, whoever is invited later may read what came before."""
    return room.kind in {RoomKind.CASE, RoomKind.INBOX, RoomKind.ADMIN}
