"""Whatever strangers throw at the bot, over a real server: it goes on, and ordinary messages around it arrive."""

import secrets
from typing import Any

import pytest_asyncio

from bot.demo.peer import Peer
from bot.demo.synapse import LocalSynapse
from tests.business import Business
from tests.conftest import MakePeer
from tests.matrix.keyserver import olm_poison
from tests.waiting import until

Json = dict[str, Any]
CLIENT = "/_matrix/client/v3"


@pytest_asyncio.fixture
async def anna(business: Business, new_peer: MakePeer) -> Peer:
    """A customer."""
    return await new_peer(await business.account("anna"))


async def _bot_device(peer: Peer, bot: str) -> tuple[str, str]:
    answer = await peer.call("POST", f"{CLIENT}/keys/query", {"device_keys": {bot: []}})
    name, device = next(iter(answer["device_keys"][bot].items()))
    return name, device["keys"][f"curve25519:{name}"]


async def _arrives(peer: Peer, body: str) -> None:
    await peer.wait_for(lambda seen: seen.body == body, 40)


async def _throw(peer: Peer, bot: str, device: str, event: Json) -> None:
    path = f"{CLIENT}/sendToDevice/{event['type']}/{secrets.token_hex(8)}"
    await peer.call("PUT", path, {"messages": {bot: {device: event["content"]}}})


async def test_poison_by_to_device_messages(
    synapse: LocalSynapse, business: Business, new_peer: MakePeer, anna: Peer
) -> None:
    jan, eve = await new_peer(business.people["jan"]), await new_peer()
    chat = await anna.start_chat(business.bot.mxid)
    device, curve25519 = await _bot_device(eve, business.bot.mxid)
    for number, (name, event) in enumerate(olm_poison(eve.user_id, curve25519).items()):
        if isinstance(event.get("content"), dict):
            await _throw(eve, business.bot.mxid, device, event)
        await anna.text(chat, f"nach {name}")
        await _arrives(jan, f"nach {name}")
        assert business.process is not None
        assert business.process.returncode is None, f"{number}: {name}"


GARBAGE: dict[str, Json] = {
    "no ciphertext": {"algorithm": "m.megolm.v1.aes-sha2"},
    "ciphertext is a list": {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": [], "session_id": "x"},
    "unknown algorithm": {"algorithm": "x", "ciphertext": "AAAA", "session_id": "x"},
    "session is a number": {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "AAAA", "session_id": 5},
    "nothing": {},
}


async def test_garbage_in_the_room(business: Business, new_peer: MakePeer, anna: Peer) -> None:
    """Encrypted events that are none, plain events in an encrypted room, encrypted state: nothing stops, all is said."""
    jan = await new_peer(business.people["jan"])
    chat = await anna.start_chat(business.bot.mxid)
    for name, content in GARBAGE.items():
        await anna.send(chat, "m.room.encrypted", content, clear=True)
        await anna.text(chat, f"nach {name}")
        await _arrives(jan, f"nach {name}")
    await anna.send(chat, "m.room.message", {"msgtype": "m.text", "body": "offen und gefälscht"}, clear=True)
    await anna.send(chat, "m.room.member", {"membership": "join"})
    await anna.send(chat, "m.room.message", {"msgtype": ["m.text"], "body": {"a": 1}})
    await anna.send(chat, "de.example.unknown", {"was": "auch immer"})
    await anna.text(chat, "zum Schluss")
    await jan.wait_for(lambda s: s.body == "zum Schluss", 40)

    assert not any("gefälscht" in seen.body for seen in jan.seen)
    assert any("unbekannte Art" in seen.body for seen in jan.seen)
    # What was refused is marked where it stands: the customer is not left believing that it arrived.
    await until(lambda: sum(s.type == "m.reaction" and s.sender == business.bot.mxid for s in anna.seen) >= 4)


async def test_a_member_who_is_none_gets_no_keys(business: Business, new_peer: MakePeer, anna: Peer) -> None:
    """An encrypted m.room.member is no membership: who it names must not be handed the room's keys."""
    jan, eve = await new_peer(business.people["jan"]), await new_peer()
    chat = await anna.start_chat(business.bot.mxid)
    await anna.text(chat, "Hallo")
    case = (await jan.wait_for(lambda s: s.body == "Hallo", 40)).room_id
    await anna.send(chat, "m.room.member", {"membership": "join", "state_key": eve.user_id})
    await jan.text(case, "nur für Anna")
    await anna.wait_for(lambda s: s.body == "nur für Anna", 40)

    assert eve.seen == []
    assert eve.unreadable == []


async def test_long_texts_and_names_that_attack(business: Business, new_peer: MakePeer, anna: Peer) -> None:
    jan = await new_peer(business.people["jan"])
    await anna.call(
        "PUT", f"{CLIENT}/profile/{anna.user_id}/displayname", {"displayname": "\u202eetsaW\u0000 @room\n" + "x" * 90}
    )
    chat = await anna.start_chat(business.bot.mxid)
    await anna.text(chat, "@room hört her \u202egnafna")
    shown = await jan.wait_for(lambda s: "hört her" in s.body, 40)
    assert "@room" not in shown.body
    assert "\u202e" not in shown.body
    assert shown.content["m.mentions"] == {}
    card = next(s for s in jan.seen if s.body.startswith("Vorgang 1001"))
    assert not {"\u202e", "\u0000"} & set(card.body)
    assert "@room" not in card.body
    await anna.text(chat, "a" * 33_000)
    await anna.wait_for(lambda s: "zu lang" in s.body, 40)
    await jan.wait_for(lambda s: "sehr langen Text" in s.body, 40)
