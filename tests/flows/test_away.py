"""Who writes when nobody is there is told when somebody reads it: once for each case, and never into a talk."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from zoneinfo import ZoneInfo

import pytest

from bot.domain.hours import Hours
from bot.domain.ids import RoomId
from tests.flows.world import ANNA, JAN, World

# The world begins on Monday, 2 March 2026, at 10:00 in Berlin.
WORKDAY = ((7 * 60 + 30, 12 * 60), (13 * 60, 17 * 60))
HOURS = Hours(ZoneInfo("Europe/Berlin"), dict.fromkeys(range(5), WORKDAY), ((date(2026, 3, 4), date(2026, 3, 6)),))
SENTENCE = "Gerade ist bei uns niemand da"


@pytest.fixture
async def chat(world: World) -> RoomId:
    world.rule(hours=HOURS)
    return await world.chat(ANNA)


def told(world: World, chat: RoomId) -> Sequence[str]:
    return [text for text in world.server.rooms[chat].texts() if text.startswith(SENTENCE)]


async def test_nothing_is_said_while_somebody_is_there(world: World, chat: RoomId) -> None:
    await world.says(ANNA, chat, "Hallo")
    assert told(world, chat) == []


@pytest.mark.parametrize(
    ("hours", "language", "when"),
    [
        (2.5, "de", "heute ab 13:00 Uhr"),
        (2.5, "en", "today from 13:00"),
        (10, "de", "morgen ab 07:30 Uhr"),
        (15, "de", "heute ab 07:30 Uhr"),
        (34, "de", "am Montag, 9. März, ab 07:30 Uhr"),
        (34, "en", "on Monday, 9 March, from 07:30"),
    ],
)
async def test_the_next_opening_is_named(world: World, chat: RoomId, hours: float, language: str, when: str) -> None:
    world.rule(language=language)
    world.later(hours=hours)
    await world.says(ANNA, chat, "Hallo")
    said = world.server.rooms[chat].texts()[-1]
    assert said.endswith(f" {when}.")
    assert "Hallo" in (await world.case_room(ANNA)).texts()


async def test_it_is_said_once_for_each_case(world: World, chat: RoomId) -> None:
    world.later(hours=10)
    await world.says(ANNA, chat, "Hallo")
    await world.says(ANNA, chat, "noch etwas")
    world.later(days=1)
    await world.says(ANNA, chat, "und noch etwas")
    assert len(told(world, chat)) == 1


async def test_it_is_not_said_of_a_file_that_did_not_arrive(world: World, chat: RoomId) -> None:
    world.later(hours=10)
    await world.says(ANNA, chat, "weg.txt", msgtype="m.file", url="mxc://far.example/gone")
    assert told(world, chat) == []
    assert "nicht weitergeben" in world.server.rooms[chat].texts()[-1]

    await world.says(ANNA, chat, "kam das an?")
    assert len(told(world, chat)) == 1


async def test_two_cases_in_one_night_get_one_sentence(world: World, chat: RoomId) -> None:
    world.rule(reopen_window=world.rules.reopen_window * 0)
    world.later(hours=10)
    for _ in range(2):
        await world.says(ANNA, chat, "Hallo")
        await world.says(JAN, (await world.case_room(ANNA)).room_id, "!zu")
        world.later(hours=1)
    assert (await world.case(ANNA)).number == 1002
    assert len(told(world, chat)) == 1
    world.later(days=1)
    await world.says(ANNA, chat, "Hallo")
    assert (await world.case(ANNA)).number == 1003
    assert len(told(world, chat)) == 2


async def test_it_is_not_said_into_a_talk(world: World, chat: RoomId) -> None:
    await world.says(ANNA, chat, "Hallo")
    world.later(hours=7.25)
    await world.says(JAN, (await world.case_room(ANNA)).room_id, "ich bin noch da")
    world.later(minutes=29)
    await world.says(ANNA, chat, "wie schön")
    assert told(world, chat) == []
    world.later(minutes=2)
    await world.says(ANNA, chat, "und jetzt?")
    assert len(told(world, chat)) == 1


async def test_machines_and_reactions_are_not_told(world: World, chat: RoomId) -> None:
    first = await world.says(ANNA, chat, "Hallo")
    world.later(hours=10)
    await world.says(ANNA, chat, "automatisch", msgtype="m.notice")
    relation = {"rel_type": "m.annotation", "event_id": first, "key": "👍"}
    await world.take(chat, world.server.new_event(chat, ANNA, "m.reaction", {"m.relates_to": relation}))
    await world.run()
    assert told(world, chat) == []


async def test_two_machines_do_not_talk_all_night(world: World, chat: RoomId) -> None:
    world.rule(automatic_per_hour=0)
    world.later(hours=10)
    await world.says(ANNA, chat, "Hallo")
    assert told(world, chat) == []


async def test_who_is_away_for_long_says_no_day(world: World, chat: RoomId) -> None:
    world.rule(hours=replace(HOURS, closed=((date(2026, 1, 1), date(2029, 1, 1)),)))
    await world.says(ANNA, chat, "Hallo")
    assert "sobald wir wieder öffnen" in told(world, chat)[0]
