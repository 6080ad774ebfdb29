"""The situations of a first contact, one by one: what somebody is shown, what staff get, and whether they may be asked."""

from dataclasses import replace

import pytest

from bot.domain.consent import Standing
from bot.domain.ids import UserId
from bot.domain.ledger.entries import LedgerKind
from bot.domain.purpose import Federation, Privacy
from bot.privacy.loading import load
from bot.store import consents, suppression
from tests.a_business import OPERATOR
from tests.flows.consents import (
    NEWS,
    POLL,
    agreed,
    all_due,
    ask,
    asked,
    customer,
    entries,
    ours,
    reply_to,
    says,
    second_session,
    standing,
    types,
)
from tests.flows.world import ANNA, BERT, JAN, World

CARLA = UserId("@carla:example.org")
ENGLISH = "Hello, I have a problem with my brakes, can you help me?"


def privacy(world: World) -> Privacy:
    assert world.privacy
    return world.privacy


def notice(world: World, language: str = "de") -> str:
    return privacy(world).notice(language).text


def questions(world: World, room: str) -> int:
    return list(types(world, room)).count(f"{POLL}.start")  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------- who writes, and how


async def test_row_new_the_text_comes_in_the_language_of_the_first_message(world: World) -> None:
    """Both came before the bot could answer: it has the words to go by."""
    chat = await world.comes(ANNA)
    await says(world, ANNA, chat, ENGLISH)

    assert ours(world, chat)[-1] == notice(world, "en")
    shown = (await entries(world, LedgerKind.NOTICE_SHOWN))[-1]
    assert shown.fact
    assert (shown.fact.details["language"], shown.fact.details["text_sha256"]) == (
        "en",
        privacy(world).notice("en").sha256,
    )
    assert (await world.case_room(ANNA)).texts()[-1] == ENGLISH


async def test_row_new_whoever_was_greeted_in_another_language_is_shown_the_text_in_theirs(world: World) -> None:
    chat = await world.chat(ANNA)
    await says(world, ANNA, chat, ENGLISH)
    await says(world, ANNA, chat, "Guten Tag, ich habe noch eine Frage und möchte einen Termin")

    assert ours(world, chat) == [notice(world), notice(world, "en")]


async def test_row_new_a_word_or_two_change_nothing(world: World) -> None:
    chat = await world.chat(ANNA)
    await says(world, ANNA, chat, "Help, can you?")

    assert ours(world, chat) == [notice(world)]


@pytest.mark.parametrize(("word", "reaches_staff"), [("English", True), ("!english", False)])
async def test_row_new_one_word_changes_the_language_of_all_that_follows(
    world: World, word: str, reaches_staff: bool
) -> None:
    chat = await second_session(world)
    before = len(ours(world, chat))
    await says(world, ANNA, chat, word)
    english = world.texts.catalogue["en"]["customer.language"]
    assert ours(world, chat)[before:] == [notice(world, "en"), english]
    assert (word in (await world.case_room(ANNA)).texts()) is reaches_staff

    await world.says(JAN, (await world.case_room(ANNA)).room_id, "!zu")
    text, _ = await ask(world, chat)
    assert privacy(world).question(NEWS, "en").text in ours(world, chat)
    await says(world, ANNA, chat, "yes", **reply_to(text))
    assert ours(world, chat)[-1].startswith("Thank you. Saved on")
    await world.says(JAN, (await world.case_room(ANNA)).room_id, "!fertig")
    assert "pick-up code" in ours(world, chat)[-1]
    await says(world, ANNA, chat, "STOP")
    assert ours(world, chat)[-1].startswith("Done: your withdrawal")

    await says(world, ANNA, chat, "Deutsch")
    assert ours(world, chat)[-1] == world.texts.catalogue["de"]["customer.language"]
    await says(world, ANNA, chat, "Deutsch")
    assert ours(world, chat)[-1] == world.texts.catalogue["de"]["customer.language"]
    assert ours(world, chat).count(notice(world)) == 1


async def test_row_federated_the_text_says_that_another_provider_has_a_copy(world: World) -> None:
    chat = await world.chat(ANNA)
    await says(world, ANNA, chat, "Was kostet ein Ölwechsel?")

    assert "speichert dieser eine eigene Kopie unseres Chats" in ours(world, chat)[0]
    assert "Was kostet ein Ölwechsel?" in (await world.case_room(ANNA)).texts()


async def test_row_federated_on_a_closed_server_the_text_says_nothing_of_other_providers(world: World) -> None:
    world.privacy = load(replace(OPERATOR, federation=Federation.CLOSED, edition=2)).privacy
    await world.restart()
    chat = await world.chat(CARLA)

    assert "eigene Kopie" not in ours(world, chat)[0]


async def test_row_entry_what_stood_on_a_page_or_a_slip_is_shown_in_the_chat_all_the_same(world: World) -> None:
    """Whoever comes by the door was shown its words there; we cannot know that they read them."""
    inbox = world.made("inbox:annahme")[0].room_id
    await world.says(JAN, inbox, "!neukunde")
    (account,) = world.server.accounts
    chat = await world.chat(account)
    await says(world, account, chat, "Was kostet ein Ölwechsel?")

    assert ours(world, chat) == [notice(world)]
    assert OPERATOR.controller.privacy_url in ours(world, chat)[0]
    assert len(await entries(world, LedgerKind.NOTICE_SHOWN, user=account)) == 1


