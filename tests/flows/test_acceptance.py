"""The acceptance checks of the privacy design, by their numbers, on a real database and the fake homeserver."""

import asyncio
import base64
import hashlib
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pymerkle
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from bot.domain.consent import Standing
from bot.domain.errors import Refused, Transient
from bot.domain.ids import EventId, RoomId, SessionId, TxnId, UserId
from bot.domain.ledger.entries import LedgerKind
from bot.domain.message import Forged, Outgoing, Untrusted
from bot.domain.purpose import Privacy, digest
from bot.flows import superseding
from bot.flows.intake import RoomUpdate
from bot.privacy.loading import load
from bot.store import arrivals, consents, permits, privacy_texts, suppression
from tests.a_business import OPERATOR
from tests.flows.consents import (
    NEWS,
    POLL,
    SURVEY,
    agreed,
    all_due,
    ask,
    asked,
    counted,
    customer,
    deletes,
    edits,
    entries,
    known,
    news,
    ours,
    reply_to,
    says,
    second_session,
    standing,
    types,
    votes,
    writes,
)
from tests.flows.world import ANNA, BERT, CHEF, JAN, ME, Crash, World, a_world
from tests.waiting import until


def privacy(world: World) -> Privacy:
    assert world.privacy
    return world.privacy


def notice(world: World) -> str:
    return privacy(world).notice("de").text


# ---------------------------------------------------------------------------------------------------- first contact


async def test_ac_01_the_privacy_text_comes_first_and_the_message_needs_no_consent(world: World) -> None:
    chat = await world.chat(ANNA)
    question = await says(world, ANNA, chat, "Was kostet ein Ölwechsel?")

    first = world.server.rooms[chat].events[0]
    shown = (await entries(world, LedgerKind.NOTICE_SHOWN))[0]
    assert first["content"]["body"] == notice(world)
    assert shown.fact
    assert shown.fact.details["text_sha256"] == privacy(world).notice("de").sha256
    assert shown.fact.details["event"] == first["event_id"]
    copy = next(e for e in (await world.case_room(ANNA)).events if "Ölwechsel" in str(e["content"].get("body")))
    numbers = [int(e["event_id"].removeprefix("$event")) for e in (first, copy)]
    assert numbers == sorted(numbers)
    assert question
    assert f"{POLL}.start" not in types(world, chat)
    assert ours(world, chat) == [notice(world)]
    assert await standing(world) is Standing.NONE


async def test_ac_01_whoever_knows_the_text_gets_a_short_greeting_in_another_chat(world: World) -> None:
    await world.chat(ANNA)
    second = await world.chat(ANNA)

    assert len(ours(world, second)) == 1
    assert ours(world, second)[0].startswith("Guten Tag! Hier erreichen Sie")
    assert len(await entries(world, LedgerKind.NOTICE_SHOWN)) == 1


class Deaf:
    """A server that takes nothing into one room until it hears again."""

    def __init__(self, world: World, room: RoomId, error: Exception) -> None:
        self.send = world.server.send
        self.world, self.room, self.error, self.hears = world, room, error, False
        world.server.send = self

    async def __call__(self, room: RoomId, message: Outgoing, *, txn: TxnId) -> EventId:
        if room == self.room and not self.hears:
            self.world.later(minutes=6)
            raise self.error
        return EventId(await self.send(room, message, txn=txn))


@pytest.mark.parametrize(
    "error", [Refused("no device could read it", code="no_device"), Transient("not now", retry_after_s=0.001)]
)
async def test_ac_01_after_ten_minutes_the_message_goes_on_flagged_and_that_is_on_record(
    world: World, error: Exception
) -> None:
    chat = await world.comes(ANNA)
    server = Deaf(world, chat, error)
    if isinstance(error, Refused):
        world.later(minutes=11)
    await says(world, ANNA, chat, "Bremse quietscht")

    case = await world.case_room(ANNA)
    copy = next(text for text in case.texts() if "Bremse quietscht" in text)
    assert copy.startswith("📋")
    assert [e.fact.kind for e in await entries(world) if e.fact] == [LedgerKind.NOTICE_FAILED]

    server.hears = True
    await says(world, ANNA, chat, "hallo?")
    assert ours(world, chat) == [notice(world)]
    assert case.texts()[-1] == "hallo?"
    assert len(await entries(world, LedgerKind.NOTICE_SHOWN)) == 1


async def test_ac_01_the_text_waits_until_their_client_can_know_whose_device_we_are(world: World) -> None:
    chat = await world.comes(ANNA, unhurried=False)
    await world.run()
    assert ours(world, chat) == []

    await world.passes(seconds=4)
    assert ours(world, chat) == [notice(world)]


