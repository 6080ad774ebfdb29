"""Consents about one case: asked by staff with what, to whom and what for, on record word for word, over with the case."""

from bot.domain.consent import Standing
from bot.domain.ids import CaseNumber, RoomId
from bot.domain.ledger.entries import LedgerKind
from bot.domain.purpose import PurposeId, digest
from bot.store import consents, privacy_texts, suppression
from tests.flows.consents import (
    NEWS,
    POLL,
    agreed,
    all_due,
    customer,
    deletes,
    entries,
    ours,
    reply_to,
    says,
    second_session,
    types,
    votes,
    writes,
)
from tests.flows.world import ANNA, JAN, World

SHARE = PurposeId("insurer_expert_share")
INSURER = "die Bilder vom Schaden; die Beispiel-Versicherung; sie den Schaden schnell bezahlen kann"
EXPERT = "der Kostenvoranschlag; Gutachterin Frau Beispiel; sie ihn prüfen kann"


async def open_case(world: World, chat: RoomId) -> CaseNumber:
    """A later matter of a customer who was there before."""
    world.later(days=30)
    await says(world, ANNA, chat, "ein Unfall")
    return (await world.case(ANNA)).number


async def ask(world: World, chat: RoomId, details: str = INSURER) -> tuple[str, str]:
    """Have the customer asked in their newest case; returns the events of text and poll."""
    await world.says(JAN, (await world.case_room(ANNA)).room_id, f"!fragen weitergabe {details}")
    poll = next(e for e in reversed(world.server.rooms[chat].events) if e["type"] == f"{POLL}.start")
    return poll["content"]["m.relates_to"]["m.in_reply_to"]["event_id"], poll["event_id"]


async def shared(world: World) -> tuple[RoomId, CaseNumber, str]:
    """A customer who agreed to sharing in an open case; returns chat, case and the yes."""
    chat = await second_session(world)
    number = await open_case(world, chat)
    text, _ = await ask(world, chat)
    return chat, number, await says(world, ANNA, chat, "ja", **reply_to(text))


async def standing(world: World, case: CaseNumber) -> Standing:
    known = await consents.find(world.database, await customer(world), SHARE, case)
    return known.standing if known else Standing.NONE


async def test_the_question_names_case_data_recipient_and_reason(world: World) -> None:
    chat, number, yes = await shared(world)

    question = next(text for text in ours(world, chat) if "zu Vorgang" in text)
    for part in (
        f"zu Vorgang {number}",
        "die Bilder vom Schaden",
        "die Beispiel-Versicherung",
        "damit sie den Schaden",
    ):
        assert part in question
    assert "{" not in question
    assert await standing(world, number) is Standing.GIVEN
    assert f"(Vorgang {number})" in ours(world, chat)[-1]
    assert f"(Vorgang {number})" in (await world.case_room(ANNA)).texts()[-1]
    assert await consents.differing(world.database) == []
    assert yes


async def test_what_was_shown_follows_from_the_registered_text_and_the_entry(world: World) -> None:
    chat, number, _ = await shared(world)

    (given,) = await entries(world, LedgerKind.GIVEN)
    assert given.fact
    said = given.fact.details
    assert said["only_case"] == number
    template = await privacy_texts.registered(world.database, str(said["text_sha256"]))
    named = {name: str(said[name]) for name in ("what", "recipient", "reason")}
    shown = template.filled(case=str(said["only_case"]), **named)
    assert shown in ours(world, chat)
    assert digest(shown) == said["shown_sha256"]


async def test_one_case_and_recipient_says_nothing_of_another(world: World) -> None:
    chat, first, yes = await shared(world)
    await world.says(JAN, (await world.case_room(ANNA)).room_id, f"!fragen weitergabe {EXPERT}")
    assert types(world, chat).count(f"{POLL}.start") == 1, "one question for each contact"
    world.later(days=30)
    await world.says(JAN, (await world.case_room(ANNA)).room_id, "!zu")
    second = await open_case(world, chat)
    assert (await standing(world, first), await standing(world, second)) == (Standing.EXPIRED, Standing.NONE)
    text, poll = await ask(world, chat, EXPERT)
    assert second != first
    await votes(world, ANNA, chat, poll, "yes")
    assert await standing(world, second) is Standing.GIVEN

    await deletes(world, ANNA, chat, yes)
    assert await standing(world, second) is Standing.GIVEN
    assert text


async def test_it_is_over_with_its_case_on_record_and_without_a_word(world: World) -> None:
    chat, number, _ = await shared(world)
    before = ours(world, chat)
    await world.says(JAN, (await world.case_room(ANNA)).room_id, "!zu")

    assert await standing(world, number) is Standing.EXPIRED
    (expired,) = await entries(world, LedgerKind.EXPIRED)
    assert expired.fact
    assert (expired.fact.details["reason"], expired.fact.details["only_case"]) == ("case_closed", number)
    assert ours(world, chat) == before
    assert await consents.differing(world.database) == []


async def test_an_open_question_is_over_with_its_case(world: World) -> None:
    chat = await second_session(world)
    number = await open_case(world, chat)
    text, _ = await ask(world, chat)
    await world.says(JAN, (await world.case_room(ANNA)).room_id, "!zu")
    await all_due(world)
    await says(world, ANNA, chat, "ja", **reply_to(text))

    assert await standing(world, number) is Standing.DEFERRED
    assert f"{POLL}.end" in types(world, chat)


