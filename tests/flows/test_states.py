"""What time does to a case: it rings, it calls people, it closes; and what ends that."""

from collections.abc import Sequence
from datetime import date, timedelta
from zoneinfo import ZoneInfo

import pytest

from bot.domain.case import CaseState
from bot.domain.hours import Hours
from bot.domain.ids import RoomId
from bot.flows import states
from bot.flows.intake import RoomUpdate
from tests.flows.fake import FakeRoom
from tests.flows.world import ANNA, EVA, JAN, World

# The world begins on Monday, 2 March 2026, at 10:00 in Berlin.
WORKDAY = ((7 * 60 + 30, 12 * 60), (13 * 60, 17 * 60))
HOURS = Hours(ZoneInfo("Europe/Berlin"), dict.fromkeys(range(5), WORKDAY), ((date(2026, 3, 4), date(2026, 3, 6)),))
LEVELS = (timedelta(minutes=15), timedelta(minutes=30), timedelta(minutes=60))


@pytest.fixture
async def chat(world: World) -> RoomId:
    world.rule(hours=HOURS, escalation=LEVELS, zone=ZoneInfo("Europe/Berlin"), close_after=timedelta(days=14))
    return await world.chat(ANNA)


async def state(world: World) -> CaseState:
    return (await world.case(ANNA)).state


async def orders(world: World, text: str) -> FakeRoom:
    room = await world.case_room(ANNA)
    await world.says(JAN, room.room_id, text)
    return room


def calls(room: FakeRoom) -> Sequence[str]:
    return [text for text in room.texts() if text.startswith(("🔔", "⏰ @"))]


async def test_what_is_put_off_rings_for_who_did_it_and_goes_back(world: World, chat: RoomId) -> None:
    await world.says(ANNA, chat, "Hallo")
    room = await orders(world, "!später morgen")
    assert "bis Dienstag, 3. März, 07:30 Uhr" in room.texts()[-1]
    assert await state(world) is CaseState.LATER
    assert (await world.case(ANNA)).name.startswith("⏰")

    await world.passes(hours=21)
    assert calls(room) == []
    await world.passes(hours=1)

    assert await state(world) is CaseState.OWED
    assert calls(room) == ["⏰ @jan: Dieser Vorgang war bis jetzt zurückgestellt. Noch einmal später: „!spaeter 2h“."]
    content = room.events[-1]["content"]
    assert content["m.mentions"] == {"user_ids": [JAN]}
    assert content["msgtype"] == "m.text"


async def test_without_a_moment_it_is_two_hours(world: World, chat: RoomId) -> None:
    world.rule(hours=None)
    await world.says(ANNA, chat, "Hallo")
    room = await orders(world, "!later")
    assert "bis Montag, 2. März, 12:00 Uhr" in room.texts()[-1]
    await world.passes(hours=2)
    assert len(calls(room)) == 1


async def test_a_customer_who_writes_ends_it(world: World, chat: RoomId) -> None:
    await world.says(ANNA, chat, "Hallo")
    room = await orders(world, "!spaeter 1h")
    await world.says(ANNA, chat, "Es eilt doch")
    assert await state(world) is CaseState.OWED
    world.rule(escalation=())
    await world.passes(hours=2)
    assert calls(room) == []


async def test_the_last_moment_counts(world: World, chat: RoomId) -> None:
    await world.says(ANNA, chat, "Hallo")
    await orders(world, "Wir melden uns")
    room = await orders(world, "!spaeter 30min")
    world.later(seconds=1)
    await orders(world, "!spaeter 1h")
    await world.passes(minutes=45)
    assert calls(room) == []
    await world.passes(minutes=30)
    assert len(calls(room)) == 1
    assert await state(world) is CaseState.ANSWERED


@pytest.mark.parametrize("text", ["!spaeter bald", "!spaeter 0h", "!spaeter gestern"])
async def test_what_is_no_moment_puts_nothing_off(world: World, chat: RoomId, text: str) -> None:
    await world.says(ANNA, chat, "Hallo")
    room = await orders(world, text)
    assert "Nicht zurückgestellt" in room.texts()[-1]
    assert await state(world) is CaseState.OWED


