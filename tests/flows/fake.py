"""A homeserver in memory, behind the same Protocol as the real one: it dedupes by transaction id like a server.

`fail_at` makes the n-th outside call fail, before or after it had its effect.
"""

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from bot.domain.errors import BotschaftError, Refused
from bot.domain.ids import EventId, ItemId, RoomId, SessionId, TxnId, UserId
from bot.domain.message import Attachment, Forged, NoKey, Outgoing, Reading, Untrusted
from bot.domain.verification import KEY_MISMATCH, REFUSED, Handshake, Partner, Progress, cancellation
from bot.flows.messenger import GONE, STEP, Page, RoomSpec
from bot.matrix.attachments import file_object, with_file
from bot.matrix.content import message_of
from bot.matrix.e2ee.verification import Party, Verification
from bot.matrix.files import seal
from bot.matrix.handshakes import event_of_step, handshake_of, is_handshake, to_device_handshake
from bot.matrix.outgoing import event_of

Json = dict[str, Any]


class Crash(BaseException):
    """The process dies here. No code of ours may catch it."""


@dataclass
class FakeRoom:
    """One room of the fake server."""

    room_id: RoomId
    members: dict[UserId, str] = field(default_factory=dict)
    state: dict[tuple[str, str], Json] = field(default_factory=dict)
    events: list[Json] = field(default_factory=list)
    encrypted: bool = True
    mark: str = ""

    @property
    def name(self) -> str:
        return str(self.state.get(("m.room.name", ""), {}).get("name", ""))

    def texts(self) -> list[str]:
        """The bodies of what the bot sent and did not edit or delete since."""
        return [str(e["content"]["body"]) for e in self.events if "body" in e["content"]]


@dataclass
class Failure:
    """The n-th outside call fails; `happened` says whether it had its effect."""

    at: int
    happened: bool
    error: BaseException


def step(method: Any) -> Any:
    """Count this call as an outside step, and let it fail if it is its turn."""

    @functools.wraps(method)
    async def counted(self: "FakeMessenger", *args: Any, **kwargs: Any) -> Any:
        self.calls.append(method.__name__)
        failure = self.failure if self.failure and len(self.calls) == self.failure.at else None
        if failure and not failure.happened:
            raise failure.error
        try:
            return await method(self, *args, **kwargs)
        finally:
            if failure:
                raise failure.error

    return counted


