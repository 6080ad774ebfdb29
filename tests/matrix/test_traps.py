"""Every trap of matrix-nio 0.26.0 that we know of: plain nio still has it, and we do not. One table, `TRAPS`.

The left half of each row is a test in this file that shows the fault on plain nio, with its own machine and client and
hand-made answers of a server; when nio mends a fault, that half fails, and what we do about it may go. The right half
names the test that shows its absence here. Where a row says `reads`, the left half looks at a default or a signature
instead of living through the fault, which would take for ever or need a server.
"""

import ast
import asyncio
import inspect
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import vodozemac
from nio import AsyncClient, AsyncClientConfig, MatrixRoom
from nio.crypto import OlmDevice
from nio.crypto.olm_machine import Olm
from nio.events import Event, MegolmEvent, ToDeviceEvent
from nio.responses import ShareGroupSessionError, SyncResponse
from nio.store import SqliteMemoryStore, SqliteStore, database

from bot.domain.ids import UserId
from bot.matrix.e2ee.store import CipherStore
from bot.matrix.session import parse

ROOM = "!room:x"
ANNA, BOT, EVE = "@anna:x", "@bot:x", "@eve:x"
Json = dict[str, Any]


@dataclass(frozen=True)
class Trap:
    """One fault: its number, what happens, the test of plain nio (here), and where its absence is shown."""

    number: int
    fault: str
    plain: str
    here: str
    reads: bool = False


GUARD, STRANGERS = "tests/matrix/test_guard.py", "tests/matrix/test_strangers.py"
OWING = "tests/matrix/test_owing.py"
CONTRACT, POISON = "tests/contracts/test_messenger.py", "tests/faults/test_poison.py"

TRAPS = [
    Trap(1, "an encrypted m.room.member makes a member", "encrypted_member", f"{GUARD}::test_what_is_inside_is_not_believed"),
    Trap(2, "one to-device event stops the sync", "poison", f"{GUARD}::test_poison_never_stops_the_machine_and_takes_nothing_with_it"),
    Trap(2, "one room key stops the sync", "bad_room_key", f"{GUARD}::test_a_bad_room_key_is_dropped_and_its_olm_session_goes_on"),
    Trap(2, "one Megolm plaintext stops the sync", "bad_plaintext", f"{GUARD}::test_what_is_inside_is_not_believed"),
    Trap(2, "a device with a long key panics", "long_key", f"{STRANGERS}::test_a_device_with_a_key_of_another_length_ends_no_process"),
    Trap(3, "no one-time key left is no news", "count_of_zero", f"{GUARD}::test_a_count_of_zero_or_none_refills"),
    Trap(3, "there is no fallback key", "no_fallback_key", f"{GUARD}::test_a_fallback_key_is_there_from_the_first_start_and_works"),
    Trap(4, "a failed share logs the client out", "failed_share_logs_out", f"{GUARD}::test_a_failed_share_raises_and_is_not_counted"),
    Trap(4, "a failed share counts as shared", "failed_share_counts", f"{GUARD}::test_a_failed_share_raises_and_is_not_counted"),
    Trap(4, "a failed claim blocks its room for ever", "failed_claim_blocks", f"{GUARD}::test_a_cancelled_share_blocks_nothing"),
    Trap(5, "a device without a key is left out silently", "device_without_key", f"{OWING}::test_a_device_that_had_no_key_gets_it_later"),
    Trap(6, "a crash between two commits loses a key", "crash_between_commits", "tests/matrix/test_key_crashes.py::test_a_kill_between_any_two_commits"),
    Trap(7, "the token is saved before anything is done", "token_first", "tests/faults/test_power_cuts.py::test_twenty_kills_in_a_burst"),
    Trap(8, "a later index replaces an earlier one", "later_index", f"{GUARD}::test_a_later_index_never_replaces_and_nobody_replaces_a_session_of_somebody_else"),
    Trap(9, "the sender is not bound to the session", "any_sender", f"{GUARD}::test_nobody_speaks_in_the_name_of_another"),
    Trap(10, "the room inside is not compared", "other_room", f"{GUARD}::test_what_is_inside_is_not_believed"),
    Trap(11, "plaintext looks like any message", "plaintext", f"{POISON}::test_garbage_in_the_room"),
    Trap(12, "without sender_key nothing is decrypted", "no_sender_key", f"{GUARD}::test_events_without_sender_key_and_device_are_read"),
    Trap(13, "changed lists of others are dropped", "changed_lists", f"{GUARD}::test_a_new_device_reads_on_and_a_removed_one_changes_the_session"),
    Trap(14, "leaving a room goes unnoticed", "left_room", "tests/matrix/test_traps.py::test_we_hear_that_we_left"),
    Trap(15, "a restart forgets what it sends with", "restart", f"{GUARD}::test_history_is_shared_with_who_comes_later"),
    Trap(16, "emoji verification is broken", "", "tests/matrix/test_verification.py::test_both_sides_see_the_same_and_vouch_for_their_keys"),
    Trap(17, "keys are uploaded before they are saved", "keys_not_saved", f"{GUARD}::test_keys_are_saved_before_they_are_uploaded"),
    Trap(18, "a used one-time key comes back", "used_key", f"{GUARD}::test_a_used_one_time_key_stays_used_after_a_restart"),
    Trap(19, "a device named like ours gets no keys", "same_device_id", f"{GUARD}::test_a_device_with_our_own_device_id_gets_keys"),
    Trap(20, "receipts are for the thread “main”", "receipts", "tests/matrix/test_traps.py::test_our_receipts_name_no_thread", reads=True),
    Trap(21, "without a server it tries for ever", "patience", "tests/matrix/test_transport.py::test_nobody_there_is_transient", reads=True),
    Trap(22, "a room taken for plain is written to in clear", "clear", f"{CONTRACT}::test_nothing_plain_goes_into_an_encrypted_room_and_nothing_sealed_into_a_plain_one"),
    Trap(22, "without a key store it writes in clear", "no_store", f"{CONTRACT}::test_nothing_plain_goes_into_an_encrypted_room_and_nothing_sealed_into_a_plain_one"),
]  # fmt: skip

