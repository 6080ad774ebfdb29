"""`!fertig` and `!abholung`: the customer gets a code, staff never see it, and three wrong ones end it."""

import re

import pytest

from bot.domain.case import CaseState
from bot.domain.ids import RoomId
from bot.store import pickups
from tests.flows.fake import FakeRoom
from tests.flows.world import ANNA, BERT, JAN, World


@pytest.fixture
async def chat(world: World) -> RoomId:
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "Mein Wagen?")
    return chat


def code_in(world: World, chat: RoomId) -> str:
    found = re.search(r"Abholcode: (\d{4})\.", world.server.rooms[chat].texts()[-1])
    assert found
    return found.group(1)


def wrong(code: str) -> str:
    return f"{(int(code) + 1) % 10_000:04}"


async def orders(world: World, text: str) -> FakeRoom:
    room = await world.case_room(ANNA)
    await world.says(JAN, room.room_id, text)
    return room


async def test_the_customer_gets_a_code_and_staff_do_not_see_it(world: World, chat: RoomId) -> None:
    room = await orders(world, "!fertig")
    case = await world.case(ANNA)
    assert case.state is CaseState.READY
    assert case.name == "🟢 1001"
    assert world.server.rooms[chat].texts()[-1].startswith("🟢 Es ist fertig und kann abgeholt werden.\n")
    assert not any(code_in(world, chat) in text for text in room.texts())
    assert room.texts()[-1].startswith("🟢 Der Kunde weiß")


async def test_the_right_code_ends_it_and_is_good_once(world: World, chat: RoomId) -> None:
    room = await orders(world, "!fertig Ihr Golf steht vorn")
    code = code_in(world, chat)
    assert world.server.rooms[chat].texts()[-1].startswith("🟢 Ihr Golf steht vorn\n")

    await orders(world, f"!abholung {code}")
    assert (
        room.texts()[-1] == f"🤝 Der Code stimmt: übergeben von {JAN}. Ist alles erledigt, schließt „!zu“ den Vorgang."
    )
    assert (await world.case(ANNA)).state is CaseState.ANSWERED

    await orders(world, f"!abholung {code}")
    assert "nichts abzuholen" in room.texts()[-1]


async def test_the_third_wrong_code_alarms_and_ends_the_code(world: World, chat: RoomId) -> None:
    room = await orders(world, "!fertig")
    code = code_in(world, chat)
    for left in ("2", "1"):
        await orders(world, f"!abholung {wrong(code)}")
        assert f"bleiben: {left}." in room.texts()[-1]
    assert not any("🚨" in text for text in world.made("admin")[0].texts())

    await orders(world, f"!abholung {wrong(code)}")

    assert room.texts()[-1].startswith("🚨 3 falsche Codes")
    assert room.events[-1]["content"]["msgtype"] == "m.text", "it rings"
    assert world.made("admin")[0].texts()[-1].startswith("🚨 Im Vorgang 1001")
    await orders(world, f"!abholung {code}")
    assert "gilt nicht mehr" in room.texts()[-1]
    assert (await world.case(ANNA)).state is CaseState.READY

    await orders(world, "!fertig")
    await orders(world, f"!abholung {code_in(world, chat)}")
    assert "🤝" in room.texts()[-1]


async def test_what_is_no_code_is_not_counted(world: World, chat: RoomId) -> None:
    room = await orders(world, "!fertig")
    for text in ("47", "abcd", "47111", "٤٧١١"):
        await orders(world, f"!abholung {text}")
        assert "kein Abholcode" in room.texts()[-1]
    case = await world.case(ANNA)
    pickup = await pickups.of_case(world.database, case.number)
    assert pickup
    assert pickup.wrong == 0
    code = code_in(world, chat)
    await orders(world, f"!abholung {code[:2]} {code[2:]}")
    assert "🤝" in room.texts()[-1]


async def test_without_fertig_there_is_nothing_to_collect(world: World, chat: RoomId) -> None:
    room = await orders(world, "!abholung 4711")
    assert "nichts abzuholen" in room.texts()[-1]
    assert (await world.case(ANNA)).state is CaseState.OWED


async def test_a_case_stays_ready_while_people_talk(world: World, chat: RoomId) -> None:
    await orders(world, "!fertig")
    await orders(world, "Wir haben bis 17 Uhr offen")
    assert (await world.case(ANNA)).state is CaseState.READY
    await world.says(ANNA, chat, "Bis wann?")
    assert (await world.case(ANNA)).state is CaseState.OWED
    await orders(world, "Bis 17 Uhr")
    assert (await world.case(ANNA)).state is CaseState.READY


async def test_a_customer_who_cannot_be_reached_is_told_nothing(world: World, chat: RoomId) -> None:
    world.server.rooms[chat].members[BERT] = "join"
    await world.joins(BERT, chat)
    room = await orders(world, "!fertig")
    assert "noch jemand anderes" in room.texts()[-1]
    assert (await world.case(ANNA)).state is CaseState.OWED
    assert await pickups.of_case(world.database, (await world.case(ANNA)).number) is None


async def test_a_reply_to_it_quotes_the_command(world: World, chat: RoomId) -> None:
    await orders(world, "!fertig")
    event = world.server.rooms[chat].events[-1]["event_id"]
    await world.says(ANNA, chat, "Danke", **{"m.relates_to": {"m.in_reply_to": {"event_id": event}}})
    room = await world.case_room(ANNA)
    quoted = room.events[-1]["content"]["m.relates_to"]["m.in_reply_to"]["event_id"]
    assert next(e for e in room.events if e["event_id"] == quoted)["content"]["body"] == "!fertig"
