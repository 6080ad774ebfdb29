"""`!fertig`: the customer can collect it, with a code. `!abholung 4711`: it was handed over to whoever showed the code.

The code stands in the customer's chat and in our table, never in a room of staff: what is on everybody's screen
proves nothing. A code of four digits bears few guesses, so the third wrong one ends it and people are told.
"""

import hmac
import secrets
from collections.abc import Sequence
from typing import Any, Final

from bot.domain.arrival import Item
from bot.domain.case import Case, Turn
from bot.domain.errors import Mistake
from bot.domain.ids import CaseNumber, Lane, RoomId
from bot.domain.message import Outgoing
from bot.flows import states, strangers
from bot.flows.reaching import reachable_room, still_reachable
from bot.flows.surroundings import Surroundings
from bot.flows.warning import add_alarm
from bot.store import arrivals, cases, links, pickups, rooms
from bot.store.database import Tx
from bot.store.links import Link

DIGITS: Final = 4
MOST_WRONG: Final = 3


async def make_ready(around: Surroundings, item: Item, case: Case, rest: str) -> None:
    """Tell the customer that it is ready, in the words behind the command if there are any.

    Raises:
        Mistake: it would not reach the customer, or not only them, or the case goes on elsewhere.
    """
    if item.plan is not None:
        await still_reachable(around, item, case)
    else:
        before = await around.was_sent(item, "relay")
        if case.merged_into and not before:
            raise Mistake("joining.write_there", number=str(case.merged_into))
        room = before[0] if before else await reachable_room(around, case)
        code = f"{secrets.randbelow(10**DIGITS):0{DIGITS}}"
        # Which code a customer was told before a restore is known to them alone.
        item = await around.planned(item, {"room": room, "code": "" if before else code})
    assert item.plan is not None
    room, code = RoomId(item.plan["room"]), item.plan["code"]
    what = rest or await around.say_in(room, "customer.ready_what")
    text = await around.say_in(room, "customer.ready", what=what, code=code)
    event = await around.send(item, "relay", room, Outgoing(text))
    reply = "case.ready" if code else "case.ready_code_unknown"
    told = await around.send(item, "reply", item.room_id, Outgoing(around.say(reply), notice=True))
    # Who deletes the command takes the sentence back; a tap that is taken back must not make it vanish unseen.
    source = told if item.body.get("type") == "m.reaction" else item.event_id
    async with around.database.transaction() as tx:
        await links.add(tx, Link((item.room_id, source), (room, event), case.number))
        if code:
            await pickups.put(tx, case.number, code)
        lanes = await states.turn(tx, around, case.number, Turn.MADE_READY)
        await cases.touch(tx, case.number, around.now())
        await strangers.note_answered(tx, around, case.customer_id)
        await arrivals.finish(tx, item)
    around.answered.add(case.customer_id)
    _tell_others(around, item, case.number, lanes)


async def hand_over(around: Surroundings, item: Item, case: Case, rest: str) -> None:
    """Compare the code that the customer showed, and write down that it was handed over, or that it was wrong.

    Raises:
        Mistake: that is no code, or there is nothing to compare it with.
    """
    if item.plan is None:
        item = await _compared(around, item, case, rest)
    assert item.plan is not None
    plan = item.plan
    text = around.say(plan["text"], **plan["values"])
    await around.send(item, "reply", item.room_id, Outgoing(text, notice=plan["text"] != "case.pickup_alarm"))
    lanes: Sequence[Lane] = ()
    async with around.database.transaction() as tx:
        if plan["right"]:
            lanes = await states.turn(tx, around, case.number, Turn.PICKED_UP)
            since = (await cases.get(tx, case.number)).since or around.now()
            await pickups.finish(tx, case.number, since)
        await arrivals.finish(tx, item)
    _tell_others(around, item, case.number, lanes)
    around.bookkeeping.alarms_changed(await rooms.place(around.database, "admin"))


async def _compared(around: Surroundings, item: Item, case: Case, rest: str) -> Item:
    """T1b: right or wrong, and in the same commit how often it was wrong and who has to know."""
    said = rest.replace(" ", "")
    if not (said.isascii() and said.isdecimal() and len(said) == DIGITS):
        raise Mistake("case.pickup_usage")
    name = await around.messenger.display_name(item.room_id, item.sender)
    async with around.database.transaction() as tx:
        pickup = await pickups.of_case(tx, case.number)
        if pickup is None or pickup.done_at is not None:
            raise Mistake("case.pickup_none")
        if pickup.wrong >= MOST_WRONG:
            raise Mistake("case.pickup_locked")
        right = hmac.compare_digest(said, pickup.code)
        return await around.plan(tx, item, await _outcome(tx, around, item, case.number, by=name if right else None))


async def _outcome(tx: Tx, around: Surroundings, item: Item, number: CaseNumber, *, by: str | None) -> dict[str, Any]:
    """Return what follows; `by`: who handed it over, None if the code was wrong."""
    if by is not None:
        return {"right": True, "text": "case.picked_up", "values": {"name": by}}
    left = MOST_WRONG - await pickups.count_wrong(tx, number)
    if left > 0:
        return {"right": False, "text": "case.pickup_wrong", "values": {"left": str(left)}}
    admin_room = await rooms.place(tx, "admin")
    if admin_room:
        await add_alarm(tx, around, admin_room, "admin.pickup_alarm", {"number": str(number)}, name=item.id)
    return {"right": False, "text": "case.pickup_alarm", "values": {"count": str(MOST_WRONG)}}


def _tell_others(around: Surroundings, item: Item, number: CaseNumber, lanes: Sequence[Lane]) -> None:
    around.bookkeeping.lanes_changed(lanes)
    around.bookkeeping.room_changed(item.room_id)
    around.bookkeeping.case_changed(number)
