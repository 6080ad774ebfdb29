"""The anchor in the admin room: an older or another ledger does not start, and nobody can take the anchor away unseen.

T5 of the threat model (a backup that was put back, by accident or on purpose) is here.
"""

import asyncio
import contextlib
import shutil
from typing import Any

import pytest

from bot.domain.errors import BotschaftError, Fatal, Refused, Transient
from bot.domain.ids import CustomerId, RoomId
from bot.domain.ledger.entries import Entry, LedgerKind
from bot.domain.ledger.notes import Signer
from bot.flows import anchoring
from bot.flows.anchoring import ANCHOR
from bot.flows.bookkeeping import ANCHOR_EVERY, Bookkeeper
from bot.store import ledger, rooms
from tests.flows.world import ANNA, World
from tests.waiting import until

ORIGIN = "example.org/werkstatt/ledger"


@pytest.fixture(autouse=True)
def _nothing_else_on_record(world: World) -> None:
    """A start puts new texts into the ledger; here only what a test appends counts."""
    world.privacy = None


async def append(world: World, count: int = 1, **details: Any) -> Entry:
    for _ in range(count):
        async with world.database.transaction() as tx:
            at = world.now()
            entry = await ledger.append(tx, LedgerKind.GIVEN, {"user": ANNA, **details}, subject=CustomerId("c"), at=at)
    return entry


async def keep(world: World, name: str) -> None:
    """Make a copy of the database, as a backup would."""
    await world.close()
    shutil.copy(world.folder / "botschaft.db", world.folder / name)
    await world.open()


async def put_back(world: World, name: str | None) -> None:
    """Put a copy in the place of the database; None: there is none, everything begins anew but the admin room's id."""
    admin = await rooms.place(world.database, "admin")
    await world.close()
    (world.folder / "botschaft.db").unlink()
    if name:
        shutil.copy(world.folder / name, world.folder / "botschaft.db")
    await world.open()
    async with world.database.transaction() as tx:
        await rooms.make_place(tx, "admin")
        assert admin
        await rooms.set_place(tx, "admin", admin)


async def anchored(world: World, count: int = 1) -> None:
    await anchoring.check(world.around)
    await append(world, count)
    assert await anchoring.keep_up(world.around)


async def admin_room(world: World) -> RoomId:
    room = await rooms.place(world.database, "admin")
    assert room
    return room


async def state(world: World, origin: str = ORIGIN) -> dict[str, Any]:
    return world.server.rooms[await admin_room(world)].state[ANCHOR, origin]


async def size_there(world: World, origin: str = ORIGIN) -> int:
    return int((await state(world, origin))["checkpoint"].split("\n")[1])


async def test_an_empty_ledger_agrees_and_writes_nothing(world: World) -> None:
    await anchoring.check(world.around)
    assert await anchoring.keep_up(world.around)
    assert world.around.ledger.agrees
    assert not [key for key in world.server.rooms[await admin_room(world)].state if key[0] == ANCHOR]


async def test_the_anchor_follows_the_ledger_and_names_nobody(world: World) -> None:
    await anchored(world, 3)
    assert await size_there(world) == 3
    await anchored(world, 2)
    assert await size_there(world) == 5
    calls = len(world.server.calls)
    assert await anchoring.keep_up(world.around)
    assert len(world.server.calls) == calls, "nothing grew, nothing is written"
    assert set(await state(world)) == {"checkpoint"}
    signer = await world.around.ledger.signer(world.database)
    assert signer.verifier.opened((await state(world))["checkpoint"]).size == 5
    assert ANNA not in str(await state(world))


async def test_a_start_with_the_same_ledger_agrees(world: World) -> None:
    await anchored(world, 3)
    await append(world)
    await world.restart()
    await anchoring.check(world.around)
    assert world.around.ledger.agrees


async def test_t5_an_older_ledger_is_refused_and_says_what_to_do(world: World) -> None:
    await anchored(world, 3)
    await keep(world, "yesterday")
    await anchored(world, 2)
    await put_back(world, "yesterday")
    calls = len(world.server.calls)
    with pytest.raises(
        Fatal, match=r"here has 3 entries, its anchor in the admin room says 5.*newest backup.*accept-loss"
    ):
        await anchoring.check(world.around)
    assert not world.around.ledger.agrees
    assert len(world.server.calls) == calls


async def test_t5_an_empty_database_is_refused(world: World) -> None:
    await anchored(world, 3)
    await put_back(world, None)
    with pytest.raises(Fatal, match="here has 0 entries"):
        await anchoring.check(world.around)


async def test_t6_a_forked_ledger_is_refused(world: World) -> None:
    await anchored(world, 3)
    await keep(world, "yesterday")
    await anchored(world, 2)
    await put_back(world, "yesterday")
    await append(world, 9)
    with pytest.raises(Fatal, match="among the first 5 entries something else stood"):
        await anchoring.check(world.around)


UNREADABLE = [
    *({}, {"checkpoint": None}, {"checkpoint": "x"}, {"checkpoint": {"a": 1}}),
    {"checkpoint": Signer.from_seed(ORIGIN, b"x" * 32).sign(1, bytes(32)).note},
    {"checkpoint": Signer.from_seed("example.org/other/ledger", b"l" * 32).sign(1, bytes(32)).note},
]


