"""Verifications with real keys: only known and signed devices are answered; what is confirmed is signed and pinned."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from bot.domain.errors import Refused
from bot.domain.ids import EventId, RoomId, UserId
from bot.domain.message import Kind, Message, Untrusted
from bot.domain.verification import Handshake, Partner, Progress
from bot.matrix.e2ee import signing
from bot.matrix.e2ee.opening import Opened
from bot.matrix.e2ee.signing import is_signed
from bot.matrix.e2ee.trust import Policy, Standing
from bot.matrix.handshakes import handshake_of, is_handshake, to_device_handshake
from tests.matrix.keyserver import KeyServer, Person, person
from tests.matrix.sas import Phone
from tests.matrix.test_trust import changed_identity, unsign

BOT, JAN = UserId("@bot:example.org"), UserId("@jan:example.org")
ROOM = RoomId("!room:example.org")
POLICY = Policy(staff=frozenset({JAN}))
Json = dict[str, Any]
Meet = Callable[[], Awaitable[tuple[Person, Person]]]


@pytest_asyncio.fixture
async def meet(tmp_path: Path) -> Any:
    server = KeyServer()
    made: list[Person] = []

    async def start() -> tuple[Person, Person]:
        for user, policy in ((JAN, None), (BOT, POLICY)):
            made.append(person(server, tmp_path / f"{user[1:4]}.db", user, "DEV", policy))
            await made[-1].keys.start()
        return made[0], made[1]

    yield start
    for who in made:
        who.keys.close()


def public_keys(who: Person) -> dict[str, str]:
    identity = signing.load(who.keys._machine)
    assert identity
    master = identity.public("master")
    return {"ed25519:DEV": who.keys._machine.ed25519, f"ed25519:{master}": master}


def phone_of(jan: Person, bot: Person, transaction: str = "$request") -> Phone:
    return Phone(JAN, "DEV", public_keys(jan), BOT, "DEV", transaction, public_keys(bot))


def a_step(phone: Phone, step: str, content: Json, device: str = "DEV") -> Handshake:
    partner = Partner(JAN, device, phone.transaction, ROOM)
    return Handshake(EventId("$event"), partner, step, content, datetime.now(UTC))


async def compared(bot: Person, phone: Phone) -> Partner:
    """Go on until both sides show their pictures."""
    verifications = bot.keys.verifications
    request = a_step(phone, "request", phone.request())
    assert [step for step, _ in (await verifications.begin(request)).answers] == ["ready"]
    started = verifications.take(a_step(phone, "start", phone.start(), ""))
    assert started
    shown = verifications.take(a_step(phone, "key", phone.accepted(dict(started.answers[0][1])), ""))
    assert shown
    assert phone.compare(dict(shown.answers[0][1]))[0] == list(shown.emojis)
    return request.partner


def master_of(who: Person) -> str:
    return next(key for name, key in public_keys(who).items() if name != "ed25519:DEV")


def is_vouched_for(server: KeyServer, bot: Person, user: str) -> bool:
    identity = signing.load(bot.keys._machine)
    assert identity
    signer = identity.public("user_signing")
    return is_signed(server.identities[user]["master"], BOT, signer, signer)


async def test_what_people_compared_is_signed_and_pinned(meet: Meet) -> None:
    jan, bot = await meet()
    phone = phone_of(jan, bot)
    partner = await compared(bot, phone)
    learned: list[str] = []
    bot.keys.on_identities = learned.extend

    confirmed = bot.keys.verifications.confirm(partner, vouched=True)
    end = bot.keys.verifications.take(a_step(phone, "mac", phone.mac(), ""))

    assert confirmed
    assert phone.believes(dict(confirmed.answers[0][1]))
    assert end
    assert end.vouched_key == master_of(jan)
    assert not is_vouched_for(bot.client.server, bot, JAN)
    for _ in range(2):
        assert await bot.keys.sign_identity(JAN, end.vouched_key)
    assert is_vouched_for(bot.client.server, bot, JAN)
    assert learned[-1] == JAN
    assert bot.keys.verifications.take(a_step(phone, "done", {}, "")) is None


async def test_a_suspended_identity_is_believed_again_once_compared(meet: Meet) -> None:
    jan, bot = await meet()
    await bot.keys._devices.query([JAN])
    await changed_identity(bot, jan)
    await bot.keys.upkeep()
    device = bot.keys._devices.active(JAN)[0]
    assert bot.keys._trust.standing(JAN, device) is Standing.CHANGED

    phone = phone_of(jan, bot)
    partner = await compared(bot, phone)
    bot.keys.verifications.confirm(partner, vouched=True)
    end = bot.keys.verifications.take(a_step(phone, "mac", phone.mac(), ""))
    assert end
    assert await bot.keys.sign_identity(JAN, end.vouched_key)

    assert bot.keys._trust.standing(JAN, device) is Standing.SIGNED


async def test_an_identity_that_changed_while_people_compared_is_not_signed(meet: Meet) -> None:
    jan, bot = await meet()
    await bot.keys._devices.query([JAN])
    before = master_of(jan)
    await changed_identity(bot, jan)
    assert not await bot.keys.sign_identity(JAN, before)
    assert not is_vouched_for(bot.client.server, bot, JAN)


@pytest.mark.parametrize("how", ["failures", "refused", "lies"])
async def test_what_the_server_does_not_take_is_not_pinned(meet: Meet, how: str) -> None:
    jan, bot = await meet()
    await bot.keys._devices.query([JAN])
    await changed_identity(bot, jan)
    await bot.keys.upkeep()
    server = bot.client.server
    if how == "failures":
        server.signature_failures = {JAN: {master_of(jan): {"errcode": "M_UNKNOWN"}}}
    elif how == "refused":
        server.fail = lambda name: Refused("no", status=400) if name == "keys/signatures" else None
    else:
        server.identities[JAN]["master"]["more"] = "than it should say"
    assert not await bot.keys.sign_identity(JAN, master_of(jan))
    assert bot.keys._trust.standing(JAN, bot.keys._devices.active(JAN)[0]) is Standing.CHANGED


def cancelled(progress: Progress) -> str:
    assert [step for step, _ in progress.answers] == ["cancel"]
    return progress.cancelled


async def test_an_unsigned_or_unknown_device_is_not_answered(meet: Meet) -> None:
    jan, bot = await meet()
    phone = phone_of(jan, bot)
    unknown = await bot.keys.verifications.begin(a_step(phone, "request", phone.request(), "OTHER"))
    assert cancelled(unknown) == "m.key_mismatch"
    unsign(bot.client.server, JAN)
    unsigned = await bot.keys.verifications.begin(a_step(phone, "request", phone.request()))
    assert cancelled(unsigned) == "m.key_mismatch"
    assert bot.keys.verifications.take(a_step(phone, "start", phone.start())) is None


async def test_a_second_attempt_ends_the_first(meet: Meet) -> None:
    jan, bot = await meet()
    first, second = phone_of(jan, bot, "$first"), phone_of(jan, bot, "$second")
    partner = await compared(bot, first)
    again = await bot.keys.verifications.begin(a_step(second, "request", second.request()))
    assert again.superseded == (partner,)
    assert bot.keys.verifications.take(a_step(first, "mac", first.mac())) is None
    assert bot.keys.verifications.confirm(partner, vouched=True) is None
    assert bot.keys.verifications.cancel(partner, "m.user") is None


async def test_a_handshake_of_a_suspended_device_is_opened_and_nothing_else_of_it(meet: Meet) -> None:
    jan, bot = await meet()
    unsign(bot.client.server, JAN)
    phone = phone_of(jan, bot)
    for event_type, content, expected in (
        ("m.room.message", phone.request(), Opened),
        ("m.key.verification.mac", {"mac": {}}, Opened),
        ("m.room.message", {"msgtype": "m.text", "body": "!zu"}, Untrusted),
    ):
        sealed = await jan.keys.seal(ROOM, [BOT, JAN], event_type, content, full_history=True)
        bot.take_in()
        event = {"type": "m.room.encrypted", "event_id": f"${event_type}{expected}", "sender": JAN, "content": sealed}
        assert isinstance(await bot.keys.open_event(ROOM, event), expected)


RELATION = {"rel_type": "m.reference", "event_id": "$request"}
ASKED = {
    "msgtype": "m.key.verification.request",
    "to": BOT,
    "from_device": "DEV",
    "methods": ["m.sas.v1"],
    "body": "!zu",
}


def read(event_type: str, content: Json, *, wire: Json | None = None, device: str = "") -> Handshake | Message:
    assert is_handshake(event_type, content)
    event = {"event_id": "$event", "sender": JAN, "content": content if wire is None else wire}
    return handshake_of(ROOM, event, event_type, content, me=BOT, device=device)


def test_steps_are_read_with_the_relation_that_stands_in_clear() -> None:
    request = read("m.room.message", ASKED, device="DEV")
    assert isinstance(request, Handshake)
    assert (request.step, request.partner) == ("request", Partner(JAN, "DEV", "$event", ROOM))
    for wire in ({"m.relates_to": RELATION}, None):
        content = {"key": "x"} | ({} if wire else {"m.relates_to": RELATION})
        step = read("m.key.verification.key", content, wire=wire)
        assert isinstance(step, Handshake)
        assert (step.step, step.partner) == ("key", Partner(JAN, "", "$request", ROOM))
        assert step.content == {"key": "x", "m.relates_to": RELATION}


@pytest.mark.parametrize(
    ("event_type", "content", "device"),
    [
        ("m.room.message", ASKED | {"to": "@somebody:example.org"}, ""),
        ("m.room.message", ASKED | {"from_device": 7}, ""),
        ("m.room.message", ASKED, "OTHER"),
        ("m.room.message", ASKED | {"m.relates_to": {"rel_type": "m.replace", "event_id": "$x"}}, ""),
        ("m.key.verification.request", {"from_device": "DEV", "m.relates_to": RELATION}, ""),
        ("m.key.verification.start", {"from_device": "DEV", "m.relates_to": RELATION}, "OTHER"),
        ("m.key.verification.key", {}, ""),
        ("m.key.verification.key", {"m.relates_to": []}, ""),
        ("m.key.verification.key", {"m.relates_to": RELATION | {"rel_type": "m.thread"}}, ""),
        ("m.key.verification.key", {"m.relates_to": RELATION | {"event_id": ["$x"]}}, ""),
    ],
)
def test_what_is_malformed_or_for_others_is_noise_and_never_words(event_type: str, content: Json, device: str) -> None:
    """It may come in clear: nothing of it may ever be taken for a message or a command."""
    found = read(event_type, content | {"m.new_content": {"msgtype": "m.text", "body": "!zu"}}, device=device)
    assert isinstance(found, Message)
    assert (found.kind, found.words, found.target) == (Kind.NOISE, "", None)


@pytest.mark.parametrize("content", [None, [], {}, {"transaction_id": 7}, {"transaction_id": "t", "from_device": 7}])
def test_malformed_steps_from_device_to_device_are_none(content: Any) -> None:
    assert to_device_handshake("~item", {"type": "m.key.verification.key", "sender": JAN, "content": content}) is None  # type: ignore[arg-type]
