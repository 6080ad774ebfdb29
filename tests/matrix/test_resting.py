"""Our own sessions over an orderly stop: gone on with once, and never from an old state."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from bot.domain.errors import Fatal, Transient
from bot.domain.ids import RoomId
from bot.domain.message import NoKey
from bot.matrix.e2ee.opening import Opened
from tests.matrix.conftest import Meet
from tests.matrix.keyserver import Person, broken, person

ROOM = RoomId("!room:x")
ANNA, BOT, EVE = "@anna:x", "@bot:x", "@eve:x"
Json = dict[str, Any]


async def send(sender: Person, *readers: Person, event_id: str = "$1") -> Json:
    people = [reader.user for reader in readers]
    content = await sender.keys.seal(ROOM, people, "m.room.message", {"body": event_id}, full_history=False)
    return {"type": "m.room.encrypted", "event_id": event_id, "sender": sender.user, "content": content}


async def stopped_and_started(who: Person) -> None:
    who.keys.rest()
    who.keys = who.reopened().keys
    await who.keys.start()


def session_of(event: Json) -> str:
    return str(event["content"]["session_id"])


async def test_after_an_orderly_stop_a_session_goes_on(encounter: Meet) -> None:
    anna, bot = await encounter(ANNA), await encounter(BOT)
    events = [await send(bot, anna, event_id=f"$a{n}") for n in range(3)]
    handed_out = bot.client.server.count("sendToDevice/m.room.encrypted")
    for turn in range(2):
        await stopped_and_started(bot)
        events += [await send(bot, anna, event_id=f"${turn}{n}") for n in range(3)]
    anna.take_in()
    assert bot.client.server.count("sendToDevice/m.room.encrypted") == handed_out
    assert len({session_of(event) for event in events}) == 1
    assert [type(await anna.keys.open_event(ROOM, event)) for event in events] == [Opened] * 9
    assert bot.keys._sharing.sessions[ROOM].session.message_count == 9  # the room's limit still counts all


async def test_after_a_power_cut_there_is_none_to_go_on_with(encounter: Meet) -> None:
    anna, bot = await encounter(ANNA), await encounter(BOT)
    first = await send(bot, anna)
    await stopped_and_started(bot)
    second = await send(bot, anna, event_id="$2")
    bot.keys = bot.reopened().keys  # killed
    await bot.keys.start()
    third = await send(bot, anna, event_id="$3")
    anna.take_in()
    assert session_of(first) == session_of(second) != session_of(third)
    assert [type(await anna.keys.open_event(ROOM, event)) for event in (first, second, third)] == [Opened] * 3


async def test_a_copy_of_the_resting_store_never_goes_on_as_well(encounter: Meet, tmp_path: Path) -> None:
    anna, bot = await encounter(ANNA), await encounter(BOT)
    await send(bot, anna)
    await bot.keys._watermark.show()
    bot.keys.rest()
    bot.keys.close()
    shutil.copy(bot.path, tmp_path / "copy.db")
    bot.keys = bot.reopened().keys
    await bot.keys.start()

    copy = person(bot.client.server, tmp_path / "copy.db", BOT, "DEV")
    with pytest.raises(Fatal, match="old copy"):
        await copy.keys.start()
    copy.keys.close()


async def test_nothing_is_used_before_the_server_knows(encounter: Meet) -> None:
    anna, bot = await encounter(ANNA), await encounter(BOT)
    await send(bot, anna)
    bot.keys.rest()
    bot.keys = bot.reopened().keys
    bot.client.server.fail = lambda name: Transient("no answer") if name.startswith("user/") else None
    for _ in range(2):
        with pytest.raises(Transient):
            await bot.keys.start()
    bot.client.server.fail = broken("", 0)
    await bot.keys.start()
    account_data = next(value for path, value in bot.client.server.account_data.items() if "key_store" in path)
    assert account_data["sent"] == bot.keys._store.sent()


async def test_who_left_meanwhile_cannot_read_on(encounter: Meet) -> None:
    anna, eve, bot = await encounter(ANNA), await encounter(EVE), await encounter(BOT)
    first = await send(bot, anna, eve)
    await stopped_and_started(bot)
    second = await send(bot, anna, event_id="$2")
    eve.take_in()
    assert session_of(first) != session_of(second)
    assert isinstance(await eve.keys.open_event(ROOM, second), NoKey)


async def test_devices_that_came_or_went_meanwhile_are_asked_for(encounter: Meet) -> None:
    anna, old, bot = await encounter(ANNA), await encounter(ANNA, "OLD", start=False), await encounter(BOT)
    await old.keys._uploads.refill()
    await send(bot, anna)
    bot.keys.rest()
    bot.keys = bot.reopened().keys
    del bot.client.server.devices[ANNA]["OLD"]
    await bot.keys.start()
    event = await send(bot, anna, event_id="$2")
    old.take_in()
    anna.take_in()
    assert isinstance(await old.keys.open_event(ROOM, event), NoKey)
    assert isinstance(await anna.keys.open_event(ROOM, event), Opened)
