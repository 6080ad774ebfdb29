"""What customers and mechanics see, told as stories."""

from typing import Any

import pytest

from bot.domain.arrival import ItemKind
from bot.domain.case import CaseState
from bot.domain.ids import RoomId, SessionId, UserId
from bot.flows import identities, stuck
from bot.flows.gap import read_back
from bot.flows.intake import RoomUpdate
from bot.flows.messenger import Page
from bot.store import arrivals, links
from tests.flows.world import ANNA, BERT, CHEF, EVA, JAN, ME, World


async def test_the_first_message_opens_a_case_and_arrives_in_it(world: World) -> None:
    chat = await world.chat(ANNA)

    await world.says(ANNA, chat, "Meine Bremse quietscht.")

    case = await world.case(ANNA)
    room = await world.case_room(ANNA)
    assert case.number == 1001
    assert room.name == "🔴 1001"
    assert room.members[JAN] == "invite"
    assert room.texts()[-1] == "Meine Bremse quietscht."
    assert str(ANNA) in room.texts()[0]
    assert room.state["m.room.pinned_events", ""]["pinned"] == [case.card_event]
    assert not world.server.aliases


async def test_first_contact_says_one_plain_sentence(world: World) -> None:
    chat = await world.chat(ANNA)

    assert len(world.server.rooms[chat].texts()) == 1
    assert "Werkstatt Müller" in world.server.rooms[chat].texts()[0]


async def test_staff_just_type_and_the_customer_gets_it(world: World) -> None:
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "Hallo")
    case = await world.case(ANNA)
    assert case.room_id

    await world.says(JAN, case.room_id, "Kommen Sie um neun.")

    assert world.server.rooms[chat].texts()[-1] == "Kommen Sie um neun."
    assert (await world.case(ANNA)).state is CaseState.ANSWERED


async def test_notes_and_commands_never_leave(world: World) -> None:
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "Hallo")
    case = await world.case(ANNA)
    assert case.room_id
    before = len(world.server.rooms[chat].events)

    for text in (". der zahlt nie", "!notiz zahlt nie", "!hlife", "!hilfe", "  !zu", "!", "!auf"):
        await world.says(JAN, case.room_id, text)

    assert len(world.server.rooms[chat].events) == before


async def test_a_second_message_goes_into_the_same_case(world: World) -> None:
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "eins")
    await world.says(ANNA, chat, "zwei")

    assert (await world.case_room(ANNA)).texts()[-2:] == ["eins", "zwei"]
    assert len(world.made("case:1001")) == 1


async def test_two_customers_do_not_see_each_other(world: World) -> None:
    anna, bert = await world.chat(ANNA), await world.chat(BERT)
    await world.says(ANNA, anna, "von Anna")
    await world.says(BERT, bert, "von Bert")
    case = await world.case(ANNA)
    assert case.room_id
    await world.says(JAN, case.room_id, "für Anna")

    assert "für Anna" not in world.server.rooms[bert].texts()
    assert "von Anna" not in (await world.case_room(BERT)).texts()


async def test_a_closed_case_is_reopened_by_a_message_in_time(world: World) -> None:
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "Hallo")
    case = await world.case(ANNA)
    assert case.room_id
    await world.says(JAN, case.room_id, "!zu")
    assert (await world.case(ANNA)).state is CaseState.CLOSED
    world.later(days=3)

    await world.says(ANNA, chat, "noch etwas")

    assert (await world.case(ANNA)).number == case.number
    assert (await world.case(ANNA)).state is CaseState.OWED


async def test_a_message_long_after_closing_opens_a_new_case_that_names_the_old_one(world: World) -> None:
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "Hallo")
    case = await world.case(ANNA)
    assert case.room_id
    await world.says(JAN, case.room_id, "!zu")
    assert "nach längerer Zeit ein neuer" in world.server.rooms[case.room_id].texts()[-1]
    world.later(days=30)

    await world.says(ANNA, chat, "wieder ich")

    newer = await world.case(ANNA)
    assert newer.number == 1002
    assert newer.previous == 1001
    assert "1001" in (await world.case_room(ANNA)).texts()[0]


