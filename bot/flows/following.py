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
    reaction = await around.messenger.react(room, event, item.plan["key"], txn=around.txn(item, "react"))
    link = Link((item.room_id, item.event_id), (room, reaction), item.plan["case"], Relation.REACTION)
    async with around.database.transaction() as tx:
        await links.add(tx, link)
        await arrivals.finish(tx, item)
    around.bookkeeping.room_changed(item.room_id)


async def plan_deletion(tx: Tx, item: Item, target: EventId | None) -> dict[str, Any]:
    """Return the plan of a deletion: what followed from the event, if its author deletes it.

    What a moderator removes stays in that room's affairs.
    """
    if target is None or await arrivals.author_of(tx, target) != item.sender:
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
    if begun and begun.state is not ItemState.DONE and begun.plan is not None:
        await _delete_half(around, item, begun)
    async with around.database.transaction() as tx:
        await links.forget(tx, [target])
        await arrivals.delete(tx, target, item.sender)
        await arrivals.finish(tx, item)
    around.bookkeeping.room_changed(item.room_id)


async def _delete_half(around: Surroundings, item: Item, begun: Item) -> None:
    """An item that was parked on its way may have sent its copy already: it is found by its mark."""
    assert begun.planned_at is not None
    txn = around.txn(begun, "relay")
    for room in await rooms.of_lane(around.database, begun.lane):
        copy = await around.messenger.find_mark(room, txn, since=begun.planned_at)
        if copy:
            await around.messenger.redact(room, copy, txn=around.txn(item, "redact_half"))
