"""First contact: the bot accepts an invitation, looks at the room, and says one plain sentence.

A room it cannot use gets a sentence too: a group is left, and for a room without encryption an encrypted one is
offered. What was said there is never repeated anywhere.
"""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import structlog

from bot.domain.arrival import Item
from bot.domain.errors import Refused
from bot.domain.ids import CustomerId, RoomId
from bot.domain.message import Outgoing
from bot.domain.purpose import Federation
from bot.domain.room import Room, RoomKind
from bot.flows import first_contact, reaching, strangers
from bot.flows.intake import customer_of
from bot.flows.messenger import RoomSpec
from bot.flows.surroundings import Surroundings
from bot.store import arrivals, blocks, cases, rooms
from bot.store.database import Tx

INVITATION_LASTS = timedelta(hours=6)
AT_MOST_EVERY = timedelta(hours=1)
"""How often somebody who writes in a room that we cannot use is told where to write instead."""

log = structlog.get_logger()


async def accept(around: Surroundings, item: Item) -> None:
    """Join, unless whoever invited us is ignored or blocked. The room is judged once we can see it.

    A server that has not answered for hours is given up: the same person may invite us again, in the same lane.
    Of many strangers one after the other is let in.
    """
    if around.now() - await strangers.tried_since(around, item) > INVITATION_LASTS:
        log.warning("invitation_given_up")
        await _finish(around, item)
        return
    blocked = await blocks.blocked(around.database, item.arrived_at)
    try:
        if item.sender in around.rules.ignored | blocked or _is_from_outside(around, item):
            await around.messenger.leave(item.room_id)
        elif await strangers.must_wait(around, item):
            return
        else:
            await around.messenger.join(item.room_id)
    except Refused as error:
        # The invitation was withdrawn, or the room is gone: nobody wrote anything that could be lost.
        if error.status not in {403, 404}:
            raise
    await _finish(around, item)


def _is_from_outside(around: Surroundings, item: Item) -> bool:
    """Customers were told that the server talks with no other: who writes from one all the same is not let in."""
    if around.privacy is None or around.privacy.operator.federation is not Federation.CLOSED:
        return False
    is_outside = item.sender.partition(":")[2] != around.rules.me.partition(":")[2]
    if is_outside:
        log.warning("invitation_from_outside")
    return is_outside


async def look_around(around: Surroundings, item: Item) -> None:
    """Judge a room that we are now in: a customer room, or one that we cannot use."""
    room = await rooms.find(around.database, item.room_id)
    assert room is not None, "the room came with the item"
    if item.plan is None:
        async with around.database.transaction() as tx:
            item = await around.plan(tx, item, await _judge(tx, around, item, room))
    assert item.plan is not None
    match item.plan["do"]:
        case "greet":
            await _greet(around, item, room)
        case "offer":
            await _offer_encrypted_room(around, item, room)
        case "refuse":
            await _refuse(around, item, room)
    await _finish(around, item)


async def _judge(tx: Tx, around: Surroundings, item: Item, room: Room) -> dict[str, Any]:
    """Decide what this room is to us, and whether we may say something."""
    if room.kind is RoomKind.CUSTOMER and room.membership == "join":
        return await _what_is_left(tx, around, item, room)
    if room.kind is not RoomKind.UNKNOWN or room.membership != "join":
        return {"do": "nothing"}
    if room.is_chat_with_one_of(around.rules.staff):
        return {"do": "nothing"}  # Element makes such a room to verify us in; see `verifying`
    if room.customer_id is None:
        return {"do": "refuse", "says": not room.space and not room.present_are(around.rules.staff)}
    person = await rooms.user_of(tx, room.customer_id)
    if room.is_usable_by(person) and room.predecessor:
        # An upgraded chat goes on as if nothing had happened.
        before = await rooms.find(tx, RoomId(room.predecessor))
        if before and before.customer_id == room.customer_id:
            return {"do": "greet", "says": False}
    if room.is_usable_by(person):
        notice = await first_contact.planned(tx, around, item, room.customer_id)
        if notice:
            return {"do": "greet", "says": False} | notice
        return {"do": "greet", "says": await around.may_answer(tx, item, room.customer_id, "greeting")}
    if room.is_one_to_one_with(person) and not room.encrypted:
        return {"do": "offer", "says": await around.may_answer(tx, item, room.customer_id, "offer")}
    return {"do": "refuse", "says": bool(room.present()) and not room.space}


