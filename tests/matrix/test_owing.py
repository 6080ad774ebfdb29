"""Keys that could not be given when they were needed: written down, tried again, and said; and why others give none."""

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import pytest

from bot.domain.errors import Transient
from bot.domain.ids import RoomId, SessionId
from bot.domain.message import NoKey
from bot.domain.room import Rotation
from bot.matrix.e2ee import owing
from bot.matrix.e2ee.opening import Opened
from tests.matrix.conftest import Meet
from tests.matrix.keyserver import Person, broken

ROOM = RoomId("!room:x")
ANNA, BOT, EVE = "@anna:x", "@bot:x", "@eve:x"
Json = dict[str, Any]


def members(who: Person, *people: str) -> None:
    async def of(room_id: str) -> Iterable[str]:
        assert room_id == ROOM
        return people

    who.keys.follow_members(of)


async def send(sender: Person, *readers: Person, event_id: str = "$1", **choices: Any) -> Json:
    people = [reader.user for reader in readers]
    choices = {"full_history": False} | choices
    content = await sender.keys.seal(ROOM, people, "m.room.message", {"body": event_id}, **choices)
    return {"type": "m.room.encrypted", "event_id": event_id, "sender": sender.user, "content": content}


def take_keys(who: Person) -> Callable[[], None]:
    """Empty the stock of one-time keys of somebody; returns how to put it back."""
    server, name = who.client.server, (who.client.user, who.client.device)
    stock = (server.one_time.pop(name), server.fallback.pop(name))

    def put_back() -> None:
        server.one_time[name], server.fallback[name] = stock

    return put_back


async def reads(who: Person, *events: Json) -> list[type]:
    who.take_in()
    return [type(await who.keys.open_event(ROOM, event)) for event in events]


async def test_a_device_that_had_no_key_gets_it_later_from_the_message_on_that_it_missed(encounter: Meet) -> None:
    anna, eve, bot = await encounter(ANNA), await encounter(EVE), await encounter(BOT)
    members(bot, ANNA, EVE)
    before = await send(bot, eve)
    put_back = take_keys(anna)
    events = [await send(bot, anna, eve, event_id=f"${number}") for number in (2, 3)]
    assert await reads(anna, *events) == [NoKey, NoKey]

    await bot.keys.hand_out_owed()
    assert await reads(anna, *events) == [NoKey, NoKey]
    assert bot.keys.count_owed() == 1
    put_back()
    await bot.keys.hand_out_owed()

    assert await reads(anna, before, *events) == [NoKey, Opened, Opened]
    assert bot.keys.count_owed() == 0


async def test_a_debt_survives_a_restart_and_the_end_of_its_session(encounter: Meet) -> None:
    anna, bot = await encounter(ANNA), await encounter(BOT)
    put_back = take_keys(anna)
    lost = await send(bot, anna)
    bot.keys = bot.reopened().keys
    members(bot, ANNA)
    put_back()

    after = await send(bot, anna, event_id="$2")
    await bot.keys.hand_out_owed()

    assert lost["content"]["session_id"] != after["content"]["session_id"]
    assert await reads(anna, lost, after) == [Opened, Opened]


async def test_the_next_message_asks_nobody_again_while_a_key_is_owed(encounter: Meet) -> None:
    anna, eve, bot = await encounter(ANNA), await encounter(EVE), await encounter(BOT)
    take_keys(anna)
    await send(bot, anna, eve)
    calls = len(bot.client.server.calls)
    await send(bot, anna, eve, event_id="$2")
    assert len(bot.client.server.calls) == calls


async def test_whoever_shows_up_is_tried_at_once(encounter: Meet) -> None:
    anna, bot = await encounter(ANNA), await encounter(BOT)
    members(bot, ANNA)
    put_back = take_keys(anna)
    lost = await send(bot, anna)
    first_wait = await bot.keys._owing.pay()
    assert first_wait == pytest.approx(owing.FIRST_PAUSE_S, abs=5)
    put_back()

    # Her message brings an Olm session with it, through which the key can go.
    await send(anna, bot, event_id="$a")
    bot.take_in()
    assert await bot.keys._owing.pay() is None

    assert await reads(anna, lost) == [Opened]


