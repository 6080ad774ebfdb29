"""The doctor on a real server: well beside a bot that serves, and each thing that goes wrong is found and named."""

import asyncio
import os
import shutil
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bot import diagnosis
from bot.app import stored
from bot.demo.peer import Peer
from bot.demo.synapse import LocalSynapse
from bot.domain.arrival import ItemKind
from bot.domain.finding import Finding, Grade
from bot.domain.ids import ItemId, Lane, RoomId, UserId
from bot.matrix.admin import UNLIMITED, Admin
from bot.matrix.transport import Transport
from bot.resources import resource_dir
from bot.store import arrivals, facts
from bot.store.database import utc_now
from tests.business import Business, a_business
from tests.conftest import MakePeer, MakeSynapse, MakeUser
from tests.waiting import until


async def botschaft(business: Business, *command: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bot", *command, "--config", str(business.config)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=os.environ | {"COLUMNS": "200", "PYTHONWARNINGS": "error"},
    )
    said, _ = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, said.decode()


async def found(business: Business, **choices: Any) -> dict[str, Finding]:
    """Return what the doctor finds that is not well, by the ids of the sentences."""
    findings = await diagnosis.diagnose(business.config, **choices)
    return {f.text.removeprefix("doctor."): f for f in findings if f.grade is not Grade.WELL}


ALWAYS = {"hardening.not_shown", "limits.not_shown", "archive.never", "deletion.by_hand"}
"""What is worth knowing on our test server though all is well."""


async def everybody_is_there(business: Business, new_peer: MakePeer) -> Peer:
    """All of the team log in, accept the invitations, and are known with their signed devices; returns the admin."""
    people = [await new_peer(business.people[name]) for name in ("chef", "jan", "eva")]
    anna = await new_peer(await business.account("anna"))
    await anna.text(await anna.start_chat(business.bot.mxid), "Hallo")
    for person in people[1:]:
        await person.wait_for(lambda s: s.body == "Hallo", 40)
    return people[0]


async def test_a_bot_that_serves_well_is_well(business: Business, new_peer: MakePeer) -> None:
    chef = await everybody_is_there(business, new_peer)
    assert set(await found(business)) == ALWAYS | {"backup.no_recovery_key"}

    await business.stop()
    code, said = await botschaft(business, "device", "sign")
    assert code == 0, said
    await business.start()
    await until(lambda: _is_backed_up(business), what="the key backup")
    code, said = await botschaft(business, "doctor")

    assert code == 0, said
    assert "All is well." in said
    assert "Both databases are whole." in said
    assert "comes back from the server readable" in said

    async with stored(business.settings()) as database, database.transaction() as tx:
        await facts.put(tx, facts.LAST_BACKUP, utc_now().isoformat())
    admin_room = (await chef.wait_for(lambda s: "Wiederherstellungs" in s.body, 40)).room_id
    await chef.text(admin_room, "!arzt")
    answer = await chef.wait_for(lambda s: s.body.startswith("🩺"), 60)
    assert answer.body.startswith("🩺 Alles in Ordnung."), answer.body
    assert "✓ Datensicherung: Die letzte Datensicherung ist 0 Tage alt." in answer.body
    assert answer.encrypted


async def _is_backed_up(business: Business) -> bool:
    return "backup.behind" not in await found(business)


async def test_what_is_wrong_with_the_house_is_found(business: Business, new_peer: MakePeer) -> None:
    stranger = await new_peer()
    jan = await new_peer(business.people["jan"], cross_sign=False)
    await new_peer(business.bot, cross_sign=False)  # somebody knows the password
    places = {}
    async with stored(business.settings()) as database, database.transaction() as tx:
        places = {name: RoomId(room) async for name, room in _places(tx)}
        await arrivals.add(
            tx,
            item_id=ItemId("$stuck"),
            lane=Lane("room:!x"),
            room=RoomId("!x"),
            kind=ItemKind.EVENT,
            sender=UserId(jan.user_id),
            sent_at=utc_now(),
            arrived_at=utc_now(),
            body={},
            due_at=utc_now() + timedelta(days=9),
        )
        item = await arrivals.get(tx, "$stuck")
        assert item
        await arrivals.park(tx, item, "test")
        await facts.put(tx, facts.LAST_BACKUP, (utc_now() - timedelta(days=30)).isoformat())
        await tx.run("UPDATE places SET room_id = NULL WHERE name = 'space'")
    business.members.remove(business.people["eva"].mxid)
    business.admins.append(stranger.user_id)
    business.write()

    wrong = await found(business)

    assert places["space"]
    assert {"items.parked", "archive.old", "device.other_devices", "backup.no_recovery_key"} <= set(wrong)
    assert {"rooms.not_made", "rooms.not_invited", "rooms.nobody_there", "team.unsigned"} <= set(wrong)
    assert wrong["rooms.not_invited"].values["users"] == stranger.user_id
    assert wrong["items.parked"].values == {"count": "1"}
    assert jan.user_id in wrong["team.unsigned"].values["users"]
    code, said = await botschaft(business, "doctor")
    assert code == 1
    assert "1 messages are stuck and need a human." in said


async def _places(tx: Any) -> Any:
    for name, room in await tx.all("SELECT name, room_id FROM places"):
        yield name, room


async def test_a_wrong_clock_is_found(business: Business) -> None:
    wrong = await found(business, now=lambda: utc_now() - timedelta(minutes=3))
    assert 178 <= int(wrong["clock.off"].values["seconds"]) <= 182


