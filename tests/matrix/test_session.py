"""A sync response becomes a batch whatever is in it, and trouble with the server is waited out."""

import asyncio
from collections.abc import Awaitable, Iterator
from itertools import chain, repeat
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from bot.domain.errors import Refused
from bot.domain.ids import UserId
from bot.matrix.members import bring_up_to_date
from bot.matrix.session import Listeners, _breathe, _names, parse
from bot.matrix.transport import Transport

ME = UserId("@bot:x")
json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
part = st.dictionaries(st.sampled_from(["timeline", "state", "invite_state", "ephemeral"]), json, max_size=3) | json
rooms = st.dictionaries(st.sampled_from(["join", "invite", "leave"]), st.dictionaries(st.just("!r"), part) | json)


@given(rooms | json)
def test_parsing_is_total(found: Any) -> None:
    assert parse({"next_batch": "s1", "rooms": found}, ME).token == "s1"


@given(st.none() | json | st.fixed_dictionaries({"changed": json, "left": json}))
def test_device_lists_of_any_kind_are_lists_of_names(found: Any) -> None:
    assert all(isinstance(user, str) for user in _names({"device_lists": found}, "changed"))
    assert _names({"device_lists": {"left": ["@a:x", 5]}}, "left") == ["@a:x"]


def test_state_in_the_timeline_counts_as_state_and_stays_in_order() -> None:
    member = {"type": "m.room.member", "state_key": "@a:x", "event_id": "$2", "content": {}}
    text = {"type": "m.room.message", "event_id": "$3", "content": {}}
    create = {"type": "m.room.create", "state_key": "", "event_id": "$1", "content": {}}
    timeline = {"events": [member, text], "limited": True, "prev_batch": "p"}
    batch = parse(
        {"next_batch": "s", "rooms": {"join": {"!r": {"state": {"events": [create]}, "timeline": timeline}}}}, ME
    )
    update = batch.rooms[0]
    assert [event["event_id"] for event in update.state] == ["$1", "$2"]
    assert [event["event_id"] for event in update.timeline] == ["$2", "$3"]
    assert (update.limited, update.prev_batch) == (True, "p")


def member(user: str, membership: str, event: str) -> dict[str, Any]:
    content = {"membership": membership}
    return {"type": "m.room.member", "state_key": user, "event_id": event, "content": content}


class Members:
    """A server that is asked for members only."""

    def __init__(self, *members: dict[str, Any]) -> None:
        self.chunk = list(members)
        self.asked: list[str] = []

    async def call(self, method: str, path: str) -> dict[str, Any]:
        self.asked.append(path)
        if not self.chunk:
            raise Refused("not in this room", code="M_FORBIDDEN", status=403)
        return {"chunk": self.chunk}


async def with_members(server: Members, state: list[Any], timeline: list[Any]) -> list[str]:
    """Return the ids of the state that is taken from a sync."""
    part = {"state": {"events": state}, "timeline": {"events": timeline}}
    response = {"next_batch": "s", "rooms": {"join": {"!r": part}}}
    await bring_up_to_date(cast(Transport, server), response)
    return [event["event_id"] for event in parse(response, ME).rooms[0].state]


INVITED, JOINED = member("@jan:x", "invite", "$1"), member("@jan:x", "join", "$2")
CREATED = {"type": "m.room.create", "state_key": "", "event_id": "$0", "content": {}}


async def test_an_old_invitation_never_replaces_a_join() -> None:
    """What Synapse 1.163.2 sends when somebody joins while we write: the join long ago, then the invitation again."""
    server = Members(JOINED, member("@eva:x", "invite", "$3"))
    assert await with_members(server, [INVITED], []) == ["$2"]
    assert server.asked == ["/_matrix/client/v3/rooms/%21r/members"]


async def test_members_of_new_rooms_and_of_timelines_are_taken_as_they_come() -> None:
    server = Members(JOINED)
    assert await with_members(server, [CREATED, INVITED], []) == ["$0", "$1"]
    assert await with_members(server, [INVITED], [CREATED]) == ["$1", "$0"]
    assert await with_members(server, [], [INVITED]) == ["$1"]
    assert server.asked == []


async def test_members_that_the_server_does_not_tell_stay_as_they_were_shown() -> None:
    assert await with_members(Members(), [INVITED], []) == ["$1"]


@given(rooms | json)
async def test_asking_for_members_is_total(found: Any) -> None:
    await bring_up_to_date(cast(Transport, Members(JOINED)), {"next_batch": "s1", "rooms": found})


def listening(busy: Iterator[bool]) -> Listeners:
    async def nobody(_: Any) -> None:
        return

    return Listeners(nobody, nobody, lambda more: None, lambda: next(busy))


async def test_news_wait_until_fewer_messages_are_under_way() -> None:
    busy = chain([True, True, False], repeat(True))
    await _ends(_breathe(listening(busy), took_s=60))
    assert next(busy)


async def test_news_do_not_wait_for_ever() -> None:
    await _ends(_breathe(listening(repeat(True)), took_s=0.01))


async def _ends(work: Awaitable[None]) -> None:
    async with asyncio.timeout(30):
        await work
