"""Five hundred hostile events over a real server, with ordinary traffic around them: the bot goes on, all of it arrives.

A stranger sends to-device events: every kind of garbage, and Olm messages in proper Olm with hostile insides. A customer,
who is in the room, sends encrypted events whose plaintext may be anything, by a real Megolm session. What the server
itself refuses does not count.
"""

import json
import random
import secrets
from typing import Any

import aiohttp
import vodozemac
from unpaddedbase64 import encode_base64

from bot.demo.peer import Peer
from bot.domain.errors import Refused, Transient
from tests.business import Business
from tests.conftest import MakePeer
from tests.matrix.junk import MUTANTS, changed
from tests.matrix.keyserver import olm_poison
from tests.waiting import PatientPeer

Json = dict[str, Any]
CLIENT = "/_matrix/client/v3"
TO_DEVICE, IN_THE_ROOM, EACH_TIME = 300, 200, 25


class Count:
    """How many events the server took."""

    def __init__(self) -> None:
        self.taken = 0

    async def attempt(self, peer: Peer, path: str, body: Json) -> None:
        """Send one; what is larger than an event may be, or no JSON, is left out."""
        try:
            if len(json.dumps(body)) > 60_000:
                return
            await peer._http.once("PUT", path, body)
        except (Refused, Transient, RecursionError):
            return
        self.taken += 1


def anything(random_: random.Random, sound: Any) -> Any:
    plan = [(random_.randrange(10_000), random_.randrange(len(MUTANTS))) for _ in range(random_.randint(1, 2))]
    return changed(sound, plan)


class Whisperer:
    """Proper Olm from a stranger's device that is on the server."""

    def __init__(self, bot: str, sender: str, keys: tuple[str, str], one_time_key: str) -> None:
        self.bot, self.sender = bot, sender
        self._account = vodozemac.Account()
        self._ed25519, self.curve25519 = keys
        key = vodozemac.Curve25519PublicKey.from_base64
        self._session = self._account.create_outbound_session(key(self.curve25519), key(one_time_key))

    def insides(self) -> list[Json]:
        session = vodozemac.GroupSession()
        room_key = {"algorithm": "m.megolm.v1.aes-sha2", "room_id": "!r:x", "session_id": session.session_id}
        room_key |= {"session_key": session.session_key.to_base64()}
        frame = {"sender": self.sender, "recipient": self.bot, "recipient_keys": {"ed25519": self._ed25519}}
        frame |= {"keys": {"ed25519": self._account.ed25519_key.to_base64()}}
        kinds = [("m.room_key", room_key), ("m.forwarded_room_key", room_key), ("m.dummy", {}), ("m.secret.send", {})]
        return [{"type": kind, "content": content} | frame for kind, content in kinds]

    def seal(self, payload: Any) -> Json:
        kind, body = self._session.encrypt(json.dumps(payload).encode()).to_parts()
        ciphertext = {self.curve25519: {"type": kind, "body": encode_base64(body)}}
        sender_key = self._account.curve25519_key.to_base64()
        return {"algorithm": "m.olm.v1.curve25519-aes-sha2", "sender_key": sender_key, "ciphertext": ciphertext}


async def _whisperer(eve: Peer, bot: str) -> tuple[str, Whisperer]:
    answer = await eve.call("POST", f"{CLIENT}/keys/query", {"device_keys": {bot: []}})
    name, device = next(iter(answer["device_keys"][bot].items()))
    claim = {"one_time_keys": {bot: {name: "signed_curve25519"}}}
    claimed = (await eve.call("POST", f"{CLIENT}/keys/claim", claim))["one_time_keys"][bot][name]
    keys = (device["keys"][f"ed25519:{name}"], device["keys"][f"curve25519:{name}"])
    return name, Whisperer(bot, eve.user_id, keys, next(iter(claimed.values()))["key"])


async def _ordinary(business: Business, anna: Peer, chat: str, jan: Peer) -> None:
    """A message there and an answer back."""
    there, back = secrets.token_hex(8), secrets.token_hex(8)
    await anna.text(chat, there)
    seen = await jan.wait_for(lambda s: s.body == there, 60)
    await jan.text(seen.room_id, back)
    await anna.wait_for(lambda s: s.body == back, 60)
    assert business.process is not None
    assert business.process.returncode is None, business.log()


async def test_three_hundred_to_device_events(business: Business, new_peer: MakePeer) -> None:
    dice = random.Random(7)
    anna, jan, eve = (
        await new_peer(await business.account("anna")),
        await new_peer(business.people["jan"]),
        await new_peer(),
    )
    chat = await anna.start_chat(business.bot.mxid)
    await _ordinary(business, anna, chat, jan)
    device, whisperer = await _whisperer(eve, business.bot.mxid)
    count = Count()
    poison = [event for event in olm_poison(eve.user_id, whisperer.curve25519).values() if event.get("content")]
    while count.taken < TO_DEVICE:
        for _ in range(EACH_TIME):
            event = dice.choice(poison)
            content = event["content"]
            if dice.random() < 0.7:
                event, content = (
                    {"type": "m.room.encrypted"},
                    whisperer.seal(anything(dice, dice.choice(whisperer.insides()))),
                )
            else:
                content = anything(dice, content)
            path = f"{CLIENT}/sendToDevice/{event['type']}/{secrets.token_hex(8)}"
            await count.attempt(eve, path, {"messages": {business.bot.mxid: {device: content}}})
        await _ordinary(business, anna, chat, jan)
    assert eve.seen == []


