"""`!sperren 7d`, `!stumm 2h`, `!entsperren`: what becomes of what a customer writes, and until when.

A blocked customer's messages are dropped before they are stored (`intake`), and what waits goes nowhere. A flood does
not hold up the order against it: that is read ahead of what waits before it. The customer is told nothing.
"""

from datetime import timedelta
from typing import Final

from bot.domain import command
from bot.domain.arrival import KEY_PATIENCE, Item, ItemKind, ItemState, aside_lane, customer_lane
from bot.domain.block import Block, BlockKind, length
from bot.domain.case import Case
from bot.domain.command import Call, Verb
from bot.domain.errors import Mistake
from bot.domain.ids import CaseNumber, CustomerId, ItemId, Lane
from bot.domain.message import Kind, Message, NoKey, Outgoing, Reading
from bot.domain.room import Room, RoomKind
from bot.flows import withdrawing
from bot.flows.surroundings import Surroundings
from bot.flows.worker import Hold
from bot.store import arrivals, blocks, cases, rooms
from bot.store.database import Tx

MUTED_FOR: Final = "2h"
"""How long, if nobody says it."""
TYPED: Final = withdrawing.SPOKEN - {Kind.EDIT}
"""Kinds of messages in which a command is given."""


async def block(around: Surroundings, item: Item, case: Case | None, rest: str) -> None:
    """Take nothing in from a customer for a time; without a time, list for whom something holds.

    Raises:
        Mistake: it is no time, or not said in the room of a case.
    """
    if not rest:
        item = await around.planned(item, {"reply": await _list(around)})
        await _say(around, item)
    elif case is None:
        raise Mistake("command.not_here")
    else:
        await _put(around, item, case, BlockKind.BLOCK, rest)


async def mute(around: Surroundings, item: Item, case: Case, rest: str) -> None:
    """Let no phone ring for a customer for a time.

    Raises:
        Mistake: it is no time.
    """
    await _put(around, item, case, BlockKind.MUTE, rest or MUTED_FOR)


async def _put(around: Surroundings, item: Item, case: Case, kind: BlockKind, rest: str) -> None:
    """It holds from the commit of the plan on, and counts from when it was written."""
    long = length(rest)
    if long is None:
        raise Mistake("block.how_long" if kind is BlockKind.BLOCK else "block.how_long_muted")
    held = Block(case.customer_id, kind, item.sent_at + long)
    if item.plan is None:
        async with around.database.transaction() as tx:
            item = await _decide(tx, around, item, held)
    assert item.plan is not None
    # Read ahead, it may have been changed since by an order before it.
    await _say(around, item, held if item.plan.get("ahead") else None)


async def _decide(tx: Tx, around: Surroundings, item: Item, held: Block, *, ahead: bool = False) -> Item:
    """T1b: from now on it holds. The reply says what had come before it and goes nowhere any more."""
    text = "block.blocked" if held.kind is BlockKind.BLOCK else "block.muted"
    reply = [around.say(text, until=_until(around, held))]
    is_over = held.until <= around.now()
    if held.kind is BlockKind.BLOCK and not is_over and not await around.was_sent(item, "reply", tx):
        reply += await _leave_out(tx, around, held.customer)
    item = await around.plan(tx, item, {"reply": "\n".join(reply), "ahead": ahead})
    await blocks.put(tx, held, around.now())
    return item


async def _leave_out(tx: Tx, around: Surroundings, customer: CustomerId) -> list[str]:
    """Return what staff are told of that: nobody can read it later."""
    user, lane, count = await rooms.user_of(tx, customer), customer_lane(customer), 0
    if around.privacy and await withdrawing.has_something(tx, customer):
        count = await withdrawing.read_alone(tx, around, await arrivals.unbegun(tx, lane, user))
    count += await arrivals.leave_out(tx, lane, user)
    said = [around.say("block.left_out", count=str(count))] if count else []
    return [*said, around.say("block.left_out_unseen")] if await arrivals.has_gap(tx, lane) else said


# ------------------------------------------------------------------------------------------------------- reading ahead


async def look_at(tx: Tx, around: Surroundings, item: Item, room: Room) -> list[Lane]:
    """Part of T1: let be read ahead what staff write in a case's room while its customer waits. Returns lanes."""
    is_staff = item.sender in around.rules.staff and item.body.get("type") == "m.room.encrypted"
    if room.kind is not RoomKind.CASE or room.customer_id is None or not is_staff:
        return []
    if not await arrivals.has_of(tx, item.lane, [await rooms.user_of(tx, room.customer_id)]):
        return []
    lane = aside_lane(item.id)
    name, body = (ItemKind.ORDER, item.id), {"item": item.id}
    await around.add_item(tx, ItemKind.ORDER, name, lane=lane, room=item.room_id, body=body, of=item)
    return [lane]


