"""`!sperren 7d`, `!stumm 2h`, `!entsperren`: what becomes of what a customer writes, and until when.

A blocked customer's messages are dropped before they are stored (`intake`). The customer is told nothing.
"""

from datetime import datetime
from typing import Final

from bot.domain.arrival import Item
from bot.domain.block import Block, BlockKind, length
from bot.domain.case import Case
from bot.domain.errors import Mistake
from bot.domain.ids import CaseNumber, CustomerId
from bot.domain.message import Outgoing
from bot.flows.surroundings import Surroundings
from bot.store import blocks, cases
from bot.store.database import Tx

MUTED_FOR: Final = "2h"
"""How long, if nobody says it."""


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
    if item.plan is None:
        long = length(rest)
        if long is None:
            raise Mistake("block.how_long" if kind is BlockKind.BLOCK else "block.how_long_muted")
        until = item.sent_at + long
        text = "block.blocked" if kind is BlockKind.BLOCK else "block.muted"
        async with around.database.transaction() as tx:
            item = await around.plan(tx, item, {"reply": around.say(text, until=_shown(around, until))})
            await blocks.put(tx, Block(case.customer_id, kind, until), around.now())
    await _say(around, item)


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
        lines.append(around.say(text, number=str(case.number) if case else "–", until=_shown(around, held.until)))
    return "\n".join([around.say("block.list" if lines else "block.list_empty"), *lines])


async def _say(around: Surroundings, item: Item) -> None:
    assert item.plan is not None
    await around.send(item, "reply", item.room_id, Outgoing(item.plan["reply"], notice=True))
    await around.finish(item)


async def is_muted(tx: Tx, around: Surroundings, customer: CustomerId) -> bool:
    """Tell whether no phone may ring for what this customer writes."""
    held = await blocks.of(tx, customer, around.now())
    return held is not None and held.kind is BlockKind.MUTE


def is_quiet(item: Item) -> bool:
    """Tell whether it was planned that no phone rings."""
    return bool(item.plan and item.plan.get("quiet"))


def _shown(around: Surroundings, moment: datetime) -> str:
    return moment.astimezone(around.rules.zone).strftime("%d.%m.%Y %H:%M")
