"""What is typed where no customer reads it: that is said once a day in each room; commands and notes are no reason."""

import pytest

from bot.domain.ids import UserId
from tests.flows.fake import FakeRoom
from tests.flows.world import ANNA, CHEF, JAN, World


def said(world: World, room: FakeRoom) -> int:
    return room.texts().count(world.around.say("command.nobody_outside"))


@pytest.mark.parametrize(("mark", "who"), [("inbox:annahme", JAN), ("admin", CHEF)])
async def test_it_is_said_once_a_day(world: World, mark: str, who: UserId) -> None:
    room = world.made(mark)[0]
    for text in ("Guten Tag, Ihr Auto ist fertig", "hallo?"):
        await world.says(who, room.room_id, text)
    assert said(world, room) == 1
    world.later(days=1)
    await world.says(who, room.room_id, "noch da?")
    assert said(world, room) == 2
    await world.restart()
    await world.says(who, room.room_id, "und jetzt?")
    assert said(world, room) == 2


async def test_one_room_does_not_speak_for_the_other(world: World) -> None:
    rooms = [world.made(mark)[0] for mark in ("inbox:annahme", "admin")]
    for room in rooms:
        await world.says(CHEF, room.room_id, "hallo?")
    assert [said(world, room) for room in rooms] == [1, 1]


@pytest.mark.parametrize("text", ["!hilfe", ". Notiz", "!hlife"])
async def test_commands_and_notes_are_no_reason(world: World, text: str) -> None:
    room = world.made("inbox:annahme")[0]
    await world.says(JAN, room.room_id, text)
    assert said(world, room) == 0


async def test_in_the_room_of_a_case_nothing_is_said(world: World) -> None:
    await world.says(ANNA, await world.chat(ANNA), "erste")
    room = await world.case_room(ANNA)
    await world.says(JAN, room.room_id, "Kommen Sie um neun.")
    assert said(world, room) == 0
