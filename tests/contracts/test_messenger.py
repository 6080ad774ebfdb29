"""What every Messenger promises, asked of the fake and of the real one on a real homeserver. So the fake cannot lie."""

import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from bot import app
from bot.demo.peer import Peer
from bot.demo.synapse import LocalSynapse
from bot.domain.errors import Refused
from bot.domain.ids import EventId, ItemId, RoomId, TxnId, UserId
from bot.domain.message import Attachment, Forged, Kind, Message, Outgoing
from bot.domain.verification import Handshake, Partner
from bot.flows.messenger import STEP, Messenger, RoomSpec
from tests.business import a_business
from tests.flows.fake import FakeMessenger
from tests.waiting import PatientPeer

Json = dict[str, Any]


@dataclass
class Side:
    """One implementation under test, a friend on its server, and how to look at a room from outside."""

    messenger: Messenger
    me: UserId
    friend: UserId
    state: Callable[[RoomId, str], Awaitable[Json]]

    def spec(self, **changes: Any) -> RoomSpec:
        values: Json = {"alias": secrets.token_hex(16), "name": "🔴 1", "invite": (self.friend,), "mark": "case:1"}
        return RoomSpec(**(values | changes))


async def _fake() -> AsyncIterator[Side]:
    me = UserId("@bot:example.org")
    fake = FakeMessenger(me, lambda: datetime.now(UTC))

    async def state(room: RoomId, event_type: str) -> Json:
        return fake.rooms[room].state[event_type, ""]

    yield Side(fake, me, UserId("@friend:example.org"), state)


@contextlib.asynccontextmanager
async def _closing(peer: Peer) -> AsyncIterator[Peer]:
    try:
        yield peer
    finally:
        await peer.close()


async def _real(synapse: LocalSynapse, folder: Path) -> AsyncIterator[Side]:
    business = await a_business(synapse, folder)
    friend = await business.account("friend")
    (folder / "friend").mkdir()
    peer = await PatientPeer.login(synapse.url, friend.localpart, friend.password, store=folder / "friend")
    async with _closing(peer), app.opened(business.settings()) as parts:
        await parts.keys.start()

        async def state(room: RoomId, event_type: str) -> Json:
            answer: Json = await parts.transport.call("GET", f"/_matrix/client/v3/rooms/{room}/state/{event_type}/")
            return answer

        yield Side(parts.around.messenger, parts.around.rules.me, UserId(friend.mxid), state)


@pytest_asyncio.fixture(params=["fake", "real"])
async def side(request: pytest.FixtureRequest, synapse: LocalSynapse, tmp_path: Path) -> AsyncIterator[Side]:
    """Each test runs against both."""
    async for made in _fake() if request.param == "fake" else _real(synapse, tmp_path):
        yield made


def a_txn() -> TxnId:
    return TxnId(secrets.token_hex(16))


async def texts(side: Side, room: RoomId) -> list[EventId]:
    """The events of ours that bear a mark, oldest first."""
    page = await side.messenger.page_back(room, None, limit=100)
    return [EventId(e["event_id"]) for e in reversed(page.events) if STEP in e["content"] and e["sender"] == side.me]


async def test_a_room_is_created_once_however_often_it_is_asked_for(side: Side) -> None:
    spec = side.spec()
    room = await side.messenger.create_room(spec)
    assert await side.messenger.create_room(spec) == room
    assert (await side.state(room, "m.room.name"))["name"] == "🔴 1"
    assert list(await side.messenger.members(room)) == [side.friend]


async def test_another_alias_is_another_room(side: Side) -> None:
    assert await side.messenger.create_room(side.spec()) != await side.messenger.create_room(side.spec())


async def test_an_alias_is_dropped_and_dropping_it_again_is_fine(side: Side) -> None:
    spec = side.spec()
    room = await side.messenger.create_room(spec)
    await side.messenger.drop_alias(spec.alias)
    await side.messenger.drop_alias(spec.alias)
    assert await side.messenger.create_room(spec) != room


async def test_the_same_transaction_sends_once(side: Side) -> None:
    room, txn = await side.messenger.create_room(side.spec()), a_txn()
    first = await side.messenger.send(room, Outgoing("eins"), txn=txn)
    assert await side.messenger.send(room, Outgoing("eins"), txn=txn) == first
    assert await side.messenger.send(room, Outgoing("zwei"), txn=a_txn()) != first
    assert len(await texts(side, room)) == 2


async def test_a_mark_is_found_and_an_absent_one_is_not(side: Side) -> None:
    room, txn = await side.messenger.create_room(side.spec()), a_txn()
    event = await side.messenger.send(room, Outgoing("eins"), txn=txn)
    since = datetime.now(UTC) - timedelta(hours=1)
    assert await side.messenger.find_mark(room, txn, since=since) == event
    assert await side.messenger.find_mark(room, a_txn(), since=since) is None


