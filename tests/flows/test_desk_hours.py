"""A desk has hours of its own: away messages, calls and new cases go by them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from bot.domain.hours import Hours
from bot.domain.ids import DeskId, RoomId, UserId
from bot.flows.surroundings import Desk
from tests.flows.test_away import HOURS
from tests.flows.world import ANNA, BERT, EVA, JAN, RULES, World

TOM, KIM = UserId("@tom:example.org"), UserId("@kim:example.org")
ANNAHME, WERKSTATT, TEILE = DeskId("annahme"), DeskId("werkstatt"), DeskId("teile")
# The world begins on Monday, 2 March 2026, at 10:00 in Berlin; the business is open from 7:30 to 12 and from 13 to 17.
MORNINGS = replace(HOURS, weekly=dict.fromkeys(range(5), ((7 * 60, 9 * 60),)))
SATURDAYS = replace(HOURS, weekly={5: ((8 * 60, 12 * 60),)})
DESKS = (
    Desk(ANNAHME, "Annahme", (JAN, EVA)),
    Desk(WERKSTATT, "Werkstatt", (TOM,), keywords=("Reifen",), hours=MORNINGS),
)


@pytest.fixture
async def shop(world: World) -> World:
    world.rule(desks=DESKS, hours=HOURS, zone=HOURS.zone)
    await world.set_up()
    return world


def away(world: World, chat: RoomId) -> list[str]:
    return [text for text in world.server.rooms[chat].texts() if "niemand da" in text]


async def test_who_writes_to_a_desk_that_is_closed_is_told_when_that_one_opens(shop: World) -> None:
    chat = await shop.chat(ANNA)
    await shop.says(ANNA, chat, "Reifen bestellen")
    assert (await shop.case(ANNA)).desk == WERKSTATT
    assert [text.rpartition("; ")[2] for text in away(shop, chat)] == ["wir lesen sie morgen ab 07:00 Uhr."]
    other = await shop.chat(BERT)
    await shop.says(BERT, other, "Bremse")
    assert away(shop, other) == [], "the business is open"


async def test_customers_wait_in_the_open_time_of_their_desk(shop: World) -> None:
    shop.rule(escalation=(timedelta(minutes=15),))
    for customer, words in ((ANNA, "Reifen"), (BERT, "Bremse")):
        await shop.says(customer, await shop.chat(customer), words)
    await shop.passes(minutes=16)

    def called(room: list[str]) -> list[str]:
        return [text for text in room if text.startswith("🔔")]

    assert called((await shop.case_room(ANNA)).texts()) == []
    assert len(called((await shop.case_room(BERT)).texts())) == 1
    shop.time = datetime(2026, 3, 3, 6, 16, tzinfo=UTC)  # 7:16 in Berlin
    await shop.passes(seconds=1)
    assert called((await shop.case_room(ANNA)).texts()) == [
        "🔔 @tom: Der Kunde wartet seit 16 Minuten Öffnungszeit auf eine Antwort. Geht es erst später: „!spaeter 2h“."
    ]


async def test_a_case_that_is_handed_over_is_called_for_in_the_open_time_of_its_new_desk(shop: World) -> None:
    """It came on a Saturday, when only the new desk is open."""
    shop.rule(desks=(DESKS[0], replace(DESKS[1], hours=SATURDAYS)), escalation=(timedelta(minutes=15),))
    shop.time = datetime(2026, 3, 7, 8, 0, tzinfo=UTC)
    await shop.says(ANNA, await shop.chat(ANNA), "Hallo")
    room = await shop.case_room(ANNA)
    await shop.says(JAN, room.room_id, "!an werkstatt")
    await shop.passes(minutes=16)
    assert room.texts()[-1].startswith("🔔 @tom")


async def test_what_is_put_off_until_tomorrow_rings_when_the_desk_opens(shop: World) -> None:
    await shop.says(ANNA, await shop.chat(ANNA), "Reifen")
    room = await shop.case_room(ANNA)
    await shop.says(TOM, room.room_id, "!spaeter morgen")
    assert "3. März, 07:00 Uhr" in room.texts()[-1]


@pytest.mark.parametrize(
    ("at", "desk"),
    [
        ("2026-03-02T07:00", WERKSTATT),  # 8:00 in Berlin
        ("2026-03-02T09:00", ANNAHME),  # 10:00: they are closed, the reception is not
        ("2026-03-07T09:00", TEILE),  # Saturday: nor is the reception, so who stands in for that
        ("2026-03-08T09:00", WERKSTATT),  # Sunday: nobody is there, so it stays where it belongs
    ],
)
async def test_a_closed_desk_gives_new_cases_to_who_stands_in_for_it(shop: World, at: str, desk: str) -> None:
    first, second = DESKS
    third = Desk(TEILE, "Teile", (KIM,), hours=SATURDAYS, when_closed=WERKSTATT)
    shop.rule(desks=(replace(first, when_closed=TEILE), replace(second, when_closed=ANNAHME), third))
    await shop.set_up()
    shop.time = datetime.fromisoformat(f"{at}:00+00:00")
    await shop.says(ANNA, await shop.chat(ANNA), "Reifen")
    assert (await shop.case(ANNA)).desk == desk


async def test_only_new_cases_do_and_without_hours_nobody_is_closed(shop: World) -> None:
    first, second = DESKS
    chat = await shop.chat(ANNA)
    await shop.says(ANNA, chat, "Reifen")
    shop.rule(desks=(first, replace(second, when_closed=ANNAHME)))
    await shop.says(ANNA, chat, "noch etwas")
    assert (await shop.case(ANNA)).desk == WERKSTATT
    assert (
        replace(RULES, desks=(replace(first, when_closed=WERKSTATT), second)).deputy_of(ANNAHME, shop.now()) == ANNAHME
    )
    always = Hours(UTC, dict.fromkeys(range(7), ((0, 1440),)))
    assert replace(shop.rules, hours=always).deputy_of(ANNAHME, shop.now()) == ANNAHME
