"""`!an`: a case goes to a colleague or to another desk; a message on which one replies goes to another case.

Whoever is new in the room is invited in a lane of their own and gets the bot's stored keys when they join, so that they
read what the customer wrote. What colleagues wrote they cannot read; the recap says it again.
"""

from dataclasses import replace

import structlog

from bot.domain.arrival import ItemKind, customer_lane, staff_lane
from bot.domain.case import Case, CaseState
from bot.domain.errors import Mistake, Refused
from bot.domain.ids import DeskId, UserId
from bot.domain.message import Outgoing
from bot.flows import cards, moving, staffing, states, telling
from bot.flows.orders import Order, answer
from bot.flows.surroundings import Rules
from bot.store import arrivals, cases, rooms

log = structlog.get_logger()


async def hand(order: Order) -> None:
    """Find out what is meant, and do it. What was planned counts, whoever has left since.

    Raises:
        Mistake: nobody and nothing is named that there is.
    """
    plan, number = order.item.plan or {}, order.rest.strip().removeprefix("#")
    if "source" in plan or number.isdecimal():
        await moving.move(order.around, order.item, order.in_case, order.rest, order.message)
        return
    desk = DeskId(plan["desk"]) if "desk" in plan else _desk(order.around.rules, order.rest)
    user = UserId(plan["said"]["holder"]) if "said" in plan else await _colleague(order)
    if desk and "said" not in plan:
        await _to_desk(order, desk)
    elif user:
        await _to_colleague(order, user)
    elif order.message.replies_to:
        await moving.move(order.around, order.item, order.in_case, order.rest, order.message)
    else:
        raise Mistake("handing.whom", desks=", ".join(known.name for known in order.around.rules.desks))


def _desk(rules: Rules, rest: str) -> DeskId | None:
    name = rest.strip().casefold()
    return next((desk.id for desk in rules.desks if name in {desk.id.casefold(), desk.name.casefold()}), None)


async def _colleague(order: Order) -> UserId | None:
    """Return who is named: by the id, the part of it before the colon, what they are called, or a mention."""
    staff, name = order.around.rules.staff, " ".join(order.rest.replace("\u200b", "").split()).casefold().lstrip("@")
    fitting = [user for user in staff if name in {user[1:].casefold(), user[1:].partition(":")[0].casefold()}]
    fitting = fitting or [user for user in order.message.mentions & staff if not order.message.replies_to]
    fitting = fitting or [user for user in sorted(staff) if (await order.name(user)).casefold() == name]
    return fitting[0] if name and len(fitting) == 1 else None


async def _to_colleague(order: Order, user: UserId) -> None:
    """From now on this colleague looks after the case; who is not in its room is invited."""
    case = order.in_case
    if order.item.plan is None and case.state is CaseState.CLOSED:
        raise Mistake("taking.closed")
    reply = order.say("handing.to_colleague", name=await order.name(user))
    present = await order.around.messenger.members(order.item.room_id)
    await answer(order, reply, said={"holder": user}, settles=[] if user in present else [user])


async def _to_desk(order: Order, desk_id: DeskId) -> None:
    """Move the case: a card there, a word in the room, a recap for newcomers; then whoever does not belong goes.

    Who hands over what they looked after themselves lets it go, unless they sit at the new desk as well.
    """
    around, case = order.around, order.in_case
    if order.item.plan is None and (case.state is CaseState.CLOSED or case.desk == desk_id):
        raise Mistake("taking.closed" if case.state is CaseState.CLOSED else "handing.there_already")
    holder = around.rules.holder(case)
    if holder == order.item.sender and holder not in around.rules.desk(desk_id).members:
        holder = None
    old = {"inbox": await cards.inbox_of(around, case), "card": case.inbox_event}
    item = await around.planned(order.item, {"desk": desk_id, "holder": holder, "old": old})
    assert item.plan is not None
    await carry_over(replace(order, item=item), order.say("handing.to_desk", desk=around.rules.desk(desk_id).name))


async def carry_over(order: Order, told: str) -> None:
    """Take the steps of a move and commit it. Its plan names the `desk`, the `holder`, and the `old` inbox and card.

    `told`: what is said in the room of the case.
    """
    around, item, case, room = order.around, order.item, order.in_case, order.answered_in
    assert item.plan is not None
    moved = replace(case, desk=DeskId(item.plan["desk"]), holder=item.plan["holder"])
    card = await _move_card(order, moved)
    await around.send(item, "reply", room, Outgoing(told, notice=True))
    await telling.recap(order, staff_only=True)
    await _put_out_others(order, moved)
    async with around.database.transaction() as tx:
        await cases.set_desk(tx, case.number, moved.desk, card)
        await cases.change(tx, case.number, holder=moved.holder)
        await rooms.set_desk(tx, room, moved.desk)
        # By the hours that hold there, also what waits already.
        await states.start_clock(tx, around, await cases.get(tx, case.number))
        await arrivals.look_again(tx, customer_lane(case.customer_id), ItemKind.ESCALATION, around.now())
        newcomers = set(around.rules.desk(moved.desk).members) - set(await rooms.present(tx, room))
        await staffing.add_settling(tx, around, around.rules, newcomers, item.id)
        await arrivals.finish(tx, item)
    around.bookkeeping.lanes_changed(map(staff_lane, newcomers))
    around.bookkeeping.room_changed(item.room_id)
    around.bookkeeping.case_changed(case.number)


async def _move_card(order: Order, moved: Case) -> str:
    """Put a card into the inbox of the new desk, and say at the old one where the case went."""
    around, item = order.around, order.item
    assert item.plan is not None
    inbox = await cards.inbox_of(around, moved)
    card = await around.send(item, "inbox_card", inbox, await cards.inbox_card(around, moved))
    await cards.seed(around, item, inbox, card, cards.ON_INBOX_CARD, step="inbox_chip")
    if item.plan["old"]["card"]:
        text = around.say_at(
            order.in_case.desk, "inbox.card_moved", number=str(moved.number), desk=around.rules.desk(moved.desk).name
        )
        gone = Outgoing(text, notice=True, replaces=item.plan["old"]["card"])
        await around.send(item, "inbox_moved", item.plan["old"]["inbox"], gone)
    return card


async def _put_out_others(order: Order, moved: Case) -> None:
    """Who neither sits at the new desk nor looks after the case leaves the room."""
    around = order.around
    stay = {*around.rules.desk(moved.desk).members, moved.holder}
    for user in set(await around.messenger.members(order.answered_in)) - stay:
        try:
            await around.messenger.remove(order.answered_in, user)
        except Refused as error:
            log.warning("not_put_out", code=error.code, status=error.status)
