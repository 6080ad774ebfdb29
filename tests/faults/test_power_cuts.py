"""The process dies by SIGKILL, again and again, while customers write. Nothing is lost, doubled or out of order."""

import asyncio
import random
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest_asyncio

from bot.demo.synapse import LocalSynapse
from tests.business import Business, a_business
from tests.conftest import MakeSynapse
from tests.faults.crowd import Crowd, comes_to_rest, under_way
from tests.waiting import until

KILLS = 20
CUSTOMERS = 10
MESSAGES = 300


@pytest_asyncio.fixture
async def business(synapse: LocalSynapse, tmp_path: Path) -> AsyncIterator[Business]:
    """A bot that can be started, stopped and killed; it need not end cleanly."""
    folder = tmp_path / "bot"
    folder.mkdir()
    made = await a_business(synapse, folder)
    yield made
    if made.process:
        await made.kill()
    assert "Traceback" not in made.log(), made.log()


async def test_twenty_kills_in_a_burst(business: Business, tmp_path: Path) -> None:
    crowd = await Crowd.gather(business, tmp_path, CUSTOMERS)
    await business.start()  # the device must exist before anybody writes: keys cannot be sent to one that does not
    await business.stop()
    each = MESSAGES // CUSTOMERS
    kills, hits = 0, 0

    def may_go(n: int, *, late: float) -> bool:
        return kills >= (n + late) * KILLS / each / 1.5

    try:
        # Traffic goes on for as long as there are kills, and half of the customers come in between.
        senders = [
            asyncio.ensure_future(crowd.write(n, each, partial(may_go, late=n % 2 * each / 2)))
            for n in range(CUSTOMERS)
        ]
        while kills < KILLS or hits < KILLS / 2:
            await business.start()
            await asyncio.sleep(random.uniform(0.0, 0.5))
            await business.kill()
            kills += 1
            hits += await under_way(business) > 0
            assert kills < 4 * KILLS, f"only {hits} of {kills} kills hit an item under way"
        print(f"{kills} kills, {hits} while an item was under way")
        await business.start()
        await asyncio.gather(*senders)
        assert sum(crowd.sent.values()) == MESSAGES
        await crowd.everything_arrives()
        await comes_to_rest(business)
    finally:
        await crowd.close()


async def test_what_was_written_while_the_bot_was_down_arrives_in_order(business: Business, tmp_path: Path) -> None:
    crowd = await Crowd.gather(business, tmp_path, 1)
    try:
        await business.start()
        await crowd.write(0, 1)
        await crowd.everything_arrives()
        await business.stop()
        chat = (await crowd.customers[0].rooms())[0]
        for n in range(1, 251):
            await crowd.customers[0].text(chat, f"c0 n{n}")
            crowd.sent[0] = n + 1

        await business.start()

        await crowd.everything_arrives()
        await comes_to_rest(business)
    finally:
        await crowd.close()


async def test_the_server_restarts_in_a_burst(own_synapse: MakeSynapse, tmp_path: Path) -> None:
    server = await own_synapse()
    folder = tmp_path / "bot"
    folder.mkdir()
    business = await a_business(server, folder)
    crowd = await Crowd.gather(business, tmp_path, 5)
    try:
        await business.start()
        senders = [asyncio.ensure_future(crowd.write(n, 30)) for n in range(5)]
        for third in (1, 2):
            await until(partial(crowd.has_sent, 50 * third), timeout_s=120)
            await server.restart() if third == 1 else await server.kill()
            if third == 2:
                await server.start()
        await asyncio.gather(*senders)
        await crowd.everything_arrives()
        await comes_to_rest(business)
        assert "Traceback" not in business.log()
    finally:
        if business.process:
            await business.kill()
        await crowd.close()
