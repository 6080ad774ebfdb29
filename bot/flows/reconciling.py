"""After a restore the first sync brings everything again that came after the backup, and what we had done about it.

What we had sent is known by its clear marks, before anything is decided: rooms, cases and copy links of that time are
written down from them, and every item then goes its usual way, in the order in which things were written. A step whose
mark is there is not taken again; what has no mark was not done and is done now.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

import structlog

from bot.domain.arrival import ItemKind, room_lane
from bot.domain.errors import Refused, Transient
from bot.domain.ids import (
    CaseNumber,
    CustomerId,
    DeskId,
    EventId,
    ItemId,
    RoomId,
    TxnId,
    UserId,
    txn_id,
)
from bot.domain.room import Room, RoomKind, fold
from bot.flows import adopting, intake
from bot.flows.gap import read_back
from bot.flows.intake import Batch, RoomUpdate
from bot.flows.messenger import GONE, STEP
from bot.flows.opening import record_room
from bot.flows.surroundings import Surroundings
from bot.store import arrivals, cases, facts, links, marks, overviews, rooms, staff
from bot.store.database import Tx
from bot.store.links import Link, Place, Relation

log = structlog.get_logger()
Event = dict[str, Any]

MARKED = frozenset({"m.room.encrypted", "m.room.message", "m.sticker", "m.reaction"})
"""What we send always bears a mark; one of these without has lost it."""


async def take_in(around: Surroundings, batch: Batch) -> None:
    """Commit the first sync after a restore: whole timelines, and what follows from our marks in them.

    Raises:
        Transient: the server did not answer; nothing was committed.
    """
    updates = tuple([await _whole(around, update) for update in batch.rooms])
    look = _Look(around, [update for update in updates if update.membership == "join"])
    in_order = replace(batch, rooms=tuple(_in_order(updates)))
    await intake.take_in(around, in_order, begin=look.write_down)
    around.has_marks = None
    log.info("reconciled", count=len(look.found))


async def _whole(around: Surroundings, update: RoomUpdate) -> RoomUpdate:
    """Fetch what the sync left out of a room's timeline, and how a room began whose use was not written down yet."""
    known = await rooms.find(around.database, update.room_id)
    if known and known.ours and known.kind is RoomKind.UNKNOWN:
        everything = await _read_back(around, update.room_id, None, None)
        update = replace(update, state=(*filter(_is_creation, everything), *update.state))
    if update.membership != "join" or not update.limited:
        return update
    until = known.last_event if known else None
    older = await _read_back(around, update.room_id, update.prev_batch, until)
    return replace(update, timeline=(*reversed(older), *update.timeline), limited=False)


async def _read_back(around: Surroundings, room: RoomId, start: str | None, until: str | None) -> list[dict[str, Any]]:
    try:
        return await read_back(around, room, start, until)
    except Refused as error:  # nothing may be left out now, so the start waits until the server answers otherwise
        raise Transient(f"a room's past could not be read: {error.code}") from error


def _in_order(updates: Iterable[RoomUpdate]) -> Iterator[RoomUpdate]:
    """Return invitations and facts of rooms first, then all that was written, by time; rooms that we left come last."""
    joined, invited, left = ([u for u in updates if u.membership == kind] for kind in ("join", "invite", "leave"))
    yield from invited
    yield from (replace(update, timeline=()) for update in joined)
    written: list[tuple[int, int, int, RoomUpdate]] = []
    for number, update in enumerate(joined):
        latest = 0
        for place, event in enumerate(update.timeline):
            latest = max(latest, _stamp(event))  # within a room the server's order counts, not what clocks say
            written.append((latest, number, place, RoomUpdate(update.room_id, "join", timeline=(event,))))
    yield from (update for *_, update in sorted(written, key=lambda entry: entry[:3]))
    yield from left


