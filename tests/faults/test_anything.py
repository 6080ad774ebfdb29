"""Anything people send, in any order, over a real server, while the bot dies again and again: both rooms agree."""

import asyncio
import os
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bot.demo.peer import Peer
from bot.demo.synapse import LocalSynapse
from tests.business import Account, Business, a_business
from tests.conftest import MakePeer
from tests.faults.crowd import comes_to_rest
from tests.files import FileClient
from tests.flows.shown import Conversation, Shown, shown_of, token
from tests.waiting import until

Json = dict[str, Any]
STEPS = 300
KILL_EVERY = 25
RECENT = 4


@dataclass
class Both:
    """What both people share: chance, a file, how many words there were, and which were replied to or deleted.

    A mechanic's reply to what they deleted a moment ago is held, rightly; so nobody replies to what is deleted.
    """

    numbers: random.Random
    file: Json
    words: int = 0
    quoted: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)


class Person:
    """Somebody who does one thing after the other in one room."""

    def __init__(self, peer: Peer, room: str, both: Both) -> None:
        self.peer, self.room, self._both, self._numbers = peer, room, both, both.numbers
        self._reactions: list[str] = []
        self._reacted: set[str] = set()

    def shown(self) -> list[Shown]:
        """What this person's client shows."""
        return shown_of(events_in(self.peer, self.room))

    def _word(self) -> str:
        self._both.words += 1
        return f"k{self._both.words}"

    def _some(self, *, own: bool | None) -> Shown | None:
        found = [m for m in self.shown() if token(m) and (own is None or (m.sender == self.peer.user_id) is own)]
        return self._numbers.choice(found[-RECENT:]) if found else None

    async def do_something(self) -> None:
        """One thing, by chance."""
        doings: list[tuple[int, Callable[[], Awaitable[None]]]] = [
            (6, self._write),
            (2, self._send_file),
            (3, self._reply),
            (4, self._edit),
            (2, self._delete),
            (3, self._react),
            (2, self._take_back),
        ]
        weights, methods = zip(*doings, strict=True)
        await self._numbers.choices(methods, weights)[0]()

    async def _send(self, content: Json) -> None:
        await self.peer.send(self.room, "m.room.message", content)

    async def _write(self) -> None:
        await self._send({"msgtype": self._numbers.choice(["m.text", "m.emote", "m.notice"]), "body": self._word()})

    async def _send_file(self) -> None:
        kind = self._numbers.choice(["m.image", "m.file", "m.audio", "m.video"])
        await self._send({"msgtype": kind, "body": self._word(), "filename": "a.bin", "file": self._both.file})

    async def _reply(self) -> None:
        quoted = self._some(own=None)
        if quoted and token(quoted) not in self._both.deleted:
            self._both.quoted.add(token(quoted))
            relation = {"m.in_reply_to": {"event_id": quoted.event_id}}
            await self._send({"msgtype": "m.text", "body": self._word(), "m.relates_to": relation})

    async def _edit(self) -> None:
        own = self._some(own=True)
        if own:
            new = own.content | {"body": f"{token(own)} {self._word().replace('k', 'v')}"}
            new.pop("m.relates_to", None)
            relation = {"rel_type": "m.replace", "event_id": own.event_id}
            await self._send(new | {"m.new_content": new, "m.relates_to": relation})

    async def _delete(self) -> None:
        own = self._some(own=True)
        if own and token(own) not in self._both.quoted:
            self._both.deleted.add(token(own))
            await self.peer.redact(self.room, own.event_id)

    async def _react(self) -> None:
        theirs = self._some(own=False)
        key = self._numbers.choice(["👍", "👍\ufe0f"])
        if theirs and theirs.event_id not in self._reacted:
            self._reacted.add(theirs.event_id)
            self._reactions.append(await self.peer.react(self.room, theirs.event_id, key))

    async def _take_back(self) -> None:
        if self._reactions:
            await self.peer.redact(self.room, self._reactions.pop())


def events_in(peer: Peer, room: str) -> list[Json]:
    """Return the events of a room in clear, with their relations, as deletions have left them."""
    seen = [s for s in peer.seen if s.room_id == room]
    gone = {str(s.raw.get("redacts") or s.content.get("redacts")) for s in seen if s.type == "m.room.redaction"}
    events: list[Json] = []
    for s in seen:
        wire = s.raw["content"].get("m.relates_to")
        content = s.content if "m.relates_to" in s.content or not wire else s.content | {"m.relates_to": wire}
        content = {} if s.event_id in gone else content
        events.append({"event_id": s.event_id, "sender": s.sender, "type": s.type, "content": content})
    return events


async def _begin(business: Business, anna: Peer, jan: Peer) -> tuple[str, str]:
    chat = await anna.start_chat(business.bot.mxid)
    await anna.text(chat, "der Anfang")
    return chat, (await jan.wait_for(lambda s: s.body == "der Anfang", 60)).room_id


async def test_anything_while_the_bot_dies(synapse: LocalSynapse, new_peer: MakePeer, tmp_path: Path) -> None:
    seed = int(os.environ.get("BOTSCHAFT_SEED") or random.randrange(2**32))
    print(f"BOTSCHAFT_SEED={seed}")
    numbers = random.Random(seed)
    (tmp_path / "bot").mkdir()
    business = await a_business(synapse, tmp_path / "bot")
    customer: Account = await business.account("anna")
    mechanic: Account = await business.account("jan")
    business.members = [mechanic.mxid]
    business.extra = "[customers]\nburst = 10000\n"
    anna, jan = await new_peer(customer), await new_peer(mechanic)
    file = await (await FileClient.login(synapse, await business.account("files"))).upload_encrypted(b"datei")
    await business.start()
    try:
        chat, case = await _begin(business, anna, jan)
        both = Both(numbers, file)
        people = [Person(anna, chat, both), Person(jan, case, both)]
        for step in range(1, STEPS + 1):
            await numbers.choice(people).do_something()
            if step % KILL_EVERY == 0:
                await asyncio.sleep(numbers.uniform(0, 0.3))  # the moment of the kill, not a wait
                await business.kill()
                await business.start()
        await anna.text(chat, "k99998 Schluss")
        await jan.wait_for(lambda s: s.body == "k99998 Schluss", 120)
        await comes_to_rest(business)
        expected = Conversation(customer.mxid, frozenset({mechanic.mxid}), business.bot.mxid)

        def agree() -> bool:
            try:
                expected.must_agree(people[0].shown(), people[1].shown())
            except AssertionError:
                return False
            return True

        try:
            await until(agree, timeout_s=15)
        finally:
            assert (anna.unreadable, jan.unreadable) == ([], [])
            expected.must_agree(people[0].shown(), people[1].shown())
    finally:
        if business.process:
            await business.kill()
    assert "Traceback" not in business.log()
