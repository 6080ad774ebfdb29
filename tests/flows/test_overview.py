"""One pinned event in each inbox lists what is open there, edited in place; crashes, deletions and losses included."""

import asyncio
import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from bot.domain.errors import Refused, Transient
from bot.domain.ids import DeskId, EventId, RoomId, UserId
from bot.flows import overview, staffing
from bot.flows.bookkeeping import Bookkeeper
from bot.flows.overview import PINS
from bot.flows.surroundings import Desk
from bot.store import arrivals, overviews
from tests.flows.fake import Crash
from tests.flows.shown import Shown, shown
from tests.flows.test_restored import backed_up
from tests.flows.world import ANNA, BERT, CHEF, EVA, JAN, ME, World, a_world
from tests.waiting import until

TOM = UserId("@tom:example.org")
ANNAHME, WERKSTATT = DeskId("annahme"), DeskId("werkstatt")
DESKS = (Desk(ANNAHME, "Annahme", (JAN, EVA)), Desk(WERKSTATT, "Werkstatt", (TOM, EVA), keywords=("Reifen",)))


def inbox(world: World, desk: str = "annahme") -> RoomId:
    return world.made(f"inbox:{desk}")[0].room_id


def found(world: World, desk: str = "annahme") -> list[Shown]:
    return [m for m in shown(world.server.rooms[inbox(world, desk)]) if m.body.startswith("📌")]


def only_one(world: World, desk: str = "annahme") -> Shown:
    [one] = found(world, desk)
    return one


def pins(world: World, desk: str = "annahme") -> list[str]:
    content = world.server.rooms[inbox(world, desk)].state.get(("m.room.pinned_events", ""), {})
    return list(content.get("pinned", []))


async def keep_up(world: World) -> None:
    for desk in world.rules.desks:
        await overview.keep_up(world.around, desk)


async def one_case(world: World) -> RoomId:
    await world.says(ANNA, await world.chat(ANNA), "Bremse")
    return (await world.case_room(ANNA)).room_id


async def test_it_is_made_with_the_first_case_pinned_and_edited_without_ringing(world: World) -> None:
    await keep_up(world)
    assert found(world) == [], "nothing was ever open: nobody needs it"
    case = await one_case(world)
    await keep_up(world)

    made = only_one(world)
    assert made.body.splitlines()[1:] == ["🔴 1001 · wartet seit 02.03. 09:00"]
    assert f'<a href="https://matrix.to/#/{case}?via=example.org">1001</a>' in made.content["formatted_body"]
    assert (made.content["msgtype"], pins(world)) == ("m.notice", [made.event_id])
    for text in ("!titel Bremse <b>", "!kfz M-AB 123", "!ich"):
        await world.says(JAN, case, text)
    await keep_up(world)
    assert only_one(world).body.splitlines()[1:] == [
        f"🔴 1001 · Bremse <b> · M-AB 123 · 👤 {JAN} · wartet seit 02.03. 09:00"
    ]
    assert "<b>" not in only_one(world).content["formatted_body"]
    world.later(minutes=5)
    await world.says(JAN, case, "Kommen Sie um neun")
    await keep_up(world)
    assert only_one(world).body.splitlines()[1].endswith("beantwortet 02.03. 09:05")
    await world.says(JAN, case, "!zu")
    await keep_up(world)
    assert (only_one(world).body, only_one(world).event_id) == ("📌 Bei Annahme ist nichts offen.", made.event_id)


async def test_nothing_is_sent_while_nothing_changed(world: World) -> None:
    await one_case(world)
    await keep_up(world)
    calls = len(world.server.calls)
    world.later(hours=3)
    await keep_up(world)
    assert len(world.server.calls) == calls


async def test_the_most_urgent_comes_first_and_a_long_list_says_how_many_more(world: World) -> None:
    await one_case(world)
    case = await world.case(ANNA)
    states = itertools.cycle(("answered", "ready", "later", "owed"))
    async with world.database.transaction() as tx:
        for number, state in zip(range(2001, 2041), states, strict=False):
            await tx.run(
                "INSERT INTO cases (number, customer_id, desk, state, alias, room_id, opened_at, state_since, label)"
                " VALUES (?, ?, 'annahme', ?, ?, ?, 0, ?, 'x')",
                *(number, case.customer_id, state, f"a{number}", f"!r{number}", 3000 - number),
            )
    await keep_up(world)
    lines = only_one(world).body.splitlines()
    assert [line.split()[1] for line in lines[1:3]] == ["2040", "2036"], "who has waited the longest"
    signs = [line.split()[0] for line in lines[1:-1]]
    assert signs == sorted(signs, key="🔴⏰🟢🟡".index)
    assert (len(lines), lines[-1]) == (32, "… und 11 weitere.")


