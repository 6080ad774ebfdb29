"""A gap: events that a sync left out. Its lane fills it before anything newer, while other lanes go on."""

from typing import Any

from bot.domain.arrival import Item
from bot.domain.errors import Refused
from bot.domain.ids import EventId, RoomId, UserId
from bot.flows.intake import is_dropped, messages_of, sent_at
from bot.flows.surroundings import Surroundings
from bot.store import arrivals, blocks

PAGE = 100
GOES_ROUND = "goes_round"


async def fill(around: Surroundings, item: Item) -> None:
    """Read back to the last event we have, or to our own invitation, and put everything in its place at once."""
    events = await read_back(around, item.room_id, item.body["from"], item.body["until"])
    async with around.database.transaction() as tx:
        blocked = await blocks.blocked(tx, item.arrived_at)
        found = [
            (EventId(event["event_id"]), item.lane, UserId(event["sender"]), sent_at(event, around.now()), event)
            for event in messages_of(tuple(events), around)
            if not is_dropped(event, blocked)
        ]
        await arrivals.fill_gap(tx, item, found, around.now())
        await arrivals.finish(tx, item)


async def read_back(around: Surroundings, room: RoomId, start: str | None, until: str | None) -> list[dict[str, Any]]:
    """Return events from `start` (a pagination token; None: from now) back to `until`, or to our own invitation.

    Raises:
        Refused: the server leads back to where we have been; it would go on for ever.
    """
    events: list[dict[str, Any]] = []
    been = {start}
    while True:
        page = await around.messenger.page_back(room, start, limit=PAGE)
        for event in page.events:
            if event.get("event_id") == until or (until is None and _is_our_beginning(event, around.rules.me)):
                return events
            events.append(event)
        if page.older is None:
            return events
        start = page.older
        if start in been:
            raise Refused("the server gives the same page of the past again and again", code=GOES_ROUND)
        been.add(start)


def _is_our_beginning(event: dict[str, Any], me: UserId) -> bool:
    """Tell whether this is the event that brought us into the room: what came before was not meant for us.

    Somebody who waits for us to come in may invite us once more, and has written in between.
    """
    is_ours = event.get("type") == "m.room.member" and event.get("state_key") == me
    now, before = _inside(event, "content"), _inside(_inside(event, "unsigned"), "prev_content")
    return is_ours and now.get("membership") == "invite" and before.get("membership") != "invite"


def _inside(value: dict[str, Any], name: str) -> dict[str, Any]:
    found = value.get(name)
    return found if isinstance(found, dict) else {}