async def test_the_pauses_grow_and_a_silent_server_changes_nothing(
    encounter: Meet, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, bot = await encounter(ANNA), await encounter(BOT)
    members(bot, ANNA)
    take_keys(anna)
    await send(bot, anna)
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    waits = []
    for _ in range(8):
        waits.append(await bot.keys._owing.pay())
        now += waits[-1] or 0
    assert waits == [60, 60, 120, 240, 480, 960, 1920, 3600]
    bot.client.server.fail = broken("keys/claim")
    with pytest.raises(Transient):
        await bot.keys.hand_out_owed()
    assert bot.keys.count_owed() == 1


@pytest.mark.parametrize("why", ["left", "device gone", "too old"])
async def test_nobody_is_given_what_is_not_theirs_any_more(encounter: Meet, why: str) -> None:
    anna, eve, bot = await encounter(ANNA), await encounter(EVE), await encounter(BOT)
    members(bot, EVE) if why == "left" else members(bot, ANNA, EVE)
    put_back = take_keys(anna)
    lost = await send(bot, anna, eve)
    put_back()
    if why == "device gone":
        del bot.client.server.devices[ANNA]["DEV"]
        bot.keys.take_in([], [ANNA], [], {"signed_curve25519": 50}, None)
        await bot.keys.upkeep()
    if why == "too old":
        bot.keys._owing._clock = lambda: 4e9

    await bot.keys.hand_out_owed()

    assert bot.keys.count_owed() == 0
    assert await reads(anna, lost) == [NoKey]


async def test_both_sides_hear_why_and_we_are_told_that_nobody_could_be_reached(encounter: Meet) -> None:
    anna, bot = await encounter(ANNA), await encounter(BOT)
    unreached: list[tuple[str, str]] = []
    bot.keys.on_unreached = lambda room, session: unreached.append((room, session))
    take_keys(anna)
    event = await send(bot, anna)
    await send(bot, anna, event_id="$2")

    told = [sent for sent in anna.client.server.inbox[ANNA, "DEV"] if sent["type"] == "m.room_key.withheld"]
    assert unreached == [(ROOM, event["content"]["session_id"])]
    assert [sent["content"]["code"] for sent in told] == ["m.no_olm"]
    assert "session_id" not in told[0]["content"]
    arrived = anna.take_in()
    assert arrived.withheld == ("m.no_olm",)
    assert await anna.keys.open_event(ROOM, event) == NoKey(SessionId(event["content"]["session_id"]), "m.no_olm")


async def test_who_had_no_channel_to_us_is_offered_one(encounter: Meet) -> None:
    """Else the app goes on without one, until somebody writes a message for which it asks anew."""
    anna, bot = await encounter(ANNA), await encounter(BOT)
    await send(anna, bot, event_id="$0")  # the devices know each other
    anna.keys._machine.session_store._entries.clear()
    bot.keys._machine.session_store._entries.clear()
    bot.client.server.inbox.clear()
    await bot.keys._devices.query([anna.user])
    take_keys(bot)
    anna.keys.rotate(ROOM)
    lost = await send(anna, bot)
    members(anna, BOT)
    await anna.keys._owing.pay()
    bot.take_in()

    await bot.keys.upkeep()  # a dummy, through a session of our own
    anna.take_in()
    await anna.keys._owing.pay()

    assert await reads(bot, lost) == [Opened]


async def test_reasons_are_kept_for_their_sender_and_session_alone(encounter: Meet) -> None:
    anna, bot = await encounter(ANNA), await encounter(BOT)
    event = await send(anna, bot)
    session = event["content"]["session_id"]
    bot.client.server.inbox.clear()

    def says(sender: str, **content: Any) -> Json:
        return {"type": "m.room_key.withheld", "sender": sender, "content": content}

    bot.take_in(says(EVE, code="m.blacklisted", session_id=session), says(ANNA, code="m.unverified", session_id="s"))
    assert await bot.keys.open_event(ROOM, event) == NoKey(session, "")
    bot.take_in(says(ANNA, code="m.unverified", session_id=session), says(ANNA, code={}, session_id=[]), says(ANNA))
    assert await bot.keys.open_event(ROOM, event) == NoKey(session, "m.unverified")
    assert bot.keys.withheld_codes == {"m.blacklisted": 1, "m.unverified": 2, "other": 2}

    bot.take_in(*[says(EVE, code="m.unverified", session_id=str(number)) for number in range(1500)])
    count = bot.keys._store.database.execute_sql("SELECT count(*) FROM withheld").fetchone()[0]
    assert count == 1000


@pytest.mark.parametrize(
    ("rotation", "sessions"),
    [(Rotation(messages=2), 3), (Rotation(period=timedelta(0)), 6), (Rotation(), 1)],
    ids=["messages", "period", "neither"],
)
async def test_the_room_says_when_a_new_session_begins(encounter: Meet, rotation: Rotation, sessions: int) -> None:
    anna, bot = await encounter(ANNA), await encounter(BOT)
    events = [await send(bot, anna, event_id=f"${number}", rotation=rotation) for number in range(6)]
    assert len({event["content"]["session_id"] for event in events}) == sessions
    assert await reads(anna, *events) == [Opened] * 6


async def test_a_stricter_room_is_obeyed_by_the_session_under_way(encounter: Meet) -> None:
    anna, bot = await encounter(ANNA), await encounter(BOT)
    events = [await send(bot, anna, event_id=f"${number}") for number in range(3)]
    events.append(await send(bot, anna, event_id="$9", rotation=Rotation(messages=3)))
    assert [event["content"]["session_id"] == events[0]["content"]["session_id"] for event in events] == [
        *(True, True, True),
        False,
    ]


async def test_a_key_that_only_the_backup_has_is_found_there(encounter: Meet) -> None:
    anna, bot = await encounter(ANNA), await encounter(BOT)
    event = await send(anna, bot)
    bot.take_in()
    while await bot.keys._backup.upload_some():
        pass
    session = event["content"]["session_id"]
    bot.keys._store.database.execute_sql("DELETE FROM megolminboundsessions WHERE session_id = ?", (session,))
    bot.keys = bot.reopened().keys
    assert await reads(bot, event) == [NoKey]

    assert await bot.keys.look_for_key(ROOM, event)

    assert await reads(bot, event) == [Opened]
    assert bot.client.server.count("sendToDevice/m.room_key_request") == 0


async def test_a_key_that_nobody_has_is_asked_for_once(encounter: Meet) -> None:
    anna, bot = await encounter(ANNA), await encounter(BOT)
    event = await send(anna, bot)
    bot.client.server.inbox.clear()
    assert not await bot.keys.look_for_key(ROOM, event)
    assert not await bot.keys.look_for_key(ROOM, event)
    assert bot.client.server.count("sendToDevice/m.room_key_request") == 1


async def test_steps_of_verifications_beyond_what_a_person_does_get_no_row(encounter: Meet) -> None:
    bot = await encounter(BOT)
    step = {"type": "m.key.verification.request", "sender": EVE, "content": {}}
    arrived = bot.take_in(*[step] * 200, step | {"sender": ANNA})
    assert len([event for event in arrived.handshakes if event["sender"] == EVE]) == 60
    assert arrived.handshakes[-1]["sender"] == ANNA
