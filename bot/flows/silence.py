"""A case closes by itself when the customer has said nothing for long, with one friendly sentence to them.

Only while it waits for the customer: never while it waits for us, is ready to be collected, or was put off.
"""

from bot.domain.arrival import Item
from bot.domain.block import BlockKind
from bot.domain.case import Case, Turn
from bot.domain.errors import Mistake
from bot.domain.ids import RoomId
from bot.domain.message import Outgoing
from bot.flows import states
from bot.flows.reaching import reachable_room
from bot.flows.surroundings import Surroundings
from bot.store import arrivals, blocks, pickups
from bot.store.database import Tx


async def close(around: Surroundings, item: Item) -> None:
    """Close it and say so on both sides, if nothing has happened since."""
    if item.plan is None:
        planned = await _decided(around, item)
        if planned is None:
            return
        item = planned
    assert item.plan is not None
    if item.plan["customer_room"]:
        room = RoomId(item.plan["customer_room"])
        await around.send(item, "goodbye", room, Outgoing(await around.say_in(room, item.plan["text"]), notice=True))
    await around.send(item, "closed", item.room_id, Outgoing(around.say("case.closed_silent"), notice=True))
    async with around.database.transaction() as tx:
        lanes = await states.turn(tx, around, item.body["case"], Turn.CLOSED)
        await arrivals.finish(tx, item)
    around.bookkeeping.lanes_changed(lanes)
    around.bookkeeping.case_changed(item.body["case"])


async def _decided(around: Surroundings, item: Item) -> Item | None:
    """T1b: close it, and with which sentence; None: it is too early, or has been overtaken."""
    now, period = around.now(), around.rules.close_after
    async with around.database.transaction() as tx:
        case = await states.rung(tx, item)
        if case is None or case.since is None or not period:
            await arrivals.finish(tx, item)
            return None
        due_at = states.opens_at(around.rules, case, max(now, case.since + period))
        if due_at > now:
            await arrivals.wait(tx, item, "", due_at)
            return None
        room = await _told_in(tx, around, case)
        return await around.plan(tx, item, {"customer_room": room, "text": await _sentence(tx, case)})


async def _told_in(tx: Tx, around: Surroundings, case: Case) -> RoomId | None:
    """Return where the customer is told; None: they left their chat, share it with somebody, or are blocked."""
    held = await blocks.of(tx, case.customer_id, around.now())
    if held and held.kind is BlockKind.BLOCK:
        return None
    try:
        return await reachable_room(around, case)
    except Mistake:
        return None


async def _sentence(tx: Tx, case: Case) -> str:
    pickup = await pickups.of_case(tx, case.number)
    was_collected = pickup is not None and pickup.done_at is not None and pickup.done_at == case.since
    return "customer.closed_collected" if was_collected else "customer.closed_silent"
