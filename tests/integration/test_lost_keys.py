"""The folder is lost, the account is not: a clear stop that leaves nothing behind, and a way back with the recovery key."""

import asyncio
import os
import re
import secrets
import shutil
import sys
from typing import Any

from bot.matrix.e2ee.secret_storage import as_words
from tests.business import Business
from tests.conftest import MakePeer
from tests.waiting import until

Outcome = tuple[int | None, str, str]


async def botschaft(business: Business, *command: str) -> Outcome:
    """Run a command of the shell; returns its exit code and what it complained about and said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bot", *command, "--config", str(business.config)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"COLUMNS": "200"},
    )
    said, complaint = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, complaint.decode(), said.decode()


async def test_a_lost_folder_stops_the_bot_and_leaves_no_device_behind(business: Business, new_peer: MakePeer) -> None:
    anna = await new_peer(await business.account("anna"))
    query: dict[str, Any] = {"device_keys": {business.bot.mxid: []}}
    before = await anna.call("POST", "/_matrix/client/v3/keys/query", query)
    await business.stop()
    shutil.move(business.data, business.folder / "kept")

    code, complaint, _ = await botschaft(business, "run")

    assert code == 1
    assert "cross-signing identity that is not in this key store" in complaint
    assert await anna.call("POST", "/_matrix/client/v3/keys/query", query) == before
    assert (await botschaft(business, "device", "status"))[0] == 1

    shutil.rmtree(business.data)
    shutil.move(business.folder / "kept", business.data)
    assert (await botschaft(business, "device", "status"))[:2] == (0, "")
    await business.start()


async def test_another_device_of_the_account_is_named(business: Business, new_peer: MakePeer) -> None:
    await new_peer(business.bot)
    code, complaint, _ = await botschaft(business, "device", "status")
    assert code == 1
    assert "Other devices are logged in" in complaint


async def test_a_server_that_does_not_answer_is_said_at_once(business: Business) -> None:
    await business.stop()
    business.url = "http://127.0.0.1:9"
    business.write()
    code, complaint, _ = await botschaft(business, "device", "status")
    assert code == 1
    assert "does not answer" in complaint
    business.url = ""
    await business.start()


WORDS = re.compile(r"^ {4}((?:\w{4} ){11}\w{4})$", re.MULTILINE)
QUERY_KEYS = "/_matrix/client/v3/keys/query"


async def recovery_key(business: Business) -> str:
    """Stop the bot, have it make its recovery key, and start it again."""
    await business.stop()
    code, complaint, said = await botschaft(business, "device", "sign")
    assert code == 0, complaint
    found = WORDS.search(said)
    assert found, said
    again = await botschaft(business, "device", "sign")
    assert again[0] == 0
    assert not WORDS.search(again[2])
    await business.start()
    return found[1]


async def recover(business: Business, words: str) -> Outcome:
    file = business.folder / "recovery.key"
    file.write_text(words)
    return await botschaft(business, "device", "recover", "--yes", "--key-file", str(file))


async def everything_is_backed_up(business: Business) -> None:
    async def done() -> bool:
        return "Not backed up: 0 " in (await botschaft(business, "device", "status"))[2]

    await until(done, timeout_s=60, what="a complete backup")


async def test_a_lost_disk_is_made_good_with_the_recovery_key_alone(business: Business, new_peer: MakePeer) -> None:
    """Everything but the configuration, the password and the paper is gone; the master secret is a new one."""
    anna = await new_peer(await business.account("anna"), cross_sign=True)
    jan = await new_peer(business.people["jan"], cross_sign=True)
    chat = await anna.start_chat(business.bot.mxid)
    await anna.text(chat, "vor dem Brand")
    old_case = (await jan.wait_for(lambda s: s.body == "vor dem Brand", 40)).room_id
    await jan.text(old_case, "Antwort vor dem Brand")
    await anna.wait_for(lambda s: s.body == "Antwort vor dem Brand", 40)
    words = await recovery_key(business)
    await everything_is_backed_up(business)
    shown = (await anna.call("POST", QUERY_KEYS, {"device_keys": {business.bot.mxid: []}}))["master_keys"]
    rooms_before = set(await jan.rooms())
    await business.kill()
    await anna.text(chat, "während des Brandes")
    shutil.rmtree(business.data)
    (business.folder / "master.secret").write_text(secrets.token_hex(32))

    wrong = await recover(business, as_words(bytes(32)))
    assert wrong[0] == 1
    assert "not the one of the bot's account" in wrong[1]
    code, complaint, said = await recover(business, words)
    assert code == 0, complaint
    assert "which case belongs to whom is lost" in said
    assert "1 old devices removed" in said
    await business.start()

    late = await jan.wait_for(lambda s: "während des Brandes" in s.body, 60)
    assert late.room_id != old_case
    await jan.text(late.room_id, "Antwort nach dem Brand")
    await anna.wait_for(lambda s: s.body == "Antwort nach dem Brand", 40)
    await jan.text(old_case, "ins Leere")
    await jan.wait_for(lambda s: s.room_id == old_case and "vor einem Datenverlust" in s.body, 40)
    after = await anna.call("POST", QUERY_KEYS, {"device_keys": {business.bot.mxid: []}})
    assert [key["keys"] for key in after["master_keys"].values()] == [key["keys"] for key in shown.values()]
    assert len(after["device_keys"][business.bot.mxid]) == 1
    assert set(await jan.rooms()) - rooms_before == {late.room_id}
    assert [s.body for s in anna.seen].count("Antwort vor dem Brand") == 1
    assert not [s for s in jan.seen if s.room_id == late.room_id and "vor dem Brand" in s.body]


async def test_a_key_store_that_is_an_old_copy_is_replaced_and_nothing_is_sent_twice(
    business: Business, new_peer: MakePeer
) -> None:
    anna = await new_peer(await business.account("anna"), cross_sign=True)
    jan = await new_peer(business.people["jan"], cross_sign=True)
    words = await recovery_key(business)
    await business.stop()
    shutil.copytree(business.data, business.folder / "old")
    await business.start()
    chat = await anna.start_chat(business.bot.mxid)
    await anna.text(chat, "eins")
    case = (await jan.wait_for(lambda s: s.body == "eins", 40)).room_id
    await everything_is_backed_up(business)
    await business.stop()
    for file in (business.folder / "old").glob("keys.db*"):
        shutil.copy(file, business.data / file.name)

    code, complaint, _ = await botschaft(business, "run")
    assert code == 1
    assert "old copy" in complaint
    code, complaint, said = await recover(business, words)
    assert code == 0, complaint
    assert "which case belongs to whom is lost" not in said
    await business.start()
    await anna.text(chat, "zwei")

    assert (await jan.wait_for(lambda s: s.body == "zwei", 40)).room_id == case
    assert [s.body for s in jan.seen if s.room_id == case].count("eins") == 1


async def test_a_new_identity_when_the_recovery_key_is_lost_too(business: Business, new_peer: MakePeer) -> None:
    anna = await new_peer(await business.account("anna"), cross_sign=True)
    before = await anna.call("POST", QUERY_KEYS, {"device_keys": {business.bot.mxid: []}})
    await business.kill()
    shutil.rmtree(business.data)
    code, complaint, said = await botschaft(business, "device", "reset-identity", "--yes")
    assert code == 0, complaint
    assert WORDS.search(said)
    assert "will warn" in said
    assert (await botschaft(business, "device", "sign"))[0] == 0
    after = await anna.call("POST", QUERY_KEYS, {"device_keys": {business.bot.mxid: []}})
    assert after["master_keys"][business.bot.mxid]["keys"] != before["master_keys"][business.bot.mxid]["keys"]