async def test_ac_01_whoever_writes_at_once_is_answered_at_once_and_shown_the_text_once(world: World) -> None:
    chat = await world.comes(ANNA, unhurried=False)
    await says(world, ANNA, chat, "Bremse quietscht")
    assert ours(world, chat) == [notice(world)]
    assert "Bremse quietscht" in (await world.case_room(ANNA)).texts()

    await world.passes(seconds=4)
    assert ours(world, chat) == [notice(world)]
    assert len(await entries(world, LedgerKind.NOTICE_SHOWN)) == 1


async def test_ac_01_who_cannot_be_read_at_first_is_shown_the_text_all_the_same(world: World) -> None:
    chat = await world.comes(ANNA, unhurried=False)
    world.server.missing_keys.add(SessionId("late"))
    await writes(world, ANNA, chat, "Bremse quietscht", session="late")
    world.later(seconds=11)
    await world.run()

    assert ours(world, chat)[0] == notice(world)


async def test_ac_01_who_has_left_before_the_text_came_is_not_told_of_groups(world: World) -> None:
    chat = await world.comes(ANNA, unhurried=False)
    await world.run()
    left = {"type": "m.room.member", "state_key": ANNA, "sender": ANNA, "content": {"membership": "leave"}}
    world.server.rooms[chat].members[ANNA] = "leave"
    await world.take_in(RoomUpdate(chat, "join", (left | {"event_id": "$left"},)))
    await world.passes(seconds=4)

    assert ours(world, chat) == []
    assert world.server.rooms[chat].members[ME] == "leave"


async def test_ac_01_in_an_unencrypted_chat_an_encrypted_one_is_offered_and_the_text_comes_there(world: World) -> None:
    chat = await world.comes(BERT, encrypted=False)
    await world.run()
    room = next(r for r in world.server.rooms.values() if r.mark == "customer")
    await world.joins(BERT, room.room_id)
    await says(world, BERT, room.room_id, "guten Tag")

    assert len(ours(world, chat)) == 1
    assert room.texts()[0] == notice(world)


async def test_ac_01_without_a_controller_everything_is_as_it_was(tmp_path: Path) -> None:
    async with a_world(tmp_path, set_up=False) as world:
        world.privacy = None
        await world.restart()
        await world.set_up()
        chat = await world.chat(ANNA)
        await says(world, ANNA, chat, "stopp")

        assert len(ours(world, chat)) == 1
        assert ours(world, chat)[0].startswith("Guten Tag! Hier erreichen Sie")
        assert "stopp" in (await world.case_room(ANNA)).texts()
        assert await entries(world) == []


async def test_ac_01_stop_as_the_first_word(world: World) -> None:
    chat = await world.chat(BERT)
    await says(world, BERT, chat, "STOPP")

    assert ours(world, chat) == [notice(world), privacy(world).text("consent_none", "de").text]
    assert "STOPP" in (await world.case_room(BERT)).texts()
    mark = suppression.mark_of(world.around.suppression_key, BERT)
    assert await suppression.is_blocked(world.database, mark, NEWS)
    await world.says(JAN, (await world.case_room(BERT)).room_id, "!zu")
    await world.says(JAN, (await world.case_room(BERT)).room_id, "!fragen neuigkeiten")
    assert f"{POLL}.start" not in types(world, chat)


async def test_ac_01_nobody_is_asked_in_the_first_session(world: World) -> None:
    chat = await world.chat(ANNA)
    await says(world, ANNA, chat, "erste")
    await world.says(JAN, (await world.case_room(ANNA)).room_id, "!fragen neuigkeiten")
    await says(world, ANNA, chat, "!ja neuigkeiten")

    assert f"{POLL}.start" not in types(world, chat)
    assert await standing(world) is Standing.NONE


# ---------------------------------------------------------------------------------------------------- taking back

STOPS = ["stopp", "STOPP", "Stopp.", "stop!", "!widerruf", "!stop", "abmelden", "keine Werbung"]


async def with_news_waiting(world: World, count: int) -> tuple[RoomId, EventId]:
    chat, yes = await agreed(world)
    for number in range(count):
        await news(world, f"Winterreifen {number}")
    return chat, yes


@pytest.mark.parametrize("how", [*STOPS, "reply", "deletion", "edit", "plain"])
async def test_ac_02_taking_back_is_as_easy_as_giving(world: World, how: str) -> None:
    chat, yes = await with_news_waiting(world, 3)
    before = len(ours(world, chat))
    copies = len((await world.case_room(ANNA)).texts())
    match how:
        case "reply":
            await says(world, ANNA, chat, "Stopp", **reply_to(yes))
        case "deletion":
            await deletes(world, ANNA, chat, yes)
        case "edit":
            await edits(world, ANNA, chat, yes, "lieber doch nicht")
        case "plain":
            await world.says(ANNA, chat, "stopp")
        case words:
            await says(world, ANNA, chat, words)

    assert await standing(world) is Standing.WITHDRAWN
    said = ours(world, chat)[before:]
    assert len(said) == 1, said
    assert "Gestoppte geplante Nachrichten: 3" in said[0]
    assert "?" not in said[0]
    mark = suppression.mark_of(world.around.suppression_key, ANNA)
    assert await suppression.is_blocked(world.database, mark, NEWS)
    assert len((await world.case_room(ANNA)).texts()) > copies
    world.later(hours=1)
    await all_due(world)
    await world.says(JAN, (await world.case_room(ANNA)).room_id, "Ihr Auto ist fertig")
    assert ours(world, chat)[before + 1 :] == ["Ihr Auto ist fertig"]


