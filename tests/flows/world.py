"""A small business on a fake homeserver and a real database file: customers and mechanics write, the bot works."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bot.domain.case import Case
from bot.domain.door import Door, Gift, House
from bot.domain.ids import DeskId, EventId, RoomId, UserId
from bot.domain.purpose import Federation, Privacy
from bot.flows import house, intake, staffing, superseding, verifying
from bot.flows.dispatch import Dispatch
from bot.flows.intake import Batch, RoomUpdate
from bot.flows.surroundings import Bookkeeping, Desk, Ledger, Rules, Surroundings
from bot.flows.worker import Worker
from bot.privacy.loading import load
from bot.resources import resource_dir
from bot.settings import load_texts
from bot.store import arrivals, cases, privacy_texts, rooms, staff
from bot.store.database import Database
from tests.a_business import OPERATOR
from tests.flows.fake import Crash, FakeMessenger, FakeRoom
from tests.waiting import until

ME = UserId("@werkstatt:example.org")
JAN = UserId("@jan:example.org")
EVA = UserId("@eva:example.org")
CHEF = UserId("@chef:example.org")
ANNA = UserId("@anna:elsewhere.example")
BERT = UserId("@bert:elsewhere.example")

RULES = Rules(
    me=ME,
    business="Werkstatt Müller",
    language="de",
    desks=(Desk(DeskId("annahme"), "Annahme", (JAN, EVA)),),
    admins=(CHEF,),
    ignored=frozenset({UserId("@other-bot:example.org")}),
    first_case_number=1001,
    reopen_window=timedelta(days=14),
    rename_interval=timedelta(seconds=30),
    overview_interval=timedelta(seconds=30),
    automatic_per_hour=10,
    messages_per_minute=60,
    burst=400,
    unreadable_notice_after=timedelta(seconds=60),
    door=Door(
        House("Werkstatt Müller", ME, "example.org", "https://mobile.element.io/element/", "https://chat.example.org"),
        Gift.ACCOUNT,
        token_lasts=timedelta(days=14),
        slip_lasts=timedelta(hours=24),
        per_hour=3,
    ),
)


OPEN = load(replace(OPERATOR, federation=Federation.LISTED)).privacy
"""Its purposes and texts; customers may come from other servers."""
TEXTS = load_texts(resource_dir("config") / "texts")
_new: list[bytes] = []


async def _new_database() -> bytes:
    """An empty database of the newest version. Half of what a world costs are the migrations, so they run once."""
    if not _new:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "botschaft.db"
            await (await _opened(file)).close()
            _new.append(file.read_bytes())
    return _new[0]


async def _opened(file: Path) -> Database:
    return await Database.open(file, key=b"k" * 32, migrations=resource_dir("migrations"))


class World:
    """Everything around the flows. A restart keeps the file and the fake server, and forgets the rest."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.texts = TEXTS
        self.rules = RULES
        self.time = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
        self.server = FakeMessenger(ME, self.now)
        self.sync = 0
        self.agrees = False  # the ledger with its anchor, also after a restart
        self.has_registrar = True
        self.privacy: Privacy | None = OPEN
        self.database: Database
        self.around: Surroundings

    def now(self) -> datetime:
        return self.time

    def later(self, **delta: float) -> None:
        self.time += timedelta(**delta)

    async def open(self) -> None:
        file = self.folder / "botschaft.db"
        if not file.exists():
            file.write_bytes(await _new_database())
        self.database = await _opened(file)
        self.around = Surroundings(
            database=self.database,
            messenger=self.server,
            texts=self.texts,
            rules=staffing.in_force(self.rules, await staff.changes(self.database)),
            key=b"t" * 32,
            now=self.now,
            bookkeeping=Bookkeeping(),
            privacy=self.privacy,
            registrar=self.server if self.has_registrar else None,
            ledger=Ledger(ME, b"l" * 32),
            suppression_key=b"s" * 32,
        )
        self.around.ledger.agrees = self.agrees
        if self.privacy:
            async with self.database.transaction() as tx:
                assert not await privacy_texts.register(tx, self.privacy.texts.values(), self.now())

    def rule(self, **changed: Any) -> None:
        """Decide otherwise than `RULES`, from now on and after a restart."""
        self.rules = replace(self.rules, **changed)
        self.around = replace(self.around, rules=self.rules)

    async def close(self) -> None:
        await self.database.close()

    async def restart(self) -> None:
        await self.close()
        self.server.verifications.clear()  # they live in the memory of the process
        await self.open()
        await superseding.bring_up_to_date(self.around)
        await verifying.end_forgotten(self.around)

    async def set_up(self) -> None:
        await house.set_up(self.around)

    async def run(self) -> None:
        """Let the worker do everything that can be done now. A crash comes out as `Crash`."""
        dispatch = Dispatch(self.around)
        worker = Worker(self.around, dispatch.handle)
        self.around.bookkeeping.wake = worker.wake

        async def nothing_left() -> bool:
            return not await arrivals.open_lanes(self.database)

        async def finish() -> None:
            await until(nothing_left, what="empty lanes")
            task.cancel()

        task = asyncio.ensure_future(worker.run())
        watch = asyncio.ensure_future(finish())
        try:
            await task
        except asyncio.CancelledError:
            return
        except BaseExceptionGroup as group:
            raise _innermost(group) from group
        finally:
            self.around.bookkeeping.wake = lambda lanes: None
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)

    async def passes(self, **delta: float) -> None:
        """Time passes, and what falls due meanwhile is done."""
        await self._falls_due(**delta)
        await self.run()

    async def _falls_due(self, **delta: float) -> None:
        self.later(**delta)
        async with self.database.transaction() as tx:
            await arrivals.wake_due(tx, self.now())

    async def take_in(self, *updates: RoomUpdate) -> None:
        self.sync += 1
        await intake.take_in(self.around, Batch(f"s{self.sync}", updates))

    async def comes(
        self, customer: UserId, *, encrypted: bool = True, others: tuple[UserId, ...] = (), unhurried: bool = True
    ) -> RoomId:
        """A customer makes a room and invites the bot; the bot has it in its tables but has not worked yet.

        `unhurried`: their client has had the time to learn whose device we are.
        """
        room_id = RoomId(f"!chat{next(self.server.numbers)}")
        people = {customer: "join", ME: "join"} | dict.fromkeys(others, "join")
        self.server.rooms[room_id] = FakeRoom(room_id, people, encrypted=encrypted)
        member = _state("m.room.member", ME, {"membership": "invite"}, sender=customer)
        await self.take_in(RoomUpdate(room_id, "invite", (member,)))
        await self.take_in(self.joined(room_id, customer))
        if unhurried:
            await self._falls_due(seconds=4)
        return room_id

    async def chat(self, customer: UserId, *, encrypted: bool = True, others: tuple[UserId, ...] = ()) -> RoomId:
        """A customer makes a room and invites the bot; the bot is in it once it has run."""
        room_id = await self.invites(customer, encrypted=encrypted, others=others)
        await self.take_in(self.joined(room_id, customer))
        await self.passes(seconds=4)
        return room_id

    async def invites(self, customer: UserId, *, encrypted: bool = True, others: tuple[UserId, ...] = ()) -> RoomId:
        """A customer makes a room and invites the bot, which does what it does about that."""
        room_id = RoomId(f"!chat{next(self.server.numbers)}")
        people = {customer: "join", ME: "invite"} | dict.fromkeys(others, "join")
        self.server.rooms[room_id] = FakeRoom(room_id, people, encrypted=encrypted)
        member = _state("m.room.member", ME, {"membership": "invite"}, sender=customer)
        await self.take_in(RoomUpdate(room_id, "invite", (member,)))
        await self.run()
        return room_id

    def joined(self, room_id: RoomId, creator: UserId) -> RoomUpdate:
        """What a sync says of a room that the bot has joined."""
        return RoomUpdate(room_id, "join", tuple(self.room_state(room_id, creator)))

    def room_state(self, room_id: RoomId, creator: UserId) -> list[dict[str, Any]]:
        room = self.server.rooms[room_id]
        events = [_state("m.room.create", "", {"room_version": "12"}, sender=creator)]
        if room.encrypted:
            events.append(_state("m.room.encryption", "", {"algorithm": "m.megolm.v1.aes-sha2"}, sender=creator))
        for user, membership in room.members.items():
            events.append(_state("m.room.member", user, {"membership": membership}, sender=user))
        return events

    async def writes(self, sender: UserId, room: RoomId, body: str, **content: Any) -> EventId:
        """Somebody writes; the bot has it in its table but has not worked yet."""
        event = self.server.new_event(room, sender, "m.room.message", {"msgtype": "m.text", "body": body, **content})
        await self.take_in(RoomUpdate(room, "join", timeline=(event,)))
        return EventId(event["event_id"])

    async def take(self, room: RoomId, event: dict[str, Any]) -> None:
        """Let the bot have an event that stands in a room."""
        await self.take_in(RoomUpdate(room, "join", timeline=(event,)))

    async def says(self, sender: UserId, room: RoomId, body: str, **content: Any) -> EventId:
        """Somebody writes and the bot works."""
        event = await self.writes(sender, room, body, **content)
        await self.run()
        return event

    async def joins(self, user: UserId, room: RoomId) -> None:
        self.server.rooms[room].members[user] = "join"
        event = _state("m.room.member", user, {"membership": "join"}, sender=user)
        event["event_id"] = f"$join{next(self.server.numbers)}"
        await self.take_in(RoomUpdate(room, "join", (event,), (event,)))
        await self.passes(seconds=4)

    async def joins_chat(self, user: UserId, room: RoomId) -> None:
        """A further person comes into a customer's chat."""
        self.server.rooms[room].members[user] = "join"
        event = _state("m.room.member", user, {"membership": "join"}, sender=user)
        event["event_id"] = f"$join{next(self.server.numbers)}"
        await self.take_in(RoomUpdate(room, "join", (event,), (event,)))
        await self.run()

    async def case(self, customer: UserId) -> Case:
        customer_id = await rooms.of_user(self.database, customer)
        assert customer_id
        case = await cases.latest_of(self.database, customer_id)
        assert case
        return case

    async def case_room(self, customer: UserId) -> FakeRoom:
        case = await self.case(customer)
        assert case.room_id
        return self.server.rooms[case.room_id]

    def made(self, mark: str) -> list[FakeRoom]:
        return [room for room in self.server.rooms.values() if room.mark == mark]


def _state(event_type: str, state_key: str, content: dict[str, Any], *, sender: UserId) -> dict[str, Any]:
    return {
        "type": event_type,
        "state_key": state_key,
        "content": content,
        "sender": sender,
        "event_id": f"$state-{event_type}-{state_key}-{content.get('membership')}",
    }


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


@asynccontextmanager
async def a_world(folder: Path, *, set_up: bool = True) -> AsyncIterator[World]:
    """A business that is open: its rooms exist, unless told otherwise."""
    world = World(folder)
    await world.open()
    try:
        if set_up:
            await world.set_up()
        yield world
    finally:
        await world.close()


__all__ = ["ANNA", "BERT", "CHEF", "EVA", "JAN", "ME", "Crash", "World", "a_world"]
