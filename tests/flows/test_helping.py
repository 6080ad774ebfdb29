"""The help fits on a phone, and a command that is given wrongly says so and does nothing."""

import pytest

from bot.domain.command import COMMANDS, Command, Takes, Verb, Where, row_of
from bot.flows import helping
from tests.flows.fake import FakeRoom
from tests.flows.world import ANNA, CHEF, JAN, World

NEED = [row for row in COMMANDS if row.takes is Takes.NEEDED]
ALONE = [row for row in COMMANDS if row.takes is Takes.NOTHING]


async def orders(world: World, row: Command, text: str) -> str:
    """Somebody who may gives a command where it belongs; the answer."""
    room: FakeRoom = world.made("admin")[0]
    if row.where is not Where.ADMIN:
        await world.says(ANNA, await world.chat(ANNA), "erste")
        room = await world.case_room(ANNA)
    await world.says(CHEF if row.where is Where.ADMIN else JAN, room.room_id, text)
    return room.texts()[-1]


@pytest.mark.parametrize("language", ["de", "en"])
async def test_the_short_help_has_twelve_lines_at_most_and_the_long_one_has_everything(
    world: World, language: str
) -> None:
    world.rule(language=language)
    short = helping.text(world.around, "").splitlines()
    everything = helping.text(world.around, "alle")
    assert 5 < len(short) <= 12
    assert set(short[:-1]) <= set(everything.splitlines())
    assert [word for row in COMMANDS for word in row.words if f"!{word}" not in everything] == []


@pytest.mark.parametrize("word", ["sperren", "!sperren", "Sperren", "block", " !BLOCK "])
async def test_one_command_is_explained(world: World, word: str) -> None:
    said = helping.text(world.around, word)
    assert said.startswith("!sperren / !block: ")
    assert "\n" not in said


async def test_help_about_what_is_none_names_the_nearest(world: World) -> None:
    assert "Meinten Sie „!sperren“" in helping.text(world.around, "speren")
    assert "kenne ich nicht" in helping.text(world.around, "xyzzy")


@pytest.mark.parametrize("row", ALONE, ids=lambda row: row.verb)
async def test_words_behind_a_command_that_takes_none_keep_it_from_acting(world: World, row: Command) -> None:
    answer = await orders(world, row, f"!{row.words[0]} bitte")
    assert answer == world.around.say("command.takes_nothing", word=row.words[0])


async def test_closing_with_words_closes_nothing_and_sends_nothing(world: World) -> None:
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "erste")
    await world.says(JAN, (await world.case_room(ANNA)).room_id, "!zu Danke, bis morgen")
    assert (await world.case(ANNA)).state == "owed"
    assert not [text for text in world.server.rooms[chat].texts() if "bis morgen" in text]


@pytest.mark.parametrize(
    ("text", "says"), [("!zu", True), ("!ezu", True), (". doch nicht", False), ("!notiz x", False)]
)
async def test_an_answer_edited_into_a_command_is_withdrawn_and_it_is_said_that_the_command_did_not_run(
    world: World, text: str, says: bool
) -> None:
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "erste")
    room = await world.case_room(ANNA)
    answer = await world.says(JAN, room.room_id, "fertig")
    state = (await world.case(ANNA)).state
    new = {"msgtype": "m.text", "body": text}
    relation = {"rel_type": "m.replace", "event_id": answer}
    await world.says(JAN, room.room_id, f"* {text}", **{"m.new_content": new, "m.relates_to": relation})
    said = world.around.say("case.note_withdrawn")
    assert room.texts()[-1] == (f"{said}\n{world.around.say('command.not_run')}" if says else said)
    assert (await world.case(ANNA)).state == state
    assert "fertig" not in world.server.rooms[chat].texts()


async def test_reopening_with_words_reopens_nothing(world: World) -> None:
    row = row_of(Verb.REOPEN)
    await world.says(ANNA, await world.chat(ANNA), "erste")
    room = await world.case_room(ANNA)
    await world.says(JAN, room.room_id, "!zu")
    await world.says(JAN, room.room_id, "!auf bitte")
    assert room.texts()[-1] == world.around.say("command.takes_nothing", word=row.words[0])
    assert (await world.case(ANNA)).state == "closed"


@pytest.mark.parametrize("row", NEED, ids=lambda row: row.verb)
async def test_what_is_missing_is_said_with_an_example(world: World, row: Command) -> None:
    answer = await orders(world, row, f"!{row.words[0]}")
    assert answer.startswith("⚠️ Nicht getan: Hinter")
    assert f"„!{row.words[0]} " in answer, "an example"
    assert "?" not in answer.replace("?“", "")


@pytest.mark.parametrize("row", NEED, ids=lambda row: row.verb)
def test_the_english_help_has_an_example_as_well(world: World, row: Command) -> None:
    assert f"!{row.words[1]} " in world.around.texts.render(row.help, "en")