async def test_staff_who_type_in_a_closed_case_reopen_it(world: World) -> None:
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "Hallo")
    case = await world.case(ANNA)
    assert case.room_id
    await world.says(JAN, case.room_id, "!close")

    await world.says(JAN, case.room_id, "Ihr Wagen ist fertig.")

    assert world.server.rooms[chat].texts()[-1] == "Ihr Wagen ist fertig."
    assert (await world.case(ANNA)).state is CaseState.ANSWERED


async def test_an_edit_edits_the_copy(world: World) -> None:
    chat = await world.chat(ANNA)
    original = await world.says(ANNA, chat, "um acht")
    case = await world.case(ANNA)
    assert case.room_id
    copy = await links.counterpart(world.database, original, case.room_id)

    replacement = {"msgtype": "m.text", "body": "um neun"}
    relation = {"rel_type": "m.replace", "event_id": original}
    await world.says(ANNA, chat, "* um neun", **{"m.new_content": replacement, "m.relates_to": relation})

    last = world.server.rooms[case.room_id].events[-1]["content"]
    assert last["m.relates_to"] == {"rel_type": "m.replace", "event_id": copy}
    assert last["m.new_content"]["body"] == "um neun"


async def test_an_answer_to_a_customer_who_left_is_marked(world: World) -> None:
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "Hallo")
    case = await world.case(ANNA)
    assert case.room_id
    gone = {"type": "m.room.member", "state_key": ANNA, "sender": ANNA, "event_id": "$gone"}
    await world.take_in(RoomUpdate(chat, "join", (gone | {"content": {"membership": "leave"}},)))
    await world.run()

    answer = await world.says(JAN, case.room_id, "Hallo?")

    marks = [e["content"]["m.relates_to"] for e in world.server.rooms[case.room_id].events if e["type"] == "m.reaction"]
    assert [mark for mark in marks if mark["event_id"] != case.card_event] == [
        {"rel_type": "m.annotation", "event_id": answer, "key": "⚠️"}
    ]
    assert "Hallo?" not in world.server.rooms[chat].texts()


async def test_what_we_cannot_carry_is_said_to_both_sides(world: World) -> None:
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "Hallo")

    await world.says(ANNA, chat, "wichtig", msgtype="de.example.new")

    assert "unbekannte Art" in world.server.rooms[chat].texts()[-1]
    assert (await world.case_room(ANNA)).texts()[-1].endswith("\nwichtig")


async def test_a_notice_opens_no_case_and_gets_no_answer(world: World) -> None:
    chat = await world.chat(ANNA)
    before = len(world.server.rooms[chat].events)

    await world.says(ANNA, chat, "automatisch", msgtype="m.notice")

    assert not world.made("case:1001")
    assert len(world.server.rooms[chat].events) == before + 1


async def test_automatic_sentences_stop_when_two_machines_talk(world: World) -> None:
    chat = await world.chat(ANNA)

    for _ in range(30):
        await world.says(ANNA, chat, "x", msgtype="m.image")

    ours = [e for e in world.server.rooms[chat].events if e["sender"] == ME]
    assert len(ours) == 10


async def test_a_group_is_left_with_a_sentence(world: World) -> None:
    room = await world.chat(ANNA, others=(BERT,))

    assert world.server.rooms[room].members[ME] == "leave"
    assert len(world.server.rooms[room].texts()) == 1


async def test_an_unencrypted_room_gets_a_sentence_and_an_encrypted_one_is_offered(world: World) -> None:
    room = await world.chat(ANNA, encrypted=False)

    offered = [r for r in world.server.rooms.values() if r.members.get(ANNA) == "invite"]
    assert len(world.server.rooms[room].texts()) == 1
    assert len(offered) == 1
    assert offered[0].encrypted
    await world.joins(ANNA, offered[0].room_id)
    await world.says(ANNA, offered[0].room_id, "jetzt sicher")
    assert (await world.case_room(ANNA)).texts()[-1] == "jetzt sicher"


