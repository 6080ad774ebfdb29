"""Where a customer can be written to: to them, encrypted, and to nobody else but whom staff agreed to."""

from bot.domain.arrival import Item
from bot.domain.case import Case
from bot.domain.errors import Mistake
from bot.domain.ids import CustomerId, RoomId
from bot.domain.room import Room
from bot.flows.surroundings import Surroundings
from bot.store import rooms
from bot.store.database import Tx


async def reachable_room(around: Surroundings, case: Case) -> RoomId:
    """Return the customer's room if what we send there reaches the customer and nobody else.

    Raises:
        Mistake: it does not; staff are told at their message.
    """
    room_id = await rooms.customer_room(around.database, case.customer_id)
    room = await rooms.find(around.database, room_id) if room_id else None
    person = await rooms.user_of(around.database, case.customer_id)
    if room is None or room.membership != "join" or person not in room.present():
        raise Mistake("case.customer_gone")
    if not room.is_usable_by(person):
        raise Mistake("case.third_person")
    return room.room_id


async def still_reachable(around: Surroundings, item: Item, case: Case) -> None:
    """A plan says where an answer goes; who is in that room may have changed since it was made.

    Raises:
        Mistake: it would reach somebody else or nobody, and it was not sent before.
    """
    assert item.plan is not None
    assert item.planned_at is not None
    try:
        await reachable_room(around, case)
    except Mistake:
        room = RoomId(item.plan["room"])
        if await around.messenger.find_mark(room, around.txn(item, "relay"), since=item.planned_at) is None:
            raise


async def go_on_in(tx: Tx, room: Room, customer: CustomerId) -> None:
    """Write to a customer in this room of theirs from now on, if it is of use and theirs until now is not (in T1b)."""
    before = await rooms.customer_room(tx, customer)
    if before == room.room_id:
        return
    person = await rooms.user_of(tx, customer)
    there = await rooms.find(tx, before) if before else None
    if room.is_usable_by(person) and not (there and there.is_usable_by(person)):
        await rooms.set_customer_room(tx, customer, room.room_id)