class FakeMessenger:
    """Implements `bot.flows.messenger.Messenger` in memory, and `bot.flows.registrar.Registrar`."""

    def __init__(self, me: UserId, now: Callable[[], datetime]) -> None:
        self.me = me
        self.now = now
        self.rooms: dict[RoomId, FakeRoom] = {}
        self.aliases: dict[str, RoomId] = {}
        self.transactions: dict[TxnId, EventId] = {}
        self.receipts: dict[RoomId, EventId] = {}
        self.shared: list[tuple[RoomId, UserId]] = []
        self.asked: list[EventId] = []
        self.withheld: dict[SessionId, str] = {}
        self.backed_up_keys: set[SessionId] = set()
        self.confirmed: list[UserId] = []
        self.keys: dict[UserId, Party] = {}  # whose device is signed by an identity that we know
        self.verifications: dict[Partner, Verification] = {}
        self.to_device: list[tuple[UserId, str, str, Json]] = []
        self.signed: list[tuple[UserId, str]] = []
        self.without_identity: set[UserId] = set()
        self.missing_keys: set[SessionId] = set()
        self.doubted: dict[SessionId, type[Untrusted] | type[Forged]] = {}  # nobody is believed to have written it
        self.calls: list[str] = []
        self.files: dict[str, bytes] = {}
        self.named_files: list[str] = []
        self.refuses_files = False
        self.accounts: dict[UserId, str] = {}
        self.registration_tokens: dict[str, datetime] = {}
        self.taken_names = 0  # so many names in a row belong to somebody
        self.registration_open = True
        self.registrar_says: str = ""  # the code with which every request is refused
        self.failure: Failure | None = None
        self.unreadable_state: BotschaftError | None = None
        self.numbers = itertools.count(1)

    def fail_at(self, at: int, how: Literal["before", "after"], error: BaseException) -> None:
        """Let the n-th outside call from now fail."""
        self.failure = Failure(len(self.calls) + at, how == "after", error)

    def forget_transactions(self) -> None:
        """What Synapse does after 24 hours."""
        self.transactions.clear()

    async def read(self, room: RoomId, event: Json) -> Reading:
        if not isinstance(event["content"], dict):
            return Forged("no_content")
        session = SessionId(event["content"].get("session", ""))
        if session in self.missing_keys:
            return NoKey(session, self.withheld.get(session, ""))
        if is_handshake(event["type"], event["content"]):
            return handshake_of(room, event, event["type"], event["content"], me=self.me)
        if event["type"] == "m.room.encrypted":
            inside = event["content"].get("inside", {"type": "m.room.redaction", "content": {}})
            if session in self.doubted:
                said = message_of(room, event, inside["type"], inside["content"], encrypted=False)
                doubt = self.doubted[session]
                return doubt("unsigned" if doubt is Untrusted else "owner", said)
            return message_of(room, event, inside["type"], inside["content"], encrypted=True)
        return message_of(room, event, event["type"], event["content"], encrypted=True)

    @step
    async def send(self, room: RoomId, message: Outgoing, *, txn: TxnId) -> EventId:
        if not self.rooms[room].encrypted:
            raise Refused("this room is not encrypted", code="not_encrypted")
        return self._put(room, *event_of(message), txn)

    @step
    async def send_plain(self, room: RoomId, message: Outgoing, *, txn: TxnId) -> EventId:
        if self.rooms[room].encrypted:
            raise Refused("this room is encrypted", code="encrypted")
        return self._put(room, *event_of(message), txn)

    def _put(self, room: RoomId, event_type: str, content: Json, txn: TxnId) -> EventId:
        if self.rooms[room].members.get(self.me) != "join":
            raise Refused("not in the room", code="M_FORBIDDEN", status=403)
        if txn in self.transactions:
            return self.transactions[txn]
        event_id = self.new_event(room, self.me, event_type, content | {STEP: txn})["event_id"]
        self.transactions[txn] = EventId(event_id)
        return EventId(event_id)

    def new_event(self, room: RoomId, sender: UserId, event_type: str, content: Json) -> Json:
        """Put an event into a room, as the server does for anybody."""
        event = {
            "event_id": f"$event{next(self.numbers)}",
            "sender": sender,
            "type": event_type,
            "content": content,
            "origin_server_ts": round(self.now().timestamp() * 1000),
        }
        self.rooms[room].events.append(event)
        return event

    async def find_mark(self, room: RoomId, txn: TxnId, *, since: datetime) -> EventId | None:
        for event in self.rooms[room].events:
            if event["sender"] == self.me and event["content"].get(STEP) == txn:
                return EventId(event["event_id"])
        return None

    @step
    async def react(self, room: RoomId, event: EventId, key: str, *, txn: TxnId) -> EventId:
        relation = {"rel_type": "m.annotation", "event_id": event, "key": key}
        for known in self.rooms[room].events:
            if known["sender"] == self.me and known["content"].get("m.relates_to") == relation:
                return EventId(known["event_id"])
        return self._put(room, "m.reaction", {"m.relates_to": relation}, txn)

    @step
    async def redact(self, room: RoomId, event: EventId, *, txn: TxnId) -> None:
        known = await self.event(room, event)
        if not known["content"]:
            return
        gone = {GONE: known["content"][STEP]} if STEP in known["content"] else {}
        self.clear(room, event)
        self.new_event(room, self.me, "m.room.redaction", {"redacts": event, STEP: txn} | gone)

    def clear(self, room: RoomId, event: EventId) -> None:
        """Delete what an event said, as the server does."""
        for known in self.rooms[room].events:
            if known["event_id"] == event:
                known["content"] = {}

    async def event(self, room: RoomId, event: EventId) -> Json:
        for known in self.rooms[room].events if room in self.rooms else []:
            if known["event_id"] == event:
                return self._with_newest_edit(room, known)
        raise Refused("no such event", code="M_NOT_FOUND", status=404)

    def _with_newest_edit(self, room: RoomId, event: Json) -> Json:
        edits = [e for e in self._related(room, event["event_id"], "m.replace") if e["sender"] == event["sender"]]
        return event | ({"unsigned": {"m.relations": {"m.replace": edits[-1]}}} if edits else {})

    async def referring(self, room: RoomId, event: EventId) -> Sequence[Json]:
        return self._related(room, event, "m.reference")

    def _related(self, room: RoomId, event: str, rel_type: str) -> list[Json]:
        def fits(known: Json) -> bool:
            relation = known["content"].get("m.relates_to", {})
            return (relation.get("rel_type"), relation.get("event_id")) == (rel_type, event)

        return [known for known in self.rooms[room].events if fits(known)]

    @step
    async def new_file(self) -> str:
        self.named_files.append(f"mxc://example.org/ours{next(self.numbers)}")
        return self.named_files[-1]

    @step
    async def seal_file(self, attachment: Attachment, mxc: str, *, secret: bytes, largest: int) -> Attachment:
        data = self.files.get(attachment.open_mxc)
        if data is None:
            raise Refused("no such file", code="M_NOT_FOUND", status=404)
        if len(data) > largest:
            raise Refused("too large", code="too_large")
        sealed = seal(data, secret)
        self.files[mxc] = sealed.data
        return with_file(attachment, file_object(mxc, key=sealed.key, iv=sealed.iv, sha256=sealed.sha256))

    @step
    async def put_file(self, attachment: Attachment, data: bytes, mxc: str, *, secret: bytes) -> Attachment:
        if self.refuses_files or mxc not in self.named_files:
            raise Refused("no such name", code="M_NOT_FOUND", status=404)
        sealed = seal(data, secret)
        self.files.setdefault(mxc, sealed.data)  # a server says 409 to the second one
        return with_file(attachment, file_object(mxc, key=sealed.key, iv=sealed.iv, sha256=sealed.sha256))

    @step
    async def create_room(self, spec: RoomSpec) -> RoomId:
        if spec.alias in self.aliases:
            return self.aliases[spec.alias]
        room_id = RoomId(f"!room{next(self.numbers)}")
        members = {self.me: "join"} | dict.fromkeys(spec.invite, "invite")
        room = FakeRoom(room_id, members, encrypted=spec.encrypted, mark=spec.mark)
        room.state["m.room.name", ""] = {"name": spec.name}
        self.rooms[room_id] = room
        self.aliases[spec.alias] = room_id
        return room_id

    @step
    async def drop_alias(self, alias: str) -> None:
        self.aliases.pop(alias, None)

    @step
    async def invite(self, room: RoomId, user: UserId) -> None:
        if self.rooms[room].members.get(user) != "join":
            self.rooms[room].members[user] = "invite"

    @step
    async def remove(self, room: RoomId, user: UserId) -> None:
        self.rooms[room].members[user] = "leave"

    @step
    async def join(self, room: RoomId) -> None:
        self.rooms[room].members[self.me] = "join"

    @step
    async def leave(self, room: RoomId) -> None:
        self.rooms[room].members[self.me] = "leave"

    @step
    async def set_state(self, room: RoomId, event_type: str, state_key: str, content: Json) -> None:
        self.rooms[room].state[event_type, state_key] = content

    async def state(self, room: RoomId, event_type: str, state_key: str) -> Json | None:
        if self.unreadable_state is not None:
            raise self.unreadable_state
        if room not in self.rooms or self.rooms[room].members.get(self.me) != "join":
            raise Refused("not in the room", code="M_FORBIDDEN", status=403)
        return self.rooms[room].state.get((event_type, state_key))

    async def mark_read(self, room: RoomId, event: EventId) -> None:
        self.receipts[room] = event

    @step
    async def share_history(self, room: RoomId, user: UserId) -> None:
        self.shared.append((room, user))

    async def look_for_key(self, room: RoomId, event: Json) -> bool:
        self.asked.append(EventId(event["event_id"]))
        backed_up = {SessionId(event["content"].get("session", ""))} & self.backed_up_keys
        self.missing_keys -= backed_up
        return bool(backed_up)

    @step
    async def confirm_identity(self, user: UserId) -> bool:
        self.confirmed.append(user)
        return user not in self.without_identity

    @property
    def party(self) -> Party:
        """The bot as others know it."""
        return Party(self.me, "BOT", "bot+fingerprint", "bot+master")

    async def begin_verification(self, request: Handshake) -> Progress:
        partner = request.partner
        them = self.keys.get(partner.user)
        if them is None or them.device != partner.device:
            return Progress((cancellation(KEY_MISMATCH),), cancelled=KEY_MISMATCH)
        others = tuple(other for other in self.verifications if other.user == partner.user)
        for other in others:
            await self.cancel_verification(other, REFUSED)
        begun = Verification(partner.transaction, self.party, them)
        progress = begun.begin(request.content)
        if not begun.ended:
            self.verifications[partner] = begun
        return replace(progress, superseded=others)

    def _running(self, partner: Partner) -> Partner | None:
        def name(of: Partner) -> tuple[object, ...]:
            return of.user, of.transaction, of.room

        return next((known for known in self.verifications if name(known) == name(partner)), None)

    async def take_handshake(self, handshake: Handshake) -> Progress | None:
        known = self._running(handshake.partner)
        return self.verifications[known].take(handshake.step, handshake.content) if known else None

    async def confirm_verification(self, partner: Partner, *, vouched: bool) -> Progress | None:
        known = self._running(partner)
        return self.verifications[known].confirm(vouched=vouched) if known else None

    async def cancel_verification(self, partner: Partner, code: str) -> Progress | None:
        known = self._running(partner)
        return self.verifications.pop(known).cancel(code) if known else None

    @step
    async def send_handshake(
        self, partner: Partner, step: str, content: Mapping[str, Any], *, txn: TxnId, to_all: bool
    ) -> None:
        event_type, said = event_of_step(partner, step, content)
        if partner.room is not None:
            self._put(partner.room, event_type, said, txn)
        elif txn not in self.transactions:
            self.transactions[txn] = EventId(txn)
            self.to_device.append((partner.user, partner.device, event_type, said))

    def to_device_handshake(self, item: ItemId, event: Json) -> Handshake | None:
        return to_device_handshake(item, event)

    @step
    async def sign_identity(self, user: UserId, master_key: str) -> bool:
        if user not in self.keys or self.keys[user].master != master_key:
            return False
        if (user, master_key) not in self.signed:
            self.signed.append((user, master_key))
        return True

    @step
    async def is_free(self, localpart: str) -> bool:
        self._may_administrate()
        self.taken_names -= 1
        return self.taken_names < 0 and not any(user.startswith(f"@{localpart}:") for user in self.accounts)

    @step
    async def make_account(self, user: UserId, password: str) -> None:
        self._may_administrate()
        self.accounts.setdefault(user, password)

    @step
    async def takes_registrations(self) -> bool:
        return self.registration_open

    @step
    async def make_registration_token(self, token: str, *, expires_at: datetime) -> None:
        self._may_administrate()
        self.registration_tokens[token] = expires_at

    def _may_administrate(self) -> None:
        if self.registrar_says:
            raise Refused("no", code=self.registrar_says, status=403)

    async def page_back(self, room: RoomId, start: str | None, *, limit: int) -> Page:
        events = self.rooms[room].events
        end = int(start) if start else len(events)
        begin = max(0, end - limit)
        return Page(tuple(reversed(events[begin:end])), str(begin) if begin else None)

    async def display_name(self, room: RoomId, user: UserId) -> str:
        return str(user)

    async def members(self, room: RoomId) -> Sequence[UserId]:
        people = self.rooms[room].members.items()
        return [user for user, membership in people if user != self.me and membership in {"join", "invite"}]