async def test_staff_never_become_customers(world: World) -> None:
    room = await world.chat(JAN)

    await world.says(JAN, room, "Hallo Bot")

    assert await world.database.all("SELECT * FROM customers") == []


async def test_a_mechanic_who_joins_gets_the_keys(world: World) -> None:
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "Hallo")
    case = await world.case(ANNA)
    assert case.room_id

    await world.joins(JAN, case.room_id)

    assert (case.room_id, JAN) in world.server.shared


async def test_a_message_without_key_lets_others_pass_and_is_delivered_late(world: World) -> None:
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "eins")
    world.server.missing_keys.add(SessionId("lost"))
    late = await world.writes(ANNA, chat, "zwei", session="lost")
    world.later(seconds=11)
    await world.run()
    await world.says(ANNA, chat, "drei")
    assert (await world.case_room(ANNA)).texts()[-1] == "drei"
    assert late in world.server.asked

    world.server.missing_keys.clear()
    async with world.database.transaction() as tx:
        await arrivals.wake_sessions(tx, {SessionId("lost")})
    await world.run()

    last = (await world.case_room(ANNA)).texts()[-1]
    assert last.endswith("zwei")
    assert last != "zwei"


async def test_both_sides_are_told_when_a_key_does_not_come(world: World) -> None:
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "eins")
    world.server.missing_keys.add(SessionId("lost"))
    await world.writes(ANNA, chat, "zwei", session="lost")
    world.later(seconds=11)
    await world.run()
    customer_texts = len(world.server.rooms[chat].texts())
    world.later(seconds=61)
    async with world.database.transaction() as tx:
        await arrivals.wake_due(tx, world.now())

    await world.run()

    assert len(world.server.rooms[chat].texts()) == customer_texts + 1
    assert "zwei" not in (await world.case_room(ANNA)).texts()
    admins = world.made("admin")[0].texts()
    assert len([text for text in admins if "Vorgang 1001" in text and "keinen Grund genannt" in text]) == 1


async def test_the_admins_hear_why_a_key_is_withheld(world: World) -> None:
    chat = await world.chat(ANNA)
    world.server.missing_keys.add(SessionId("lost"))
    world.server.withheld[SessionId("lost")] = "m.unverified"
    for text in ("eins", "zwei"):
        await world.writes(ANNA, chat, text, session="lost")
    for seconds in (11, 61):
        world.later(seconds=seconds)
        async with world.database.transaction() as tx:
            await arrivals.wake_due(tx, world.now())
        await world.run()

    admins = world.made("admin")[0].texts()
    assert len([text for text in admins if "m.unverified" in text]) == 1  # once for each session


async def test_a_key_from_our_own_backup_keeps_nobody_waiting(world: World) -> None:
    chat = await world.chat(ANNA)
    world.server.missing_keys.add(SessionId("old"))
    world.server.backed_up_keys.add(SessionId("old"))
    await world.writes(ANNA, chat, "eins", session="old")
    world.later(seconds=11)
    await world.run()
    assert "eins" in (await world.case_room(ANNA)).texts()


async def test_staff_hear_once_that_a_customers_app_cannot_be_reached(world: World) -> None:
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "eins")
    for _ in range(2):
        await identities.announce_unreached(world.around, chat, "session")
        await identities.announce_unreached(world.around, RoomId("!nobody"), "session")
    await world.run()
    texts = (await world.case_room(ANNA)).texts()
    assert len([text for text in texts if text.startswith("⏳")]) == 1


