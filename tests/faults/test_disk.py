"""A disk that is full or read-only under the real bot: nothing is lost, and it goes on by itself or stops with a sentence."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot import diagnosis
from bot.demo.synapse import LocalSynapse
from tests.business import Business, a_business
from tests.conftest import MakePeer
from tests.waiting import until

MIB = 1024 * 1024


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own for the data folder."""
    folder = tmp_path / "bot" / "data"
    folder.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m,mode=0700", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("NOT TESTED: this user may not mount a small disk, so nothing was tried on a full one")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.fixture
async def business(small_disk: Path, synapse: LocalSynapse) -> Business:
    made = await a_business(synapse, small_disk.parent)
    made.people = {"jan": await made.account("jan")}
    made.members = made.admins = [made.people["jan"].mxid]
    made.homeserver = "sync_timeout_s = 1"
    return made


def fill(disk: Path) -> Path:
    """Use up every byte that is left."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return filler


def remount(disk: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", disk], check=True)


async def test_on_a_full_disk_the_bot_waits_and_then_goes_on_without_a_loss(
    business: Business, small_disk: Path, new_peer: MakePeer
) -> None:
    await business.start()
    anna, jan = await new_peer(await business.account("anna")), await new_peer(business.people["jan"])
    chat = await anna.start_chat(business.bot.mxid)
    await anna.text(chat, "vorher")
    await jan.wait_for(lambda s: s.body == "vorher", 40)

    filler = fill(small_disk)
    wanted = [f"n{n}" for n in range(30)]
    for body in wanted:
        await anna.text(chat, body)
    await until(lambda: "OperationalError" in business.log() or "could not be written" in business.log(), timeout_s=60)
    assert business.process
    assert business.process.returncode is None, business.log()
    disk = [f for f in await diagnosis.diagnose(business.config) if f.area == "disk"]
    assert [f.text for f in disk] == ["doctor.disk.not_writable"]
    assert "No space left" in disk[0].values["reason"]

    filler.unlink()
    await until(lambda: set(wanted) <= {s.body for s in jan.seen}, timeout_s=120, what="all messages")
    copies = [s.body for s in jan.seen if s.body in wanted and s.sender == business.bot.mxid]
    assert copies == wanted, "each of them once, in order"
    assert await business.stop() == 0
    assert "Traceback" not in business.log(), business.log()


async def test_on_a_read_only_disk_the_bot_does_not_start_and_says_so(business: Business, small_disk: Path) -> None:
    await business.start()
    assert await business.stop() == 0
    remount(small_disk, "ro")
    before = {file.name: file.read_bytes() for file in small_disk.iterdir()}
    for command in ("run", "doctor", "items"):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bot", command, "--config", str(business.config)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=os.environ | {"COLUMNS": "200", "PYTHONWARNINGS": "error"},
        )
        output, _ = await asyncio.wait_for(process.communicate(), 60)
        said = output.decode()
        assert process.returncode == 1, said
        assert "Read-only file system" in said or "cannot be written" in said, said
        assert "Traceback" not in said
        assert "a fault of Botschaft itself" not in said
    assert {file.name: file.read_bytes() for file in small_disk.iterdir()} == before

    remount(small_disk, "rw")
    await business.start()
    assert await business.stop() == 0
