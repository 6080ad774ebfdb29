"""A plan is followed, but whom it would reach is looked at again: people come while an item waits to run once more."""

from datetime import timedelta

import pytest

from bot.domain.command import COMMANDS, Verb
from bot.domain.errors import Transient
from bot.domain.ids import RoomId, UserId
from bot.flows import stuck
from bot.flows.commands import RUNS
from bot.flows.intake import RoomUpdate
from bot.flows.welcome import INVITATION_LASTS
from bot.store import arrivals
from tests.flows.fake import Crash
from tests.flows.world import ANNA, BERT, CHEF, JAN, World, _state


async def joins(world: World, room: RoomId) -> None:
    """A stranger joins a customer's chat."""
    world.server.rooms[room].members[BERT] = "join"
    event = _state("m.room.member", BERT, {"membership": "join"}, sender=BERT) | {"event_id": "$bert"}
    await world.take_in(RoomUpdate(room, "join", (event,), (event,)))


@pytest.mark.parametrize("how", ["before", "after"])
async def test_an_answer_that_was_planned_reaches_nobody_who_came_since(world: World, how: str) -> None:
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "Und?")
    case = await world.case_room(ANNA)
    await world.writes(JAN, case.room_id, "Ihr Befund")
    world.server.fail_at(1, "before" if how == "before" else "after", Crash())
    with pytest.raises(Crash):
        await world.run()
    world.server.failure = None
    await world.restart()
    await joins(world, chat)

    await world.run()

    sent = [text for text in world.server.rooms[chat].texts() if text == "Ihr Befund"]
    waits = [line.reason for line in await stuck.listed(world.database)]
    # What had left before they came was sent, once; what had not is kept back, and said.
    assert (len(sent), len(waits)) == ((0, 1) if how == "before" else (1, 0))


@pytest.mark.parametrize("how", ["before", "after"])
@pytest.mark.parametrize(
    ("words", "by", "said"),
    [
        ("!aufnehmen @jan:elsewhere.example", CHEF, "@jan:elsewhere.example"),
        ("!aufnehmen niemand", CHEF, "!aufnehmen"),
        (f"!entfernen {CHEF}", CHEF, "selbst"),
        ("!neukunde Meier", CHEF, "nichts angelegt"),
        ("!an", JAN, "Nicht übergeben"),
        (f"!entfernen {CHEF}", JAN, "Verwaltung"),
    ],
)
async def test_what_was_wrong_with_a_command_is_said_once_also_after_trouble(
    world: World, how: str, words: str, by: str, said: str
) -> None:
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "Und?")
    room = world.made("admin")[0] if by == CHEF else await world.case_room(ANNA)
    await world.writes(UserId(by), room.room_id, words)
    world.server.fail_at(1, "before" if how == "before" else "after", Transient("502", retry_after_s=0.01))
    before = len(room.texts())
    await world.run()

    answers = room.texts()[before:]
    assert len(answers) == 1
    assert said in answers[0]
    assert (await arrivals.counts(world.database)).keys() == {"done"}


async def test_an_invitation_that_cannot_be_accepted_for_hours_is_given_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.comes(ANNA)
    joined = []

    async def join(room: RoomId) -> None:
        joined.append(room)

    monkeypatch.setattr(world.server, "join", join)
    world.later(seconds=(INVITATION_LASTS + timedelta(minutes=1)) / timedelta(seconds=1))
    await world.run()
    assert joined == []


def test_every_command_does_something() -> None:
    assert set(RUNS) == set(Verb) == {row.verb for row in COMMANDS}
