"""Sovereignty, shown: every socket of the bot's process, and of a whole demo run, is watched. Nobody else is spoken to.

Twice over: Python's audit hooks see each connection and each question for a name that Python code makes, and strace
sees every system call of every process, whichever language made it.
"""

import asyncio
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.business import Business
from tests.conftest import MakePeer

WATCHER = """
import os, runpy, sys

log = os.open(sys.argv.pop(1), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
WATCHED = {"socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo",
           "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo", "subprocess.Popen", "os.exec",
           "os.posix_spawn", "os.system", "os.fork"}

def hook(event, arguments):
    if event in WATCHED:
        what = arguments[1:] if event in {"socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg"} else arguments
        os.write(log, f"{event} {what!r}\\n".encode())

sys.addaudithook(hook)
sys.argv[0] = "bot"
runpy.run_module("bot", run_name="__main__", alter_sys=True)
"""

INTERNET = re.compile(
    r"sa_family=AF_INET6?, sin6?_port=htons\((\d+)\).*?(?:inet_addr\(|inet_pton\(AF_INET6, )\"([^\"]+)\""
)
OTHER = re.compile(r"sa_family=(AF_\w+)")


async def talks(business: Business, new_peer: MakePeer) -> None:
    """A conversation with everything that might make somebody look outside: links, files, names of other servers."""
    anna, jan = await new_peer(await business.account("anna")), await new_peer(business.people["jan"])
    chat = await anna.start_chat(business.bot.mxid)
    await anna.text(chat, "https://example.com/bild.png mxc://elsewhere.example/abc @eva:elsewhere.example")
    case = (await jan.wait_for(lambda s: "bild.png" in s.body and s.sender == business.bot.mxid, 60)).room_id
    await jan.text(case, "Gesehen.")
    await anna.wait_for(lambda s: s.body == "Gesehen.", 60)
    chef = await new_peer(business.people["chef"])
    room = (await chef.wait_for(lambda s: "Wiederherstellungs" in s.body, 60)).room_id
    await chef.text(room, "!arzt")
    await chef.wait_for(lambda s: s.body.startswith("🩺"), 90)


async def started(business: Business, *command: str) -> None:
    """Start the bot under this command instead."""
    await business.stop()
    heartbeat = business.data / "heartbeat"
    heartbeat.unlink(missing_ok=True)
    with (business.folder / "bot.log").open("ab") as log:
        business.process = await asyncio.create_subprocess_exec(
            *(*command, "run", "--config", str(business.config)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


async def test_the_bot_speaks_to_nobody_but_its_server(business: Business, new_peer: MakePeer, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        listen = free.getsockname()
    business.extra = f'[web]\nlisten = "{listen[0]}:{listen[1]}"\n'
    business.write()
    sockets = tmp_path / "sockets"
    await started(business, sys.executable, "-c", WATCHER, str(sockets))
    await talks(business, new_peer)
    assert await business.stop() == 0, business.log()

    lines = sockets.read_text().splitlines()
    server = ("127.0.0.1", urlsplit(business.server.url).port)
    allowed = {f"socket.connect ({server!r},)", f"socket.bind ({listen!r},)"}
    asked = [line for line in lines if not line.startswith(("socket.connect", "socket.bind"))]
    assert f"socket.connect ({server!r},)" in lines, "the watcher sees what there is to see"
    assert {line for line in lines if line.startswith("socket.")} - set(asked) == allowed
    assert [line for line in asked if not line.startswith("socket.getaddrinfo ('127.0.0.1',")] == []


def _strace() -> str:
    found = shutil.which("strace")
    if found and subprocess.run([found, "-o", "/dev/null", "true"], capture_output=True, check=False).returncode == 0:
        return found
    pytest.skip("NOT TESTED: there is no strace here that may watch; the audit hooks above were tried")


async def test_in_a_whole_demo_run_no_process_speaks_to_another_machine(tmp_path: Path, synapse: object) -> None:
    """The homeserver with its modules, the bot, and both people's clients."""
    assert synapse
    calls = tmp_path / "calls"
    watched = "trace=connect,sendto,sendmsg,sendmmsg"
    process = await asyncio.create_subprocess_exec(
        *(_strace(), "-f", "-qq", "-s", "0", "-e", watched, "-o", str(calls)),
        *(sys.executable, "-m", "bot", "demo", "--once"),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    output, _ = await asyncio.wait_for(process.communicate(), 300)
    assert process.returncode == 0, output.decode()

    text = calls.read_text(errors="replace")
    spoken_to = {address for _, address in INTERNET.findall(text)}
    assert spoken_to == {"127.0.0.1"}
    # AF_UNIX: the name service cache of this machine, if there is one; AF_NETLINK: asking the kernel for its interfaces.
    assert set(OTHER.findall(text)) <= {"AF_INET", "AF_UNIX", "AF_NETLINK"}
