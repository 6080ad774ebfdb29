"""What may be meant for colleagues is held: it goes to the customer only if somebody taps."""

from datetime import timedelta
from typing import Any
from unittest.mock import ANY

import pytest

from bot.domain.errors import Refused
from bot.domain.ids import EventId, RoomId, SessionId, TxnId, UserId
from bot.domain.message import Outgoing
from bot.store import arrivals
from tests.flows.fake import FakeRoom
from tests.flows.shown import only, shown
from tests.flows.world import ANNA, EVA, JAN, ME, Crash, World

Json = dict[str, Any]


class Shop:
    """One customer whose case is open."""

    def __init__(self, world: World, chat: RoomId, case: RoomId) -> None:
        self.world, self.chat, self.case = world, chat, case

    @property
    def case_room(self) -> FakeRoom:
        return self.world.server.rooms[self.case]

    def customer_sees(self) -> list[str]:
        return [message.body for message in shown(self.world.server.rooms[self.chat]) if message.sender == ME]

    def question(self) -> str:
        """The newest question, as it stands there now."""
        return self.questions()[-1]

    def questions(self) -> list[str]:
        signs = ("🔒 nur", "🔒 Im Team", "📤 Geht")
        return [m.body for m in shown(self.case_room) if m.sender == ME and m.body.startswith(signs)]

    def question_event(self) -> str:
        return [m.event_id for m in shown(self.case_room) if m.sender == ME and m.body.startswith("🔒 nur")][-1]

    async def reply(self, to: str, body: str, **content: Any) -> EventId:
        relation = {"m.relates_to": {"m.in_reply_to": {"event_id": to}}}
        return await self.world.says(JAN, self.case, body, **relation, **content)

    async def edit(self, event: str, body: str, sender: UserId = JAN) -> EventId:
        new = {"msgtype": "m.text", "body": body}
        relation = {"rel_type": "m.replace", "event_id": event}
        return await self.world.says(sender, self.case, f"* {body}", **{"m.new_content": new, "m.relates_to": relation})

    def deletion(self, event: str) -> Json:
        return self.world.server.new_event(self.case, JAN, "m.room.redaction", {"redacts": event})

    async def delete(self, event: str) -> None:
        await self.world.take(self.case, self.deletion(event))
        await self.world.run()

    async def tap(self, key: str, target: str | None = None, sender: UserId = EVA) -> None:
        relation = {"rel_type": "m.annotation", "event_id": target or self.question_event(), "key": key}
        event = self.world.server.new_event(self.case, sender, "m.reaction", {"m.relates_to": relation})
        await self.world.take(self.case, event)
        await self.world.run()

    async def minute(self) -> None:
        self.world.later(seconds=61)
        async with self.world.database.transaction() as tx:
            await arrivals.wake_due(tx, self.world.now())
        await self.world.run()


@pytest.fixture
async def shop(world: World) -> Shop:
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "Bremse quietscht")
    return Shop(world, chat, (await world.case_room(ANNA)).room_id)


async def test_a_reply_to_a_note_stays_inside_if_nobody_taps(shop: Shop) -> None:
    note = await shop.world.says(JAN, shop.case, ". sind die Beläge da?")
    await shop.reply(note, "ja, im Regal")
    assert "ja, im Regal" not in shop.customer_sees()
    assert shop.question().startswith("🔒 nur fürs Team")
    await shop.minute()
    assert "ja, im Regal" not in shop.customer_sees()
    assert shop.questions() == ["🔒 Im Team geblieben. Der Kunde hat es nicht bekommen."]
    assert set(await arrivals.counts(shop.world.database)) == {"done"}


@pytest.mark.parametrize("key", ["📤", "📤\ufe0f"])
async def test_one_tap_sends_it(shop: Shop, key: str) -> None:
    note = await shop.world.says(JAN, shop.case, ". sind die Beläge da?")
    await shop.reply(note, "ja, kommen Sie morgen")
    await shop.tap(key)
    assert shop.customer_sees()[-1] == "ja, kommen Sie morgen"
    assert shop.question() == "📤 Geht an den Kunden."
    await shop.minute()
    assert shop.customer_sees().count("ja, kommen Sie morgen") == 1
    assert set(await arrivals.counts(shop.world.database)) == {"done"}