async def test_a_bot_that_does_not_run_and_a_server_that_is_away(business: Business) -> None:
    await business.stop()
    (business.data / "heartbeat").unlink()
    assert "serving.not_running" in await found(business)

    business.url = "http://127.0.0.1:9"
    business.write()
    findings = await diagnosis.diagnose(business.config)
    assert {f.area for f in findings if f.grade is Grade.BLIND} >= {"clock", "server", "hardening", "rooms"}
    assert next(f for f in findings if f.text == "doctor.items.well").grade is Grade.WELL, "tables need no server"
    assert (await botschaft(business, "doctor"))[0] == 1


async def test_another_master_secret_is_found_and_nothing_is_touched(business: Business) -> None:
    await business.stop()
    secret = business.folder / "master.secret"
    secret.write_text("0" * 64)
    before = {file.name: file.read_bytes() for file in business.data.glob("*.db")}

    code, said = await botschaft(business, "doctor")

    assert code == 1
    assert "belongs to another master secret" in said
    assert "Traceback" not in said
    assert {file.name: file.read_bytes() for file in business.data.glob("*.db")} == before


@pytest.mark.parametrize("name", ["botschaft.db", "keys.db"])
async def test_a_missing_file_is_found_and_no_other_is_made_in_its_place(business: Business, name: str) -> None:
    await business.stop()
    (business.data / name).unlink()

    wrong = await found(business)

    assert wrong["databases.damaged"].values == {"file": name, "damage": "there is no such file"}
    assert f"{name} is missing" in wrong["stopped"].values["reason"]
    assert not (business.data / name).exists()


async def test_a_bot_that_never_got_through_a_start_is_not_called_damaged(business: Business) -> None:
    await business.stop()
    (business.data / "keys.db").unlink()
    async with stored(business.settings()) as database, database.transaction() as tx:
        await facts.remove(tx, facts.DEVICE_ID)

    wrong = await found(business)

    assert "serving.never" in wrong
    assert "databases.damaged" not in wrong


async def test_a_program_that_is_newer_than_the_running_bot_leaves_the_database_as_it_is(
    business: Business, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    resources = tmp_path / "newer"
    shutil.copytree(resource_dir("migrations"), resources / "migrations")
    shutil.copytree(resource_dir("config"), resources / "config")
    number = len(list((resources / "migrations").glob("*.sql")))
    (resources / "migrations" / f"{number + 1:04d}_more.sql").write_text("CREATE TABLE more (x TEXT) STRICT;")
    monkeypatch.setattr(diagnosis, "resource_dir", lambda name: resources / name)

    wrong = await found(business)

    assert f"of version {number}, this program makes it {number + 1}" in wrong["stopped"].values["reason"]
    async with stored(business.settings(), as_it_is=True) as database:
        assert await database.version() == number


@pytest.mark.parametrize("name", ["botschaft.db", "keys.db"])
async def test_a_damaged_database_is_found_and_stops_the_bot_with_a_sentence(business: Business, name: str) -> None:
    await business.stop()
    file = business.data / name
    content = bytearray(file.read_bytes())
    assert len(content) > 3 * 4096
    for page in range(1, len(content) // 4096):
        content[page * 4096 + 2000] ^= 1
    file.write_bytes(content)

    wrong = await found(business)
    assert wrong["databases.damaged"].values["file"] == name

    code, said = await botschaft(business, "run")
    assert code == 1, said
    assert "Traceback" not in said
    assert "This is a fault of Botschaft itself" not in said


async def test_a_missing_override_is_found_with_an_admin_token(
    business: Business, synapse: LocalSynapse, new_user: MakeUser
) -> None:
    root = await new_user("root", admin=True)
    transport = Transport(synapse.url)
    who = {"type": "m.id.user", "user": root.localpart}
    body = {"type": "m.login.password", "identifier": who, "password": root.password}
    token = str((await transport.call("POST", "/_matrix/client/v3/login", body))["access_token"])
    await transport.close()
    file = business.folder / "admin.token"
    file.write_text(token)
    file.chmod(0o600)
    business.homeserver = 'sync_timeout_s = 10\nadmin_token_file = "admin.token"'
    business.write()
    assert "limits.missing" in await found(business)

    admin = Admin(synapse.url, token)
    await admin.set_rate_limit(UserId(business.bot.mxid), UNLIMITED)
    await admin.close()
    assert not [text for text in await found(business) if text.startswith("limits.")]

    file.write_text("made up")
    assert "limits.refused" in await found(business)
    file.chmod(0o644)
    assert "configuration.problem" in await found(business)


async def test_an_open_server_is_found(own_synapse: MakeSynapse, tmp_path: Path) -> None:
    """Before the bot was ever started: what can be seen from outside is looked at all the same."""
    server = await own_synapse(
        settings={
            "enable_registration": True,
            "enable_registration_without_verification": True,
            "allow_public_rooms_without_auth": True,
            "password_config": {"enabled": False},
            "extra_well_known_client_content": {"io.element.e2ee": {"default": False}},
        }
    )
    business = await a_business(server, tmp_path)
    business.write()
    business.data.mkdir()

    wrong = await found(business)

    assert {"hardening.registration_open", "hardening.rooms_listed", "serving.never"} <= set(wrong)
    assert {"hardening.no_password_login"} <= set(wrong)
    assert (await botschaft(business, "doctor"))[0] == 1
    assert list(business.data.iterdir()) == []
