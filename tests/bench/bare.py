"""A bare client in a process of its own: what the homeserver and one long poll cost without any bot.

Commands come as JSON lines on standard input: `echo` answers each text in one room with one send into another, `send`
writes many texts into many rooms. It ends with its input.
"""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from bot.demo.peer import Peer

Json = dict[str, Any]
LANES = 16


def _say(**line: Any) -> None:
    print(json.dumps(line), flush=True)


async def _echo(peer: Peer, source: str, target: str) -> None:
    """Answer every text of somebody else in `source` with the same text in `target`."""
    answered = 0
    while True:
        texts = [s for s in peer.seen if s.room_id == source and s.sender != peer.user_id and s.body]
        for seen in texts[answered:]:
            await peer.text(target, seen.body)
        answered = len(texts)
        await peer.wait_for_news()


async def _send(peer: Peer, rooms: list[str], each: int) -> None:
    """Write into all rooms, one after the other within a room, sixteen rooms at once."""
    slots = asyncio.Semaphore(LANES)

    async def lane(number: int, room: str) -> None:
        for n in range(each):
            async with slots:
                await peer.text(room, f"bare {number} {n}")

    started = time.monotonic()
    await asyncio.gather(*(lane(number, room) for number, room in enumerate(rooms)))
    _say(done="send", seconds=time.monotonic() - started)


async def _main(url: str, user: str, password: str, store: str) -> None:
    peer = await Peer.login(url, user, password, store=Path(store))
    _say(ready=peer.user_id)
    tasks: set[asyncio.Task[None]] = set()
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async for line in reader:
        command: Json = json.loads(line)
        work = (
            _echo(peer, command["source"], command["target"])
            if command["do"] == "echo"
            else _send(peer, command["rooms"], command["each"])
        )
        tasks.add(asyncio.create_task(work))
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await peer.close()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:5]))