async def test_one_tap_keeps_it_and_the_next_one_comes_too_late(shop: Shop) -> None:
    note = await shop.world.says(JAN, shop.case, ". Notiz")
    reply = await shop.reply(note, "geheim")
    question = shop.question_event()
    await shop.tap("🔒", target=reply)
    assert shop.question().startswith("🔒 Im Team geblieben")
    await shop.tap("📤", target=question)
    await shop.minute()
    assert "geheim" not in shop.customer_sees()
    assert set(await arrivals.counts(shop.world.database)) == {"done"}


async def test_the_chips_stand_there_to_be_tapped(shop: Shop) -> None:
    note = await shop.world.says(JAN, shop.case, ". Notiz")
    await shop.reply(note, "oder?")
    question = shop.question_event()
    chips = [e["content"]["m.relates_to"] for e in shop.case_room.events if e["type"] == "m.reaction"]
    assert [chip["key"] for chip in chips if chip["event_id"] == question] == ["🔒", "📤"]


@pytest.mark.parametrize(
    ("body", "content"),
    [
        ("@eva: schaust du mal?", {}),
        ("kannst du, Eva?", {"m.mentions": {"user_ids": [EVA]}}),
        ("@room wer hat Zeit?", {}),
        (f"bitte {EVA} fragen", {}),
        (
            "Eva: schaust du?",
            {
                "format": "org.matrix.custom.html",
                "formatted_body": f'<a href="https://matrix.to/#/{EVA}">Eva</a>: schaust du?',
            },
        ),
    ],
)
async def test_what_names_a_colleague_is_held(shop: Shop, body: str, content: Json) -> None:
    await shop.world.says(JAN, shop.case, body, **content)
    assert shop.customer_sees()[-1] != body
    assert shop.question().startswith("🔒 nur fürs Team")
    await shop.tap("📤")
    assert shop.customer_sees()[-1].replace("\u200b", "") == body


def in_thread(root: str, last: str) -> Json:
    """What Element Web writes in a thread: whatever came last is named for clients that know none."""
    relation = {"rel_type": "m.thread", "event_id": root, "is_falling_back": True, "m.in_reply_to": {"event_id": last}}
    return {"m.relates_to": relation}


async def test_a_thread_about_a_note_stays_inside(shop: Shop) -> None:
    note = await shop.world.says(JAN, shop.case, ". sind die Beläge da?")
    first = await shop.world.says(EVA, shop.case, "ja, Einkauf 30 Euro", **in_thread(note, note))
    assert shop.question().startswith("🔒 nur fürs Team")
    await shop.minute()
    await shop.world.says(JAN, shop.case, "dann nehmen wir 90", **in_thread(note, first))
    await shop.minute()
    assert not {"ja, Einkauf 30 Euro", "dann nehmen wir 90"} & set(shop.customer_sees())


async def test_a_thread_about_what_the_customer_wrote_goes_out_until_it_is_about_a_note(shop: Shop) -> None:
    copy = next(m.event_id for m in shown(shop.case_room) if m.body == "Bremse quietscht")
    answer = await shop.world.says(JAN, shop.case, "Kommen Sie um neun", **in_thread(copy, copy))
    assert shop.customer_sees()[-1] == "Kommen Sie um neun"
    await shop.world.says(JAN, shop.case, "oder um zehn", **in_thread(copy, answer))
    assert shop.customer_sees()[-1] == "oder um zehn"
    note = await shop.world.says(JAN, shop.case, ". hat sie bezahlt?", **in_thread(copy, answer))
    await shop.world.says(EVA, shop.case, "nein, nie", **in_thread(copy, note))
    await shop.minute()
    assert shop.customer_sees()[-1] == "oder um zehn"


async def test_polls_that_name_a_colleague_in_an_answer_are_held(shop: Shop) -> None:
    answers = [{"id": name, "body": f"@{name}"} for name in ("jan", "eva")]
    poll = {"m.poll.start": {"question": {"body": "Wer macht das?"}, "answers": answers}}
    await shop.world.take(shop.case, shop.world.server.new_event(shop.case, JAN, "m.poll.start", poll))
    await shop.world.run()
    assert not any("Wer macht das?" in body for body in shop.customer_sees())
    assert shop.question().startswith("🔒 nur fürs Team")


