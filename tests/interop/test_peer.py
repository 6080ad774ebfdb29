"""The instruments before the measurement: two people on Element's encryption talk through the real homeserver."""

import pytest

from bot.demo.synapse import LocalSynapse
from tests.conftest import MakePeer
from tests.interop.conftest import MakeElement
from tests.interop.element import ElementError, ElementPeer
from tests.waiting import until

NO_SHIELD = {"colour": "NONE", "reason": None}


async def _in_a_room(anna: ElementPeer, with_user: str) -> str:
    room = (await anna.command("create_room", invite=[with_user]))["room_id"]
    await anna.wait_for(lambda line: _joined(line, room, with_user))
    return str(room)


def _joined(line: dict[str, object], room: str, user: str) -> bool:
    """Tell whether this line says that somebody joined."""
    content = line.get("content")
    return (
        (line.get("type"), line.get("room_id"), line.get("state_key")) == ("m.room.member", room, user)
        and isinstance(content, dict)
        and content.get("membership") == "join"
    )


async def test_two_strict_clients_read_each_other_without_a_shield(element_peer: MakeElement) -> None:
    anna, bert = await element_peer(), await element_peer()
    room = await _in_a_room(anna, bert.user_id)
    for writer, reader in ((anna, bert), (bert, anna)):
        sent = await writer.command("text", room_id=room, body=f"Grüße von {writer.user_id}")
        read = await reader.command("decrypt_wait", room_id=room, event_id=sent["event_id"])
        assert read["content"]["body"] == f"Grüße von {writer.user_id}"
        assert (read["encrypted"], read["wire_type"], read["shield"]) == (True, "m.room.encrypted", NO_SHIELD)


async def test_reactions_deletions_and_rooms_are_seen(element_peer: MakeElement) -> None:
    anna, bert = await element_peer(), await element_peer()
    room = await _in_a_room(anna, bert.user_id)
    sent = (await anna.command("text", room_id=room, body="weg damit", html="<b>weg</b> damit"))["event_id"]
    await bert.command("decrypt_wait", room_id=room, event_id=sent)
    reaction = (await bert.command("react", room_id=room, event_id=sent, key="👍"))["event_id"]
    await anna.wait_for(lambda line: line["event"] == "message" and line["event_id"] == reaction)
    await anna.command("redact", room_id=room, event_id=sent)
    await bert.wait_for(lambda line: line["event"] == "redaction" and line["redacts"] == sent)
    assert await bert.command("state", room_id=room, type="m.room.encryption") == {"algorithm": "m.megolm.v1.aes-sha2"}
    members = await bert.command("members", room_id=room)
    assert {member["user_id"] for member in members} == {anna.user_id, bert.user_id}
    timeline = await bert.command("timeline", room_id=room)
    assert reaction in {event["event_id"] for event in timeline}
    await bert.command("leave", room_id=room)
    answer = await bert.command("raw", path="/_matrix/client/v3/joined_rooms")
    assert answer == {"status": 200, "body": {"joined_rooms": []}}


async def test_a_strict_client_and_a_signed_one_understand_each_other(
    synapse: LocalSynapse, element_peer: MakeElement, new_peer: MakePeer
) -> None:
    strict, signed = await element_peer(), await new_peer(cross_sign=True)
    room = await _in_a_room(strict, signed.user_id)
    asked = await signed.text(room, "Hallo")
    read = await strict.command("decrypt_wait", room_id=room, event_id=asked)
    assert (read["content"]["body"], read["shield"]) == ("Hallo", NO_SHIELD)
    answered = (await strict.command("text", room_id=room, body="Selber"))["event_id"]
    assert (await signed.wait_for(lambda event: event.event_id == answered)).body == "Selber"


async def test_a_strict_client_and_an_unsigned_one_do_not(
    synapse: LocalSynapse, element_peer: MakeElement, new_peer: MakePeer
) -> None:
    """What makes the strict mode a measurement: it does tell a signed device from an unsigned one."""
    strict, unsigned = await element_peer(), await new_peer(cross_sign=False)
    room = await _in_a_room(strict, unsigned.user_id)
    asked = await unsigned.text(room, "Hallo")
    failed = await strict.wait_for(lambda line: line.get("event_id") == asked and line["decryption_failure"])
    assert failed["decryption_failure"] == "UNSIGNED_SENDER_DEVICE"
    answered = (await strict.command("text", room_id=room, body="Selber"))["event_id"]
    await until(lambda: answered in {raw["event_id"] for raw in unsigned.unreadable}, what="the unreadable answer")


async def test_errors_are_told(element_peer: MakeElement) -> None:
    anna = await element_peer()
    with pytest.raises(ElementError, match="there is no command dance"):
        await anna.command("dance")
    room = (await anna.command("create_room", encrypted=False))["room_id"]
    with pytest.raises(ElementError, match="M_FORBIDDEN"):
        await anna.command("send", room_id=f"{room}x", type="m.room.message", content={})