async def test_it_fits_into_an_event_whatever_staff_write(world: World) -> None:
    await one_case(world)
    case = await world.case(ANNA)
    async with world.database.transaction() as tx:
        for number in range(2001, 2031):
            await tx.run(
                "INSERT INTO cases (number, customer_id, desk, state, alias, room_id, opened_at, label, plate, tags)"
                " VALUES (?, ?, 'annahme', 'owed', ?, ?, 0, ?, ?, ?)",
                *(
                    number,
                    case.customer_id,
                    f"a{number}",
                    f"!r{number}",
                    "🛠" * 40,
                    "Ü" * 40,
                    " ".join(["🛞" * 40] * 10),
                ),
            )
    await keep_up(world)
    async with world.database.transaction() as tx:
        await tx.run("UPDATE cases SET label = 'neu' WHERE number = 2001")
    await keep_up(world)
    assert only_one(world).body.splitlines()[-1].startswith("… und ")
    edit = world.server.rooms[inbox(world)].events[-1]["content"]
    assert edit["m.relates_to"]["event_id"] == only_one(world).event_id
    assert 10_000 < len(json.dumps(edit)) < 64 * 1024 * 3 // 4 - 1024, "room for the encryption"


async def test_a_case_goes_from_one_list_to_the_other_with_its_desk(world: World) -> None:
    world.rule(desks=DESKS)
    await world.set_up()
    case = await one_case(world)
    await keep_up(world)
    assert found(world, "werkstatt") == []
    await world.says(JAN, case, "!an Werkstatt")
    await keep_up(world)
    assert only_one(world).body == "📌 Bei Annahme ist nichts offen."
    assert "🔴 1001" in only_one(world, "werkstatt").body


async def test_a_deleted_one_is_made_anew(world: World) -> None:
    await one_case(world)
    await keep_up(world)
    first = only_one(world).event_id
    redaction = world.server.new_event(inbox(world), CHEF, "m.room.redaction", {"redacts": first})
    world.server.clear(inbox(world), EventId(first))
    await world.take(inbox(world), redaction)
    await world.run()
    await keep_up(world)
    again = only_one(world)
    assert again.event_id != first
    assert pins(world) == [again.event_id]
    assert not again.edited, "it says at once what holds"


async def test_one_that_is_gone_unseen_is_noticed_at_the_next_change(world: World) -> None:
    case = await one_case(world)
    await keep_up(world)
    first = only_one(world).event_id
    room = world.server.rooms[inbox(world)]
    room.events = [event for event in room.events if event["event_id"] != first]  # purged by the server
    await world.says(JAN, case, "!ich")
    await keep_up(world)
    assert only_one(world).event_id != first
    assert f"👤 {JAN}" in only_one(world).body


