"""The customer's room in real life: second chats, further people, upgrades; and several matters at a time."""

from datetime import timedelta
from typing import Any

import pytest

from bot.domain.case import CaseState
from bot.domain.errors import Refused
from bot.domain.ids import CaseNumber, RoomId, SessionId, UserId
from bot.flows import choosing, identities, stuck
from bot.flows.intake import RoomUpdate
from bot.store import arrivals, cases, rooms
from tests.flows.shown import only, shown
from tests.flows.world import ANNA, BERT, EVA, JAN, ME, World

Json = dict[str, Any]
GUEST = UserId("@wife:elsewhere.example")


def bodies(world: World, room: RoomId) -> list[str]:
    return [message.body for message in shown(world.server.rooms[room])]


async def two_open_cases(world: World) -> tuple[RoomId, RoomId, RoomId]:
    """Anna's chat and the rooms of her cases 1001 and 1002, both open."""
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "Bremse")
    first = (await world.case_room(ANNA)).room_id
    await world.says(JAN, first, "!zu")
    world.later(days=30)
    await world.says(ANNA, chat, "Reifen")
    second = (await world.case_room(ANNA)).room_id
    await world.says(JAN, first, "!auf")
    return chat, first, second


async def test_the_quoted_message_chooses_the_case(world: World) -> None:
    chat, first, second = await two_open_cases(world)
    await world.says(JAN, second, "Winterreifen?")
    asked = next(e for e in world.server.rooms[chat].events if e["content"].get("body") == "Bremse")
    reply = {"m.relates_to": {"m.in_reply_to": {"event_id": asked["event_id"]}}}
    await world.says(ANNA, chat, "zur Bremse noch", **reply)
    quoted = only(world.server.rooms[first], "zur Bremse noch")
    assert quoted.quotes == only(world.server.rooms[first], "Bremse").event_id
    await world.says(ANNA, chat, "Ja, Winterreifen")
    assert bodies(world, second)[-1] == "Ja, Winterreifen"


async def test_the_case_in_which_staff_wrote_last_gets_what_comes_without_a_quotation(world: World) -> None:
    chat, first, second = await two_open_cases(world)
    await world.says(JAN, second, "Reifen sind da")
    world.later(minutes=1)
    await world.says(JAN, first, "Bremse ist fertig")
    await world.says(ANNA, chat, "Danke")
    assert bodies(world, first)[-1] == "Danke"


async def test_when_nothing_tells_them_apart_the_customer_is_asked_once_by_number(world: World) -> None:
    chat, first, second = await two_open_cases(world)
    await world.says(ANNA, chat, "Wann fertig?")
    await world.says(ANNA, chat, "Heute noch?")
    questions = [body for body in bodies(world, chat) if "1001, 1002" in body]
    assert len(questions) == 1
    assert "Wann fertig?" not in bodies(world, first) + bodies(world, second)
    await world.says(ANNA, chat, " 1001. ")
    await world.says(ANNA, chat, "Danke")
    assert [b for b in bodies(world, first) if b[0] in "WHD1"] == ["Wann fertig?", "Heute noch?", "Danke"]
    assert not {"1001", "1001."} & set(bodies(world, first) + bodies(world, second))


@pytest.mark.parametrize(("words", "says"), [("English", "from now on I write"), ("Ich bin 14.", "Einwilligung")])
async def test_what_the_bot_itself_has_to_say_does_not_wait_for_the_number(world: World, words: str, says: str) -> None:
    """What it is about is decided when the message comes, and not a second time when it goes on."""
    chat, first, _ = await two_open_cases(world)
    await world.says(ANNA, chat, words)
    await world.says(ANNA, chat, "1001")
    assert words in bodies(world, first)
    assert len([body for body in bodies(world, chat)[3:] if says in body]) == 1


async def test_without_an_answer_the_message_goes_to_the_newest_case(world: World) -> None:
    chat, _, second = await two_open_cases(world)
    await world.says(ANNA, chat, "Wann fertig?")
    world.time += choosing.PATIENCE + timedelta(seconds=1)
    async with world.database.transaction() as tx:
        await arrivals.wake_due(tx, world.now())
    await world.run()
    assert bodies(world, second)[-1] == "Wann fertig?"


