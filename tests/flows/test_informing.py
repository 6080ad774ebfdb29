"""Customers ask the bot who we are and what happens with their data; everything else they write is for people."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.command import WISHES, Wish, Wished, wished
from bot.domain.ids import RoomId
from bot.store import cases, rooms
from tests.flows.world import ANNA, JAN, ME, Crash, World
from tests.flows.world import OPEN as PRIVACY


def said(world: World, chat: RoomId) -> list[str]:
    """Return what the bot said in a customer's chat after its greeting."""
    events = world.server.rooms[chat].events
    return [str(e["content"]["body"]) for e in events if e["sender"] == ME and "body" in e["content"]][1:]


@pytest.mark.parametrize(
    ("typed", "text", "language"),
    [
        ("!datenschutz", "privacy_overview", "de"),
        ("  !Datenschutz. ", "privacy_overview", "de"),
        ("! datenschutz", "privacy_overview", "de"),
        ("!PRIVACY?", "privacy_overview", "en"),
        ("!impressum", "imprint", "de"),
        ("!imprint", "imprint", "en"),
    ],
)
async def test_a_wish_is_answered_in_its_language_and_keeps_no_colleague_busy(
    world: World, typed: str, text: str, language: str
) -> None:
    chat = await world.chat(ANNA)

    await world.says(ANNA, chat, typed)

    assert said(world, chat) == [PRIVACY.text(text, language).text]
    customer = await rooms.of_user(world.database, ANNA)
    assert customer
    assert await cases.latest_of(world.database, customer) is None


async def test_words_beside_a_wish_are_for_people_too(world: World) -> None:
    chat = await world.chat(ANNA)

    await world.says(ANNA, chat, "!datenschutz\nBitte löschen Sie alles.")

    assert said(world, chat) == [PRIVACY.text("privacy_overview", "de").text]
    assert (await world.case_room(ANNA)).texts()[-1] == "!datenschutz\nBitte löschen Sie alles."


@pytest.mark.parametrize(
    "typed", ["datenschutz", "!datenschut", "!hilfe", "Was ist mit !datenschutz?", "!", "! Achtung"]
)
async def test_anything_else_goes_to_people_as_it_is(world: World, typed: str) -> None:
    chat = await world.chat(ANNA)

    await world.says(ANNA, chat, typed)

    assert (await world.case_room(ANNA)).texts()[-1] == typed
    assert said(world, chat) == []


async def test_without_a_controller_people_answer(world: World) -> None:
    world.privacy = None
    await world.restart()
    chat = await world.chat(ANNA)

    await world.says(ANNA, chat, "!datenschutz")

    assert (await world.case_room(ANNA)).texts()[-1] == "!datenschutz"


async def test_a_wish_beyond_the_limit_is_not_lost(world: World) -> None:
    world.rule(automatic_per_hour=2)
    chat = await world.chat(ANNA)

    for _ in range(3):
        await world.says(ANNA, chat, "!impressum")

    imprint = PRIVACY.text("imprint", "de").text
    answers = said(world, chat).count(imprint)
    assert 1 <= answers <= 2
    assert (await world.case_room(ANNA)).texts().count("!impressum") == 3 - answers


async def test_a_colleague_who_types_it_stays_inside(world: World) -> None:
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "Hallo")
    before = len(world.server.rooms[chat].events)

    await world.says(JAN, (await world.case_room(ANNA)).room_id, "!impressum")

    assert len(world.server.rooms[chat].events) == before


@given(st.text())
def test_understanding_a_customer_is_total(text: str) -> None:
    found = wished(text)

    assert found is None or text.strip().startswith("!")


@given(st.sampled_from(sorted(WISHES)), st.sampled_from(["", ".", "!", "?"]), st.text(st.characters(categories=["L"])))
def test_every_word_is_understood_with_what_follows(word: str, end: str, rest: str) -> None:
    wish, language = WISHES[word]

    assert wished(f"!{word.upper()}{end} {rest}") == Wished(wish, language, rest)
    assert {wish for wish, _ in WISHES.values()} == set(Wish)


async def test_what_was_planned_is_said_though_the_controller_is_gone_by_now(world: World) -> None:
    chat = await world.chat(ANNA)
    world.server.fail_at(1, "before", Crash())
    with pytest.raises(Crash):
        await world.says(ANNA, chat, "!impressum")
    world.privacy = None
    await world.restart()
    await world.run()

    assert PRIVACY.text("imprint", "de").text in said(world, chat)