async def test_a_closed_case_is_not_put_off(world: World, chat: RoomId) -> None:
    await world.says(ANNA, chat, "Hallo")
    await orders(world, "!zu")
    assert "geschlossen" in (await orders(world, "!spaeter 2h")).texts()[-1]
    assert await state(world) is CaseState.CLOSED


async def test_who_waits_is_named_to_the_desk_and_at_last_to_everybody(world: World, chat: RoomId) -> None:
    await world.says(ANNA, chat, "Hallo")
    room, inbox = await world.case_room(ANNA), world.made("inbox:annahme")[0]
    await world.passes(minutes=14)
    assert calls(room) == []
    await world.passes(minutes=1)
    assert len(calls(room)) == 1
    assert calls(room)[0].startswith("🔔 @jan @eva: Der Kunde wartet seit 15 Minuten")
    assert room.events[-1]["content"]["m.mentions"] == {"user_ids": [JAN, EVA]}
    await world.passes(minutes=10)
    await world.says(ANNA, chat, "Hallo?")  # they have waited since the first message
    await world.passes(minutes=5)
    assert len(calls(room)) == 2
    await world.passes(minutes=30)
    assert len(calls(room)) == 2
    assert inbox.texts()[-1].startswith("🔔 @room: Im Vorgang 1001 wartet der Kunde seit 60 Minuten")
    assert inbox.events[-1]["content"]["m.mentions"] == {"room": True}
    await world.passes(days=30)
    assert len(calls(room)) == 2


@pytest.mark.parametrize("ends", ["Antwort", "!spaeter mo 8:00", "!fertig", "!zu"])
async def test_what_answers_or_puts_off_ends_the_calls(world: World, chat: RoomId, ends: str) -> None:
    await world.says(ANNA, chat, "Hallo")
    room = await orders(world, ends)
    await world.passes(minutes=61)
    assert calls(room) == []


async def test_a_note_does_not_end_them(world: World, chat: RoomId) -> None:
    await world.says(ANNA, chat, "Hallo")
    room = await orders(world, ". kenne ich nicht")
    await world.passes(minutes=15)
    assert len(calls(room)) == 1


async def test_nobody_is_called_at_night_or_on_a_holiday(world: World, chat: RoomId) -> None:
    world.later(days=1, hours=6, minutes=50)  # ten minutes before a long weekend: until Monday, 9 March
    await world.says(ANNA, chat, "Hallo")
    room = await world.case_room(ANNA)
    for _ in range(5 * 24 + 14):
        await world.passes(hours=1)
    assert calls(room) == []
    assert world.now().astimezone(HOURS.zone).strftime("%d.%m. %H:%M") == "09.03. 06:50"
    await world.passes(minutes=45)
    assert len(calls(room)) == 1


async def test_a_clock_that_falls_due_while_the_bot_was_away_waits_for_the_morning(world: World, chat: RoomId) -> None:
    await world.says(ANNA, chat, "Hallo")
    room = await world.case_room(ANNA)
    await world.close()
    world.later(hours=10)
    await world.open()
    await world.passes()
    assert calls(room) == []
    await world.passes(hours=12)
    assert len(calls(room)) == 1


async def test_without_opening_hours_or_without_steps_nobody_is_called(world: World, chat: RoomId) -> None:
    await world.says(ANNA, chat, "Hallo")
    world.rule(hours=None)
    await world.passes(hours=3)
    assert calls(await world.case_room(ANNA)) == []


async def test_what_a_new_configuration_wants_begins_with_a_start(world: World, chat: RoomId) -> None:
    world.rule(escalation=())
    await world.says(ANNA, chat, "Hallo")
    world.rule(escalation=LEVELS)
    await world.restart()
    for _ in range(2):
        await states.start_clocks(world.around)
    await world.passes(minutes=20)
    assert len(calls(await world.case_room(ANNA))) == 1


@pytest.mark.parametrize("order", ["!stumm 1d", "!sperren 1d"])
async def test_for_who_is_muted_or_blocked_nobody_is_called(world: World, chat: RoomId, order: str) -> None:
    await world.says(ANNA, chat, "Hallo")
    room = await orders(world, order)
    await world.passes(minutes=61)
    assert await state(world) is CaseState.OWED
    assert calls(room) == []


