"""What is told of a performance: what people did, and what their clients really decrypted.

The first thing that is missed ends it.
"""

import asyncio
import re
from collections.abc import Callable

from bot.demo.peer import Seen
from bot.demo.requests import Json
from bot.demo.stage import BUSINESS, Player, Stage
from bot.matrix.polls import poll_of

WAIT_S = 60.0
LOOK_EVERY_S = 0.1

Line = Callable[[str, str, str], None]
"""Takes down one line: in which room, who, what."""


class Missed(Exception):
    """Something that had to show up did not."""


class Telling:
    """Acts for people, waits for what must come of it, and takes both down."""

    def __init__(self, stage: Stage, line: Line) -> None:
        self._stage = stage
        self._line = line
        self._told: set[tuple[str, str]] = set()
        self._names: dict[tuple[str, str], str] = {}
        self._newest: dict[str, tuple[Player, str]] = {}

    async def writes(
        self, player: Player, room: str, text: str, *, replies_to: Seen | None = None, in_vain: bool = False
    ) -> str:
        """Let somebody write, who has then read the room, and return the event id. `in_vain`: the bot drops it."""
        content: Json = {"msgtype": "m.text", "body": text}
        if replies_to:
            content["m.relates_to"] = {"m.in_reply_to": {"event_id": replies_to.event_id}}
        event_id = await player.peer.send(room, "m.room.message", content)
        await player.peer.mark_read(room, event_id)
        if not in_vain:
            self._newest[room] = player, event_id
        self._line(await self._name(player, room), player.name, text)
        return event_id

    async def sends(self, player: Player, room: str, data: bytes, content: Json) -> None:
        """Let somebody send a file, encrypted."""
        await player.peer.attach(room, data, content)
        self._newest.pop(room, None)
        self._line(await self._name(player, room), player.name, _shown(content))

    async def taps(self, player: Player, event: Seen, key: str) -> None:
        """Let somebody tap a sign, once the bot has put it under an event."""

        def is_there(seen: Seen) -> bool:
            relation = seen.content.get("m.relates_to", {})
            is_ours = seen.type == "m.reaction" and seen.sender == self._stage.bot.mxid
            return is_ours and (relation.get("event_id"), relation.get("key")) == (event.event_id, key)

        await self._wait(player, is_there, f"the sign {key}")
        tap = await player.peer.react(event.room_id, event.event_id, key)
        await player.peer.mark_read(event.room_id, tap)
        self._newest[event.room_id] = player, tap
        self._line(await self._name(player, event.room_id), player.name, f"taps {key}")

    async def comes_to_rest(self) -> None:
        """Wait until the bot has dealt with what was written, which it says by reading up to there."""
        for room, (player, event) in self._newest.items():
            try:
                async with asyncio.timeout(WAIT_S):
                    while not await self._is_read(player, room, event):
                        await player.peer.wait_for_news()
            except TimeoutError:
                place = await self._name(player, room)
                raise Missed(f"that the bot read what {player.name} wrote last in {place}") from None
        self._newest.clear()

    async def _is_read(self, player: Player, room: str, event: str) -> bool:
        """Whoever has been taken out of a room meanwhile sees nothing of it any more."""
        is_read = player.peer.receipts.get(room, {}).get(self._stage.bot.mxid) == event
        return is_read or room not in await player.peer.rooms()

    async def arrives(self, player: Player, text: str, *, room: str = "", tell: bool = True) -> Seen:
        """Wait until somebody's client has decrypted a message of the bot that contains `text`, each only once.

        `room` says where; without `tell` it is waited for, but not told.
        """

        def fits(seen: Seen) -> bool:
            is_new = (player.name, seen.event_id) not in self._told and "m.new_content" not in seen.content
            is_here = seen.sender == self._stage.bot.mxid and room in {"", seen.room_id}
            return is_new and is_here and seen.encrypted and text in seen.body

        seen = await self._wait(player, fits, text)
        self._told.add((player.name, seen.event_id))
        if tell:
            self._line(await self._name(player, seen.room_id), BUSINESS, _shown(seen.content))
        return seen

    async def changes(self, player: Player, event: Seen, text: str) -> None:
        """Wait until an event of the bot was edited to say `text`, and tell what it says then."""

        def is_edited(seen: Seen) -> bool:
            relation = seen.content.get("m.relates_to", {})
            is_about = relation.get("rel_type") == "m.replace" and relation.get("event_id") == event.event_id
            return is_about and seen.encrypted and text in str(seen.content["m.new_content"]["body"])

        seen = await self._wait(player, is_edited, text)
        self._line(
            await self._name(player, seen.room_id), BUSINESS, f"(edited) {seen.content['m.new_content']['body']}"
        )

    async def polls(self, player: Player, question: Seen) -> None:
        """Wait until somebody's client shows the poll that goes with a question, and tell what there is to tap."""

        def fits(seen: Seen) -> bool:
            replied = seen.content.get("m.relates_to", {}).get("m.in_reply_to", {}).get("event_id")
            return seen.encrypted and replied == question.event_id and poll_of(seen.content) is not None

        seen = await self._wait(player, fits, "the poll of a question")
        poll = poll_of(seen.content)
        assert poll is not None
        answers = "   ".join(f"○ {text}" for _, text in poll.answers)
        self._line(await self._name(player, seen.room_id), BUSINESS, f"📊 {poll.question}   {answers}")

    async def is_called(self, player: Player, room: str, name: str) -> None:
        """Wait until a room has a name, which says in what state the case is."""
        shown = ""
        try:
            async with asyncio.timeout(WAIT_S):
                while shown != name:
                    await asyncio.sleep(LOOK_EVERY_S)
                    shown = str((await player.peer.state(room, "m.room.name") or {}).get("name"))
        except TimeoutError:
            raise Missed(f"the room name {name}; it is {shown}") from None
        self._line(await self._name(player, room), "", f"The room is now called: {name}")

    def holds(self, what: str, is_so: bool) -> None:
        """Tell something that must be so."""
        if not is_so:
            raise Missed(what)
        self._line("", "✓", what)

    async def _wait(self, player: Player, fits: Callable[[Seen], bool], what: str) -> Seen:
        try:
            return await player.peer.wait_for(fits, WAIT_S)
        except TimeoutError:
            raise Missed(f"“{what}”, for {player.name}") from None

    async def _name(self, player: Player, room: str) -> str:
        """Call a room what people call it; a case by its number alone, since its name changes meanwhile."""
        if (player.name, room) not in self._names:
            state = await player.peer.state(room, "m.room.name")
            name = str(state["name"]) if state else f"💬 {player.name}"
            case = re.match(r"\S+ (\d+)", name)
            self._names[player.name, room] = case.group(1) if case else name
        return self._names[player.name, room]


def _shown(content: Json) -> str:
    """Return what stands on the screen: a text, or what a file is called and what was written below it."""
    body = str(content.get("body", ""))
    name = str(content.get("filename", body))
    if "info" not in content:
        return body
    return f"[{name}]" if name == body else f"[{name}] {body}"