NOT_HERE = {16}
"""The left half stands where the module that takes the place of nio's is tested."""


def test_every_trap_has_both_halves() -> None:
    assert {trap.number for trap in TRAPS} == set(range(1, 23))
    mine = {name for name in globals() if name.startswith("test_plain_nio_")}
    for trap in TRAPS:
        assert f"test_plain_nio_{trap.plain}" in mine or trap.number in NOT_HERE, trap
        file, _, name = trap.here.partition("::")
        tests = [node.name for node in ast.walk(ast.parse(Path(file).read_text())) if hasattr(node, "name")]
        assert any(test.startswith(name) for test in tests), trap
    assert mine == {f"test_plain_nio_{trap.plain}" for trap in TRAPS if trap.plain}


def machine(user: str = BOT, device: str = "DEV", folder: Path | None = None) -> Olm:
    store = SqliteStore(user, device, str(folder)) if folder else SqliteMemoryStore(user, device)
    return Olm(user, device, store)


def keys_of(olm: Olm) -> tuple[str, str]:
    return olm.account.identity_keys["curve25519"], olm.account.identity_keys["ed25519"]


def known(olm: Olm, other: Olm) -> OlmDevice:
    """Let one machine know the device of another."""
    curve25519, ed25519 = keys_of(other)
    device = OlmDevice(other.user_id, other.device_id, {"ed25519": ed25519, "curve25519": curve25519})
    olm.device_store.add(device)
    olm.store.save_device_keys({other.user_id: {other.device_id: device}})
    return device


def whisper(sender: Olm, reader: Olm, event_type: str, content: Json) -> ToDeviceEvent:
    """Send something through Olm, beginning a session if there is none."""
    device = known(sender, reader)
    if not sender.session_store.get(device.curve25519):
        reader.account.generate_one_time_keys(1)
        key = next(iter(reader.account.one_time_keys["curve25519"].values()))
        reader.mark_keys_as_published()
        reader.save_account()
        sender.create_session(key, device.curve25519)
    sealed = sender._olm_encrypt(sender.session_store.get(device.curve25519), device, event_type, content)
    return parse_to_device(sender.user_id, sealed)