@pytest.mark.parametrize("ends", ["!zu", "!verbinden 1001"])
async def test_what_staff_have_to_know_is_told_where_they_work(world: World, ends: str) -> None:
    """The newest case may be closed, or joined with another, and its room put away."""
    chat, first, second = await two_open_cases(world)
    await world.says(JAN, second, ends)
    quiet = bodies(world, second)
    await world.says(ANNA, chat, "STOPP mit der Reparatur")
    world.server.missing_keys.add(SessionId("lost"))
    await world.writes(ANNA, chat, "?", session="lost")
    await world.passes(seconds=11)
    await world.passes(seconds=61)
    await identities.announce_change(world.around, ANNA, "another")
    await world.run()
    await leaves(world, ANNA, chat)
    signs = [body.split()[0] for body in bodies(world, first)[-4:]]
    assert signs == ["🚫", "⚠️", "🔑", "⚠️"]
    assert bodies(world, second) == quiet


async def test_a_message_is_moved_to_another_case_of_the_same_customer(world: World) -> None:
    chat, first, second = await two_open_cases(world)
    await world.says(JAN, second, "Winterreifen?")
    wrong = await world.says(ANNA, chat, "die quietscht noch")
    replacement = {"m.new_content": {"msgtype": "m.text", "body": "die quietscht noch immer"}}
    relation = {"m.relates_to": {"rel_type": "m.replace", "event_id": wrong}}
    await world.says(ANNA, chat, "* die quietscht noch immer", **replacement, **relation)
    copy = only(world.server.rooms[second], "die quietscht noch immer").event_id
    await world.says(JAN, second, "!an 1001", **{"m.relates_to": {"m.in_reply_to": {"event_id": copy}}})
    assert any(body.endswith("die quietscht noch immer") for body in bodies(world, first))
    assert not any("quietscht" in str(e["content"]) for e in world.server.rooms[second].events)
    assert (await cases.get(world.database, CaseNumber(1001))).state is CaseState.OWED
    replaced = {"m.new_content": {"msgtype": "m.text", "body": "doch nicht"}}
    await world.says(ANNA, chat, "* doch nicht", **replaced, **relation)
    assert only(world.server.rooms[first], "doch nicht")


@pytest.mark.parametrize("command", ["!an", "!an 1001", "!an 1003", "!an 9999", "!an x"])
async def test_nothing_is_moved_to_where_it_does_not_belong(world: World, command: str) -> None:
    """1003 is another customer's case; 1001 is this one."""
    chat, first, _ = await two_open_cases(world)
    bert = await world.chat(BERT)
    await world.says(BERT, bert, "von Bert")
    await world.says(JAN, first, "Ja?")
    await world.says(ANNA, chat, "nur für Annas Vorgang")
    copy = only(world.server.rooms[first], "nur für Annas Vorgang").event_id
    await world.says(JAN, first, command, **{"m.relates_to": {"m.in_reply_to": {"event_id": copy}}})
    only(world.server.rooms[first], "nur für Annas Vorgang")
    assert "nur für Annas Vorgang" not in (await world.case_room(BERT)).texts()
    assert command not in bodies(world, chat)
    assert await stuck.listed(world.database) == []  # who gave it was told, and nothing waits for anybody


async def test_answers_wait_for_consent_when_somebody_joins_the_customers_chat(world: World) -> None:
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "Hallo")
    case = (await world.case_room(ANNA)).room_id
    await world.joins(GUEST, chat)
    await world.says(JAN, case, "geheim vor Fremden")
    assert "geheim vor Fremden" not in bodies(world, chat)
    await world.says(JAN, case, "!erlauben")
    await world.says(JAN, case, "für beide")
    assert bodies(world, chat)[-1] == "für beide"
    await world.says(GUEST, chat, "ich bin die Frau")
    assert bodies(world, case)[-1].endswith("ich bin die Frau")
    assert str(GUEST) in bodies(world, case)[-1]
    await world.joins(UserId("@third:elsewhere.example"), chat)
    await world.says(JAN, case, "nicht für drei")
    assert "nicht für drei" not in bodies(world, chat)


