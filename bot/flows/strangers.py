"""People whom nobody here has answered yet, all together: how fast they come in, and that the admins hear of a flood.

Nobody loses anything by waiting: who is not let in yet writes into a room of their own, which we read once we are in;
what is here already waits in its table. Customers whom somebody has answered are never held up by strangers.
"""

from datetime import datetime, timedelta
from typing import Final

from bot.domain.arrival import Item, ItemKind, room_lane
from bot.domain.ids import CustomerId
from bot.domain.message import Outgoing
from bot.domain.throttle import Turns
from bot.flows.surroundings import Surroundings
from bot.flows.worker import Hold
from bot.store import arrivals, facts, rooms
from bot.store.database import Tx, from_ms, to_ms

REASON: Final = "strangers"
TELLS_AFTER: Final = timedelta(minutes=1)
"""How long after the first had to wait the admins hear of it: by then it can be said how many do."""
TELLS_EVERY: Final = timedelta(hours=1)
ONE_MORE_AFTER: Final = timedelta(hours=1)
"""What a further invitation waits for while one of the same person waits: they take no turn of anybody else."""
HOUR: Final = timedelta(hours=1)
MINUTE: Final = timedelta(minutes=1)


async def must_wait(around: Surroundings, item: Item) -> bool:
    """Tell whether an invitation steps aside until its turn comes. Whom we know and reach nowhere else does not."""
    if item.plan is not None or item.sender in around.rules.staff:
        return False
    async with around.database.transaction() as tx:
        customer = await rooms.of_user(tx, item.sender)
        if customer and await rooms.was_answered(tx, customer) and not await rooms.customer_room(tx, customer):
            return False
        until = await _turn(tx, around, item)
        if until <= around.now():
            return False
        await arrivals.hold(tx, item, REASON, until, {"waits": True})
        await _see_to_it_that_it_is_told(tx, around)
    return True


async def _turn(tx: Tx, around: Surroundings, item: Item) -> datetime:
    before = await arrivals.last_turn(tx, item.lane, REASON)
    if before:
        return before + ONE_MORE_AFTER
    many, now = around.rules.strangers_per_hour, around.now()
    return now + around.newcomers.wait(item.lane, item.id, now, every=HOUR / many, burst=many)


async def tried_since(around: Surroundings, item: Item) -> datetime:
    """Return since when we have been trying to accept an invitation: what had to wait, since its turn came."""
    if item.plan is None:
        return item.arrived_at
    if "tried" in item.plan:
        return from_ms(item.plan["tried"])
    async with around.database.transaction() as tx:
        await arrivals.add_to_plan(tx, item, item.plan | {"tried": to_ms(around.now())})
    return around.now()


async def deal_anew(around: Surroundings) -> None:
    """After the limit was changed whoever waits outside gets another turn. Called at a start and at a reload."""
    limit = str(around.rules.strangers_per_hour)
    async with around.database.transaction() as tx:
        if await facts.get(tx, facts.STRANGERS_PER_HOUR) == limit:
            return
        await facts.put(tx, facts.STRANGERS_PER_HOUR, limit)
        lanes = await arrivals.decide_anew(tx, REASON)
    around.newcomers = Turns()
    around.bookkeeping.lanes_changed(lanes)


async def take_turns(around: Surroundings, item: Item, customer: CustomerId) -> None:
    """Strangers together may write as much as one customer may. What one of ours has written to them waits for nobody.

    Raises:
        Hold: it is not the turn of this message yet.
    """
    rules, now = around.rules, around.now()
    if item.plan is not None or await _was_answered(around, customer):
        return
    every = MINUTE / rules.messages_per_minute
    wait = around.strangers.wait(item.lane, item.id, now, every=every, burst=rules.burst)
    if wait and not await arrivals.has_of(around.database, item.lane, rules.staff):
        async with around.database.transaction() as tx:
            await _see_to_it_that_it_is_told(tx, around)
        raise Hold("strangers write very much", retry_after_s=wait / timedelta(seconds=1))


async def _was_answered(around: Surroundings, customer: CustomerId) -> bool:
    if customer not in around.answered and await rooms.was_answered(around.database, customer):
        around.answered.add(customer)
    return customer in around.answered


async def note_answered(tx: Tx, around: Surroundings, customer: CustomerId) -> None:
    """Somebody of ours answers a customer: from now on this is no stranger (part of T2)."""
    if customer not in around.answered:
        await rooms.note_answered(tx, customer)


async def _see_to_it_that_it_is_told(tx: Tx, around: Surroundings) -> None:
    if not await arrivals.open_of(tx, ItemKind.STRANGERS):
        await _add(tx, around, around.now() + TELLS_AFTER)


async def _add(tx: Tx, around: Surroundings, due: datetime) -> None:
    room = await rooms.place(tx, "admin")
    if room is None:
        return
    name = ("strangers", str(to_ms(due)))
    await around.add_item(tx, ItemKind.STRANGERS, name, lane=room_lane(room), room=room, body={}, due_at=due)


async def tell(around: Surroundings, item: Item) -> None:
    """Tell the admins how many wait, if any do, and look again an hour later."""
    if item.plan is None:
        async with around.database.transaction() as tx:
            people, messages = await arrivals.of_strangers(tx)
            item = await around.plan(tx, item, {"people": people, "messages": messages})
    assert item.plan is not None
    if item.plan["people"]:
        counted = {name: str(item.plan[name]) for name in ("people", "messages")}
        text = around.say("admin.strangers", **counted, per_hour=str(around.rules.strangers_per_hour))
        await around.send(item, "strangers", item.room_id, Outgoing(text, notice=True))
    async with around.database.transaction() as tx:
        if item.plan["people"]:
            await _add(tx, around, around.now() + TELLS_EVERY)
        await arrivals.finish(tx, item)
