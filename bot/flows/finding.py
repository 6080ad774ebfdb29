"""`!suche` finds cases, `!heute` lists the open ones; one tap opens a room.

People find what their own desks do, admins everything: plates are told to nobody who could not see them anyway.
"""

from collections.abc import Sequence
from typing import Final

from bot.domain.case import Case
from bot.domain.errors import Mistake
from bot.domain.ids import DeskId
from bot.domain.room import RoomKind
from bot.flows.describing import letters
from bot.flows.listing import listed
from bot.flows.orders import Order, answer
from bot.flows.staffing import answering_for
from bot.store import cases

MOST: Final = 10
MOST_TODAY: Final = 40


async def search(order: Order) -> None:
    """`!suche bremse`: by number, title, order number, tag or plate, the newest first.

    Raises:
        Mistake: nothing to look for was named.
    """
    words = " ".join(order.rest.split())
    if not letters(words):
        raise Mistake("finding.what")
    desks = await answering_for(order.around, _desks(order))
    found = await cases.found_by(order.around.database, words, letters(words), desks, most=MOST + 1)
    if not found:
        await answer(order, order.say("finding.none"))
        return
    await _list(order, order.say("finding.found"), found, MOST)


async def today(order: Order) -> None:
    """`!heute`: what is open, in an inbox at its desk, elsewhere at one's own; first who waits for us the longest."""
    desks = _desks(order)
    if order.room.kind is RoomKind.INBOX and order.room.desk in desks:
        desks = [order.room.desk]
    desks = await answering_for(order.around, desks)
    found = await cases.still_open(order.around.database, desks, most=MOST_TODAY + 1)
    if not found:
        await answer(order, order.say("finding.nothing_open"))
        return
    await _list(order, order.say("finding.open"), found, MOST_TODAY)


def _desks(order: Order) -> list[DeskId]:
    rules, user = order.around.rules, order.item.sender
    return [desk.id for desk in rules.desks if user in desk.members or user in rules.admins]


async def _list(order: Order, head: str, found: Sequence[Case], most: int) -> None:
    """Answer with a line for each case; in HTML the number opens its room."""
    answered = await listed(order.around, head, found, most)
    if len(found) > answered.count:
        answered = answered.with_end(order.say("finding.more"))
    await answer(order, answered.plain, html=answered.html)