@pytest.mark.parametrize("choice", [(), ("no",)])
async def test_ac_02_a_vote_is_taken_back_by_another_vote(world: World, choice: tuple[str, ...]) -> None:
    chat, _, poll = await asked(world)
    await votes(world, ANNA, chat, poll, "yes")
    assert await standing(world) is Standing.GIVEN
    await votes(world, ANNA, chat, poll, *choice)

    assert await standing(world) is Standing.WITHDRAWN


async def test_ac_02_a_vote_is_taken_back_by_deleting_it(world: World) -> None:
    chat, _, poll = await asked(world)
    vote = await votes(world, ANNA, chat, poll, "yes")
    await deletes(world, ANNA, chat, vote)

    assert await standing(world) is Standing.WITHDRAWN


async def test_ac_02_one_purpose_may_be_named(world: World) -> None:
    chat, _ = await agreed(world)
    await second_purpose(world, chat)
    await says(world, ANNA, chat, "STOPP umfragen")

    assert (await standing(world), await standing(world, SURVEY)) == (Standing.GIVEN, Standing.WITHDRAWN)


async def second_purpose(world: World, chat: RoomId) -> None:
    """A further case later, in which the customer agrees to surveys as well."""
    world.later(days=60)
    await says(world, ANNA, chat, "etwas anderes")
    await world.says(JAN, (await world.case_room(ANNA)).room_id, "!zu")
    text, _ = await ask(world, chat, "umfragen")
    await says(world, ANNA, chat, "ja", **reply_to(text))
    assert await standing(world, SURVEY) is Standing.GIVEN


async def test_news_that_nobody_would_get_are_not_said_to_go_out(world: World) -> None:
    """While the ledger disagrees with its anchor no permit is given, and what was queued would be gone for good."""
    chat, _ = await agreed(world)
    told = ours(world, chat)
    admin = world.made("admin")[0]
    world.around.ledger.agrees = False
    await world.says(CHEF, admin.room_id, "!info Reifenwoche")
    await world.passes(minutes=5)

    assert ours(world, chat) == told
    why = world.around.say("consent.why_ledger")
    assert admin.texts()[-1] == world.around.say("consent.not_sent", why=why)


async def test_ac_02_staff_are_promised_no_second_confirmation(world: World) -> None:
    chat, _ = await agreed(world)
    case = await world.case_room(ANNA)
    await world.says(JAN, case.room_id, "!widerruf")
    told = ours(world, chat)
    await world.says(JAN, case.room_id, "!widerruf")

    assert ours(world, chat) == told
    assert case.texts()[-1] == world.around.say("consent.withdrawal_known")


async def test_ac_02_staff_hear_that_the_customer_could_not_be_told(world: World) -> None:
    chat, _ = await agreed(world)
    case = await world.case_room(ANNA)
    left = {"type": "m.room.member", "state_key": ANNA, "sender": ANNA, "content": {"membership": "leave"}}
    await world.take_in(RoomUpdate(chat, "join", (left | {"event_id": "$left"},)))
    await world.says(JAN, case.room_id, "!widerruf")

    assert await standing(world) is Standing.WITHDRAWN
    assert world.around.say("case.withdrawal_not_confirmed") in case.texts()


async def test_ac_02_staff_record_what_was_said_to_them_and_the_customer_is_told(world: World) -> None:
    chat, _ = await agreed(world)
    await world.says(JAN, (await world.case_room(ANNA)).room_id, "!widerruf neuigkeiten")

    assert await standing(world) is Standing.WITHDRAWN
    assert "Widerruf" in ours(world, chat)[-1]
    withdrawn = (await entries(world, LedgerKind.WITHDRAWN))[0]
    assert withdrawn.fact
    assert withdrawn.fact.details["form"] == "staff"


