"""What the tables tell the doctor."""

import os
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest_asyncio

from bot.doctor import examine
from bot.doctor.patient import Patient
from bot.domain.arrival import ItemKind
from bot.domain.finding import Grade
from bot.domain.ids import ItemId, Lane, RoomId, SessionId, UserId
from bot.resources import resource_dir
from bot.store import arrivals, facts
from bot.store.database import Database, utc_now
from tests.doctor.patients import patient


@pytest_asyncio.fixture
async def looked_at(tmp_path: Path) -> AsyncIterator[Patient]:
    async with patient(tmp_path) as bare:
        file = bare.settings.storage.folder / "botschaft.db"
        database = await Database.open(file, key=bytes(32), migrations=resource_dir("migrations"))
        yield replace(bare, opened_database=database)
        await database.close()


async def words(patient: Patient, area: str) -> dict[str, dict[str, str]]:
    return {finding.text.removeprefix(f"doctor.{area}."): finding.values for finding in await examine(patient, [area])}


async def add(patient: Patient, *names: str) -> None:
    async with patient.database.transaction() as tx:
        for name in names:
            await arrivals.add(
                tx,
                item_id=ItemId(name),
                lane=Lane(name),
                room=RoomId("!x"),
                kind=ItemKind.EVENT,
                sender=UserId("@x:y"),
                sent_at=utc_now(),
                arrived_at=utc_now(),
                body={},
            )


async def test_items(looked_at: Patient) -> None:
    assert await words(looked_at, "items") == {"well": {}}
    await add(looked_at, "parked", "keyless", "waits", "new")
    async with looked_at.database.transaction() as tx:
        items = {name: await arrivals.get(tx, name) for name in ("parked", "keyless", "waits")}
        for name, item in items.items():
            assert item, name
            if name == "parked":
                await arrivals.park(tx, item, "test")
            elif name == "keyless":
                await arrivals.wait_for_key(tx, item, SessionId("s"))
            else:
                await arrivals.wait(tx, item, "which_case", utc_now() + timedelta(days=1))
    assert await words(looked_at, "items") == {
        "parked": {"count": "1"},
        "without_key": {"count": "1"},
        "waiting": {"count": "1"},
    }
    later = replace(looked_at, now=lambda: utc_now() + timedelta(minutes=6))
    assert (await words(later, "items"))["behind"] == {"minutes": "6"}


async def test_the_last_backup(looked_at: Patient) -> None:
    assert await words(looked_at, "archive") == {"never": {}}
    for days, found in ((0, "well"), (7, "well"), (8, "old")):
        async with looked_at.database.transaction() as tx:
            moment = utc_now() - timedelta(days=days) + timedelta(minutes=1)
            await facts.put(tx, facts.LAST_BACKUP, moment.isoformat())
        assert set(await words(looked_at, "archive")) == {found}


async def test_whether_anybody_serves(looked_at: Patient) -> None:
    heartbeat = looked_at.settings.storage.folder / "heartbeat"
    assert await words(looked_at, "serving") == {"not_running": {}}
    heartbeat.touch()
    assert set(await words(looked_at, "serving")) == {"well"}
    os.utime(heartbeat, (time.time() - 500, time.time() - 500))
    assert set(await words(looked_at, "serving")) == {"silent"}


async def test_that_nothing_is_deleted_by_itself_is_said_once_customers_are_told_of_periods(looked_at: Patient) -> None:
    assert looked_at.settings.controller.missing()
    assert await words(looked_at, "deletion") == {}

    filled = dict.fromkeys(looked_at.settings.controller.missing(), "there")
    controller = looked_at.settings.controller.model_copy(update=filled)
    responsible = replace(looked_at, settings=looked_at.settings.model_copy(update={"controller": controller}))
    [finding] = await examine(responsible, ["deletion"])
    assert (finding.text, finding.grade) == ("doctor.deletion.by_hand", Grade.NOTE)
