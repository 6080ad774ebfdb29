"""Who looks after a case, and what staff say of it: typed or tapped, shown on the cards, kept about nobody."""

from datetime import UTC, timedelta
from typing import Any

import pytest

from bot.domain.case import CaseState
from bot.domain.command import CHIPS
from bot.domain.hours import Hours
from bot.domain.ids import EventId, RoomId, UserId
from bot.flows import cards
from bot.store import arrivals
from tests.flows.fake import FakeRoom
from tests.flows.shown import Shown, only, shown
from tests.flows.world import ANNA, CHEF, EVA, JAN, ME, World

Json = dict[str, Any]


class Counter:
    """A case of one customer, with its two cards, and two colleagues."""

    def __init__(self, world: World, chat: RoomId, case: RoomId) -> None:
        self.world, self.chat, self.case = world, chat, case
        self.inbox = world.made("inbox:annahme")[0].room_id

    async def card(self) -> Shown:
        """The card in the room, as it stands there once bookkeeping has been done."""
        row = await self.world.case(ANNA)
        await cards.keep_up(self.world.around, row.number)
        return self.event(self.case, row.card_event)

    async def inbox_card(self) -> Shown:
        row = await self.world.case(ANNA)
        await cards.keep_up(self.world.around, row.number)
        return self.event(self.inbox, row.inbox_event)

    def event(self, room: RoomId, event: str | None) -> Shown:
        return next(m for m in shown(self.world.server.rooms[room]) if m.event_id == event)

    def said(self) -> list[str]:
        return [m.body for m in shown(self.room) if m.sender == ME]

    @property
    def room(self) -> FakeRoom:
        return self.world.server.rooms[self.case]

    def customer_sees(self) -> list[str]:
        return [m.body for m in shown(self.world.server.rooms[self.chat]) if m.sender == ME]

    async def tap(self, key: str, room: RoomId, target: str, sender: UserId = EVA) -> EventId:
        relation = {"rel_type": "m.annotation", "event_id": target, "key": key}
        event = self.world.server.new_event(room, sender, "m.reaction", {"m.relates_to": relation})
        await self.world.take(room, event)
        await self.world.run()
        return EventId(event["event_id"])


@pytest.fixture
async def counter(world: World) -> Counter:
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "Bremse quietscht")
    return Counter(world, chat, (await world.case_room(ANNA)).room_id)


async def test_signs_stand_ready_on_both_cards(counter: Counter) -> None:
    assert (await counter.card()).reactions == {(ME, row.chip) for row in CHIPS}
    assert (await counter.inbox_card()).reactions == {(ME, "👍")}
    assert {"👍", "✅"} <= {row.chip for row in CHIPS}


@pytest.mark.parametrize("key", ["👍", "👍\ufe0f", "👍🏽"])
async def test_a_tap_on_the_card_takes_the_case(counter: Counter, key: str) -> None:
    sees = counter.customer_sees()
    await counter.tap(key, counter.case, (await counter.card()).event_id)

    assert counter.said()[-1] == f"👤 {EVA} kümmert sich um diesen Vorgang."
    assert f"Zuständig: {EVA}" in (await counter.card()).body
    assert (await counter.inbox_card()).body == f"Vorgang 1001: {EVA} kümmert sich."
    assert counter.customer_sees() == sees


async def test_a_tap_in_the_inbox_takes_it_and_is_said_in_the_room(counter: Counter) -> None:
    await counter.tap("👍\ufe0f", counter.inbox, (await counter.inbox_card()).event_id)

    assert counter.said()[-1] == f"👤 {EVA} kümmert sich um diesen Vorgang."
    assert (await counter.world.case(ANNA)).holder == EVA
    assert set(await arrivals.counts(counter.world.database)) == {"done"}


async def test_other_signs_and_other_targets_take_nothing(counter: Counter) -> None:
    inbox_card, copy = (await counter.inbox_card()).event_id, only(counter.room, "Bremse quietscht").event_id
    await counter.tap("✅", counter.inbox, inbox_card)
    await counter.tap("🔥", counter.case, (await counter.card()).event_id)
    await counter.tap("👍", counter.case, copy)
    await counter.tap("👍", counter.inbox, inbox_card, sender=UserId("@nobody:example.org"))

    row = await counter.world.case(ANNA)
    assert (row.holder, row.state.value) == (None, "owed")
    [chat] = [counter.world.server.rooms[counter.chat]]
    assert only(chat, "Bremse quietscht").reactions == {(ME, "👍")}, "a reaction to a message is the customer's"