async def test_ac_02_it_never_stands_behind_a_waiting_item(world: World) -> None:
    """The lane is held for a key of an older message; what comes behind it takes effect all the same."""
    chat, _ = await agreed(world)
    world.server.missing_keys.add("lost")  # type: ignore[arg-type]
    await writes(world, ANNA, chat, "unlesbar", session="lost")
    stop = await writes(world, ANNA, chat, "stopp")
    running = asyncio.ensure_future(world.run())

    async def withdrawn() -> bool:
        return await standing(world) is Standing.WITHDRAWN

    await until(withdrawn, what="the withdrawal")
    waiting = await arrivals.get(world.database, stop)
    assert waiting
    assert waiting.state == "new"
    world.server.missing_keys.clear()
    await running
    assert (await world.case_room(ANNA)).texts().count("stopp") == 1
    assert len(await entries(world, LedgerKind.WITHDRAWN)) == 1
    assert sum("Widerruf gilt ab sofort" in text for text in ours(world, chat)) == 1


@pytest.mark.parametrize(
    ("doubt", "device", "told"), [(Untrusted, "unbelieved", "Ihr Widerruf gilt ab sofort."), (Forged, "unknown", "⚠️")]
)
async def test_ac_02_it_needs_no_device_that_is_believed(
    world: World, doubt: type[Untrusted] | type[Forged], device: str, told: str
) -> None:
    """Only whoever runs a server could forge it, and the customer loses nothing by it but a consent."""
    chat, _ = await agreed(world)
    world.server.doubted[SessionId("new phone")] = doubt
    before, case = len(ours(world, chat)), await world.case_room(ANNA)
    await says(world, ANNA, chat, "stopp", session="new phone")

    assert await standing(world) is Standing.WITHDRAWN
    (entry,) = await entries(world, LedgerKind.WITHDRAWN)
    assert entry.fact
    assert entry.fact.details["device"] == device
    said = ours(world, chat)[before:]
    assert sum("Gestoppte geplante Nachrichten" in text for text in said) == 1
    shown_about_it = said + [str(event["content"]) for event in world.server.rooms[chat].events]
    assert any(told in text for text in shown_about_it)
    assert "Angebote und Neuigkeiten" in case.texts()[-1]
    assert "nicht weitergegeben" in case.texts()[-1]
    assert "stopp" not in case.texts()


@pytest.mark.parametrize("doubt", [Untrusted, Forged])
async def test_ac_04_a_yes_needs_a_device_that_is_believed(world: World, doubt: type[Untrusted] | type[Forged]) -> None:
    chat, text, poll = await asked(world)
    world.server.doubted[SessionId("new phone")] = doubt
    await says(world, ANNA, chat, "ja", session="new phone", **reply_to(text))
    await says(world, ANNA, chat, "!ja neuigkeiten", session="new phone")
    await votes(world, ANNA, chat, poll, "yes", session="new phone")

    assert await standing(world) is Standing.REQUESTED
    assert await entries(world, LedgerKind.GIVEN) == []
    await says(world, ANNA, chat, "stopp", session="new phone")
    assert await standing(world) is Standing.WITHDRAWN


async def test_ac_01_stop_as_the_first_word_from_a_device_that_is_not_believed(world: World) -> None:
    chat = await world.comes(BERT)
    world.server.doubted[SessionId("new phone")] = Untrusted
    await says(world, BERT, chat, "STOPP", session="new phone")

    assert ours(world, chat)[0] == notice(world)
    assert privacy(world).text("consent_none", "de").text in ours(world, chat)
    mark = suppression.mark_of(world.around.suppression_key, BERT)
    assert await suppression.is_blocked(world.database, mark, NEWS)


async def test_ac_02_a_yes_that_is_read_after_a_later_stop_is_none(world: World) -> None:
    chat, text, _ = await asked(world)
    world.server.missing_keys.add("late")  # type: ignore[arg-type]
    await writes(world, ANNA, chat, "ja", session="late", **reply_to(text))
    world.later(seconds=11)
    await world.run()
    await says(world, ANNA, chat, "stopp")
    world.server.missing_keys.clear()
    async with world.database.transaction() as tx:
        await arrivals.wake_all_keyless(tx)
    await world.run()

    assert await standing(world) is Standing.WITHDRAWN
    assert await entries(world, LedgerKind.GIVEN) == []


async def test_ac_02_an_older_stop_that_is_read_late_takes_back_nothing_newer(world: World) -> None:
    chat, text, _ = await asked(world)
    world.server.missing_keys.add("late")  # type: ignore[arg-type]
    await writes(world, ANNA, chat, "stopp", session="late")
    world.later(seconds=11)
    await world.run()
    await says(world, ANNA, chat, "ja", **reply_to(text))
    assert await standing(world) is Standing.GIVEN
    world.server.missing_keys.clear()
    async with world.database.transaction() as tx:
        await arrivals.wake_all_keyless(tx)
    await world.run()

    assert await standing(world) is Standing.GIVEN


# ---------------------------------------------------------------------------------------------------- permits


