"""Two cases of one customer become one: this closes with a pointer, what comes later goes to the other."""

import pytest

from bot.domain.case import CaseState
from bot.domain.ids import CaseNumber, RoomId
from bot.store import cases, pickups
from tests.flows.shown import only, shown
from tests.flows.test_handing import DESKS, people
from tests.flows.world import ANNA, BERT, EVA, JAN, ME, World


async def two_cases(world: World) -> tuple[RoomId, RoomId, RoomId]:
    """Return the customer's chat and the rooms of 1001 and 1002, which are both open; 1003 is Bert's."""
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "Bremse")
    first = (await world.case_room(ANNA)).room_id
    await world.says(JAN, first, "!zu")
    world.later(days=30)
    await world.says(ANNA, chat, "Hupe")
    second = (await world.case_room(ANNA)).room_id
    await world.says(JAN, first, "!auf")
    await world.says(BERT, await world.chat(BERT), "von Bert")
    return chat, first, second


def said(world: World, room: RoomId) -> list[str]:
    return [m.body for m in shown(world.server.rooms[room]) if m.sender == ME]


async def test_a_joined_case_closes_and_later_messages_go_to_the_other(world: World) -> None:
    chat, first, second = await two_cases(world)
    for room, text in ((second, "!kfz M-AB 123"), (second, "!tag hupe"), (first, "!titel Bremse"), (second, "!ich")):
        await world.says(JAN, room, text)
    hupe = only(world.server.rooms[chat], "Hupe").event_id
    await world.says(JAN, second, "!verbinden 1001")

    there, here = await cases.get(world.database, CaseNumber(1001)), await cases.get(world.database, CaseNumber(1002))
    assert (here.state, here.merged_into, here.holder) == (CaseState.CLOSED, 1001, None)
    assert (there.state, there.label, there.plate, there.tags) == (CaseState.OWED, "Bremse", "M-AB 123", ("hupe",))
    assert there.holder == JAN
    assert said(world, second)[-1].startswith("🔗 Dieser Vorgang geht im Vorgang 1001 weiter")
    assert said(world, first)[-1].startswith("🔗 Der Vorgang 1002 desselben Kunden")
    html = [m for m in shown(world.server.rooms[second]) if m.sender == ME][-1].content["formatted_body"]
    assert f'<a href="https://matrix.to/#/{first}?via=example.org">1001</a>' in html

    await world.says(ANNA, chat, "und weiter")
    await world.says(ANNA, chat, "dazu noch", **{"m.relates_to": {"m.in_reply_to": {"event_id": hupe}}})
    assert said(world, first)[-2:] == ["und weiter", "dazu noch"]
    assert (await cases.get(world.database, CaseNumber(1002))).state is CaseState.CLOSED


async def test_when_both_are_closed_the_other_one_opens_again(world: World) -> None:
    chat, first, second = await two_cases(world)
    await world.says(JAN, second, "!verbinden 1001")
    await world.says(JAN, first, "!zu")
    await world.says(ANNA, chat, "doch noch etwas")
    assert said(world, first)[-2:] == [
        "doch noch etwas",
        "🔴 Der Kunde hat wieder geschrieben, der Vorgang ist wieder offen.",
    ]


async def test_what_is_written_in_the_closed_one_is_not_sent_until_they_are_parted(world: World) -> None:
    chat, _, second = await two_cases(world)
    await world.says(JAN, second, "!verbinden 1001")
    await world.says(EVA, second, "wann kommen Sie?")
    assert "wann kommen Sie?" not in world.server.rooms[chat].texts()
    refusal = "⚠️ Nicht gesendet: Dieser Vorgang geht im Vorgang 1001"
    assert any(text.startswith(refusal) for text in said(world, second))
    await world.says(JAN, second, "!auf")
    await world.says(EVA, second, "wann denn?")
    assert world.server.rooms[chat].texts()[-1] == "wann denn?"
    assert (await cases.get(world.database, CaseNumber(1002))).merged_into is None


@pytest.mark.parametrize(("plate", "title"), [("first", "second"), ("second", "first")])
async def test_no_plate_comes_into_a_title_by_joining(world: World, plate: str, title: str) -> None:
    """Names of rooms are not encrypted."""
    _, first, second = await two_cases(world)
    room = {"first": first, "second": second}
    await world.says(JAN, room[title], "!titel Golf MAB 123")
    await world.says(JAN, room[plate], "!kfz M-AB 123")
    await world.says(JAN, second, "!verbinden 1001")
    there = await cases.get(world.database, CaseNumber(1001))
    assert (there.plate, there.label) == ("M-AB 123", "")


async def test_a_plate_is_in_no_title_of_the_same_customer(world: World) -> None:
    _, first, second = await two_cases(world)
    await world.says(JAN, first, "!titel Golf MAB 123")
    await world.says(JAN, second, "!titel Hupe")
    await world.says(JAN, second, "!kfz M-AB 123")
    labels = [(await cases.get(world.database, CaseNumber(number))).label for number in (1001, 1002)]
    assert labels == ["", "Hupe"]
    assert world.around.say("describing.title_dropped") in said(world, second)[-1]


async def test_a_code_that_the_customer_holds_opens_where_the_case_goes_on(world: World) -> None:
    _, first, second = await two_cases(world)
    await world.says(JAN, second, "!fertig")
    pickup = await pickups.of_case(world.database, CaseNumber(1002))
    assert pickup
    await world.says(JAN, second, "!verbinden 1001")
    await world.says(JAN, first, f"!abholung {pickup.code}")
    assert said(world, first)[-1].startswith("🤝")


async def test_that_it_is_ready_is_said_where_the_case_goes_on(world: World) -> None:
    """It would reach the customer, and open again what was joined, without a word."""
    chat, _, second = await two_cases(world)
    await world.says(JAN, second, "!verbinden 1001")
    before = said(world, chat)
    await world.says(EVA, second, "!fertig")
    assert said(world, second)[-1].startswith("⚠️ Nicht gesendet: Dieser Vorgang geht im Vorgang 1001")
    assert said(world, chat) == before
    assert (await cases.get(world.database, CaseNumber(1002))).merged_into == 1001


async def test_who_looks_after_it_is_invited_to_where_it_goes_on(world: World) -> None:
    world.rule(desks=DESKS)
    await world.set_up()
    _, first, second = await two_cases(world)
    await world.says(JAN, first, "!an werkstatt")
    assert JAN not in people(world, first)
    await world.says(JAN, second, "!ich")
    await world.says(JAN, second, "!verbinden 1001")
    assert (await cases.get(world.database, CaseNumber(1001))).holder == JAN
    assert JAN in people(world, first)


@pytest.mark.parametrize("text", ["!verbinden", "!verbinden 1002", "!verbinden 1003", "!verbinden 99", "!verbinden x"])
async def test_only_with_another_case_of_the_same_customer(world: World, text: str) -> None:
    _, _, second = await two_cases(world)
    await world.says(JAN, second, text)
    assert said(world, second)[-1].startswith("⚠️ Nicht verbunden")
    assert (await cases.get(world.database, CaseNumber(1002))).merged_into is None


async def test_not_in_a_circle(world: World) -> None:
    _, first, second = await two_cases(world)
    await world.says(JAN, second, "!verbinden 1001")
    await world.says(JAN, first, "!verbinden 1002")
    assert said(world, first)[-1].startswith("⚠️ Nicht verbunden")