async def test_a_tap_closes_and_the_typed_command_says_the_same(counter: Counter) -> None:
    await counter.world.says(JAN, counter.case, "!ich")
    await counter.tap("✅", counter.case, (await counter.card()).event_id)
    closed = counter.said()[-1]

    row = await counter.world.case(ANNA)
    assert (row.state.value, row.holder) == ("closed", None), "who looked after it is not kept"
    await counter.world.says(JAN, counter.case, "!auf")
    await counter.world.says(JAN, counter.case, "!zu")
    assert counter.said()[-1] == closed
    await counter.tap("👍", counter.case, (await counter.card()).event_id)
    assert counter.said()[-1].startswith("Der Vorgang ist geschlossen")


async def test_a_tap_that_is_taken_back_takes_nothing_from_the_customer(counter: Counter) -> None:
    world, chat = counter.world, counter.chat
    tap = await counter.tap("🟢", counter.case, (await counter.card()).event_id)
    told = world.server.rooms[chat].texts()
    assert told[-1].startswith("🟢")
    redaction = world.server.new_event(counter.case, EVA, "m.room.redaction", {"redacts": tap})
    await world.take(counter.case, redaction)
    await world.run()
    assert world.server.rooms[chat].texts() == told
    assert (await world.case(ANNA)).state is CaseState.READY


async def test_taking_over_and_letting_go(counter: Counter) -> None:
    for sender, text, reply in (
        (JAN, "!abgeben", "Um diesen Vorgang kümmert sich noch niemand."),
        (JAN, "!ich", f"👤 {JAN} kümmert sich um diesen Vorgang."),
        (JAN, "!take", "Um diesen Vorgang kümmern Sie sich schon."),
        (EVA, "!ich", f"👤 {EVA} übernimmt diesen Vorgang von {JAN}."),
        (JAN, "!wer", f"👤 {EVA} kümmert sich."),
        (JAN, "!abgeben", f"👤 {EVA} kümmert sich nicht mehr darum."),
    ):
        await counter.world.says(sender, counter.case, text)
        assert counter.said()[-1].startswith(reply)
    assert "Zuständig: noch niemand" in (await counter.card()).body


async def test_a_claimed_case_mentions_its_person_alone(counter: Counter) -> None:
    await counter.world.says(ANNA, counter.chat, "vorher")
    await counter.world.says(JAN, counter.case, "!ich")
    first = await counter.world.says(ANNA, counter.chat, "nachher")
    new = {"m.new_content": {"msgtype": "m.text", "body": "geändert"}}
    relation = {"m.relates_to": {"rel_type": "m.replace", "event_id": first}}
    await counter.world.says(ANNA, counter.chat, "foto.jpg", msgtype="m.image", url="mxc://far.example/gone")

    meant = {m.body: m.content["m.mentions"] for m in shown(counter.room) if m.sender == ME}
    assert meant["vorher"] == {}
    assert meant["nachher"] == {"user_ids": [JAN]}
    assert {"user_ids": [JAN]} in [said for body, said in meant.items() if body.startswith("📎")]
    await counter.world.says(ANNA, counter.chat, "* geändert", **new, **relation)
    assert only(counter.room, "geändert").content["m.mentions"] == {}


async def test_who_answers_second_within_a_minute_is_told_once(counter: Counter) -> None:
    told = f"👥 {JAN} hat dem Kunden"
    await counter.world.says(JAN, counter.case, "um acht")
    await counter.world.says(EVA, counter.case, ". weiß ich noch nicht")
    await counter.world.says(EVA, counter.case, "um neun")
    await counter.world.says(EVA, counter.case, "oder um zehn")
    await counter.world.says(JAN, counter.case, "um acht!")

    notices = [m for m in shown(counter.room) if m.body.startswith("👥")]
    assert [m.body.startswith(told) for m in notices] == [True]
    assert notices[0].quotes == only(counter.room, "um neun").event_id
    counter.world.later(seconds=61)
    await counter.world.says(EVA, counter.case, "bis dann")
    assert len([m for m in shown(counter.room) if m.body.startswith("👥")]) == 1
    assert counter.customer_sees()[-5:] == ["um acht", "um neun", "oder um zehn", "um acht!", "bis dann"]


