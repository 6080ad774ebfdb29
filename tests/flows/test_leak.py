"""Notes, replies, captions, typos, edits to and fro, mentions, taps and ordinary answers in any order, with crashes.

Nothing that is marked internal ever stands in the customer's room, and no ordinary answer is withheld from it.
"""

import asyncio
import os
import tempfile
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from bot.domain.ids import EventId, RoomId, SessionId, UserId
from bot.store import arrivals
from tests.flows.shown import shown
from tests.flows.world import ANNA, EVA, JAN, ME, Crash, World, a_world
from tests.leaks import INTERNAL, KEEP, SEND, Draw, Team

Json = dict[str, Any]
EXAMPLES = int(os.environ.get("BOTSCHAFT_LEAK_EXAMPLES", "60"))
STEPS = 40

draws = st.builds(
    Draw,
    pick=st.integers(min_value=0, max_value=10**6),
    author=st.sampled_from([JAN, EVA]),
    form=st.sampled_from(INTERNAL),
    yes=st.booleans(),
    also=st.booleans(),
)
crashes = st.none() | st.tuples(st.integers(1, 8), st.sampled_from(["before", "after"]))


class FakeCase:
    """The room of a case on the fake. The bot works after each event, and may die meanwhile."""

    def __init__(self, world: World, case: RoomId) -> None:
        self.world, self.case = world, case
        self.crash: tuple[int, Literal["before", "after"]] | None = None
        self.keys_are_late = False

    async def put(self, author: UserId, event_type: str, content: Json) -> EventId:
        if self.keys_are_late and event_type == "m.room.message":
            return await self.put_late(author, {"type": event_type, "content": content})
        event = await self.takes(author, event_type, content)
        await self.work()
        return event

    async def react(self, author: UserId, target: EventId, key: str) -> EventId | None:
        relation = {"rel_type": "m.annotation", "event_id": target, "key": key}
        return await self.put(author, "m.reaction", {"m.relates_to": relation})

    async def put_late(self, author: UserId, inside: Json) -> EventId:
        """Write something whose key comes only when the bot has given up waiting for it."""
        session = SessionId(f"session{next(self.world.server.numbers)}")
        self.world.server.missing_keys.add(session)
        event = await self.takes(author, "m.room.encrypted", {"session": session, "inside": inside})
        self.world.later(seconds=11)
        await self.work()
        self.world.server.missing_keys.remove(session)
        async with self.world.database.transaction() as tx:
            await arrivals.wake_sessions(tx, [session])
        await self.work()
        return event

    async def delete(self, author: UserId, event: EventId) -> None:
        self.world.server.clear(self.case, event)
        await self.put(author, "m.room.redaction", {"redacts": event})

    async def takes(self, author: UserId, event_type: str, content: Json) -> EventId:
        """Let the bot have an event without working."""
        event = self.world.server.new_event(self.case, author, event_type, content)
        await self.world.take(self.case, event)
        return EventId(event["event_id"])

    async def work(self) -> None:
        if self.crash:
            self.world.server.fail_at(*self.crash, Crash())
        try:
            await self.world.run()
        except Crash:
            await self.world.restart()
            await self.world.run()
        self.world.server.failure = None

    async def question(self, asked: EventId) -> EventId:
        under = {"m.in_reply_to": {"event_id": asked}}
        ours = [e for e in self.world.server.rooms[self.case].events if e["content"].get("m.relates_to") == under]
        return EventId(next(e["event_id"] for e in ours if e["content"]["body"].startswith("🔒 nur")))

    async def notice(self) -> EventId:
        ours = [m for m in shown(self.world.server.rooms[self.case]) if m.sender == ME]
        return EventId(next(m.event_id for m in ours if m.content["msgtype"] == "m.notice"))

    async def decided(self, asked: EventId) -> None:
        """It is, once the bot has worked."""


class Staff(RuleBasedStateMachine):
    """Two mechanics in one case room."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.folder = tempfile.TemporaryDirectory()
        self.ever: list[str] = []  # all that ever stood in the customer's room, whatever was deleted since
        self.team: Team
        self.room: FakeCase
        self.chat: RoomId

    @initialize()
    def begin(self) -> None:
        self.loop.run(self._begin())

    async def _begin(self) -> None:
        world = await self.stack.enter_async_context(a_world(Path(self.folder.name)))
        world.rule(held_for=timedelta(hours=10))
        self.chat = await world.chat(ANNA)
        await world.says(ANNA, self.chat, "Hallo")
        self.room = FakeCase(world, (await world.case_room(ANNA)).room_id)
        self.team = Team(self.room, JAN, EVA)

    def teardown(self) -> None:
        if hasattr(self, "team"):
            self.loop.run(self.stack.aclose())
        self.loop.close()
        self.folder.cleanup()

    @rule(act=st.sampled_from(Team.ACTS), by=draws, crash=crashes, late=st.sampled_from([False, False, True]))
    def somebody_acts(self, act: str, by: Draw, crash: Any, late: bool) -> None:
        self.room.crash, self.room.keys_are_late = crash, late
        self.loop.run(self.team.does(act, by))

    @rule(by=draws, crash=crashes)
    def a_tap_is_taken_back_before_anybody_sees_it(self, by: Draw, crash: Any) -> None:
        held = self.team.held
        if held:
            self.room.crash = crash
            self.loop.run(self._tap_and_take_back(held[by.pick % len(held)].event, by))

    async def _tap_and_take_back(self, target: EventId, by: Draw) -> None:
        relation = {"rel_type": "m.annotation", "event_id": target, "key": SEND if by.yes else KEEP}
        tap = await self.room.takes(by.author, "m.reaction", {"m.relates_to": relation})
        await self.room.delete(by.author, tap)

    @rule(crash=crashes)
    def the_time_is_up(self, crash: Any) -> None:
        self.room.crash = crash
        self.team.time_is_up()
        self.loop.run(self._time())

    async def _time(self) -> None:
        self.room.world.later(hours=11)
        async with self.room.world.database.transaction() as tx:
            await arrivals.wake_due(tx, self.room.world.now())  # `run` ends when no lane is open; its clock may be late
        await self.room.work()

    @invariant()
    def the_customer_sees_what_is_for_them(self) -> None:
        if hasattr(self, "team"):
            chat = self.room.world.server.rooms[self.chat]
            self.ever += [str(event["content"].get("body", "")) for event in chat.events]
            self.team.must_have_kept(shown(chat), self.ever)


TestLeak = Staff.TestCase
TestLeak.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
