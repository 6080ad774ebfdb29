"""The homeserver of demo and tests: it starts, keeps what it knows, and leaves nothing behind."""

import asyncio
import importlib.metadata
import shutil
import socket
import sys
from pathlib import Path

import pytest

from bot.demo import synapse as launcher
from bot.demo.synapse import LocalSynapse
from bot.domain.errors import Fatal, Refused
from tests.conftest import MakeSynapse, MakeUser
from tests.waiting import until

needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="NOT TESTED: there is no /proc here")

PARENT = """
import asyncio, sys
from bot.demo.synapse import LocalSynapse

async def main():
    server = LocalSynapse()
    await server.start()
    print(server.process_id, server.folder, flush=True)
    await asyncio.sleep(3600)

asyncio.run(main())
"""


def is_alive(process_id: int) -> bool:
    """Tell whether a process runs. One that ended and waits to be collected by a careless init does not."""
    try:
        state = Path(f"/proc/{process_id}/stat").read_text()
    except FileNotFoundError:
        return False
    return state.rpartition(")")[2].split()[0] != "Z"


async def test_accounts_and_the_address_outlast_a_restart_and_a_kill(
    own_synapse: MakeSynapse, new_user: MakeUser
) -> None:
    server = await own_synapse()
    user = await new_user(on=server)
    url = server.url
    await server.restart()
    await server.kill()
    await server.start()
    assert server.url == url
    with pytest.raises(Refused) as taken:
        await server.register(user.localpart, user.password)
    assert taken.value.code == "M_USER_IN_USE"


@needs_proc
async def test_it_listens_on_loopback_only(synapse: LocalSynapse) -> None:
    assert synapse.process_id is not None
    inodes = {link.readlink().name for link in Path(f"/proc/{synapse.process_id}/fd").iterdir() if link.is_symlink()}
    listening = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{synapse.process_id}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                listening.append(fields[1])
    assert listening == [f"0100007F:{synapse.port:04X}"]


@needs_proc
async def test_nothing_is_left_after_close(own_synapse: MakeSynapse) -> None:
    server = await own_synapse()
    process_id = server.process_id
    assert process_id is not None
    await server.close()
    assert not is_alive(process_id)
    assert not server.folder.exists()


@needs_proc
@pytest.mark.usefixtures("own_synapse")
async def test_it_ends_when_its_parent_is_killed() -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, cwd=Path(__file__).parents[2], stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    process_id, folder = (await asyncio.wait_for(parent.stdout.readline(), 90)).decode().split()
    assert is_alive(int(process_id))
    parent.kill()
    await parent.wait()
    await until(lambda: not is_alive(int(process_id)), what="the end of the orphan")
    shutil.rmtree(folder)


async def test_a_port_that_another_program_took_is_left_to_it(
    monkeypatch: pytest.MonkeyPatch, own_synapse: MakeSynapse
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        choose = launcher._free_port
        ports = iter([taken])
        monkeypatch.setattr(launcher, "_free_port", lambda: next(ports, None) or choose())
        server = await own_synapse()
        assert server.port != taken


async def test_a_start_that_fails_shows_the_log(own_synapse: MakeSynapse) -> None:
    with pytest.raises(Fatal, match="no_such_module"):
        await own_synapse(settings={"modules": [{"module": "no_such_module.Module", "config": {}}]})


async def test_a_missing_package_is_a_clear_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    server = LocalSynapse()
    with pytest.raises(Fatal, match="matrix-synapse, which is not installed"):
        await server.start()
    await server.close()
