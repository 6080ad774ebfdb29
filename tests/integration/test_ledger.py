"""The ledger's anchor on a real server: it follows the ledger, and an older database does not start."""

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bot.demo.synapse import LocalSynapse
from bot.domain.ids import CustomerId, UserId
from bot.domain.ledger.entries import LedgerKind
from bot.domain.ledger.notes import Signer, origin_of
from bot.domain.secrets import Purpose, derive
from bot.store import facts, ledger, rooms
from bot.store.database import Database
from tests.business import Business, a_business
from tests.conftest import MakePeer
from tests.faults.crowd import opened
from tests.waiting import until

Json = dict[str, Any]


@pytest.fixture
async def business(synapse: LocalSynapse, tmp_path: Path) -> AsyncIterator[Business]:
    """A bot that shows no privacy texts, so that nothing is on record but what a test puts there."""
    (tmp_path / "bot").mkdir()
    made = await a_business(synapse, tmp_path / "bot")
    made.controller = ""
    made.people = {name: await made.account(name) for name in ("jan", "chef")}
    made.members, made.admins = [made.people["jan"].mxid], [made.people["chef"].mxid]
    await made.start()
    yield made
    if made.process:
        assert await made.stop() == 0, made.log()


async def with_database(business: Business, act: Callable[[Database], Awaitable[Any]]) -> Any:
    """Do something with the database of a bot that does not run."""
    database = await opened(business)
    try:
        return await act(database)
    finally:
        await database.close()


async def append(business: Business, count: int) -> None:
    """Put entries into the ledger, as an item that was handled would."""

    async def act(database: Database) -> None:
        for _ in range(count):
            async with database.transaction() as tx:
                details = {"user": "@anna:canary.example"}
                await ledger.append(tx, LedgerKind.GIVEN, details, subject=CustomerId("c1"), at=datetime.now(UTC))

    await with_database(business, act)


async def anchor(business: Business, origin: str) -> Json:
    """Return what anybody in the admin room is shown, read without any key."""

    async def act(database: Database) -> tuple[str, str]:
        return str(await rooms.place(database, "admin")), str(await facts.get(database, facts.ACCESS_TOKEN))

    room, token = await with_database(business, act)
    url = f"{business.server.url}/_matrix/client/v3/rooms/{room}/state/de.botschaft.ledger/"
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as http,
        http.get(url + origin.replace("/", "%2F")) as answer,
    ):
        found: Json = await answer.json()
        return found


async def shell(business: Business, *words: str) -> tuple[int, str]:
    """Run a command to its end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bot", *words, "--config", str(business.config)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=business.folder,
        env=os.environ | {"PYTHONWARNINGS": "error", "COLUMNS": "200"},
    )
    said, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, " ".join(said.decode().split())


async def test_ac_11_an_older_ledger_does_not_start_and_a_loss_can_be_accepted(business: Business) -> None:
    origin = origin_of(UserId(business.bot.mxid))
    master = business.settings().storage.master_secret()
    verifier = Signer.from_seed(origin, derive(master, Purpose.LEDGER_SIGNING)).verifier
    assert await business.stop() == 0, business.log()
    assert (await anchor(business, origin))["errcode"] == "M_NOT_FOUND", "nothing is on record yet"

    await append(business, 3)
    shutil.copy(business.data / "botschaft.db", business.folder / "yesterday")
    await business.start()

    async def is_anchored(size: int) -> bool:
        found = await anchor(business, origin)
        return "checkpoint" in found and verifier.opened(found["checkpoint"]).size == size

    await until(lambda: is_anchored(3), timeout_s=30, what="the anchor of a start")
    code, said = await shell(business, "ledger", "verify")
    assert code == 0, said
    assert "The anchor in the admin room (size 3)" in said
    assert await business.stop() == 0, business.log()

    await append(business, 2)
    await business.start()
    assert await business.stop() == 0, business.log()
    assert await is_anchored(5), "what came last is anchored when the bot stops"
    assert set(await anchor(business, origin)) == {"checkpoint"}

    shutil.copy(business.data / "botschaft.db", business.folder / "today")
    shutil.copy(business.folder / "yesterday", business.data / "botschaft.db")
    code, said = await shell(business, "run")
    assert code == 1
    assert "The ledger here has 3 entries, its anchor in the admin room says 5" in said
    assert "botschaft ledger accept-loss" in said
    assert "Traceback" not in said
    code, said = await shell(business, "ledger", "verify")
    assert code == 1
    assert "The anchor in the admin room has size 5, but the ledger has 3 entries" in said

    shutil.copy(business.folder / "today", business.data / "botschaft.db")
    await business.start()
    assert await business.stop() == 0, "the right database starts"

    shutil.copy(business.folder / "yesterday", business.data / "botschaft.db")
    code, said = await shell(business, "ledger", "accept-loss", "--yes")
    assert code == 0, said
    await business.start()
    code, said = await shell(business, "ledger", "verify")
    assert code == 0, said
    assert f"Ledger: {origin}/2" in said
    assert "Entry 3: an admin went on with an older database here." in said
    assert "The anchor in the admin room (size 4)" in said
    assert await is_anchored(5), "the old anchor stays as evidence"


async def test_a_missing_anchor_stops_no_message_and_the_admins_hear_of_it(
    business: Business, new_peer: MakePeer
) -> None:
    assert await business.stop() == 0, business.log()
    await append(business, 2)
    origin = origin_of(UserId(business.bot.mxid))

    async def act(database: Database) -> None:
        async with database.transaction() as tx:
            await facts.put(tx, facts.LEDGER_ANCHORED, f"{origin} 1")

    await with_database(business, act)
    chef = await new_peer(business.people["chef"], cross_sign=True)
    jan = await new_peer(business.people["jan"], cross_sign=True)
    anna = await new_peer(await business.account("anna"))
    await business.start()
    chat = await anna.start_chat(business.bot.mxid)
    await anna.text(chat, "geht noch")
    await jan.wait_for(lambda seen: seen.body == "geht noch", 40)
    await chef.wait_for(lambda seen: "botschaft ledger verify" in seen.body, 40)
    code, said = await shell(business, "ledger", "verify")
    assert code == 0, said
    assert "it is not there any more, though the bot wrote one" in said
    assert "integrity only up to the local checkpoint" in said
    assert await business.stop() == 0, business.log()
    assert (await anchor(business, origin))["errcode"] == "M_NOT_FOUND", "only a human lets it begin anew"