async def test_what_a_guest_writes_before_somebody_agrees_is_told_to_the_admins_and_can_be_let_in(world: World) -> None:
    """In the chat it says that somebody looks into it: so somebody must know."""
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "Hallo")
    case = (await world.case_room(ANNA)).room_id
    await world.joins(GUEST, chat)
    await world.says(GUEST, chat, "ich bin die Frau")
    assert bodies(world, chat)[-1].startswith("Diese Nachricht konnte ich nicht")
    told = bodies(world, world.made("admin")[0].room_id)[-1]
    (waiting,) = await stuck.listed(world.database)
    assert f"Vorgang 1001): {world.around.say('reason.third_person')}" in told
    assert f"!haenger nochmal {waiting.label}" in told

    await world.says(JAN, case, "!erlauben")
    await world.says(JAN, case, f"!haenger nochmal {waiting.label}")
    await world.passes(seconds=1)
    assert bodies(world, case)[-1].endswith("ich bin die Frau")


async def test_what_a_guest_wrote_is_still_theirs_after_it_was_moved(world: World) -> None:
    chat, first, second = await two_open_cases(world)
    await world.joins(GUEST, chat)
    await world.says(JAN, second, "!erlauben")
    await world.says(JAN, second, "Ja?")
    await world.says(GUEST, chat, "ich bin die Frau")
    copy = next(m for m in shown(world.server.rooms[second]) if m.body.endswith("die Frau")).event_id
    await world.says(JAN, second, "!an 1001", **{"m.relates_to": {"m.in_reply_to": {"event_id": copy}}})
    assert bodies(world, first)[-1].splitlines()[1:] == [f"👤 {GUEST}:", "ich bin die Frau"]


async def test_a_guest_who_left_and_comes_back_is_agreed_to_anew(world: World) -> None:
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "Hallo")
    case = (await world.case_room(ANNA)).room_id
    await world.joins(GUEST, chat)
    await world.says(JAN, case, "!erlauben")
    left = {"type": "m.room.member", "state_key": GUEST, "sender": GUEST, "content": {"membership": "leave"}}
    await world.take_in(RoomUpdate(chat, "join", (left | {"event_id": "$left"},)))
    await world.run()
    await world.says(JAN, case, "nur für Anna")
    assert bodies(world, chat)[-1] == "nur für Anna"
    await world.joins(GUEST, chat)
    await world.says(JAN, case, "nicht für den Gast")
    assert "nicht für den Gast" not in bodies(world, chat)


async def test_a_guest_changes_nothing_that_the_customer_wrote(world: World) -> None:
    chat = await world.chat(ANNA)
    own = await world.says(ANNA, chat, "Original")
    case = (await world.case_room(ANNA)).room_id
    await world.joins(GUEST, chat)
    await world.says(JAN, case, "!erlauben")
    relation = {"m.relates_to": {"rel_type": "m.replace", "event_id": own}}
    new = {"m.new_content": {"msgtype": "m.text", "body": "gefälscht"}}
    await world.says(GUEST, chat, "* gefälscht", **relation, **new)
    assert not any("gefälscht" in body for body in bodies(world, case))


async def test_the_newest_chat_of_a_customer_counts(world: World) -> None:
    old = await world.chat(ANNA)
    await world.says(ANNA, old, "Hallo")
    case = (await world.case_room(ANNA)).room_id
    new = await world.chat(ANNA)
    await world.says(JAN, case, "Guten Tag")
    assert bodies(world, new)[-1] == "Guten Tag"
    assert "Guten Tag" not in bodies(world, old)
    await world.says(ANNA, new, "Danke")
    assert bodies(world, case)[-1] == "Danke"