@pytest.mark.parametrize("order", ["!stumm 30min", "!sperren 30min"])
async def test_when_that_is_over_whoever_still_waits_is_called_for(world: World, chat: RoomId, order: str) -> None:
    await world.says(ANNA, chat, "Hallo")
    room = await orders(world, order)
    await world.passes(minutes=25)
    assert calls(room) == []
    await world.passes(minutes=6)
    assert len(calls(room)) == 1


@pytest.mark.parametrize("order", ["!stumm 2d", "!sperren 2d"])
async def test_when_it_is_ended_by_hand_the_clock_goes_on(world: World, chat: RoomId, order: str) -> None:
    await world.says(ANNA, chat, "Hallo")
    room = await orders(world, order)
    await world.passes(minutes=20)
    await orders(world, "!entsperren")
    await world.passes(seconds=1)
    assert "wartet seit 20 Minuten" in calls(room)[-1]


async def test_who_is_blocked_is_not_told_that_it_closes(world: World, chat: RoomId) -> None:
    await world.says(ANNA, chat, "Hallo")
    await orders(world, "Antwort")
    await orders(world, "!sperren 30d")
    said = world.server.rooms[chat].texts()
    await world.passes(days=15)
    assert await state(world) is CaseState.CLOSED
    assert world.server.rooms[chat].texts() == said


async def test_silence_closes_with_a_sentence(world: World, chat: RoomId) -> None:
    await world.says(ANNA, chat, "Hallo")
    room = await orders(world, "Antwort")
    await world.passes(days=13)
    await orders(world, "Noch eine Antwort")
    await world.passes(days=2)
    assert await state(world) is CaseState.ANSWERED
    await world.passes(days=14)
    assert await state(world) is CaseState.CLOSED
    assert room.texts()[-1].startswith("✅ Vorgang geschlossen, weil")
    assert world.server.rooms[chat].texts()[-1].startswith("Wir haben länger nichts von Ihnen gehört")
    assert world.server.rooms[chat].events[-1]["content"]["msgtype"] == "m.notice"


async def test_it_closes_in_open_time(world: World, chat: RoomId) -> None:
    world.later(hours=9)  # 19:00
    await world.says(ANNA, chat, "Hallo")
    await orders(world, "Antwort")
    await world.passes(days=14, minutes=1)
    assert await state(world) is CaseState.ANSWERED
    await world.passes(hours=13)
    assert await state(world) is CaseState.CLOSED


@pytest.mark.parametrize("order", ["", "!fertig", "!spaeter 31.12."])
async def test_what_waits_for_us_is_ready_or_put_off_stays_open(world: World, chat: RoomId, order: str) -> None:
    await world.says(ANNA, chat, "Hallo")
    before = await state(world)
    if order:
        await orders(world, "Antwort")
        await orders(world, order)
        before = await state(world)
    await world.passes(days=60)
    assert await state(world) is before


async def test_what_was_collected_is_closed_with_thanks(world: World, chat: RoomId) -> None:
    await world.says(ANNA, chat, "Hallo")
    await orders(world, "!fertig")
    code = world.server.rooms[chat].texts()[-1].split("Abholcode: ")[1][:4]
    await orders(world, f"!abholung {code}")
    await world.passes(days=15)
    assert world.server.rooms[chat].texts()[-1].startswith("Vielen Dank für Ihren Besuch!")


async def test_a_customer_who_has_left_is_told_nothing(world: World, chat: RoomId) -> None:
    await world.says(ANNA, chat, "Hallo")
    await orders(world, "Antwort")
    said = world.server.rooms[chat].texts()
    content = {"membership": "leave"}
    leave = {"type": "m.room.member", "state_key": ANNA, "content": content, "sender": ANNA, "event_id": "$gone"}
    await world.take_in(RoomUpdate(chat, "join", (leave,), (leave,)))
    await world.run()
    await world.passes(days=15)
    assert await state(world) is CaseState.CLOSED
    assert world.server.rooms[chat].texts() == said
