"""What every flow has around it, items of our own, and the outside steps of one item, each under its derived id."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Final

from bot.domain.arrival import Item, ItemKind, room_lane
from bot.domain.case import Case
from bot.domain.door import Door
from bot.domain.errors import Refused, Transient
from bot.domain.finding import Finding
from bot.domain.hours import Hours
from bot.domain.ids import CustomerId, DeskId, EventId, Lane, RoomId, TxnId, UserId, derived_item_id, txn_id
from bot.domain.ledger.notes import Signer, origin_of
from bot.domain.message import Outgoing
from bot.domain.purpose import Privacy, PurposeId
from bot.domain.room import RoomKind
from bot.domain.texts import Texts
from bot.domain.throttle import Turns
from bot.domain.verification import Partner
from bot.flows.messenger import Messenger
from bot.flows.registrar import Registrar
from bot.store import arrivals, cases, ledger, marks, rooms
from bot.store.database import Database, Tx
from bot.store.links import Place


@dataclass(frozen=True, slots=True)
class Desk:
    """A team: who answers, what its inbox room is called, and what is for them."""

    id: DeskId
    name: str
    members: tuple[UserId, ...]
    keywords: tuple[str, ...] = ()  # words of a first message for which a new case is theirs
    hours: Hours | None = None  # their own; else those of the business
    when_closed: DeskId | None = None  # who gets their new cases then
    language: str = ""  # their own, of what the bot says in their rooms; else that of the business


@dataclass(frozen=True, slots=True)
class Rules:
    """What the admin decided, as plain values."""

    me: UserId
    business: str
    language: str
    desks: tuple[Desk, ...]
    admins: tuple[UserId, ...]
    ignored: frozenset[UserId]
    first_case_number: int
    reopen_window: timedelta
    rename_interval: timedelta
    overview_interval: timedelta
    automatic_per_hour: int
    messages_per_minute: int
    burst: int
    unreadable_notice_after: timedelta
    door: Door
    largest_open_file: int = 20 * 1024 * 1024  # bytes
    strangers_per_hour: int = 60  # people whom nobody has answered yet
    read_marks: bool = False
    held_for: timedelta = timedelta(seconds=60)  # without a tap it stays inside
    hours: Hours | None = None
    strict_customers: bool = False  # their devices must be signed, too
    news_interval: timedelta = timedelta(seconds=3)
    ask_at_close: tuple[PurposeId, ...] = ()  # the first of them that somebody may be asked about
    zone: tzinfo = UTC
    escalation: tuple[timedelta, ...] = ()  # open time after which somebody else is told that a customer waits
    close_after: timedelta = timedelta(0)  # nothing from the customer for so long; 0: never
    archive_after: timedelta = timedelta(0)  # closed for so long; 0: never
    ask_for_desk: str = "no"  # "number" or "poll": how a customer is asked for whom a new case is

    @property
    def staff(self) -> frozenset[UserId]:
        """Everybody who never becomes a customer because they work here."""
        return frozenset(self.admins).union(*(desk.members for desk in self.desks))

    def holder(self, case: Case) -> UserId | None:
        """Return who looks after a case, unless they left the team."""
        return case.holder if case.holder in self.staff else None

    def desk_for(self, words: str, before: DeskId | None) -> DeskId | None:
        """Return where a new case belongs: whose keyword it names, else the last desk; None: nothing tells."""
        named = [desk.id for desk in self.desks if any(_begins_word(keyword, words) for keyword in desk.keywords)]
        if len(named) == 1:
            return named[0]
        return self.desk(before).id if before else None

    def deputy_of(self, desk_id: DeskId, moment: datetime) -> DeskId:
        """Return who gets the new cases of a desk: itself if it is open, else who is named, if they are."""
        asked: list[DeskId] = []
        here: DeskId | None = self.desk(desk_id).id
        while here and here not in asked:
            hours = self.hours_at(here)
            if hours is None or hours.is_open(moment):
                return here
            asked.append(here)
            here = self.desk(here).when_closed
        return asked[0]

    def hours_at(self, desk_id: DeskId) -> Hours | None:
        """Return when somebody is at a desk; None: nobody knows, and nothing depends on it."""
        return self.desk(desk_id).hours or self.hours

    def desk(self, desk_id: DeskId) -> Desk:
        """Return a desk; one that the admin has since removed is answered by the first."""
        return next((desk for desk in self.desks if desk.id == desk_id), self.desks[0])


FOR_OTHERS: Final = frozenset({"admin", "customer", "doctor", "poll", "untrusted"})
"""Texts that customers or admins may read, wherever the reason for them was written."""

_here: ContextVar[DeskId | None] = ContextVar("here", default=None)


@contextmanager
def speaking_at(desk: DeskId | None) -> Iterator[None]:
    """Until the end of this block the item under way is about a room of this desk, or of none."""
    before = _here.set(desk)
    try:
        yield
    finally:
        _here.reset(before)


def _begins_word(keyword: str, words: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(keyword)}", words, re.IGNORECASE) is not None


class Bookkeeping:
    """What may happen later than the message itself: receipts, room names, cards. Replaced by the real one at a start.

    `wake` tells the worker that these lanes got an item.
    """

    def __init__(self) -> None:
        self.wake: Callable[[Iterable[Lane]], None] = lambda lanes: None

    def lanes_changed(self, lanes: Iterable[Lane]) -> None:
        """Items were put into these lanes."""
        self.wake(lanes)

    def alarms_changed(self, room: RoomId | None) -> None:
        """The admin room has got an alarm, if there is one."""
        self.lanes_changed([room_lane(room)] if room else [])

    def room_changed(self, room: RoomId) -> None:
        """An item of this room was handled."""

    def case_changed(self, number: int) -> None:
        """The name or the cards of this case, or what the inboxes say is open, may have to change."""

    def overviews_changed(self) -> None:
        """An overview of what is open is gone, or may have to change."""


class Ledger:
    """Whose key signs the ledger. While its anchor does not `agree`, nothing may be done that needs a consent."""

    def __init__(self, account: UserId, seed: bytes) -> None:
        self._account = account
        self._seed = seed
        self.agrees = False

    def origin(self, epoch: int) -> str:
        """Return the name of the ledger in an epoch."""
        return origin_of(self._account, epoch)

    async def signer(self, reader: Database | Tx) -> Signer:
        """Return the key under the name that the ledger has now."""
        return Signer.from_seed(self.origin(await ledger.epoch(reader)), self._seed)


async def _nothing_to_look_at() -> Sequence[Finding]:
    return ()


@dataclass(slots=True)
class Surroundings:
    """Passed to every flow. `rules` and `texts` may change while it serves, by `obey` alone.

    `on_rules` tells those who must follow the rules without asking. `changing` is held from the commit of a change in
    who works here until it is obeyed, so that two changes cannot pass each other. Without `privacy` nobody is shown a
    privacy text or asked for consent. `examine` looks at the whole house.
    """

    database: Database
    messenger: Messenger
    texts: Texts
    rules: Rules
    key: bytes
    now: Callable[[], datetime]
    bookkeeping: Bookkeeping
    ledger: Ledger
    on_rules: Callable[[Rules], None] = lambda rules: None
    privacy: Privacy | None = None
    registrar: Registrar | None = None  # there is no token of a server administrator
    suppression_key: bytes = b""
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)
    answered: set[CustomerId] = field(default_factory=set)  # who is known to be no stranger
    newcomers: Turns = field(default_factory=Turns)  # who comes in
    strangers: Turns = field(default_factory=Turns)  # what those write who are in
    has_marks: bool | None = None  # None: look
    examine: Callable[[], Awaitable[Sequence[Finding]]] = _nothing_to_look_at

    def obey(self, rules: Rules, texts: Texts | None = None) -> None:
        """From now on these rules (and texts) hold, for everything that has not been planned yet."""
        self.rules = rules
        self.texts = texts or self.texts
        self.on_rules(rules)

    def say(self, text: str, /, **values: str) -> str:
        """Return a text: what is for the desk whose room this is about in its language, all else in the business's."""
        return self.say_at(None if text.partition(".")[0] in FOR_OTHERS else _here.get(), text, **values)

    def say_at(self, desk: DeskId | None, text: str, /, **values: str) -> str:
        """Return a text in the language of a desk; None: of the business."""
        return self.texts.render(text, self._language_at(desk), **values)

    @property
    def language(self) -> str:
        """What is spoken in the room that the item under way is about."""
        return self._language_at(_here.get())

    def _language_at(self, desk: DeskId | None) -> str:
        return (desk and self.rules.desk(desk).language) or self.rules.language

    async def language_of(self, reader: Database | Tx, customer: CustomerId) -> str:
        """Return the language in which a customer is written to."""
        return await rooms.language(reader, customer) or self.rules.language

    async def say_in(self, room: RoomId, text: str, /, **values: str) -> str:
        """Return a text in the language of the customer whose chat it is, or of the desk whose room it is."""
        there = await rooms.find(self.database, room)
        customer = there.customer_id if there and there.kind is not RoomKind.CASE else None
        if customer:
            return self.texts.render(text, await self.language_of(self.database, customer), **values)
        return self.say_at(there.desk if there else None, text, **values)

    async def add_item(
        self,
        tx: Tx,
        kind: ItemKind,
        name: tuple[str, ...],
        *,
        lane: Lane,
        room: RoomId,
        body: dict[str, Any],
        due_at: datetime | None = None,
        of: Item | None = None,
    ) -> bool:
        """Write down an item of our own, in the commit that wants it; False: it is there already.

        It did not arrive: it is what we have still to do, at once or when it is due, and no crash makes us forget it.
        Its id is derived from `name`, which says what it is about. So whatever runs again asks for the same item, and
        it is done once; also across an update, which is why a name never changes.
        `of`: another item, whose author and time it bears instead of ours and now.
        """
        now = self.now()
        return await arrivals.add(
            tx,
            item_id=derived_item_id(self.key, *name),
            lane=lane,
            room=room,
            kind=kind,
            sender=of.sender if of else self.rules.me,
            sent_at=of.sent_at if of else now,
            arrived_at=now,
            body=body,
            due_at=due_at,
        )

    def txn(self, item: Item, step: str, ordinal: int = 0) -> TxnId:
        """Return the transaction id of a step of an item."""
        return txn_id(self.key, item.id, step, ordinal)

    async def plan(self, tx: Tx, item: Item, plan: Mapping[str, Any]) -> Item:
        """T1b: commit what the item decided (the caller's transaction) and return the item that follows it.

        Raises:
            Transient: its author deleted it a moment ago; it is not there any more.
        """
        now = self.now()
        if not await arrivals.plan(tx, item, dict(plan), now):
            raise Transient("withdrawn by its author", retry_after_s=0.01)
        return replace(item, plan=dict(plan), planned_at=now)

    async def planned(self, item: Item, plan: Mapping[str, Any]) -> Item:
        """T1b in a commit of its own, for items that decide nothing but that they send. A plan that exists stays."""
        if item.plan is not None:
            return item
        async with self.database.transaction() as tx:
            return await self.plan(tx, item, plan)

    async def finish(self, item: Item) -> None:
        """T2 of an item that leaves nothing else to write down."""
        async with self.database.transaction() as tx:
            await arrivals.finish(tx, item)
        self.bookkeeping.room_changed(item.room_id)

    async def send(self, item: Item, step: str, room: RoomId, message: Outgoing, ordinal: int = 0) -> EventId:
        """Send one event of an item, once. An item older than the server's memory is looked up first."""
        txn = self.txn(item, step, ordinal)
        found = await self.already_there(item, room, txn)
        return found or await self.messenger.send(room, message, txn=txn)

    async def send_plain(self, item: Item, step: str, room: RoomId, message: Outgoing) -> EventId:
        """The same for one of our fixed sentences in a room that is not encrypted."""
        txn = self.txn(item, step)
        found = await self.already_there(item, room, txn)
        return found or await self.messenger.send_plain(room, message, txn=txn)

    async def send_handshake(
        self, item: Item, ordinal: int, partner: Partner, step: str, content: Mapping[str, Any]
    ) -> None:
        """The same for a step of a verification. From device to device, a day later nobody waits for it."""
        txn = self.txn(item, "handshake", ordinal)
        if partner.room is None and item.must_reconcile(self.now()):
            return
        if partner.room and await self.already_there(item, partner.room, txn):
            return
        to_all = partner.user in self.rules.staff
        await self.messenger.send_handshake(partner, step, content, txn=txn, to_all=to_all)

    async def already_there(self, item: Item, room: RoomId, txn: TxnId) -> EventId | None:
        """Return the event of a step that was taken when the server, or we, have forgotten it.

        Raises:
            Refused: after a restore nobody can tell, because somebody deleted events of ours in this room.
        """
        assert item.planned_at is not None, "no step without a plan"
        restored = await self._was_restored()
        found = await marks.find(self.database, txn, room) if restored else None
        if found is None and item.must_reconcile(self.now()):
            found = await self.messenger.find_mark(room, txn, since=item.planned_at)
        is_first = item.kind is ItemKind.EVENT and item.attempts == 0  # whoever tries again has looked
        if found is None and restored and is_first and await marks.may_be_lost(self.database, room, item.sent_at):
            raise Refused("it may have been sent and deleted before the restore", code="mark_not_decidable")
        return found

    async def was_sent(self, item: Item, step: str, tx: Tx | None = None) -> Place | None:
        """Return where a step went that had been taken before a restore."""
        if not await self._was_restored():
            return None
        return await marks.place_of(tx or self.database, self.txn(item, step))

    async def _was_restored(self) -> bool:
        """Most databases never were: they need not be asked at every step."""
        if self.has_marks is None:
            self.has_marks = await marks.exist(self.database)
        return self.has_marks

    async def may_answer(self, tx: Tx, item: Item, customer: CustomerId, step: str) -> bool:
        """Allow an automatic sentence to a customer, unless two machines seem to be talking (part of T1b)."""
        sent = await cases.count_automatic(tx, customer, self.now() - timedelta(hours=1))
        if sent >= self.rules.automatic_per_hour and not await self.was_sent(item, step, tx):
            return False
        await cases.add_automatic(tx, customer, item.id, step, self.now())
        return True