async def test_nothing_plain_goes_into_an_encrypted_room_and_nothing_sealed_into_a_plain_one(side: Side) -> None:
    sealed = await side.messenger.create_room(side.spec())
    plain = await side.messenger.create_room(side.spec(encrypted=False))
    with pytest.raises(Refused):
        await side.messenger.send_plain(sealed, Outgoing("offen"), txn=a_txn())
    with pytest.raises(Refused):
        await side.messenger.send(plain, Outgoing("geheim"), txn=a_txn())
    txn = a_txn()
    first = await side.messenger.send_plain(plain, Outgoing("offen"), txn=txn)
    assert await side.messenger.send_plain(plain, Outgoing("offen"), txn=txn) == first


async def test_a_reaction_happens_once(side: Side) -> None:
    room = await side.messenger.create_room(side.spec())
    event = await side.messenger.send(room, Outgoing("eins"), txn=a_txn())
    await side.messenger.react(room, event, "⚠️", txn=a_txn())
    await side.messenger.react(room, event, "⚠️", txn=a_txn())
    page = await side.messenger.page_back(room, None, limit=100)
    assert [e["type"] for e in page.events].count("m.reaction") == 1


async def test_our_own_event_is_deleted_and_again_is_fine(side: Side) -> None:
    room = await side.messenger.create_room(side.spec())
    event = await side.messenger.send(room, Outgoing("eins"), txn=a_txn())
    for _ in range(2):
        await side.messenger.redact(room, event, txn=a_txn())
    page = await side.messenger.page_back(room, None, limit=100)
    assert next(e["content"] for e in page.events if e["event_id"] == event) == {}


async def test_inviting_leaving_and_joining_again_is_fine(side: Side) -> None:
    room = await side.messenger.create_room(side.spec(invite=()))
    for _ in range(2):
        await side.messenger.invite(room, side.friend)
        await side.messenger.join(room)
    assert list(await side.messenger.members(room)) == [side.friend]
    for _ in range(2):
        await side.messenger.leave(room)
    with pytest.raises(Refused):
        await side.messenger.send(room, Outgoing("eins"), txn=a_txn())


async def test_whoever_is_put_out_is_no_member_and_again_is_fine(side: Side) -> None:
    room = await side.messenger.create_room(side.spec(invite=()))
    await side.messenger.invite(room, side.friend)
    for _ in range(2):
        await side.messenger.remove(room, side.friend)
        assert list(await side.messenger.members(room)) == []
    await side.messenger.invite(room, side.friend)
    assert list(await side.messenger.members(room)) == [side.friend]


async def test_state_is_set_and_again_is_fine(side: Side) -> None:
    room = await side.messenger.create_room(side.spec())
    for _ in range(2):
        await side.messenger.set_state(room, "m.room.name", "", {"name": "🟡 1"})
    assert (await side.state(room, "m.room.name"))["name"] == "🟡 1"


async def test_state_is_read_as_it_was_set_by_its_key(side: Side) -> None:
    room = await side.messenger.create_room(side.spec())
    kind, key = "de.botschaft.test", "example.org/a b/%"
    assert await side.messenger.state(room, kind, key) is None
    for content in ({"checkpoint": "x\n— ü\n"}, {"checkpoint": "y"}):
        await side.messenger.set_state(room, kind, key, content)
        assert await side.messenger.state(room, kind, key) == content
    assert await side.messenger.state(room, kind, "") is None


async def test_state_of_a_room_that_we_are_not_in_is_refused(side: Side) -> None:
    with pytest.raises(Refused):
        await side.messenger.state(RoomId("!nowhere:example.org"), "m.room.name", "")


async def test_pages_go_back_to_the_beginning_newest_first(side: Side) -> None:
    room = await side.messenger.create_room(side.spec())
    sent = [await side.messenger.send(room, Outgoing(str(n)), txn=a_txn()) for n in range(7)]
    found: list[str] = []
    start: str | None = None
    while True:
        page = await side.messenger.page_back(room, start, limit=3)
        found += [e["event_id"] for e in page.events if e["event_id"] in sent]
        if page.older is None:
            break
        start = page.older
    assert found == list(reversed(sent))


async def test_what_cannot_be_read_says_why(side: Side) -> None:
    room = await side.messenger.create_room(side.spec())
    event = {"event_id": "$x", "sender": str(side.friend), "type": "m.room.message", "origin_server_ts": 0}
    assert isinstance(await side.messenger.read(room, event | {"content": None}), Forged)


async def test_a_reaction_is_read(side: Side) -> None:
    room = await side.messenger.create_room(side.spec())
    relation = {"rel_type": "m.annotation", "event_id": "$y", "key": "👍\ufe0f"}
    event = {"event_id": "$x", "sender": str(side.friend), "type": "m.reaction", "origin_server_ts": 0}
    read = await side.messenger.read(room, event | {"content": {"m.relates_to": relation}})
    assert isinstance(read, Message)
    assert (read.kind, read.body, read.target) == (Kind.REACTION, "👍", "$y")


