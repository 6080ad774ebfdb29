"""Members as they are now, where a sync shows them as they were.

People join while we write, so the history of a room forks, and Synapse (1.163.2) then puts into `state` who was there
on the other branch: an invitation after the join that we have long seen, even with a complete timeline. Taken at its
word, a colleague who is in the room would never be given its history, and who has left would be given keys. What stands
in `state` of a room that we know is therefore only a hint to ask.
"""

from collections.abc import Iterator
from typing import Any

import structlog

from bot.domain.errors import Refused
from bot.matrix.transport import Transport, quote

log = structlog.get_logger()
Json = dict[str, Any]

MEMBER = "m.room.member"


async def bring_up_to_date(transport: Transport, response: Json) -> None:
    """Put the present members into a sync response, for those whom it names outside of a timeline.

    Raises:
        Transient: the server did not answer; the sync must be done again.
    """
    for room, state in _hints(response):
        try:
            answer = await transport.call("GET", f"/_matrix/client/v3/rooms/{quote(room)}/members")
        except Refused as error:
            log.info("members_not_told", code=error.code, status=error.status)
            continue
        chunk = answer.get("chunk")
        now = {event["state_key"]: event for event in chunk if _is_member(event)} if isinstance(chunk, list) else {}
        state[:] = [now.get(event["state_key"], event) if _is_member(event) else event for event in state]


def _hints(response: Json) -> Iterator[tuple[str, list[Any]]]:
    """Return the rooms that we were in before and whose `state` names members. A new room shows its creation."""
    for room, part in _mapping(_mapping(response.get("rooms")).get("join")).items():
        events, timeline = (_mapping(_mapping(part).get(name)).get("events") for name in ("state", "timeline"))
        if not isinstance(events, list) or not any(map(_is_member, events)):
            continue
        everything = [*events, *(timeline if isinstance(timeline, list) else ())]
        if not any(_mapping(event).get("type") == "m.room.create" for event in everything):
            yield room, events


def _is_member(event: Any) -> bool:
    return _mapping(event).get("type") == MEMBER and isinstance(event.get("state_key"), str)


def _mapping(value: Any) -> Json:
    return value if isinstance(value, dict) else {}
