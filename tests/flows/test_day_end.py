"""`!feierabend`: what is still open where somebody works."""

from dataclasses import replace

from bot.domain.ids import DeskId
from bot.flows.surroundings import Desk
from tests.flows.world import ANNA, BERT, CHEF, EVA, JAN, RULES, World


async def test_it_lists_what_is_open_with_state_and_age(world: World) -> None:
    await world.says(ANNA, await world.chat(ANNA), "Hallo")
    first = await world.case_room(ANNA)
    await world.says(JAN, first.room_id, "Antwort")
    world.later(days=2)
    await world.says(BERT, await world.chat(BERT), "Hallo")
    second = await world.case_room(BERT)
    world.later(minutes=90)

    await world.says(JAN, second.room_id, "!feierabend")

    intro, *lines, outro = second.texts()[-1].splitlines()
    assert intro.startswith("🌙 Noch offen: 2.")
    assert lines == ["🟡 1001 · seit 2 Tg. ist der Kunde dran", "🔴 1002 · der Kunde wartet seit 1 Std."]
    assert "„!abgeben“ gibt ihn frei" in outro
    assert "!spaeter morgen" in outro
    html = second.events[-1]["content"]["formatted_body"]
    assert f'<a href="https://matrix.to/#/{first.room_id}?via=example.org">🟡 1001</a> · seit 2 Tg.' in html
    assert second.events[-1]["content"]["msgtype"] == "m.notice"

    for room in (first, second):
        await world.says(JAN, room.room_id, "!zu")
    inbox = world.made("inbox:annahme")[0]
    await world.says(EVA, inbox.room_id, "!endofday")
    assert inbox.texts()[-1].startswith("🌙 Bei Ihnen ist nichts mehr offen.")


async def test_it_is_about_the_desks_of_who_asks_and_for_an_admin_about_all(world: World) -> None:
    await world.says(ANNA, await world.chat(ANNA), "Hallo")
    parts = Desk(DeskId("teile"), "Teile", (EVA,))
    world.rule(desks=(replace(RULES.desks[0], members=(JAN,)), parts))
    await world.set_up()
    room = world.made("admin")[0]
    await world.says(CHEF, room.room_id, "!feierabend")
    assert "🔴 1001" in room.texts()[-1]
    inbox = world.made("inbox:teile")[0]
    await world.says(EVA, inbox.room_id, "!feierabend")
    assert "1001" not in inbox.texts()[-1]


async def test_what_somebody_looks_after_at_another_desk_is_theirs_too(world: World) -> None:
    await world.says(ANNA, await world.chat(ANNA), "Hallo")
    parts = Desk(DeskId("teile"), "Teile", (EVA,))
    world.rule(desks=(replace(RULES.desks[0], members=(JAN,)), parts))
    await world.set_up()
    await world.says(JAN, (await world.case_room(ANNA)).room_id, f"!an {EVA}")
    inbox = world.made("inbox:teile")[0]
    await world.says(EVA, inbox.room_id, "!feierabend")
    assert "🔴 1001" in inbox.texts()[-1]


async def test_it_names_the_cases_of_a_desk_that_is_gone(world: World) -> None:
    world.rule(desks=(*RULES.desks, Desk(DeskId("teile"), "Teile", (EVA,), keywords=("Dichtung",))))
    await world.set_up()
    await world.says(ANNA, await world.chat(ANNA), "Dichtung")
    world.rule(desks=RULES.desks)
    inbox = world.made("inbox:annahme")[0]
    await world.says(JAN, inbox.room_id, "!feierabend")
    assert "🔴 1001" in inbox.texts()[-1]


async def test_a_long_list_is_cut(world: World) -> None:
    for number in range(23):
        async with world.database.transaction() as tx:
            await tx.run(
                "INSERT INTO customers (id, user_id, first_seen_at) VALUES (?, ?, 0)", f"c{number}", f"@c{number}:x"
            )
            await tx.run(
                "INSERT INTO cases (number, customer_id, desk, state, alias, room_id, opened_at, state_since)"
                " VALUES (?, ?, 'annahme', 'ready', ?, ?, 0, ?)",
                *(2000 + number, f"c{number}", f"a{number}", f"!r{number}", number),
            )
    inbox = world.made("inbox:annahme")[0]
    await world.says(JAN, inbox.room_id, "!feierabend")
    lines = inbox.texts()[-1].splitlines()
    assert lines[0].startswith("🌙 Noch offen: 23.")
    assert len(lines) == 23
    assert lines[-2] == "… 3"