async def test_a_yes_right_behind_the_end_of_its_case_is_too_late(world: World) -> None:
    """Nothing would end it any more: its case is closed already."""
    chat = await second_session(world)
    number = await open_case(world, chat)
    text, _ = await ask(world, chat)
    await world.writes(JAN, (await world.case_room(ANNA)).room_id, "!zu")
    await writes(world, ANNA, chat, "ja", **reply_to(text))
    await world.run()

    assert await standing(world, number) is Standing.DEFERRED
    assert f"{POLL}.end" in types(world, chat)
    assert await consents.differing(world.database) == []


async def test_taking_it_back_by_deleting_ends_this_one_and_forbids_no_other_question(world: World) -> None:
    chat, number, yes = await shared(world)
    await deletes(world, ANNA, chat, yes)

    assert await standing(world, number) is Standing.WITHDRAWN
    assert f"(Vorgang {number})" in ours(world, chat)[-1]
    mark = suppression.mark_of(world.around.suppression_key, ANNA)
    assert not await suppression.is_blocked(world.database, mark, SHARE)


async def test_stopp_ends_it_with_everything_else(world: World) -> None:
    chat, _ = await agreed(world)
    number = await open_case(world, chat)
    text, _ = await ask(world, chat)
    await says(world, ANNA, chat, "ja", **reply_to(text))
    await says(world, ANNA, chat, "STOPP")

    assert await standing(world, number) is Standing.WITHDRAWN
    known = await consents.find(world.database, await customer(world), NEWS)
    assert known
    assert known.standing is Standing.WITHDRAWN
    assert "Angebote und Neuigkeiten" in ours(world, chat)[-1]
    assert f"(Vorgang {number})" in ours(world, chat)[-1]


async def test_staff_are_told_what_a_question_needs(world: World) -> None:
    chat = await second_session(world)
    case = await world.case_room(ANNA)
    await world.says(JAN, case.room_id, f"!fragen weitergabe {INSURER}")
    assert "geschlossen" in case.texts()[-1]
    await open_case(world, chat)
    case = await world.case_room(ANNA)
    for details in (
        "",
        " die Bilder",
        " die Bilder; der Versicherung",
        " a; b; c; d",
        " a; ; c",
        f" {'x' * 301}; b; c",
    ):
        await world.says(JAN, case.room_id, f"!fragen weitergabe{details}")
        assert "!fragen weitergabe was genau; an wen oder wo; wozu" in case.texts()[-1]
    await world.says(JAN, case.room_id, "!fragen neuigkeiten jetzt gleich")
    assert "nichts weiter" in case.texts()[-1]
    assert f"{POLL}.start" not in types(world, chat)


async def test_customers_cannot_ask_themselves_what_only_staff_can_fill_in(world: World) -> None:
    chat = await second_session(world)
    await says(world, ANNA, chat, "!ja weitergabe")

    assert f"{POLL}.start" not in types(world, chat)
    assert "!ja weitergabe" in (await world.case_room(ANNA)).texts()


async def test_after_stopp_they_themselves_can_let_us_ask_again(world: World) -> None:
    chat, first, _ = await shared(world)
    await says(world, ANNA, chat, "STOPP")
    await world.says(JAN, (await world.case_room(ANNA)).room_id, "!zu")
    number = await open_case(world, chat)
    case = await world.case_room(ANNA)
    await world.says(JAN, case.room_id, f"!fragen weitergabe {EXPERT}")
    assert "„!ja weitergabe“" in case.texts()[-1]

    await says(world, ANNA, chat, "!ja weitergabe")
    assert "noch nichts" in ours(world, chat)[-1]
    assert "wieder fragen" in case.texts()[-1]
    assert (await standing(world, first), await standing(world, number)) == (Standing.WITHDRAWN, Standing.NONE)
    (lifted,) = await entries(world, LedgerKind.OBJECTION_LIFTED)
    assert lifted.fact
    assert lifted.fact.details["scope"] == SHARE
    assert lifted.fact.details["words"] == "!ja weitergabe"
    mark = suppression.mark_of(world.around.suppression_key, ANNA)
    assert not await suppression.is_blocked(world.database, mark, SHARE)
    assert await suppression.is_blocked(world.database, mark, NEWS), "one purpose, not all"
    assert await consents.differing(world.database) == []

    text, _ = await ask(world, chat, EXPERT)
    await says(world, ANNA, chat, "ja", **reply_to(text))
    assert await standing(world, number) is Standing.GIVEN


async def test_what_was_written_before_stopp_lets_nobody_ask(world: World) -> None:
    chat, _, _ = await shared(world)
    await writes(world, ANNA, chat, "!ja weitergabe")
    await writes(world, ANNA, chat, "STOPP")
    await world.run()
    mark = suppression.mark_of(world.around.suppression_key, ANNA)
    assert await suppression.is_blocked(world.database, mark, SHARE)
    assert await entries(world, LedgerKind.OBJECTION_LIFTED) == []


async def test_customers_see_which_case_it_is_about(world: World) -> None:
    chat, number, _ = await shared(world)
    await says(world, ANNA, chat, "!einwilligungen")

    assert f"(Vorgang {number}): Ja seit" in ours(world, chat)[-1]