async def test_row_unencrypted_nothing_is_relayed_until_there_is_an_encrypted_chat(world: World) -> None:
    chat = await world.comes(BERT, encrypted=False)
    await world.run()
    await world.says(BERT, chat, "mein Kennzeichen ist M-AB 123")
    room = next(r for r in world.server.rooms.values() if r.mark == "customer")
    assert not world.made("case")
    await world.joins(BERT, room.room_id)
    await says(world, BERT, room.room_id, "guten Tag")

    assert room.texts() == [notice(world)]
    assert "guten Tag" in (await world.case_room(BERT)).texts()
    assert not any("M-AB 123" in text for text in (await world.case_room(BERT)).texts())


# ------------------------------------------------------------------------------------------------- who may not be asked


@pytest.mark.parametrize(
    "words", ["Ich bin 15.", "I'm 14, can you fix my moped?", "hallo, bin erst 15 und brauche Hilfe"]
)
async def test_row_minor_whoever_says_so_at_once_is_served_and_never_asked(world: World, words: str) -> None:
    chat = await world.chat(ANNA)
    await says(world, ANNA, chat, words)
    case = await world.case_room(ANNA)
    assert words in case.texts()
    assert any("16" in text for text in ours(world, chat)[1:])

    await world.says(JAN, case.room_id, "!zu")
    await world.says(JAN, case.room_id, "!fragen neuigkeiten")
    await says(world, ANNA, chat, "!ja neuigkeiten")
    assert questions(world, chat) == 0
    assert await standing(world) is Standing.NONE


async def test_row_minor_an_open_question_is_over(world: World) -> None:
    chat, text, _ = await asked(world)
    await says(world, ANNA, chat, "Ich bin 15.")
    await all_due(world)
    await says(world, ANNA, chat, "ja", **reply_to(text))

    assert await standing(world) is Standing.INVALIDATED
    assert f"{POLL}.end" in types(world, chat)


async def test_row_closed_one_purpose_may_be_asked_for_and_not_two(world: World) -> None:
    chat, text, _ = await asked(world)
    case = await world.case_room(ANNA)
    await world.says(JAN, case.room_id, "!fragen umfragen")
    await says(world, ANNA, chat, "nein", **reply_to(text))
    await world.says(JAN, case.room_id, "!fragen umfragen")

    assert questions(world, chat) == 1
    world.later(days=60)
    await says(world, ANNA, chat, "etwas Neues")
    await world.says(JAN, (await world.case_room(ANNA)).room_id, "!fragen neuigkeiten")
    assert questions(world, chat) == 1, "a year has not passed"
    await world.says(JAN, (await world.case_room(ANNA)).room_id, "!fragen umfragen")
    assert questions(world, chat) == 2


async def test_row_stop_nothing_was_subscribed_and_nobody_is_asked(world: World) -> None:
    chat = await world.comes(BERT)
    await says(world, BERT, chat, "Stop")

    assert ours(world, chat) == [notice(world), privacy(world).text("consent_none", "de").text]
    assert "Stop" in (await world.case_room(BERT)).texts()
    assert "🚫" in (await world.case_room(BERT)).texts()[-1]
    mark = suppression.mark_of(world.around.suppression_key, BERT)
    assert await suppression.is_blocked(world.database, mark, NEWS)


# ------------------------------------------------------------------------------------------------- who comes back


async def test_row_erased_whoever_comes_back_is_shown_the_text_anew_and_no_old_yes_counts(world: World) -> None:
    """What an erasure leaves: the list of those who want nothing, and neither yes nor question nor notice."""
    chat, _ = await agreed(world)
    await says(world, ANNA, chat, "stopp")
    async with world.database.transaction() as tx:
        await consents.forget(tx, await customer(world))
    again = await world.chat(ANNA)
    await says(world, ANNA, again, "Guten Tag, ich bin es wieder")

    assert ours(world, again) == [notice(world)]
    assert await standing(world) is Standing.NONE
    mark = suppression.mark_of(world.around.suppression_key, ANNA)
    assert await suppression.is_blocked(world.database, mark, NEWS)


async def test_row_blocked_whoever_may_write_again_knows_the_text_and_keeps_what_they_decided(world: World) -> None:
    chat, _ = await agreed(world)
    await says(world, ANNA, chat, "stopp")
    room = (await world.case_room(ANNA)).room_id
    await world.says(JAN, room, "!sperren 2h")
    await says(world, ANNA, chat, "verloren")
    before = len(ours(world, chat))
    world.later(hours=3)
    await says(world, ANNA, chat, "wieder da")

    assert ours(world, chat)[before:] == []
    assert (await world.case_room(ANNA)).texts()[-1] == "wieder da"
    assert await standing(world) is Standing.WITHDRAWN


# ------------------------------------------------------------------------------------------------- who is in the room


async def test_row_two_people_each_is_shown_the_text_and_decides_for_themselves(world: World) -> None:
    chat, text, _ = await asked(world)
    await world.joins_chat(BERT, chat)
    await world.says(JAN, (await world.case_room(ANNA)).room_id, "!erlauben")
    await says(world, BERT, chat, "ja", **reply_to(text))
    assert len(await entries(world, LedgerKind.NOTICE_SHOWN, user=BERT)) == 1
    assert (await standing(world), await standing(world, user=BERT)) == (Standing.REQUESTED, Standing.NONE)

    await says(world, ANNA, chat, "ja", **reply_to(text))
    await says(world, BERT, chat, "STOPP")
    assert await standing(world) is Standing.GIVEN
