"""Who comes to the team and who leaves it, by command and by configuration, at once and after a crash."""

from dataclasses import replace

import pytest

from bot.domain.errors import Fatal, Refused
from bot.domain.ids import DeskId, RoomId, UserId
from bot.domain.staff import Change
from bot.flows import cards, house, staffing
from bot.flows.surroundings import Desk, Rules
from bot.store import arrivals, staff
from tests.flows.fake import Crash, FakeRoom
from tests.flows.shown import shown
from tests.flows.world import ANNA, CHEF, EVA, JAN, ME, RULES, World

TOM = UserId("@tom:example.org")
BOSS = UserId("@boss:example.org")
PARTS = DeskId("teile")


def admin_room(world: World) -> FakeRoom:
    return world.made("admin")[0]


async def orders(world: World, text: str, by: UserId = CHEF) -> str:
    """An admin commands; the answer."""
    room = admin_room(world)
    before = len(room.texts())
    await world.says(by, room.room_id, text)
    return "\n".join(room.texts()[before + 1 :])


def rooms_of(world: World, user: UserId) -> set[str]:
    """Where somebody is or may go."""
    return {room.mark for room in world.server.rooms.values() if room.members.get(user) in {"join", "invite"}}


async def restarted(world: World, configured: Rules = RULES) -> None:
    """A start with this configuration, as the composition root does it."""
    world.later(minutes=1)
    await world.restart()
    world.around.rules = staffing.in_force(configured, await staff.changes(world.database))
    await house.set_up(world.around)
    await staffing.compare(world.around, configured)
    await world.run()


async def test_a_newcomer_is_invited_everywhere_that_matters(world: World) -> None:
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "erste")
    closed = (await world.case_room(ANNA)).room_id
    await world.says(JAN, closed, "!zu")
    world.later(days=30)
    await world.says(ANNA, chat, "zweite")
    answer = await orders(world, f"!aufnehmen {TOM}")
    assert f"{TOM} gehört ab sofort zum Team (Annahme)" in answer
    assert rooms_of(world, TOM) == {"space", "inbox:annahme", "case:1002"}
    await world.says(TOM, (await world.case_room(ANNA)).room_id, "Ich übernehme.")
    assert "Ich übernehme." in world.server.rooms[chat].texts()


async def test_a_newcomer_stays_after_a_start_until_the_configuration_says_so_too(world: World) -> None:
    await orders(world, f"!add {TOM} annahme")
    await restarted(world)
    assert TOM in world.around.rules.staff
    assert await staff.changes(world.database) == (Change(TOM, DeskId("annahme")),)
    desk = replace(RULES.desks[0], members=(JAN, EVA, TOM))
    await restarted(world, replace(RULES, desks=(desk,)))
    assert await staff.changes(world.database) == ()
    assert TOM in world.around.rules.staff


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        *(("!aufnehmen", "fehlt noch etwas"), ("!aufnehmen Tom", "So geht es"), (f"!aufnehmen {ME}", "So geht es")),
        *(("!aufnehmen @other-bot:example.org", "So geht es"), ("!aufnehmen @t:elsewhere.example", "fremden Server")),
        *((f"!aufnehmen {TOM} Lager", "Es gibt: Annahme"), (f"!entfernen {TOM}", "gehört nicht zum Team")),
        *(("!entfernen", "fehlt noch etwas"), (f"!entfernen {CHEF}", "Sich selbst")),
    ],
)
async def test_what_cannot_be_done_changes_nothing(world: World, text: str, answer: str) -> None:
    said = await orders(world, text)
    assert "Nicht getan" in said
    assert answer in said
    assert world.around.rules == RULES
    assert await staff.changes(world.database) == ()


async def test_only_admins_in_the_admin_room_change_the_team(world: World) -> None:
    inbox = world.made("inbox:annahme")[0]
    await world.says(JAN, inbox.room_id, f"!aufnehmen {TOM}")
    await world.says(CHEF, inbox.room_id, f"!entfernen {JAN}")
    await orders(world, f"!entfernen {EVA}", by=JAN)
    assert world.around.rules == RULES


