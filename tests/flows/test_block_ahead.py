"""The order against a flood does not stand behind the flood: it holds at once, and says how much was left out."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from bot.domain.arrival import Item, ItemKind, ItemState, customer_lane
from bot.domain.block import BlockKind
from bot.domain.consent import Standing
from bot.domain.errors import Mistake
from bot.domain.ids import EventId, RoomId, SessionId, UserId
from bot.domain.message import NoKey, Reading, Untrusted
from bot.flows.dispatch import Dispatch
from bot.flows.intake import Batch, RoomUpdate, take_in
from bot.flows.warning import park, step_aside
from bot.flows.worker import Hold, Worker
from bot.store import arrivals, blocks
from tests.flows.consents import agreed, encrypted, says, standing, writes
from tests.flows.world import ANNA, BERT, EVA, JAN, World
from tests.waiting import until

FLOOD = 100
BURST = 5
PHONE = SessionId("a new phone")


@pytest.fixture
async def chat(world: World) -> RoomId:
    """The chat of a customer whom somebody has answered."""
    chat = await world.chat(ANNA)
    await says(world, ANNA, chat, "erste")
    await says(world, JAN, (await world.case_room(ANNA)).room_id, "Antwort")
    return chat


async def flooded(world: World, chat: RoomId, count: int = 3) -> list[EventId]:
    """A customer has written much; the bot has not worked yet."""
    return [await writes(world, ANNA, chat, f"GRATIS {number}") for number in range(count)]


async def orders(world: World, text: str, *, session: str = "", by: UserId = JAN) -> EventId:
    """A mechanic commands in the case room; the bot has not worked yet."""
    return await writes(world, by, (await world.case_room(ANNA)).room_id, text, session=session)


async def read_ahead(world: World) -> list[Item]:
    """Do what is done ahead of what waits, and nothing else; returns what was read."""
    found = await arrivals.open_of(world.database, ItemKind.ORDER)
    for item in found:
        await Dispatch(world.around).handle(item)
    return found


async def copies(world: World) -> list[str]:
    """What of the flood has reached the case room."""
    return [text for text in (await world.case_room(ANNA)).texts() if text.startswith("GRATIS")]


async def replies(world: World) -> list[str]:
    """What staff were told of blocks."""
    signs = ("🚫 Gesperrt", "🔕", "🔔")
    return [text for text in (await world.case_room(ANNA)).texts() if text.startswith(signs)]


async def held(world: World) -> list[BlockKind]:
    return [block.kind for block in await blocks.in_force(world.database, world.now())]


async def item(world: World, event: EventId) -> Item:
    found = await arrivals.get(world.database, event)
    assert found
    return found


async def kept(world: World) -> list[Any]:
    """What of messages still stands in our table."""
    kinds = "kind IN ('event', 'heed', 'order')"
    return await world.database.all(f"SELECT 1 FROM arrivals WHERE {kinds} AND (state != 'done' OR body IS NOT NULL)")


def left_out(world: World, count: int) -> str:
    return world.around.say("block.left_out", count=str(count))


def without_jan(world: World) -> None:
    [desk] = world.rules.desks
    world.rule(desks=(replace(desk, members=(EVA,)),))


@asynccontextmanager
async def at_work(world: World) -> AsyncIterator[Worker]:
    """The worker works, also on what comes in meanwhile. Time stands still."""
    worker = Worker(world.around, Dispatch(world.around).handle)
    world.around.bookkeeping.wake = worker.wake
    task = asyncio.ensure_future(worker.run())
    try:
        yield worker
    finally:
        world.around.bookkeeping.wake = lambda lanes: None
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_flood_that_waits_does_not_hold_up_the_order_against_it(world: World, chat: RoomId) -> None:
    world.rule(burst=BURST, messages_per_minute=1)
    said_to_customer = len([e for e in world.server.rooms[chat].events if e["sender"] == world.rules.me])

    async def burst() -> bool:
        return len(await copies(world)) == BURST

    async with at_work(world) as worker:
        flood = await flooded(world, chat, FLOOD)
        worker.wake(await arrivals.open_lanes(world.database))
        await until(burst, what="what the burst holds; the next comes in a minute")
        await orders(world, "!sperren 7d")
        worker.wake(await arrivals.open_lanes(world.database))
        [reply] = await until(lambda: replies(world), timeout_s=10, what="the answer to the order, before that")

    assert await held(world) == [BlockKind.BLOCK]
    assert reply.startswith("🚫 Gesperrt bis 09.03.2026")
    assert reply.endswith(left_out(world, FLOOD - BURST))
    assert len(await copies(world)) == BURST
    await world.run()
    rows = await arrivals.counts(world.database)
    await writes(world, ANNA, chat, "GRATIS und noch mehr")
    assert await arrivals.counts(world.database) == rows, "from now on nothing is taken in"
    assert set(rows) == {ItemState.DONE}, "nothing of it is kept"
    assert len(await copies(world)) == BURST
    assert len([e for e in world.server.rooms[chat].events if e["sender"] == world.rules.me]) == said_to_customer
    assert await arrivals.read_up_to(world.database, chat) == flood[BURST - 1], "what nobody saw is not marked as read"


async def test_the_order_itself_is_answered_in_its_turn(world: World, chat: RoomId) -> None:
    await flooded(world, chat)
    await orders(world, "Bitte lassen Sie das.")
    await orders(world, "!sperren 7d")
    await orders(world, ". der schon wieder")
    await read_ahead(world)
    assert await held(world) == [BlockKind.BLOCK]
    assert await replies(world) == []
    assert await copies(world) == []
    await world.run()
    room = await world.case_room(ANNA)
    said = [event["content"].get("body", "") for event in room.events if event["sender"] == world.rules.me]
    assert said[-2].endswith(left_out(world, 3))
    assert said[-1] == world.around.say("case.note_kept")
    assert world.server.rooms[chat].texts()[-1] == "Bitte lassen Sie das."


@pytest.mark.parametrize("before", ["!stumm 1h", "!entsperren", "!sperren 2h"])
async def test_an_order_before_it_does_not_have_the_last_word(world: World, chat: RoomId, before: str) -> None:
    await flooded(world, chat)
    await orders(world, before, by=EVA)
    await orders(world, "!sperren 7d")
    await read_ahead(world)
    await world.run()
    [block] = await blocks.in_force(world.database, world.now())
    assert (block.kind, (block.until - world.now()).days) == (BlockKind.BLOCK, 7)
    assert (await replies(world))[-1].startswith("🚫 Gesperrt bis 09.03.2026")
    assert sum(reply.count(left_out(world, 3)) for reply in await replies(world)) == 1


async def test_an_order_after_it_has_the_last_word(world: World, chat: RoomId) -> None:
    await flooded(world, chat)
    await orders(world, "!sperren 7d")
    await orders(world, "!entsperren", by=EVA)
    await read_ahead(world)
    await world.run()
    assert await held(world) == []
    assert (await replies(world))[-1] == world.around.say("block.lifted")


@pytest.mark.parametrize(
    "text",
    ["!sperren", "!sperren bald", "!sperren 400d", "!stumm 2h", "!entsperren", "!zu", ". sperren 7d", "sperren 7d"],
)
async def test_nothing_else_is_done_ahead(world: World, chat: RoomId, text: str) -> None:
    flood = await flooded(world, chat)
    order = await orders(world, text)
    assert len(await read_ahead(world)) == 1
    assert await held(world) == []
    assert [(await item(world, event)).plan for event in (*flood, order)] == [None] * 4
    await world.run()
    assert await copies(world) == ["GRATIS 0", "GRATIS 1", "GRATIS 2"]


async def test_what_an_answer_is_edited_into_is_no_order(world: World, chat: RoomId) -> None:
    answer = await orders(world, "um acht")
    await world.run()
    await flooded(world, chat)
    edit: dict[str, Any] = {"m.new_content": {"msgtype": "m.text", "body": "!sperren 7d"}}
    edit["m.relates_to"] = {"rel_type": "m.replace", "event_id": answer}
    await writes(world, JAN, (await world.case_room(ANNA)).room_id, "* !sperren 7d", **edit)
    assert len(await read_ahead(world)) == 1
    await world.run()
    assert await held(world) == []
    assert len(await copies(world)) == 3


@pytest.mark.parametrize(
    "who", ["the customer", "a customer in the case room", "who has left the team", "a device that is not believed"]
)
async def test_only_staff_block_somebody(world: World, chat: RoomId, who: str) -> None:
    await flooded(world, chat)
    if who == "the customer":
        await writes(world, ANNA, chat, "!sperren 7d")
    elif who == "a customer in the case room":
        await orders(world, "!sperren 7d", by=BERT)
    elif who == "who has left the team":
        await orders(world, "!sperren 7d")
        without_jan(world)
    else:
        world.server.doubted[PHONE] = Untrusted
        await orders(world, "!sperren 7d", session=PHONE)
    await read_ahead(world)
    await world.run()
    assert await held(world) == []
    assert len(await copies(world)) == 3


async def test_what_nobody_waits_behind_is_read_once(world: World, chat: RoomId) -> None:
    await orders(world, "um neun")
    await orders(world, "!sperren 7d")
    assert await arrivals.open_of(world.database, ItemKind.ORDER) == []
    await world.run()
    assert await held(world) == [BlockKind.BLOCK]
    assert "verloren. Nachrichten" not in (await replies(world))[-1]


async def test_what_came_behind_the_order_goes_nowhere_either(world: World, chat: RoomId) -> None:
    await orders(world, "!sperren 7d")
    await flooded(world, chat)
    await world.run()
    assert await copies(world) == []
    assert (await replies(world))[-1].endswith(left_out(world, 3))


async def test_an_order_of_long_ago_leaves_nothing_out(world: World, chat: RoomId) -> None:
    room = (await world.case_room(ANNA)).room_id
    order = encrypted(world, JAN, room, "m.room.message", {"msgtype": "m.text", "body": "!sperren 1h"})
    world.later(hours=2)
    await flooded(world, chat)
    await world.take(room, order)
    await read_ahead(world)
    await world.run()
    assert await held(world) == []
    assert len(await copies(world)) == 3


async def test_what_has_no_key_yet_is_left_out_and_counted(world: World, chat: RoomId) -> None:
    late = SessionId("late")
    world.server.missing_keys.add(late)
    await writes(world, ANNA, chat, "GRATIS ohne Schlüssel", session=late)
    world.later(seconds=11)
    await world.run()
    await flooded(world, chat, 2)
    await orders(world, "!sperren 7d")
    await read_ahead(world)
    world.server.missing_keys.clear()
    async with world.database.transaction() as tx:
        assert await arrivals.wake_sessions(tx, [late]) == []
    await world.run()
    assert await copies(world) == []
    assert (await replies(world))[-1].endswith(left_out(world, 3))


async def test_what_the_server_has_not_given_is_not_counted_and_that_is_said(world: World, chat: RoomId) -> None:
    said = {"msgtype": "m.text", "body": "GRATIS in der Lücke"}
    encrypted(world, ANNA, chat, "m.room.message", said)
    newest = encrypted(world, ANNA, chat, "m.room.message", {"msgtype": "m.text", "body": "GRATIS zuletzt"})
    prev = str(len(world.server.rooms[chat].events) - 1)
    await world.take_in(RoomUpdate(chat, "join", timeline=(newest,), limited=True, prev_batch=prev))
    await orders(world, "!sperren 7d")
    await read_ahead(world)
    await world.run()
    assert await copies(world) == []
    assert (await replies(world))[-1].splitlines()[1:] == [
        left_out(world, 1),
        world.around.say("block.left_out_unseen"),
    ]


async def test_what_they_delete_is_deleted_all_the_same(world: World, chat: RoomId) -> None:
    event = await says(world, ANNA, chat, "Unsinn")
    await flooded(world, chat)
    await world.take(chat, world.server.new_event(chat, ANNA, "m.room.redaction", {"redacts": event}))
    await orders(world, "!sperren 7d")
    await read_ahead(world)
    await world.run()
    assert "Unsinn" not in (await world.case_room(ANNA)).texts()
    assert (await replies(world))[-1].endswith(left_out(world, 3)), "a deletion is nothing that was left out"


@pytest.mark.parametrize("first", ["the block", "the withdrawal"])
async def test_a_withdrawal_in_the_flood_counts_though_the_flood_does_not(world: World, first: str) -> None:
    chat, _ = await agreed(world)
    await flooded(world, chat)
    await writes(world, ANNA, chat, "stopp")
    if first == "the withdrawal":
        for heed in await arrivals.open_of(world.database, ItemKind.HEED):
            await Dispatch(world.around).handle(heed)
    await orders(world, "!sperren 7d")
    await read_ahead(world)
    await world.run()
    assert await standing(world) is Standing.WITHDRAWN
    assert await copies(world) == []
    assert "stopp" not in (await world.case_room(ANNA)).texts()
    assert (await replies(world))[-1].endswith(left_out(world, 4))
    assert await kept(world) == []


async def test_what_is_left_out_while_it_is_read_for_a_withdrawal_is_not_kept(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat, _ = await agreed(world)
    await flooded(world, chat, 1)
    await orders(world, "!sperren 7d")
    genuine = world.server.read

    async def read(room: RoomId, event: dict[str, Any]) -> Reading:
        monkeypatch.setattr(world.server, "read", genuine)
        await read_ahead(world)
        return await genuine(room, event)

    [heed] = await arrivals.open_of(world.database, ItemKind.HEED)
    monkeypatch.setattr(world.server, "read", read)
    await Dispatch(world.around).handle(heed)
    await world.run()
    assert await kept(world) == []
    assert (await replies(world))[-1].endswith(left_out(world, 1))


async def test_an_order_without_its_key_is_looked_at_again(world: World, chat: RoomId) -> None:
    world.server.missing_keys.add(PHONE)
    await flooded(world, chat)
    await orders(world, "!sperren 7d", session=PHONE)
    with pytest.raises(Hold):
        await read_ahead(world)
    world.later(seconds=11)
    await read_ahead(world)
    world.server.missing_keys.clear()
    world.later(seconds=31)
    async with world.database.transaction() as tx:
        await arrivals.wake_due(tx, world.now())
    await read_ahead(world)
    assert await held(world) == [BlockKind.BLOCK]
    assert await copies(world) == []


async def test_an_order_without_its_key_is_given_up_after_a_day(world: World, chat: RoomId) -> None:
    world.server.missing_keys.add(PHONE)
    await flooded(world, chat)
    await orders(world, "!sperren 7d", session=PHONE)
    world.later(days=1, seconds=1)
    await read_ahead(world)
    assert await arrivals.open_of(world.database, ItemKind.ORDER) == []
    assert await held(world) == []


@pytest.mark.parametrize("meanwhile", ["deleted", "left the team"])
async def test_what_was_read_ahead_is_said_whatever_becomes_of_it(world: World, chat: RoomId, meanwhile: str) -> None:
    await flooded(world, chat)
    order = await orders(world, "!sperren 7d")
    await read_ahead(world)
    if meanwhile == "deleted":
        room = (await world.case_room(ANNA)).room_id
        await world.take(room, world.server.new_event(room, JAN, "m.room.redaction", {"redacts": order}))
    else:
        without_jan(world)
    await world.run()
    [reply] = await replies(world)
    assert reply.endswith(left_out(world, 3))
    assert await held(world) == [BlockKind.BLOCK]


async def test_what_is_left_out_while_it_is_under_way_comes_to_nothing(world: World, chat: RoomId) -> None:
    await flooded(world, chat, 2)
    lane = customer_lane((await world.case(ANNA)).customer_id)
    under_way = await arrivals.next_of(world.database, lane)
    assert under_way
    await orders(world, "!sperren 7d")
    await read_ahead(world)
    await park(world.around, under_way, Mistake("untrusted.customer"))
    await step_aside(world.around, under_way, NoKey(PHONE))
    assert (await item(world, under_way.event_id)).state is ItemState.DONE
    rows = await world.database.all("SELECT 1 FROM arrivals WHERE kind IN ('warning', 'unreadable')")
    assert rows == [], "nobody is told that it was not delivered"


async def test_after_a_restore_nothing_is_read_ahead(world: World, chat: RoomId) -> None:
    """What comes again may have been handled before, in another order than it comes now."""
    room = (await world.case_room(ANNA)).room_id
    said = [encrypted(world, ANNA, chat, "m.room.message", {"msgtype": "m.text", "body": "GRATIS"})]
    order = encrypted(world, JAN, room, "m.room.message", {"msgtype": "m.text", "body": "!sperren 7d"})

    async def nothing(tx: object) -> None:
        """What else a restore writes down."""

    updates = (RoomUpdate(chat, "join", timeline=tuple(said)), RoomUpdate(room, "join", timeline=(order,)))
    await take_in(world.around, Batch("r1", updates), begin=nothing)
    assert await arrivals.open_of(world.database, ItemKind.ORDER) == []
    await world.run()
    assert await copies(world) == ["GRATIS"]