async def test_an_answer_in_an_earlier_chat_is_not_said_to_have_stayed_inside(world: World) -> None:
    old = await world.chat(ANNA)
    await world.says(ANNA, old, "Hallo")
    case = (await world.case_room(ANNA)).room_id
    answer = await world.says(JAN, case, "um acht")
    new = await world.chat(ANNA)
    relation = {"m.relates_to": {"rel_type": "m.replace", "event_id": answer}}
    await world.says(JAN, case, "* um neun", **relation, **{"m.new_content": {"msgtype": "m.text", "body": "um neun"}})
    assert "um neun" not in bodies(world, old) + bodies(world, new)
    assert bodies(world, case)[-1] == world.around.say("case.edit_elsewhere")


async def test_an_upgraded_chat_goes_on_without_a_second_greeting(world: World) -> None:
    old = await world.chat(ANNA)
    await world.says(ANNA, old, "Hallo")
    case = (await world.case_room(ANNA)).room_id
    new = await world.comes(ANNA)
    create = {"room_version": "12", "predecessor": {"room_id": old}}
    state = world.room_state(new, ANNA)
    state[0]["content"] = create
    tombstone = {"type": "m.room.tombstone", "state_key": "", "sender": ANNA, "event_id": "$tomb"}
    await world.take_in(
        RoomUpdate(old, "join", ({**tombstone, "content": {"replacement_room": new}},)),
        RoomUpdate(new, "join", tuple(state)),
    )
    await world.run()
    assert world.server.rooms[new].members[ME] == "join"
    await world.says(JAN, case, "Guten Tag")
    assert bodies(world, new) == ["Guten Tag"]


async def test_a_customer_who_lets_nobody_invite_them_is_told_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def blocked(room: RoomId, user: UserId) -> None:
        raise Refused("the server refused", code="M_INVITE_BLOCKED", status=403)

    monkeypatch.setattr(world.server, "invite", blocked)
    chat = await world.chat(ANNA, encrypted=False)
    assert "lässt keine Einladungen zu" in bodies(world, chat)[-1]


async def test_stuck_items_are_listed_tried_again_and_dropped(world: World) -> None:
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "Hallo")
    case = (await world.case_room(ANNA)).room_id
    world.server.rooms[chat].members[ME] = "leave"
    await world.says(JAN, case, "kommt nicht an")
    await world.says(JAN, case, "auch nicht")
    first, second = await stuck.listed(world.database)
    inbox = world.made("inbox:annahme")[0].room_id
    await world.says(JAN, inbox, "!hänger")
    assert first.label in bodies(world, inbox)[-1]
    assert "1001" in bodies(world, inbox)[-1]
    world.server.rooms[chat].members[ME] = "join"
    await world.says(JAN, inbox, f"!haenger nochmal {first.label}")
    await world.says(JAN, case, f"!stuck drop {second.label}")
    async with world.database.transaction() as tx:
        await arrivals.wake_due(tx, world.now())
    await world.run()
    assert "kommt nicht an" in bodies(world, chat)
    assert "auch nicht" not in bodies(world, chat)
    assert not await stuck.listed(world.database)
    await world.says(JAN, case, "!stuck drop 7777")
    assert "7777" in bodies(world, case)[-1]


async def test_who_a_customer_is_does_not_change_with_their_rooms(world: World) -> None:
    old = await world.chat(ANNA)
    await world.says(ANNA, old, "Hallo")
    await world.take_in(RoomUpdate(old, "leave"))
    await world.run()
    case = (await world.case_room(ANNA)).room_id
    await world.says(EVA, case, "erreicht niemanden")
    assert any("verlassen" in body for body in bodies(world, case))
    customer = await rooms.of_user(world.database, ANNA)
    new = await world.chat(ANNA)
    await world.says(ANNA, new, "wieder da")
    assert bodies(world, case)[-1] == "wieder da"
    assert await rooms.of_user(world.database, ANNA) == customer


