"""What staff write in a case room goes to the customer, unless it is a command, a note, or nothing to send.

Whatever begins with `!`, or with a dot and a space, never leaves the house; that is decided first.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from bot.domain import command
from bot.domain.arrival import Item, ItemState
from bot.domain.case import Case, CaseState, Turn
from bot.domain.command import Call, Unknown, Verb
from bot.domain.errors import Mistake, Refused
from bot.domain.ids import EventId, Lane, RoomId, UserId
from bot.domain.message import Kind, Message, Outgoing
from bot.domain.room import Room
from bot.flows import commands, copying, following, holding, states, strangers
from bot.flows.copying import CARRIED, FileNotCarried
from bot.flows.orders import Order
from bot.flows.reaching import reachable_room, still_reachable
from bot.flows.relay import SILENT
from bot.flows.surroundings import Surroundings
from bot.store import arrivals, cases, links
from bot.store.database import Tx

KEEPS_STATE = frozenset({Kind.NOTICE, Kind.EDIT, Kind.POLL_END})
"""Kinds that do not by themselves answer the customer."""
AT_ONCE: Final = timedelta(minutes=1)
"""Two answers within this time were hardly meant to be two."""


async def answer(around: Surroundings, item: Item, room: Room, message: Message) -> None:
    """Handle one message that was written in a case room."""
    assert room.case_number is not None, "a case room names its case"
    case = await cases.get(around.database, room.case_number)
    if item.sender not in around.rules.staff and not await _was_done(around, item):
        raise Mistake("case.not_staff")
    is_tap = message.kind is Kind.REACTION and message.target is not None and message.target == case.card_event
    if is_tap and (row := command.tapped(message.body)):
        await commands.obey(Order(around, item, room, case, "", message, tapped=True), row)
        return
    is_more = await copying.is_more_of_a_share(around.database, message)
    if is_more or message.kind in {Kind.DELETION, Kind.REACTION} | SILENT:
        await _follow(around, item, case, message)
        return
    called = command.parse(message.words)
    if called is None:
        if not await holding.stays_inside(around, item, case, message):
            await _send_on(around, item, case, message)
    elif message.kind is Kind.EDIT:
        await _edited_into_command(around, item, room, case, message, called)
    else:
        await commands.run(around, item, room, case, called, message)


async def _was_done(around: Surroundings, item: Item) -> bool:
    """Tell whether it was heard before a restore, or ahead of its turn; who wrote it may have left the team since."""
    was_ahead = item.plan is not None and item.plan.get("ahead", False)
    return bool(was_ahead or await around.was_sent(item, "relay") or await around.was_sent(item, "reply"))


async def _follow(around: Surroundings, item: Item, case: Case, message: Message) -> None:
    """Reactions and deletions follow their message, if that went out; else they stay inside."""
    if item.plan is None:
        reachable = await _reachable(around, case)
        async with around.database.transaction() as tx:
            plan: dict[str, Any] | None = {"do": "nothing"}
            if message.kind is Kind.DELETION:
                plan = await following.plan_deletion(tx, item, message.target)
            elif message.kind is Kind.REACTION:
                tap = await holding.plan_tap(tx, item, message)
                plan = tap or await following.plan_reaction(tx, item, message)
                plan = plan if plan and plan.get("place", [reachable])[0] == reachable else None
            item = await around.plan(tx, item, plan or {"do": "nothing"})
    assert item.plan is not None
    match item.plan["do"]:
        case "decide":
            await holding.decide(around, item)
        case "react":
            await following.react(around, item)
        case "delete":
            try:
                await following.delete(around, item)
            except Refused as error:
                raise Mistake("case.not_deleted") from error
        case _:
            await around.finish(item)


async def _edited_into_command(
    around: Surroundings, item: Item, room: Room, case: Case, message: Message, called: Call | Unknown
) -> None:
    """An answer was edited into a note: its copy disappears from the customer's room, and what waits never goes there.

    A command that it was edited into does not run, which is said. What had not gone out is what it says now.
    """
    if item.plan is None:
        begun = await following.under_way(around, item, message.target)
        halves = [half for other in begun for half in await following.halves(around, other)]
        async with around.database.transaction() as tx:
            plan = await following.plan_deletion(tx, item, message.target)
            copies = [*plan.get("copies", []), *halves]
            if copies or begun:
                item = await around.plan(tx, item, plan | {"do": "withdraw", "copies": copies})
                for other in begun:
                    await arrivals.finish(tx, other)
    if item.plan is None or item.plan.get("do") != "withdraw":
        await commands.run(around, item, room, case, called, message)
        return
    for ordinal, (copy_room, event) in enumerate(item.plan["copies"]):
        await around.messenger.redact(RoomId(copy_room), EventId(event), txn=around.txn(item, "redact", ordinal))
    text = around.say("case.note_withdrawn" if item.plan["copies"] else "case.note_kept")
    if not (isinstance(called, Call) and called.command.verb is Verb.NOTE):
        text += "\n" + around.say("command.not_run")
    await around.send(item, "reply", item.room_id, Outgoing(text, notice=True))
    async with around.database.transaction() as tx:
        await links.forget(tx, [EventId(item.plan["target"])])
        await arrivals.finish(tx, item)
    around.bookkeeping.room_changed(item.room_id)


async def _send_on(around: Surroundings, item: Item, case: Case, message: Message) -> None:
    if item.plan is not None and item.plan.get("do") != "nothing":
        await still_reachable(around, item, case)
    if item.plan is None:
        _check_carried(around, message)
        before = await around.was_sent(item, "relay")
        if case.merged_into and not before:
            raise Mistake("joining.write_there", number=str(case.merged_into))
        room = before[0] if before else await reachable_room(around, case)
        async with around.database.transaction() as tx:
            plan = await _decided(tx, item, case, room, message)
            if message.kind not in KEEPS_STATE:
                since, staff = item.arrived_at - AT_ONCE, around.rules.staff
                plan["besides"] = await arrivals.answered_besides(tx, item, since, staff)
            item = await around.plan(tx, item, plan)
    assert item.plan is not None
    if item.plan.get("do") == "nothing":
        await around.finish(item)
        return
    room = RoomId(item.plan["room"])
    copy, mxcs = await _copy(around, item, room, message)
    if item.plan["reopens"]:
        notice = Outgoing(around.say("case.reopened_by_staff"), notice=True)
        await around.send(item, "reopened", item.room_id, notice)
    await _tell_second(around, item)
    if item.plan.get("overtakes"):
        await holding.resolve(around, item, item.plan["overtakes"], "case.held_sent")
    lanes: Sequence[Lane] = ()
    async with around.database.transaction() as tx:
        await copying.record(tx, item, case.number, (room, copy), message, mxcs)
        if item.plan["reopens"] or message.kind not in KEEPS_STATE:
            lanes = await states.turn(tx, around, case.number, Turn.STAFF_ANSWERED)
        await cases.touch(tx, case.number, around.now())
        await strangers.note_answered(tx, around, case.customer_id)
        await arrivals.finish(tx, item)
    around.answered.add(case.customer_id)
    around.bookkeeping.lanes_changed(lanes)
    around.bookkeeping.room_changed(item.room_id)
    around.bookkeeping.case_changed(case.number)


async def _tell_second(around: Surroundings, item: Item) -> None:
    """Two of the team have answered at the same time: who came second hears of it, at their message."""
    assert item.plan is not None
    if item.plan.get("besides"):
        name = await around.messenger.display_name(item.room_id, UserId(item.plan["besides"]))
        notice = Outgoing(around.say("case.answered_besides", name=name), notice=True, replies_to=item.event_id)
        await around.send(item, "besides", item.room_id, notice)


async def _decided(tx: Tx, item: Item, case: Case, room: RoomId, message: Message) -> dict[str, Any]:
    """T1b: the room, and what the copy replaces or quotes there.

    Raises:
        Mistake: an edit of something that the customer never got, or that somebody else wrote; the end of a poll that
            the customer has not got yet.
    """
    late = item.reason in {"no_key", holding.RELEASED_LATE}
    plan: dict[str, Any] = {"room": room, "reopens": case.state is CaseState.CLOSED, "late": late}
    about = message.target or message.replies_to
    if about is None:
        return plan
    first = await links.original(tx, about)
    counterpart = await links.counterpart(tx, first, room)
    before = await arrivals.get(tx, first)
    is_inside = message.kind is Kind.POLL_END and await links.of_event(tx, first) is None
    if is_inside and before and before.state is ItemState.DONE:
        return {"do": "nothing"}  # colleagues asked each other, and what they answered is theirs as well
    if message.kind is not Kind.EDIT and not is_inside:
        return plan | {"quotes": counterpart}
    if before and before.reason == arrivals.DELETED:
        return {"do": "nothing"}
    is_theirs = before is not None and before.is_from(item.sender)
    if is_theirs and counterpart is None and await links.of_event(tx, first):
        raise Mistake("case.edit_elsewhere")
    is_under_way = before is not None and before.state is not ItemState.DONE
    if is_inside or not is_theirs or (counterpart is None and not is_under_way and item.reason not in holding.LET_GO):
        raise Mistake("case.edit_of_internal")
    return plan | {"replaces": counterpart, "about": first, "overtakes": await holding.overtake(tx, item, first)}


async def _copy(around: Surroundings, item: Item, room: RoomId, message: Message) -> tuple[EventId, tuple[str, ...]]:
    assert item.plan is not None
    text = None
    if message.kind is Kind.POLL_END:
        text = await copying.poll_result(around, item, room, message)
        if text is None:
            raise Mistake("case.unsupported_from_staff", kind=around.say("kind.poll"))
    replaces, quotes = item.plan.get("replaces"), item.plan.get("quotes")
    try:
        return await copying.copy(
            around,
            item,
            room,
            message,
            text=text,
            mark=await copying.late_mark(around, item, room, message),
            replaces=EventId(replaces) if replaces else None,
            replies_to=EventId(quotes) if quotes else None,
        )
    except FileNotCarried as error:
        raise Mistake("case.file_not_sent") from error


def _check_carried(around: Surroundings, message: Message) -> None:
    if message.kind not in CARRIED:
        raise Mistake("case.unsupported_from_staff", kind=around.say(f"kind.{message.kind.value}"))
    if message.oversized:
        raise Mistake("case.too_large_from_staff")


async def _reachable(around: Surroundings, case: Case) -> RoomId | None:
    try:
        return await reachable_room(around, case)
    except Mistake:
        return None
