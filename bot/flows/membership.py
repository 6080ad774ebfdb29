"""People who come and go: staff get the keys of what was written before them, staff hear who left or came in."""

from bot.domain.arrival import Item
from bot.domain.ids import UserId
from bot.domain.message import Outgoing
from bot.domain.room import Room, RoomKind
from bot.flows.surroundings import Surroundings
from bot.store import arrivals, cases, rooms


async def notice(around: Surroundings, item: Item) -> None:
    """Somebody else joined or left a room of ours or of a customer."""
    room = await rooms.find(around.database, item.room_id)
    user, membership = UserId(item.body["user"]), item.body["membership"]
    staff = around.rules.staff
    if room and room.membership == "join":
        if room.kind is RoomKind.CUSTOMER:
            await _in_customer_room(around, item, room, user)
        elif room.ours and room.encrypted and membership == room.members.get(user) == "join" and user in staff:
            # Who has left again since must not get the keys any more.
            await around.messenger.share_history(room.room_id, user)
    async with around.database.transaction() as tx:
        await arrivals.finish(tx, item)


async def _in_customer_room(around: Surroundings, item: Item, room: Room, user: UserId) -> None:
    """Say in the case room why an answer would not reach the customer, or not only the customer."""
    assert room.customer_id is not None
    person = await rooms.user_of(around.database, room.customer_id)
    case = await cases.current_of(around.database, room.customer_id)
    current = await rooms.customer_room(around.database, room.customer_id)
    if case is None or case.room_id is None or current != room.room_id or room.is_usable_by(person):
        return
    item = await around.planned(item, {"room": case.room_id})
    text = "case.customer_gone" if user == person else "case.third_person"
    await around.send(item, "membership", case.room_id, Outgoing(around.say_at(case.desk, text), notice=True))
