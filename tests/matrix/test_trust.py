"""Whose devices are believed: identities are pinned when first seen, staff must be signed, a lie changes nothing."""

import copy
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from bot.domain.ids import RoomId, UserId
from bot.domain.message import Forged, NoKey, Untrusted
from bot.matrix.e2ee.opening import Opened
from bot.matrix.e2ee.trust import Policy, Standing
from tests.matrix.keyserver import KeyServer, Person, person

BOT, ANNA, JAN = UserId("@bot:example.org"), UserId("@anna:example.org"), UserId("@jan:example.org")
ROOM = RoomId("!room:example.org")
Json = dict[str, Any]
Meet = Callable[..., Awaitable[Person]]


@pytest_asyncio.fixture
async def meet(tmp_path: Path) -> Any:
    server = KeyServer()
    made: list[Person] = []

    async def start(user: str, device: str = "DEV", policy: Policy | None = None) -> Person:
        who = person(server, tmp_path / f"{user[1:4]}-{device}.db", user, device, policy)
        made.append(who)
        await who.keys.start()
        return who

    yield start
    for who in made:
        who.keys.close()


STAFF = Policy(staff=frozenset({JAN}))
STRICT = Policy(strict_customers=True)


def unsign(server: KeyServer, user: str) -> None:
    """The identity exists, but this device of theirs is not signed by it."""
    device = server.devices[user]["DEV"]
    device["signatures"] = {user: {name: s for name, s in device["signatures"][user].items() if name.endswith(":DEV")}}


async def write(who: Person, reader: Person, event_id: str = "$event") -> Json:
    content = await who.keys.seal(ROOM, [BOT, ANNA, JAN], "m.room.message", {"body": "Hallo"}, full_history=True)
    reader.take_in()
    return {"type": "m.room.encrypted", "event_id": event_id, "sender": who.user, "content": content}


def withheld(who: Person) -> list[str]:
    inbox = who.client.server.inbox[who.client.user, who.client.device]
    return [event["content"]["code"] for event in inbox if event["type"] == "m.room_key.withheld"]


async def test_signed_staff_write_and_read(meet: Meet) -> None:
    jan, bot = await meet(JAN), await meet(BOT, policy=STAFF)
    assert isinstance(await bot.keys.open_event(ROOM, await write(jan, bot)), Opened)
    assert isinstance(await jan.keys.open_event(ROOM, await write(bot, jan)), Opened)
    assert withheld(jan) == []


async def test_unsigned_staff_are_not_heard_get_no_key_and_are_told(meet: Meet) -> None:
    jan, bot = await meet(JAN), await meet(BOT, policy=STAFF)
    asked: list[tuple[str, str]] = []
    bot.keys.on_unsigned_staff = lambda user, device: asked.append((user, device))
    unsign(bot.client.server, JAN)
    assert await bot.keys.open_event(ROOM, await write(jan, bot)) == Untrusted("unsigned")
    secret = await bot.keys.seal(ROOM, [JAN], "m.room.message", {"body": "geheim"}, full_history=True)
    assert withheld(jan) == ["m.unverified"]
    jan.take_in()
    event = {"type": "m.room.encrypted", "event_id": "$a", "sender": BOT, "content": secret}
    assert isinstance(await jan.keys.open_event(ROOM, event), NoKey)
    assert asked == [(JAN, "DEV")]

    told = await bot.keys.seal(ROOM, [JAN], "m.room.message", {"body": "bitte"}, full_history=True, to_all=True)
    assert told["session_id"] != secret["session_id"]
    jan.take_in()
    opened = await jan.keys.open_event(ROOM, event | {"event_id": "$b", "content": told})
    assert isinstance(opened, Opened)
    again = await bot.keys.seal(ROOM, [JAN], "m.room.message", {"body": "geheim"}, full_history=True)
    assert again["session_id"] == secret["session_id"]


async def test_what_an_unbelieved_device_says_comes_along_without_being_its_message(meet: Meet) -> None:
    """It may take a consent back; for everything else nobody has written it."""
    anna, strict = await meet(ANNA), await meet(BOT, policy=STRICT)
    unsign(strict.client.server, ANNA)
    unbelieved = await strict.keys.open_event(ROOM, await write(anna, strict))
    relabelled = await strict.keys.open_event(ROOM, await write(anna, strict, "$two") | {"sender": JAN})

    for reading, kind, reason in ((unbelieved, Untrusted, "unsigned"), (relabelled, Forged, "owner")):
        assert isinstance(reading, kind)
        assert reading.reason == reason
        assert reading.said
        assert (reading.said.body, reading.said.encrypted) == ("Hallo", False)


async def test_staff_who_sign_later_get_what_they_missed(meet: Meet) -> None:
    jan, bot = await meet(JAN), await meet(BOT, policy=STAFF)
    signed = copy.deepcopy(bot.client.server.devices[JAN]["DEV"])
    unsign(bot.client.server, JAN)
    event = await write(bot, jan)
    learned: list[str] = []
    bot.keys.on_identities = learned.extend
    bot.client.server.devices[JAN]["DEV"] = signed
    bot.keys.take_in([], [JAN], [], {"signed_curve25519": 50}, None)
    await bot.keys.upkeep()
    assert learned == [JAN]
    await bot.keys.share_history(ROOM, JAN)
    jan.take_in()
    assert isinstance(await jan.keys.open_event(ROOM, event), Opened)