@pytest.mark.parametrize("content", UNREADABLE)
async def test_what_is_no_anchor_of_ours_closes_permits_and_stays_as_it_is(
    world: World, content: dict[str, Any]
) -> None:
    await anchored(world, 3)
    world.server.rooms[await admin_room(world)].state[ANCHOR, ORIGIN] = content
    await world.restart()
    await anchoring.check(world.around)
    assert not world.around.ledger.agrees
    await append(world)
    assert not await anchoring.keep_up(world.around)
    assert await state(world) == content, "it is evidence"


async def test_an_anchor_that_was_there_and_is_gone_closes_permits(world: World) -> None:
    await anchored(world, 3)
    del world.server.rooms[await admin_room(world)].state[ANCHOR, ORIGIN]
    await world.restart()
    await anchoring.check(world.around)
    assert not world.around.ledger.agrees
    assert not await anchoring.keep_up(world.around)


@pytest.mark.parametrize("error", [Transient("down"), Refused("no", code="M_FORBIDDEN", status=403)])
async def test_an_anchor_that_cannot_be_read_now_is_read_later(world: World, error: BotschaftError) -> None:
    await anchored(world, 3)
    await world.restart()
    world.server.unreadable_state = error
    await anchoring.check(world.around)
    assert not world.around.ledger.agrees
    assert not await anchoring.keep_up(world.around)
    world.server.unreadable_state = None
    assert await anchoring.keep_up(world.around)
    assert world.around.ledger.agrees


async def test_a_fork_that_is_seen_later_stops_the_process(world: World) -> None:
    await anchored(world, 3)
    await put_back(world, None)
    world.server.unreadable_state = Transient("down")
    await anchoring.check(world.around)
    world.server.unreadable_state = None
    with pytest.raises(Fatal, match="here has 0 entries"):
        await anchoring.keep_up(world.around)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_crash_while_the_anchor_is_written_is_made_good(world: World, when: Any) -> None:
    await anchoring.check(world.around)
    await append(world, 3)
    world.server.fail_at(1, when, Transient("cut"))
    with pytest.raises(Transient):
        await anchoring.keep_up(world.around)
    await world.restart()
    await append(world, 1)
    await anchoring.check(world.around)
    assert await anchoring.keep_up(world.around)
    assert await size_there(world) == 4


async def test_a_loss_that_is_accepted_goes_on_record_under_another_name(world: World) -> None:
    await anchored(world, 3)
    await keep(world, "yesterday")
    await anchored(world, 2)
    lost = await state(world)
    await put_back(world, "yesterday")
    entry = await anchoring.accept_loss(world.around)

    assert entry.fact
    assert entry.fact.kind is LedgerKind.RESTORED
    assert {name: entry.fact.details[name] for name in ("log", "size", "anchored_size")} == {
        **{"log": ORIGIN, "size": 3, "anchored_size": 5},
    }
    assert await state(world) == lost, "the old anchor stays"
    assert await size_there(world, f"{ORIGIN}/2") == 4
    await world.restart()
    await anchoring.check(world.around)
    assert world.around.ledger.agrees
    signer = await world.around.ledger.signer(world.database)
    report = await ledger.audited(world.database, signer.verifier)
    assert (report.is_clean, report.restored) == (True, (3,))


async def test_a_second_loss_takes_a_third_name(world: World) -> None:
    await anchored(world, 3)
    for epoch in (2, 3):
        await put_back(world, None)
        with pytest.raises(Fatal):
            await anchoring.check(world.around)
        await anchoring.accept_loss(world.around)
        assert await ledger.epoch(world.database) == epoch
        assert await size_there(world, f"{ORIGIN}/{epoch}") == 1


async def test_where_nothing_was_lost_nothing_is_accepted(world: World) -> None:
    await anchored(world, 3)
    with pytest.raises(Fatal, match="no loss to accept"):
        await anchoring.accept_loss(world.around)
    assert await ledger.size(world.database) == 3


async def test_a_missing_anchor_is_accepted_by_a_human_only(world: World) -> None:
    await anchored(world, 3)
    del world.server.rooms[await admin_room(world)].state[ANCHOR, ORIGIN]
    entry = await anchoring.accept_loss(world.around)
    assert entry.position == 3
    assert world.around.ledger.agrees


@contextlib.asynccontextmanager
async def bookkeeping(world: World) -> Any:
    keeper = Bookkeeper()
    task = asyncio.ensure_future(keeper.run(world.around))
    try:
        yield keeper
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_many_entries_share_an_anchor(world: World) -> None:
    before = world.server.calls.count("set_state")
    await anchoring.check(world.around)
    await append(world)
    async with bookkeeping(world) as keeper:

        async def has(size: int) -> bool:
            keeper.room_changed(RoomId("!none"))
            there = (ANCHOR, ORIGIN) in world.server.rooms[await admin_room(world)].state
            return there and await size_there(world) == size

        await until(lambda: has(1), what="the first anchor")
        await append(world, 20)
        world.later(seconds=ANCHOR_EVERY.total_seconds() + 1)
        await until(lambda: has(21), what="the second anchor")
    assert world.server.calls.count("set_state") - before == 2


async def test_admins_are_told_that_the_anchor_cannot_be_read(world: World) -> None:
    await anchored(world, 3)
    world.server.rooms[await admin_room(world)].state[ANCHOR, ORIGIN] = {}
    await world.restart()
    await anchoring.check(world.around)

    async def is_told() -> bool:
        await world.run()
        return any("botschaft ledger verify" in text for text in world.server.rooms[await admin_room(world)].texts())

    async with bookkeeping(world):
        await until(is_told, what="an alarm")
