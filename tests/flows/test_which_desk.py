"""A new customer is asked once for whom their message is; nothing waits for it, and nothing is taken from anybody."""

from dataclasses import replace
from typing import Any

import pytest

from bot.domain.errors import Refused
from bot.domain.ids import DeskId, EventId, RoomId, UserId
from bot.flows.surroundings import Desk
from bot.store import arrivals, cases
from tests.flows.shown import shown
from tests.flows.test_handing import DESKS, TOM, inbox, people, said
from tests.flows.test_restored import backed_up
from tests.flows.world import ANNA, EVA, JAN, World

WIFE = UserId("@wife:elsewhere.example")
Json = dict[str, Any]


@pytest.fixture
async def shop(world: World) -> World:
    world.rule(desks=DESKS, ask_for_desk="number")
    await world.set_up()
    return world


async def asked(world: World, words: str = "Hallo") -> tuple[RoomId, RoomId]:
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, words)
    return chat, (await world.case_room(ANNA)).room_id


def questions(world: World, chat: RoomId) -> list[str]:
    return [text for text in world.server.rooms[chat].texts() if "Für wen ist" in text]


async def test_the_message_is_there_before_the_answer_and_the_answer_moves_the_case(shop: World) -> None:
    chat, case = await asked(shop)
    assert "Hallo" in said(shop, case)
    assert (await shop.case(ANNA)).desk == "annahme"
    [question] = questions(shop, chat)
    assert question.splitlines()[1:] == ["1 · Annahme", "2 · Werkstatt"]

    await shop.says(ANNA, chat, " 2. ")
    row = await shop.case(ANNA)
    assert (row.desk, row.state) == ("werkstatt", "owed")
    assert people(shop, case) == {EVA, TOM}
    assert said(shop, inbox(shop, "annahme"))[-1] == "Vorgang 1001: jetzt bei Werkstatt."
    assert said(shop, inbox(shop, "werkstatt"))[-1].startswith("Neuer Vorgang 1001")
    assert said(shop, case)[-1].startswith("↪️ Der Kunde wurde gefragt, für wen es ist, und hat gewählt: Werkstatt.\n➡️")
    assert "2" not in said(shop, case)
    assert said(shop, chat)[-1] == "Danke, unser Team weiß Bescheid: Werkstatt."
    await shop.says(ANNA, chat, "1")
    assert said(shop, case)[-1] == "1", "asked once; from now on a number is a message"
    assert (await shop.case(ANNA)).desk == "werkstatt"


async def test_a_vote_does_the_same_and_ends_the_poll(shop: World) -> None:
    shop.rule(ask_for_desk="poll")
    chat, _ = await asked(shop)
    events = shop.server.rooms[chat].events
    poll = next(event for event in events if event["type"] == "org.matrix.msc3381.poll.start")
    answers = poll["content"]["org.matrix.msc3381.poll.start"]["answers"]
    assert [answer["org.matrix.msc1767.text"] for answer in answers] == ["1 · Annahme", "2 · Werkstatt"]
    for name, desk in ((answers[1]["id"], "werkstatt"), (answers[0]["id"], "werkstatt")):
        vote = {
            "org.matrix.msc3381.poll.response": {"answers": [name]},
            "m.relates_to": {"rel_type": "m.reference", "event_id": poll["event_id"]},
        }
        await shop.take(chat, shop.server.new_event(chat, ANNA, "org.matrix.msc3381.poll.response", vote))
        await shop.run()
        assert (await shop.case(ANNA)).desk == desk
    assert [event["type"] for event in events].count("org.matrix.msc3381.poll.end") == 1


@pytest.mark.parametrize("body", ["Für die 2", "0", "3", "2 Reifen", "zwei", "02x", "²", "-1"])
async def test_what_is_no_number_of_the_question_is_just_a_message(shop: World, body: str) -> None:
    chat, case = await asked(shop)
    await shop.says(ANNA, chat, body)
    assert said(shop, case)[-1] == body
    assert (await shop.case(ANNA)).desk == "annahme"
    await shop.says(ANNA, chat, "2")
    assert (await shop.case(ANNA)).desk == "werkstatt", "the question is still open"


@pytest.mark.parametrize("text", ["!ich", "!an Teile"])
async def test_what_staff_have_begun_stays_where_it_is_and_they_are_told(shop: World, text: str) -> None:
    shop.rule(desks=(*DESKS, Desk(DESKS[0].id.__class__("teile"), "Teile", (JAN,))))
    await shop.set_up()
    chat, case = await asked(shop)
    await shop.says(JAN, case, text)
    before = await shop.case(ANNA)
    await shop.says(ANNA, chat, "2")
    after = await shop.case(ANNA)
    assert (after.desk, after.holder) == (before.desk, before.holder)
    assert said(shop, case)[-1] == "↪️ Der Kunde wurde gefragt, für wen es ist, und hat gewählt: Werkstatt."
    assert said(shop, chat)[-1] == "Danke, unser Team weiß Bescheid: Werkstatt."


async def test_a_number_that_answers_staff_is_a_message(shop: World) -> None:
    chat, case = await asked(shop)
    await shop.says(JAN, case, "Wie viele Reifen brauchen Sie?")
    before = said(shop, chat)
    await shop.says(ANNA, chat, "2")
    assert said(shop, case)[-1] == "2"
    assert said(shop, chat) == before
    assert (await shop.case(ANNA)).desk == "annahme"


