"""Rooms of closed cases are put away, and come back whole."""

from datetime import timedelta

import pytest

from bot.domain.case import CaseState
from bot.domain.ids import RoomId, UserId
from tests.flows.fake import FakeRoom
from tests.flows.world import ANNA, EVA, JAN, World


@pytest.fixture
async def chat(world: World) -> RoomId:
    """A case that is closed, with a conversation in it."""
    world.rule(archive_after=timedelta(days=30))
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "Hallo")
    room = (await world.case_room(ANNA)).room_id
    await world.joins(JAN, room)
    for text in ("Guten Tag", ". hat noch nicht bezahlt", "!hilfe", "!zu"):
        await world.says(JAN, room, text)
    return chat


def people(room: FakeRoom) -> set[UserId]:
    return {user for user, membership in room.members.items() if membership in {"join", "invite"}} - {
        "@werkstatt:example.org"
    }


def is_in_space(world: World, room: FakeRoom) -> bool:
    return bool(world.made("space")[0].state.get(("m.space.child", room.room_id)))


async def replies(world: World, chat: RoomId) -> None:
    event = next(e["event_id"] for e in world.server.rooms[chat].events if e["content"].get("body") == "Guten Tag")
    await world.says(ANNA, chat, "noch etwas", **{"m.relates_to": {"m.in_reply_to": {"event_id": event}}})


async def test_after_its_time_staff_and_space_leave_it(world: World, chat: RoomId) -> None:
    room = await world.case_room(ANNA)
    await world.passes(days=29)
    assert people(room) == {JAN, EVA}
    assert is_in_space(world, room)
    await world.passes(days=2)
    assert people(room) == set()
    assert not is_in_space(world, room)
    assert (await world.case(ANNA)).state is CaseState.CLOSED


async def test_who_writes_again_brings_it_back_with_what_staff_wrote(world: World, chat: RoomId) -> None:
    room = await world.case_room(ANNA)
    await world.passes(days=31)
    await replies(world, chat)
    assert people(room) == {JAN, EVA}
    assert is_in_space(world, room)
    assert "noch etwas" in room.texts()
    (recap,) = [text for text in room.texts() if text.startswith("📜")]
    assert [line.split(": ", 1)[1] for line in recap.splitlines()[1:]] == ["Guten Tag", ". hat noch nicht bezahlt"]
    assert f" {JAN}: " in recap
    assert "Guten Tag" not in world.server.rooms[chat].texts()[-1]
    assert (await world.case(ANNA)).archived_at is None

    await world.says(JAN, room.room_id, "!zu")
    await world.passes(days=31)
    assert people(room) == set(), "and it is put away again"


async def test_a_case_that_was_opened_again_stays(world: World, chat: RoomId) -> None:
    room = await world.case_room(ANNA)
    await world.passes(days=20)
    await replies(world, chat)
    await world.passes(days=11)
    assert people(room) == {JAN, EVA}
    await world.says(JAN, room.room_id, "!zu")
    await world.passes(days=29)
    assert people(room) == {JAN, EVA}, "its time begins anew"


async def test_staff_open_it_again_from_the_inbox_by_its_number(world: World, chat: RoomId) -> None:
    room, inbox = await world.case_room(ANNA), world.made("inbox:annahme")[0]
    await world.passes(days=31)
    for text in ("!auf", "!auf 7", "!auf 1001x"):
        await world.says(JAN, inbox.room_id, text)
        assert "Diesen Vorgang gibt es nicht" in inbox.texts()[-1]
    await world.says(JAN, inbox.room_id, "!auf 1001")
    assert inbox.texts()[-1] == "🔴 Vorgang wieder geöffnet."
    assert (await world.case(ANNA)).state is CaseState.OWED
    assert people(room) == {JAN, EVA}
    await world.says(JAN, inbox.room_id, "!auf 1001")
    assert inbox.texts()[-1] == "Der Vorgang ist schon offen."


async def test_whoever_does_not_want_it_keeps_all_rooms(world: World, chat: RoomId) -> None:
    world.rule(archive_after=timedelta(0))
    await world.passes(days=300)
    assert people(await world.case_room(ANNA)) == {JAN, EVA}