async def test_ac_03_no_step_begins_after_the_withdrawal(world: World) -> None:
    chat, _ = await agreed(world)
    await news(world, "Winterreifen")
    before = ours(world, chat)
    await writes(world, ANNA, chat, "stopp")
    await all_due(world)

    assert not any("Winterreifen" in text for text in ours(world, chat)[len(before) :])


@pytest.mark.parametrize("how", ["before", "after"])
async def test_ac_03_what_had_begun_is_looked_for_and_told(world: World, how: str) -> None:
    chat, _ = await agreed(world)
    await news(world, "Winterreifen")
    world.server.fail_at(1, "after" if how == "after" else "before", Crash())
    with pytest.raises(Crash):
        await all_due(world)
    await world.restart()
    await writes(world, ANNA, chat, "stopp")
    await world.run()

    sent = sum("Winterreifen" in text for text in ours(world, chat))
    states = [row[0] for row in await world.database.all("SELECT state FROM permits")]
    assert (sent, states) == ((1, ["used"]) if how == "after" else (0, ["cancelled"]))
    assert "Schon unterwegs waren: 1" in ours(world, chat)[-1]


async def test_a_permit_is_refused_when_there_is_no_standing(world: World) -> None:
    chat = await second_session(world)
    world.around.ledger.agrees = True
    case = (await world.case_room(ANNA)).room_id
    await world.says(JAN, case, "!umfrage Wie war es?")

    assert not any("Wie war es?" in text for text in ours(world, chat))
    assert (await world.case_room(ANNA)).texts()[-1].startswith("Nicht gesendet")


async def test_a_survey_goes_out_once_a_month_to_whom_agreed_and_says_how_to_stop(world: World) -> None:
    chat, _ = await agreed(world, "umfragen")
    case = (await world.case_room(ANNA)).room_id
    await world.says(JAN, case, "!umfrage Zu früh?")
    assert "Register" in (await world.case_room(ANNA)).texts()[-1]
    world.around.ledger.agrees = True
    for text in ("Wie war es?", "Und jetzt?"):
        await world.says(JAN, case, f"!umfrage {text}")

    sent = [text for text in ours(world, chat) if text.endswith("STOPP umfragen")]
    assert [text.splitlines()[0] for text in sent] == ["Wie war es?"]
    assert [e.fact.details["purpose"] for e in await entries(world, LedgerKind.USED) if e.fact] == [SURVEY]
    await says(world, ANNA, chat, "nein", **reply_to(event_with(world, chat, "Wie war es?")))
    assert await standing(world, SURVEY) is Standing.WITHDRAWN


def event_with(world: World, room: RoomId, text: str) -> str:
    return str(next(e["event_id"] for e in world.server.rooms[room].events if text in str(e["content"].get("body"))))


# ---------------------------------------------------------------------------------------------------- strict grants


async def test_a_yes_is_confirmed_with_date_version_and_fingerprint(world: World) -> None:
    chat, text, poll = await asked(world)
    await says(world, ANNA, chat, "Ja!", **reply_to(text))

    given = (await entries(world, LedgerKind.GIVEN))[0]
    confirmation = ours(world, chat)[-1]
    assert await standing(world) is Standing.GIVEN
    assert given.fingerprint in confirmation
    assert "02.03.2026" in confirmation
    assert given.fact
    assert (given.fact.details["question"], given.fact.details["poll"]) == (text, poll)
    end = next(e for e in world.server.rooms[chat].events if e["type"] == f"{POLL}.end")
    assert end["content"]["m.relates_to"] == {"rel_type": "m.reference", "event_id": poll}
    assert (await world.case_room(ANNA)).texts()[-1].startswith("✅ Der Kunde hat zugestimmt")
    assert (await world.case(ANNA)).state == "closed"


@pytest.mark.parametrize("answer", ["yes", "no"])
async def test_a_vote_counts(world: World, answer: str) -> None:
    chat, _, poll = await asked(world)
    await votes(world, ANNA, chat, poll, answer)

    assert await standing(world) is (Standing.GIVEN if answer == "yes" else Standing.REFUSED)
    assert types(world, chat).count(f"{POLL}.end") == 1


async def test_the_command_counts_while_the_question_is_open(world: World) -> None:
    chat, _, _ = await asked(world)
    await says(world, ANNA, chat, "!ja neuigkeiten")

    assert await standing(world) is Standing.GIVEN


async def test_whoever_wishes_to_agree_is_shown_the_text_first(world: World) -> None:
    chat = await second_session(world)
    await says(world, ANNA, chat, "!ja neuigkeiten")

    assert await standing(world) is Standing.REQUESTED
    assert privacy(world).question(NEWS, "de").text in ours(world, chat)
    await says(world, ANNA, chat, "!ja neuigkeiten")
    assert await standing(world) is Standing.GIVEN


