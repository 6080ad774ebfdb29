"""What may be meant for colleagues only is held back until one of them taps: internal, or send. Without a tap it stays.

In doubt are replies to what never went to the customer, also in a thread about it, whatever names a colleague, and a
note that is edited into an answer. What waits lets the next answers pass.
"""

import re
from datetime import timedelta
from typing import Any, Final

from bot.domain.arrival import Item, ItemState, customer_lane
from bot.domain.case import Case
from bot.domain.errors import Refused
from bot.domain.ids import EventId
from bot.domain.message import Kind, Message, Outgoing
from bot.flows.messenger import STEP
from bot.flows.surroundings import Surroundings
from bot.flows.worker import Hold
from bot.store import arrivals, links
from bot.store.database import Tx

REASON: Final = "held"
RELEASED: Final = "released"
RELEASED_LATE: Final = "released_late"  # its key had come late, which its copy says
LET_GO: Final = frozenset({RELEASED, RELEASED_LATE})
SEND, KEEP = "📤", "🔒"


async def stays_inside(around: Surroundings, item: Item, case: Case, message: Message) -> bool:
    """Ask about a message that is in doubt, or keep what nobody released in time; False: it may go to the customer."""
    is_new = item.plan is None and not await around.was_sent(item, "relay")
    if is_new and item.reason not in LET_GO and await _is_in_doubt(around, item, case, message):
        plan = {"do": "hold", "about": await _changed_by(around, item, message), "late": item.reason == "no_key"}
        item = await around.planned(item, plan)
    if item.plan is None or item.plan.get("do") != "hold":
        return False
    if "question" in item.plan:
        await _keep(around, item)
    else:
        await _ask(around, item)
    return True


async def _is_in_doubt(around: Surroundings, item: Item, case: Case, message: Message) -> bool:
    if message.kind is Kind.EDIT and message.target and await _is_deleted(around, message.target):
        return False  # it goes nowhere, so there is nothing to ask
    above = [event for event in (message.replies_to, *message.thread) if event]
    said = [await arrivals.get(around.database, event) for event in above]
    authors = {user for user in around.rules.staff if any(known and known.is_from(user) for known in said)}
    if _names_somebody(around, message, besides={item.sender, *authors}):
        return True
    if message.kind is Kind.EDIT and message.target:
        return await _is_internal(around, item, message.target)
    return any([await _is_inside(around, item, case, event) for event in above])


async def _is_inside(around: Surroundings, item: Item, case: Case, event: EventId) -> bool:
    """Tell whether the customer never got what is answered; in a thread on what it is about and what came last."""
    if await links.of_event(around.database, await links.original(around.database, event)):
        return False
    known = await arrivals.get(around.database, event)
    return known is not None or not await _is_copy(around, item, case, event)


async def _is_copy(around: Surroundings, item: Item, case: Case, event: EventId) -> bool:
    """Tell whether this is a copy that our tables do not know: it was deleted with its original, or is parked half-way.

    Raises:
        Hold: it was sent a moment ago, and is just on its way into the tables.
    """
    try:
        found = await around.messenger.event(item.room_id, event)
    except Refused:
        return False
    if found.get("sender") != around.rules.me:
        return False
    mark = found["content"].get(STEP)
    begun = await arrivals.begun(around.database, customer_lane(case.customer_id))
    sending = next((other for other in begun if around.txn(other, "relay") == mark), None)
    if sending and sending.state is ItemState.NEW:
        raise Hold("the copy that this replies to is on its way into the tables", retry_after_s=0.1)
    return sending is not None or mark is None


def _names_somebody(around: Surroundings, message: Message, besides: set[Any]) -> bool:
    """Tell whether a colleague is mentioned; clients mention the author of what one replies to by themselves."""
    staff = around.rules.staff
    if message.mentions & staff - besides:
        return True
    names = "|".join(re.escape(user[1:].partition(":")[0]) for user in sorted(staff))
    at = "@\u200b?"  # `harmless` defuses what would ring for everybody
    answers = [said for _, said in message.poll.answers] if message.poll else []
    words = "\n".join([message.words, *answers])
    return re.search(rf"(?<![\w@.]){at}({names}|room)(?![\w-])", words, re.IGNORECASE) is not None


async def _is_internal(around: Surroundings, item: Item, target: EventId) -> bool:
    """Tell whether this is the sender's own message that never went out: a note, or held itself."""
    first = await links.original(around.database, target)
    before = await arrivals.get(around.database, first)
    if before is None or not before.is_from(item.sender) or before.reason == arrivals.DELETED:
        return False
    is_out = await links.of_event(around.database, first) is not None
    return not is_out and (before.state is ItemState.DONE or before.reason == REASON)


async def _is_deleted(around: Surroundings, target: EventId) -> bool:
    first = await arrivals.get(around.database, await links.original(around.database, target))
    return first is not None and first.reason == arrivals.DELETED


