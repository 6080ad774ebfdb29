"""Two processes on one data folder would use the same ratchets twice: the second one is refused and touches nothing."""

import asyncio
import os
import signal
import sys

import pytest

from bot.matrix.e2ee.secret_storage import as_words
from tests.business import Business
from tests.conftest import MakePeer


@pytest.mark.parametrize("command", [("run",), ("device", "recover", "--yes", "--key-file", "recovery.key")])
async def test_a_second_process_on_the_same_folder_is_refused(
    business: Business, new_peer: MakePeer, command: tuple[str, ...]
) -> None:
    (business.folder / "recovery.key").write_text(as_words(bytes(32)))
    second = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bot", *command, "--config", str(business.config)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=business.folder,
        env=os.environ | {"PYTHONWARNINGS": "error"},
    )
    said, _ = await asyncio.wait_for(second.communicate(), 60)
    assert second.returncode not in {0, -signal.SIGKILL}
    assert "already running" in " ".join(said.decode().split()), said.decode()

    anna, jan = await new_peer(await business.account("anna")), await new_peer(business.people["jan"])
    chat = await anna.start_chat(business.bot.mxid)
    await anna.text(chat, "geht noch")
    await jan.wait_for(lambda seen: seen.body == "geht noch", 40)


async def test_after_a_kill_the_folder_is_free_again(business: Business) -> None:
    await business.kill()
    await business.start()


async def test_nobody_else_may_read_what_the_bot_writes(business: Business) -> None:
    files = [file for file in business.data.rglob("*") if file.is_file()]
    assert {"botschaft.db", "keys.db"} <= {file.name for file in files}
    assert [file.name for file in files if file.stat().st_mode & 0o077] == []
