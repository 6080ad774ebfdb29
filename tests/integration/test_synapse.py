"""The homeserver of demo and tests: it starts, keeps what it knows, and leaves nothing behind."""

import asyncio
import contextlib
import importlib.metadata
import shutil
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.demo import synapse as launcher
from bot.demo.peer import Peer
from bot.demo.synapse import LocalSynapse
from bot.domain.errors import Fatal, Refused
from tests.conftest import MakePeer, MakeSynapse, MakeUser
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


async def test_two_peers_talk_encrypted(synapse: LocalSynapse, new_peer: MakePeer) -> None:
    anna, bert = await new_peer(), await new_peer()
    room = await anna.start_chat(bert.user_id)
    asked = await anna.text(room, "Ist mein Auto fertig?")
    question = await bert.wait_for(lambda event: event.event_id == asked)
    assert (question.body, question.encrypted, question.raw["type"]) == (
        "Ist mein Auto fertig?",
        True,
        "m.room.encrypted",
    )
    answered = await bert.text(room, "Ja", html="<b>Ja</b>")
    assert (await anna.wait_for(lambda event: event.event_id == answered)).content["formatted_body"] == "<b>Ja</b>"
    await bert.mark_read(room, asked)
    await until(lambda: anna.receipts.get(room, {}).get(bert.user_id) == asked, what="the receipt")
    await bert.react(room, asked, "👍")
    reaction = await anna.wait_for(lambda event: event.type == "m.reaction")
    assert not reaction.encrypted
    deletion = await anna.redact(room, asked)
    await bert.wait_for(lambda event: event.event_id == deletion)


async def test_a_peer_misses_nothing_and_keeps_the_order(own_synapse: MakeSynapse, new_peer: MakePeer) -> None:
    """Three hundred messages, a kill in the middle, and an observer who was away for half of them."""
    server = await own_synapse()
    anna, bert, carl = [await new_peer(on=server) for _ in range(3)]
    room = await anna.start_chat(bert.user_id)
    await anna.call("POST", f"/_matrix/client/v3/rooms/{room}/invite", {"user_id": carl.user_id})
    await bert.wait_for(lambda event: event.state_key == bert.user_id and event.content["membership"] == "join")
    carl.autojoin = False
    await anna.text(room, "0")
    writing = asyncio.create_task(_count(anna, room, 1, 300))
    await bert.wait_for(lambda event: event.body == "100", timeout_s=60)
    await server.kill()
    await server.start()
    await writing
    await bert.wait_for(lambda event: event.body == "299", timeout_s=60)
    assert [event.body for event in bert.seen if event.msgtype] == [str(number) for number in range(300)]
    await carl.join(room)
    await carl.wait_for(lambda event: event.body == "299")
    assert [event.body for event in carl.seen if event.msgtype] == [str(number) for number in range(300)]
    assert not carl.unreadable


async def _count(writer: Peer, room: str, first: int, end: int) -> None:
    for number in range(first, end):
        await writer.text(room, str(number), txn=f"count-{number}")


async def test_a_peer_fills_what_a_limited_timeline_left_out(synapse: LocalSynapse, new_peer: MakePeer) -> None:
    anna, bert = await new_peer(), await new_peer()
    room = await anna.start_chat(bert.user_id)
    first = await anna.text(room, "before")
    await bert.wait_for(lambda event: event.event_id == first)
    async with _asleep(bert):
        await _count(anna, room, 0, 130)
    await bert.wait_for(lambda event: event.body == "129")
    assert [event.body for event in bert.seen if event.msgtype] == ["before", *map(str, range(130))]


@contextlib.asynccontextmanager
async def _asleep(peer: Peer) -> AsyncIterator[None]:
    """Keep a peer from following the server for a while."""
    assert peer._following is not None
    peer._following.cancel()
    await asyncio.wait([peer._following])
    yield
    peer._following = asyncio.create_task(peer._follow())
