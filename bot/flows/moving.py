"""`!an 1043` on a reply: a customer's message stands in the wrong case and goes to another of the same customer."""

from dataclasses import replace
from typing import Any

from bot.domain.arrival import Item
from bot.domain.case import Case, Turn
from bot.domain.errors import Mistake, Refused
from bot.domain.ids import CaseNumber, EventId, RoomId
from bot.domain.message import Kind, Message, Outgoing
from bot.flows import copying, states
from bot.flows.surroundings import Surroundings
from bot.store import arrivals, cases, links, rooms
from bot.store.database import Tx
from bot.store.links import Link


async def move(around: Surroundings, item: Item, case: Case, rest: str, message: Message) -> None:
    """Copy the quoted message into the named case, delete it here, and say so.

    Raises:
        Mistake: there is nothing to move, or nowhere to move it to.
    """
    if item.plan is None:
        async with around.database.transaction() as tx:
            item = await around.plan(tx, item, await _decided(tx, case, rest, message))
    assert item.plan is not None
    there = await cases.get(around.database, CaseNumber(item.plan["case"]))
    assert there.room_id is not None
    source = (RoomId(item.plan["source"][0]), EventId(item.plan["source"][1]))
    original = await _read(around, *source)
    mark = around.say("case.moved_here", number=str(case.number))
    if original.sender != await rooms.user_of(around.database, case.customer_id):
        mark += "\n" + around.say("case.guest", name=await around.messenger.display_name(source[0], original.sender))
    try:
        copy, mxcs = await copying.copy(around, item, there.room_id, original, mark=mark)
    except copying.FileNotCarried as error:
        raise Mistake("case.file_not_sent") from error
    for ordinal, event in enumerate(item.plan["old"]):
        await around.messenger.redact(item.room_id, EventId(event), txn=around.txn(item, "redact", ordinal))
    done = Outgoing(around.say("case.moved", number=str(there.number)), notice=True)
    await around.send(item, "reply", item.room_id, done)
    async with around.database.transaction() as tx:
        await links.forget(tx, [source[1]])
        await links.add(tx, Link(source, (there.room_id, copy), there.number))
        await links.add_files(tx, there.number, (there.room_id, copy), mxcs)
        lanes = await states.turn(tx, around, there.number, Turn.CUSTOMER_WROTE)
        await cases.touch(tx, there.number, around.now())
        await arrivals.finish(tx, item)
    around.bookkeeping.lanes_changed(lanes)
    around.bookkeeping.room_changed(item.room_id)
    around.bookkeeping.case_changed(there.number)


async def _decided(tx: Tx, case: Case, rest: str, message: Message) -> dict[str, Any]:
    """T1b: which message, where to, and what disappears here."""
    number = rest.strip().removeprefix("#")
    there = await cases.find(tx, CaseNumber(int(number))) if number.isdecimal() and len(number) <= 9 else None
    is_theirs = there is not None and there.customer_id == case.customer_id and not there.merged_into
    if there is None or not is_theirs or there.room_id is None or there.number == case.number:
        raise Mistake("case.no_such_case", number=number[:20])
    link = await links.of_event(tx, message.replies_to) if message.replies_to else None
    if link is None or link.target[0] != case.room_id or link.number != case.number:
        raise Mistake("case.nothing_to_move")
    old = [event.target[1] for event in await links.following(tx, link.source[1]) if event.target[0] == case.room_id]
    return {"case": there.number, "source": list(link.source), "old": old}


async def _read(around: Surroundings, room: RoomId, event: EventId) -> Message:
    """Read the customer's message again, as they last edited it."""
    try:
        raw = await around.messenger.event(room, event)
        reading = await around.messenger.read(room, raw)
        newest = raw.get("unsigned", {}).get("m.relations", {}).get("m.replace")
        edit = await around.messenger.read(room, newest) if isinstance(newest, dict) and "sender" in newest else None
    except Refused as error:
        raise Mistake("case.nothing_to_move") from error
    if not isinstance(reading, Message) or reading.kind not in copying.CARRIED - {Kind.DELETION, Kind.REACTION}:
        raise Mistake("case.nothing_to_move")
    if isinstance(edit, Message) and edit.kind is Kind.EDIT and edit.sender == reading.sender:
        return replace(edit, kind=edit.form)
    return reading
