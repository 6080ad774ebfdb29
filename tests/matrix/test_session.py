"""A sync response becomes a batch whatever is in it, and trouble with the server is waited out."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bot.domain.ids import UserId
from bot.matrix.session import _names, parse

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
