"""More than 20,000 hostile events and answers, with ordinary traffic in between: no stop, no loss, no key to a stranger.

Eve knows the bot's device and speaks Olm and Megolm properly, and the server may answer anything. What the bot may
raise is declared: Transient, Refused or Fatal where a request was answered with nonsense, nothing where something was
only received. After each handful a genuine customer writes and reads.
"""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import vodozemac
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from bot.domain.errors import Fatal, Refused, Transient
from bot.domain.ids import RoomId, UserId
from bot.domain.message import Forged, Message, NoKey, Untrusted
from bot.matrix.content import message_of
from bot.matrix.e2ee.opening import STATE_TYPES, Opened
from tests.matrix.junk import changed, places, plans
from tests.matrix.keyserver import KeyServer, Person, olm_poison, person

ROOM = RoomId("!room:x")
ANNA, BOT, EVE = UserId("@anna:x"), UserId("@bot:x"), UserId("@eve:x")
Json = dict[str, Any]
Plan = list[tuple[int, list[tuple[int, int]]]]

TO_DEVICE = (90, 70)  # examples, and hostile things in each
ANSWERS = (60, 30)
COUNTS = (60, 60)
PLAINTEXTS = (100, 90)


def run_so_often(examples: int) -> settings:
    return settings(
        max_examples=examples,
        deadline=None,
        database=None,
        # Every example goes on where the last one ended, so that a smaller one proves nothing.
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


def test_the_promise_of_the_docstring() -> None:
    assert sum(examples * size for examples, size in (TO_DEVICE, ANSWERS, COUNTS, PLAINTEXTS)) >= 20_000


class Arena:
    """Anna is a genuine customer, Eve is not even in the room, and the bot lives through all examples of a test."""

    def __init__(self, folder: Path, runner: asyncio.Runner) -> None:
        self.folder, self.runner = folder, runner
        self.server = KeyServer()
        self.written = 0
        self.read_before: list[tuple[Person, Json]] = []
        self.keys_to: set[str] = set()
        self.anna, self.bot, self.eve = (self._come(user) for user in (ANNA, BOT, EVE))
        machine = self.bot.keys._machine
        plain = machine.seal_olm

        def seal_olm(device: Any, event_type: str, content: Json) -> Json:
            if event_type == "m.room_key":
                self.keys_to.add(device.user_id)
            return plain(device, event_type, content)

        machine.seal_olm = seal_olm  # type: ignore[method-assign]

    def _come(self, user: str) -> Person:
        who = person(self.server, self.folder / f"{user[1:-2]}.db", user, "DEV")
        self.runner.run(who.keys.start())
        return who

    def ordinary(self) -> None:
        """Both write and read; now and then by a new session. What was read before is read again."""
        self.runner.run(self._ordinary())
        assert self.keys_to <= {ANNA}

    async def _ordinary(self) -> None:
        if self.written % 6 == 0:
            self.anna.keys.rotate(ROOM)
            self.bot.keys.rotate(ROOM)
        for writer, reader in ((self.anna, self.bot), (self.bot, self.anna)):
            self.written += 1
            content = {"msgtype": "m.text", "body": f"n{self.written}"}
            sealed = await writer.keys.seal(ROOM, [ANNA, BOT], "m.room.message", content, full_history=False)
            event = {"type": "m.room.encrypted", "event_id": f"$n{self.written}", "sender": writer.user}
            self.read_before = [*self.read_before[-3:], (reader, event | {"content": sealed})]
            reader.take_in()
        for reader, event in self.read_before:
            opened = await reader.keys.open_event(ROOM, event)
            assert isinstance(opened, Opened), f"{event['event_id']}: {opened}"

    def close(self) -> None:
        for one in (self.anna, self.bot, self.eve):
            one.keys.close()


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    with asyncio.Runner() as runner:
        made = Arena(tmp_path_factory.mktemp("fuzz"), runner)
        made.ordinary()
        yield made
        made.ordinary()
        made.close()


def received(events: list[Any]) -> list[Json]:
    """What comes out of the JSON of a sync: the session passes on objects only."""
    return [event for event in json.loads(json.dumps(events)) if isinstance(event, dict)]


def payloads(arena: Arena) -> list[Json]:
    """Sound contents of Olm messages from Eve to the bot."""
    session = vodozemac.GroupSession()
    room_key: Json = {"algorithm": "m.megolm.v1.aes-sha2", "room_id": ROOM, "session_id": session.session_id}
    room_key["session_key"] = session.session_key.to_base64()
    known = arena.anna.keys._machine.outbound_group_sessions[ROOM]
    stolen = room_key | {"session_id": known.id, "session_key": known.session_key}
    eve, bot = arena.eve.keys._machine, arena.bot.keys._machine
    forwarded = room_key | {"sender_key": eve.curve25519, "sender_claimed_ed25519_key": eve.ed25519}
    arena.bot.keys._machine.asked_sessions.add(session.session_id)
    frame: Json = {"sender": EVE, "sender_device": "DEV", "recipient": BOT}
    frame |= {"keys": {"ed25519": eve.ed25519}, "recipient_keys": {"ed25519": bot.ed25519}}
    kinds: list[tuple[str, Json]] = [
        ("m.room_key", room_key),
        ("m.room_key", stolen),
        ("m.forwarded_room_key", forwarded),
        ("m.forwarded_room_key", forwarded | {"forwarding_curve25519_key_chain": []}),
        ("m.dummy", {}),
        ("m.secret.send", {"request_id": "1", "secret": "x"}),
        ("m.room_key_bundle", {"room_id": ROOM, "file": {}}),
    ]
    return [{"type": kind, "content": content} | frame for kind, content in kinds]


@run_so_often(TO_DEVICE[0])
@given(plan=plans(1000, size=TO_DEVICE[1]))
def test_to_device_events(arena: Arena, plan: Plan) -> None:
    eve, key = arena.eve.keys._machine, arena.bot.keys._machine.curve25519
    if not eve.session_store.get(key):
        arena.runner.run(arena.eve.keys._devices.query([BOT]))
        arena.runner.run(arena.eve.keys._sharing.claim(arena.eve.keys._devices.active(BOT)))
    session = eve.session_store.get(key)
    outer, inner = list(olm_poison(EVE, key).values()), payloads(arena)
    events = []
    for number, changes in plan:
        if number % 3 == 0:
            events.append(changed(outer[number % len(outer)], changes))
            continue
        plaintext = json.dumps(changed(inner[number % len(inner)], changes))
        kind, body = session.encrypt(plaintext).to_parts()
        ciphertext = {key: {"type": kind, "body": vodozemac_base64(body)}}
        content = {"algorithm": "m.olm.v1.curve25519-aes-sha2", "sender_key": eve.curve25519, "ciphertext": ciphertext}
        events.append({"type": "m.room.encrypted", "sender": EVE, "content": content})
    arena.bot.take_in(*received(events))
    arena.ordinary()


def vodozemac_base64(value: bytes) -> str:
    from unpaddedbase64 import encode_base64

    return str(encode_base64(value))


@run_so_often(COUNTS[0])
@given(plan=plans(4, size=COUNTS[1]), users=st.lists(st.sampled_from([ANNA, EVE, "@x:x", "", "\x00", "no id"])))
def test_counts_and_device_lists(arena: Arena, plan: Plan, users: list[str]) -> None:
    sound = [50, {"signed_curve25519": 50}, ["signed_curve25519"], {"signed_curve25519": 0}]
    for number, changes in plan:
        counts = json.loads(json.dumps(changed(sound[number], changes)))
        types = json.loads(json.dumps(changed(sound[-number], changes)))
        arena.bot.keys.take_in([], users, users[::-1], counts, types)
    arena.runner.run(arena.bot.keys.upkeep())
    assert len(arena.server.one_time[BOT, "DEV"]) >= 50
    arena.ordinary()


def answers(arena: Arena) -> list[tuple[str, Json]]:
    """Sound answers to the bot's requests. The keys are really claimed: no server gives the same one to two."""
    asker = arena.bot.client
    keys: Json = {"device_keys": {ANNA: [], EVE: []}}
    claim = {"one_time_keys": {user: {"DEV": "signed_curve25519"} for user in (ANNA, EVE)}}
    return [
        ("keys/query", asker._query(keys, "")),
        ("keys/claim", asker._claim(claim, "")),
        ("keys/upload", {"one_time_key_counts": {"signed_curve25519": 50}}),
    ]


@run_so_often(ANSWERS[0])
@given(plan=plans(3, size=ANSWERS[1]))
def test_answers_of_the_server(arena: Arena, plan: Plan) -> None:
    sound = answers(arena)
    client, plain = arena.bot.client, arena.bot.client.call
    for number, changes in plan:
        endpoint, answer = sound[number]
        hostile = changed(answer, changes)
        if not isinstance(hostile, dict):
            continue  # the transport takes no other answer for one; see test_transport.py
        hostile = json.loads(json.dumps(hostile))

        async def call(
            method: str, path: str, body: Json | None = None, *, e: str = endpoint, h: Json = hostile, **options: Any
        ) -> Any:
            return h if f"/{e}" in path else await plain(method, path, body, **options)

        client.call = call  # type: ignore[method-assign]
        arena.runner.run(_ask(arena.bot, endpoint))
    client.call = plain  # type: ignore[method-assign]
    arena.bot.keys.take_in([], [ANNA, EVE], [], {"signed_curve25519": 0}, None)
    arena.runner.run(arena.bot.keys.upkeep())
    arena.bot.keys.rotate(ROOM)
    arena.ordinary()


async def _ask(bot: Person, endpoint: str) -> None:
    """Make the request; Eve's device is asked for, but she is no member and gets nothing of the room."""
    try:
        if endpoint == "keys/query":
            await bot.keys._devices.query([ANNA, EVE])
        elif endpoint == "keys/claim":
            devices = [device for user in (ANNA, EVE) for device in bot.keys._devices.active(user)]
            await bot.keys._sharing.claim(devices, anew=True)
        else:
            bot.keys.take_in([], [], [], {"signed_curve25519": 49}, None)
            await bot.keys.upkeep()
    except (Transient, Refused, Fatal):
        return


INNER: list[Json] = [
    {"type": "m.room.message", "room_id": ROOM, "content": {"msgtype": "m.text", "body": "hallo"}},
    {
        "type": "m.room.message",
        "room_id": ROOM,
        "content": {"m.relates_to": {"rel_type": "m.replace", "event_id": "$n1"}},
    },
    {"type": "m.room.member", "room_id": ROOM, "state_key": EVE, "content": {"membership": "join"}},
    {"type": "m.reaction", "room_id": ROOM, "content": {"m.relates_to": {"rel_type": "m.annotation", "key": "👍"}}},
    {"type": "m.room.message", "room_id": ROOM, "content": {"msgtype": "m.image", "file": {"url": "mxc://x/y"}}},
    {"type": "m.poll.start", "room_id": ROOM, "content": {"m.poll": {"answers": [{"m.id": "a"}]}}},
]
RAW = [
    b"",
    b"null",
    b"[]",
    b"7",
    b'"x"',
    b"\xff\xfe",
    b"{",
    b"[" * 20_000,
    b'{"a":' * 20_000,
    b"\x00" * 50,
    b"1" * 9_000,
]


@run_so_often(PLAINTEXTS[0])
@given(plan=plans(1000, size=PLAINTEXTS[1]), outer=places)
def test_megolm_plaintexts(arena: Arena, plan: Plan, outer: tuple[int, int]) -> None:
    """Anna's own session says anything; what is opened is a message of hers, and never state."""
    arena.ordinary()
    session = arena.anna.keys._machine.outbound_group_sessions[ROOM]
    frame = {"algorithm": "m.megolm.v1.aes-sha2", "session_id": session.id, "device_id": "DEV"}
    for number, (template, changes) in enumerate(plan):
        plaintext = RAW[template % len(RAW)]
        if template % 7:
            plaintext = json.dumps(changed(INNER[template % len(INNER)], changes)).encode()
        content = frame | {"ciphertext": session._session.encrypt(plaintext).to_base64()}
        if template % 11 == 0:
            content = changed(content, [outer])
            content = content if isinstance(content, dict) else {}
        event = {"type": "m.room.encrypted", "event_id": f"$h{id(plan)}-{number}", "sender": ANNA}
        opened = arena.runner.run(arena.bot.keys.open_event(ROOM, event | {"content": content}))
        assert isinstance(opened, Opened | NoKey | Forged | Untrusted)
        if isinstance(opened, Opened):
            assert opened.event_type not in STATE_TYPES
            raw = event | {"content": content, "origin_server_ts": 1}
            read = message_of(ROOM, raw, opened.event_type, opened.content, encrypted=True)
            assert isinstance(read, Message)
    arena.ordinary()
