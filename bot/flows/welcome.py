"""First contact: the bot accepts an invitation, looks at the room, and says one plain sentence.

A room it cannot use gets a sentence too: a group is left, and for a room without encryption an encrypted one is
offered. What was said there is never repeated anywhere.
"""

import secrets
from dataclasses import replace

from bot.domain.arrival import Item
from bot.domain.errors import Refused
from bot.domain.ids import CustomerId, UserId
from bot.domain.message import Outgoing
from bot.domain.room import Room, RoomKind
from bot.flows.messenger import RoomSpec
from bot.flows.surroundings import Surroundings
from bot.store import arrivals, rooms
from bot.store.database import Tx


async def accept(around: Surroundings, item: Item) -> None:
    """Join, unless a bot that we are told to ignore invited us. The room is judged once we can see it."""
    try:
        if item.sender in around.rules.ignored:
            await around.messenger.leave(item.room_id)
        else:
            await around.messenger.join(item.room_id)
    except Refused as error:
        # The invitation was withdrawn, or the room is gone: nobody wrote anything that could be lost.
        if error.status not in {403, 404}:
            raise
    await _finish(around, item)


async def look_around(around: Surroundings, item: Item) -> None:
    """Judge a room that we are now in: a customer room, or one that we cannot use."""
    room = await rooms.find(around.database, item.room_id)
    assert room is not None, "the room came with the item"
    if room.kind is not RoomKind.UNKNOWN or room.membership != "join":
        await _finish(around, item)
        return
    if room.customer_id is None:
        await _refuse_group(around, item, room)
        return
    person = await rooms.user_of(around.database, room.customer_id)
    if room.is_usable_by(person):
        await _greet(around, item, room, room.customer_id)
        return
    if room.is_one_to_one_with(person):
        await _offer_encrypted_room(around, item, room, room.customer_id, person)
        return
    await _refuse_group(around, item, room)


async def _greet(around: Surroundings, item: Item, room: Room, customer: CustomerId) -> None:
    if item.plan is None:
        async with around.database.transaction() as tx:
            greets = await around.may_answer(tx, item, customer, "greeting")
            item = await around.plan(tx, item, {"greets": greets})
    if item.plan and item.plan["greets"]:
        text = around.say("customer.greeting", business=around.rules.business)
        await around.send(item, "greeting", room.room_id, Outgoing(text))
    async with around.database.transaction() as tx:
        await adopt(tx, room, customer)
        await arrivals.finish(tx, item)


async def adopt(tx: Tx, room: Room, customer: CustomerId) -> None:
    """From now on this is the room in which the customer is written to."""
    known = await rooms.find(tx, room.room_id)
    await rooms.save(tx, replace(known or room, kind=RoomKind.CUSTOMER, customer_id=customer), known=known)
    await rooms.set_customer_room(tx, customer, room.room_id)


async def _refuse_group(around: Surroundings, item: Item, room: Room) -> None:
    """A room of several people, or of staff alone, is no customer room: one sentence, and out."""
    item = await around.planned(item, {"refuses": True})
    if not room.space and not room.present_are(around.rules.staff):
        text = Outgoing(around.say("customer.group_room", business=around.rules.business))
        send = around.send if room.encrypted else around.send_plain
        await send(item, "group", room.room_id, text)
    await around.messenger.leave(room.room_id)
    await _finish(around, item)


async def _offer_encrypted_room(
    around: Surroundings, item: Item, room: Room, customer: CustomerId, person: UserId
) -> None:
    """Say that this room is not encrypted and invite to one that is; both once, however often we get here."""
    if item.plan is None:
        async with around.database.transaction() as tx:
            offers = await around.may_answer(tx, item, customer, "offer")
            item = await around.plan(tx, item, {"offers": offers, "alias": secrets.token_hex(16)})
    if item.plan and item.plan["offers"]:
        text = around.say("customer.unencrypted", business=around.rules.business)
        await around.send_plain(item, "unencrypted", room.room_id, Outgoing(text))
        await _make_customer_room(around, item, customer, person)
    await _finish(around, item)


async def _make_customer_room(around: Surroundings, item: Item, customer: CustomerId, person: UserId) -> None:
    assert item.plan is not None
    alias = item.plan["alias"]
    name = around.say("room.customer", business=around.rules.business)
    spec = RoomSpec(alias=alias, name=name, invite=(person,), direct=True, mark=around.txn(item, "room"), staff=False)
    room_id = await around.messenger.create_room(spec)
    async with around.database.transaction() as tx:
        made = await rooms.find(tx, room_id) or Room(room_id)
        made = replace(made, ours=True, encrypted=True, membership="join", version="12")
        await adopt(tx, made, customer)
    await around.messenger.drop_alias(alias)


async def say_unusable(around: Surroundings, item: Item, room: Room) -> None:
    """Somebody goes on writing in a room that we cannot use: say again, not too often, where to write instead."""
    if item.plan is None:
        async with around.database.transaction() as tx:
            answers = room.customer_id and await around.may_answer(tx, item, room.customer_id, "unusable")
            item = await around.plan(tx, item, {"answers": bool(answers)})
    if item.plan and item.plan["answers"] and room.membership == "join" and not room.encrypted:
        text = around.say("customer.unencrypted", business=around.rules.business)
        await around.send_plain(item, "unusable", room.room_id, Outgoing(text))
    await _finish(around, item)


async def notice_leaving(around: Surroundings, item: Item) -> None:
    """We are no longer in a room: nothing can be delivered there any more."""
    async with around.database.transaction() as tx:
        room = await rooms.find(tx, item.room_id)
        if room and room.customer_id and await rooms.customer_room(tx, room.customer_id) == room.room_id:
            await rooms.set_customer_room(tx, room.customer_id, None)
        await arrivals.finish(tx, item)


async def _finish(around: Surroundings, item: Item) -> None:
    async with around.database.transaction() as tx:
        await arrivals.finish(tx, item)