async def test_a_name_falls_back_to_the_id(side: Side) -> None:
    room = await side.messenger.create_room(side.spec(invite=()))
    nobody = UserId(f"@niemand{side.friend[side.friend.index(':') :]}")
    assert await side.messenger.display_name(room, nobody) == nobody


def a_request(side: Side, **changes: Any) -> Json:
    content: Json = {
        "msgtype": "m.key.verification.request",
        "to": side.me,
        "from_device": "D",
        "methods": ["m.sas.v1"],
    }
    event = {"event_id": "$request", "sender": str(side.friend), "type": "m.room.message", "origin_server_ts": 5}
    return event | {"content": content | changes}


async def test_a_request_may_come_in_clear_and_is_read_as_nothing_else(side: Side) -> None:
    room = await side.messenger.create_room(side.spec())
    asked = await side.messenger.read(room, a_request(side))
    assert isinstance(asked, Handshake)
    assert (asked.step, asked.partner) == ("request", Partner(side.friend, "D", "$request", room))
    new = {"m.new_content": {"msgtype": "m.text", "body": "!zu"}, "m.relates_to": {"rel_type": "m.replace"}}
    for content in (new, {"to": "@somebody:example.org"}):
        noise = await side.messenger.read(room, a_request(side, **content))
        assert isinstance(noise, Message)
        assert (noise.kind, noise.words) == (Kind.NOISE, "")


@pytest.mark.parametrize("encrypted", [True, False])
async def test_a_step_of_a_verification_is_said_once_and_refers_to_its_request(side: Side, encrypted: bool) -> None:
    room = await side.messenger.create_room(side.spec(encrypted=encrypted))
    write = side.messenger.send if encrypted else side.messenger.send_plain
    request = await write(room, Outgoing("asks"), txn=a_txn())
    partner, txn = Partner(side.friend, "D", request, room), a_txn()
    for _ in range(2):
        await side.messenger.send_handshake(partner, "cancel", {"code": "m.user"}, txn=txn, to_all=True)
    page = await side.messenger.page_back(room, None, limit=50)
    (event,) = [event for event in page.events if event["content"].get(STEP) == txn]
    assert event["content"]["m.relates_to"] == {"rel_type": "m.reference", "event_id": request}


async def test_a_step_goes_from_device_to_device_again_and_again(side: Side) -> None:
    partner, txn = Partner(side.friend, "", "t"), a_txn()
    for _ in range(2):
        await side.messenger.send_handshake(partner, "cancel", {"code": "m.user"}, txn=txn, to_all=True)
    event = {"type": "m.key.verification.key", "sender": side.friend, "content": {"transaction_id": "t", "key": "x"}}
    read = side.messenger.to_device_handshake(ItemId("~i"), event)
    assert read
    assert (read.step, read.partner) == ("key", partner)
    assert side.messenger.to_device_handshake(ItemId("~i"), event | {"content": {}}) is None


async def test_an_unknown_device_and_an_unknown_verification_get_nowhere(side: Side) -> None:
    room = await side.messenger.create_room(side.spec())
    asked = await side.messenger.read(room, a_request(side))
    assert isinstance(asked, Handshake)
    begun = await side.messenger.begin_verification(asked)
    assert begun.cancelled == "m.key_mismatch"
    assert [step for step, _ in begun.answers] == ["cancel"]
    assert await side.messenger.take_handshake(asked) is None
    assert await side.messenger.confirm_verification(asked.partner, vouched=True) is None
    assert await side.messenger.cancel_verification(asked.partner, "m.user") is None


async def test_an_identity_that_nobody_has_is_not_signed(side: Side) -> None:
    assert not await side.messenger.sign_identity(side.friend, "no+such+key")


async def test_a_file_of_ours_is_put_once_and_again_is_fine(side: Side) -> None:
    """The second run after a crash makes the same bytes; the server keeps the first."""
    mxc, secret = await side.messenger.new_file(), secrets.token_bytes(32)
    slip = Attachment({"filename": "zettel.png", "info": {"mimetype": "image/png"}})

    first = await side.messenger.put_file(slip, b"\x89PNG", mxc, secret=secret)
    again = await side.messenger.put_file(slip, b"\x89PNG", mxc, secret=secret)

    assert first == again
    assert first.content["file"]["url"] == mxc
    assert first.mxcs == (mxc,)
    assert first.file_name == "zettel.png"


async def test_a_file_whose_name_nobody_gave_is_refused(side: Side) -> None:
    server = side.me.partition(":")[2]
    with pytest.raises(Refused):
        await side.messenger.put_file(Attachment({}), b"x", f"mxc://{server}/neverNamed", secret=b"s" * 32)
