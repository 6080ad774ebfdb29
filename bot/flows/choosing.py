"""Several cases of one customer are open and nothing tells which one a message is about: they are asked once.

What they wrote waits, also what they write meanwhile; the number, or some minutes, lets it go on in its order.
"""

from datetime import timedelta

from bot.domain.arrival import Item
from bot.domain.case import CaseState
from bot.domain.ids import CaseNumber
from bot.domain.message import Kind, Message, Outgoing
from bot.flows.surroundings import Surroundings
from bot.store import arrivals, cases
from bot.store.database import Tx

REASON = "which_case"
PATIENCE = timedelta(minutes=10)
"""After so long without an answer the message goes to the newest open case."""


async def is_asking(tx: Tx, item: Item) -> bool:
    """Tell whether something of this customer waits for the answer already."""
    return bool(await arrivals.waiting_for(tx, item.lane, REASON))


async def answered(tx: Tx, item: Item, message: Message) -> CaseNumber | None:
    """Return the open case that this message names, if we asked for it."""
    text = message.body.strip().rstrip(".")
    if message.kind is not Kind.TEXT or not text.isdecimal() or len(text) > 9 or not await is_asking(tx, item):
        return None
    case = await cases.find(tx, CaseNumber(int(text)))
    is_theirs = case is not None and item.lane == f"customer:{case.customer_id}"
    return case.number if case and is_theirs and case.state is not CaseState.CLOSED else None


async def ask(around: Surroundings, item: Item) -> None:
    """Ask, unless we did already, and let the message wait."""
    assert item.plan is not None
    if item.plan["says"]:
        numbers = ", ".join(str(number) for number in item.plan["cases"])
        question = Outgoing(await around.say_in(item.room_id, "customer.which_case", numbers=numbers))
        await around.send(item, "which_case", item.room_id, question)
    if item.plan.get("also"):  # it decides anew when it goes on, and what was decided about that is in force already
        await around.send(item, "also", item.room_id, Outgoing(item.plan["also"], notice=True))
    async with around.database.transaction() as tx:
        await arrivals.wait(tx, item, REASON, around.now() + PATIENCE)


async def choose(around: Surroundings, item: Item) -> None:
    """The customer named a case: what waited goes there now."""
    assert item.plan is not None
    async with around.database.transaction() as tx:
        await cases.touch(tx, CaseNumber(item.plan["case"]), around.now())
        await arrivals.go_on(tx, item.lane, REASON)
        await arrivals.finish(tx, item)
    around.bookkeeping.room_changed(item.room_id)
