"""Privacy texts on a real homeserver: what a client decrypts is what is on record, and nothing else is ever shown."""

import asyncio
import os
import sys

from bot.demo.peer import Peer, Seen
from bot.domain.purpose import digest
from bot.domain.secrets import Purpose, derive
from bot.store import privacy_texts
from bot.store.database import Database
from tests.business import CONTROLLER, Business
from tests.conftest import MakePeer


async def arrived(peer: Peer, business: Business, text: str) -> Seen:
    return await peer.wait_for(lambda s: s.sender == business.bot.mxid and text in s.body and s.encrypted, 40)


async def refused(business: Business) -> str:
    """Start the bot, which must end with a sentence."""
    business.write()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bot", "run", "--config", str(business.config)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=os.environ | {"PYTHONWARNINGS": "error"},
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1, output.decode()
    return output.decode()


async def words_on_record(business: Business, sha256: str) -> str | None:
    key = derive(business.settings().storage.master_secret(), Purpose.DATABASE)
    database = await Database.open(business.data / "botschaft.db", key=key, migrations=None)
    try:
        return await privacy_texts.by_hash(database, sha256)
    finally:
        await database.close()


async def test_ac_08_what_a_customer_reads_is_on_record_and_never_changes_under_its_version(
    business: Business, new_peer: MakePeer
) -> None:
    anna = await new_peer(await business.account("anna"))
    chat = await anna.start_chat(business.bot.mxid)
    await anna.text(chat, "!privacy")
    await anna.text(chat, "!impressum")
    overview = await arrived(anna, business, "Your data at Werkstatt Müller GmbH")
    imprint = await arrived(anna, business, "Geschäftsführung: Eva Müller")
    assert await business.stop() == 0

    for seen in (overview, imprint):
        assert await words_on_record(business, digest(seen.body)) == seen.body

    business.controller = CONTROLLER.replace("Telefon 01234 567890", "Telefon 09876 54321")
    said = await refused(business)
    assert "first_contact.de: other words have been version 2.1 since" in said
    assert "Raise privacy.edition" in said
    assert "Traceback" not in said
    business.extra += "[privacy]\nedition = 2\n"
    await business.start()
    await anna.text(chat, "!imprint")
    assert "(version 1.2)" in (await arrived(anna, business, "Telefon 09876 54321")).body


async def test_without_a_controller_messages_are_carried_and_the_admins_are_told(
    business: Business, new_peer: MakePeer
) -> None:
    assert await business.stop() == 0
    business.controller = ""
    await business.start()
    anna, jan = await new_peer(await business.account("anna")), await new_peer(business.people["jan"])
    chef = await new_peer(business.people["chef"])

    await anna.text(await anna.start_chat(business.bot.mxid), "!datenschutz")

    await arrived(jan, business, "!datenschutz")
    await arrived(chef, business, "[controller]")