def parse_to_device(sender: str, content: Json) -> ToDeviceEvent:
    return ToDeviceEvent.parse_event({"type": "m.room.encrypted", "sender": sender, "content": content})


def room_key(session: vodozemac.GroupSession, **changes: Any) -> Json:
    content = {"algorithm": "m.megolm.v1.aes-sha2", "room_id": ROOM, "session_id": session.session_id}
    return content | {"session_key": session.session_key.to_base64()} | changes


def sealed_event(olm: Olm, session: vodozemac.GroupSession, plaintext: bytes, sender: str = ANNA) -> Json:
    """Encrypt anything as Anna's device would."""
    return {
        "type": "m.room.encrypted",
        "event_id": "$1",
        "sender": sender,
        "origin_server_ts": 1,
        "content": {
            "algorithm": "m.megolm.v1.aes-sha2",
            "sender_key": keys_of(olm)[0],
            "device_id": "DEV",
            "session_id": session.session_id,
            "ciphertext": session.encrypt(plaintext).to_base64(),
        },
    }


def message(**changes: Any) -> bytes:
    inner = {"type": "m.room.message", "room_id": ROOM, "content": {"msgtype": "m.text", "body": "hallo"}}
    return json.dumps(inner | changes).encode()


@dataclass
class Pair:
    """A client of plain nio, and a device that has given it the key of a session."""

    client: AsyncClient
    anna: Olm
    session: vodozemac.GroupSession

    async def sync(self, token: str = "s1", *, room: Json | None = None, **parts: Any) -> None:
        answer: Json = {"next_batch": token, "device_one_time_keys_count": {"signed_curve25519": 50}}
        answer |= {"rooms": {"join": {ROOM: room}} if room else {}}
        await self.client.receive_response(SyncResponse.from_dict(answer | parts))

    async def hear(self, *events: Json) -> None:
        await self.sync(f"s{len(events)}-{events[0]['event_id']}", room=joined(*events))

    def open(self, plaintext: bytes, sender: str = ANNA) -> Any:
        event = Event.parse_encrypted_event(sealed_event(self.anna, self.session, plaintext, sender))
        event.room_id = ROOM
        return self.client.olm._decrypt_megolm_no_error(event)


def joined(*events: Json, state: list[Json] | None = None) -> Json:
    timeline = {"events": list(events), "limited": False, "prev_batch": "p"}
    return {
        "timeline": timeline,
        "state": {"events": state or []},
        "ephemeral": {"events": []},
        "account_data": {"events": []},
    }


def state(event_type: str, key: str, content: Json) -> Json:
    event = {"type": event_type, "state_key": key, "content": content, "sender": ANNA}
    return event | {"event_id": f"${event_type}{key}", "origin_server_ts": 1}


@pytest_asyncio.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    config = AsyncClientConfig(store_sync_tokens=True, encryption_enabled=True)
    client = AsyncClient("http://127.0.0.1:9", BOT, "BOT", store_path=str(tmp_path), config=config)
    client.restore_login(BOT, "BOT", "token")
    anna, session = machine(ANNA), vodozemac.GroupSession()
    made = Pair(client, anna, session)
    there = [
        state("m.room.encryption", "", {"algorithm": "m.megolm.v1.aes-sha2"}),
        *(state("m.room.member", user, {"membership": "join"}) for user in (ANNA, BOT)),
    ]
    await made.sync("s0", room=joined(state=there))
    known(client.olm, anna)
    client.olm.handle_to_device_event(whisper(anna, client.olm, "m.room_key", room_key(session)))
    yield made
    client.store.database.close()


async def test_plain_nio_encrypted_member(pair: Pair) -> None:
    member = message(type="m.room.member", state_key=EVE, content={"membership": "join"})
    await pair.hear(sealed_event(pair.anna, pair.session, member))
    assert EVE in pair.client.rooms[ROOM].users


