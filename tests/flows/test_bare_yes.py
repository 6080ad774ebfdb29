"""A yes that replies to nothing agrees to nothing, and nobody is left to believe that it did."""

import pytest

from bot.domain.consent import Standing
from bot.domain.ids import SessionId
from bot.domain.ledger.entries import LedgerKind
from bot.store import arrivals, questions
from tests.flows.consents import (
    NEWS,
    ask,
    asked,
    counted,
    customer,
    edits,
    entries,
    ours,
    reply_to,
    says,
    second_session,
    standing,
    votes,
    writes,
)
from tests.flows.shown import only
from tests.flows.world import ANNA, BERT, JAN, World


def unclear(world: World, language: str = "de") -> str:
    """What a customer is told whose yes is none."""
    assert world.privacy
    return world.privacy.text("consent_unclear", language).text


@pytest.mark.parametrize("words", ["Ja", "ja!", "!ja", "Yes", "Einverstanden.", "Ich willige ein"])
async def test_it_is_no_consent_and_both_sides_are_told_the_customer_once(world: World, words: str) -> None:
    chat, _, _ = await asked(world)
    for _ in range(2):
        await says(world, ANNA, chat, words)

    assert await standing(world) is Standing.REQUESTED
    assert await entries(world, LedgerKind.GIVEN) == []
    assert ours(world, chat).count(unclear(world)) == 1
    assert await counted(world, words) == [False, False]
    mark = (await world.case_room(ANNA)).texts()[-1]
    assert mark.startswith("ℹ️ Zählt nicht als Zustimmung zu „Angebote und Neuigkeiten“. Dafür muss der Kunde")


@pytest.mark.parametrize("how", ["reply", "vote"])
async def test_what_the_customer_is_told_to_do_then_counts(world: World, how: str) -> None:
    chat, text, poll = await asked(world)
    await says(world, ANNA, chat, "ok", **reply_to(text))
    await says(world, ANNA, chat, "Ja")
    assert ours(world, chat).count(unclear(world)) == 1

    if how == "reply":
        await says(world, ANNA, chat, "Ja", **reply_to(text))
    else:
        await votes(world, ANNA, chat, poll, "yes")
    assert await standing(world) is Standing.GIVEN


async def test_the_answer_to_a_mechanic_is_left_alone(world: World) -> None:
    chat, _, _ = await asked(world)
    await world.says(JAN, (await world.case_room(ANNA)).room_id, "Passt Dienstag?")
    await says(world, ANNA, chat, "Ja")
    question = only(world.server.rooms[chat], "Passt Dienstag?").event_id
    await says(world, ANNA, chat, "Ja", **reply_to(question))

    assert unclear(world) not in ours(world, chat)
    assert await counted(world, "Ja") == [True, True]


async def test_so_is_a_reply_to_an_older_message_of_theirs(world: World) -> None:
    chat = await second_session(world)
    await world.says(JAN, (await world.case_room(ANNA)).room_id, "Passt Dienstag?")
    await world.says(JAN, (await world.case_room(ANNA)).room_id, "!zu")
    await ask(world, chat)
    question = only(world.server.rooms[chat], "Passt Dienstag?").event_id
    await says(world, ANNA, chat, "Ja", **reply_to(question))

    assert unclear(world) not in ours(world, chat)
    assert await counted(world, "Ja") == [True]


async def test_what_a_mechanic_wrote_before_the_question_or_for_the_team_is_nothing_newer(world: World) -> None:
    chat = await second_session(world)
    room = (await world.case_room(ANNA)).room_id
    await world.says(JAN, room, "Passt Dienstag?")
    await world.says(JAN, room, "!zu")
    await ask(world, chat)
    await world.says(JAN, room, ". hat nach Reifen gefragt")
    await says(world, ANNA, chat, "Ja")

    assert ours(world, chat)[-1] == unclear(world)
    assert await counted(world, "Ja") == [False]


async def test_one_that_is_read_late_is_about_what_stood_there_then(world: World) -> None:
    chat, _, _ = await asked(world)
    world.server.missing_keys.add(SessionId("late"))
    await writes(world, ANNA, chat, "Ja", session="late")
    world.later(seconds=11)
    await world.run()
    await world.says(JAN, (await world.case_room(ANNA)).room_id, "Passt Dienstag?")
    world.server.missing_keys.clear()
    async with world.database.transaction() as tx:
        await arrivals.wake_all_keyless(tx)
    await world.run()

    assert await counted(world, "Ja") == [False]


@pytest.mark.parametrize("how", ["answered", "over", "withdrawn", "other words", "other chat", "edited", "not asked"])
async def test_there_must_be_an_open_question_in_this_chat_and_a_new_message(world: World, how: str) -> None:
    chat, words = await second_session(world), "Ja"
    text, _ = await ask(world, chat) if how != "not asked" else ("", "")
    match how:
        case "answered":
            await says(world, ANNA, chat, "nein", **reply_to(text))
        case "over":
            world.later(days=14, seconds=1)
        case "withdrawn":
            await says(world, ANNA, chat, "STOPP")
        case "other words":
            words = "Ja, gern am Dienstag"
        case "other chat":
            chat = await world.chat(ANNA)
        case "edited":
            words = "Jo"
    event = await says(world, ANNA, chat, words)
    if how == "edited":
        await edits(world, ANNA, chat, event, "Ja")

    assert unclear(world) not in ours(world, chat)
    assert await counted(world, words) == [True]


async def test_it_is_about_no_question_to_somebody_else(world: World) -> None:
    chat, _, _ = await asked(world)
    await world.joins_chat(BERT, chat)
    await world.says(JAN, (await world.case_room(ANNA)).room_id, "!erlauben")
    await says(world, BERT, chat, "Ja")

    assert unclear(world) not in ours(world, chat)
    assert (await questions.open_of(world.database, await customer(world), NEWS)) is not None


async def test_two_machines_do_not_talk_about_it(world: World) -> None:
    chat, _, _ = await asked(world)
    world.rule(automatic_per_hour=0)
    await says(world, ANNA, chat, "Ja")
    assert unclear(world) not in ours(world, chat)
    assert await counted(world, "Ja") == [False]

    world.rule(automatic_per_hour=1)
    world.later(hours=2)
    await says(world, ANNA, chat, "Ja")
    assert ours(world, chat).count(unclear(world)) == 1


async def test_it_is_said_once_when_the_customer_is_asked_which_case_it_belongs_to(world: World) -> None:
    chat = await second_session(world)
    first = (await world.case_room(ANNA)).room_id
    world.later(days=30)
    await says(world, ANNA, chat, "andere Sache")
    await world.says(JAN, first, "!auf")
    await ask(world, chat)
    for _ in range(2):
        await says(world, ANNA, chat, "Ja")
    assert await counted(world, "Ja") == []

    await says(world, ANNA, chat, "1002")
    await says(world, ANNA, chat, "Ja")
    assert ours(world, chat).count(unclear(world)) == 1
    assert await counted(world, "Ja") == [False, False, False]


async def test_looking_for_something_newer_reads_no_whole_table(world: World) -> None:
    await asked(world)
    plan = await world.database.all(f"EXPLAIN QUERY PLAN {questions.FOLLOWED}", 1, 10**9, 0)
    assert [str(row[3]) for row in plan if str(row[3]).startswith("SCAN")] == []