async def test_when_a_customer_waits_its_person_is_called_first_and_then_the_desk(world: World) -> None:
    levels = (timedelta(minutes=15), timedelta(minutes=30))
    world.rule(hours=Hours(UTC, dict.fromkeys(range(7), ((0, 1440),))), escalation=levels)
    await world.says(ANNA, await world.chat(ANNA), "Bremse quietscht")
    case = (await world.case_room(ANNA)).room_id
    await world.says(JAN, case, "!ich")
    called = []
    for _ in levels:
        world.later(minutes=16)
        async with world.database.transaction() as tx:
            await arrivals.wake_due(tx, world.now())
        await world.run()
        called.append([m for m in shown(world.server.rooms[case]) if m.sender == ME][-1].content["m.mentions"])
    assert called == [{"user_ids": [JAN]}, {"user_ids": [JAN, EVA]}]


async def test_who_leaves_the_team_looks_after_nothing(counter: Counter) -> None:
    await counter.world.says(JAN, counter.case, "!ich")
    await counter.card()
    await counter.world.says(CHEF, counter.world.made("admin")[0].room_id, f"!entfernen {JAN}")

    assert (await counter.world.case(ANNA)).holder is None
    assert "Zuständig: noch niemand" in (await counter.card()).body


async def test_who_left_by_the_configuration_looks_after_nothing_from_the_next_start(counter: Counter) -> None:
    await counter.world.says(JAN, counter.case, "!ich")
    [desk] = counter.world.rules.desks
    counter.world.rule(desks=(type(desk)(desk.id, desk.name, (EVA,)),))
    await counter.world.restart()
    await counter.world.says(ANNA, counter.chat, "noch etwas")
    assert only(counter.room, "noch etwas").content["m.mentions"] == {}
    await counter.world.set_up()
    assert (await counter.world.case(ANNA)).holder is None


async def test_cards_are_edited_once_for_many_changes_and_again_when_it_is_as_before(counter: Counter) -> None:
    def edits() -> int:
        return len([e for e in counter.room.events if "m.new_content" in e["content"]])

    before = edits()
    for text in ("!ich", "!kfz m-ab 123", "!nr 4711", "!tag reifen hu"):
        await counter.world.says(JAN, counter.case, text)
    body = (await counter.card()).body
    await counter.card()
    assert edits() == before + 1
    for line in (f"Zuständig: {JAN}", "Kennzeichen: M-AB 123", "Auftragsnummer: 4711", "Schlagwörter: #reifen #hu"):
        assert line in body.splitlines()
    await counter.world.says(JAN, counter.case, "!nr 4712")
    await counter.card()
    await counter.world.says(JAN, counter.case, "!nr 4711")
    assert (await counter.card()).body == body


async def test_a_title_is_in_the_rooms_name_and_a_plate_never_is(counter: Counter) -> None:
    world = counter.world
    await world.says(JAN, counter.case, "!titel Bremse  vorn")
    assert (await world.case(ANNA)).name == "🔴 1001 · Bremse vorn"
    await world.says(JAN, counter.case, "!titel MAB123 Bremse")
    assert (await world.case(ANNA)).name == "🔴 1001 · MAB123 Bremse"
    await world.says(JAN, counter.case, "!kfz M-AB 123")
    assert (await world.case(ANNA)).name == "🔴 1001"
    await world.says(JAN, counter.case, "!titel Bremse m ab 123")
    assert counter.said()[-1].startswith("⚠️ Nicht geändert")
    assert (await world.case(ANNA)).name == "🔴 1001"
    await world.says(JAN, counter.case, "!kfz")
    assert counter.said()[-1] == "✏️ Kennzeichen: M-AB 123"
    await world.says(JAN, counter.case, "!kfz -")
    assert (await world.case(ANNA)).plate == ""


@pytest.mark.parametrize(
    "text", ["!titel " + "x" * 41, "!kfz " + "x" * 41, "!tag " + "x" * 41, "!tag a b c d e f g h i j k"]
)
async def test_what_is_too_long_is_refused_with_a_sentence(counter: Counter, text: str) -> None:
    before = await counter.world.case(ANNA)
    await counter.world.says(JAN, counter.case, text)

    assert counter.said()[-1].startswith("⚠️ Nicht geändert")
    assert await counter.world.case(ANNA) == before


async def test_tags_come_and_go(counter: Counter) -> None:
    await counter.world.says(JAN, counter.case, "!tag #Reifen hu reifen")
    await counter.world.says(JAN, counter.case, "!tag -hu ersatzwagen")
    assert (await counter.world.case(ANNA)).tags == ("reifen", "ersatzwagen")