async def test_captions_that_name_a_colleague_are_held(shop: Shop) -> None:
    file = {"url": "mxc://x/y", "key": {}, "iv": "", "hashes": {}, "v": "v2"}
    await shop.world.says(JAN, shop.case, "@eva welche ist es?", msgtype="m.image", filename="a.jpg", file=file)
    assert shop.question().startswith("🔒 nur fürs Team")
    assert not any("welche ist es" in body for body in shop.customer_sees())


@pytest.mark.parametrize("body", ["schreiben Sie an eva@werkstatt.de", "Eva ist morgen da", "@evangelisch", "20@eva"])
async def test_other_words_go_out_at_once(shop: Shop, body: str) -> None:
    await shop.world.says(JAN, shop.case, body)
    assert shop.customer_sees()[-1] == body


async def test_replies_to_the_customer_and_to_answers_go_out_at_once(shop: Shop) -> None:
    copy = only(shop.case_room, "Bremse quietscht").event_id
    await shop.reply(copy, "bitte vorbeikommen", **{"m.mentions": {"user_ids": [ME]}})
    answer = await shop.world.says(EVA, shop.case, "ab acht")
    # Clients mention whom one replies to by themselves.
    await shop.reply(answer, "oder ab neun", **{"m.mentions": {"user_ids": [EVA]}})
    assert shop.customer_sees()[-3:] == ["bitte vorbeikommen", "ab acht", "oder ab neun"]
    assert shop.questions() == []


async def test_a_note_that_is_edited_into_an_answer_asks_first(shop: Shop) -> None:
    note = await shop.world.says(JAN, shop.case, ". morgen um acht")
    await shop.edit(note, "morgen um acht")
    assert "morgen um acht" not in shop.customer_sees()
    await shop.tap("📤")
    assert shop.customer_sees()[-1] == "morgen um acht"
    await shop.edit(note, "morgen um neun")  # from now on it is an answer like any other
    assert shop.customer_sees()[-1] == "morgen um neun"
    assert "morgen um acht" not in shop.customer_sees()


async def test_what_is_held_and_edited_is_asked_about_as_it_is_now(shop: Shop) -> None:
    note = await shop.world.says(JAN, shop.case, ". Notiz")
    reply = await shop.reply(note, "der Kunde nervt")
    await shop.edit(reply, "der Kunde wartet")
    await shop.tap("📤")
    assert shop.customer_sees()[-1] == "der Kunde wartet"
    await shop.minute()
    assert not any("nervt" in body for body in shop.customer_sees())
    assert set(await arrivals.counts(shop.world.database)) == {"done"}


@pytest.mark.parametrize("edits", [["der Kunde wartet"], ["der Alte wartet", "der Kunde wartet"]])
@pytest.mark.parametrize("on_message", [True, False])
async def test_a_tap_sends_what_stands_there_now(shop: Shop, on_message: bool, edits: list[str]) -> None:
    note = await shop.world.says(JAN, shop.case, ". Notiz")
    reply = await shop.reply(note, "der Kunde nervt")
    question = shop.question_event()
    for words in edits:
        await shop.edit(reply, words)
    await shop.tap("📤", target=reply if on_message else question)
    assert "der Kunde nervt" not in shop.customer_sees()
    assert shop.questions() == ["📤 Geht an den Kunden."], "one message, one question"
    await shop.minute()
    assert shop.customer_sees()[-1] == "der Kunde wartet"
    assert not {"der Kunde nervt", "der Alte wartet"} & set(shop.customer_sees())
    await shop.edit(reply, "bis morgen")
    assert shop.customer_sees()[-1] == "bis morgen"
    assert set(await arrivals.counts(shop.world.database)) == {"done"}


async def test_what_was_edited_and_then_deleted_does_not_go_out(shop: Shop) -> None:
    note = await shop.world.says(JAN, shop.case, ". Notiz")
    reply = await shop.reply(note, "der Kunde nervt")
    await shop.edit(reply, "der Kunde wartet")
    question = shop.question_event()
    deletion = shop.world.server.new_event(shop.case, JAN, "m.room.redaction", {"redacts": reply})
    await shop.world.take(shop.case, deletion)
    await shop.world.run()
    await shop.tap("📤", target=question)
    assert not any("Kunde" in body for body in shop.customer_sees())
    assert not any(words.startswith("📤") for words in shop.questions()), "nothing goes, so nothing says it does"
    assert set(await arrivals.counts(shop.world.database)) == {"done"}


