"""What the doctor says of keys: on a key server in memory, each thing that is wrong."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest_asyncio

from bot.doctor import examine
from bot.doctor.patient import Patient
from bot.domain.ids import RoomId
from bot.matrix.e2ee.trust import Policy
from bot.resources import resource_dir
from bot.store import rooms
from bot.store.database import Database
from tests.doctor.patients import CHEF, JAN, ME, patient
from tests.matrix.keyserver import KeyServer, Person, person

ADMIN_ROOM = RoomId("!admin:example.org")


@dataclass
class Scene:
    """A bot with keys, and what its server shows of the admin room."""

    bot: Person
    patient: Patient
    shown: dict[str, tuple[int, Any]]

    async def words(self, area: str) -> set[str]:
        return {found.text.removeprefix(f"doctor.{area}.") for found in await examine(self.patient, [area])}


@pytest_asyncio.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    bot = person(KeyServer(), tmp_path / "keys.db", ME, "DEV", Policy(frozenset({JAN, CHEF})))
    await bot.keys.start()
    shown: dict[str, tuple[int, Any]] = {}
    async with patient(tmp_path, shown) as bare:
        file = tmp_path / "botschaft.db"
        database = await Database.open(file, key=bytes(32), migrations=resource_dir("migrations"))
        async with database.transaction() as tx:
            await rooms.make_place(tx, "admin")
            await rooms.set_place(tx, "admin", ADMIN_ROOM)
        yield Scene(bot, replace(bare, opened_database=database, opened_keys=bot.keys), shown)
        await database.close()
        bot.keys.close()


async def test_a_device_as_it_should_be(scene: Scene) -> None:
    assert await scene.words("device") == {"well"}


async def test_an_unsigned_device_and_a_stranger_in_the_account(scene: Scene) -> None:
    server = scene.bot.client.server
    server.devices[ME]["DEV"]["signatures"] = {}
    server.devices[ME]["OTHER"] = {}
    server.one_time[ME, "DEV"].clear()
    assert await scene.words("device") == {"unsigned", "other_devices", "few_keys"}


async def test_the_key_backup(scene: Scene) -> None:
    assert await scene.words("backup") == {"no_recovery_key"}
    await scene.bot.keys.make_recovery_key()
    assert await scene.words("backup") == {"well"}
    await scene.bot.keys.seal(ADMIN_ROOM, [], "m.room.message", {"body": "x"}, full_history=True)
    assert await scene.words("backup") == {"behind"}
    scene.bot.client.server.backups[ME]["auth_data"]["public_key"] = "x"
    assert await scene.words("backup") == {"foreign"}
    scene.bot.client.server.backups[ME].clear()
    assert await scene.words("backup") == {"none"}


async def test_the_round_trip(scene: Scene) -> None:
    page = f"GET /_matrix/client/v3/rooms/{ADMIN_ROOM}/messages"
    assert await scene.words("encryption") == {"nothing_said"}
    content = await scene.bot.keys.seal(ADMIN_ROOM, [], "m.room.message", {"body": "x"}, full_history=True)
    others = {"sender": JAN, "content": {"ciphertext": "x"}}
    scene.shown[page] = (200, {"chunk": [others, {"sender": ME, "content": content}]})
    assert await scene.words("encryption") == {"well"}
    scene.shown[page] = (200, {"chunk": [{"sender": ME, "content": content | {"session_id": "x"}}]})
    assert await scene.words("encryption") == {"not_readable"}
    scene.bot.client.server.one_time.clear()
    scene.bot.client.server.fallback.clear()
    assert await scene.words("encryption") == {"strangers"}


async def test_the_team(scene: Scene) -> None:
    assert await scene.words("team") == {"unsigned"}