async def test_a_leaver_is_out_of_everything_and_heard_no_more(world: World) -> None:
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "erste")
    case = await world.case_room(ANNA)
    await world.writes(CHEF, admin_room(world).room_id, f"!entfernen {JAN}")
    await world.run()
    assert rooms_of(world, JAN) == set()
    assert world.around.rules.staff == {EVA, CHEF}
    assert "bleibt darauf" in admin_room(world).texts()[-1]
    await world.says(JAN, case.room_id, "Ich bin noch da!")
    assert "Ich bin noch da!" not in world.server.rooms[chat].texts()
    await world.says(JAN, case.room_id, "!zu")
    assert (await world.case(ANNA)).closed_at is None


async def test_an_admin_who_leaves_commands_no_more(world: World) -> None:
    world.around.rules = replace(RULES, admins=(CHEF, BOSS))
    await orders(world, f"!entfernen {BOSS}")
    assert rooms_of(world, BOSS) == set()
    await orders(world, f"!aufnehmen {TOM}", by=BOSS)
    assert TOM not in world.around.rules.staff


async def test_what_was_written_before_the_removal_but_not_handled_yet_is_refused(world: World) -> None:
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "erste")
    case = (await world.case_room(ANNA)).room_id
    await orders(world, f"!entfernen {JAN}")
    await world.says(JAN, case, "vorher getippt")
    assert "vorher getippt" not in world.server.rooms[chat].texts()


async def test_the_last_one_of_a_desk_is_not_removed(world: World) -> None:
    await orders(world, f"!entfernen {EVA}")
    assert "die einzige Person" in await orders(world, f"!entfernen {JAN}")
    assert JAN in world.around.rules.staff
    await orders(world, f"!aufnehmen {CHEF}")
    await orders(world, f"!entfernen {JAN}")
    assert world.around.rules.staff == {CHEF}


async def test_an_old_configuration_brings_nobody_back_silently(world: World) -> None:
    await orders(world, f"!entfernen {JAN}")
    await restarted(world)
    assert rooms_of(world, JAN) == set()
    assert f"nennt noch {JAN}" in admin_room(world).texts()[-1]
    without = replace(RULES, desks=(replace(RULES.desks[0], members=(EVA,)),))
    await restarted(world, without)
    assert await staff.changes(world.database) == ()
    await restarted(world)  # an old file, put back
    assert rooms_of(world, JAN) == {"space", "inbox:annahme"}
    assert f"Nach der Konfiguration eingeladen: {JAN}" in admin_room(world).texts()[-1]


async def test_whoever_comes_back_by_command_is_back(world: World) -> None:
    await orders(world, f"!entfernen {JAN}")
    await orders(world, f"!aufnehmen {JAN}")
    assert rooms_of(world, JAN) == {"space", "inbox:annahme"}
    await restarted(world)
    assert JAN in world.around.rules.staff
    assert await staff.changes(world.database) == ()


async def test_a_start_says_who_came_and_who_left_by_the_configuration(world: World) -> None:
    await world.says(ANNA, await world.chat(ANNA), "erste")
    await restarted(world, replace(RULES, desks=(replace(RULES.desks[0], members=(EVA, TOM)),)))
    texts = admin_room(world).texts()
    assert any(text.startswith(f"👋 Nach der Konfiguration eingeladen: {TOM}") for text in texts)
    assert any("aus allen unseren Räumen entfernt: " + JAN in text for text in texts)
    assert rooms_of(world, TOM) == {"space", "inbox:annahme", "case:1001"}
    assert rooms_of(world, JAN) == set()
    before = len(admin_room(world).texts())
    await restarted(world, replace(RULES, desks=(replace(RULES.desks[0], members=(EVA, TOM)),)))
    assert len(admin_room(world).texts()) == before
    await restarted(world)
    await restarted(world, replace(RULES, desks=(replace(RULES.desks[0], members=(EVA, TOM)),)))
    assert len([text for text in admin_room(world).texts() if text.endswith(f"eingeladen: {TOM}")]) == 2


