"""Drives `element/peer.mjs`: a person on the encryption that Element runs, as a customer or a mechanic of a test."""

import asyncio
import contextlib
import json
import shutil
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.canary import overhear
from tests.waiting import PATIENCE

FOLDER = Path(__file__).parent / "element"
LONGEST_LINE = 1 << 26
START_WITHIN_S = 60.0
STOP_WITHIN_S = 10.0

NO_SHIELD = {"colour": "NONE", "reason": None}
"""How Element draws a message that it has nothing to say against."""

Line = dict[str, Any]


class ElementError(Exception):
    """A command failed. The message is what the SDK said."""


class ElementPeer:
    """One process, one device. `events` are the lines nobody asked for, in order."""

    def __init__(self) -> None:
        self.events: list[Line] = []
        self.user_id = ""
        self.device_id = ""
        self._process: Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._answers: dict[int, asyncio.Future[Line]] = {}
        self._asked = 0
        self._news = asyncio.Condition()

    @staticmethod
    def missing() -> str:
        """Return what this machine lacks to run it, empty if nothing."""
        if shutil.which("node") is None:
            return "Node"
        if not (FOLDER / "node_modules" / "matrix-js-sdk").is_dir():
            return f"matrix-js-sdk (run `npm ci` in {FOLDER})"
        return ""

    async def start(self) -> None:
        """Start the process and return when it listens. It ends with its pipe, so also when the tests are killed."""
        self._process = await asyncio.create_subprocess_exec(
            "node", "peer.mjs", cwd=FOLDER, stdin=PIPE, stdout=PIPE, limit=LONGEST_LINE
        )
        self._reading = asyncio.create_task(self._read(self._process))
        await self.wait_for(lambda line: line["event"] == "ready", START_WITHIN_S)

    async def login(self, url: str, user: str, password: str, **choices: Any) -> None:
        """Log in; `choices` are mode, cross_sign, autojoin and device_name."""
        answer = await self.command("login", url=url, user=user, password=password, **choices)
        self.user_id, self.device_id = answer["user_id"], answer["device_id"]

    async def command(self, command: str, timeout_s: float = 60.0, **choices: Any) -> Any:
        """Return the result of a command. Raises ElementError, or TimeoutError."""
        if self._process is None or self._process.stdin is None or self._reading is None or self._reading.done():
            raise ElementError(f"{command}: the process has ended")
        overhear(choices)
        self._asked += 1
        answer = asyncio.get_running_loop().create_future()
        self._answers[self._asked] = answer
        line = json.dumps({"id": self._asked, "command": command, **choices})
        self._process.stdin.write(line.encode() + b"\n")
        await self._process.stdin.drain()
        said = await asyncio.wait_for(answer, PATIENCE * timeout_s)
        if "error" in said:
            raise ElementError(f"{command}: {said['name']}: {said['error']}")
        return said["result"]

    async def wait_for(self, predicate: Callable[[Line], bool], timeout_s: float = 20.0) -> Line:
        """Return the first line nobody asked for, past or future, that fits. Raises TimeoutError with the last ones."""
        try:
            async with asyncio.timeout(PATIENCE * timeout_s), self._news:
                while True:
                    for line in self.events:
                        if predicate(line):
                            return line
                    if self._reading is None or self._reading.done():
                        raise ElementError("the process has ended")
                    await self._news.wait()
        except TimeoutError:
            last = "\n  ".join(json.dumps(line)[:300] for line in self.events[-8:])
            raise TimeoutError(
                f"{self.user_id} waited {PATIENCE * timeout_s} s in vain; the last it said:\n  {last}"
            ) from None

    async def stop(self) -> None:
        """End the process, in good order if it still can."""
        if self._process is None or self._reading is None or self._process.stdin is None:
            return
        self._process.stdin.close()
        try:
            async with asyncio.timeout(STOP_WITHIN_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        await self._reading
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            await self._process.stdin.wait_closed()
        self._process = None

    async def _read(self, process: Process) -> None:
        assert process.stdout is not None
        async for text in process.stdout:
            line = json.loads(text)
            if "id" in line:
                self._take_answer(line)
                continue
            overhear({name: value for name, value in line.items() if name != "content"})  # theirs, or a bot's words
            async with self._news:
                self.events.append(line)
                self._news.notify_all()
        for answer in self._answers.values():
            answer.cancel()
        self._answers.clear()
        async with self._news:
            self._news.notify_all()

    def _take_answer(self, line: Line) -> None:
        answer = self._answers.pop(line["id"])
        if not answer.done():
            answer.set_result(line)


async def chat_with(peer: ElementPeer, user: str) -> str:
    """Start a chat as Element does: it waits until its own picture of the room has the other person in it."""
    room = (await peer.command("create_room", invite=[user]))["room_id"]

    def knows(line: dict[str, Any]) -> bool:
        return (line.get("type"), line.get("room_id"), line.get("state_key")) == ("m.room.member", room, user)

    await peer.wait_for(knows)
    return str(room)