async def test_a_gap_is_filled_before_anything_newer(world: World) -> None:
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "0")
    for number in range(1, 250):
        world.server.new_event(chat, ANNA, "m.room.message", {"msgtype": "m.text", "body": str(number)})
    newest = world.server.new_event(chat, ANNA, "m.room.message", {"msgtype": "m.text", "body": "250"})
    place = str(len(world.server.rooms[chat].events) - 1)

    await world.take_in(RoomUpdate(chat, "join", (), (newest,), limited=True, prev_batch=place))
    await world.run()

    assert [t for t in (await world.case_room(ANNA)).texts() if t.isdigit()] == [str(n) for n in range(251)]


async def test_a_gap_in_which_the_server_goes_round_is_parked_and_holds_nobody_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "0")
    pages = iter(["two", "three", "two", "three"])

    async def page_back(room: RoomId, start: str | None, *, limit: int) -> Page:
        return Page((), next(pages))

    monkeypatch.setattr(world.server, "page_back", page_back)
    newest = world.server.new_event(chat, ANNA, "m.room.message", {"msgtype": "m.text", "body": "neu"})
    await world.take_in(RoomUpdate(chat, "join", (), (newest,), limited=True, prev_batch="one"))
    await world.run()

    assert (await world.case_room(ANNA)).texts().count("neu") == 1
    [gap] = [item for item in await arrivals.stuck(world.database) if item.kind is ItemKind.GAP]
    assert gap.reason == "goes_round"
    await world.says(JAN, (await world.case_room(ANNA)).room_id, "!haenger")
    assert "dieselbe Seite" in (await world.case_room(ANNA)).texts()[-1]


async def test_what_was_written_before_somebody_invited_us_once_more_is_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def invitation(before: str) -> dict[str, Any]:
        told = {"type": "m.room.member", "state_key": ME, "content": {"membership": "invite"}, "event_id": f"${before}"}
        return told | {"unsigned": {"prev_content": {"membership": before}}}

    past = ({"event_id": "$2"}, invitation("invite"), {"event_id": "$1"}, invitation("leave"), {"event_id": "$0"})

    async def page_back(room: RoomId, start: str | None, *, limit: int) -> Page:
        return Page(past, None)

    monkeypatch.setattr(world.server, "page_back", page_back)
    found = await read_back(world.around, RoomId("!x"), None, None)
    assert [event["event_id"] for event in found] == ["$2", "$invite", "$1"]


async def test_the_same_sync_again_changes_nothing(world: World) -> None:
    chat = await world.chat(ANNA)
    event = world.server.new_event(chat, ANNA, "m.room.message", {"msgtype": "m.text", "body": "einmal"})
    for _ in range(3):
        await world.take_in(RoomUpdate(chat, "join", (), (event,)))
        await world.run()

    assert (await world.case_room(ANNA)).texts().count("einmal") == 1


async def test_other_bots_are_ignored(world: World) -> None:
    room = await world.chat(UserId("@other-bot:example.org"))

    assert world.server.rooms[room].members[ME] == "leave"


async def test_who_is_an_admin_is_said_by_the_configuration_not_by_the_room(world: World) -> None:
    admin_room = world.made("admin")[0]
    admin_room.members[JAN] = "join"
    await world.says(JAN, admin_room.room_id, f"!vertrauen {EVA}")
    await world.says(JAN, admin_room.room_id, "!stimmt 1")
    assert world.server.confirmed == []
    assert len([text for text in admin_room.texts() if "Leitung" in text or "Verwaltung" in text]) == 2

    await world.says(CHEF, admin_room.room_id, f"!vertrauen {EVA}")
    assert world.server.confirmed == [EVA]


@pytest.mark.parametrize("event_type", ["m.call.invite", "m.rtc.notification"])
async def test_a_call_is_said_to_both_sides_in_words(world: World, event_type: str) -> None:
    chat = await world.chat(ANNA)
    event = world.server.new_event(chat, ANNA, event_type, {"call_id": "1"})
    await world.take(chat, event)
    await world.run()
    assert [text for text in world.server.rooms[chat].texts() if text.startswith("Anrufe kommen")]
    assert [text for text in (await world.case_room(ANNA)).texts() if text.startswith("📞")]
    assert await stuck.listed(world.database) == []
