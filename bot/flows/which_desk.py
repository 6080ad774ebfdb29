"""A new customer is asked once for whom their message is, if the admin wants it. Nothing waits for the answer.

The case is open at the usual desk by then. A number, or a vote, moves it if nobody has begun; other words are words,
and so is a number once somebody of ours has written: it may answer them.
"""

from datetime import timedelta
from typing import Any, Final

from bot.domain.arrival import Item, ItemState
from bot.domain.case import Case
from bot.domain.ids import CaseNumber, CustomerId, DeskId, EventId, RoomId, derived_item_id
from bot.domain.message import Kind, Message, Outgoing
from bot.domain.poll import Poll
from bot.flows import cards, handing
from bot.flows.orders import Order
from bot.flows.surroundings import Surroundings, speaking_at
from bot.flows.worker import Hold
from bot.store import arrivals, cases, desk_questions, rooms
from bot.store.database import Tx
from bot.store.desk_questions import DeskQuestion

PATIENCE: Final = timedelta(seconds=30)
"""So long an answer waits for the case to be announced."""


async def planned(tx: Tx, around: Surroundings, item: Item, case: Case) -> dict[str, Any]:
    """Return what belongs into the plan of a message that opens a case about which nothing tells whose it is."""
    desks = tuple(desk.id for desk in around.rules.desks)
    if around.rules.ask_for_desk == "no" or len(desks) < 2:
        return {}
    if not await around.may_answer(tx, item, case.customer_id, "which_desk"):
        return {}
    await desk_questions.add(tx, case.number, case.desk, desks)
    return {"asks_desk": desks, "asks_by": around.rules.ask_for_desk}


async def ask(around: Surroundings, item: Item) -> EventId | None:
    """Ask what is planned, as a step of the message that opened the case; return the poll, if it is one."""
    assert item.plan is not None
    if not item.plan.get("asks_desk"):
        return None
    names = [around.rules.desk(DeskId(desk)).name for desk in item.plan["asks_desk"]]
    lines = [f"{number} · {name}" for number, name in enumerate(names, 1)]
    if item.plan["asks_by"] == "poll":
        answers = tuple((str(number), line) for number, line in enumerate(lines, 1))
        question = await around.say_in(item.room_id, "customer.which_desk_poll")
        poll = Outgoing(question, poll=Poll(question, answers))
        return await around.send(item, "which_desk", item.room_id, poll)
    text = await around.say_in(item.room_id, "customer.which_desk", desks="\n".join(lines))
    await around.send(item, "which_desk", item.room_id, Outgoing(text))
    return None


async def answered(
    tx: Tx, around: Surroundings, item: Item, customer: CustomerId, message: Message
) -> dict[str, Any] | None:
    """T1b: return what is done with an answer; None: it is none. Only who was asked answers.

    Raises:
        Hold: what follows the opening of the case is not done, and would write over what the move writes.
    """
    if not _may_answer(message):
        return None
    asked = await desk_questions.open_of(tx, customer)
    chosen = _chosen(asked, message) if asked else None
    if asked is None or chosen not in {desk.id for desk in around.rules.desks}:
        return await _answered_before(tx, around, item)
    if item.sender != await rooms.user_of(tx, customer):
        return None
    case = await cases.get(tx, asked.case)
    if case.room_id is None or (message.kind is Kind.TEXT and case.touched_at is not None):
        return await _answered_before(tx, around, item)  # nobody was asked yet, or staff have written since
    opened = await arrivals.get(tx, derived_item_id(around.key, "opened", str(asked.case)))
    if opened and opened.state is ItemState.NEW and around.now() - item.arrived_at < PATIENCE:
        raise Hold("the case is still being announced", retry_after_s=0.5)
    await desk_questions.close(tx, asked.case)
    is_untouched = case.desk == asked.desk and case.touched_at is None and around.rules.holder(case) is None
    moves = is_untouched and case.desk != chosen
    return await _plan(around, case, chosen, moves=moves) | {"poll": asked.poll}


def _may_answer(message: Message) -> bool:
    """Tell it from most of what is written, without a look into any table."""
    return message.kind is Kind.POLL_VOTE or (message.kind is Kind.TEXT and bool(_number(message.body)))


def _number(text: str) -> int:
    """Return the number that a text is, else 0."""
    said = text.strip().rstrip(".)").strip()
    return int(said) if said.isdecimal() and len(said) < 4 else 0


def _chosen(asked: DeskQuestion, message: Message) -> DeskId | None:
    is_vote = message.kind is Kind.POLL_VOTE
    said = message.body if not is_vote else message.vote[0] if len(message.vote) == 1 else ""
    number = _number(said) if not is_vote or message.target == asked.poll else 0
    return asked.desks[number - 1] if 1 <= number <= len(asked.desks) else None


async def _answered_before(tx: Tx, around: Surroundings, item: Item) -> dict[str, Any] | None:
    """Return what was done with it before a restore, which forgot that there was a question."""
    said, card = await around.was_sent(item, "reply", tx), await around.was_sent(item, "inbox_card", tx)
    room, inbox = [await rooms.find(tx, place[0]) if place else None for place in (said, card)]
    if room is None or room.case_number is None:
        return None
    case = await cases.get(tx, room.case_number)
    desk = inbox.desk if inbox and inbox.desk else case.desk
    return await _plan(around, case, desk, moves=inbox is not None)


async def _plan(around: Surroundings, case: Case, desk: DeskId, *, moves: bool) -> dict[str, Any]:
    old = {"inbox": await cards.inbox_of(around, case), "card": case.inbox_event}
    return {"do": "to_desk", "case": case.number, "desk": desk, "moves": moves, "holder": case.holder, "old": old}


async def take(around: Surroundings, item: Item) -> None:
    """Thank the customer, and tell staff what they chose; then the case moves, if it does."""
    assert item.plan is not None
    case = await cases.get(around.database, CaseNumber(item.plan["case"]))
    assert case.room_id is not None
    name = around.rules.desk(DeskId(item.plan["desk"])).name
    thanks = await around.say_in(item.room_id, "customer.desk_noted", desk=name)
    await around.send(item, "thanks", item.room_id, Outgoing(thanks, notice=True))
    if item.plan.get("poll"):
        await around.send(item, "poll_end", item.room_id, Outgoing(thanks, ends=EventId(item.plan["poll"])))
    stays = DeskId(item.plan["desk"]) if item.plan["moves"] else case.desk  # who reads on
    told = around.say_at(stays, "case.desk_chosen", desk=name)
    if item.plan["moves"]:
        with speaking_at(stays):
            await _move(around, item, case, f"{told}\n{around.say('handing.to_desk', desk=name)}")
        return
    await around.send(item, "reply", case.room_id, Outgoing(told, notice=True))
    await around.finish(item)


async def _move(around: Surroundings, item: Item, case: Case, told: str) -> None:
    room = await rooms.find(around.database, RoomId(case.room_id or ""))
    assert room is not None, "the room of a case is recorded with it"
    message = Message(item.event_id, item.room_id, item.sender, item.sent_at, Kind.TEXT)
    await handing.carry_over(Order(around, item, room, case, "", message, tapped=True), told)