@pytest.mark.parametrize("words", [("2",), ("Nochmal: Hallo", "2")])
async def test_who_could_not_be_asked_gives_no_answer(shop: World, words: tuple[str, ...]) -> None:
    async def refuses(_: object) -> RoomId:
        raise Refused("no", code="M_FORBIDDEN", status=403)

    chat, create = await shop.chat(ANNA), shop.server.create_room
    shop.server.create_room = refuses
    await shop.says(ANNA, chat, "Hallo")
    shop.server.create_room = create
    for body in words:
        await shop.says(ANNA, chat, body)
    assert questions(shop, chat) == []
    assert said(shop, (await shop.case_room(ANNA)).room_id)[-1] == "2"
    assert [item.reason for item in await arrivals.stuck(shop.database)] == ["M_FORBIDDEN"]


async def test_who_chooses_where_it_is_already_moves_nothing(shop: World) -> None:
    chat, case = await asked(shop)
    await shop.says(ANNA, chat, "1")
    assert (await shop.case(ANNA)).desk == "annahme"
    assert said(shop, case)[-1].endswith("gewählt: Annahme.")


@pytest.mark.parametrize("how", ["off", "keyword", "before", "alone"])
async def test_nobody_is_asked_without_need(shop: World, how: str) -> None:
    if how == "off":
        shop.rule(ask_for_desk="no")
    if how == "alone":
        shop.rule(desks=DESKS[:1])
    chat, case = await asked(shop, "Reifen" if how == "keyword" else "Hallo")
    if how == "before":
        assert len(questions(shop, chat)) == 1
        await shop.says(JAN, case, "!zu")
        shop.later(days=30)
        await shop.says(ANNA, chat, "noch etwas")
        assert (await shop.case(ANNA)).number == 1002
        assert len(questions(shop, chat)) == 1
    else:
        assert questions(shop, chat) == []
        await shop.says(ANNA, chat, "2")
        assert said(shop, (await shop.case_room(ANNA)).room_id)[-1] == "2"


async def test_a_guest_does_not_choose(shop: World) -> None:
    chat, case = await asked(shop)
    await shop.joins_chat(WIFE, chat)
    await shop.says(JAN, case, "!erlauben")
    await shop.says(WIFE, chat, "2")
    assert said(shop, case)[-1].endswith("2")
    assert (await shop.case(ANNA)).desk == "annahme"


async def test_an_answer_to_a_closed_case_opens_it_as_any_message_does(shop: World) -> None:
    chat, case = await asked(shop)
    await shop.says(JAN, case, "!zu")
    await shop.says(ANNA, chat, "2")
    assert "2" in said(shop, case)
    assert (await shop.case(ANNA)).desk == "annahme"


async def test_a_desk_that_is_gone_by_now_cannot_be_chosen(shop: World) -> None:
    """The number would be taken for the first desk, and the case would belong to nobody."""
    shop.rule(desks=(*DESKS, Desk(DeskId("teile"), "Teile", (TOM,))))
    await shop.set_up()
    chat, case = await asked(shop)
    shop.rule(desks=DESKS)
    await shop.says(ANNA, chat, "3")
    assert said(shop, case)[-1] == "3", "staff read what the customer answered"
    assert (await shop.case(ANNA)).desk == "annahme"
    await shop.says(ANNA, chat, "2")
    assert (await shop.case(ANNA)).desk == "werkstatt"


async def test_who_gets_the_case_is_told_in_their_language(shop: World) -> None:
    shop.rule(desks=(DESKS[0], replace(DESKS[1], language="en")))
    chat, case = await asked(shop)
    await shop.says(JAN, case, ". note")
    await shop.says(ANNA, chat, "2")
    chosen, recap = said(shop, case)[-2:]
    assert chosen.startswith("↪️ The customer was asked whom it is for and chose: Werkstatt.\n➡️ This case")
    assert recap.startswith("📜 What")
    assert said(shop, inbox(shop, "annahme"))[-1] == "Vorgang 1001: jetzt bei Werkstatt."


async def test_they_are_asked_and_thanked_in_their_language(shop: World) -> None:
    chat = await shop.chat(ANNA)
    await shop.says(ANNA, chat, "English")
    await shop.says(ANNA, chat, "Hello")
    assert any("whom is it for?" in text for text in shop.server.rooms[chat].texts())
    await shop.says(ANNA, chat, "2")
    assert said(shop, chat)[-1] == "Thank you, our team knows: Werkstatt."
    assert "hat gewählt: Werkstatt" in said(shop, (await shop.case_room(ANNA)).room_id)[-1]


@pytest.mark.parametrize("answers", ["2", "1"])
async def test_after_a_restore_the_answer_is_what_it_was(shop: World, answers: str) -> None:
    backup = await backed_up(shop)
    chat, case = await asked(shop)
    await shop.says(ANNA, chat, answers)
    before = await shop.case(ANNA)
    texts = {room: said(shop, room) for room in (chat, case)}
    await backup.restore()
    after = await shop.case(ANNA)
    assert (after.desk, after.number) == (before.desk, before.number)
    assert {room: said(shop, room) for room in (chat, case)} == texts
    assert not await arrivals.stuck(shop.database)


async def test_the_announcement_of_the_case_comes_before_its_move(shop: World) -> None:
    chat = await shop.chat(ANNA)
    await shop.writes(ANNA, chat, "Hallo")
    await shop.writes(ANNA, chat, "2")
    await shop.run()
    row = await cases.get(shop.database, (await shop.case(ANNA)).number)
    old = shown(shop.server.rooms[inbox(shop, "annahme")])[-1]
    assert (row.desk, old.body) == ("werkstatt", "Vorgang 1001: jetzt bei Werkstatt.")
    assert row.inbox_event != EventId(old.event_id)
