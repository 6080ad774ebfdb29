"""`!spaeter`: a case is put off, and rings for whoever did so when the moment has come, if no customer wrote before."""

from datetime import datetime
from typing import Final

from bot.domain.arrival import Item, ItemKind
from bot.domain.case import Case, CaseState, Turn
from bot.domain.errors import Mistake
from bot.domain.ids import UserId
from bot.domain.message import Outgoing
from bot.domain.moments import moment
from bot.flows import states
from bot.flows.surroundings import Surroundings
from bot.store import arrivals, cases
from bot.store.database import from_ms, to_ms

USUAL: Final = "2h"
"""What is meant if nothing is said."""


async def put_off(around: Surroundings, item: Item, case: Case, rest: str) -> None:
    """Put a case off until the moment that is named, or for two hours.

    Raises:
        Mistake: no moment that lies ahead is named, or the case is closed.
    """
    if item.plan is None:
        if case.state is CaseState.CLOSED:
            raise Mistake("case.later_closed")
        # Said before a restore, it was meant from then on; if it has passed meanwhile it rings at once.
        since = item.sent_at if await around.was_sent(item, "reply") else item.arrived_at
        until = moment(rest or USUAL, since, around.rules.zone, around.rules.hours_at(case.desk))
        if until is None:
            raise Mistake("case.later_usage")
        item = await around.planned(item, {"until": to_ms(until)})
    assert item.plan is not None
    until = from_ms(item.plan["until"])
    text = around.say("case.later", when=in_words(around, until))
    await around.send(item, "reply", item.room_id, Outgoing(text, notice=True))
    async with around.database.transaction() as tx:
        await states.turn(tx, around, case.number, Turn.PUT_OFF)
        case = await cases.get(tx, case.number)
        await states.add(tx, around, case, ItemKind.PUT_OFF, until, user=item.sender)
        await arrivals.finish(tx, item)
    around.bookkeeping.room_changed(item.room_id)
    around.bookkeeping.case_changed(case.number)


async def ring(around: Surroundings, item: Item) -> None:
    """Call whoever put it off, if it still is; their desk, if they are not in the room any more."""
    async with around.database.transaction() as tx:
        case = await states.rung(tx, item)
        if case is None:
            await arrivals.finish(tx, item)
            return
    item = await around.planned(item, {"rings": True})
    user = UserId(item.body["user"])
    hears = user in around.rules.staff and user in await around.messenger.members(item.room_id)
    mentions = (user,) if hears else around.rules.desk(case.desk).members
    names = " ".join(name.partition(":")[0] for name in mentions)
    await around.send(item, "ring", item.room_id, Outgoing(around.say("case.rings", who=names), mentions=mentions))
    async with around.database.transaction() as tx:
        await states.turn(tx, around, case.number, Turn.RANG)
        await arrivals.finish(tx, item)
    around.bookkeeping.case_changed(case.number)


def in_words(around: Surroundings, when: datetime) -> str:
    """Name a moment as people do, in the time zone of the business."""
    local = when.astimezone(around.rules.zone)
    weekday, month = around.say(f"weekday.{local.isoweekday()}"), around.say(f"month.{local.month}")
    return around.say("when.at", weekday=weekday, day=str(local.day), month=month, time=local.strftime("%H:%M"))
