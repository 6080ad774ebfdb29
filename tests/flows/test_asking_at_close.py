"""When staff close a case the customer may be asked about one purpose; never in the first session, never too often."""

from bot.domain.consent import Standing
from bot.domain.ids import RoomId
from bot.domain.purpose import PurposeId
from tests.flows.consents import NEWS, POLL, SURVEY, ours, reply_to, says, standing, types
from tests.flows.world import ANNA, JAN, World


def questions(world: World, chat: RoomId) -> int:
    return list(types(world, chat)).count(f"{POLL}.start")


async def closed(world: World, words: str = "Was kostet ein Ölwechsel?") -> RoomId:
    """A customer whose case was opened and closed; returns the chat."""
    world.rule(ask_at_close=(NEWS, SURVEY))
    chat = await world.chat(ANNA)
    await says(world, ANNA, chat, words)
    await world.says(JAN, (await world.case_room(ANNA)).room_id, "!zu")
    return chat


async def later_case(world: World, days: int = 30) -> None:
    world.later(days=days)
    chat = await world.chat(ANNA)
    await says(world, ANNA, chat, "etwas anderes")
    await world.says(JAN, (await world.case_room(ANNA)).room_id, "!zu")


async def test_the_first_purpose_that_may_be_asked_for_is_asked_for_alone(world: World) -> None:
    chat = await closed(world)

    assert questions(world, chat) == 1
    assert await standing(world) is Standing.REQUESTED
    assert await standing(world, SURVEY) is Standing.NONE
    assert (await world.case_room(ANNA)).texts()[-1].startswith("❓ Gefragt: Angebote und Neuigkeiten")


async def test_nobody_is_asked_again_within_the_time_about_anything(world: World) -> None:
    chat = await closed(world)
    text = next(e for e in world.server.rooms[chat].events if e["type"] == f"{POLL}.start")
    asked = text["content"]["m.relates_to"]["m.in_reply_to"]["event_id"]
    await says(world, ANNA, chat, "ja", **reply_to(asked))
    await later_case(world)
    assert await standing(world, SURVEY) is Standing.NONE

    await later_case(world, days=366)
    assert await standing(world, SURVEY) is Standing.REQUESTED
    assert await standing(world) is Standing.GIVEN


async def test_nobody_is_asked_whom_it_would_annoy_or_who_may_not_be(world: World) -> None:
    """Who said STOPP, and who is too young."""
    for words in ("STOPP", "Ich bin 15."):
        chat = await closed(world, words)
        assert questions(world, chat) == 0
        assert await standing(world) is Standing.NONE


async def test_it_is_off_unless_somebody_wants_it(world: World) -> None:
    chat = await world.chat(ANNA)
    await says(world, ANNA, chat, "Was kostet ein Ölwechsel?")
    await world.says(JAN, (await world.case_room(ANNA)).room_id, "!zu")

    assert questions(world, chat) == 0


async def test_a_muted_customer_is_not_asked(world: World) -> None:
    world.rule(ask_at_close=(NEWS,))
    chat = await world.chat(ANNA)
    await says(world, ANNA, chat, "Was kostet ein Ölwechsel?")
    room = (await world.case_room(ANNA)).room_id
    await world.says(JAN, room, "!stumm 2h")
    await world.says(JAN, room, "!zu")

    assert questions(world, chat) == 0


async def test_an_unknown_purpose_after_a_reload_asks_nobody(world: World) -> None:
    world.rule(ask_at_close=(PurposeId("no_such_purpose"),))
    chat = await world.chat(ANNA)
    await says(world, ANNA, chat, "Was kostet ein Ölwechsel?")
    await world.says(JAN, (await world.case_room(ANNA)).room_id, "!zu")

    assert questions(world, chat) == 0
    assert ours(world, chat)
