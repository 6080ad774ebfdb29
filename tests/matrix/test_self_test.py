"""Our keys tried on ourselves: whatever is wrong is told apart, and nothing of the key store moves."""

from typing import Any

import vodozemac

from bot.domain.ids import RoomId
from bot.matrix.e2ee.trust import Policy
from tests.matrix.conftest import Meet
from tests.matrix.keyserver import Person, person

BOT, ANNA = "@bot:example.org", "@anna:example.org"
ROOM = RoomId("!room:example.org")
Json = dict[str, Any]


def everything(bot: Person) -> dict[str, list[Any]]:
    """Return every row of the key store."""
    database = bot.keys._store.database
    tables = [row[0] for row in database.execute_sql("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()]
    return {table: database.execute_sql(f"SELECT * FROM {table}").fetchall() for table in tables}


async def said(bot: Person) -> Json:
    content = await bot.keys.seal(ROOM, [], "m.room.message", {"body": "Hallo"}, full_history=True)
    return {"event_id": "$x", "sender": BOT, "content": content}


async def test_all_is_well_and_nothing_moves(encounter: Meet) -> None:
    bot = await encounter(BOT)
    event = await said(bot)
    before, left = everything(bot), await bot.keys.self_test.one_time_keys_left()

    assert await bot.keys.self_test.fault_for_strangers() == ""
    assert bot.keys.self_test.opens(ROOM, event)
    assert everything(bot) == before
    assert await bot.keys.self_test.one_time_keys_left() == left - 1


async def test_a_server_without_keys_of_ours(encounter: Meet) -> None:
    bot = await encounter(BOT)
    server = bot.client.server
    server.one_time[BOT, "DEV"].clear()
    assert await bot.keys.self_test.fault_for_strangers() == "", "the fallback key is there"
    server.fallback.clear()
    assert await bot.keys.self_test.fault_for_strangers() == "no_key"
    assert await bot.keys.self_test.one_time_keys_left() == 0


async def test_keys_of_somebody_else(encounter: Meet) -> None:
    bot, anna = await encounter(BOT), await encounter(ANNA)
    server = bot.client.server
    server.one_time[BOT, "DEV"] = dict(server.one_time[ANNA, "DEV"])
    assert await bot.keys.self_test.fault_for_strangers() == "signature"
    assert anna


async def test_keys_that_an_old_copy_of_the_folder_does_not_hold(encounter: Meet) -> None:
    """The server hands out what the lost, newer key store had made."""
    bot = await encounter(BOT)
    key = {"key": vodozemac.Account().curve25519_key.to_base64()}
    machine = bot.keys._machine
    signed = key | {"signatures": {BOT: {"ed25519:DEV": machine.sign_json(key)}}}
    bot.client.server.one_time[BOT, "DEV"] = {"signed_curve25519:AAAA": signed}
    assert await bot.keys.self_test.fault_for_strangers() == "private_key"


async def test_words_that_cannot_be_read_back(encounter: Meet) -> None:
    bot = await encounter(BOT)
    event = await said(bot)
    content = event["content"]
    test = bot.keys.self_test

    assert not test.opens(RoomId("!other:example.org"), event)
    assert not test.opens(ROOM, {"content": content | {"session_id": "unknown"}})
    assert not test.opens(ROOM, {"content": content | {"ciphertext": "AAAA"}})
    assert not test.opens(ROOM, {"content": content | {"algorithm": "m.other"}})


async def test_a_device_that_lost_its_signature_is_told_apart(encounter: Meet) -> None:
    bot = await encounter(BOT)
    status = await bot.keys.status()
    assert (status.faults, status.backup_version, status.backup_is_ours) == ({}, "1", True)

    server = bot.client.server
    server.devices[BOT]["DEV"]["signatures"] = {}
    assert set((await bot.keys.status()).faults) == {"unsigned"}
    keys = server.devices[BOT]["DEV"]["keys"]
    server.devices[BOT]["DEV"]["keys"] = dict.fromkeys(keys, "x")
    assert set((await bot.keys.status()).faults) == {"other_keys", "unsigned"}
    server.devices[BOT]["OTHER"] = server.devices[BOT].pop("DEV")
    assert set((await bot.keys.status()).faults) == {"unknown", "other_devices"}
    server.backups[BOT]["auth_data"]["public_key"] = "x"
    assert not (await bot.keys.status()).backup_is_ours
    server.backups[BOT].clear()
    assert (await bot.keys.status()).backup_version is None


async def test_members_of_the_team_who_cannot_be_believed(encounter: Meet) -> None:
    bot, anna = await encounter(BOT), await encounter(ANNA)
    bot.keys.close()
    policy = Policy(frozenset({ANNA, "@eva:example.org"}))
    again = person(bot.client.server, bot.path, BOT, "DEV", policy)
    bot.keys = again.keys
    await bot.keys.start()
    assert bot.keys.staff_faults() == {"unsigned": [ANNA, "@eva:example.org"]}

    await bot.keys.confirm_identity(anna.user)
    assert bot.keys.staff_faults() == {"unsigned": ["@eva:example.org"]}

    await anna.keys.replace_identity("password")
    await anna.keys.start()
    await bot.keys._devices.query([ANNA])
    assert bot.keys.staff_faults() == {"changed": [ANNA], "unsigned": ["@eva:example.org"]}