class _Look:
    """What the rooms tell, and how it is written down."""

    def __init__(self, around: Surroundings, updates: list[RoomUpdate]) -> None:
        self._around = around
        self._updates = sorted(updates, key=lambda update: min(map(_stamp, update.timeline), default=0))
        self.found: dict[TxnId, Place] = {}
        self._unknown: list[CaseNumber] = []
        self._rebuilt = 0
        self._came: list[UserId] = []

    async def write_down(self, tx: Tx) -> None:
        """Write down, in the commit of T1, what must be known before anything is decided."""
        for update in self._updates:
            await self._marks(tx, update)
        made: dict[RoomId, tuple[CaseNumber, Room]] = {}
        for update in self._updates:
            room = await self._taken_up(tx, update)
            name, _, digits = adopting.mark_of(update.state).partition(":")
            if room and room.ours and name == "case" and digits.isdecimal():
                made[room.room_id] = CaseNumber(int(digits)), room
        owners = await self._owners(tx, frozenset(made))
        for number, room in sorted(made.values(), key=lambda case: case[0]):
            await self._case(tx, number, room, owners.get(room.room_id))
        for update in self._updates:
            await self._links(tx, update)
        await self._staff(tx)
        await overviews.doubt(tx)
        await self._tell(tx, datetime.fromisoformat(str(await facts.get(tx, facts.RESTORED))))
        await facts.remove(tx, facts.RESTORED)

    async def _marks(self, tx: Tx, update: RoomUpdate) -> None:
        """Collect the marks of what we sent, also of what we deleted again: our deletion names them."""
        explained: set[str] = set()
        for event in self._ours(update):
            content, target = _content(event), intake.redacts(event)
            if isinstance(content.get(STEP), str):
                await self._mark(tx, update.room_id, content[STEP], event["event_id"], event)
            if target and isinstance(content.get(GONE), str):
                explained.add(target)
                await self._mark(tx, update.room_id, content[GONE], target, event)
        for event in self._ours(update):
            lost = event.get("type") in MARKED and STEP not in _content(event)
            if lost and event["event_id"] not in explained:
                await self._mark(tx, update.room_id, marks.LOST, event["event_id"], event)

    async def _mark(self, tx: Tx, room: RoomId, txn: str, event_id: str, event: Event) -> None:
        place = (room, EventId(event_id))
        self.found[TxnId(txn)] = place
        await marks.add(tx, TxnId(txn), *place, intake.sent_at(event, self._around.now()))

    async def _taken_up(self, tx: Tx, update: RoomUpdate) -> Room | None:
        """Take up a room that the backup does not know, if we have dealt with it. None: it is known."""
        around = self._around
        known = await rooms.find(tx, update.room_id)
        if known and known.kind is not RoomKind.UNKNOWN:
            return None
        room = replace(fold(known or Room(update.room_id), update.state, around.rules.me), membership="join")
        mark = adopting.mark_of(update.state)
        if room.ours and mark != "customer":
            if not mark.startswith("case:"):
                await adopting.adopt_ours(tx, around, room, mark)
        elif room.ours or any(STEP in _content(event) for event in self._ours(update)):
            await self._customers(tx, room)
        return room

    async def _customers(self, tx: Tx, room: Room) -> None:
        """A chat that was begun after the backup; one that we made must not be made once more."""
        if await adopting.adopt_customers(tx, self._around, room) and room.ours:
            adopted = await rooms.find(tx, room.room_id)
            assert adopted is not None
            name = f"customer:{adopted.customer_id}"
            await rooms.make_place(tx, name)
            await rooms.set_place(tx, name, room.room_id)

    async def _owners(self, tx: Tx, made: frozenset[RoomId]) -> dict[RoomId, tuple[CustomerId, Event]]:
        """Return whose the new rooms of cases are, and what opened them: their first mark is of a customer's event."""
        owners: dict[RoomId, tuple[CustomerId, Event]] = {}
        came = [(item.room_id, item.body) for item in await arrivals.open_of(tx, ItemKind.EVENT)]
        came += [(update.room_id, event) for update in self._updates for event in self._theirs(update)]
        for room_id, event in came:
            for step in ("case_card", "relay"):
                place = self._place(event, step)
                inside, outside = (room_id, place[0]) if room_id in made and place else (place and place[0], room_id)
                room = await rooms.find(tx, outside) if inside in made else None
                if inside and room and room.kind is RoomKind.CUSTOMER and room.customer_id:
                    owners.setdefault(inside, (room.customer_id, event))
        return owners

    async def _case(self, tx: Tx, number: CaseNumber, room: Room, owner: tuple[CustomerId, Event] | None) -> None:
        """Write down the case of a room; a room that nobody has written in yet becomes one of staff alone."""
        await facts.raise_to(tx, "case", number)
        opened = owner[1] if owner else {}
        card, inbox = self._place(opened, "case_card"), self._place(opened, "inbox_card")
        case = await cases.find(tx, number)
        if case is None and owner is None:
            await rooms.save(tx, replace(room, kind=RoomKind.INBOX))
            self._unknown.append(number)
            return
        if case is None and owner:
            at, first = intake.sent_at(opened, self._around.now()), self._around.rules.desks[0].id
            desk = await rooms.find(tx, inbox[0]) if inbox else None
            places = (card[1] if card else None, inbox[1] if inbox else None)
            where = DeskId(desk.desk if desk and desk.desk else first)
            case = await cases.put_back(tx, number, owner[0], where, room.room_id, cards=places, opened_at=at)
            self._rebuilt += 1
        assert case is not None
        if case.room_id is None:
            # Its number was given before the backup, its room was made after it.
            await cases.set_room(tx, number, room.room_id, case.name, self._around.now())
        await rooms.save(tx, room)
        await record_room(tx, case, room.room_id)

    async def _links(self, tx: Tx, update: RoomUpdate) -> None:
        """Write down what became of each message, so that answers, changes and reactions find it in any order."""
        here = await rooms.find(tx, update.room_id)
        for event in self._theirs(update):
            for step in ("relay", "react"):
                place = self._place(event, step)
                there = await rooms.find(tx, place[0]) if place else None
                if not (here and there and place and _content(event)) or {here.kind, there.kind} != {
                    RoomKind.CASE,
                    RoomKind.CUSTOMER,
                }:
                    continue
                number = here.case_number or there.case_number
                assert number is not None
                relation, about = _relation(event)
                if step == "react":
                    relation, about = Relation.REACTION, None
                await links.add(tx, Link((update.room_id, event["event_id"]), place, number, relation, about))

    async def _staff(self, tx: Tx) -> None:
        """Who left the team or came to it since: we had put them out of the Space, or invited them there and to a desk.

        The orders come again, but before that nobody who left may be invited to anything. Who moved is the server's
        word: so nobody comes whom no order could have taken in, and the admins hear of everybody who does.
        """
        left: set[UserId] = set()
        came: set[UserId] = set()
        desks: dict[UserId, DeskId] = {}
        for update in self._updates:
            room = await rooms.find(tx, update.room_id)
            moved = self._moved(update) if room and room.kind in {RoomKind.SPACE, RoomKind.INBOX} else {}
            if room and room.kind is RoomKind.SPACE:
                left |= {user for user, membership in moved.items() if membership == "leave"}
                came |= {user for user, membership in moved.items() if membership == "invite"}
            elif room and room.desk:
                desks |= {user: room.desk for user, membership in moved.items() if membership == "invite"}
        for user in left & self._around.rules.staff:
            await staff.remove(tx, user, self._around.now())
        home = self._around.rules.me.partition(":")[2]
        new = (came & desks.keys()) - self._around.rules.staff - self._around.rules.ignored
        self._came = sorted(user for user in new if user.partition(":")[2] == home)
        for user in self._came:
            await staff.add(tx, user, desks[user], self._around.now())

    def _moved(self, update: RoomUpdate) -> dict[UserId, str]:
        """Return what we last did with the membership of others in a room."""
        moved: dict[UserId, str] = {}
        for event in (*update.state, *update.timeline):
            user, me = event.get("state_key"), self._around.rules.me
            if event.get("type") == "m.room.member" and event.get("sender") == me and isinstance(user, str):
                moved[UserId(user)] = str(_content(event).get("membership"))
        return moved

    async def _tell(self, tx: Tx, made_at: datetime) -> None:
        """Tell the admins what was found, and what is missing."""
        around, admin_room = self._around, await rooms.place(tx, "admin")
        if admin_room is None:
            return
        names = ", ".join(map(str, self._unknown)) or "–"
        values = {
            "time": made_at.astimezone(around.rules.zone).strftime("%d.%m.%Y %H:%M"),
            "found": str(len(self.found)),
            "cases": str(self._rebuilt),
            "unknown": names,
            "came": ", ".join(self._came) or "–",
        }
        name = ("restored", made_at.isoformat(), around.now().isoformat())
        body = {"text": "admin.restored", "values": values}
        await around.add_item(tx, ItemKind.ALARM, name, lane=room_lane(admin_room), room=admin_room, body=body)

    def _ours(self, update: RoomUpdate) -> Iterator[Event]:
        for event in update.timeline:
            if event.get("sender") == self._around.rules.me and isinstance(event.get("event_id"), str):
                yield event

    def _theirs(self, update: RoomUpdate) -> Iterator[Event]:
        return (event for event in update.timeline if intake.is_for_us(event, self._around))

    def _place(self, event: Event, step: str) -> Place | None:
        """Return where a step of somebody's event went."""
        name = event.get("event_id")
        return self.found.get(txn_id(self._around.key, ItemId(name), step)) if isinstance(name, str) else None


def _is_creation(event: Event) -> bool:
    return event.get("type") == "m.room.create" and event.get("state_key") == ""


def _content(event: Event) -> Event:
    content = event.get("content")
    return content if isinstance(content, dict) else {}


def _relation(event: Event) -> tuple[Relation, EventId | None]:
    """Relations stand in clear, also beside ciphertext."""
    relation = _content(event).get("m.relates_to")
    target = relation.get("event_id") if isinstance(relation, dict) else None
    if isinstance(relation, dict) and relation.get("rel_type") == "m.replace" and isinstance(target, str):
        return Relation.EDIT, EventId(target)
    return Relation.COPY, None


def _stamp(event: Event) -> int:
    stamp = event.get("origin_server_ts")
    return stamp if isinstance(stamp, int) and not isinstance(stamp, bool) else 0