async def _what_is_left(tx: Tx, around: Surroundings, item: Item, room: Room) -> dict[str, Any]:
    """They wrote before we had looked around, or let us in again.

    If what they wrote could not be read, they have still not been shown the text.
    """
    person = customer_of(room)
    if not room.is_usable_by(await rooms.user_of(tx, person)):
        return {"do": "nothing"}
    await reaching.go_on_in(tx, room, person)
    notice = await first_contact.planned(tx, around, item, person)
    return {"do": "greet", "says": False} | notice if notice else {"do": "nothing"}


async def _greet(around: Surroundings, item: Item, room: Room) -> None:
    assert item.plan is not None
    await first_contact.show(around, item)
    if item.plan["says"]:
        text = await around.say_in(room.room_id, "customer.greeting", business=around.rules.business)
        await around.send(item, "greeting", room.room_id, Outgoing(text))
    async with around.database.transaction() as tx:
        await adopt(tx, room.room_id, customer_of(room))


async def adopt(tx: Tx, room_id: RoomId, customer: CustomerId) -> None:
    """From now on this is the room in which the customer is written to."""
    known = await rooms.find(tx, room_id)
    made_by_us = Room(room_id, ours=True, encrypted=True, membership="join", version="12")
    await rooms.save(tx, replace(known or made_by_us, kind=RoomKind.CUSTOMER, customer_id=customer), known=known)
    await rooms.set_customer_room(tx, customer, room_id)


async def _refuse(around: Surroundings, item: Item, room: Room) -> None:
    """A room of several people is no customer room: one sentence, and out."""
    assert item.plan is not None
    if item.plan["says"]:
        text = Outgoing(around.say("customer.group_room", business=around.rules.business))
        send = around.send if room.encrypted else around.send_plain
        try:
            await send(item, "group", room.room_id, text)
        except Refused as error:
            # An earlier run said it and left, or nobody may speak there: leaving is what counts.
            log.info("group_not_told", code=error.code)
    await around.messenger.leave(room.room_id)


async def _offer_encrypted_room(around: Surroundings, item: Item, room: Room) -> None:
    """Say that this room is not encrypted and invite to one that is."""
    assert item.plan is not None
    if not item.plan["says"]:
        return
    await _say_where_to_write(around, item, "unencrypted", room)


async def _say_where_to_write(around: Surroundings, item: Item, step: str, room: Room) -> None:
    """Invite first: what the sentence says about that has to be true."""
    invited = await _make_customer_room(around, customer_of(room))
    text = "customer.unencrypted" if invited else "customer.unencrypted_no_invite"
    sentence = Outgoing(await around.say_in(room.room_id, text, business=around.rules.business))
    await around.send_plain(item, step, room.room_id, sentence)


async def _make_customer_room(around: Surroundings, customer: CustomerId) -> bool:
    """Make an encrypted room of our own for this customer, once; if it exists, invite again. False: we may not."""
    name = f"customer:{customer}"
    async with around.database.transaction() as tx:
        alias, room_id = await rooms.make_place(tx, name)
        person = await rooms.user_of(tx, customer)
    if room_id is None:
        title = around.say("room.customer", business=around.rules.business)
        spec = RoomSpec(alias=alias, name=title, invite=(person,), direct=True, mark="customer", staff=False)
        room_id = await around.messenger.create_room(spec)
        async with around.database.transaction() as tx:
            await rooms.set_place(tx, name, room_id)
            await adopt(tx, room_id, customer)
    await around.messenger.drop_alias(alias)
    try:
        await around.messenger.invite(room_id, person)
    except Refused as error:
        # They accept invitations of nobody, or not ours: the sentence in their own room has to tell them.
        log.info("customer_not_invited", code=error.code, status=error.status)
        return False
    return True


async def say_unusable(around: Surroundings, item: Item, room: Room) -> None:
    """Somebody goes on writing in a room that we cannot use: say again, not too often, where to write instead."""
    if item.plan is None:
        async with around.database.transaction() as tx:
            answers = room.customer_id and not await cases.was_told(
                tx, room.customer_id, item.arrived_at - AT_MOST_EVERY
            )
            answers = answers and await around.may_answer(tx, item, customer_of(room), "unusable")
            item = await around.plan(tx, item, {"answers": bool(answers)})
    if item.plan and item.plan["answers"] and room.membership == "join" and not room.encrypted:
        await _say_where_to_write(around, item, "unusable", room)
    await _finish(around, item)


async def follow(around: Surroundings, item: Item) -> None:
    """A customer's chat was upgraded: go along if we may; else their client's invitation brings us there."""
    try:
        await around.messenger.join(RoomId(item.body["by"]))
    except Refused as error:
        log.info("successor_not_joined", code=error.code, status=error.status)
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