async def test_what_is_held_can_be_deleted_or_made_a_note(shop: Shop) -> None:
    note = await shop.world.says(JAN, shop.case, ". Notiz")
    first, second = await shop.reply(note, "eins"), await shop.reply(note, "zwei")
    await shop.world.take(
        shop.case, shop.world.server.new_event(shop.case, JAN, "m.room.redaction", {"redacts": first})
    )
    await shop.edit(second, ". zwei")
    await shop.tap("📤", target=first)
    await shop.tap("📤", target=second)
    await shop.minute()
    assert not {"eins", "zwei", ". zwei"} & set(shop.customer_sees())
    assert set(await arrivals.counts(shop.world.database)) == {"done"}


async def test_what_is_held_keeps_nothing_else_waiting(shop: Shop) -> None:
    await shop.world.says(JAN, shop.case, "@eva?")
    await shop.world.says(JAN, shop.case, "bis morgen")
    assert shop.customer_sees()[-1] == "bis morgen"


async def test_only_staff_decide(shop: Shop) -> None:
    await shop.world.says(JAN, shop.case, "@eva?")
    await shop.tap("📤", sender=UserId("@stranger:example.org"))
    await shop.minute()
    assert "@eva?" not in shop.customer_sees()


async def test_a_restart_keeps_the_question(shop: Shop) -> None:
    await shop.world.says(JAN, shop.case, "@eva kommt gleich zu Ihnen")
    await shop.world.restart()
    await shop.tap("📤")
    assert shop.customer_sees()[-1] == "@eva kommt gleich zu Ihnen"


async def test_a_reply_to_a_copy_that_is_gone_by_now_goes_out(shop: Shop) -> None:
    copy = only(shop.case_room, "Bremse quietscht").event_id
    original = next(e["event_id"] for e in shop.world.server.rooms[shop.chat].events if e["sender"] == ANNA)
    shop.world.server.clear(shop.chat, EventId(original))
    redaction = shop.world.server.new_event(shop.chat, ANNA, "m.room.redaction", {"redacts": original})
    await shop.world.take(shop.chat, redaction)
    await shop.world.run()
    await shop.reply(copy, "bitte vorbeikommen")
    assert shop.customer_sees()[-1] == "bitte vorbeikommen"


async def test_a_reply_to_a_copy_that_is_not_in_the_tables_yet_goes_out(shop: Shop) -> None:
    shop.world.server.fail_at(1, "after", Crash())
    with pytest.raises(Crash):
        await shop.world.says(ANNA, shop.chat, "noch etwas")
    copy = only(shop.case_room, "noch etwas").event_id
    relation = {"m.relates_to": {"m.in_reply_to": {"event_id": copy}}}
    await shop.world.writes(JAN, shop.case, "verstanden", **relation)
    shop.world.later(minutes=5)
    await shop.world.restart()
    await shop.world.run()
    assert shop.customer_sees()[-1] == "verstanden"


@pytest.mark.parametrize("in_time", [True, False])
async def test_a_held_edit_that_was_edited_again_counts_no_more(shop: Shop, in_time: bool) -> None:
    answer = await shop.world.says(JAN, shop.case, "um acht")
    await shop.edit(answer, "@eva um neun?")
    question = shop.question_event()
    assert shop.customer_sees()[-1] == "um acht"
    await shop.edit(answer, "um zehn")
    if in_time:
        await shop.tap("📤", target=question)
    await shop.minute()
    assert shop.customer_sees()[-1] == "um zehn"
    assert set(await arrivals.counts(shop.world.database)) == {"done"}


@pytest.mark.parametrize("key", ["📤", "🔒", "🔒\ufe0f"])
async def test_a_sign_that_comes_too_late_is_nothing_to_show_the_customer(shop: Shop, key: str) -> None:
    note = await shop.world.says(JAN, shop.case, ". Notiz")
    reply = await shop.reply(note, "bis morgen")
    await shop.tap("📤", target=reply)
    await shop.tap(key, target=reply, sender=JAN)
    await shop.tap("👍", target=reply)
    (out,) = [m for m in shown(shop.world.server.rooms[shop.chat]) if m.body == "bis morgen"]
    assert {sign for _, sign in out.reactions} == {"👍"}


