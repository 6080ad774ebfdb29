"""Nothing in the tables tells what a colleague did: after every story of the crash table only a few columns name one."""

from collections import defaultdict
from pathlib import Path
from typing import Final

import pytest

from bot.domain.command import COMMANDS
from bot.domain.ids import DeskId, RoomId
from bot.flows import staffing
from bot.flows.intake import RoomUpdate
from bot.flows.surroundings import Desk
from tests.flows.test_crash_table import NEW, STORIES, Story, agreeing
from tests.flows.world import ANNA, CHEF, EVA, JAN, World, a_world

STAFF: Final = (JAN, EVA, CHEF, NEW)
MAY_NAME_THEM: Final = {
    "cases.holder": "who looks after a case now; empty when it is closed (D57)",
    "members.user_id": "who is in a room now, for they get its keys; whoever left is in no row",
    "staff_changes.user_id": "taken in or removed by command, until the configuration says the same (D25)",
    "arrivals.* while open": "what somebody wrote and is still to be done",
}


async def many_words(world: World, chat: RoomId) -> None:
    """A mechanic uses every command that needs nothing prepared, after a customer has agreed to something."""
    await agreeing(world, chat)
    await world.run()
    room = (await world.case_room(ANNA)).room_id
    for row in COMMANDS:
        await world.says(JAN, room, f"!{row.words[0]} 1h")
        await world.says(CHEF, world.made("admin")[0].room_id, f"!{row.words[0]}")
    for text in (
        "!widerruf neuigkeiten",
        "!titel Bremse von Anna",
        "!tag eilig",
        "!wer",
        "!suche Bremse",
        ". eine Notiz",
    ):
        await world.says(JAN, room, text)


async def named(world: World) -> dict[str, list[str]]:
    """Return every value in which somebody of the staff is named, by table and column; of items, the handled ones."""
    found: dict[str, list[str]] = defaultdict(list)
    for (table,) in await world.database.all("SELECT name FROM sqlite_schema WHERE type = 'table'"):
        columns = [row[1] for row in await world.database.all(f"PRAGMA table_info({table})")]
        for row in await world.database.all(f"SELECT * FROM {table}"):
            values = dict(zip(columns, row, strict=True))
            is_open = table == "arrivals" and values["state"] != "done"
            for column, value in values.items():
                text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
                if any(user in text for user in STAFF):
                    found["arrivals.* while open" if is_open else f"{table}.{column}"].append(text)
    return found


@pytest.mark.parametrize("story", [*STORIES, many_words], ids=lambda story: story.__name__)
async def test_no_table_is_keyed_by_somebody_of_the_staff(tmp_path: Path, story: Story) -> None:
    async with a_world(tmp_path) as world:
        chat = await world.chat(ANNA)
        await story(world, chat)
        await world.run()
        found = await named(world)
    assert {place: values for place, values in found.items() if place not in MAY_NAME_THEM} == {}


async def test_each_place_that_may_name_somebody_does_and_forgets_them(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        await world.says(ANNA, await world.chat(ANNA), "Hallo")
        case = await world.case_room(ANNA)
        await world.joins(JAN, case.room_id)
        await world.joins(EVA, case.room_id)
        await world.says(JAN, case.room_id, "!ich")
        await world.writes(JAN, case.room_id, "um acht")
        found = await named(world)
        assert JAN in found.pop("arrivals.* while open")
        assert found == {"cases.holder": [JAN], "members.user_id": [EVA, JAN]}

        await world.run()
        await world.says(CHEF, world.made("admin")[0].room_id, f"!entfernen {JAN}")
        await leaves(world, case.room_id)
        assert await named(world) == {"members.user_id": [EVA], "staff_changes.user_id": [JAN]}

        world.rule(desks=(Desk(DeskId("annahme"), "Annahme", (EVA,)),))
        await world.restart()
        await staffing.compare(world.around, world.rules)  # as every start does
        assert await named(world) == {"members.user_id": [EVA]}


async def leaves(world: World, room: RoomId) -> None:
    """The server says that somebody has left; again and again, as in the state of every limited sync."""
    gone = {"type": "m.room.member", "state_key": JAN, "sender": JAN, "content": {"membership": "leave"}}
    for name in ("$gone", "$gone-again"):
        await world.take_in(RoomUpdate(room, "join", (gone | {"event_id": name},)))
        await world.run()