async def test_plain_nio_poison(pair: Pair) -> None:
    """Each kind is shown in test_guard.py, on the machine; this is what a client makes of one of them."""
    key = keys_of(pair.client.olm)[0]
    content = {"algorithm": "m.olm.v1.curve25519-aes-sha2", "sender_key": keys_of(pair.anna)[0]}
    poison = content | {"ciphertext": {key: {"type": 0, "body": "!!!"}}}
    with pytest.raises(ValueError, match="base64"):
        await pair.sync(to_device={"events": [{"type": "m.room.encrypted", "sender": EVE, "content": poison}]})


async def test_plain_nio_bad_room_key(pair: Pair) -> None:
    bad = whisper(pair.anna, pair.client.olm, "m.room_key", room_key(vodozemac.GroupSession(), session_key="!!"))
    with pytest.raises(vodozemac.SessionKeyDecodeException):
        pair.client.olm.handle_to_device_event(bad)


@pytest.mark.parametrize("plaintext", [b"null", b"[]", b"\xff\xfe", b"[" * 20_000])
async def test_plain_nio_bad_plaintext(pair: Pair, plaintext: bytes) -> None:
    with pytest.raises((TypeError, AttributeError, UnicodeDecodeError, RecursionError)):
        await pair.hear(sealed_event(pair.anna, pair.session, plaintext))


def test_plain_nio_long_key() -> None:
    keys = {"ed25519:DEV": "A" * 44, "curve25519:DEV": "A" * 43}
    device = {"user_id": EVE, "device_id": "DEV", "keys": keys, "signatures": {EVE: {"ed25519:DEV": "A" * 86}}}
    with pytest.raises(BaseException, match="source slice length") as caught:
        machine().verify_json(device, "A" * 44, EVE, "DEV")
    assert not isinstance(caught.value, Exception)


@pytest.mark.parametrize("counts", [{"signed_curve25519": 0}, {}])
async def test_plain_nio_count_of_zero(pair: Pair, counts: Json) -> None:
    pair.client.olm.account.shared = True
    await pair.sync("s1")
    await pair.sync("s2", device_one_time_keys_count=counts)
    assert not pair.client.olm.should_upload_keys


def test_plain_nio_no_fallback_key() -> None:
    assert "fallback_keys" not in machine().share_keys()


async def test_plain_nio_failed_share_logs_out(pair: Pair) -> None:
    error = ShareGroupSessionError.from_dict({"errcode": "M_UNKNOWN", "error": "later"}, ROOM, {(ANNA, "DEV")})
    await pair.client.receive_response(error)
    assert pair.client.access_token == ""


def answering(monkeypatch: pytest.MonkeyPatch, client: AsyncClient, answer: Callable[[str], Any]) -> list[str]:
    """Let the client's requests be answered by this; return the paths that were asked."""
    asked: list[str] = []

    async def send(kind: type, method: str, path: str, *arguments: Any, **options: Any) -> Any:
        asked.append(path)
        found = answer(path)
        if isinstance(found, BaseException):
            raise found
        return found

    monkeypatch.setattr(client, "_send", send)
    return asked


async def test_plain_nio_failed_share_counts(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, pair.client, lambda path: OSError("no answer"))
    await pair.client.share_group_session(ROOM, ignore_unverified_devices=True)
    assert not pair.client.olm.should_share_group_session(ROOM)
    assert not pair.client.olm.outbound_group_sessions[ROOM].users_shared_with


