"""Steps of a verification that come encrypted, as from Element X; also from a colleague who is not believed yet."""

from typing import Any

from bot.demo.peer import Peer
from tests.business import Business
from tests.conftest import MakePeer
from tests.matrix.sas import Phone

Json = dict[str, Any]
PREFIX = "m.key.verification."


async def keys_of(peer: Peer, user: str) -> tuple[str, dict[str, str]]:
    """Return the one device of a user, and the keys by which they are known."""
    body: Json = {"device_keys": {user: []}}
    answer = await peer.call("POST", "/_matrix/client/v3/keys/query", body)
    ((device, keys),) = answer["device_keys"][user].items()
    own = {name: key for name, key in keys["keys"].items() if name.startswith("ed25519:")}
    return device, own | answer["master_keys"][user]["keys"]


class Encrypted:
    """A phone that says every step encrypted, in one room."""

    def __init__(self, peer: Peer, room: str, phone: Phone) -> None:
        self.peer, self.room, self.phone = peer, room, phone

    async def says(self, step: str, content: Json) -> None:
        event_type = "m.room.message" if step == "request" else PREFIX + step
        event = await self.peer.send(self.room, event_type, content)
        self.phone.transaction = self.phone.transaction or event

    async def hears(self, step: str) -> Json:
        """Wait for this step of the bot, encrypted and bound to our request."""
        request = {"rel_type": "m.reference", "event_id": self.phone.transaction}
        wanted = (self.phone.bot, PREFIX + step, request)
        heard = await self.peer.wait_for(lambda s: (s.sender, s.type, s.content.get("m.relates_to")) == wanted, 40)
        assert heard.encrypted
        return dict(heard.content)

    async def compares(self) -> list[int]:
        await self.says("request", self.phone.request())
        await self.hears("ready")
        await self.says("start", self.phone.start())
        await self.says("key", self.phone.accepted(await self.hears("accept")))
        return self.phone.compare(await self.hears("key"))[0]


async def a_phone(peer: Peer, business: Business, room: str) -> Encrypted:
    device, keys = await keys_of(peer, peer.user_id)
    bot_device, bot_keys = await keys_of(peer, business.bot.mxid)
    return Encrypted(peer, room, Phone(peer.user_id, device, keys, business.bot.mxid, bot_device, bot_keys=bot_keys))


async def test_a_suspended_identity_is_confirmed_by_pictures(business: Business, new_peer: MakePeer) -> None:
    """Nothing of the mechanic is heard any more but the steps of a verification; afterwards everything is again."""
    anna, chef = await new_peer(), await new_peer(business.people["chef"])
    jan = await new_peer(business.people["jan"])
    chat = await anna.start_chat(business.bot.mxid)
    await anna.text(chat, "eins")
    case = (await jan.wait_for(lambda s: s.body == "eins", 40)).room_id
    await jan.reset_identity(business.people["jan"].password)
    await jan.text(case, "ungehört")
    await jan.wait_for(lambda s: "Ihre digitale Identität ist eine neue" in s.body, 40)

    phone = await a_phone(jan, business, case)
    await phone.compares()
    admin_room = (await chef.wait_for(lambda s: "Nr. 1:" in s.body and " · " in s.body, 40)).room_id
    await phone.says("mac", phone.phone.mac())
    await chef.text(admin_room, "!stimmt 1")

    assert phone.phone.believes(await phone.hears("mac"))
    await phone.hears("done")
    await chef.wait_for(lambda s: "gegenseitig bestätigt" in s.body, 40)
    await jan.text(case, "wieder da")
    await anna.wait_for(lambda s: s.body == "wieder da", 40)
    assert not [s for s in anna.seen if s.body == "ungehört" or s.type.startswith(PREFIX)]


async def test_an_unsigned_device_of_staff_is_told_what_comes_first(business: Business, new_peer: MakePeer) -> None:
    jan = await new_peer(business.people["jan"], cross_sign=False)
    room = await jan.start_chat(business.bot.mxid)
    bot_device, bot_keys = await keys_of(jan, business.bot.mxid)
    phone = Encrypted(
        jan, room, Phone(jan.user_id, jan.device_id, {}, business.bot.mxid, bot_device, bot_keys=bot_keys)
    )
    await phone.says("request", phone.phone.request())
    assert (await phone.hears("cancel"))["code"] == "m.key_mismatch"
    await jan.wait_for(lambda s: "Dieses Gerät ist noch nicht bestätigt" in s.body, 40)
