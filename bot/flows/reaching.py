"""Where a customer can be written to: to them, encrypted, and to nobody else but whom staff agreed to."""

from bot.domain.case import Case
from bot.domain.errors import Mistake
from bot.domain.ids import RoomId
from bot.flows.surroundings import Surroundings
from bot.store import rooms


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