async def leaves(world: World, user: UserId, room: RoomId) -> None:
    world.server.rooms[room].members[user] = "leave"
    left = {"type": "m.room.member", "state_key": user, "sender": user, "content": {"membership": "leave"}}
    await world.take_in(RoomUpdate(room, "join", (left | {"event_id": "$left"},)))
    await world.run()


async def comes_back(world: World, chat: RoomId) -> None:
    """The customer puts the bot out of their chat, and invites it there again."""
    world.server.rooms[chat].members[ME] = "leave"
    await world.take_in(RoomUpdate(chat, "leave"))
    await world.run()
    invite = {"type": "m.room.member", "state_key": ME, "sender": ANNA, "content": {"membership": "invite"}}
    await world.take_in(RoomUpdate(chat, "invite", (invite,)))
    await world.run()
    assert world.server.rooms[chat].members[ME] == "join"
    await world.take_in(world.joined(chat, ANNA))
    await world.passes(seconds=4)


@pytest.mark.parametrize("who", [ANNA, ME])
async def test_what_somebody_wrote_who_is_gone_before_we_looked_around_is_read_all_the_same(
    world: World, who: UserId
) -> None:
    chat = await world.comes(ANNA, unhurried=False)
    await world.writes(ANNA, chat, "Rufen Sie mich an: 0123")
    world.server.rooms[chat].members[who] = "leave"
    left = {"type": "m.room.member", "state_key": who, "sender": ANNA, "content": {"membership": "leave"}}
    membership = "leave" if who == ME else "join"
    await world.take_in(RoomUpdate(chat, membership, (left | {"event_id": "$left"},)))
    world.later(minutes=11)  # so long the privacy text is tried
    await world.run()
    case = (await world.case_room(ANNA)).room_id
    assert any(body.endswith("Rufen Sie mich an: 0123") for body in bodies(world, case))
    await world.says(JAN, case, "Guten Tag")
    assert bodies(world, case)[-1] == world.around.say("case.customer_gone")


async def test_where_we_were_put_out_and_invited_again_the_customer_is_answered_again(world: World) -> None:
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "Hallo")
    case = (await world.case_room(ANNA)).room_id
    await comes_back(world, chat)
    await world.says(JAN, case, "Guten Tag")
    assert bodies(world, chat)[-1] == "Guten Tag"


async def test_where_a_customer_goes_on_writing_it_goes_on(world: World) -> None:
    """They left their newest chat and write in the one before, as staff are told that they may."""
    old = await world.chat(ANNA)
    await world.says(ANNA, old, "Hallo")
    case = (await world.case_room(ANNA)).room_id
    new = await world.chat(ANNA)
    await leaves(world, ANNA, new)
    await world.says(JAN, case, "niemand da")
    assert "niemand da" not in bodies(world, old) + bodies(world, new)
    await world.says(ANNA, old, "ich bin noch hier")
    await world.says(JAN, case, "Guten Tag")
    assert bodies(world, old)[-1] == "Guten Tag"


async def test_who_writes_in_an_older_chat_is_answered_in_the_newest_as_long_as_they_are_there(world: World) -> None:
    old = await world.chat(ANNA)
    await world.says(ANNA, old, "Hallo")
    case = (await world.case_room(ANNA)).room_id
    new = await world.chat(ANNA)
    await world.says(ANNA, old, "noch etwas")
    await world.says(JAN, case, "Guten Tag")
    assert bodies(world, new)[-1] == "Guten Tag"


async def test_at_a_start_whoever_does_not_work_here_any_more_is_put_out(world: World) -> None:
    former = UserId("@former:example.org")
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "eins")
    for room in [await world.case_room(ANNA), *world.made("admin"), *world.made("space")]:
        room.members[former] = "join"
    world.made("admin")[0].members[JAN] = "join"

    await world.set_up()

    assert all(room.members.get(former) == "leave" for room in [*world.made("admin"), *world.made("space")])
    assert (await world.case_room(ANNA)).members[former] == "leave"
    assert world.made("admin")[0].members[JAN] == "leave"  # not an admin
    assert (await world.case_room(ANNA)).members[JAN] == "invite"
