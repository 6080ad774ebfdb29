"""Other people's identities: staff hear when one changes, and a mechanic hears how to sign their device."""

from datetime import datetime
from typing import Any

from bot.domain.arrival import Item, ItemKind, customer_lane, room_lane
from bot.domain.ids import Lane, RoomId, UserId, derived_item_id
from bot.domain.message import Outgoing
from bot.domain.room import RoomKind
from bot.flows.intake import SETTLING
from bot.flows.surroundings import Surroundings
from bot.store import arrivals, cases, facts, rooms


async def announce_change(around: Surroundings, user: UserId, master_key: str) -> bool:
    """Somebody has another identity than before: one line where it matters, once for each change.

    False: it could not be put anywhere yet, though it matters. Ask again later.
    """
    if user in around.rules.staff:
        room = await rooms.place(around.database, "admin")
        body = {"text": "admin.staff_identity", "values": {"user": user}}
        if room:
            await _add_change(around, user, master_key, room_lane(room), room, ItemKind.ALARM, body)
        return room is not None
    customer = await rooms.of_user(around.database, user)
    if customer is None:
        return True
    lane = customer_lane(customer)
    room = await rooms.customer_room(around.database, customer) or await _any_room(around, lane)
    if room:
        await _add_change(around, user, master_key, lane, room, ItemKind.IDENTITY, {"customer": customer})
    return room is not None or await cases.latest_of(around.database, customer) is None


async def _any_room(around: Surroundings, lane: Lane) -> RoomId | None:
    """Who left their chat comes back as the same customer: what staff must know waits in their lane, not their room."""
    return next(iter(await rooms.of_lane(around.database, lane)), None)


async def _add_change(
    around: Surroundings,
    user: UserId,
    master_key: str,
    lane: Lane,
    room: RoomId,
    kind: ItemKind,
    body: dict[str, Any],
) -> None:
    """Add the item with the number of the change: an identity that was there before is a change as well."""
    name = derived_item_id(around.key, "identity", user)
    async with around.database.transaction() as tx:
        number, _, announced = (await facts.get(tx, name) or "0 ").partition(" ")
        if announced == master_key:
            return
        await facts.put(tx, name, f"{int(number) + 1} {master_key}")
        await around.add_item(tx, kind, ("identity", user, master_key, number), lane=lane, room=room, body=body)
    around.bookkeeping.lanes_changed([lane])


async def tell(around: Surroundings, item: Item) -> None:
    """Put the line about a customer's new identity into their case."""
    case = await cases.current_of(around.database, item.body["customer"])
    if case and case.room_id:
        item = await around.planned(item, {"room": case.room_id})
        assert item.plan is not None
        notice = Outgoing(around.say_at(case.desk, "case.identity_changed"), notice=True)
        await around.send(item, "identity", RoomId(item.plan["room"]), notice)
    async with around.database.transaction() as tx:
        await arrivals.finish(tx, item)


async def ask_to_sign(around: Surroundings, user: UserId, device: str) -> None:
    """A device of a mechanic is signed by nobody: tell them which button to press, once for each device."""
    desk = next((desk for desk in around.rules.desks if user in desk.members), None)
    room = await rooms.place(around.database, f"inbox:{desk.id}" if desk else "admin")
    if room:
        body = {"text": "staff.please_sign", "values": {"user": user}, "to_all": True}
        await _add(around, ItemKind.ALARM, ("sign", user, device), room, body)


async def share_again(around: Surroundings, user: UserId, digest: str) -> None:
    """Devices of a mechanic were signed: they get the keys of what was written in the rooms they are in."""
    if user not in around.rules.staff:
        return
    for room in await rooms.staff_rooms_of(around.database, user):
        name, body = ("signed", user, room, digest), {"user": user, "membership": "join"}
        await _add(around, ItemKind.MEMBER, name, room, body, due_at=around.now() + SETTLING)


async def announce_unreached(around: Surroundings, room_id: RoomId, session_id: str) -> None:
    """No app of a customer could be reached with the key of what we wrote: staff hear that it will be read later."""
    room = await rooms.find(around.database, room_id)
    case = await cases.current_of(around.database, room.customer_id) if room and room.customer_id else None
    if room and room.kind is RoomKind.CUSTOMER and case and case.room_id:
        body = {"text": "case.not_yet_readable", "values": {}}
        await _add(around, ItemKind.ALARM, ("unreached", session_id), case.room_id, body)


async def _add(
    around: Surroundings,
    kind: ItemKind,
    name: tuple[str, ...],
    room: RoomId,
    body: dict[str, Any],
    *,
    due_at: datetime | None = None,
) -> None:
    lane = room_lane(room)
    async with around.database.transaction() as tx:
        added = await around.add_item(tx, kind, name, lane=lane, room=room, body=body, due_at=due_at)
    around.bookkeeping.lanes_changed([lane] if added else [])
