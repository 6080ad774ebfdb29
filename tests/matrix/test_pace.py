"""Slowed down, requests go one by one: in their order, what people wait for first, each limit for itself."""

import asyncio

import pytest

from bot.domain.errors import Refused
from bot.matrix.pace import Limit, Pace, SlowDown


class Server:
    """Says 429 so many times, then answers; remembers in which order it was asked successfully."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals
        self.answered: list[str] = []
        self.asked = 0
        self.at_once = 0

    async def answer(self, name: str) -> str:
        self.asked += 1
        self.at_once += 1
        await asyncio.sleep(0)
        assert self.at_once == 1 or not self.refusals
        self.at_once -= 1
        if self.refusals:
            self.refusals -= 1
            raise SlowDown("slow", retry_after_s=0.01)
        self.answered.append(name)
        return name


async def test_without_trouble_nobody_waits_for_anybody() -> None:
    server, pace = Server(0), Pace()
    names = ["a", "b", "c"]
    assert await asyncio.gather(*(pace.run(Limit.EVENTS, lambda n=n: server.answer(n)) for n in names)) == names  # type: ignore[misc]


async def test_after_a_refusal_all_go_in_order_and_what_may_come_later_does() -> None:
    server, pace, slow = Server(1), Pace(), list[Limit]()
    pace.on_slow = slow.append
    await pace.run(Limit.EVENTS, lambda: server.answer("first"))
    server.refusals = 2
    wanted = [("x", True), ("a", False), ("b", False), ("y", True), ("c", False)]
    requests = [pace.run(Limit.EVENTS, lambda n=n: server.answer(n), later=later) for n, later in wanted]  # type: ignore[misc]
    async with asyncio.timeout(60):
        await asyncio.gather(*requests)
    assert server.answered == ["first", "a", "b", "c", "x", "y"]
    assert slow == [Limit.EVENTS] * 3


async def test_another_limit_does_not_wait() -> None:
    server, pace = Server(1), Pace()
    waiting = asyncio.ensure_future(pace.run(Limit.ROOMS, lambda: server.answer("room")))
    await asyncio.sleep(0.002)
    await pace.run(Limit.EVENTS, lambda: server.answer("event"))
    await waiting
    assert server.answered == ["event", "room"]


async def test_a_refusal_of_another_kind_comes_out_and_the_next_one_goes_on() -> None:
    server, pace = Server(1), Pace()

    async def refuse() -> str:
        raise Refused("no")

    await pace.run(Limit.EVENTS, lambda: server.answer("first"))
    with pytest.raises(Refused):
        await pace.run(Limit.EVENTS, refuse)
    assert await pace.run(Limit.EVENTS, lambda: server.answer("second")) == "second"


async def test_who_gives_up_leaves_the_queue() -> None:
    server, pace = Server(1), Pace()
    await pace.run(Limit.EVENTS, lambda: server.answer("first"))
    hanging = asyncio.ensure_future(pace.run(Limit.EVENTS, asyncio.Event().wait))
    waiting = asyncio.ensure_future(pace.run(Limit.EVENTS, lambda: server.answer("second")))
    await asyncio.sleep(0.01)
    hanging.cancel()
    assert await waiting == "second"
