"""Notes, replies to notes, captions, typos, edits to and fro, mentions and ordinary answers in any order, with crashes.

Nothing that is marked internal ever stands in the customer's room, and no ordinary answer is withheld from it.
"""

import asyncio
import os
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Literal

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from bot.domain.ids import EventId, RoomId, UserId
from bot.store import arrivals
from tests.flows.shown import shown
from tests.flows.world import ANNA, EVA, JAN, Crash, World, a_world

Json = dict[str, Any]
EXAMPLES = int(os.environ.get("BOTSCHAFT_LEAK_EXAMPLES", "60"))
STEPS = 40

picks = st.integers(min_value=0, max_value=10**6)
people = st.sampled_from([JAN, EVA])
INTERNAL = st.sampled_from([". {}", "!notiz {}", "!Notiz {}", "  . {}", "!notizz {}", "!zuu {}", "!{}"])
crashes = st.none() | st.tuples(st.integers(1, 8), st.sampled_from(["before", "after"]))


class Staff(RuleBasedStateMachine):
    """Two mechanics in one case room. Every message has a word of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.folder = tempfile.TemporaryDirectory()
        self.count = 0
        self.internal: set[str] = set()  # must not stand in the customer's room
        self.ordinary: set[str] = set()  # must
        self.notes: dict[EventId, str] = {}
        self.answers: dict[EventId, str] = {}
        self.held: dict[EventId, str] = {}
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

    def _word(self) -> str:
        self.count += 1
        return f"w{self.count}w"

    def _pick(self, found: dict[EventId, str], pick: int) -> EventId | None:
        return list(found)[pick % len(found)] if found else None

    def _put(self, event_type: str, content: Json, crash: Any, sender: UserId = JAN) -> EventId:
        event = self.world.server.new_event(self.case, sender, event_type, content)
        self.loop.run(self.world.take(self.case, event))
        self.loop.run(self._work(crash))
        return EventId(event["event_id"])

    async def _work(self, crash: tuple[int, Literal["before", "after"]] | None = None) -> None:
        if crash:
            self.world.server.fail_at(*crash, Crash())
        try:
            await self.world.run()
        except Crash:
            await self.world.restart()
            await self.world.run()
        self.world.server.failure = None

    def _write(self, body: str, crash: Any, **content: Any) -> EventId:
        return self._put("m.room.message", {"msgtype": "m.text", "body": body, **content}, crash)

    def _edit(self, event: EventId, body: str, crash: Any) -> None:
        new = {"msgtype": "m.text", "body": body}
        relation = {"rel_type": "m.replace", "event_id": event}
        self._write(f"* {body}", crash, **{"m.new_content": new, "m.relates_to": relation})

    @rule(crash=crashes)
    def answer(self, crash: Any) -> None:
        word = self._word()
        self.ordinary.add(word)
        self.answers[self._write(f"{word} bitte", crash)] = word

    @rule(form=INTERNAL, crash=crashes)
    def note(self, form: str, crash: Any) -> None:
        word = self._word()
        self.internal.add(word)
        self.notes[self._write(form.format(word), crash)] = word

    @rule(crash=crashes)
    def caption(self, crash: Any) -> None:
        word = self._word()
        self.internal.add(word)
        file = {"url": "mxc://x/y", "key": {}, "iv": "", "hashes": {}, "v": "v2"}
        self._write(f". {word}", crash, msgtype="m.image", filename="a.jpg", file=file)

    @rule(pick=picks, crash=crashes)
    def reply_to_a_note(self, pick: int, crash: Any) -> None:
        note = self._pick(self.notes, pick)
        if note:
            self._hold(crash, {"m.relates_to": {"m.in_reply_to": {"event_id": note}}})

    @rule(pick=picks, crash=crashes)
    def reply_to_an_answer(self, pick: int, crash: Any) -> None:
        quoted = self._pick(self.answers, pick)
        if quoted:
            word = self._word()
            self.ordinary.add(word)
            relation = {"m.in_reply_to": {"event_id": quoted}}
            self.answers[self._write(word, crash, **{"m.relates_to": relation})] = word

    @rule(crash=crashes)
    def name_a_colleague(self, crash: Any) -> None:
        self._hold(crash, {}, prefix="@eva ")

    @rule(crash=crashes)
    def mention_a_colleague(self, crash: Any) -> None:
        self._hold(crash, {"m.mentions": {"user_ids": [EVA]}})

    def _hold(self, crash: Any, content: Json, *, prefix: str = "") -> None:
        word = self._word()
        self.internal.add(word)
        self.held[self._write(f"{prefix}{word}", crash, **content)] = word

    @rule(pick=picks, form=INTERNAL, crash=crashes)
    def edit_an_answer_into_a_note(self, pick: int, form: str, crash: Any) -> None:
        event = self._pick(self.answers, pick)
        if event:
            before, word = self.answers.pop(event), self._word()
            self.ordinary.discard(before)
            self.internal |= {before, word}
            self.notes[event] = word
            self._edit(event, form.format(word), crash)

    @rule(pick=picks, crash=crashes)
    def edit_an_answer(self, pick: int, crash: Any) -> None:
        event = self._pick(self.answers, pick)
        if event:
            word = self._word()
            self.ordinary.discard(self.answers[event])
            self.internal.add(self.answers[event])  # the words before are not shown any more
            self.ordinary.add(word)
            self.answers[event] = word
            self._edit(event, word, crash)

    @rule(pick=picks, crash=crashes)
    def edit_a_note_into_an_answer(self, pick: int, crash: Any) -> None:
        event = self._pick(self.notes, pick)
        if event:
            word = self._word()
            self.internal.add(word)
            self._edit(event, word, crash)

    @rule(pick=picks, sends=st.booleans(), sender=people, crash=crashes)
    def tap(self, pick: int, sends: bool, sender: UserId, crash: Any) -> None:
        event = self._pick(self.held, pick)
        if event:
            word = self.held.pop(event)
            if sends:
                self.internal.discard(word)
                self.ordinary.add(word)
                self.answers[event] = word
            relation = {"rel_type": "m.annotation", "event_id": event, "key": "📤" if sends else "🔒"}
            self._put("m.reaction", {"m.relates_to": relation}, crash, sender)

    @rule()
    def a_minute_passes(self) -> None:
        self.held.clear()
        self.loop.run(self._minute())

    async def _minute(self) -> None:
        self.world.later(seconds=61)
        async with self.world.database.transaction() as tx:
            await arrivals.wake_due(tx, self.world.now())
        await self._work()

    @invariant()
    def the_customer_sees_what_is_for_them(self) -> None:
        if not hasattr(self, "world"):
            return
        seen = " ".join(message.body for message in shown(self.world.server.rooms[self.chat]))
        assert {word for word in self.internal if word in seen} == set()
        assert {word for word in self.ordinary if word not in seen} == set()


TestLeak = Staff.TestCase
TestLeak.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
