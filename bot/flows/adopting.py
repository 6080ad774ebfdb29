"""After a lost disk without a backup: the rooms of the account are taken up again, from the first sync alone.

What a room of ours is for stands in its creation event. Whose case it was does not: rooms of old cases become rooms
of staff, and a customer's next message opens a new one. What was handled before the loss follows from our own
receipts and messages; what came after them is new.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Any

from bot.domain.ids import DeskId, EventId
from bot.domain.room import Room, RoomKind, fold
from bot.flows import intake, welcome
from bot.flows.intake import Batch, RoomUpdate
from bot.flows.surroundings import Surroundings
from bot.store import facts, rooms
from bot.store.database import Tx

Event = dict[str, Any]

MARK = "de.botschaft.room"


async def take_in(around: Surroundings, batch: Batch) -> None:
    """Commit the first sync after the loss."""
    await intake.take_in(around, batch, partial(_adopt, around))


async def _adopt(around: Surroundings, tx: Tx, update: RoomUpdate) -> RoomUpdate:
    """Take up one room; return what of the update is news."""
    if update.membership != "join":
        return update
    room = replace(fold(Room(update.room_id), update.state, around.rules.me), membership="join")
    handled = _handled(around, update)
    room = replace(room, last_event=handled)
    mark = mark_of(update.state)
    if room.ours and mark != "customer":
        await adopt_ours(tx, around, room, mark)
    elif await adopt_customers(tx, around, room):
        # Whom somebody had answered went with the disk. Who was here before is in doubt no stranger.
        await rooms.note_answered(tx, await rooms.make_customer(tx, room.present()[0], around.now()))
    else:
        return update
    return _after(update, handled)


async def adopt_ours(tx: Tx, around: Surroundings, room: Room, mark: str) -> None:
    """Take up a room that we made, for what its creation event says it is for."""
    name, _, which = mark.partition(":")
    if name == "case":
        await rooms.save(tx, replace(room, kind=RoomKind.INBOX))
        await facts.raise_to(tx, "case", int(which) if which.isdecimal() else around.rules.first_case_number)
        return
    kinds = {"space": RoomKind.SPACE, "admin": RoomKind.ADMIN, "inbox": RoomKind.INBOX}
    if name in kinds:
        desk = DeskId(which) if name == "inbox" else None
        await rooms.save(tx, replace(room, kind=kinds[name], desk=desk))
        _, known = await rooms.make_place(tx, mark)
        if known is None:
            await rooms.set_place(tx, mark, room.room_id)


async def adopt_customers(tx: Tx, around: Surroundings, room: Room) -> bool:
    """Make this the room of the one person in it, if it is one that we can use."""
    people = room.present()
    if len(people) != 1 or people[0] in around.rules.staff | around.rules.ignored or not room.is_usable_by(people[0]):
        return False
    await rooms.save(tx, room)
    await welcome.adopt(tx, room.room_id, await rooms.make_customer(tx, people[0], around.now()))
    return True


def _handled(around: Surroundings, update: RoomUpdate) -> EventId | None:
    """Return the newest event that we had dealt with: the later of our own last one and our receipt."""
    receipts = {event for user, event in update.read_by if user == around.rules.me}
    ids = [
        str(event.get("event_id"))
        for event in update.timeline
        if event.get("sender") == around.rules.me or event.get("event_id") in receipts
    ]
    return EventId(ids[-1]) if ids else next(iter(receipts), None)


def _after(update: RoomUpdate, handled: EventId | None) -> RoomUpdate:
    """Leave out what we had dealt with; without a trace of us nothing older is fetched."""
    ids = [event.get("event_id") for event in update.timeline]
    if handled in ids:
        begin = ids.index(handled) + 1
        return replace(update, timeline=update.timeline[begin:], limited=False)
    return update if handled else replace(update, limited=False)


def mark_of(state: Iterable[Event]) -> str:
    """Return what the creation event says a room of ours is for, or nothing."""
    for event in state:
        content = event.get("content")
        if event.get("type") == "m.room.create" and isinstance(content, dict):
            return str(content.get(MARK, ""))
    return ""
