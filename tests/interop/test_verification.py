"""People on Element's encryption verify the bot: an admin compares the pictures, and then both sides believe."""

from typing import Any

import pytest

from bot import app, identity
from bot.demo.peer import Peer
from tests.business import Business
from tests.conftest import MakePeer
from tests.interop.conftest import MakeElement
from tests.interop.element import ElementPeer, chat_with
from tests.interop.test_conversation import arrived
from tests.waiting import until

MODES = ["normal", "error_on_verified_problems", "exclude_insecure"]
Json = dict[str, Any]


async def phase(peer: ElementPeer, key: str, name: str) -> Json:
    """Wait until the phone shows this phase of a verification."""
    return await peer.wait_for(
        lambda line: (line["event"], line.get("key"), line.get("phase")) == ("verification", key, name), 40
    )


async def pictures(peer: ElementPeer, key: str) -> list[str]:
    """Begin as Element does, and return the pictures that the phone shows."""
    await phase(peer, key, "Ready")
    await peer.command("start_sas", key=key)
    line = await peer.wait_for(lambda line: (line["event"], line.get("key")) == ("pictures", key), 40)
    return [emoji for emoji, _ in line["emoji"]]


async def shown_to(admin: Peer, number: int) -> tuple[str, list[str]]:
    """Return the admin room, and the pictures that the bot shows there."""
    asked = await admin.wait_for(lambda s: f"Nr. {number}:" in s.body and " · " in s.body, 40)
    line = next(line for line in asked.body.splitlines() if " · " in line)
    return asked.room_id, [part.split(" ")[0] for part in line.split(" · ")]


async def device_of(business: Business) -> str:
    return (await identity.device_status(business.settings())).device_id


async def signatures(business: Business, user: str) -> Json:
    """Return the bot's signatures on somebody's identity, as the server shows them to the bot."""
    async with app.opened(business.settings(), looks_only=True) as parts:
        body: Json = {"device_keys": {user: [], business.bot.mxid: []}}
        answer = await parts.transport.call("POST", "/_matrix/client/v3/keys/query", body)
    keys = answer["user_signing_keys"][business.bot.mxid]["keys"]
    found = answer["master_keys"][user]["signatures"].get(business.bot.mxid, {})
    assert set(found) <= set(keys)
    return dict(found)


async def arrived_somewhere(peer: ElementPeer, name: str = "Eingang") -> str:
    """Wait until this person is in a room of the house with this name, and return the room."""

    def fits(line: Json) -> bool:
        content = line.get("content")
        return line.get("type") == "m.room.member" and isinstance(content, dict)

    await peer.wait_for(fits, 40)

    async def room() -> str | None:
        answer = await peer.command("raw", path="/_matrix/client/v3/joined_rooms")
        for joined in answer["body"]["joined_rooms"]:
            content = await peer.command("state", room_id=joined, type="m.room.name")
            if content and name in content["name"]:
                return str(joined)
        return None

    return str(await until(room, timeout_s=40, what=f"a room named {name}"))


async def is_trusted(peer: ElementPeer, user: str, device: str) -> None:
    """Wait until a phone takes user and device for verified; it sends its signature after it has said "Done"."""

    async def trusted() -> bool:
        return bool(await peer.command("trust_in", user=user, device=device) == {"user": True, "device": True})

    await until(trusted, what="a verified bot")


@pytest.mark.parametrize("mode", MODES)
async def test_a_mechanic_verifies_the_bot(
    business: Business, element_peer: MakeElement, new_peer: MakePeer, mode: str
) -> None:
    jan = await element_peer(business.people["jan"], mode=mode)
    chef = await new_peer(business.people["chef"])
    device = await device_of(business)
    chat = await chat_with(jan, business.bot.mxid)
    assert await jan.command("trust_in", user=business.bot.mxid, device=device) == {"user": False, "device": False}

    key = (await jan.command("verify_user", user=business.bot.mxid, room_id=chat))["key"]
    on_the_phone = await pictures(jan, key)
    admin_room, in_the_room = await shown_to(chef, 1)
    assert on_the_phone == in_the_room
    await jan.command("they_match", key=key)
    assert await signatures(business, jan.user_id) == {}
    await chef.text(admin_room, "!stimmt 1")

    await phase(jan, key, "Done")
    await chef.wait_for(lambda s: "gegenseitig bestätigt" in s.body, 40)
    await is_trusted(jan, business.bot.mxid, device)
    assert len(await signatures(business, jan.user_id)) == 1