async def test_who_declines_the_invitation_is_named_once(world: World) -> None:
    space = world.made("space")[0]
    for _ in range(3):
        space.members[EVA] = "leave"
        await restarted(world)
    assert [text for text in admin_room(world).texts() if "eingeladen" in text] == [
        f"👋 Nach der Konfiguration eingeladen: {EVA}"
    ]


async def test_a_customer_who_is_taken_in_is_looked_at_twice(world: World) -> None:
    tom = UserId("@tom:example.org")
    await world.chat(tom)
    assert "als Kunde" in await orders(world, f"!aufnehmen {tom}")


async def test_a_server_that_refuses_is_told_to_the_admins(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(room: RoomId, user: UserId) -> None:
        raise Refused("no", code="M_FORBIDDEN", status=403)

    monkeypatch.setattr(world.server, "invite", refuse)
    assert f"{TOM} konnte in 2 Räume nicht eingeladen werden" in await orders(world, f"!aufnehmen {TOM}")
    monkeypatch.setattr(world.server, "remove", refuse)
    assert "In 2 Räumen hat der Server die Entfernung" in await orders(world, f"!entfernen {JAN}")
    assert JAN not in world.around.rules.staff


async def test_whoever_is_dismissed_while_being_invited_is_out_in_the_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    invite = world.server.invite

    async def slowly(room: RoomId, user: UserId) -> None:
        """The server takes so long that the command to dismiss them is done in between."""
        monkeypatch.setattr(world.server, "invite", invite)
        world.around.rules = staffing.in_force(world.around.rules, [Change(user, None)])
        await invite(room, user)

    monkeypatch.setattr(world.server, "invite", slowly)
    await orders(world, f"!aufnehmen {TOM}")
    assert rooms_of(world, TOM) == set()


@pytest.mark.parametrize("how", ["reload", "start"])
async def test_the_cases_of_a_desk_that_is_gone_are_with_whoever_answers_them_now(world: World, how: str) -> None:
    """Else a customer would write into a room where nobody is."""
    parts = Desk(PARTS, "Teile", (TOM,), keywords=("Dichtung",))
    world.rule(desks=(*RULES.desks, parts))
    await world.set_up()
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "Dichtung")
    case = await world.case_room(ANNA)
    assert {user for user, membership in case.members.items() if membership == "invite"} == {TOM}

    world.rules = RULES
    if how == "reload":
        await staffing.take_over(world.around, RULES, world.texts, "admin.reloaded", {"lines": "x"})
        await world.run()
    else:
        await restarted(world)
    assert {user for user, membership in case.members.items() if membership == "invite"} == {JAN, EVA}


async def test_a_closed_case_that_opens_again_calls_in_whoever_answers_it_now(world: World) -> None:
    world.rule(desks=(*RULES.desks, Desk(PARTS, "Teile", (TOM,), keywords=("Dichtung",))))
    await world.set_up()
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "Dichtung")
    case = await world.case_room(ANNA)
    await world.says(TOM, case.room_id, "!zu")
    world.rules = RULES
    await restarted(world)
    await world.says(ANNA, chat, "noch etwas")
    assert case.texts()[-2] == "noch etwas"
    assert {user for user, membership in case.members.items() if membership == "invite"} == {JAN, EVA}


async def test_who_tidied_a_closed_case_away_is_there_when_it_opens_again(world: World) -> None:
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "Hallo")
    case = await world.case_room(ANNA)
    await world.joins(JAN, case.room_id)
    await world.says(JAN, case.room_id, "!zu")
    case.members[EVA] = "leave"
    await world.says(ANNA, chat, "noch etwas")
    assert case.members[EVA] == "invite"


async def test_the_card_of_a_case_whose_desk_is_gone_is_not_edited_in_another_inbox(world: World) -> None:
    """It is not there: as an edit of nothing each change would be a new message."""
    world.rule(desks=(*RULES.desks, Desk(PARTS, "Teile", (EVA,), keywords=("Dichtung",))))
    await world.set_up()
    await world.says(ANNA, await world.chat(ANNA), "Dichtung")
    world.rule(desks=RULES.desks)
    await world.says(EVA, (await world.case_room(ANNA)).room_id, "!ich")
    await cards.keep_up(world.around, (await world.case(ANNA)).number)
    assert "Zuständig: @eva:example.org" in shown(await world.case_room(ANNA))[0].body
    assert world.made("inbox:annahme")[0].texts() == []


