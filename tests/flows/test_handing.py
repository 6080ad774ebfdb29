"""A case goes to a colleague or to another desk: who comes can read, who goes is out, and nothing is written twice."""

from dataclasses import replace

import pytest

from bot.domain.ids import DeskId, RoomId, UserId
from bot.flows import cards
from bot.flows.surroundings import Desk
from bot.store import rooms
from tests.flows.shown import Shown, shown
from tests.flows.world import ANNA, CHEF, EVA, JAN, ME, World

TOM = UserId("@tom:example.org")
DESKS = (
    Desk(DeskId("annahme"), "Annahme", (JAN, EVA)),
    Desk(DeskId("werkstatt"), "Werkstatt", (TOM, EVA), keywords=("Reifen", "TÜV")),
)


@pytest.fixture
async def shop(world: World) -> World:
    """Two desks; Eva sits at both."""
    world.rule(desks=DESKS)
    await world.set_up()
    return world


async def opened(world: World, words: str = "Bremse quietscht") -> tuple[RoomId, RoomId]:
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, words)
    return chat, (await world.case_room(ANNA)).room_id


def said(world: World, room: RoomId) -> list[str]:
    return [m.body for m in shown(world.server.rooms[room]) if m.sender == ME]


def inbox(world: World, desk: str) -> RoomId:
    return world.made(f"inbox:{desk}")[0].room_id


def people(world: World, room: RoomId) -> set[UserId]:
    there = world.server.rooms[room].members.items()
    return {user for user, membership in there if membership in {"join", "invite"}} - {ME}


async def edit(world: World, sender: UserId, room: RoomId, event: str, body: str) -> None:
    new = {"m.new_content": {"msgtype": "m.text", "body": body}}
    await world.says(sender, room, f"* {body}", **new, **{"m.relates_to": {"rel_type": "m.replace", "event_id": event}})


@pytest.mark.parametrize(
    "text", ["!an @tom", "!an tom", "!assign @tom:example.org", "!an @Tom", "!an @tom:example.org"]
)
async def test_a_colleague_of_another_desk_is_named_and_called_in(shop: World, text: str) -> None:
    _, case = await opened(shop)
    await shop.says(JAN, case, text)

    row = await shop.case(ANNA)
    assert (row.holder, row.desk) == (TOM, "annahme")
    assert said(shop, case)[-1] == f"👤 {TOM} kümmert sich ab jetzt um diesen Vorgang."
    assert people(shop, case) == {JAN, EVA, TOM}
    await shop.joins(TOM, case)
    assert (case, TOM) in shop.server.shared, "they read what the customer wrote"


async def test_a_mention_names_a_colleague_whatever_they_are_called(shop: World) -> None:
    _, case = await opened(shop)
    await shop.says(JAN, case, "!an Eva Maria", **{"m.mentions": {"user_ids": [EVA]}})
    assert (await shop.case(ANNA)).holder == EVA


@pytest.mark.parametrize("text", ["!an", "!an @nobody", "!an @anna", "!an @", "!an niemand"])
async def test_nobody_is_named(shop: World, text: str) -> None:
    _, case = await opened(shop)
    await shop.says(JAN, case, text)
    assert said(shop, case)[-1].startswith("⚠️ Nicht übergeben")
    assert "Annahme, Werkstatt" in said(shop, case)[-1]
    assert (await shop.case(ANNA)).holder is None


async def test_a_case_moves_to_another_desk_with_its_people_its_cards_and_a_recap(shop: World) -> None:
    chat, case = await opened(shop)
    await shop.says(JAN, case, "!ich")
    first = await shop.says(JAN, case, "Bringen Sie ihn um acht")
    await edit(shop, JAN, case, first, "Bringen Sie ihn um neun")
    gone = await shop.says(EVA, case, "Quatsch")
    await shop.take(case, shop.server.new_event(case, EVA, "m.room.redaction", {"redacts": gone}))
    shop.server.clear(case, gone)
    await shop.says(EVA, case, ". Beläge sind da")
    await shop.says(JAN, case, "!kfz M-AB 123")
    sees = said(shop, chat)
    await shop.says(JAN, case, "!an Werkstatt")

    row = await shop.case(ANNA)
    assert (row.desk, row.holder) == ("werkstatt", None)
    known = await rooms.find(shop.database, case)
    assert known is not None
    assert known.desk == "werkstatt"
    assert people(shop, case) == {EVA, TOM}
    recap = next(text for text in said(shop, case) if text.startswith("📜")).splitlines()
    assert [line.partition(" ")[2].partition(" ")[2] for line in recap[1:]] == [
        f"{JAN}: Bringen Sie ihn um neun",
        f"{EVA}: . Beläge sind da",
    ]
    assert said(shop, inbox(shop, "annahme"))[-1] == "Vorgang 1001: jetzt bei Werkstatt."
    card = next(m for m in shown(shop.server.rooms[inbox(shop, "werkstatt")]) if m.event_id == row.inbox_event)
    assert card.reactions == {(ME, "👍")}
    assert said(shop, chat) == sees, "the customer is told nothing of it"
    await cards.keep_up(shop.around, row.number)
    assert "Team: Werkstatt" in next(m for m in shown(shop.server.rooms[case]) if m.event_id == row.card_event).body


