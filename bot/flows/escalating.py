"""A customer waits, and people are told one after the other: in open time only, never at night or on a holiday."""

from datetime import timedelta
from typing import Any

from bot.domain.arrival import Item, ItemKind
from bot.domain.case import Case
from bot.domain.ids import RoomId, UserId
from bot.domain.message import Outgoing
from bot.flows import states
from bot.flows.surroundings import Surroundings
from bot.store import arrivals, blocks, rooms

INBOX_LEVEL = 2
"""The first two calls ring in the room of the case (the first for who looks after it alone), the last in the inbox."""


async def escalate(around: Surroundings, item: Item) -> None:
    """Call whoever is next, if the customer still waits, and start the clock for the one after."""
    if item.plan is None:
        planned = await _decided(around, item)
        if planned is None:
            return
        item = planned
    assert item.plan is not None
    plan = item.plan
    mentions = tuple(UserId(user) for user in plan["mentions"])
    names = " ".join(_short(user) for user in mentions)
    text = around.say(plan["text"], who="@room" if plan["everybody"] else names, **plan["values"])
    await around.send(
        item, "call", RoomId(plan["room"]), Outgoing(text, mentions=mentions, everybody=plan["everybody"])
    )
    async with around.database.transaction() as tx:
        case = await states.rung(tx, item)
        if case:
            level = int(item.body["level"]) + 1
            due_at = states.escalates_at(around.rules, case, level)
            await states.add(tx, around, case, ItemKind.ESCALATION, due_at, level)
        await arrivals.finish(tx, item)


async def _decided(around: Surroundings, item: Item) -> Item | None:
    """T1b: whom to call; None: it is too early, or nobody any more, and the item is dealt with.

    For a customer who is blocked or muted nobody's phone rings until that is over.
    """
    level, now = int(item.body["level"]), around.now()
    async with around.database.transaction() as tx:
        case = await states.rung(tx, item)
        due_at = states.escalates_at(around.rules, case, level) if case else None
        if case is None or due_at is None:
            await arrivals.finish(tx, item)
            return None
        held = await blocks.of(tx, case.customer_id, now)
        due_at = max(due_at, states.opens_at(around.rules, case, held.until if held else now))
        if due_at > now:
            await arrivals.wait(tx, item, "", due_at)
            return None
        return await around.plan(tx, item, await _call(around, case, level))


async def _call(around: Surroundings, case: Case, level: int) -> dict[str, Any]:
    hours = around.rules.hours_at(case.desk)
    assert hours is not None
    assert case.since is not None
    waited = hours.between(case.since, around.now())
    values = {"number": str(case.number), "minutes": str(round(waited / timedelta(minutes=1)))}
    desk = around.rules.desk(case.desk)
    inbox = await rooms.place(around.database, f"inbox:{desk.id}")
    holder = around.rules.holder(case)
    if level >= INBOX_LEVEL and inbox:
        return {"room": inbox, "text": "inbox.waits", "values": values, "mentions": [], "everybody": True}
    return {
        "room": case.room_id,
        "text": "case.waits",
        "values": {"minutes": values["minutes"]},
        "mentions": [holder] if holder and level == 0 else list(desk.members),
        "everybody": False,
    }


def _short(user: UserId) -> str:
    return user.partition(":")[0]
