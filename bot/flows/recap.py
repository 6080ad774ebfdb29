"""What staff wrote in a room, for those who cannot read it: a newcomer has no keys of what colleagues wrote before."""

from typing import Any, Final

from bot.domain import command
from bot.domain.command import Call, Verb
from bot.domain.errors import Refused
from bot.domain.ids import RoomId
from bot.domain.message import WITH_FILE, Kind, Message
from bot.flows.intake import is_for_us
from bot.flows.surroundings import Surroundings

MOST: Final = 20
"""So many of the newest messages are said again,"""
PAGES: Final = 5
"""looked for in so many pages"""
PAGE: Final = 100
"""of so many events."""
LONGEST: Final = 500
"""Characters of one message; a recap has to fit into one event."""
WORDY: Final = frozenset({Kind.TEXT, Kind.EMOTE, Kind.EDIT, Kind.LOCATION, Kind.POLL}) | WITH_FILE


async def of_room(around: Surroundings, room: RoomId, most: int = MOST) -> str:
    """Return the newest messages of staff in a room, oldest first, with name and time; empty if there are none.

    Raises:
        Transient: the server does not answer.
    """
    lines: list[str] = []
    start: str | None = None
    for _ in range(PAGES):
        try:
            page = await around.messenger.page_back(room, start, limit=PAGE)
        except Refused:
            break
        for event in page.events:
            line = await _line(around, room, event) if is_for_us(event, around) else ""
            lines += [line] if line else []
        start = page.older
        if start is None or len(lines) >= most:
            break
    return "\n".join([around.say("case.recap"), *reversed(lines[:most])]) if lines else ""


async def _line(around: Surroundings, room: RoomId, event: dict[str, Any]) -> str:
    reading = await around.messenger.read(room, event)
    if not isinstance(reading, Message) or reading.kind not in WORDY:
        return ""
    called = command.parse(reading.words)
    is_note = isinstance(called, Call) and called.command.verb is Verb.NOTE
    if called is not None and not is_note:
        return ""
    name = await around.messenger.display_name(room, reading.sender)
    time = reading.sent_at.astimezone(around.rules.zone).strftime("%d.%m. %H:%M")
    said = reading.words if len(reading.words) <= LONGEST else reading.words[:LONGEST] + "…"
    sign = "✏️ " if reading.kind is Kind.EDIT else ""
    return around.say("case.recap_line", name=name, time=time, said=sign + said)