@pytest.mark.parametrize("words", ["ok", "👍", "ja, aber nur einmal", "ja?"])
async def test_ac_04_what_is_not_exactly_a_yes_is_none_and_said_once(world: World, words: str) -> None:
    chat, text, _ = await asked(world)
    for _ in range(2):
        await says(world, ANNA, chat, words, **reply_to(text))

    assert await standing(world) is Standing.REQUESTED
    unclear = privacy(world).text("consent_unclear", "de").text
    assert ours(world, chat).count(unclear) == 1
    assert await counted(world, words) == [False, False]


async def test_ac_04_a_yes_needs_the_question_the_person_and_a_new_message(world: World) -> None:
    chat, text, poll = await asked(world)
    mine = await says(world, ANNA, chat, "ja")
    await edits(world, ANNA, chat, mine, "ja")
    await world.take(
        chat,
        world.server.new_event(
            chat, ANNA, "m.reaction", {"m.relates_to": {"rel_type": "m.annotation", "event_id": text, "key": "👍"}}
        ),
    )
    await world.run()
    await says(world, JAN, chat, "ja", **reply_to(text))
    await votes(world, JAN, chat, poll, "yes")
    await votes(world, ANNA, chat, poll, "yes", "no")
    await votes(world, ANNA, chat, text, "yes")

    assert await standing(world) is Standing.REQUESTED
    assert await entries(world, LedgerKind.GIVEN) == []


async def test_ac_04_a_yes_comes_in_time(world: World) -> None:
    chat, text, _ = await asked(world)
    world.later(days=14, seconds=1)
    await says(world, ANNA, chat, "ja", **reply_to(text))

    assert await standing(world) is not Standing.GIVEN


async def test_ac_04_no_answer_is_a_no(world: World) -> None:
    chat, text, _ = await asked(world)
    world.later(days=14, seconds=1)
    await all_due(world)

    assert await standing(world) is Standing.DEFERRED
    assert types(world, chat)[-1] == f"{POLL}.end"
    await says(world, ANNA, chat, "ja", **reply_to(text))
    assert await standing(world) is Standing.DEFERRED


async def test_ac_04_a_yes_is_to_the_words_as_they_are_now(world: World) -> None:
    chat, text, _ = await asked(world)
    world.privacy = with_new_words(privacy(world), "question_news")
    await world.restart()
    await says(world, ANNA, chat, "ja", **reply_to(text))

    assert await standing(world) is not Standing.GIVEN
    assert f"{POLL}.end" in types(world, chat)


def with_new_words(before: Privacy, text_id: str) -> Privacy:
    """The same with other words in one text, under its next version."""
    texts = {
        (name, language): replace(text, version="9.1", wording=9, counts_from=9, text=text.text + " (neu)")
        if name == text_id
        else text
        for (name, language), text in before.texts.items()
    }
    return replace(before, texts=texts)


async def test_ac_06_consent_belongs_to_a_person_and_a_purpose(world: World) -> None:
    chat, _ = await agreed(world)
    world.around.ledger.agrees = True
    await world.says(JAN, (await world.case_room(ANNA)).room_id, "!umfrage Wie war es?")
    assert not any("Wie war es?" in text for text in ours(world, chat))

    await world.joins_chat(BERT, chat)
    await world.says(JAN, (await world.case_room(ANNA)).room_id, "!erlauben")
    await news(world, "Winterreifen")
    await all_due(world)
    assert not any("Winterreifen" in text for text in ours(world, chat))

    await says(world, BERT, chat, "stopp")
    assert await standing(world) is Standing.GIVEN
    assert await standing(world, user=BERT) is Standing.NONE


async def test_ac_08_other_words_supersede_what_was_agreed_to_until_it_is_renewed(world: World) -> None:
    chat, _ = await agreed(world)
    world.privacy = with_new_words(privacy(world), "question_news")
    await world.restart()
    assert await standing(world) is Standing.SUPERSEDED
    await news(world, "Winterreifen")
    await all_due(world)
    assert not any("Winterreifen" in text for text in ours(world, chat))

    await says(world, ANNA, chat, "wieder da")
    world.later(days=30)
    await says(world, ANNA, chat, "noch etwas")
    await world.says(JAN, (await world.case_room(ANNA)).room_id, "!zu")
    world.later(days=30)
    await says(world, ANNA, chat, "dritte Sache")
    text, _ = await ask(world, chat)
    await says(world, ANNA, chat, "ja", **reply_to(text))
    assert await standing(world) is Standing.GIVEN
    assert len(await entries(world, LedgerKind.RENEWED)) == 1


async def test_ac_08_a_new_notice_is_shown_once_at_the_next_contact(world: World) -> None:
    chat = await world.chat(ANNA)
    await says(world, ANNA, chat, "erste")
    world.privacy = with_new_words(privacy(world), "first_contact")
    await world.restart()
    for text in ("zweite", "dritte"):
        await says(world, ANNA, chat, text)

    assert [text for text in ours(world, chat) if text.endswith("(neu)")] == [notice(world)]