async def changed_identity(bot: Person, who: Person) -> None:
    await who.keys.replace_identity("password")
    await who.keys.start()
    bot.keys.take_in([], [who.user], [], {"signed_curve25519": 50}, None)


async def test_a_changed_staff_identity_is_suspended_until_confirmed(meet: Meet) -> None:
    jan, bot = await meet(JAN), await meet(BOT, policy=STAFF)
    assert isinstance(await bot.keys.open_event(ROOM, await write(jan, bot)), Opened)
    await write(bot, jan)
    await changed_identity(bot, jan)
    await bot.keys.upkeep()

    assert await bot.keys.open_event(ROOM, await write(jan, bot, "$two")) == Untrusted("changed")
    await write(bot, jan)
    jan_key = (await jan.keys.status()).master_key
    assert bot.keys.changed_identities() == [(JAN, jan_key)]
    bot.keys.identity_announced(JAN, str(jan_key))
    assert bot.keys.changed_identities() == []

    assert await bot.keys.confirm_identity(JAN)
    assert isinstance(await bot.keys.open_event(ROOM, await write(jan, bot, "$three")), Opened)
    bot.keys = bot.reopened().keys
    assert bot.keys.changed_identities() == []


async def test_a_customers_new_identity_is_told_and_delivered(meet: Meet) -> None:
    anna, bot = await meet(ANNA), await meet(BOT, policy=STAFF)
    assert isinstance(await bot.keys.open_event(ROOM, await write(anna, bot)), Opened)
    assert bot.keys.changed_identities() == []
    await changed_identity(bot, anna)
    await write(bot, anna)
    opened = await bot.keys.open_event(ROOM, await write(anna, bot, "$two"))
    assert isinstance(opened, Opened)
    assert opened.standing is Standing.CHANGED
    assert bot.keys.changed_identities() == [(ANNA, (await anna.keys.status()).master_key)]


async def test_an_unsigned_customer_is_delivered_and_flagged_or_refused(meet: Meet) -> None:
    anna, bot, strict = await meet(ANNA), await meet(BOT), await meet(JAN, policy=STRICT)
    unsign(bot.client.server, ANNA)
    opened = await bot.keys.open_event(ROOM, await write(anna, bot))
    assert isinstance(opened, Opened)
    assert opened.standing is Standing.UNSIGNED
    assert await strict.keys.open_event(ROOM, await write(anna, strict, "$two")) == Untrusted("unsigned")


def _no_master(server: KeyServer) -> None:
    del server.identities[JAN]["master"]


def _other_user(server: KeyServer) -> None:
    server.identities[JAN]["master"]["user_id"] = ANNA


def _signer_unsigned(server: KeyServer) -> None:
    server.identities[JAN]["self_signing"]["signatures"] = {}


def _signer_of_somebody_else(server: KeyServer) -> None:
    server.identities[JAN]["self_signing"] = server.identities[ANNA]["self_signing"]


def _swapped_usages(server: KeyServer) -> None:
    server.identities[JAN]["master"]["usage"] = ["self_signing"]


def _junk(server: KeyServer) -> None:
    server.identities[JAN] = {"master": {"keys": [1], "usage": 7}, "self_signing": {"keys": {"a": {}}}}


def _device_named_like_a_key(server: KeyServer) -> None:
    public = next(iter(server.identities[JAN]["master"]["keys"].values()))
    server.devices[JAN][public] = server.devices[JAN]["DEV"]


LIES = [_no_master, _other_user, _signer_unsigned, _signer_of_somebody_else, _swapped_usages, _junk]


@pytest.mark.parametrize("lie", [*LIES, _device_named_like_a_key])
async def test_a_chain_with_a_lie_in_it_proves_nothing(meet: Meet, lie: Callable[[KeyServer], None]) -> None:
    jan, _, bot = await meet(JAN), await meet(ANNA), await meet(BOT, policy=STAFF)
    lie(bot.client.server)
    assert await bot.keys.open_event(ROOM, await write(jan, bot)) == Untrusted("unsigned")


async def test_a_device_that_the_server_adds_for_staff_gets_nothing(meet: Meet) -> None:
    """What cross-signing is for: whoever runs the server cannot listen in as a colleague."""
    jan, bot = await meet(JAN), await meet(BOT, policy=STAFF)
    await write(bot, jan)
    server = bot.client.server
    spy = person(server, bot.path.with_name("spy.db"), JAN, "SPY")
    await spy.keys._uploads.refill()
    bot.keys.take_in([], [JAN], [], {"signed_curve25519": 50}, None)
    event = await write(bot, jan)
    spy.take_in()
    assert isinstance(await spy.keys.open_event(ROOM, event), NoKey)
    assert isinstance(await jan.keys.open_event(ROOM, event), Opened)
    assert await bot.keys.open_event(ROOM, await write(spy, bot, "$spy")) == Untrusted("unsigned")
    spy.keys.close()
