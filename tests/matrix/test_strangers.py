"""What single strangers or servers did to the key store before it was mended; the fuzz tests look for more of it."""

from typing import Any

import pytest
import vodozemac

from bot.domain.ids import RoomId, UserId
from bot.domain.message import Forged, NoKey
from bot.matrix.e2ee.machine import parsed
from bot.matrix.e2ee.opening import Opened
from bot.matrix.e2ee.signing import canonical, unpadded
from tests.matrix.conftest import Meet
from tests.matrix.keyserver import Person

ROOM = RoomId("!room:x")
ANNA, BOT, EVE = "@anna:x", "@bot:x", "@eve:x"
TEXT = {"msgtype": "m.text", "body": "hallo"}
Json = dict[str, Any]


async def write(sender: Person, reader: Person, event_id: str) -> Json:
    sealed = await sender.keys.seal(ROOM, [reader.user], "m.room.message", TEXT, full_history=False)
    return {"type": "m.room.encrypted", "event_id": event_id, "sender": sender.user, "content": sealed}


async def whisper(sender: Person, reader: Person, event_type: str, content: Any) -> None:
    """Send anything through Olm."""
    await sender.keys._devices.query([reader.user])
    devices = sender.keys._devices.active(reader.user)
    await sender.keys._sharing.claim(devices)
    await sender.keys._sharing.send_olm(devices, event_type, content)


def room_key(**changes: Any) -> Json:
    session = vodozemac.GroupSession()
    content = {"algorithm": "m.megolm.v1.aes-sha2", "room_id": ROOM, "session_id": session.session_id}
    return content | {"session_key": session.session_key.to_base64()} | changes


WHISPERS: dict[str, tuple[str, Any]] = {
    "half a surrogate pair as room": ("m.room_key", room_key(room_id="!\ud800:x")),
    "a forwarded session that is a list": ("m.forwarded_room_key", {"session_id": []}),
    "a forwarded session that is an object": ("m.forwarded_room_key", {"session_id": {}}),
}


@pytest.mark.parametrize("name", WHISPERS)
async def test_one_olm_message_stops_nothing(encounter: Meet, name: str) -> None:
    anna, bot, eve = await encounter(ANNA), await encounter(BOT), await encounter(EVE)
    await whisper(eve, bot, *WHISPERS[name])
    event = await write(anna, bot, "$1")
    bot.take_in()
    assert isinstance(await bot.keys.open_event(ROOM, event), Opened)


