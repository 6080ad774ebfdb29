"""Reactions and deletions walk along the copy links, in both directions alike."""

from typing import Any

from bot.domain.arrival import Item, ItemState
from bot.domain.ids import EventId, RoomId
from bot.domain.message import Message
from bot.flows.surroundings import Surroundings
from bot.flows.warning import SIGN
from bot.store import arrivals, links, rooms
from bot.store.database import Tx
from bot.store.links import Link, Relation


async def plan_reaction(tx: Tx, item: Item, message: Message) -> dict[str, Any] | None:
    """Return the plan of a reaction to a message that has a counterpart on the other side, else None.

    Our own sign of failure is never relayed: on the other side it would be a lie.
    """
    if message.target is None or message.body.replace("\ufe0f", "") == SIGN.replace("\ufe0f", ""):
        return None
    link = await links.of_event(tx, await links.original(tx, message.target))
    if link is None or item.room_id not in {link.source[0], link.target[0]}:
        return None
    place = link.target if link.source[0] == item.room_id else link.source
    return {"do": "react", "case": link.number, "place": list(place), "key": message.body}


async def react(around: Surroundings, item: Item) -> None:
    """React as planned, and finish the item (T2)."""
    assert item.plan is not None
    room, event = RoomId(item.plan["place"][0]), EventId(item.plan["place"][1])
    before, txn = await around.was_sent(item, "react"), around.txn(item, "react")
    reaction = before[1] if before else await around.messenger.react(room, event, item.plan["key"], txn=txn)
    link = Link((item.room_id, item.event_id), (room, reaction), item.plan["case"], Relation.REACTION)
    async with around.database.transaction() as tx:
        await links.add(tx, link)
        await arrivals.finish(tx, item)
    around.bookkeeping.room_changed(item.room_id)


async def plan_deletion(tx: Tx, item: Item, target: EventId | None) -> dict[str, Any]:
    """Return the plan of a deletion: what followed from the event, if its author deletes it.

    What a moderator removes stays in that room's affairs.
    """
    if target is None:
        return {"do": "nothing"}
    share = await links.began(tx, item.room_id, target)
    written = share.source[1] if share else target  # what began a live share is a state event, and no item
    if not await arrivals.is_by(tx, written, item.sender):
        return {"do": "nothing"}
    following = await links.following(tx, target)
    copies = [
        list(link.target)
        for link in following
        if not (link.relation is Relation.REACTION and await links.is_shared(tx, link))
    ]
    return {"do": "delete", "target": target, "copies": copies}


async def delete(around: Surroundings, item: Item) -> None:
    """Delete as planned, and finish the item (T2). What waits or is parked is forgotten with it."""
    assert item.plan is not None
    target = EventId(item.plan["target"])
    for ordinal, (room, event) in enumerate(item.plan["copies"]):
        await around.messenger.redact(RoomId(room), EventId(event), txn=around.txn(item, "redact", ordinal))
    begun = await arrivals.get(around.database, target)
    if begun and begun.state is not ItemState.DONE:
        for room, copy in await halves(around, begun):
            await around.messenger.redact(RoomId(room), EventId(copy), txn=around.txn(item, "redact_half"))
    async with around.database.transaction() as tx:
        await links.forget(tx, [target])
        await arrivals.delete(tx, target, item.sender)
        await arrivals.withdraw(tx, target, item.sender, arrivals.DELETED)  # an edit of it may be held by now
        await arrivals.finish(tx, item)
    around.bookkeeping.room_changed(item.room_id)


async def under_way(around: Surroundings, item: Item, target: EventId | None) -> list[Item]:
    """Return what waits or is parked of an event and of its edits, if its author now says something else there."""
    if target is None or not await arrivals.is_by(around.database, target, item.sender):
        return []
    first = await arrivals.get(around.database, target)
    begun = [first] if first and first.state is not ItemState.DONE else []
    stuck = await arrivals.stuck(around.database, item.lane)
    return begun + [other for other in stuck if other.plan and other.plan.get("about") == target]


async def halves(around: Surroundings, begun: Item) -> list[list[str]]:
    """Return the copies that an item which was parked on its way has sent already: they are found by their mark."""
    if begun.plan is None or begun.planned_at is None:
        return []
    txn = around.txn(begun, "relay")
    lane = await rooms.of_lane(around.database, begun.lane)
    found = [(room, await around.messenger.find_mark(room, txn, since=begun.planned_at)) for room in lane]
    return [[room, copy] for room, copy in found if copy]