async def test_that_it_may_not_be_pinned_is_said_once_and_tried_at_each_start(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = await one_case(world)
    right, allowed = world.server.set_state, False

    async def set_state(room: RoomId, event_type: str, state_key: str, content: dict[str, Any]) -> None:
        if event_type == PINS and not allowed:
            raise Refused("no", code="M_FORBIDDEN", status=403)
        await right(room, event_type, state_key, content)

    monkeypatch.setattr(world.server, "set_state", set_state)
    for text in ("!ich", "!titel Bremse"):
        await keep_up(world)
        await world.says(JAN, case, text)
        async with world.database.transaction() as tx:
            await overviews.look_again(tx)
    await keep_up(world)
    await world.run()
    told = [text for text in world.made("admin")[0].texts() if "nicht anheften" in text]
    assert len(told) == 1
    assert "Bremse" in only_one(world).body, "it is kept up all the same"
    allowed = True
    await keep_up(world)
    assert pins(world) == [], "not before the next start"
    async with world.database.transaction() as tx:
        await overviews.look_again(tx)
    await keep_up(world)
    assert pins(world) == [only_one(world).event_id]


async def test_what_others_pinned_stays_pinned(world: World) -> None:
    note = world.server.new_event(inbox(world), JAN, "m.room.message", {"msgtype": "m.text", "body": "WLAN: …"})
    world.server.rooms[inbox(world)].state[PINS, ""] = {"pinned": [note["event_id"]]}
    await one_case(world)
    await keep_up(world)
    assert pins(world) == [only_one(world).event_id, note["event_id"]]


async def test_after_a_restore_it_is_the_same_event_and_says_what_holds(world: World) -> None:
    backup = await backed_up(world)
    case = await one_case(world)
    await keep_up(world)
    await world.says(JAN, case, "!titel Bremse")
    await keep_up(world)
    before = only_one(world)
    await backup.restore()
    await keep_up(world)
    assert (only_one(world).event_id, only_one(world).body) == (before.event_id, before.body)
    assert pins(world) == [before.event_id]


async def test_after_a_restore_it_does_not_believe_what_the_backup_says_that_it_shows(world: World) -> None:
    await one_case(world)
    await keep_up(world)
    backup = await backed_up(world)
    event = only_one(world).event_id
    world.server.new_event(
        inbox(world),
        ME,
        "m.room.message",
        {
            "msgtype": "m.notice",
            "body": "* 📌 later than the backup",
            "m.new_content": {"msgtype": "m.notice", "body": "📌 later than the backup"},
            "m.relates_to": {"rel_type": "m.replace", "event_id": event},
        },
    )
    await backup.restore()
    await keep_up(world)
    assert "🔴 1001" in only_one(world).body


async def test_after_a_lost_database_the_pinned_one_is_taken_up(world: World) -> None:
    case = await one_case(world)
    await keep_up(world)
    before = only_one(world).event_id
    async with world.database.transaction() as tx:
        await tx.run("DELETE FROM overviews")
    world.server.forget_transactions()
    await world.says(JAN, case, "!titel Bremse")
    await keep_up(world)
    assert only_one(world).event_id == before
    assert "Bremse" in only_one(world).body


@pytest.mark.parametrize("how", ["before", "after"])
@pytest.mark.parametrize("error", [Crash, Transient])
@pytest.mark.parametrize("a_day_later", [False, True])
@pytest.mark.parametrize("changes", [False, True])
async def test_every_step_may_fail(
    tmp_path: Path, *, how: Literal["before", "after"], error: type[BaseException], a_day_later: bool, changes: bool
) -> None:
    """Making it, or changing it; meanwhile what there is to say may change again."""
    for at in itertools.count(1):
        (tmp_path / f"{at}").mkdir()
        async with a_world(tmp_path / f"{at}") as world:
            case = await one_case(world)
            if at > 2:
                await keep_up(world)
                await world.says(JAN, case, "!titel Bremse")
            world.server.fail_at(1 if at == 3 else at, how, error("dies here"))
            with pytest.raises(error):
                await keep_up(world)
            world.server.failure = None
            if a_day_later:
                world.later(hours=25)
                world.server.forget_transactions()
            await world.restart()
            if changes:
                await world.says(JAN, case, "!ich")
            await keep_up(world)
            await keep_up(world)
            one = only_one(world)
            assert pins(world) == [one.event_id]
            assert (f"👤 {JAN}" in one.body) == changes
            assert ("Bremse" in one.body) == (at > 2)
        if at == 3:
            return


async def test_the_bookkeeper_lets_messages_go_first_and_gathers_changes(world: World) -> None:
    keeper = Bookkeeper()
    world.around.bookkeeping = keeper
    case = await one_case(world)
    await world.writes(ANNA, await world.chat(BERT), "?")  # of somebody else there: it waits for nobody
    assert await arrivals.open_lanes(world.database)
    keeper.case_changed(1001)
    await keeper._do_all(world.around)
    assert found(world) == [], "something is under way"
    world.later(seconds=31)
    await keeper._do_all(world.around)
    assert len(found(world)) == 1, "but not for ever"

    await world.run()
    for text in ("!ich", "!titel Bremse"):
        await world.says(JAN, case, text)
        await keeper._do_all(world.around)
    assert "Bremse" not in only_one(world).body
    world.later(seconds=31)
    await keeper._do_all(world.around)
    assert "Bremse" in only_one(world).body
    assert len([e for e in world.server.rooms[inbox(world)].events if "📌" in str(e["content"].get("body"))]) == 2


async def test_a_changed_configuration_is_seen_in_it(world: World) -> None:
    keeper = world.around.bookkeeping = Bookkeeper()
    await one_case(world)
    await keeper._do_all(world.around)
    [desk] = world.rules.desks
    renamed = replace(world.rules, desks=(replace(desk, name="Empfang", language="en"),))
    await staffing.take_over(world.around, renamed, world.texts, "admin.reload_same", {})
    await world.run()
    world.later(seconds=31)
    await keeper._do_all(world.around)
    assert only_one(world).body.splitlines()[0].startswith("📌 Open at Empfang;")


async def test_a_start_brings_it_up_to_date(world: World) -> None:
    await one_case(world)
    keeper = Bookkeeper()
    task = asyncio.create_task(keeper.run(world.around))

    async def is_there() -> bool:
        return bool(found(world) and pins(world))

    await until(is_there, what="an overview")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("where", ["overview", "inbox", "admin"])
async def test_cases_of_a_desk_that_was_removed_are_listed_where_they_are_answered(world: World, where: str) -> None:
    world.rule(desks=DESKS)
    await world.set_up()
    await world.says(ANNA, await world.chat(ANNA), "Reifen")
    assert (await world.case(ANNA)).desk == WERKSTATT
    world.rule(desks=DESKS[:1])
    await world.restart()
    await keep_up(world)
    room = world.made("admin" if where == "admin" else "inbox:annahme")[0]
    if where != "overview":
        await world.says(CHEF if where == "admin" else JAN, room.room_id, "!heute")
    body = only_one(world).body if where == "overview" else shown(room)[-1].body
    assert body.splitlines()[1:] == ["🔴 1001 · wartet seit 02.03. 09:00"]
