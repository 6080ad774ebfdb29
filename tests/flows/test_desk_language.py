"""A desk speaks its own language in its rooms; customers and admins hear the business's."""

from dataclasses import replace
from typing import Any

import pytest

from bot.domain.ids import RoomId, SessionId, UserId
from bot.flows import cards, overview
from bot.flows.surroundings import _here
from bot.store import arrivals
from tests.flows.test_handing import DESKS, TOM, inbox, said
from tests.flows.world import ANNA, CHEF, EVA, JAN, World

WIFE = UserId("@wife:elsewhere.example")
GERMAN = ("ä", "ö", "ü", "ß", " der ", " die ", " das ", " und ", " ist ", "Vorgang", "Kunde")


@pytest.fixture
async def shop(world: World) -> World:
    """The reception speaks German as the business does, the workshop English."""
    world.rule(desks=(DESKS[0], replace(DESKS[1], language="en")))
    await world.set_up()
    return world


async def opened(world: World, words: str = "Reifen") -> tuple[RoomId, RoomId]:
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, words)
    return chat, (await world.case_room(ANNA)).room_id


def german(texts: list[str]) -> list[str]:
    return [text for text in texts if any(word in text for word in GERMAN)]


async def test_all_that_the_bot_says_in_its_rooms(shop: World) -> None:
    chat, case = await opened(shop)
    for text in (
        "!ich",
        "!titel Bremse",
        "!wer",
        "!verlauf",
        "!help",
        "!later tomorrow",
        "!tag a",
        ". note",
        "!schlies",
    ):
        await shop.says(TOM, case, text)
    await shop.says(ANNA, chat, "x", msgtype="m.location.unknown", geo="?")
    await shop.says(EVA, case, "@tom, really?")  # held
    await shop.says(TOM, case, "Come at nine")
    await shop.says(TOM, case, "plan.pdf", msgtype="m.file")  # cannot be carried
    for text in ("!ready", "!close", "!reopen", "!later x"):
        await shop.says(TOM, case, text)
    for text in ("!today", "!endofday", "!find bremse", "!nonsense"):
        await shop.says(TOM, inbox(shop, "werkstatt"), text)
    await shop.joins_chat(WIFE, chat)
    await cards.keep_up(shop.around, (await shop.case(ANNA)).number)
    await overview.keep_up(shop.around, shop.rules.desks[1])
    assert german(said(shop, case)) == []
    assert german(said(shop, inbox(shop, "werkstatt"))) == []
    assert len(said(shop, case)) > 15
    assert _here.get() is None


async def test_customers_and_admins_hear_the_business(shop: World) -> None:
    chat, case = await opened(shop)
    await shop.says(TOM, case, "!ready")
    await shop.says(TOM, case, "plan.pdf", msgtype="m.file")
    assert said(shop, chat)[-1].startswith("🟢 Es ist fertig")
    await shop.says(CHEF, shop.made("admin")[0].room_id, "!hilfe")
    assert said(shop, shop.made("admin")[0].room_id)[-1].startswith("Im Raum eines Vorgangs")


async def test_a_case_that_goes_to_another_desk_goes_on_in_its_language(shop: World) -> None:
    _, case = await opened(shop, "Bremse")
    assert "Zuständig: noch niemand" in said(shop, case)[0]
    await shop.says(JAN, case, "!an Werkstatt")
    assert said(shop, inbox(shop, "annahme"))[-1] == "Vorgang 1001: jetzt bei Werkstatt."
    assert german(said(shop, inbox(shop, "werkstatt"))) == []
    await cards.keep_up(shop.around, (await shop.case(ANNA)).number)
    await shop.says(TOM, case, "!wer")
    assert german(said(shop, case)[-1:]) == []


async def test_two_desks_at_once_do_not_mix(shop: World) -> None:
    await shop.says(ANNA, await shop.chat(ANNA), "Bremse")
    other: Any = UserId("@carl:elsewhere.example")
    await shop.says(other, await shop.chat(other), "Reifen")
    rooms = [(await shop.case_room(customer)).room_id for customer in (ANNA, other)]
    for _ in range(5):
        await shop.writes(JAN, rooms[0], "!wer")
        await shop.writes(TOM, rooms[1], "!wer")
    await shop.run()
    assert len(german(said(shop, rooms[0])[-5:])) == 5
    assert german(said(shop, rooms[1])) == []


async def english(world: World) -> tuple[RoomId, RoomId]:
    """A customer who chose English, where business and desk speak German."""
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "English")
    await world.says(ANNA, chat, "Brakes")
    return chat, (await world.case_room(ANNA)).room_id


async def test_that_something_could_not_be_read_is_said_in_the_customers_language(world: World) -> None:
    chat, case = await english(world)
    world.server.missing_keys.add(SessionId("lost"))
    await world.writes(ANNA, chat, "?", session="lost")
    await world.passes(seconds=11)
    await world.passes(seconds=61)
    assert said(world, chat)[-1] == world.around.texts.render("customer.unreadable", "en")
    assert said(world, case)[-1] == world.around.texts.render("case.unreadable", "de")


async def test_what_stands_above_a_late_answer_is_said_in_the_customers_language(world: World) -> None:
    chat, case = await english(world)
    world.server.missing_keys.add(SessionId("lost"))
    await world.writes(JAN, case, "Come at nine", session="lost")
    await world.passes(seconds=11)
    world.server.missing_keys.clear()
    async with world.database.transaction() as tx:
        await arrivals.wake_sessions(tx, {SessionId("lost")})
    await world.run()
    assert said(world, chat)[-1].startswith("⏱ Written on")


async def test_a_poll_and_its_result_are_named_in_the_language_of_whoever_reads_them(shop: World) -> None:
    chat, case = await english(shop)
    poll = {"question": {"body": "When?"}, "answers": [{"id": "a", "body": "at nine"}]}
    for writer, here, there, word in ((JAN, case, chat, "Poll"), (ANNA, chat, case, "Umfrage")):
        start = shop.server.new_event(here, writer, "m.poll.start", {"m.poll.start": poll})
        await shop.take(here, start)
        about = {"m.relates_to": {"rel_type": "m.reference", "event_id": start["event_id"]}}
        await shop.take(here, shop.server.new_event(here, writer, "m.poll.end", about))
        await shop.run()
        assert [word.casefold() in text.casefold() for text in said(shop, there)[-2:]] == [True, True]