@pytest.mark.parametrize("mode", MODES)
async def test_pictures_that_differ_end_it_on_both_sides(
    business: Business, element_peer: MakeElement, new_peer: MakePeer, mode: str
) -> None:
    jan = await element_peer(business.people["jan"], mode=mode)
    chef = await new_peer(business.people["chef"])
    device = await device_of(business)
    chat = await chat_with(jan, business.bot.mxid)

    key = (await jan.command("verify_user", user=business.bot.mxid, room_id=chat))["key"]
    await pictures(jan, key)
    admin_room, _ = await shown_to(chef, 1)
    await jan.command("they_match", key=key)
    await chef.text(admin_room, "!falsch 1")
    assert (await phase(jan, key, "Cancelled"))["cancel_code"] == "m.mismatched_sas"
    await chef.wait_for(lambda s: "Nr. 1: abgebrochen" in s.body, 40)

    key = (await jan.command("verify_user", user=business.bot.mxid, room_id=chat))["key"]
    await pictures(jan, key)
    await shown_to(chef, 2)
    await jan.command("they_differ", key=key)
    await chef.wait_for(lambda s: "Nr. 2: abgebrochen" in s.body, 40)
    await chef.text(admin_room, "!stimmt 2")
    await chef.wait_for(lambda s: "„2“ ist keine Nummer" in s.body, 40)
    await phase(jan, key, "Cancelled")

    assert await jan.command("trust_in", user=business.bot.mxid, device=device) == {"user": False, "device": False}
    assert await signatures(business, jan.user_id) == {}


@pytest.mark.parametrize("mode", MODES)
async def test_a_customer_is_told_in_a_friendly_way_and_goes_on_as_before(
    business: Business, element_peer: MakeElement, new_peer: MakePeer, mode: str
) -> None:
    anna = await element_peer(await business.account("anna"), mode=mode)
    jan = await new_peer(business.people["jan"])
    chat = await chat_with(anna, business.bot.mxid)
    await anna.command("text", room_id=chat, body="vorher")
    case = (await jan.wait_for(lambda s: s.body == "vorher", 40)).room_id

    key = (await anna.command("verify_user", user=business.bot.mxid, room_id=chat))["key"]
    assert (await phase(anna, key, "Cancelled"))["cancel_code"] == "m.user"
    await arrived(anna, business, "einfach weiterschreiben")
    in_person = await anna.command("verify_device", user=business.bot.mxid, device=await device_of(business))
    assert (await phase(anna, in_person["key"], "Cancelled"))["cancel_code"] == "m.user"

    await anna.command("text", room_id=chat, body="nachher")
    await jan.wait_for(lambda s: s.body == "nachher", 40)
    said = [s.body for s in jan.seen if s.room_id == case and s.body]
    assert said[said.index("vorher") :] == ["vorher", "nachher"]


async def test_a_mechanic_verifies_the_device_of_the_bot(
    business: Business, element_peer: MakeElement, new_peer: MakePeer
) -> None:
    jan, chef = await element_peer(business.people["jan"]), await new_peer(business.people["chef"])
    device = await device_of(business)
    await arrived_somewhere(jan)
    key = (await jan.command("verify_device", user=business.bot.mxid, device=device))["key"]
    on_the_phone = await pictures(jan, key)
    admin_room, in_the_room = await shown_to(chef, 1)
    assert on_the_phone == in_the_room
    await chef.text(admin_room, "!stimmt 1")
    await chef.wait_for(lambda s: "Nr. 1: notiert" in s.body, 40)
    await jan.command("they_match", key=key)
    await phase(jan, key, "Done")
    await chef.wait_for(lambda s: "gegenseitig bestätigt" in s.body, 40)

    async def trusted() -> bool:
        return bool((await jan.command("trust_in", user=business.bot.mxid, device=device))["device"])

    await until(trusted, what="a verified device")
    assert len(await signatures(business, jan.user_id)) == 1


async def test_an_admin_verifies_the_bot_in_the_admin_room_and_vouches_for_nobody(
    business: Business, element_peer: MakeElement
) -> None:
    chef = await element_peer(business.people["chef"])
    device = await device_of(business)
    admin_room = await arrived_somewhere(chef, "Leitung")
    key = (await chef.command("verify_user", user=business.bot.mxid, room_id=admin_room))["key"]
    on_the_phone = await pictures(chef, key)
    asked = await arrived(chef, business, "Nr. 1:")
    assert all(picture in asked["content"]["body"] for picture in on_the_phone)
    await chef.command("they_match", key=key)
    await chef.command("text", room_id=admin_room, body="!match 1")
    await phase(chef, key, "Done")
    await arrived(chef, business, "kann niemand selbst bestätigen")
    await is_trusted(chef, business.bot.mxid, device)
    assert await signatures(business, chef.user_id) == {}


async def test_a_restart_in_between_ends_it_and_the_next_attempt_works(
    business: Business, element_peer: MakeElement, new_peer: MakePeer
) -> None:
    jan, chef = await element_peer(business.people["jan"]), await new_peer(business.people["chef"])
    chat = await chat_with(jan, business.bot.mxid)
    key = (await jan.command("verify_user", user=business.bot.mxid, room_id=chat))["key"]
    await pictures(jan, key)
    await shown_to(chef, 1)

    await business.kill()
    await business.start()

    assert (await phase(jan, key, "Cancelled"))["cancel_code"] == "m.unknown_transaction"
    await chef.wait_for(lambda s: "Nr. 1: Ich wurde dazwischen neu gestartet" in s.body, 40)
    key = (await jan.command("verify_user", user=business.bot.mxid, room_id=chat))["key"]
    await pictures(jan, key)
    admin_room, _ = await shown_to(chef, 2)
    await chef.text(admin_room, "!stimmt 2")
    await jan.command("they_match", key=key)
    await phase(jan, key, "Done")
    assert len(await signatures(business, jan.user_id)) == 1
