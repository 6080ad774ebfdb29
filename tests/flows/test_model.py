"""Anything anybody may do, in any order, with crashes in between: both rooms always show the same conversation.

There is no second program that predicts the rooms: what a person sees in one room must be what the other shows.
"""

import asyncio
import os
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Literal

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bot.domain.ids import EventId, RoomId, SessionId, UserId
from bot.store import arrivals
from tests.flows.shown import Conversation, Shown, shown, token
from tests.flows.world import ANNA, EVA, JAN, ME, Crash, World, a_world

Json = dict[str, Any]
STAFF = (JAN, EVA)
EXAMPLES = int(os.environ.get("BOTSCHAFT_MODEL_EXAMPLES", "110"))
STEPS = 50
RECENT = 3  # people mean what was written last: so things happen to the same message in quick succession

people = st.sampled_from([ANNA, JAN, EVA])
picks = st.integers(min_value=0, max_value=10**6)
keys = st.sampled_from(["👍", "👍\ufe0f", "❤️"])


class Everybody(RuleBasedStateMachine):
    """One customer, two mechanics, one case."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.folder = tempfile.TemporaryDirectory()
        self.count = 0
        self.late: set[str] = set()
        self.settled = False
        self.world: World
        self.chat: RoomId
        self.case: RoomId

    @initialize()
    def begin(self) -> None:
        self.loop.run(self._begin())

    async def _begin(self) -> None:
        self.world = await self.stack.enter_async_context(a_world(Path(self.folder.name)))
        self.chat = await self.world.chat(ANNA)
        await self.world.says(ANNA, self.chat, "Hallo")
        self.case = (await self.world.case_room(ANNA)).room_id

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.loop.run(self.stack.aclose())
        self.loop.close()
        self.folder.cleanup()

    def room_of(self, who: UserId) -> RoomId:
        return self.chat if who == ANNA else self.case

    def visible(self, room: RoomId) -> list[Shown]:
        return [message for message in shown(self.world.server.rooms[room]) if token(message)]

    def _put(self, who: UserId, event_type: str, content: Json) -> None:
        event = self.world.server.new_event(self.room_of(who), who, event_type, content)
        self.loop.run(self.world.take(self.room_of(who), event))
        self.settled = False

    def _pick(self, who: UserId, pick: int, *, own: bool) -> Shown | None:
        found = [m for m in self.visible(self.room_of(who)) if (m.sender == who) is own or not own]
        return found[-1 - pick % min(RECENT, len(found))] if found else None

    def _word(self) -> str:
        self.count += 1
        return f"k{self.count}"

    @rule(who=people, kind=st.sampled_from(["m.text", "m.emote", "m.notice"]))
    def write(self, who: UserId, kind: str) -> None:
        self._put(who, "m.room.message", {"msgtype": kind, "body": self._word()})

    @rule(who=st.sampled_from(STAFF))
    def note(self, who: UserId) -> None:
        self._put(who, "m.room.message", {"msgtype": "m.text", "body": f". {self._word()}"})

    @rule(who=people, pick=picks)
    def reply(self, who: UserId, pick: int) -> None:
        quoted = self._pick(who, pick, own=False)
        if quoted and not quoted.body.startswith(". "):  # a reply to a note is held (see test_leak)
            relation = {"m.in_reply_to": {"event_id": quoted.event_id}}
            self._put(who, "m.room.message", {"msgtype": "m.text", "body": self._word(), "m.relates_to": relation})

    @rule(who=people, pick=picks, into_note=st.integers(0, 9))
    def edit(self, who: UserId, pick: int, into_note: int) -> None:
        own = self._pick(who, pick, own=True)
        if own is None or own.body.startswith(". "):
            return
        note = ". " if who != ANNA and into_note == 0 else ""
        new = {"msgtype": own.content["msgtype"], "body": f"{note}{token(own)} {self._word().replace('k', 'v')}"}
        relation = {"rel_type": "m.replace", "event_id": own.event_id}
        self._put(who, "m.room.message", {**new, "m.new_content": new, "m.relates_to": relation})

    @rule(who=people, pick=picks)
    def delete(self, who: UserId, pick: int) -> None:
        own = self._pick(who, pick, own=True)
        if own:
            self._redact(who, own.event_id)

    def _redact(self, who: UserId, event: str) -> None:
        self.world.server.clear(self.room_of(who), EventId(event))
        self._put(who, "m.room.redaction", {"redacts": event})

    @rule(who=people, pick=picks, key=keys)
    def react(self, who: UserId, pick: int, key: str) -> None:
        target = self._pick(who, pick, own=False)
        if target and (who, key) not in target.reactions and target.sender != who:
            relation = {"rel_type": "m.annotation", "event_id": target.event_id, "key": key}
            self._put(who, "m.reaction", {"m.relates_to": relation})

    @rule(who=people, pick=picks)
    def take_reaction_back(self, who: UserId, pick: int) -> None:
        events = self.world.server.rooms[self.room_of(who)].events
        own = [e for e in events if e["type"] == "m.reaction" and e["sender"] == who and e["content"]]
        if own:
            self._redact(who, own[-1 - pick % min(RECENT, len(own))]["event_id"])

    @rule()
    def write_without_key(self) -> None:
        """A message whose key comes only later."""
        word = self._word()
        self.late.add(word)
        self.world.server.missing_keys.add(SessionId(word))
        self._put(ANNA, "m.room.message", {"msgtype": "m.text", "body": word, "session": word})

    @precondition(lambda self: not self.settled)
    @rule()
    def work(self) -> None:
        self.loop.run(self._work())

    @precondition(lambda self: not self.settled)
    @rule(at=st.integers(1, 12), how=st.sampled_from(["before", "after"]))
    def die_while_working(self, at: int, how: Literal["before", "after"]) -> None:
        self.world.server.fail_at(at, how, Crash())
        self.loop.run(self._work())

    async def _work(self) -> None:
        """Work until nothing is left; dead processes are started again, late keys come in the end."""
        self.world.later(seconds=20)
        await self._run()
        self.world.server.missing_keys.clear()
        async with self.world.database.transaction() as tx:
            await arrivals.wake_all_keyless(tx)
        await self._run()
        self.settled = True

    async def _run(self) -> None:
        try:
            await self.world.run()
        except Crash:
            await self.world.restart()
            await self.world.run()

    @invariant()
    def both_rooms_show_the_same(self) -> None:
        if self.settled:
            server = self.world.server
            expected = Conversation(ANNA, frozenset(STAFF), ME, frozenset(self.late))
            expected.must_agree(shown(server.rooms[self.chat]), shown(server.rooms[self.case]))


Everybody.TestCase.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=bool(os.environ.get("CI")),
)
TestEverybody = Everybody.TestCase
