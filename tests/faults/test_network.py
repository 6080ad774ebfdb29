"""A bad network between bot and server, from the first request on: nothing is lost, doubled or out of order."""

import asyncio
import os
import random
import re
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web

from bot.demo.synapse import LocalSynapse
from tests.business import Business, a_business
from tests.faults.crowd import Crowd, comes_to_rest
from tests.faults.proxy import Fault, Proxy, at_random
from tests.waiting import until

CUSTOMERS = 4
EACH = 12
ANSWERS = 6
SHARE = 0.2
QUICK = "sync_timeout_s = 1\nrequest_timeout_s = 2"

NAMES = re.compile(r"/[!$@#][^/]*|/[0-9a-f-]{32,}")
"""Rooms, events, people, aliases and transactions in a path."""

KINDS = {
    "cut before": [Fault.CUT_BEFORE],
    "cut after": [Fault.CUT_AFTER],
    "limited": [Fault.LIMITED, Fault.LIMITED_BY_BODY, Fault.LIMITED_SILENTLY],
    "in trouble": [Fault.TROUBLE, Fault.GARBAGE],
    "everything": [Fault.CUT_BEFORE, Fault.CUT_AFTER, Fault.SLOW, Fault.LIMITED_BY_BODY, Fault.TROUBLE, Fault.GARBAGE],
}


@pytest_asyncio.fixture
async def proxy(synapse: LocalSynapse) -> AsyncIterator[Proxy]:
    async with Proxy(synapse.url) as made:
        yield made


@pytest_asyncio.fixture
async def business(synapse: LocalSynapse, proxy: Proxy, tmp_path: Path) -> AsyncIterator[Business]:
    """A bot that reaches its server through the proxy only; people reach it directly."""
    folder = tmp_path / "bot"
    folder.mkdir()
    made = await a_business(synapse, folder)
    made.url, made.homeserver = proxy.url, QUICK
    yield made
    if made.process:
        await made.kill()
    assert "Traceback" not in made.log(), made.log()


async def talk(crowd: Crowd) -> None:
    """All customers write, some of them for the first time; the mechanic answers each of them."""
    await asyncio.gather(*(crowd.write(number, EACH) for number in range(len(crowd.customers))))
    await crowd.everything_arrives()
    received = crowd.received()
    rooms = {number: messages[0][0] for number, messages in received.items()}
    for n in range(ANSWERS):
        await asyncio.gather(*(crowd.reader.text(room, f"a{number} n{n}") for number, room in rooms.items()))
    for number in rooms:
        await until(partial(has_answers, crowd, number), timeout_s=120, what="all answers")


def has_answers(crowd: Crowd, number: int) -> bool:
    return len(answers(crowd, number)) >= ANSWERS


def answers(crowd: Crowd, number: int) -> list[str]:
    """What one customer has decrypted of the mechanic's answers."""
    return [
        s.body
        for s in crowd.customers[number].seen
        if s.sender == crowd.business.bot.mxid and s.body.startswith(f"a{number} ")
    ]


def nothing_is_wrong(crowd: Crowd) -> None:
    for number in range(len(crowd.customers)):
        assert answers(crowd, number) == [f"a{number} n{n}" for n in range(ANSWERS)]


@pytest.mark.parametrize("kind", KINDS)
async def test_one_request_in_five_meets_a_fault(business: Business, proxy: Proxy, tmp_path: Path, kind: str) -> None:
    seed = int(os.environ.get("BOTSCHAFT_SEED") or random.randrange(2**32))
    print(f"BOTSCHAFT_SEED={seed}")
    proxy.choose = at_random(KINDS[kind], SHARE, seed)
    crowd = await Crowd.gather(business, tmp_path, CUSTOMERS)
    try:
        await business.start()
        await talk(crowd)
        nothing_is_wrong(crowd)
        proxy.choose = lambda request: None
        await comes_to_rest(business)
        nothing_is_wrong(crowd)
        assert set(proxy.happened) == set(KINDS[kind])
    finally:
        await crowd.close()


async def test_a_question_for_news_that_hangs_is_given_up(business: Business, proxy: Proxy, tmp_path: Path) -> None:
    hung = 0

    def every_third_sync(request: web.Request) -> Fault | None:
        nonlocal hung
        if not request.path.endswith("/sync"):
            return None
        hung += 1
        return Fault.HANG if hung % 3 == 0 else None

    crowd = await Crowd.gather(business, tmp_path, 1)
    try:
        await business.start()
        proxy.choose = every_third_sync
        await crowd.write(0, 3)
        await crowd.everything_arrives()
        await until(lambda: proxy.happened[Fault.HANG] >= 2, timeout_s=60)
        await crowd.customers[0].text((await crowd.customers[0].rooms())[0], "c0 n3")
        crowd.sent[0] = 4
        await crowd.everything_arrives()
    finally:
        await crowd.close()


async def test_one_step_that_is_never_answered_is_repeated_until_it_is(
    business: Business, proxy: Proxy, tmp_path: Path
) -> None:
    """The server acts, and for each kind of request the first three answers are lost."""
    lost: dict[str, int] = {}

    def the_first_three(request: web.Request) -> Fault | None:
        kind = f"{request.method} {NAMES.sub('', request.path)}"
        lost[kind] = lost.get(kind, 0) + 1
        return Fault.CUT_AFTER if lost[kind] <= 3 else None

    crowd = await Crowd.gather(business, tmp_path, 2)
    try:
        await business.start()
        proxy.choose = the_first_three
        await talk(crowd)
        nothing_is_wrong(crowd)
        await comes_to_rest(business)
    finally:
        await crowd.close()
