"""An answer that was turned into a note never reaches the customer, however far it had come."""

from bot.domain.errors import Refused
from bot.domain.ids import EventId, RoomId, SessionId
from bot.flows import stuck
from bot.store import arrivals
from tests.flows.world import ANNA, BERT, JAN, World


async def becomes_a_note(world: World, case: RoomId, event: EventId) -> None:
    relation = {"rel_type": "m.replace", "event_id": event}
    new = {"msgtype": "m.text", "body": ". zahlt nie"}
    await world.says(JAN, case, "* . zahlt nie", **{"m.new_content": new, "m.relates_to": relation})


async def test_what_is_parked_is_withdrawn(world: World) -> None:
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "Hallo")
    case = await world.case_room(ANNA)
    await world.joins(BERT, chat)
    event = await world.says(JAN, case.room_id, "zahlt nie")
    assert await stuck.listed(world.database)
    await becomes_a_note(world, case.room_id, event)
    assert "Notiz" in case.texts()[-1]
    assert not await stuck.listed(world.database)
    assert "zahlt nie" not in world.server.rooms[chat].texts()


async def test_what_waits_for_its_key_is_withdrawn(world: World) -> None:
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "Hallo")
    case = await world.case_room(ANNA)
    world.server.missing_keys.add(SessionId("late"))
    event = await world.writes(JAN, case.room_id, "zahlt nie", session="late")
    world.later(seconds=11)
    await world.run()
    await becomes_a_note(world, case.room_id, event)
    world.server.missing_keys.clear()
    async with world.database.transaction() as tx:
        await arrivals.wake_sessions(tx, [SessionId("late")])
    await world.run()
    assert not any("zahlt nie" in text for text in world.server.rooms[chat].texts())


async def test_a_copy_that_was_sent_half_is_deleted(world: World) -> None:
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "Hallo")
    case = await world.case_room(ANNA)
    event = await world.writes(JAN, case.room_id, "zahlt nie")
    world.server.fail_at(1, "after", Refused("no", code="M_UNKNOWN", status=400))
    await world.run()
    assert "zahlt nie" in world.server.rooms[chat].texts()
    await becomes_a_note(world, case.room_id, event)
    assert "zahlt nie" not in world.server.rooms[chat].texts()
    assert "gelöscht" in case.texts()[-1]
    assert not await stuck.listed(world.database)