async def test_a_newcomer_is_invited_to_the_cases_of_a_desk_that_is_gone(world: World) -> None:
    world.rule(desks=(*RULES.desks, Desk(PARTS, "Teile", (EVA,), keywords=("Dichtung",))))
    await world.set_up()
    await world.says(ANNA, await world.chat(ANNA), "Dichtung")
    world.rule(desks=RULES.desks)
    await orders(world, f"!aufnehmen {TOM}")
    assert "case:1001" in rooms_of(world, TOM)


async def test_who_came_and_left_while_a_case_room_was_made(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    chat = await world.chat(ANNA)
    create = world.server.create_room

    async def meanwhile(spec: object) -> RoomId:
        room: RoomId = await create(spec)
        changes = [Change(JAN, None), Change(TOM, DeskId("annahme"))]
        world.around.rules = staffing.in_force(world.around.rules, changes)
        return room

    monkeypatch.setattr(world.server, "create_room", meanwhile)
    await world.says(ANNA, chat, "erste")
    assert {EVA, TOM} == {user for user, standing in (await world.case_room(ANNA)).members.items()} - {ME, JAN}
    assert (await world.case_room(ANNA)).members[JAN] == "leave"


async def test_a_colleague_from_another_desk_stays_in_a_case(world: World) -> None:
    other = Desk(PARTS, "Teile", (TOM,))
    world.around.rules = replace(RULES, desks=(RULES.desks[0], other))
    await house.set_up(world.around)
    await world.says(ANNA, await world.chat(ANNA), "erste")
    case = await world.case_room(ANNA)
    await world.joins(TOM, case.room_id)
    await restarted(world, world.around.rules)
    assert rooms_of(world, TOM) == {"space", "inbox:teile", "case:1001"}
    await orders(world, f"!aufnehmen {EVA} teile")
    assert rooms_of(world, EVA) == {"space", "inbox:annahme", "inbox:teile", "case:1001"}
    await orders(world, f"!entfernen {TOM}")
    assert rooms_of(world, TOM) == set()


def test_a_configuration_without_an_admin_who_may_is_a_clear_stop() -> None:
    with pytest.raises(Fatal, match="admins"):
        staffing.in_force(RULES, [Change(CHEF, None)])


def test_a_desk_that_lost_everybody_is_answered_by_the_admins() -> None:
    rules = staffing.in_force(RULES, [Change(JAN, None), Change(EVA, None)])
    assert rules.desks[0].members == (CHEF,)
    rules = staffing.in_force(RULES, [Change(JAN, None), Change(EVA, None), Change(TOM, DeskId("gone"))])
    assert rules.desks[0].members == (TOM,)


async def test_a_crash_in_the_middle_of_a_start_loses_no_announcement(world: World) -> None:
    await world.restart()
    world.around.rules = replace(RULES, desks=(replace(RULES.desks[0], members=(EVA,)),))
    world.server.fail_at(2, "after", Crash())
    with pytest.raises(Crash):
        await house.set_up(world.around)
    await restarted(world, world.around.rules)
    gone = [text for text in admin_room(world).texts() if text.startswith("🚪")]
    assert len(gone) == 1
    assert rooms_of(world, JAN) == set()


async def test_who_is_removed_by_somebody_who_leaves_meanwhile_is_out_all_the_same(world: World) -> None:
    world.rule(admins=(CHEF, BOSS))
    await restarted(world, world.rules)
    await world.writes(CHEF, admin_room(world).room_id, f"!entfernen {JAN}")
    world.server.fail_at(1, "before", Crash())
    with pytest.raises(Crash):
        await world.run()
    world.server.failure = None
    world.rule(admins=(BOSS,))
    await world.restart()
    await world.run()

    assert rooms_of(world, JAN) == set()
    assert any(f"{JAN} gehört nicht mehr" in text for text in admin_room(world).texts())
    assert (await arrivals.counts(world.database)).keys() == {"done"}
