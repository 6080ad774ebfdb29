"""Cases are found by what staff said of them, by whoever works at their desk."""

import pytest

from bot.domain.ids import DeskId, RoomId, UserId
from bot.flows.surroundings import Desk
from tests.flows.shown import Shown, shown
from tests.flows.world import ANNA, BERT, CHEF, EVA, JAN, ME, World

TOM = UserId("@tom:example.org")


@pytest.fixture
async def shop(world: World) -> World:
    """Anna's case 1001 is with the reception, Bert's 1002 with the workshop."""
    world.rule(
        desks=(
            Desk(DeskId("annahme"), "Annahme", (JAN,)),
            Desk(DeskId("werkstatt"), "Werkstatt", (TOM, EVA), keywords=("Reifen",)),
        )
    )
    await world.set_up()
    for customer, words in ((ANNA, "Bremse"), (BERT, "Reifen")):
        await world.says(customer, await world.chat(customer), words)
    for sender, customer, texts in (
        (JAN, ANNA, ("!titel Ölwechsel <b>", "!kfz M-AB 123", "!nr A-4711", "!tag leihwagen", "!ich")),
        (TOM, BERT, ("!titel Räder", "!kfz M-XY 99")),
    ):
        for text in texts:
            await world.says(sender, (await world.case_room(customer)).room_id, text)
    return world


def last(world: World, room: RoomId) -> Shown:
    return [m for m in shown(world.server.rooms[room]) if m.sender == ME][-1]


def inbox(world: World, desk: str = "annahme") -> RoomId:
    return world.made(f"inbox:{desk}")[0].room_id


@pytest.mark.parametrize(
    "text", ["1001", "ölwechsel", "ÖLWECHSEL", "mab 123", "M-AB123", "ab 12", "a-4711", "Leihwagen"]
)
async def test_a_case_is_found_and_one_tap_opens_it(shop: World, text: str) -> None:
    await shop.says(JAN, inbox(shop), f"!suche {text}")

    answer, case = last(shop, inbox(shop)), await shop.case(ANNA)
    assert answer.body.splitlines()[1:] == [
        f"🔴 1001 · Ölwechsel <b> · M-AB 123 · A-4711 · #leihwagen · 👤 {JAN} · wartet seit 02.03. 09:00"
    ]
    assert f'<a href="https://matrix.to/#/{case.room_id}?via=example.org">1001</a>' in answer.content["formatted_body"]
    assert "<b>" not in answer.content["formatted_body"]


@pytest.mark.parametrize("text", ["räder", "99", "1002", "100", "%", "mab_9", "x' OR 1 --", "0"])
async def test_what_other_desks_do_or_nobody_said_is_not_found(shop: World, text: str) -> None:
    await shop.says(JAN, inbox(shop), f"!suche {text}")
    assert last(shop, inbox(shop)).body.startswith(("Dazu finde ich keinen", "Bitte dazuschreiben"))


async def test_admins_find_everything_and_nothing_is_asked_for_with_a_sentence(shop: World) -> None:
    leitung = shop.made("admin")[0].room_id
    await shop.says(CHEF, leitung, "!find m-")
    assert [line.split(" · ")[0] for line in last(shop, leitung).body.splitlines()[1:]] == ["🔴 1002", "🔴 1001"]
    await shop.says(CHEF, leitung, "!suche")
    assert last(shop, leitung).body.startswith("Bitte dazuschreiben")


async def test_what_is_open_at_a_desk(shop: World) -> None:
    await shop.says(TOM, inbox(shop, "werkstatt"), "!heute")
    assert last(shop, inbox(shop, "werkstatt")).body.splitlines()[1:] == [
        "🔴 1002 · Räder · M-XY 99 · wartet seit 02.03. 09:00"
    ]
    await shop.says(TOM, (await shop.case_room(BERT)).room_id, "!zu")
    await shop.says(TOM, inbox(shop, "werkstatt"), "!heute")
    assert last(shop, inbox(shop, "werkstatt")).body == "📋 Es ist nichts offen."


async def test_a_long_list_says_that_there_is_more(shop: World) -> None:
    case = await shop.case(ANNA)
    async with shop.database.transaction() as tx:
        for number in range(2001, 2045):
            await tx.run(
                "INSERT INTO cases (number, customer_id, desk, state, alias, room_id, opened_at, label)"
                " VALUES (?, ?, 'annahme', 'answered', ?, ?, 0, 'Probe')",
                *(number, case.customer_id, f"a{number}", f"!r{number}"),
            )
    await shop.says(JAN, inbox(shop), "!suche probe")
    assert last(shop, inbox(shop)).body.splitlines()[-1].startswith("Es gibt noch mehr")
    assert len(last(shop, inbox(shop)).body.splitlines()) == 12
    await shop.says(JAN, inbox(shop), "!heute")
    lines = last(shop, inbox(shop)).body.splitlines()
    assert (lines[1].startswith("🔴 1001"), lines[2], len(lines)) == (
        True,
        "🟡 2001 · Probe · beantwortet 01.01. 00:00",
        42,
    )
