"""`!verbinden 1039`: two cases of one customer were one matter. This one closes with a pointer, the other goes on.

Later messages go to the other, also those that quote one of this. `!auf` takes it back.
"""

from html import escape
from typing import Any

from bot.domain.arrival import staff_lane
from bot.domain.case import Case, CaseState, Turn
from bot.domain.errors import Mistake
from bot.domain.ids import CaseNumber, RoomId
from bot.domain.message import Outgoing
from bot.flows import cards, staffing, states
from bot.flows.describing import holds
from bot.flows.orders import Order
from bot.flows.surroundings import Surroundings
from bot.store import arrivals, cases, pickups
from bot.store.database import Tx


async def join(order: Order) -> None:
    """Say in both rooms what became of it, then close this case for the other.

    Raises:
        Mistake: no other case of this customer is named, or it went on elsewhere itself.
    """
    around, here, item = order.around, order.in_case, order.item
    if item.plan is None:
        async with around.database.transaction() as tx:
            item = await around.plan(tx, item, await _decided(tx, here, order.rest))
    assert item.plan is not None
    there = await cases.get(around.database, CaseNumber(item.plan["case"]))
    assert there.room_id is not None
    pointer = _pointing(around, there.room_id, there.number, order.say("joining.gone_on", number=str(there.number)))
    await around.send(item, "reply", item.room_id, pointer)
    back = _pointing(around, item.room_id, here.number, order.say("joining.joined", number=str(here.number)))
    await around.send(item, "joined", there.room_id, back)
    holder = around.rules.holder(here)
    comes = [holder] if holder and there.holder is None else []
    async with around.database.transaction() as tx:
        await cases.change(tx, there.number, **_more(here, there))
        await staffing.add_settling(tx, around, around.rules, comes, item.id)
        await pickups.move(tx, here.number, there.number)
        owes = here.state is CaseState.OWED
        lanes = await states.turn(tx, around, there.number, Turn.CUSTOMER_WROTE if owes else Turn.REOPENED)
        lanes = [*lanes, *await states.turn(tx, around, here.number, Turn.CLOSED)]
        await cases.set_merged(tx, here.number, there.number)
        await cases.touch(tx, there.number, around.now())
        await arrivals.finish(tx, item)
    around.bookkeeping.lanes_changed([*lanes, *map(staff_lane, comes)])
    around.bookkeeping.room_changed(item.room_id)
    around.bookkeeping.case_changed(here.number)
    around.bookkeeping.case_changed(there.number)


async def _decided(tx: Tx, here: Case, rest: str) -> dict[str, Any]:
    number = rest.strip().removeprefix("#")
    there = await cases.find(tx, CaseNumber(int(number))) if number.isdecimal() and len(number) <= 9 else None
    is_theirs = there is not None and there.customer_id == here.customer_id and there.room_id is not None
    if there is None or not is_theirs or there.number == here.number or there.merged_into or here.merged_into:
        raise Mistake("joining.no_such_case", number=number[:20] or "?")
    return {"case": there.number}


def _more(here: Case, there: Case) -> dict[str, str | None]:
    """Return what the other case learns from this one: what nobody has said of it yet."""
    tags = dict.fromkeys((*there.tags, *here.tags))
    label, plate = there.label or here.label, there.plate or here.plate
    return {
        "label": "" if holds(label, plate) else label,  # a room's name is no place for what is known to be a plate
        "plate": plate,
        "reference": there.reference or here.reference,
        "tags": " ".join(tags),
        "holder": there.holder or here.holder,
    }


def _pointing(around: Surroundings, room: RoomId, number: CaseNumber, text: str) -> Outgoing:
    return Outgoing(text, html=f"{escape(text)} {cards.link_to(around, room, str(number))}", notice=True)
