"""The folder is lost, the account is not: a clear stop, and nothing stays behind on the server."""

import asyncio
import os
import shutil
import sys
from typing import Any

from tests.business import Business
from tests.conftest import MakePeer

Outcome = tuple[int | None, str]


async def botschaft(business: Business, *command: str) -> Outcome:
    """Run a command of the shell; returns its exit code and what it complained about."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bot", *command, "--config", str(business.config)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"COLUMNS": "200"},
    )
    _, complaint = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, complaint.decode()


async def test_a_lost_folder_stops_the_bot_and_leaves_no_device_behind(business: Business, new_peer: MakePeer) -> None:
    anna = await new_peer(await business.account("anna"))
    query: dict[str, Any] = {"device_keys": {business.bot.mxid: []}}
    before = await anna.call("POST", "/_matrix/client/v3/keys/query", query)
    await business.stop()
    shutil.move(business.data, business.folder / "kept")

    code, complaint = await botschaft(business, "run")

    assert code == 1
    assert "cross-signing identity that is not in this key store" in complaint
    assert await anna.call("POST", "/_matrix/client/v3/keys/query", query) == before
    assert (await botschaft(business, "device", "status"))[0] == 1

    shutil.rmtree(business.data)
    shutil.move(business.folder / "kept", business.data)
    assert await botschaft(business, "device", "status") == (0, "")
    await business.start()


async def test_another_device_of_the_account_is_named(business: Business, new_peer: MakePeer) -> None:
    await new_peer(business.bot)
    code, complaint = await botschaft(business, "device", "status")
    assert code == 1
    assert "Other devices are logged in" in complaint


async def test_a_server_that_does_not_answer_is_said_at_once(business: Business) -> None:
    await business.stop()
    business.url = "http://127.0.0.1:9"
    business.write()
    code, complaint = await botschaft(business, "device", "status")
    assert code == 1
    assert "does not answer" in complaint
    business.url = ""
    await business.start()