async def _changed_by(around: Surroundings, item: Item, message: Message) -> EventId | None:
    """Return the sender's own message that this is an edit of: on screens it stands in its place."""
    if message.kind is not Kind.EDIT or message.target is None:
        return None
    first = await links.original(around.database, message.target)
    return first if await arrivals.is_by(around.database, first, item.sender) else None


async def _ask(around: Surroundings, item: Item) -> None:
    """Put the question under the message. An edit of what is held takes its place: the question is now about that."""
    assert item.plan is not None
    about = item.plan.get("about")
    before = await arrivals.held_at(around.database, item.room_id, about) if about else None
    question = before.plan["question"] if before and before.plan else await _put_question(around, item)
    async with around.database.transaction() as tx:
        if about and (replaced := await arrivals.held_at(tx, item.room_id, about)):
            await arrivals.finish(tx, replaced)
        await arrivals.hold(tx, item, REASON, around.now() + around.rules.held_for, item.plan | {"question": question})


async def _put_question(around: Surroundings, item: Item) -> EventId:
    seconds = f"{around.rules.held_for / timedelta(seconds=1):g}"
    question = Outgoing(around.say("case.held", seconds=seconds), notice=True, replies_to=item.event_id)
    event = await around.send(item, "held", item.room_id, question)
    for ordinal, key in enumerate((KEEP, SEND)):
        await around.messenger.react(item.room_id, event, key, txn=around.txn(item, "chip", ordinal))
    return event


async def _keep(around: Surroundings, item: Item) -> None:
    """Nobody tapped: it stays inside."""
    assert item.plan is not None
    await resolve(around, item, item.plan["question"], "case.held_kept")
    await around.finish(item)


async def resolve(around: Surroundings, item: Item, question: str, text: str, ordinal: int = 0) -> None:
    """Say in the place of a question what became of what it was about."""
    resolved = Outgoing(around.say(text), notice=True, replaces=EventId(question))
    await around.send(item, "resolved", item.room_id, resolved, ordinal)


async def overtake(tx: Tx, item: Item, first: EventId) -> EventId | None:
    """An edit goes out while an earlier one of the same message is held: that counts no more (part of T1b).

    Returns the question about it, which somebody may still tap.
    """
    held = await arrivals.held_at(tx, item.room_id, first)
    if held is None or held.plan is None:
        return None
    await arrivals.finish(tx, held)
    return EventId(held.plan["question"])


async def plan_tap(tx: Tx, item: Item, message: Message) -> dict[str, Any] | None:
    """Return the plan of a tap on one of the answers, or on the held message itself; None: it is something else.

    From this commit on the time does not count any more. One that comes too late, or on a message of the team that
    nobody was asked about, decides nothing, and is nothing to show the customer either.
    """
    key = message.body.replace("\ufe0f", "")
    if key not in {SEND, KEEP} or message.target is None:
        return None
    held = await arrivals.held_at(tx, item.room_id, message.target)
    if held is None or held.plan is None:
        by_team = await arrivals.get(tx, message.target)  # what stands for the customer's words is our own
        return {"do": "nothing"} if by_team else None
    await arrivals.hold(tx, held, REASON, None, held.plan)
    return {"do": "decide", "held": held.id, "question": held.plan["question"], "sends": key == SEND}


async def decide(around: Surroundings, item: Item) -> None:
    """Do what was tapped: let the message go on, or leave it inside.

    Raises:
        Hold: its author deleted it while it was said that it goes out, which has to be said otherwise.
        Refused: it cannot be said, so that nothing is decided: somebody may tap again, for as long as at first.
    """
    assert item.plan is not None
    gone = item.plan["sends"] and not _waits(await arrivals.get(around.database, item.plan["held"]))
    sends = item.plan["sends"] and not gone
    text = "case.held_sent" if sends else "case.held_kept"
    try:
        await resolve(around, item, item.plan["question"], text, ordinal=int(gone))
    except Refused:
        await _wait_on(around, item)
        raise
    async with around.database.transaction() as tx:
        held = await arrivals.get(tx, item.plan["held"])
        if held and _waits(held):
            released = RELEASED_LATE if held.plan and held.plan.get("late") else RELEASED
            await (arrivals.release(tx, held, released) if sends else arrivals.finish(tx, held))
        elif sends:
            raise Hold("what was tapped is deleted", retry_after_s=0.01)
        await arrivals.finish(tx, item)
    around.bookkeeping.lanes_changed([item.lane])
    around.bookkeeping.room_changed(item.room_id)


async def _wait_on(around: Surroundings, item: Item) -> None:
    """A tap is parked: its time counts again for what it was about, which would else wait for ever."""
    assert item.plan is not None
    async with around.database.transaction() as tx:
        held = await arrivals.get(tx, item.plan["held"])
        if held and held.plan is not None and _waits(held):
            await arrivals.hold(tx, held, REASON, around.now() + around.rules.held_for, held.plan)


def _waits(held: Item | None) -> bool:
    return held is not None and held.reason == REASON and held.state is not ItemState.DONE
