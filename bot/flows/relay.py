"""A customer's message goes into their case room; the first one opens a case.

1. decide where it goes and commit that (T1b)  2. open the case if need be  3. relay  4. commit its effects (T2)
"""

from typing import Any

from bot.domain.arrival import Item
from bot.domain.case import Case, CaseState, Continue, Leave, Open, place
from bot.domain.errors import Mistake
from bot.domain.ids import CaseNumber, CustomerId, EventId, RoomId
from bot.domain.message import Kind, Message, Outgoing
from bot.domain.room import Room
from bot.flows import opening
from bot.flows.intake import customer_of
from bot.flows.surroundings import Surroundings
from bot.store import arrivals, cases, links, rooms

AUTOMATIC = frozenset({Kind.NOTICE, Kind.REACTION, Kind.DELETION})
"""Kinds that never get an automatic answer."""

CARRIED = frozenset({Kind.TEXT, Kind.NOTICE, Kind.EMOTE, Kind.EDIT, Kind.REACTION, Kind.DELETION})
"""Kinds whose content arrives on the other side; of others only a line that says what it was."""


async def relay(around: Surroundings, item: Item, room: Room, message: Message) -> None:
    """Handle one message that was written in a customer room."""
    customer = customer_of(room)
    if item.sender != await rooms.user_of(around.database, customer):
        raise Mistake("case.third_person")
    item = await _planned(around, item, customer, message)
    assert item.plan is not None
    if item.plan["do"] == "leave":
        await _finish(around, item, None, None)
        return
    number = CaseNumber(item.plan["case"])
    inbox_event: EventId | None = None
    if item.plan["do"] == "open":
        case, inbox_event = await opening.open_case(around, item, number)
    else:
        case = await cases.get(around.database, number)
    copy = await _copy(around, item, case, message)
    await _answer_automatically(around, item, message)
    if inbox_event:
        await opening.announce(around, item, case, inbox_event)
    if item.plan.get("reopens"):
        assert case.room_id is not None
        notice = Outgoing(around.say("case.reopened_by_customer"), notice=True)
        await around.send(item, "reopened", case.room_id, notice)
    await _finish(around, item, case, copy, silent=message.kind in AUTOMATIC)


async def _planned(around: Surroundings, item: Item, customer: CustomerId, message: Message) -> Item:
    """T1b: the case (a new one gets its number and alias here) and whether we answer automatically."""
    if item.plan is not None:
        return item
    async with around.database.transaction() as tx:
        latest = await cases.latest_of(tx, customer)
        plan: dict[str, Any] = {"answers": False, "late": item.reason == "no_key"}
        match place(latest, message.kind, item.arrived_at, around.rules.reopen_window):
            case Leave():
                plan |= {"do": "leave"}
            case Continue(number, reopens):
                plan |= {"do": "continue", "case": number, "reopens": reopens}
            case Open(previous):
                desk = around.rules.desks[0].id
                first = around.rules.first_case_number
                number = await cases.plan_new(tx, customer, desk, previous=previous, now=item.arrived_at, first=first)
                plan |= {"do": "open", "case": number}
        if message.kind not in AUTOMATIC and _automatic_text(around, message):
            plan["answers"] = await around.may_answer(tx, item, customer, "automatic")
        return await around.plan(tx, item, plan)


async def _copy(around: Surroundings, item: Item, case: Case, message: Message) -> tuple[RoomId, EventId] | None:
    """Put the message into the case room; returns where its copy stands."""
    assert case.room_id is not None, "a case that goes on has a room"
    target = await links.copy_of(around.database, message.target, case.room_id) if message.target else None
    if message.kind is Kind.DELETION:
        await _delete_copy(around, item, case.room_id, target)
        return None
    outgoing = _outgoing(around, item, message, target)
    return case.room_id, await around.send(item, "relay", case.room_id, outgoing)


async def _delete_copy(around: Surroundings, item: Item, room: RoomId, target: EventId | None) -> None:
    """The author deleted it: so do we. What never arrived needs no deleting."""
    if target is None:
        return
    await around.messenger.redact(room, target, txn=around.txn(item, "redact"))
    await around.send(item, "relay", room, Outgoing(around.say("case.deleted"), notice=True))


def _outgoing(around: Surroundings, item: Item, message: Message, target: EventId | None) -> Outgoing:
    late = bool(item.plan and item.plan["late"])
    if message.kind not in CARRIED:
        kind = around.say(f"kind.{message.kind.value}")
        return Outgoing(around.say("case.unsupported_from_customer", kind=kind))
    if message.oversized:
        return Outgoing(around.say("case.too_large_from_customer"))
    if message.kind is Kind.REACTION:
        return Outgoing(around.say("case.reaction", key=message.body), notice=True)
    if message.kind is Kind.EDIT and target is None:
        return Outgoing(around.say("case.edited", text=message.body))
    text, html = message.body, message.html
    if message.kind is Kind.EMOTE:
        text, html = f"* {text}", f"* {html}" if html else None
    if late:
        written = message.sent_at.astimezone().strftime("%d.%m.%Y %H:%M")
        mark = around.say("case.late", time=written)
        text, html = f"{mark}\n{text}", f"{mark}<br>{html}" if html else None
    return Outgoing(text, html=html, notice=message.kind is Kind.NOTICE, replaces=target)


def _automatic_text(around: Surroundings, message: Message) -> str:
    """Return the sentence a customer gets when we could not carry what they sent."""
    if message.kind not in CARRIED:
        return around.say("customer.unsupported", kind=around.say(f"kind.{message.kind.value}"))
    return around.say("customer.too_large") if message.oversized else ""


async def _answer_automatically(around: Surroundings, item: Item, message: Message) -> None:
    if item.plan and item.plan["answers"]:
        await around.send(item, "automatic", item.room_id, Outgoing(_automatic_text(around, message), notice=True))


async def _finish(
    around: Surroundings,
    item: Item,
    case: Case | None,
    copy: tuple[RoomId, EventId] | None,
    *,
    silent: bool = False,
) -> None:
    """T2: all effects of the item in one commit."""
    async with around.database.transaction() as tx:
        if case and copy:
            await links.link(tx, case.number, (item.room_id, item.event_id), copy)
        if case and (case.state is CaseState.OPENING or not silent):
            await cases.set_state(tx, case.number, CaseState.OWED, around.now())
        await arrivals.finish(tx, item)
    around.bookkeeping.room_changed(item.room_id)
    if case:
        around.bookkeeping.case_changed(case.number)
