"""What staff write in a case room goes to the customer, unless it is a command, a note, or nothing to send.

Whatever begins with `!`, or with a dot and a space, never leaves the house; that is decided first.
"""

from bot.domain import command
from bot.domain.arrival import Item
from bot.domain.case import Case, CaseState
from bot.domain.errors import Mistake
from bot.domain.ids import EventId, RoomId
from bot.domain.message import Kind, Message, Outgoing
from bot.domain.room import Room
from bot.flows import commands
from bot.flows.relay import CARRIED
from bot.flows.surroundings import Surroundings
from bot.store import arrivals, cases, links, rooms


async def answer(around: Surroundings, item: Item, room: Room, message: Message) -> None:
    """Handle one message that was written in a case room."""
    assert room.case_number is not None, "a case room names its case"
    case = await cases.get(around.database, room.case_number)
    if item.sender not in around.rules.staff:
        raise Mistake("case.not_staff")
    if message.kind in {Kind.REACTION, Kind.NOTICE}:
        await _finish(around, item, case, None, keep_state=True)
        return
    called = command.parse(message.body) if message.kind is not Kind.DELETION else None
    if called is None:
        await _send_on(around, item, case, message)
    elif message.kind is Kind.EDIT:
        await _withdraw(around, item, case, message)
    else:
        await commands.run(around, item, room, case, called)


async def _withdraw(around: Surroundings, item: Item, case: Case, message: Message) -> None:
    """An answer was edited into a note: its copy disappears from the customer's room."""
    copy = await links.copy_in_customer_room(around.database, message.target) if message.target else None
    item = await around.planned(item, {"copy": copy})
    if copy:
        await around.messenger.redact(*copy, txn=around.txn(item, "redact"))
    text = around.say("case.note_withdrawn" if copy else "case.note_kept")
    await around.send(item, "reply", item.room_id, Outgoing(text, notice=True))
    await _finish(around, item, case, None, keep_state=True)


async def _send_on(around: Surroundings, item: Item, case: Case, message: Message) -> None:
    if item.plan is None:
        room = await _reachable_room(around, case)
        _check_carried(around, message)
        item = await around.planned(item, {"room": room, "reopens": case.state is CaseState.CLOSED})
    assert item.plan is not None
    copy = await _copy(around, item, RoomId(item.plan["room"]), message)
    if item.plan["reopens"]:
        notice = Outgoing(around.say("case.reopened_by_staff"), notice=True)
        await around.send(item, "reopened", item.room_id, notice)
    await _finish(around, item, case, copy, keep_state=message.kind is Kind.DELETION)


def _check_carried(around: Surroundings, message: Message) -> None:
    if message.kind not in CARRIED:
        raise Mistake("case.unsupported_from_staff", kind=around.say(f"kind.{message.kind.value}"))
    if message.oversized:
        raise Mistake("case.too_large_from_staff")


async def _reachable_room(around: Surroundings, case: Case) -> RoomId:
    """Return the customer's room if what we send there reaches the customer and nobody else.

    Raises:
        Mistake: it does not; staff are told at their message.
    """
    room_id = await rooms.customer_room(around.database, case.customer_id)
    room = await rooms.find(around.database, room_id) if room_id else None
    person = await rooms.user_of(around.database, case.customer_id)
    if room is None or room.membership != "join" or person not in room.present():
        raise Mistake("case.customer_gone")
    if not room.is_usable_by(person):
        raise Mistake("case.third_person")
    return room.room_id


async def _copy(around: Surroundings, item: Item, room: RoomId, message: Message) -> tuple[RoomId, EventId] | None:
    target = await links.copy_of(around.database, message.target, room) if message.target else None
    if message.kind is Kind.EDIT and target is None:
        raise Mistake("case.edit_of_internal")
    if message.kind is Kind.DELETION:
        if target:
            await around.messenger.redact(room, target, txn=around.txn(item, "redact"))
        return None
    text, html = message.body, message.html
    if message.kind is Kind.EMOTE:
        text, html = f"* {text}", f"* {html}" if html else None
    return room, await around.send(item, "relay", room, Outgoing(text, html=html, replaces=target))


async def _finish(
    around: Surroundings, item: Item, case: Case, copy: tuple[RoomId, EventId] | None, *, keep_state: bool
) -> None:
    """T2: all effects of the item in one commit."""
    async with around.database.transaction() as tx:
        if copy:
            await links.link(tx, case.number, (item.room_id, item.event_id), copy)
        if not keep_state:
            await cases.set_state(tx, case.number, CaseState.ANSWERED, around.now())
        await arrivals.finish(tx, item)
    around.bookkeeping.room_changed(item.room_id)
    around.bookkeeping.case_changed(case.number)
