"""Room facts, folded from whatever state events a server sends."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bot.domain.ids import RoomId, UserId
from bot.domain.room import Room, fold

ME, ANNA, BERT = UserId("@me:x"), UserId("@anna:y"), UserId("@bert:z")


def member(user: str, membership: object) -> dict[str, Any]:
    return {"type": "m.room.member", "state_key": user, "sender": user, "content": {"membership": membership}}


CREATE = {"type": "m.room.create", "state_key": "", "sender": ANNA, "content": {"room_version": "12"}}
ENCRYPTION = {"type": "m.room.encryption", "state_key": "", "sender": ANNA, "content": {"algorithm": "x"}}

json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
types = st.sampled_from(["m.room.create", "m.room.member", "m.room.encryption", "m.room.tombstone", "m.room.name"])
strange = st.fixed_dictionaries({"type": types | json, "content": json, "state_key": json, "sender": json})


def test_a_room_of_two_with_encryption_is_usable() -> None:
    room = fold(Room(RoomId("!r")), [CREATE, ENCRYPTION, member(ANNA, "join"), member(ME, "join")], ME)
    assert room.is_usable_by(ANNA)
    assert not room.is_usable_by(BERT)
    assert not room.ours
    assert room.version == "12"


def test_a_third_person_makes_it_unusable_until_they_leave() -> None:
    base = [CREATE, ENCRYPTION, member(ANNA, "join"), member(ME, "join")]
    crowded = fold(Room(RoomId("!r")), [*base, member(BERT, "invite")], ME)
    assert not crowded.is_usable_by(ANNA)
    assert fold(crowded, [member(BERT, "leave")], ME).is_usable_by(ANNA)


def test_a_space_is_no_customer_room() -> None:
    create = CREATE | {"content": {"room_version": "12", "type": "m.space"}}
    room = fold(Room(RoomId("!r")), [create, ENCRYPTION, member(ANNA, "join"), member(ME, "join")], ME)
    assert not room.is_usable_by(ANNA)


@given(st.lists(strange, max_size=8))
def test_strange_state_never_raises_and_never_unsets_encryption(events: list[dict[str, Any]]) -> None:
    room = fold(Room(RoomId("!r"), encrypted=True), events, ME)
    assert room.encrypted