async def test_hostile_plaintexts(business: Business, new_peer: MakePeer) -> None:
    """A session of the customer says anything. Only the bot is given its key: nio, as her client, would stop."""
    await business.stop()
    business.extra = "[customers]\nburst = 100000\n"
    await business.start()
    dice = random.Random(11)
    anna, jan = await new_peer(await business.account("anna")), await new_peer(business.people["jan"])
    chat = await anna.start_chat(business.bot.mxid)
    await _ordinary(business, anna, chat, jan)
    count = Count()
    insides = [
        {"type": "m.room.message", "room_id": chat, "content": {"msgtype": "m.text", "body": "x"}},
        {"type": "m.room.member", "room_id": chat, "state_key": jan.user_id, "content": {"membership": "join"}},
        {
            "type": "m.room.message",
            "room_id": chat,
            "content": {"msgtype": "m.image", "body": "x", "file": {"url": "mxc://x/y"}},
        },
        {"type": "m.poll.start", "room_id": chat, "content": {"m.poll": {"answers": [{"m.id": "a"}]}}},
    ]
    raw = [b"", b"null", b"[]", b"\xff\xfe", b"{", b"[" * 20_000, b'{"content":' * 5_000]
    session, frame = await _own_session(anna, business.bot.mxid, chat)
    while count.taken < IN_THE_ROOM:
        for _ in range(EACH_TIME):
            is_raw = dice.random() < 0.3
            plain = dice.choice(raw) if is_raw else json.dumps(anything(dice, dice.choice(insides))).encode()
            path = f"{CLIENT}/rooms/{chat}/send/m.room.encrypted/{secrets.token_hex(8)}"
            await count.attempt(anna, path, frame | {"ciphertext": session.encrypt(plain).to_base64()})
        await _ordinary(business, anna, chat, jan)


async def test_a_customer_whose_device_has_a_senseless_key(business: Business, new_peer: MakePeer) -> None:
    """The server takes any text for a key, and the bot asks for all devices of a customer before it writes to them.

    The customer's own client is closed before: it is plain nio, and would not survive the answer.
    """
    anna, jan = await new_peer(await business.account("anna")), await new_peer(business.people["jan"])
    chat = await anna.start_chat(business.bot.mxid)
    await _ordinary(business, anna, chat, jan)
    account = await business.account("eve")
    eve = await PatientPeer.login(
        business.server.url, account.localpart, account.password, store=business.folder / "eve"
    )
    body, name, headers = secrets.token_hex(8), eve._keys.device_id, dict(eve._http._headers)
    await eve.text(await eve.start_chat(business.bot.mxid), body)
    case = (await jan.wait_for(lambda s: s.body == body, 60)).room_id
    await eve.close()

    device: Json = {
        "user_id": eve.user_id,
        "device_id": name,
        "algorithms": ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
        "keys": {f"ed25519:{name}": "A" * 44, f"curve25519:{name}": "A" * 43},
        "signatures": {eve.user_id: {f"ed25519:{name}": "A" * 86}},
    }
    url = f"{business.server.url}{CLIENT}/keys/upload"
    async with aiohttp.ClientSession(headers=headers) as web, web.post(url, json={"device_keys": device}) as answer:
        assert answer.status == 200
    for _ in range(2):
        await jan.text(case, "für Eva")
        await _ordinary(business, anna, chat, jan)


async def test_events_as_deep_as_the_server_takes_them(business: Business, new_peer: MakePeer) -> None:
    """JSON may be nested further than Python follows; what the server takes must not keep a sync from being read."""
    anna, jan, eve = await new_peer(), await new_peer(business.people["jan"]), await new_peer()
    chat = await anna.start_chat(business.bot.mxid)
    await _ordinary(business, anna, chat, jan)
    device, _ = await _whisperer(eve, business.bot.mxid)
    count = Count()
    deep: Json = {}
    for depth in range(1, 1000):
        deep = {"a": deep}
        if depth % 20 == 0:
            for event_type in ("m.room.encrypted", "m.dummy"):
                path = f"{CLIENT}/sendToDevice/{event_type}/{secrets.token_hex(8)}"
                await count.attempt(eve, path, {"messages": {business.bot.mxid: {device: deep}}})
    assert count.taken > 10
    print(f"{count.taken} taken")
    await _ordinary(business, anna, chat, jan)


async def _own_session(anna: Peer, bot: str, chat: str) -> tuple[vodozemac.GroupSession, Json]:
    """Make a Megolm session of Anna's device and give its key to the bot; return it and what its events have in clear."""
    olm, session = anna._keys._olm, vodozemac.GroupSession()
    device = next(iter(olm.device_store.active_user_devices(bot)))
    content = {"algorithm": "m.megolm.v1.aes-sha2", "room_id": chat, "session_id": session.session_id}
    content |= {"session_key": session.session_key.to_base64()}
    sealed = olm._olm_encrypt(olm.session_store.get(device.curve25519), device, "m.room_key", content)
    path = f"{CLIENT}/sendToDevice/m.room.encrypted/{secrets.token_hex(8)}"
    await anna.call("PUT", path, {"messages": {bot: {device.id: sealed}}})
    frame = {"algorithm": "m.megolm.v1.aes-sha2", "session_id": session.session_id, "device_id": olm.device_id}
    return session, frame | {"sender_key": olm.account.identity_keys["curve25519"]}