async def test_ac_16_whoever_is_too_young_is_not_asked_and_never_agreed(world: World) -> None:
    chat, _ = await agreed(world)
    await says(world, ANNA, chat, "Ich bin 14.")

    assert await standing(world) is Standing.INVALIDATED
    assert privacy(world).text("minor", "de").filled() in ours(world, chat)
    world.later(days=30)
    await says(world, ANNA, chat, "andere Sache")
    await world.says(JAN, (await world.case_room(ANNA)).room_id, "!zu")
    before = types(world, chat).count(f"{POLL}.start")
    await world.says(JAN, (await world.case_room(ANNA)).room_id, "!fragen umfragen")
    assert types(world, chat).count(f"{POLL}.start") == before


async def test_ac_22_the_table_is_what_follows_from_the_ledger(world: World) -> None:
    chat, _ = await agreed(world)
    await second_purpose(world, chat)
    await says(world, ANNA, chat, "stopp neuigkeiten")

    assert await consents.differing(world.database) == []
    async with world.database.transaction() as tx:
        await tx.run("UPDATE consents SET standing = 'given'")
    assert len(await consents.differing(world.database)) == 1


async def test_ac_23_nobody_who_was_erased_agrees_but_they_can_refuse(world: World) -> None:
    chat, text, poll = await asked(world)
    async with world.database.transaction() as tx:
        await consents.forget(tx, await customer(world))
    await says(world, ANNA, chat, "ja", **reply_to(text))
    await votes(world, ANNA, chat, poll, "yes")
    assert await standing(world) is Standing.NONE
    await says(world, ANNA, chat, "stopp")

    mark = suppression.mark_of(world.around.suppression_key, ANNA)
    assert await suppression.is_blocked(world.database, mark, NEWS)


# ---------------------------------------------------------------------------------------------------- what customers see


async def test_customers_see_what_they_agreed_to(world: World) -> None:
    chat, _ = await agreed(world)
    for word in ("!einwilligungen", "!meine"):
        await says(world, ANNA, chat, word)
        listed = ours(world, chat)[-1]
        assert "Angebote und Neuigkeiten: Ja seit 02.03.2026 (Fassung 2.1" in listed
    await says(world, ANNA, chat, "!consents")
    assert ours(world, chat)[-1].startswith("Your consents:")


async def test_once_is_enough_to_say_that_nothing_was_given(world: World) -> None:
    chat = await world.chat(ANNA)
    for _ in range(3):
        await says(world, ANNA, chat, "stopp")

    none = privacy(world).text("consent_none", "de").text
    assert ours(world, chat).count(none) == 1


async def test_whoever_agrees_again_is_written_to_again(world: World) -> None:
    chat, _ = await agreed(world)
    await says(world, ANNA, chat, "stopp")
    await says(world, ANNA, chat, "!ja neuigkeiten")
    await says(world, ANNA, chat, "!ja neuigkeiten")
    assert await standing(world) is Standing.GIVEN
    await news(world, "Winterreifen")
    await all_due(world)

    assert any("Winterreifen" in text for text in ours(world, chat))
    found = await known(world)
    assert found
    assert found.used_at == world.now()
    assert await permits.count_since(world.database, found.customer, NEWS, world.now() - timedelta(days=1)) == 1


async def test_texts_are_on_record_before_anybody_is_shown_them(world: World) -> None:
    chat, _, _ = await asked(world)
    await superseding.bring_up_to_date(world.around)
    rows = await world.database.all("SELECT count(*) FROM ledger_contents WHERE kind = 'text_published'")
    assert rows[0][0] == len(privacy(world).texts)
    assert chat


# ---------------------------------------------------------------------------------------------------- evidence


@pytest.mark.parametrize("how", ["reply", "vote", "command"])
async def test_ac_07_a_yes_can_be_shown_with_everything_that_was_said(world: World, how: str) -> None:
    chat, text, poll = await asked(world)
    match how:
        case "reply":
            yes = await says(world, ANNA, chat, "Ja.", **reply_to(text))
        case "vote":
            yes = await votes(world, ANNA, chat, poll, "yes")
        case _:
            yes = await says(world, ANNA, chat, "!ja neuigkeiten")

    (given,) = await entries(world, LedgerKind.GIVEN)
    assert given.fact
    said = given.fact.details
    stood_there = next(e["content"]["body"] for e in world.server.rooms[chat].events if e["event_id"] == text)
    on_record = await privacy_texts.by_hash(world.database, str(said["text_sha256"]))
    assert on_record == stood_there
    assert digest(stood_there) == said["text_sha256"]
    told = (said["question"], said["poll"], said["event"], said["room"], said["user"], said["form"])
    assert told == (text, poll, yes, chat, ANNA, how)
    assert (said["language"], said["text_version"], said["written_at"]) == (
        "de",
        "2.1",
        world.now().isoformat(timespec="milliseconds"),
    )
    assert said["words"] == {"reply": "Ja.", "vote": "yes", "command": "!ja neuigkeiten"}[how]