async def test_the_new_desk_takes_it_by_a_tap_and_the_old_one_cannot_any_more(shop: World) -> None:
    _, case = await opened(shop)
    old = (await shop.case(ANNA)).inbox_event
    await shop.says(JAN, case, "!an werkstatt")
    new = (await shop.case(ANNA)).inbox_event
    for room, target, sender in ((inbox(shop, "annahme"), old, JAN), (inbox(shop, "werkstatt"), new, TOM)):
        relation = {"rel_type": "m.annotation", "event_id": target, "key": "👍"}
        await shop.take(room, shop.server.new_event(room, sender, "m.reaction", {"m.relates_to": relation}))
        await shop.run()
    assert (await shop.case(ANNA)).holder == TOM


async def test_who_looks_after_it_stays_unless_they_hand_over_their_own(shop: World) -> None:
    _, case = await opened(shop)
    await shop.says(EVA, case, "!an @jan")
    await shop.says(EVA, case, "!an Werkstatt")
    assert (await shop.case(ANNA)).holder == JAN
    assert people(shop, case) == {EVA, TOM, JAN}


async def test_to_where_it_is_and_when_it_is_closed_nothing_moves(shop: World) -> None:
    _, case = await opened(shop)
    await shop.says(JAN, case, "!an Annahme")
    assert said(shop, case)[-1] == "Der Vorgang ist schon bei diesem Team."
    await shop.says(JAN, case, "!zu")
    for text in ("!an Werkstatt", "!an @tom"):
        await shop.says(JAN, case, text)
        assert said(shop, case)[-1].startswith("Der Vorgang ist geschlossen")
    assert people(shop, case) == {JAN, EVA}


async def test_the_history_shows_both_sides_and_no_commands(shop: World) -> None:
    chat, case = await opened(shop)
    await shop.says(JAN, case, "Um acht?")
    await shop.says(ANNA, chat, "gern\nund die Hupe")
    await shop.says(JAN, case, "!wer")
    await shop.says(JAN, case, "!verlauf")

    assert [line.partition(" ")[2].partition(" ")[2] for line in said(shop, case)[-1].splitlines()[1:]] == [
        "Kunde: Bremse quietscht",
        f"{JAN}: Um acht?",
        "Kunde: gern / und die Hupe",
    ]
    await shop.says(JAN, case, "!verlauf 1")
    assert len(said(shop, case)[-1].splitlines()) == 2
    assert "Um acht?" not in str(await shop.database.all("SELECT body, plan FROM arrivals"))


@pytest.mark.parametrize(
    ("words", "desk"),
    [
        ("Termin für Reifenwechsel", "werkstatt"),
        ("neue tüv-plakette", "werkstatt"),
        ("Winterreifen", "annahme"),
        ("Guten Tag", "annahme"),
    ],
)
async def test_a_word_of_the_first_message_chooses_the_desk(shop: World, words: str, desk: str) -> None:
    await opened(shop, words)
    assert (await shop.case(ANNA)).desk == desk
    assert (await shop.case(ANNA)).room_id in {room.room_id for room in shop.made("case:1001")}
    assert shown_in(shop, inbox(shop, desk)) != []


def shown_in(world: World, room: RoomId) -> list[Shown]:
    return [m for m in shown(world.server.rooms[room]) if "1001" in m.body]


async def test_a_customer_comes_back_to_their_last_desk_and_words_go_before_it(shop: World) -> None:
    chat, case = await opened(shop)
    await shop.says(JAN, case, "!an Werkstatt")
    for words, desk in (("wieder da", "werkstatt"), ("Hallo", "werkstatt")):
        await shop.says(EVA, (await shop.case_room(ANNA)).room_id, "!zu")
        shop.later(days=30)
        await shop.says(ANNA, chat, words)
        assert (await shop.case(ANNA)).desk == desk
    both = tuple(replace(desk, keywords=("Termin",)) for desk in DESKS)
    assert replace(shop.rules, desks=both).desk_for("Termin", DeskId("werkstatt")) == "werkstatt", "two want it"
    assert shop.rules.desk_for("x", DeskId("gone")) == "annahme"
    assert shop.rules.desk_for("Reifen", DeskId("annahme")) == "werkstatt"


async def test_admins_who_were_called_in_leave_with_the_desk(shop: World) -> None:
    _, case = await opened(shop)
    await shop.says(JAN, case, "!an @chef")
    assert CHEF in people(shop, case)
    await shop.says(EVA, case, "!ich")
    await shop.says(EVA, case, "!an werkstatt")
    assert people(shop, case) == {EVA, TOM}
    assert (await shop.case(ANNA)).holder == EVA


async def test_what_was_put_off_rings_where_it_is_now(shop: World) -> None:
    """Who put it off is not in its room any more: nobody would hear it."""
    _, case = await opened(shop)
    await shop.says(JAN, case, "!spaeter 2h")
    await shop.says(JAN, case, "!an werkstatt")
    await shop.passes(hours=2)
    (ring,) = [m for m in shown(shop.server.rooms[case]) if m.body.startswith("⏰ @")]
    assert ring.content["m.mentions"] == {"user_ids": [TOM, EVA]}
