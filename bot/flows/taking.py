"""Who looks after a case: `!ich` or a tap on 👍 takes it, `!abgeben` lets it go, `!wer` tells.

Only the holder of now is known, nowhere who it was before: nobody can be counted by it.
"""

from bot.domain.arrival import Item, customer_lane
from bot.domain.case import CaseState
from bot.domain.command import tapped
from bot.domain.errors import Mistake
from bot.domain.message import Kind, Message
from bot.domain.room import Room, RoomKind
from bot.flows.cards import ON_INBOX_CARD
from bot.flows.orders import Order, answer
from bot.flows.surroundings import Surroundings
from bot.store import arrivals, cases, rooms


async def take(order: Order) -> None:
    """Who says so looks after the case from now on, whoever did before.

    Raises:
        Mistake: it is closed, or has no room yet.
    """
    case, user = order.in_case, order.item.sender
    if case.state is CaseState.CLOSED or case.room_id is None:
        raise Mistake("taking.closed" if case.room_id else "taking.no_room")
    before = order.around.rules.holder(case)
    if before == user:
        await answer(order, order.say("taking.yours"))
        return
    name = await order.name(user)
    reply = order.say("taking.taken", name=name)
    if before:
        reply = order.say("taking.taken_from", name=name, before=await order.name(before))
    await answer(order, reply, said={"holder": user})


async def release(order: Order) -> None:
    """Nobody looks after it any more; anybody of the team may say so."""
    before = order.around.rules.holder(order.in_case)
    if before is None:
        await answer(order, order.say("taking.nobody"))
        return
    await answer(order, order.say("taking.released", name=await order.name(before)), said={"holder": None})


async def who(order: Order) -> None:
    """Tell who looks after it, and who of the team is in the room."""
    around, case = order.around, order.in_case
    holder = around.rules.holder(case)
    first = order.say("taking.who", name=await order.name(holder)) if holder else order.say("taking.nobody")
    room = await rooms.find(around.database, order.item.room_id)
    assert room is not None
    here = [await order.name(user) for user in sorted(room.present()) if room.members[user] == "join"]
    asked = [await order.name(user) for user in sorted(room.present()) if room.members[user] == "invite"]
    lines = [first, order.say("taking.here", names=", ".join(here) or "–")]
    if asked:
        lines.append(order.say("taking.asked", names=", ".join(asked)))
    await answer(order, "\n".join(lines))


async def tapped_in_inbox(around: Surroundings, item: Item, room: Room, message: Message) -> Order | None:
    """Return the order that a tap on an inbox card is; None: it is something else.

    Only taking can be tapped there. What concerns a case goes to the end of its customer's lane first.
    """
    row = tapped(message.body) if message.kind is Kind.REACTION and room.kind is RoomKind.INBOX else None
    if row not in ON_INBOX_CARD or message.target is None or item.sender not in around.rules.staff:
        return None
    case = await cases.of_inbox_card(around.database, message.target)
    return Order(around, item, room, case, "", message, tapped=True) if case else None


async def move_to_customer(order: Order) -> bool:
    """Put an order into the lane of its case's customer; False: it is there."""
    lane = customer_lane(order.in_case.customer_id)
    if order.item.lane == lane:
        return False
    async with order.around.database.transaction() as tx:
        await arrivals.move(tx, order.item, lane)
    order.around.bookkeeping.lanes_changed([lane])
    return True
