"""The drill for a lost disk: configuration, password and the recovery key on paper are all that is left.

Afterwards every message of twenty rooms opens on the new device, and clients in their strictest mode, which have
verified the bot, go on without a word of warning.
"""

import asyncio
import json
import re
import secrets
import shutil
from collections import defaultdict
from typing import Any

from bot.app import opened
from bot.demo.peer import Peer
from bot.domain.ids import RoomId
from bot.matrix.e2ee.keys import Keys
from bot.matrix.e2ee.opening import Opened
from bot.matrix.messenger import NioMessenger
from tests.business import Business
from tests.conftest import MakePeer
from tests.integration.test_lost_keys import QUERY_KEYS, botschaft, everything_is_backed_up, recover, recovery_key
from tests.interop.conftest import MakeElement
from tests.interop.talk import Talk

Json = dict[str, Any]

OTHERS = 9
"""Customers beside the strict one. Ten customers have twenty rooms: the chat of each, and the room of each case."""

STATUS = re.compile(
    r"Device: +(?P<device>\w+)\nFingerprint: +(?P<fingerprint>[\w+/]{43})\nIdentity: +(?P<identity>[\w+/]{43})\n"
    r"Not backed up: 0 of the conversations' keys\n✓ The server knows this device, and it is signed by the bot's identity.\n"
)


async def status(business: Business) -> re.Match[str]:
    """Return what the shell shows of the bot's device; there must be nothing to complain about."""
    code, complaint, said = await botschaft(business, "device", "status")
    found = STATUS.fullmatch(said)
    assert (code, complaint) == (0, "")
    assert found, said
    return found


async def exchange(customers: dict[str, Peer], strict: Talk, word: str) -> dict[str, str]:
    """Let each customer write and the mechanic answer; returns the case room of each chat."""
    jan = strict.mechanic

    async def ask(chat: str, peer: Peer) -> str:
        text = f"{word} von {peer.user_id}"
        await peer.text(chat, text)
        line = await jan.wait_for(lambda line: line.get("content", {}).get("body") == text, 60)
        await jan.command("text", room_id=line["room_id"], body=f"Antwort: {text}")
        await peer.wait_for(lambda seen: seen.body == f"Antwort: {text}", 60)
        return str(line["room_id"])

    await strict.goes_on()
    cases = await asyncio.gather(*(ask(chat, peer) for chat, peer in customers.items()))
    return dict(zip(customers, cases, strict=True))


async def open_all(keys: Keys, messenger: NioMessenger, me: str, room: str) -> tuple[list[str], dict[bool, set[str]]]:
    """Decrypt everything in a room; returns the texts, and the sessions of others (False) and of our own (True)."""
    texts: list[str] = []
    sessions: defaultdict[bool, set[str]] = defaultdict(set)
    page = await messenger.page_back(RoomId(room), None, limit=500)
    assert page.older is None or len(page.events) < 500
    for event in page.events:
        if event["type"] != "m.room.encrypted":
            continue
        session_id = event["content"]["session_id"]
        session = keys._machine.inbound_group_store.find(session_id)
        assert session is not None, "a key is not back"
        assert session.first_known_index == 0
        payload = json.loads(session.decrypt(event["content"]["ciphertext"])[0])
        texts.append(str(payload["content"].get("body")))
        sessions[event["sender"] == me].add(session_id)
        assert (keys._machine.store.outbound(session_id) is not None) == (event["sender"] == me)
        if event["sender"] != me:
            assert isinstance(await keys.open_event(RoomId(room), event), Opened)
    return texts, sessions


async def test_twenty_rooms_are_back_after_a_lost_disk(
    business: Business, new_peer: MakePeer, element_peer: MakeElement
) -> None:
    bot = business.bot.mxid
    accounts = (await business.account("anna"), business.people["jan"])
    anna, jan = await asyncio.gather(*(element_peer(account, keeps=True) for account in accounts))
    talk = Talk("exclude_insecure", bot, anna, jan, accounts)
    await talk.begin()
    await anna.command("vouch_for", user_id=bot)
    peers = [await new_peer(await business.account("bert"), cross_sign=True) for _ in range(OTHERS)]
    customers = {await peer.start_chat(bot): peer for peer in peers}
    cases = await exchange(customers, talk, "Vorher")
    words = await recovery_key(business)
    await business.kill()  # after which every room has a second session
    await business.start()
    assert await exchange(customers, talk, "Nachher") == cases
    await everything_is_backed_up(business)
    before = await status(business)
    await anna.command("rest")
    await business.kill()

    shutil.rmtree(business.data)
    (business.folder / "master.secret").write_text(secrets.token_hex(32))
    code, complaint, said = await recover(business, words)
    assert code == 0, complaint
    assert "✓ 1 old devices removed from the account." in said

    after = await status(business)
    assert (after["identity"], after["device"] == before["device"]) == (before["identity"], False)
    shown = await peers[0].call("POST", QUERY_KEYS, {"device_keys": {bot: []}})
    assert list(shown["device_keys"][bot]) == [after["device"]]

    rooms = [talk.chat, talk.case, *cases.keys(), *cases.values()]
    assert len(set(rooms)) == 20
    async with opened(business.settings()) as parts:
        messenger = parts.around.messenger
        assert isinstance(messenger, NioMessenger)
        for room in rooms:
            texts, sessions = await open_all(parts.keys, messenger, bot, room)
            assert len(sessions[True]) >= 2
            assert sessions[False]
            if peer := customers.get(room):
                said_there = {f"{word} von {peer.user_id}" for word in ("Vorher", "Nachher")}
                assert said_there | {f"Antwort: {text}" for text in said_there} <= set(texts)

    await business.start()
    await anna.command("restart")
    await everybody_goes_on(talk, after["device"])


async def everybody_goes_on(talk: Talk, device: str) -> None:
    """Strict people write on, see no warning, and none after their clients were started anew either."""
    old_case = talk.case
    text = await talk.writes(talk.customer, talk.chat)
    line = await talk.mechanic.wait_for(lambda line: text in str(line.get("content", {}).get("body")), 60)
    talk.case = line["room_id"]
    await talk.goes_on()
    await asyncio.gather(*(peer.command("restart") for peer in (talk.customer, talk.mechanic)))
    await talk.goes_on()
    talk.case = old_case
    await talk.is_clean()
    for peer in (talk.customer, talk.mechanic):
        opinion = await peer.command("opinion", user_id=talk.bot)
        assert opinion == {"known": True, "verified": True, "needs_approval": False, "devices": {device: True}}
