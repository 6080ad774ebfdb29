"""An orderly stop amid a burst: what was begun is finished, the rest waits for the next start, and systemd hears of it."""

import asyncio
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.business import Business
from tests.conftest import MakePeer
from tests.waiting import until

MANY = 40


@contextmanager
def listening(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Be systemd for whatever is started; yields what was said so far."""
    said: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        name = f"botschaft-{secrets.token_hex(8)}"
        channel.bind(f"\0{name}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        monkeypatch.setenv("WATCHDOG_USEC", "200000")
        asyncio.get_running_loop().add_reader(channel, lambda: said.append(channel.recv(200).decode()))
        yield said
        asyncio.get_running_loop().remove_reader(channel)


async def test_a_stop_amid_a_burst_loses_and_doubles_nothing(
    business: Business, new_peer: MakePeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await business.stop()
    with listening(monkeypatch) as said:
        await business.start()
        anna, jan = await new_peer(await business.account("anna")), await new_peer(business.people["jan"])
        chat = await anna.start_chat(business.bot.mxid)
        await anna.text(chat, "n0")
        case = (await jan.wait_for(lambda s: s.body == "n0", 40)).room_id

        writing = asyncio.gather(*(anna.text(chat, f"n{n}") for n in range(1, MANY)))
        await jan.wait_for(lambda s: s.body in {f"n{n}" for n in range(1, MANY)}, 40)
        assert await business.stop() == 0, business.log()
        await writing
        first = list(said)

        await business.start()
        bodies = {f"n{n}" for n in range(MANY)}
        await until(lambda: {s.body for s in jan.seen if s.body in bodies} == bodies, timeout_s=60, what="all of them")
        await jan.text(case, "Antwort")
        await anna.wait_for(lambda s: s.body == "Antwort" and s.sender == business.bot.mxid, 40)
        copies = [s.event_id for s in jan.seen if s.body in bodies and s.sender == business.bot.mxid]

        assert len(copies) == len(set(copies)) == MANY
        assert first[0].startswith("STATUS=")
        assert first.index("READY=1\nSTATUS=Serving.") < first.index("WATCHDOG=1")
        assert [line for line in first if line.startswith("STOPPING=1")]
