"""What was written in the room of a case, said again: `!verlauf`, and the recap for whoever comes later.

It is read from the room, and nothing of it is stored, not even in a plan.
"""

from dataclasses import dataclass, replace
from typing import Any, Final

from bot.domain import command
from bot.domain.command import Call, Verb
from bot.domain.ids import EventId, RoomId
from bot.domain.message import WITH_FILE, Kind, Message, Outgoing
from bot.flows.orders import Order
from bot.flows.surroundings import Surroundings
from bot.store import links

USUAL: Final = 20
MOST: Final = 50
LONGEST_LINE: Final = 300
PAGES: Final = 10
PAGE: Final = 50
TOLD: Final = WITH_FILE | {Kind.TEXT, Kind.EMOTE, Kind.LOCATION, Kind.POLL}


@dataclass(slots=True)
class _Found:
    """What was read so far, the newest first: messages, and by what they were edited."""

    messages: list[Message]
    edits: dict[EventId, Message]
    unreadable: int = 0


async def history(order: Order) -> None:
    """`!verlauf 20`: the last messages of customer and team."""
    number = order.rest.strip()
    most = min(MOST, int(number)) if number.isdecimal() and len(number) < 6 else USUAL
    item = await order.around.planned(order.item, {"tells": most})
    order = replace(order, item=item)
    await _tell(
        order, await lines_of(order.around, order.item.room_id, most, staff_only=False), order.say("telling.history")
    )
    await order.around.finish(item)


async def recap(order: Order, *, staff_only: bool) -> None:
    """A step of a planned order: say again what colleagues wrote, if they wrote anything."""
    lines = await lines_of(order.around, order.answered_in, MOST, staff_only=staff_only)
    if lines:
        await _tell(order, lines, order.say("telling.recap"))


async def _tell(order: Order, lines: list[str], head: str) -> None:
    text = "\n".join([head, *(lines or [order.say("telling.nothing")])])
    await order.around.send(order.item, "told", order.answered_in, Outgoing(text, notice=True))


async def lines_of(around: Surroundings, room: RoomId, most: int, *, staff_only: bool) -> list[str]:
    """Return the newest messages of a room as lines, the oldest of them first."""
    found = await _read_back(around, room, most, staff_only=staff_only)
    lines = [await _line(around, room, found.edits.get(one.event_id, one), one) for one in found.messages]
    if found.unreadable:
        lines.append(around.say("telling.unreadable", count=str(found.unreadable)))
    return lines[::-1]


async def _read_back(around: Surroundings, room: RoomId, most: int, *, staff_only: bool) -> _Found:
    found, start = _Found([], {}), None
    for _ in range(PAGES):
        page = await around.messenger.page_back(room, start, limit=PAGE)
        for event in page.events:
            if len(found.messages) < most:
                await _take(around, room, event, found, staff_only=staff_only)
        if page.older is None or len(found.messages) >= most:
            break
        start = page.older
    return found


async def _take(around: Surroundings, room: RoomId, event: dict[str, Any], found: _Found, *, staff_only: bool) -> None:
    """Take one event in, if a person wrote it and it is neither deleted nor a command."""
    ours = event.get("sender") == around.rules.me
    if event.get("type") not in {"m.room.encrypted", "m.room.message", "m.sticker"} or not event.get("content"):
        return
    if ours and (staff_only or not await _is_copy(around, event)):
        return
    reading = await around.messenger.read(room, event)
    if not isinstance(reading, Message):
        found.unreadable += 1
    elif reading.kind is Kind.EDIT and reading.target:
        found.edits.setdefault(reading.target, reading)
    elif reading.kind in TOLD and _is_said(reading, ours=ours):
        found.messages.append(reading)


async def _is_copy(around: Surroundings, event: dict[str, Any]) -> bool:
    """Tell whether an event of ours is what a customer wrote, or an edit of that."""
    relation = event["content"].get("m.relates_to")
    edited = (
        relation.get("event_id") if isinstance(relation, dict) and relation.get("rel_type") == "m.replace" else None
    )
    name = EventId(str(edited or event.get("event_id")))
    link = await links.of_event(around.database, name)
    return link is not None and link.target[1] == name


def _is_said(message: Message, *, ours: bool) -> bool:
    called = None if ours else command.parse(message.words)
    return called is None or (isinstance(called, Call) and called.command.verb is Verb.NOTE)


async def _line(around: Surroundings, room: RoomId, now: Message, first: Message) -> str:
    is_customer = first.sender == around.rules.me
    name = around.say("telling.customer") if is_customer else await around.messenger.display_name(room, first.sender)
    sign = "📎 " if now.attachment else ""
    words = " / ".join(part.strip() for part in now.words.splitlines() if part.strip())
    time = first.sent_at.astimezone(around.rules.zone).strftime("%d.%m. %H:%M")
    return f"{time} {name}: {sign}{words}"[:LONGEST_LINE]
