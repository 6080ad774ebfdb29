"""What the guard around matrix-nio holds, and beside it the fault on plain nio, so that we notice when it is mended."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import vodozemac
from nio.crypto import InboundGroupSession
from nio.crypto.olm_machine import Olm
from nio.events import ToDeviceEvent
from nio.store import SqliteMemoryStore
from peewee import OperationalError

from bot.domain.errors import Fatal, Refused, Transient
from bot.domain.ids import RoomId, SessionId, UserId
from bot.domain.message import Forged, NoKey
from bot.matrix.e2ee.keys import Keys
from bot.matrix.e2ee.opening import Opened
from tests.matrix.keyserver import KeyServer, Person, broken, olm_poison, person

ROOM = RoomId("!room:x")
ANNA, BOT, EVE = "@anna:x", "@bot:x", "@eve:x"
TEXT = {"msgtype": "m.text", "body": "hallo"}
Json = dict[str, Any]
Meet = Callable[..., Any]


@pytest_asyncio.fixture
async def meet(tmp_path: Path) -> AsyncIterator[Meet]:
    """Make people with one device each on one server; all are started."""
    server = KeyServer()
    made: list[Person] = []

    async def make(user: str, device: str = "DEV", *, start: bool = True) -> Person:
        made.append(person(server, tmp_path / f"{user[1:]}-{device}.db", user, device))
        if start:
            await made[-1].keys.start()
        return made[-1]

    yield make
    for one in made:
        one.keys.close()


async def send(
    sender: Person, *readers: Person, content: Json = TEXT, full_history: bool = False, event_id: str = "$1"
) -> Json:
    """Encrypt one message in the room and return the event as the server would give it."""
    people = [reader.user for reader in readers]
    sealed = await sender.keys.seal(ROOM, people, "m.room.message", content, full_history=full_history)
    return {"type": "m.room.encrypted", "event_id": event_id, "sender": sender.user, "content": sealed}


async def test_a_message_is_read_by_whom_it_was_sealed_for(meet: Meet) -> None:
    anna, bot = await meet(ANNA), await meet(BOT)
    event = await send(anna, bot)
    arrived = bot.take_in()
    assert arrived.sessions == {SessionId(event["content"]["session_id"])}
    assert await bot.keys.open_event(ROOM, event) == Opened("m.room.message", TEXT, "DEV")


async def test_a_warm_message_asks_nobody_and_writes_nothing(meet: Meet, monkeypatch: pytest.MonkeyPatch) -> None:
    anna, bot = await meet(ANNA), await meet(BOT)
    await send(bot, anna)
    before = len(bot.client.server.calls)
    monkeypatch.setattr(bot.keys._store.database, "execute_sql", lambda *_: pytest.fail("SQL on a warm send"))
    await send(bot, anna, event_id="$2")
    assert len(bot.client.server.calls) == before


async def test_poison_never_stops_the_machine_and_takes_nothing_with_it(meet: Meet) -> None:
    anna, bot, eve = await meet(ANNA), await meet(BOT), await meet(EVE)
    poison = olm_poison(eve.user, bot.keys._machine.curve25519)
    event = await send(anna, bot)
    bot.take_in(*poison.values())
    assert isinstance(await bot.keys.open_event(ROOM, event), Opened)


POISON_THAT_STOPS_NIO = [
    "prekey, not base64",
    "normal, not base64",
    "prekey, wrong version",
    "bad sender key",
    "unknown one-time key",
]


@pytest.mark.parametrize("name", POISON_THAT_STOPS_NIO)
def test_plain_nio_is_stopped_by_poison(name: str) -> None:
    machine = Olm(BOT, "DEV", SqliteMemoryStore(BOT, "DEV"))
    event = olm_poison(EVE, machine.account.identity_keys["curve25519"])[name]
    with pytest.raises(ValueError):  # noqa: PT011 - vodozemac's exceptions share nothing else
        machine.handle_to_device_event(ToDeviceEvent.parse_event(event))


ROOM_KEYS: dict[str, Any] = {
    "bad key": {"room_id": ROOM, "session_id": "x", "session_key": "!!"},
    "wrong session id": {"room_id": ROOM, "session_id": "x", "session_key": "real"},
    "no room": {"session_id": "x", "session_key": "real"},
    "no content": None,
    "a list": [],
}


@pytest.mark.parametrize("name", ROOM_KEYS)
async def test_a_bad_room_key_is_dropped_and_its_olm_session_goes_on(meet: Meet, name: str) -> None:
    eve, bot = await meet(EVE), await meet(BOT)
    await eve.keys._devices.query([BOT])
    device = eve.keys._devices.active(BOT)[0]
    content = ROOM_KEYS[name]
    if isinstance(content, dict):
        content = {"algorithm": "m.megolm.v1.aes-sha2"} | content
        if content["session_key"] == "real":
            content["session_key"] = vodozemac.GroupSession().session_key.to_base64()
    await eve.keys._sharing.claim([device])
    await eve.keys._sharing.send_olm([device], "m.room_key", content)

    assert not bot.take_in().sessions

    event = await send(eve, bot)
    assert bot.take_in().sessions
    assert isinstance(await bot.keys.open_event(ROOM, event), Opened)


async def test_a_used_one_time_key_stays_used_after_a_restart(meet: Meet) -> None:
    """Nobody can begin the same Olm session twice: the key it used is gone from the disk, too."""
    anna, bot = await meet(ANNA), await meet(BOT)
    await send(anna, bot)
    waiting = list(bot.client.server.inbox[BOT, "DEV"])
    assert bot.take_in().sessions
    bot.keys = bot.reopened().keys
    store = bot.keys._store
    store.database.execute_sql("DELETE FROM olmsessions")
    store.database.execute_sql("DELETE FROM megolminboundsessions")
    bot.keys = bot.reopened().keys
    assert not bot.keys.take_in(waiting, [], [], {"signed_curve25519": 50}, None).sessions


@pytest.mark.parametrize("counts", [{"signed_curve25519": 0}, {}, None])
async def test_a_count_of_zero_or_none_refills(meet: Meet, counts: Json | None) -> None:
    bot = await meet(BOT)
    bot.client.server.one_time.clear()
    bot.keys.take_in([], [], [], counts, None)
    await bot.keys.upkeep()
    assert len(bot.client.server.one_time[BOT, "DEV"]) == 50


async def test_a_fallback_key_is_there_from_the_first_start_and_works(meet: Meet) -> None:
    anna, bot = await meet(ANNA), await meet(BOT)
    anna.client.server.one_time.clear()
    event = await send(anna, bot)
    bot.take_in()
    assert isinstance(await bot.keys.open_event(ROOM, event), Opened)


async def test_keys_are_saved_before_they_are_uploaded(meet: Meet) -> None:
    """The answer to the upload is lost, and the process dies: the same keys go up again and are accepted."""
    bot = await meet(BOT, start=False)
    server = bot.client.server
    uploaded: list[Json] = []
    plain = bot.client._upload

    def lost(body: Json, path: str) -> Json:
        plain(body, path)
        uploaded.append(body)
        raise Transient("the answer was lost")

    bot.client._upload = lost
    with pytest.raises(Transient):
        await bot.keys.start()
    again = bot.reopened()
    bot.keys = again.keys
    await bot.keys.start()
    known = set(server.one_time[BOT, "DEV"])
    assert set(uploaded[0]["one_time_keys"]) <= known
    assert len(known) == 50


async def test_an_old_copy_of_the_key_store_is_a_clear_stop(meet: Meet, tmp_path: Path) -> None:
    bot = await meet(BOT)
    server = bot.client.server
    server.one_time[BOT, "DEV"]["signed_curve25519:AAAAAAAAADM"] = {"key": "somebody's"}
    bot.keys.take_in([], [], [], {"signed_curve25519": 1}, None)
    with pytest.raises(Fatal, match="device status"):
        await bot.keys.upkeep()


async def test_a_later_index_never_replaces_and_nobody_replaces_a_session_of_somebody_else(meet: Meet) -> None:
    anna, bot, eve = await meet(ANNA), await meet(BOT), await meet(EVE)
    first = await send(anna, bot)
    bot.take_in()
    outbound = anna.keys._machine.outbound_group_sessions[ROOM]
    later = {"algorithm": "m.megolm.v1.aes-sha2", "room_id": ROOM, "session_id": outbound.id}
    later["session_key"] = outbound.session_key
    for sender in (anna, eve):
        await sender.keys._devices.query([BOT])
        device = sender.keys._devices.active(BOT)
        await sender.keys._sharing.claim(device)
        await sender.keys._sharing.send_olm(device, "m.room_key", later)
    bot.take_in()
    bot.keys = bot.reopened().keys
    assert isinstance(await bot.keys.open_event(ROOM, first), Opened)


async def test_a_failed_share_raises_and_is_not_counted(meet: Meet) -> None:
    anna, bot = await meet(ANNA), await meet(BOT)
    anna.client.server.fail = broken("sendToDevice/m.room.encrypted", 1)
    with pytest.raises(Transient):
        await send(bot, anna)
    event = await send(bot, anna)
    anna.take_in()
    assert isinstance(await anna.keys.open_event(ROOM, event), Opened)
    assert bot.client.access_token == "token"


@pytest.mark.parametrize("endpoint", ["keys/query", "keys/claim"])
async def test_nothing_is_sealed_while_keys_cannot_be_asked_for(meet: Meet, endpoint: str) -> None:
    anna, bot = await meet(ANNA), await meet(BOT)
    bot.client.server.fail = broken(endpoint, 1)
    with pytest.raises(Transient):
        await send(bot, anna)
    event = await send(bot, anna)
    anna.take_in()
    assert isinstance(await anna.keys.open_event(ROOM, event), Opened)


async def test_a_cancelled_share_blocks_nothing(meet: Meet, monkeypatch: pytest.MonkeyPatch) -> None:
    anna, bot = await meet(ANNA), await meet(BOT)
    hanging = asyncio.Event()
    plain = bot.client.call

    async def hang(method: str, path: str, body: Json | None = None, **options: Any) -> Any:
        if "claim" in path:
            hanging.set()
            await asyncio.Event().wait()
        return await plain(method, path, body, **options)

    monkeypatch.setattr(bot.client, "call", hang)
    task = asyncio.ensure_future(send(bot, anna))
    await hanging.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    monkeypatch.undo()
    event = await send(bot, anna)
    anna.take_in()
    assert isinstance(await anna.keys.open_event(ROOM, event), Opened)


async def test_what_nobody_could_ever_read_is_not_sent(meet: Meet) -> None:
    anna, bot = await meet(ANNA, start=False), await meet(BOT)
    with pytest.raises(Refused):
        await send(bot, anna)
    await send(bot, anna, full_history=True)  # staff who come later are given the key


async def test_a_device_with_our_own_device_id_gets_keys(meet: Meet) -> None:
    anna, bot = await meet(ANNA, "SAME"), await meet(BOT, "SAME")
    event = await send(bot, anna)
    anna.take_in()
    assert isinstance(await anna.keys.open_event(ROOM, event), Opened)


async def test_one_bad_device_does_not_hide_the_others(meet: Meet) -> None:
    anna, bot = await meet(ANNA), await meet(BOT)
    devices = bot.client.server.devices[ANNA]
    devices |= {"BAD1": {}, "BAD2": None, "BAD3": {"user_id": ANNA, "device_id": "BAD3", "keys": []}}
    event = await send(bot, anna)
    anna.take_in()
    assert isinstance(await anna.keys.open_event(ROOM, event), Opened)


async def test_a_new_device_reads_on_and_a_removed_one_changes_the_session(meet: Meet) -> None:
    anna, bot = await meet(ANNA), await meet(BOT)
    first = await send(bot, anna)
    phone = await meet(ANNA, "PHONE", start=False)
    await phone.keys._uploads.refill()
    bot.keys.take_in([], [ANNA], [], {"signed_curve25519": 50}, None)
    second = await send(bot, anna, event_id="$2")
    phone.take_in()
    assert first["content"]["session_id"] == second["content"]["session_id"]
    assert isinstance(await phone.keys.open_event(ROOM, second), Opened)
    assert isinstance(await phone.keys.open_event(ROOM, first), NoKey)

    del bot.client.server.devices[ANNA]["PHONE"]
    bot.keys.take_in([], [ANNA], [], {"signed_curve25519": 50}, None)
    third = await send(bot, anna, event_id="$3")
    phone.take_in()
    assert isinstance(await phone.keys.open_event(ROOM, third), NoKey)


@pytest.mark.parametrize("lists", [{}, {ANNA: None}])
async def test_a_list_that_was_not_given_is_asked_for_again(
    meet: Meet, monkeypatch: pytest.MonkeyPatch, lists: Json
) -> None:
    anna, bot = await meet(ANNA), await meet(BOT)
    await send(bot, anna)
    with monkeypatch.context() as away:
        away.setattr(bot.client, "_query", lambda *_: {"device_keys": lists, "failures": {"x": {}}})
        bot.keys.take_in([], [ANNA], [], {"signed_curve25519": 50}, None)
        await bot.keys.upkeep()
        before = bot.client.server.count("keys/query")
        await send(bot, anna, event_id="$2")
        await bot.keys.upkeep()
        assert bot.client.server.count("keys/query") == before  # not with each message and sync
    del bot.client.server.devices[ANNA]["DEV"]  # she had logged it out while her server was away
    new = await meet(ANNA, "NEW", start=False)
    await new.keys._uploads.refill()
    monkeypatch.setattr("bot.matrix.e2ee.devices.ASK_AGAIN_AFTER_S", 0.0)  # a minute later
    await bot.keys.upkeep()
    event = await send(bot, anna, event_id="$3")
    anna.take_in(), new.take_in()
    assert isinstance(await anna.keys.open_event(ROOM, event), NoKey)
    assert isinstance(await new.keys.open_event(ROOM, event), Opened)
    before = bot.client.server.count("keys/query")
    await bot.keys.upkeep()
    assert bot.client.server.count("keys/query") == before


async def test_a_change_that_is_announced_is_asked_for_at_once(meet: Meet, monkeypatch: pytest.MonkeyPatch) -> None:
    anna, bot = await meet(ANNA), await meet(BOT)
    with monkeypatch.context() as away:
        away.setattr(bot.client, "_query", lambda *_: {"device_keys": {}, "failures": {"x": {}}})
        await bot.keys._devices.query([ANNA])
    bot.keys.take_in([], [ANNA], [], {"signed_curve25519": 50}, None)
    await bot.keys.upkeep()
    assert [device.id for device in bot.keys._devices.active(anna.user)] == ["DEV"]


async def test_a_member_who_left_cannot_read_on(meet: Meet) -> None:
    anna, eve, bot = await meet(ANNA), await meet(EVE), await meet(BOT)
    await send(bot, anna, eve)
    event = await send(bot, anna, event_id="$2")
    eve.take_in()
    assert isinstance(await eve.keys.open_event(ROOM, event), NoKey)


async def test_history_is_shared_with_who_comes_later(meet: Meet) -> None:
    anna, eve, bot = await meet(ANNA), await meet(EVE), await meet(BOT)
    events = [await send(bot, anna, full_history=True, event_id="$1")]
    bot.keys.rotate(ROOM)
    events.append(await send(bot, anna, full_history=True, event_id="$2"))
    bot.keys = bot.reopened().keys
    await bot.keys.share_history(ROOM, UserId(EVE))
    eve.take_in()
    assert [type(await eve.keys.open_event(ROOM, event)) for event in events] == [Opened, Opened]


async def sealed(anna: Person, bot: Person, plaintext: str, event_id: str = "$x") -> Json:
    """Encrypt any plaintext with the session that the bot knows."""
    event = await send(anna, bot, event_id=event_id)
    outbound = anna.keys._machine.outbound_group_sessions[ROOM]
    event["content"]["ciphertext"] = outbound.encrypt(plaintext)
    bot.take_in()
    return event


def inner(**changes: Any) -> str:
    return json.dumps({"type": "m.room.message", "room_id": ROOM, "content": TEXT} | changes)


FORGERIES = {
    "null": ("null", "payload"),
    "a list": ("[]", "payload"),
    "deep": ("[" * 20000, "payload"),
    "no json": ("{", "payload"),
    "no type": (inner(type=None), "payload"),
    "content is text": (inner(content="x"), "payload"),
    "member": (inner(type="m.room.member", content={"membership": "join"}), "state"),
    "state key": (inner(state_key=""), "state"),
    "encryption": (inner(type="m.room.encryption"), "state"),
    "another room": (inner(room_id="!other:x"), "room"),
}


@pytest.mark.parametrize("name", FORGERIES)
async def test_what_is_inside_is_not_believed(meet: Meet, name: str) -> None:
    anna, bot = await meet(ANNA), await meet(BOT)
    plaintext, reason = FORGERIES[name]
    assert await bot.keys.open_event(ROOM, await sealed(anna, bot, plaintext)) == Forged(reason)


async def test_bytes_that_are_no_text_are_refused(meet: Meet) -> None:
    anna, bot = await meet(ANNA), await meet(BOT)
    event = await sealed(anna, bot, inner())
    raw = anna.keys._machine.outbound_group_sessions[ROOM]._session
    event["content"]["ciphertext"] = raw.encrypt(b"\xff\xfe").to_base64()
    assert await bot.keys.open_event(ROOM, event) == Forged("ciphertext")


async def test_nobody_speaks_in_the_name_of_another(meet: Meet) -> None:
    anna, bot, _ = await meet(ANNA), await meet(BOT), await meet(EVE)
    event = await sealed(anna, bot, inner())
    assert await bot.keys.open_event(ROOM, event | {"sender": EVE}) == Forged("owner")


async def test_a_ciphertext_counts_once(meet: Meet) -> None:
    anna, bot = await meet(ANNA), await meet(BOT)
    event = await sealed(anna, bot, inner())
    assert isinstance(await bot.keys.open_event(ROOM, event), Opened)
    assert isinstance(await bot.keys.open_event(ROOM, event), Opened)
    assert await bot.keys.open_event(ROOM, event | {"event_id": "$again"}) == Forged("replay")


async def test_a_ciphertext_counts_once_after_a_restart_too(meet: Meet) -> None:
    anna, bot = await meet(ANNA), await meet(BOT)
    event = await sealed(anna, bot, inner())
    assert isinstance(await bot.keys.open_event(ROOM, event), Opened)
    bot.keys = bot.reopened().keys
    assert await bot.keys.open_event(ROOM, event | {"event_id": "$again"}) == Forged("replay")
    assert isinstance(await bot.keys.open_event(ROOM, event), Opened)


async def test_a_copy_by_somebody_else_does_not_make_the_genuine_event_a_replay(meet: Meet) -> None:
    anna, bot, _ = await meet(ANNA), await meet(BOT), await meet(EVE)
    event = await sealed(anna, bot, inner())
    assert await bot.keys.open_event(ROOM, event | {"sender": EVE, "event_id": "$copy"}) == Forged("owner")
    assert isinstance(await bot.keys.open_event(ROOM, event), Opened)


async def test_an_event_is_read_again_without_sql(meet: Meet, monkeypatch: pytest.MonkeyPatch) -> None:
    anna, bot = await meet(ANNA), await meet(BOT)
    event = await sealed(anna, bot, inner())
    opened = await bot.keys.open_event(ROOM, event)
    monkeypatch.setattr(bot.keys._store.database, "execute_sql", lambda *_: pytest.fail("SQL on a second read"))
    assert await bot.keys.open_event(ROOM, event) == opened


async def test_what_could_not_be_written_down_counts_as_not_opened(meet: Meet, monkeypatch: pytest.MonkeyPatch) -> None:
    anna, bot = await meet(ANNA), await meet(BOT)
    event = await sealed(anna, bot, inner())
    await bot.keys._devices.query([ANNA])

    def full(*_: Any) -> None:
        raise OperationalError("database or disk is full")

    monkeypatch.setattr(bot.keys._store, "first_event", full)
    with pytest.raises(Transient):
        await bot.keys.open_event(ROOM, event)
    monkeypatch.undo()
    assert bot.keys._store.database.execute_sql("PRAGMA synchronous").fetchone() == (2,)
    assert isinstance(await bot.keys.open_event(ROOM, event), Opened)
    assert await bot.keys.open_event(ROOM, event | {"event_id": "$again"}) == Forged("replay")


async def test_that_it_was_opened_waits_for_no_disk_and_then_does(meet: Meet) -> None:
    anna, bot = await meet(ANNA), await meet(BOT)
    event = await sealed(anna, bot, inner())
    assert isinstance(await bot.keys.open_event(ROOM, event), Opened)
    store = bot.keys._store
    how = store.database.execute_sql("PRAGMA synchronous").fetchone()
    assert how == (2,), "what comes next is on the disk when it is committed"
    before = store.database.connection().total_changes
    store.settle()
    assert store.database.connection().total_changes == before + 1, "one full commit takes the disk with it"
    store.settle()
    assert store.database.connection().total_changes == before + 1, "and nothing is written for nothing"


async def test_events_without_sender_key_and_device_are_read(meet: Meet) -> None:
    anna, bot = await meet(ANNA), await meet(BOT)
    event = await sealed(anna, bot, inner())
    del event["content"]["sender_key"], event["content"]["device_id"]
    assert isinstance(await bot.keys.open_event(ROOM, event), Opened)


async def test_a_message_of_a_device_that_is_gone_is_still_theirs(meet: Meet) -> None:
    anna, bot = await meet(ANNA), await meet(BOT)
    event = await sealed(anna, bot, inner())
    assert isinstance(await bot.keys.open_event(ROOM, event), Opened)
    bot.client.server.devices[ANNA].clear()
    await bot.keys._devices.query([ANNA])
    assert isinstance(await bot.keys.open_event(ROOM, event), Opened)


async def test_unknown_senders_cannot_keep_us_asking(meet: Meet) -> None:
    anna, bot, _ = await meet(ANNA), await meet(BOT), await meet(EVE)
    event = await sealed(anna, bot, inner())
    before = bot.client.server.count("keys/query")
    for number in range(20):
        await bot.keys.open_event(ROOM, event | {"sender": EVE, "event_id": f"${number}"})
    assert bot.client.server.count("keys/query") <= before + 1


async def test_a_second_start_changes_nothing(meet: Meet) -> None:
    bot = await meet(BOT)
    before = json.dumps([bot.client.server.identities, bot.client.server.devices])
    bot.keys = bot.reopened().keys
    await bot.keys.start()
    assert json.dumps([bot.client.server.identities, bot.client.server.devices]) == before
    assert bot.client.server.count("keys/device_signing") == 1
    assert (await bot.keys.status()).problems == []


async def test_a_lost_key_store_is_a_clear_stop(meet: Meet, tmp_path: Path) -> None:
    bot = await meet(BOT)
    lost = person(bot.client.server, tmp_path / "other.db", BOT, "DEV")
    with pytest.raises(Fatal, match="device status"):
        await lost.keys.start()
    assert (await lost.keys.status()).problems
    lost.keys.close()


async def test_a_foreign_identity_is_a_clear_stop_and_stays(meet: Meet) -> None:
    bot = await meet(BOT)
    other = await meet(BOT, "OTHER", start=False)
    before = json.dumps(bot.client.server.identities)
    with pytest.raises(Fatal, match="cross-signing"):
        await other.keys.start()
    assert json.dumps(bot.client.server.identities) == before


@pytest.mark.parametrize("endpoint", ["keys/upload", "keys/device_signing", "keys/signatures", "keys/query"])
@pytest.mark.parametrize("times", [1, 2])
async def test_a_first_start_that_fails_anywhere_is_finished_by_the_next(meet: Meet, endpoint: str, times: int) -> None:
    bot = await meet(BOT, start=False)
    bot.client.server.fail = broken(endpoint, times)
    for _ in range(times):
        with pytest.raises(Transient):
            await bot.keys.start()
        bot.keys = bot.reopened().keys
    await bot.keys.start()
    assert (await bot.keys.status()).problems == []


async def test_the_wrong_key_opens_nothing_and_nothing_readable_is_on_disk(meet: Meet, tmp_path: Path) -> None:
    anna, bot = await meet(ANNA), await meet(BOT)
    await send(bot, anna)
    everything = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"anna" not in everything
    assert b"SQLite format" not in everything
    with pytest.raises(Fatal, match="master secret"):
        Keys.open(
            bot.path,
            database_key=b"x" * 32,
            pickle_key=b"p" * 32,
            user_id=UserId(BOT),
            device_id="DEV",
            transport=bot.client,
        )


async def test_after_a_rollback_memory_is_read_from_disk_again(meet: Meet, monkeypatch: pytest.MonkeyPatch) -> None:
    anna, bot = await meet(ANNA), await meet(BOT)
    event = await send(anna, bot)
    waiting = list(bot.client.server.inbox[BOT, "DEV"])
    store = bot.keys._store

    def full(session: InboundGroupSession) -> None:
        raise Transient("disk full")

    monkeypatch.setattr(store, "save_inbound_group_session", full)
    with pytest.raises(Transient):
        bot.take_in()
    monkeypatch.undo()
    bot.client.server.inbox[BOT, "DEV"] = waiting
    bot.take_in()
    assert isinstance(await bot.keys.open_event(ROOM, event), Opened)