async def test_the_same_signs_on_what_the_customer_wrote_are_theirs_to_see(shop: Shop) -> None:
    await shop.tap("🔒", target=only(shop.case_room, "Bremse quietscht").event_id)
    assert {sign for _, sign in only(shop.world.server.rooms[shop.chat], "Bremse quietscht").reactions} == {"🔒"}


async def test_how_long_somebody_has_to_tap_is_said_and_holds(shop: Shop) -> None:
    shop.world.rule(held_for=timedelta(seconds=90))
    await shop.world.says(JAN, shop.case, "@eva?")
    assert "nach 90 Sekunden" in shop.question()
    await shop.minute()
    assert "nach 90 Sekunden" in shop.question()
    await shop.minute()
    assert shop.question().startswith("🔒 Im Team geblieben")


@pytest.mark.parametrize("again", [True, False])
async def test_what_waits_for_a_tap_that_was_parked_waits_no_longer_than_at_first(shop: Shop, again: bool) -> None:
    await shop.world.says(JAN, shop.case, "@eva kommt gleich zu Ihnen")
    question = shop.question_event()
    shop.world.server.fail_at(1, "before", Refused("no", code="M_FORBIDDEN"))
    await shop.tap("📤")
    assert shop.customer_sees()[-1] != "@eva kommt gleich zu Ihnen"
    if again:
        await shop.tap("📤", target=question, sender=JAN)
    await shop.minute()
    assert (shop.customer_sees()[-1] == "@eva kommt gleich zu Ihnen") is again
    assert shop.question() == (
        "📤 Geht an den Kunden." if again else "🔒 Im Team geblieben. Der Kunde hat es nicht bekommen."
    )
    assert await arrivals.counts(shop.world.database) == {"done": ANY, "parked": 1}


async def test_what_was_late_and_held_still_says_when_it_was_written(shop: Shop) -> None:
    inside = {"type": "m.room.message", "content": {"msgtype": "m.text", "body": "@eva kommt gleich zu Ihnen"}}
    shop.world.server.missing_keys.add(SessionId("late"))
    event = shop.world.server.new_event(shop.case, JAN, "m.room.encrypted", {"session": "late", "inside": inside})
    await shop.world.take(shop.case, event)
    shop.world.later(seconds=11)
    await shop.world.run()
    shop.world.server.missing_keys.clear()
    async with shop.world.database.transaction() as tx:
        await arrivals.wake_sessions(tx, [SessionId("late")])
    await shop.world.run()
    await shop.tap("📤")
    mark, _, words = shop.customer_sees()[-1].partition("\n")
    assert words == "@eva kommt gleich zu Ihnen"
    assert mark.startswith("⏱ Geschrieben am ")


async def test_nobody_is_asked_about_an_edit_of_what_is_deleted(shop: Shop) -> None:
    answer = await shop.world.says(JAN, shop.case, "Guten Tag")
    await shop.delete(answer)
    await shop.edit(answer, "@eva guten Tag")
    assert shop.questions() == []


@pytest.mark.parametrize("when", ["🔒 nur fürs Team", "📤 Geht"])
@pytest.mark.parametrize("what", ["reply", "edit"])
async def test_what_is_deleted_meanwhile_is_not_said_to_go_out(shop: Shop, when: str, what: str) -> None:
    note = await shop.world.says(JAN, shop.case, ". Notiz")
    send = shop.world.server.send

    async def meanwhile(room: RoomId, message: Outgoing, *, txn: TxnId) -> EventId:
        if message.body.startswith(when):
            shop.world.server.send = send
            event = next(e["event_id"] for e in reversed(shop.case_room.events) if e["sender"] == JAN)
            await shop.world.take(shop.case, shop.deletion(event if what == "reply" else note))
        return EventId(await send(room, message, txn=txn))

    shop.world.server.send = meanwhile
    await (shop.reply(note, "ja") if what == "reply" else shop.edit(note, "Kommen Sie morgen"))
    await shop.tap("📤")
    await shop.minute()
    assert "📤 Geht an den Kunden." not in shop.questions()
    assert shop.customer_sees()[-1] not in {"ja", "Kommen Sie morgen"}
    assert set(await arrivals.counts(shop.world.database)) == {"done"}
