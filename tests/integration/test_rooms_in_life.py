"""The customer's room in real life, on a real homeserver: versions, upgrades, devices, further people, no invitations."""

from pathlib import Path
from typing import Any

import pytest

from bot.demo.peer import MEGOLM, Peer, Seen
from bot.demo.synapse import LocalSynapse
from tests.business import Business, a_business
from tests.conftest import MakePeer
from tests.integration.test_conversation import arrived, name_of
from tests.waiting import until

Json = dict[str, Any]
CLIENT = "/_matrix/client/v3"


async def new_chat(peer: Peer, bot: str, *, version: str = "12", preset: str = "trusted_private_chat") -> str:
    """Open an encrypted chat of a room version and preset, and wait until the bot is in it."""
    encryption = {"type": "m.room.encryption", "state_key": "", "content": {"algorithm": MEGOLM}}
    request = {
        "preset": preset,
        "room_version": version,
        "invite": [bot],
        "is_direct": True,
        "initial_state": [encryption],
    }
    room = str((await peer.call("POST", f"{CLIENT}/createRoom", request))["room_id"])
    await until(lambda: is_in(peer, room, bot), timeout_s=30)
    return room


async def is_in(peer: Peer, room: str, user: str) -> bool:
    member = await peer.state(room, "m.room.member", user)
    return bool(member and member.get("membership") == "join")


def edit_of(event: str, body: str) -> Json:
    new = {"msgtype": "m.text", "body": body}
    return new | {"m.new_content": new, "m.relates_to": {"rel_type": "m.replace", "event_id": event}}


async def is_deleted(peer: Peer, seen: Seen) -> bool:
    raw = await peer.call("GET", f"{CLIENT}/rooms/{seen.room_id}/event/{seen.event_id}")
    return bool(raw["content"] == {})


@pytest.mark.parametrize("version", ["9", "10", "11", "12"])
@pytest.mark.parametrize("preset", ["private_chat", "trusted_private_chat"])
async def test_every_room_version_with_and_without_power(
    business: Business, new_peer: MakePeer, version: str, preset: str
) -> None:
    anna, jan = await new_peer(await business.account("anna")), await new_peer(business.people["jan"])
    chat = await new_chat(anna, business.bot.mxid, version=version, preset=preset)
    own = await anna.text(chat, "eins")
    copy = await arrived(jan, business, "eins")
    await anna.send(chat, "m.room.message", edit_of(own, "zwei"))
    await jan.wait_for(lambda s: s.content.get("m.new_content", {}).get("body") == "zwei", 30)
    answer = await jan.text(copy.room_id, "Antwort")
    there = await arrived(anna, business, "Antwort")
    await jan.redact(copy.room_id, answer)
    await until(lambda: is_deleted(anna, there), timeout_s=30)
    await anna.redact(chat, own)
    await until(lambda: is_deleted(jan, copy), timeout_s=30)


async def test_who_leaves_and_comes_back_in_another_chat_goes_on_in_the_same_case(
    business: Business, new_peer: MakePeer
) -> None:
    anna, jan = await new_peer(await business.account("anna")), await new_peer(business.people["jan"])
    chat = await anna.start_chat(business.bot.mxid)
    await anna.text(chat, "Hallo")
    case = (await arrived(jan, business, "Hallo")).room_id
    await anna.leave(chat)
    await arrived(jan, business, "hat den Chat verlassen")
    unheard = await jan.text(case, "hört niemand")
    await jan.wait_for(lambda s: s.type == "m.reaction" and s.content["m.relates_to"]["event_id"] == unheard, 30)
    again = await anna.start_chat(business.bot.mxid)
    await anna.text(again, "wieder da")
    assert (await arrived(jan, business, "wieder da")).room_id == case
    await jan.text(case, "schön")
    assert (await arrived(anna, business, "schön")).room_id == again


async def test_an_upgraded_chat_goes_on(business: Business, new_peer: MakePeer) -> None:
    anna, jan = await new_peer(await business.account("anna")), await new_peer(business.people["jan"])
    chat = await new_chat(anna, business.bot.mxid, version="11")
    await anna.text(chat, "vorher")
    case = (await arrived(jan, business, "vorher")).room_id
    answer = await anna.call("POST", f"{CLIENT}/rooms/{chat}/upgrade", {"new_version": "12"})
    new = str(answer["replacement_room"])
    await anna.call("POST", f"{CLIENT}/rooms/{new}/invite", {"user_id": business.bot.mxid})
    await until(lambda: is_in(anna, new, business.bot.mxid), timeout_s=30)
    await anna.text(new, "nachher")
    assert (await arrived(jan, business, "nachher")).room_id == case
    await jan.text(case, "dorthin")
    assert (await arrived(anna, business, "dorthin")).room_id == new
    assert len([s for s in anna.seen if "Kurz zum Datenschutz" in s.body]) == 1
    assert await name_of(jan, case) != ""


async def test_a_third_person_stops_answers_until_staff_agree(business: Business, new_peer: MakePeer) -> None:
    anna, jan = await new_peer(await business.account("anna")), await new_peer(business.people["jan"])
    bert = await new_peer(await business.account("bert"))
    chat = await anna.start_chat(business.bot.mxid)
    await anna.text(chat, "Hallo")
    case = (await arrived(jan, business, "Hallo")).room_id
    await anna.call("POST", f"{CLIENT}/rooms/{chat}/invite", {"user_id": bert.user_id})
    await until(lambda: is_in(anna, chat, bert.user_id), timeout_s=30)
    await arrived(jan, business, "noch jemand anderes")
    await jan.text(case, "nur für Anna")
    await jan.wait_for(lambda s: s.type == "m.reaction" and s.sender == business.bot.mxid, 30)
    await jan.text(case, "!erlauben")
    await arrived(jan, business, "darf mitlesen")
    await jan.text(case, "für beide")
    await arrived(anna, business, "für beide")
    await arrived(bert, business, "für beide")
    await bert.text(chat, "danke von Bert")
    await arrived(jan, business, "danke von Bert")
    assert not any("nur für Anna" in s.body for s in [*anna.seen, *bert.seen])


