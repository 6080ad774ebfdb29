"""Lanes under strain: a disk in trouble is waited out, and nobody waits for the servers of strangers."""

import asyncio
from contextlib import suppress

import pytest

from bot.domain.arrival import Item, ItemKind
from bot.domain.errors import Transient
from bot.domain.ids import UserId
from bot.flows.worker import DOOR_SLOTS, Worker
from bot.store import arrivals
from tests.flows.world import ANNA, World
from tests.waiting import until


async def test_a_disk_in_trouble_is_waited_out(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.flows.worker.FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr("bot.flows.worker.LOOK_EVERY_S", 0.01)
    troubles = {"next_of": 2, "next_due": 2}

    def in_trouble(name: str) -> None:
        genuine = getattr(arrivals, name)

        async def look(*given: object) -> object:
            if troubles[name]:
                troubles[name] -= 1
                raise Transient("database: OperationalError")
            return await genuine(*given)

        monkeypatch.setattr(arrivals, name, look)

    chat = await world.chat(ANNA)
    in_trouble("next_of")
    in_trouble("next_due")
    await world.says(ANNA, chat, "eins")

    assert troubles["next_of"] == 0
    assert "eins" in (await world.case_room(ANNA)).texts()


async def test_invitations_that_hang_keep_no_message_waiting(world: World) -> None:
    chat = await world.chat(ANNA)
    for number in range(3 * DOOR_SLOTS):
        await world.comes(UserId(f"@stranger{number}:far.example"))
    await world.writes(ANNA, chat, "eins")
    done: list[Item] = []
    hanging = 0

    async def handle(item: Item) -> None:
        nonlocal hanging
        if item.kind is ItemKind.INVITE:
            hanging += 1
            await asyncio.Event().wait()
        done.append(item)
        async with world.database.transaction() as tx:
            await arrivals.finish(tx, item)

    task = asyncio.ensure_future(Worker(world.around, handle).run())
    await until(
        lambda: [item for item in done if item.body.get("content", {}).get("body") == "eins"], what="her message"
    )
    assert hanging == DOOR_SLOTS
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_an_orderly_stop_finishes_what_is_under_way_and_begins_nothing(world: World) -> None:
    chat = await world.chat(ANNA)
    for text in ("eins", "zwei"):
        await world.writes(ANNA, chat, text)
    begun: list[Item] = []
    go_on = asyncio.Event()

    async def handle(item: Item) -> None:
        begun.append(item)
        await go_on.wait()
        async with world.database.transaction() as tx:
            await arrivals.finish(tx, item)

    worker = Worker(world.around, handle)
    task = asyncio.ensure_future(worker.run())
    await until(lambda: len(begun) == 1)
    stopping = asyncio.ensure_future(worker.finish(60))
    await asyncio.sleep(0)
    go_on.set()
    await asyncio.wait_for(stopping, 20)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task

    assert [item.body["content"]["body"] for item in begun] == ["eins"]
    await world.run()
    assert "zwei" in (await world.case_room(ANNA)).texts(), "the rest is there at the next start"


async def test_an_orderly_stop_waits_for_nobody_who_hangs(world: World) -> None:
    chat = await world.chat(ANNA)
    await world.writes(ANNA, chat, "eins")
    begun = asyncio.Event()

    async def handle(item: Item) -> None:
        begun.set()
        await asyncio.Event().wait()

    worker = Worker(world.around, handle)
    task = asyncio.ensure_future(worker.run())
    await asyncio.wait_for(begun.wait(), 20)
    await asyncio.wait_for(worker.finish(0.01), 20)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task

    await world.run()
    assert "eins" in (await world.case_room(ANNA)).texts(), "what was cut off runs again"