async def test_plain_nio_failed_claim_blocks(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    known(pair.client.olm, machine(ANNA, "NEW"))
    answering(monkeypatch, pair.client, lambda path: TimeoutError())
    with pytest.raises(TimeoutError):
        await pair.client.share_group_session(ROOM, ignore_unverified_devices=True)
    pair.client.rooms[ROOM].members_synced = True
    waiting = asyncio.ensure_future(pair.client.room_send(ROOM, "m.room.message", {}, ignore_unverified_devices=True))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


async def test_plain_nio_device_without_key(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    known(pair.client.olm, machine(ANNA, "NEW"))
    pair.client.olm.session_store._entries.clear()
    asked = answering(monkeypatch, pair.client, lambda path: None)
    await pair.client.share_group_session(ROOM, ignore_unverified_devices=True)
    assert not any("sendToDevice" in path for path in asked)
    assert not pair.client.olm.should_share_group_session(ROOM)


def test_plain_nio_crash_between_commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process dies after the Olm session is written and before the room key is; the sync comes again."""
    anna, bot, session = machine(ANNA), machine(folder=tmp_path), vodozemac.GroupSession()
    event = whisper(anna, bot, "m.room_key", room_key(session))

    def dies(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(bot, "create_group_session", dies)
    with pytest.raises(KeyboardInterrupt):
        bot.handle_to_device_event(event)
    bot.store.database.close()
    again = machine(folder=tmp_path)
    again.handle_to_device_event(event)
    assert again.inbound_group_store.get(ROOM, keys_of(anna)[0], session.session_id) is None
    again.store.database.close()


async def test_plain_nio_token_first(pair: Pair) -> None:
    def dies(*_: Any) -> None:
        raise KeyboardInterrupt

    pair.client.add_event_callback(dies, Event)
    with pytest.raises(KeyboardInterrupt):
        await pair.sync("s7", room=joined(sealed_event(pair.anna, pair.session, message())))
    assert pair.client.store.load_sync_token() == "s7"


async def test_plain_nio_later_index(pair: Pair) -> None:
    first = sealed_event(pair.anna, pair.session, message())
    again = whisper(pair.anna, pair.client.olm, "m.room_key", room_key(pair.session))
    pair.client.olm.handle_to_device_event(again)
    event = Event.parse_encrypted_event(first)
    event.room_id = ROOM
    assert pair.client.olm._decrypt_megolm_no_error(event) is None


async def test_plain_nio_any_sender(pair: Pair) -> None:
    assert pair.open(message(), sender=EVE).sender == EVE


async def test_plain_nio_other_room(pair: Pair) -> None:
    assert pair.open(message(room_id="!other:x")).body == "hallo"


async def test_plain_nio_plaintext(pair: Pair) -> None:
    heard: list[Event] = []
    pair.client.add_event_callback(lambda _, event: heard.append(event), Event)
    text = {"type": "m.room.message", "sender": EVE, "event_id": "$2", "origin_server_ts": 1}
    await pair.hear(
        sealed_event(pair.anna, pair.session, message()),
        text | {"content": {"msgtype": "m.text", "body": "hallo"}},
    )
    assert [type(event).__name__ for event in heard] == ["RoomMessageText", "RoomMessageText"]


async def test_plain_nio_no_sender_key(pair: Pair) -> None:
    event = sealed_event(pair.anna, pair.session, message())
    del event["content"]["sender_key"], event["content"]["device_id"]
    assert not isinstance(Event.parse_encrypted_event(event), MegolmEvent)


async def test_plain_nio_changed_lists(pair: Pair) -> None:
    """After a start from a token nio knows no room, and drops what it is told of the people in them."""
    pair.client.rooms.clear()
    pair.client.olm.users_for_key_query.clear()
    await pair.sync("s5", device_lists={"changed": [ANNA], "left": []})
    assert not pair.client.olm.users_for_key_query


async def test_plain_nio_left_room(pair: Pair) -> None:
    await pair.sync("s5", rooms={"leave": {ROOM: joined(state("m.room.member", BOT, {"membership": "leave"}))}})
    assert ROOM in pair.client.rooms


def test_we_hear_that_we_left() -> None:
    gone = joined(state("m.room.member", BOT, {"membership": "leave"}))
    batch = parse({"next_batch": "s", "rooms": {"leave": {ROOM: gone}}}, UserId(BOT))
    assert [update.membership for update in batch.rooms] == ["leave"]


def test_plain_nio_restart(tmp_path: Path) -> None:
    bot = machine(folder=tmp_path)
    bot.create_outbound_group_session(ROOM)
    bot.store.database.close()
    again = machine(folder=tmp_path)
    assert not again.outbound_group_sessions
    again.store.database.close()


def test_plain_nio_keys_not_saved(tmp_path: Path) -> None:
    """What would go up is lost if the process dies before the answer, and its ids are used again."""
    bot = machine(folder=tmp_path)
    sent = bot.share_keys()["one_time_keys"]
    bot.store.database.close()
    again = machine(folder=tmp_path)
    sent_again = again.share_keys()["one_time_keys"]
    assert set(sent) & set(sent_again)
    assert all(sent[name]["key"] != sent_again[name]["key"] for name in set(sent) & set(sent_again))
    again.store.database.close()


def test_plain_nio_used_key(tmp_path: Path) -> None:
    anna, bot, session = machine(ANNA), machine(folder=tmp_path), vodozemac.GroupSession()
    event = whisper(anna, bot, "m.room_key", room_key(session))
    bot.handle_to_device_event(event)
    bot.store.database.execute_sql("DELETE FROM olmsessions")
    bot.store.database.execute_sql("DELETE FROM megolminboundsessions")
    bot.store.database.close()
    again = machine(folder=tmp_path)
    again.handle_to_device_event(event)
    assert again.inbound_group_store.get(ROOM, keys_of(anna)[0], session.session_id) is not None
    again.store.database.close()


def test_plain_nio_same_device_id() -> None:
    bot, anna = machine(BOT, "SAME"), machine(ANNA, "SAME")
    whisper(bot, anna, "m.dummy", {})
    assert not list(bot.share_group_session_parallel(ROOM, [ANNA], ignore_unverified_devices=True))
    assert not bot.get_missing_sessions([ANNA])


def test_plain_nio_receipts() -> None:
    assert inspect.signature(AsyncClient.update_receipt_marker).parameters["thread_id"].default == "main"


def test_our_receipts_name_no_thread() -> None:
    from bot.matrix.messenger import NioMessenger

    assert "thread" not in inspect.getsource(NioMessenger.mark_read)


def test_plain_nio_patience() -> None:
    config = AsyncClientConfig()
    assert config.max_timeouts is None
    assert config.max_limit_exceeded is None


async def test_plain_nio_clear(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.client.rooms[ROOM] = MatrixRoom(ROOM, BOT, encrypted=False)
    asked = answering(monkeypatch, pair.client, lambda path: None)
    await pair.client.room_send(ROOM, "m.room.message", {"msgtype": "m.text", "body": "geheim"})
    assert "m.room.message" in asked[0]


async def test_plain_nio_no_store(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    client = AsyncClient("http://127.0.0.1:9", BOT, "BOT")
    client.access_token = "token"
    asked = answering(monkeypatch, client, lambda path: None)
    await client.room_send(ROOM, "m.room.message", {"msgtype": "m.text", "body": "geheim"})
    assert "m.room.message" in asked[0]


def test_the_store_names_all_its_models() -> None:
    """Our database binds those alone. What else is there belongs to stores older than ours, or to nobody."""
    related = {model for known in CipherStore.models for _, model, _ in known._meta.model_graph()}
    assert {model.__name__ for model in related - set(CipherStore.models)} == {"DeviceKeys_v1", "TrackedUsers"}
    assert "TrackedUsers" not in inspect.getsource(database)
    assert (
        inspect.getsource(database).count("DeviceKeys_v1")
        == inspect.getsource(database.MatrixStore.upgrade_to_v2).count("DeviceKeys_v1") + 1
    ), "it is imported, and then only upgraded"


def test_the_helpers_are_sound() -> None:
    """What the table counts on: a session that nio opens, so that a failure above is the fault and not the test."""
    anna, bot, session = machine(ANNA), machine(), vodozemac.GroupSession()
    bot.handle_to_device_event(whisper(anna, bot, "m.room_key", room_key(session)))
    event = Event.parse_encrypted_event(sealed_event(anna, session, message()))
    assert bot.decrypt_megolm_event(event, ROOM).body == "hallo"