async def test_ac_07_the_proof_holds_for_tools_that_are_not_ours(world: World, tmp_path: Path) -> None:
    """pymerkle for the place in the tree, OpenSSL for the signature, SHA-256 alone for what was committed to."""
    chat, _ = await agreed(world)
    await says(world, ANNA, chat, "!beleg")

    (given,) = await entries(world, LedgerKind.GIVEN)
    content = world.server.rooms[chat].events[-1]["content"]
    assert (content["msgtype"], content["filename"]) == ("m.file", f"{given.fingerprint}.tlog-proof")
    proof = opened_file(world.server.files[content["file"]["url"]], content["file"]).decode()
    head, _, note = proof.partition("\n\n")
    lines = head.split("\n")
    extra, index = base64.b64decode(lines[1].removeprefix("extra ")), int(lines[2].removeprefix("index "))
    commitment = hashlib.sha256(b"consent-event/v1\x00" + extra).digest()
    assert json.loads(extra[32:])["words"] == "ja"
    body, _, signature = note.partition("\n\n")
    size, root = int(body.split("\n")[1]), base64.b64decode(body.split("\n")[2])

    oracle = pymerkle.InmemoryTree(algorithm="sha256")
    for row in await world.database.all("SELECT commitment FROM ledger ORDER BY position LIMIT ?", size):
        oracle.append_entry(b"\x01" + row[0])
    assert oracle.get_root() == root
    assert oracle.get_leaf(index + 1) == hashlib.sha256(b"\x00\x01" + commitment).digest()
    ours_of_it = [base64.b64decode(line) for line in lines[3:]]
    assert [bytes(hashed) for hashed in oracle.prove_inclusion(index + 1).path][1:] == ours_of_it

    signer = await world.around.ledger.signer(world.database)
    (tmp_path / "pem").write_text(signer.verifier.pem, encoding="utf-8")
    (tmp_path / "body").write_text(f"{body}\n", encoding="utf-8")
    (tmp_path / "sig").write_bytes(base64.b64decode(signature.split()[2])[4:])
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "pem", "-rawin", "-in", "body", "-sigfile", "sig"]
    done = await asyncio.create_subprocess_exec(*command, cwd=tmp_path, stdout=asyncio.subprocess.PIPE)
    assert b"Signature Verified Successfully" in (await done.communicate())[0]


def opened_file(data: bytes, file: dict[str, Any]) -> bytes:
    """Decrypt a file as a client does (spec: "Extensions to m.room.message msgtypes")."""
    assert hashlib.sha256(data).digest() == base64.b64decode(file["hashes"]["sha256"] + "=")
    key, iv = base64.urlsafe_b64decode(file["key"]["k"] + "="), base64.b64decode(file["iv"] + "==")
    decryptor = Cipher(AES(key), CTR(iv)).decryptor()
    return decryptor.update(data) + decryptor.finalize()


async def test_ac_07_a_proof_is_of_ones_own_entries_only(world: World) -> None:
    chat, _ = await agreed(world)
    (given,) = await entries(world, LedgerKind.GIVEN)
    bert = await world.chat(BERT)
    await says(world, BERT, bert, f"!beleg {given.fingerprint}")
    assert types(world, bert)[-1] == "m.room.message"
    assert world.server.rooms[bert].events[-1]["content"]["msgtype"] == "m.notice"
    await says(world, ANNA, chat, f"!proof {given.fingerprint.lower()}")
    assert world.server.rooms[chat].events[-1]["content"]["msgtype"] == "m.file"


async def test_ac_17_a_closed_server_lets_nobody_in_from_outside(world: World) -> None:
    world.privacy = load(replace(OPERATOR, edition=2)).privacy
    await world.restart()
    outside, inside = await world.invites(ANNA), await world.invites(UserId("@carla:example.org"))

    assert world.server.rooms[outside].members[ME] == "leave"
    assert world.server.rooms[inside].members[ME] == "join"


def test_ac_21_nothing_here_can_ask_an_identity_server_or_upload_an_address_book() -> None:
    """Every path that is ever asked for stands in the code: none is about other people's addresses."""
    code = Path(__file__).parents[2] / "bot"
    forbidden = ("/_matrix/identity", "3pid", "user_directory", "id_server", "id_access_token", "lookup_pepper")
    found = [
        (str(file.relative_to(code)), word)
        for file in code.rglob("*.py")
        if "demo" not in file.parts  # the server of the demo, whose configuration switches them off
        for word in forbidden
        if word in file.read_text(encoding="utf-8")
    ]
    assert found == []