async def heed(around: Surroundings, item: Item) -> None:
    """Read an event ahead of what waits before it; only a block has an effect here. Its turn says so, and ends it."""
    order = await arrivals.get(around.database, ItemId(item.body["item"]))
    if order and order.state is ItemState.NEW and order.plan is None and order.sender in around.rules.staff:
        reading = await around.messenger.read(order.room_id, order.body)
        if isinstance(reading, NoKey) and await _waits_for_key(around, item):
            return
        await _put_ahead(around, order, reading)
    await around.finish(item)


async def _waits_for_key(around: Surroundings, item: Item) -> bool:
    waited = around.now() - item.arrived_at
    if waited < KEY_PATIENCE:
        raise Hold("no key yet", retry_after_s=(KEY_PATIENCE - waited) / timedelta(seconds=1))
    if waited < withdrawing.GIVE_UP_AFTER:
        async with around.database.transaction() as tx:
            await arrivals.wait(tx, item, "", around.now() + withdrawing.LOOK_AGAIN)
    return waited < withdrawing.GIVE_UP_AFTER


async def _put_ahead(around: Surroundings, order: Item, reading: Reading) -> None:
    called = command.parse(reading.words) if isinstance(reading, Message) and reading.kind in TYPED else None
    long = length(called.rest) if isinstance(called, Call) and called.command.verb is Verb.BLOCK else None
    room = await rooms.find(around.database, order.room_id)
    if long is None or room is None or room.customer_id is None:
        return
    async with around.database.transaction() as tx:
        await _decide(tx, around, order, Block(room.customer_id, BlockKind.BLOCK, order.sent_at + long), ahead=True)
    around.bookkeeping.lanes_changed([order.lane])


# ---------------------------------------------------------------------------------------------------------- the others


async def unblock(around: Surroundings, item: Item, case: Case | None, rest: str) -> None:
    """End what holds for the customer of this case, or of the one that is named.

    Raises:
        Mistake: no case, or none that there is.
    """
    if item.plan is None:
        async with around.database.transaction() as tx:
            customer = await _meant(tx, case, rest)
            held = await blocks.of(tx, customer, around.now())
            item = await around.plan(tx, item, {"reply": around.say(_lifted(held))})
            await blocks.lift(tx, customer)
            await arrivals.look_again(tx, customer_lane(customer), ItemKind.ESCALATION, around.now())
    await _say(around, item)


async def _meant(tx: Tx, case: Case | None, rest: str) -> CustomerId:
    number = rest.strip().removeprefix("#")
    if number:
        case = await cases.find(tx, CaseNumber(int(number))) if number.isdecimal() and len(number) <= 9 else None
    if case is None:
        raise Mistake("block.whom")
    return case.customer_id


def _lifted(held: Block | None) -> str:
    if held is None:
        return "block.none_here"
    return "block.lifted" if held.kind is BlockKind.BLOCK else "block.unmuted"


async def _list(around: Surroundings) -> str:
    lines = []
    for held in await blocks.in_force(around.database, around.now()):
        case = await cases.latest_of(around.database, held.customer)
        text = "block.line_blocked" if held.kind is BlockKind.BLOCK else "block.line_muted"
        lines.append(around.say(text, number=str(case.number) if case else "–", until=_until(around, held)))
    return "\n".join([around.say("block.list" if lines else "block.list_empty"), *lines])


async def _say(around: Surroundings, item: Item, held: Block | None = None) -> None:
    """Say what was planned, and commit that this holds (None: what is there already)."""
    assert item.plan is not None
    await around.send(item, "reply", item.room_id, Outgoing(item.plan["reply"], notice=True))
    async with around.database.transaction() as tx:
        if held:
            await blocks.put(tx, held, around.now())
        await arrivals.finish(tx, item)
    around.bookkeeping.room_changed(item.room_id)


async def is_muted(tx: Tx, around: Surroundings, customer: CustomerId) -> bool:
    """Tell whether no phone may ring for what this customer writes."""
    held = await blocks.of(tx, customer, around.now())
    return held is not None and held.kind is BlockKind.MUTE


def is_quiet(item: Item) -> bool:
    """Tell whether it was planned that no phone rings."""
    return bool(item.plan and item.plan.get("quiet"))


def _until(around: Surroundings, held: Block) -> str:
    return held.until.astimezone(around.rules.zone).strftime("%d.%m.%Y %H:%M")
