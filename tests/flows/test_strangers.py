"""A flood of people whom nobody knows: they wait, lose nothing, hold up no customer, and the admins hear how many."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Literal

import pytest

from bot.domain.ids import RoomId, UserId
from bot.flows import adopting, strangers
from bot.flows.dispatch import Dispatch
from bot.flows.intake import Batch
from bot.flows.worker import Worker
from bot.store import arrivals, rooms
from tests.flows.shown import shown
from tests.flows.world import ANNA, JAN, ME, Crash, World
from tests.waiting import until


def stranger(number: int) -> UserId:
    return UserId(f"@stranger{number}:elsewhere.example")


def is_in(world: World, room: RoomId) -> bool:
    return world.server.rooms[room].members[ME] == "join"


def told(world: World) -> list[str]:
    """What the admins heard about strangers."""
    return [m.body for m in shown(world.made("admin")[0]) if m.body.startswith("🚪 Gerade")]


async def flood(world: World, count: int) -> list[RoomId]:
    return [await world.invites(stranger(number)) for number in range(count)]


async def test_strangers_come_in_one_after_the_other(world: World) -> None:
    world.rule(strangers_per_hour=3)
    chats = await flood(world, 5)
    assert [is_in(world, chat) for chat in chats] == [True] * 3 + [False] * 2
    await world.passes(minutes=20)
    assert [is_in(world, chat) for chat in chats] == [True] * 4 + [False]
    await world.passes(minutes=20)
    assert all(is_in(world, chat) for chat in chats)


async def test_who_waited_is_served_like_anybody(world: World) -> None:
    world.rule(strangers_per_hour=1)
    first, second = await flood(world, 2)
    await world.passes(minutes=60)
    await world.take_in(*[world.joined(chat, stranger(number)) for number, chat in enumerate((first, second))])
    await world.run()
    await world.says(stranger(1), second, "Ich hatte gewartet")
    assert "Ich hatte gewartet" in [m.body for m in shown(await world.case_room(stranger(1)))]


async def test_a_restart_keeps_the_turns(world: World) -> None:
    world.rule(strangers_per_hour=1)
    _, second = await flood(world, 2)
    await world.restart()
    await world.run()
    assert not is_in(world, second)
    await world.passes(minutes=61)
    assert is_in(world, second)


async def test_a_higher_limit_lets_in_who_waits(world: World) -> None:
    world.rule(strangers_per_hour=1)
    await strangers.deal_anew(world.around)
    chats = await flood(world, 4)
    await strangers.deal_anew(world.around)
    await world.run()
    assert [is_in(world, chat) for chat in chats] == [True, False, False, False], "the same limit changes nothing"
    world.rule(strangers_per_hour=2)
    await strangers.deal_anew(world.around)
    await world.run()
    assert [is_in(world, chat) for chat in chats].count(True) == 3
    await world.passes(minutes=30)
    assert all(is_in(world, chat) for chat in chats)


async def test_waiting_long_is_not_given_up_as_a_server_that_does_not_answer(world: World) -> None:
    world.rule(strangers_per_hour=1)
    chats = await flood(world, 10)
    await world.passes(hours=10)
    assert all(is_in(world, chat) for chat in chats)


async def test_many_invitations_of_one_person_take_nobodys_turn(world: World) -> None:
    world.rule(strangers_per_hour=2)
    nuisance = [await world.invites(stranger(0)) for _ in range(6)]
    honest = await world.invites(stranger(1))
    assert [is_in(world, chat) for chat in nuisance] == [True, True] + [False] * 4
    assert not is_in(world, honest)
    await world.passes(minutes=60)
    assert is_in(world, honest), "it waits for one invitation of the other, not for four"
    await world.passes(hours=6)
    assert all(is_in(world, chat) for chat in nuisance)


async def test_customers_whom_we_know_do_not_wait(world: World) -> None:
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "Hallo")
    await world.says(JAN, (await world.case_room(ANNA)).room_id, "Guten Tag")
    world.rule(strangers_per_hour=1)
    await flood(world, 3)
    async with world.database.transaction() as tx:
        anna = await rooms.of_user(tx, ANNA)
        assert anna
        await rooms.set_customer_room(tx, anna, None)  # the chat was left
    assert is_in(world, await world.invites(ANNA))


async def test_the_team_does_not_wait(world: World) -> None:
    world.rule(strangers_per_hour=1)
    await flood(world, 2)
    assert is_in(world, await world.invites(JAN))


async def test_the_admins_hear_once_an_hour_how_many_wait(world: World) -> None:
    world.rule(strangers_per_hour=1)
    await flood(world, 4)
    assert told(world) == []
    await world.passes(seconds=61)
    (first,) = told(world)
    assert "3 warten" in first
    await world.invites(stranger(9))
    await world.passes(minutes=58)
    assert len(told(world)) == 1
    await world.passes(minutes=2)
    assert len(told(world)) == 2
    assert "3 warten" in told(world)[1], "one came in, one came to it"
    await world.passes(hours=5)
    await world.passes(hours=1)
    assert len(told(world)) == 2, "nobody waits any more"
    assert set(await arrivals.counts(world.database)) == {"done"}


@pytest.mark.parametrize("how", ["before", "after"])
async def test_a_crash_tells_the_admins_neither_twice_nor_never(world: World, how: Literal["before", "after"]) -> None:
    world.rule(strangers_per_hour=1)
    await flood(world, 3)
    world.server.fail_at(1, how, Crash())
    with pytest.raises(Crash):
        await world.passes(seconds=61)
    await world.restart()
    await world.run()
    assert len(told(world)) == 1
    await world.passes(minutes=59)
    assert len(told(world)) == 1


async def test_waiting_is_nothing_that_hangs(world: World) -> None:
    world.rule(strangers_per_hour=1)
    await flood(world, 3)
    assert await arrivals.stuck(world.database) == []


@pytest.fixture
async def crowd(world: World) -> list[RoomId]:
    """Three people whom nobody has answered."""
    chats = [await world.chat(stranger(number)) for number in range(3)]
    for number, chat in enumerate(chats):
        await world.says(stranger(number), chat, "Hallo")
    return chats


async def test_all_strangers_together_write_as_much_as_one_customer(world: World, crowd: list[RoomId]) -> None:
    anna = await world.chat(ANNA)
    await world.says(ANNA, anna, "Hallo")
    await world.says(JAN, (await world.case_room(ANNA)).room_id, "Guten Tag")
    world.rule(burst=10, messages_per_minute=1)
    for n in range(6):
        for number, chat in enumerate(crowd):
            await world.writes(stranger(number), chat, f"s{n}")
    for n in range(5):
        await world.writes(ANNA, anna, f"von Anna {n}")

    async def relayed(user: UserId) -> list[str]:
        return [
            m.body for m in shown(await world.case_room(user)) if m.sender == ME and m.body[:2].strip("s").isdigit()
        ]

    async def counts() -> int:
        return sum([len(await relayed(stranger(number))) for number in range(3)])

    async def has(count: Callable[[], Awaitable[int]], wanted: int) -> bool:
        return await count() >= wanted

    async def annas() -> int:
        return len([m for m in shown(await world.case_room(ANNA)) if m.body.startswith("von Anna")])

    worker = Worker(world.around, Dispatch(world.around).handle)
    world.around.bookkeeping.wake = worker.wake
    task = asyncio.ensure_future(worker.run())
    try:
        await until(lambda: has(annas, 5), what="all of Anna's")
        await until(lambda: has(counts, 10), what="what the burst holds")
        people, messages = await arrivals.of_strangers(world.database)
        assert (people, messages) == (3, 8)
        for _ in range(8):
            before = await counts()
            world.later(minutes=1)
            worker.wake(await arrivals.open_lanes(world.database))
            await until(partial(has, counts, before + 1), what="one more")
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    for number in range(3):
        assert await relayed(stranger(number)) == [f"s{n}" for n in range(6)], "nothing is lost or out of order"


async def test_who_was_told_that_it_is_ready_is_no_stranger(world: World) -> None:
    await world.says(ANNA, await world.chat(ANNA), "Hallo")
    await world.says(JAN, (await world.case_room(ANNA)).room_id, "!fertig")
    anna = await rooms.of_user(world.database, ANNA)
    assert anna
    assert await rooms.was_answered(world.database, anna)


@pytest.mark.parametrize("words", ["Guten Tag", ". nur fürs Team", "!zu"])
async def test_what_the_team_writes_does_not_wait_for_the_turns_of_a_stranger(
    world: World, crowd: list[RoomId], words: str
) -> None:
    first, case = crowd[0], await world.case_room(stranger(0))
    world.rule(burst=1)
    task, worker = works(world)

    async def relayed() -> list[str]:
        return [m.body for m in shown(case) if m.body in {"s0", "s1", "s2"}]

    async def done() -> bool:
        return not await arrivals.open_lanes(world.database)

    try:
        for number in range(3):
            await world.writes(stranger(0), first, f"s{number}")
        worker.wake(await arrivals.open_lanes(world.database))
        await until(relayed, what="what the burst holds")
        assert await relayed() == ["s0"]
        await world.writes(JAN, case.room_id, words)
        worker.wake(await arrivals.open_lanes(world.database))
        await until(done, timeout_s=5, what="everything, though no turn has come")
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert await relayed() == ["s0", "s1", "s2"]


def works(world: World) -> tuple[asyncio.Future[None], Worker]:
    """A worker with whom everybody alone may write as much as they like."""
    dispatch = Dispatch(world.around)
    dispatch._throttle = lambda item: None  # type: ignore[method-assign]
    worker = Worker(world.around, dispatch.handle)
    world.around.bookkeeping.wake = worker.wake
    return asyncio.ensure_future(worker.run()), worker


async def test_after_a_lost_disk_who_was_here_is_no_stranger(world: World) -> None:
    chat = await world.chat(ANNA)
    await world.close()
    (world.folder / "botschaft.db").unlink()
    await world.open()
    await adopting.take_in(world.around, Batch("s1", (world.joined(chat, ANNA),)))
    anna = await rooms.of_user(world.database, ANNA)
    assert anna
    assert await rooms.was_answered(world.database, anna)