async def test_a_new_device_of_the_customer_reads_what_comes_after(
    business: Business, new_peer: MakePeer, tmp_path: Path
) -> None:
    account = await business.account("anna")
    phone, jan = await new_peer(account), await new_peer(business.people["jan"])
    chat = await phone.start_chat(business.bot.mxid)
    await phone.text(chat, "Hallo")
    case = (await arrived(jan, business, "Hallo")).room_id
    await jan.text(case, "eins")
    await arrived(phone, business, "eins")
    tablet = await new_peer(account)
    await jan.text(case, "zwei")
    await arrived(tablet, business, "zwei")
    await arrived(phone, business, "zwei")
    await tablet.text(chat, "vom Tablet")
    await arrived(jan, business, "vom Tablet")


async def test_a_customer_who_resets_their_identity_goes_on(business: Business, new_peer: MakePeer) -> None:
    account = await business.account("anna")
    anna, jan = await new_peer(account, cross_sign=True), await new_peer(business.people["jan"])
    chat = await anna.start_chat(business.bot.mxid)
    await anna.text(chat, "vorher")
    case = (await arrived(jan, business, "vorher")).room_id
    await anna.reset_identity(account.password)
    await anna.text(chat, "nachher")
    await arrived(jan, business, "nachher")
    await jan.text(case, "verstanden")
    await arrived(anna, business, "verstanden")


async def test_an_edited_message_is_moved_to_another_case_and_told_apart_by_number(
    business: Business, new_peer: MakePeer
) -> None:
    business.extra = "[cases]\nreopen_days = 0\n"
    await business.stop()
    await business.start()
    anna, jan = await new_peer(await business.account("anna")), await new_peer(business.people["jan"])
    chat = await anna.start_chat(business.bot.mxid)
    await anna.text(chat, "Bremse")
    first = (await arrived(jan, business, "Bremse")).room_id
    await jan.text(first, "!zu")
    await arrived(jan, business, "geschlossen")
    await anna.text(chat, "Reifen")
    second = (await arrived(jan, business, "Reifen")).room_id
    assert second != first
    await jan.text(first, "!auf")
    await arrived(jan, business, "wieder geöffnet")
    await anna.text(chat, "Wann fertig?")
    await arrived(anna, business, "1001, 1002")
    await anna.text(chat, "1002")
    wrong = await arrived(jan, business, "Wann fertig?")
    assert wrong.room_id == second
    own = next(s.event_id for s in anna.seen if s.body == "Wann fertig?")
    await anna.send(chat, "m.room.message", edit_of(own, "Wann ist die Bremse fertig?"))
    await jan.wait_for(lambda s: s.content.get("m.new_content", {}).get("body") == "Wann ist die Bremse fertig?", 30)
    reply = {"m.relates_to": {"m.in_reply_to": {"event_id": wrong.event_id}}}
    await jan.send(second, "m.room.message", {"msgtype": "m.text", "body": "!an 1001", **reply})
    moved = await jan.wait_for(lambda s: s.room_id == first and "Wann ist die Bremse fertig?" in s.body, 30)
    await until(lambda: is_deleted(jan, wrong), timeout_s=30)
    await jan.text(first, "!haenger")
    await arrived(jan, business, "Es wartet nichts")
    await jan.send(first, "m.room.message", {"msgtype": "m.text", "body": "Morgen", **_reply_to(moved)})
    answer = await arrived(anna, business, "Morgen")
    assert answer.raw["content"]["m.relates_to"]["m.in_reply_to"]["event_id"] == own
    assert not any("!an" in s.body for s in anna.seen)


def _reply_to(seen: Seen) -> Json:
    return {"m.relates_to": {"m.in_reply_to": {"event_id": seen.event_id}}}


async def test_who_accepts_no_invitations_is_told_and_blocks_nobody(
    synapse: LocalSynapse, new_peer: MakePeer, tmp_path: Path
) -> None:
    """A customer who lets nobody invite them, and a mechanic who does (MSC4380)."""
    (tmp_path / "bot").mkdir()
    business = await a_business(synapse, tmp_path / "bot")
    jan, eva = await business.account("jan"), await business.account("eva")
    business.members, business.admins = [jan.mxid, eva.mxid], [jan.mxid]
    mechanic, shy, anna = await new_peer(jan), await new_peer(eva), await new_peer(await business.account("anna"))
    for peer in (shy, anna):
        path = f"{CLIENT}/user/{peer.user_id}/account_data/m.invite_permission_config"
        await peer.call("PUT", path, {"default_action": "block"})
    await business.start()
    try:
        plain = await anna.start_chat(business.bot.mxid, encrypted=False)
        await anna.wait_for(lambda s: s.room_id == plain and "lässt keine Einladungen zu" in s.body, 40)
        await anna.text(await anna.start_chat(business.bot.mxid), "verschlüsselt")
        await arrived(mechanic, business, "verschlüsselt")
    finally:
        assert await business.stop() == 0