async def test_keys_without_messages_do_not_fill_the_disk(encounter: Meet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.matrix.e2ee.store.UNUSED_SESSIONS_KEPT", 3)
    anna, bot, eve = await encounter(ANNA), await encounter(BOT), await encounter(EVE)
    for _ in range(5):
        await whisper(eve, bot, "m.room_key", room_key())
    bot.take_in()
    assert bot.keys._machine.store.count_not_backed_up() == 3
    for number in range(5):
        event = await write(anna, bot, f"${number}")
        bot.take_in()
        assert isinstance(await bot.keys.open_event(ROOM, event), Opened)
        anna.keys.rotate(ROOM)
    assert bot.keys._machine.store.count_not_backed_up() == 8


async def test_a_replayed_first_message_does_not_begin_its_session_anew(encounter: Meet) -> None:
    """By a one-time key it could not; a fallback key serves again and again, and the sender has gone on since."""
    anna, bot = await encounter(ANNA), await encounter(BOT)
    bot.client.server.one_time[BOT, "DEV"].clear()
    events = [await write(anna, bot, "$1")]
    first = list(bot.client.server.inbox[BOT, "DEV"])
    bot.take_in()
    await write(bot, anna, "$2")
    anna.take_in()
    anna.keys.rotate(ROOM)
    events.append(await write(anna, bot, "$3"))
    waiting = bot.client.server.inbox.pop((BOT, "DEV"))

    bot.keys.take_in(first, [], [], {"signed_curve25519": 50}, None)
    bot.keys = bot.reopened().keys
    bot.keys.take_in(waiting, [], [], {"signed_curve25519": 50}, None)

    for event in events:
        assert isinstance(await bot.keys.open_event(ROOM, event), Opened)


@pytest.mark.parametrize("counts", [[1], "x", 5, {"signed_curve25519": -(10**9)}, {"signed_curve25519": [50]}])
@pytest.mark.parametrize("types", [5, {}, "signed_curve25519"])
async def test_counts_that_are_none_refill_and_stop_nothing(encounter: Meet, counts: Any, types: Any) -> None:
    bot = await encounter(BOT)
    bot.client.server.one_time.clear()
    bot.keys.take_in([], [], [], counts, types)
    await bot.keys.upkeep()
    assert len(bot.client.server.one_time[BOT, "DEV"]) == 50


async def test_a_device_description_as_deep_as_a_well_hides_no_other(encounter: Meet) -> None:
    anna, bot = await encounter(ANNA), await encounter(BOT)
    deep: Any = {}
    for _ in range(5000):
        deep = [deep]
    known = bot.client.server.devices[ANNA]["DEV"]
    answer = {"device_keys": {ANNA: {"DEV": known, "DEEP": known | {"device_id": "DEEP", "deep": deep}}}}
    bot.keys._devices._store([ANNA], answer)
    event = await write(bot, anna, "$1")
    anna.take_in()
    assert isinstance(await anna.keys.open_event(ROOM, event), Opened)


@pytest.mark.parametrize("key", ["A" * 44, "A" * 42 + "="])
async def test_a_device_with_a_key_of_another_length_ends_no_process(encounter: Meet, key: str) -> None:
    """vodozemac panics on it, and a panic passes every `except Exception`. Anybody can publish such a device."""
    anna, bot = await encounter(ANNA), await encounter(BOT)
    with pytest.raises(BaseException, match="source slice length"):
        vodozemac.Ed25519PublicKey.from_base64(key)
    sound = bot.client.server.devices[ANNA]["DEV"]
    signatures = {ANNA: {"ed25519:BAD": unpadded(bytes(64)), f"ed25519:{key}": unpadded(bytes(64))}}
    keys = {"ed25519:BAD": key, "curve25519:BAD": sound["keys"]["curve25519:DEV"]}
    bot.client.server.devices[ANNA]["BAD"] = sound | {"device_id": "BAD", "keys": keys, "signatures": signatures}
    usage = {"user_id": ANNA, "keys": {f"ed25519:{key}": key}, "signatures": signatures}
    bot.client.server.identities[ANNA] = {
        "master": usage | {"usage": ["master"]},
        "self_signing": usage | {"usage": ["self_signing"]},
    }
    event = await write(bot, anna, "$1")
    anna.take_in()
    assert isinstance(await anna.keys.open_event(ROOM, event), Opened)


async def test_a_session_id_that_is_no_text_is_a_missing_key(encounter: Meet) -> None:
    anna, bot = await encounter(ANNA), await encounter(BOT)
    event = await write(anna, bot, "$1")
    event["content"]["session_id"] = "\ud800"
    assert isinstance(await bot.keys.open_event(ROOM, event), NoKey)


async def test_half_an_emoji_is_read_and_a_senseless_one_is_refused(encounter: Meet) -> None:
    assert parsed('{"body": "ab\\ud83d"}') == {"body": "ab\ufffd"}
    assert parsed('{"body": "\\ud83d\\ude00\\\\ud83d"}') == {"body": "😀\\ud83d"}
    anna, bot = await encounter(ANNA), await encounter(BOT)
    event = await write(anna, bot, "$1")
    outbound = anna.keys._machine.outbound_group_sessions[ROOM]
    plain = '{"type": "m.room.message", "room_id": "%s", "content": {"body": "ab\\ud83d"}}'
    event["content"]["ciphertext"] = outbound.encrypt(plain % ROOM)
    bot.take_in()
    opened = await bot.keys.open_event(ROOM, event)
    assert isinstance(opened, Opened)
    assert opened.content["body"] == "ab\ufffd"
    event["content"]["ciphertext"] = outbound.encrypt(plain % "\\ud83d")
    assert await bot.keys.open_event(ROOM, event) == Forged("room")


def steal(anna: Person) -> None:
    """Eve publishes a device with Anna's identity key, signed with a fingerprint key and one-time keys of her own."""
    eve = vodozemac.Account()
    eve.generate_one_time_keys(20)

    def signed(value: Json) -> Json:
        return value | {"signatures": {EVE: {"ed25519:SPY": eve.sign(canonical(value)).to_base64()}}}

    keys = {"curve25519:SPY": anna.keys._machine.curve25519, "ed25519:SPY": eve.ed25519_key.to_base64()}
    device = {"user_id": EVE, "device_id": "SPY", "algorithms": ["m.megolm.v1.aes-sha2"], "keys": keys}
    anna.client.server.devices[EVE]["SPY"] = signed(device)
    anna.client.server.one_time[EVE, "SPY"] = {
        f"signed_curve25519:{key_id}": signed({"key": key.to_base64()}) for key_id, key in eve.one_time_keys.items()
    }


async def reads_on(anna: Person, bot: Person) -> bool:
    """The bot writes to both of them, to Eve first; can Anna read it?"""
    await bot.keys.seal(RoomId("!of-eve:x"), [UserId(EVE)], "m.room.message", TEXT, full_history=True)
    bot.keys.rotate(ROOM)
    event = await write(bot, anna, "$2")
    anna.take_in()
    return isinstance(await anna.keys.open_event(ROOM, event), Opened)


@pytest.mark.parametrize("state", ["known", "gone", "after a restart", "after a rollback"])
async def test_a_device_with_the_identity_key_of_another_is_refused(encounter: Meet, state: str) -> None:
    anna, bot = await encounter(ANNA), await encounter(BOT)
    await bot.keys._devices.query([ANNA])
    if state == "gone":
        bot.keys._devices._store([ANNA], {"device_keys": {ANNA: {}}})
    if state == "after a restart":
        bot.keys = bot.reopened().keys
    if state == "after a rollback":
        bot.keys._after_rollback()
    steal(anna)
    assert await reads_on(anna, bot)
    assert bot.keys._devices.active(UserId(EVE)) == []


async def test_of_two_devices_with_one_identity_key_in_one_answer_the_known_one_stays(encounter: Meet) -> None:
    anna, bot = await encounter("@zoe:x"), await encounter(BOT)
    await bot.keys._devices.query([anna.user])
    steal(anna)
    await bot.keys._devices.query([EVE, anna.user])  # in this order
    assert [device.id for device in bot.keys._devices.active(anna.user)] == ["DEV"]
    assert await reads_on(anna, bot)


async def test_nobody_shows_our_own_identity_key(encounter: Meet) -> None:
    bot = await encounter(BOT)
    steal(bot)
    await bot.keys._devices.query([EVE])
    assert bot.keys._devices.active(UserId(EVE)) == []
