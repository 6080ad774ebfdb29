"""A blocked customer is not heard until the block ends, a muted one is heard without ringing; they are told nothing."""

from zoneinfo import ZoneInfo

import pytest

from bot.domain.consent import Standing
from bot.domain.ids import RoomId, UserId
from bot.flows.intake import Batch, RoomUpdate, take_in
from bot.store import arrivals, blocks
from tests.flows.consents import agreed, says, standing
from tests.flows.shown import only
from tests.flows.world import ANNA, BERT, CHEF, JAN, World


@pytest.fixture
async def chat(world: World) -> RoomId:
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "erste")
    return chat


async def orders(world: World, text: str) -> str:
    """A mechanic commands in the case room; the answer."""
    room = await world.case_room(ANNA)
    await world.says(JAN, room.room_id, text)
    return room.texts()[-1]


async def kept(world: World) -> int:
    """How many things from outside stand in our table."""
    return sum((await arrivals.counts(world.database)).values())


async def test_what_a_blocked_customer_writes_is_neither_kept_nor_announced_and_nobody_tells_them(
    world: World, chat: RoomId
) -> None:
    before = world.server.rooms[chat].texts()
    answer = await orders(world, "!sperren 7d")
    assert answer.startswith("🚫 Gesperrt bis 09.03.2026")
    assert "nicht gespeichert" in answer
    assert "mit Absicht verloren" in answer
    rows, rooms = await kept(world), {room.room_id: room.texts() for room in world.server.rooms.values()}
    await world.says(ANNA, chat, "gesperrtes Wort")
    await world.says(ANNA, chat, "hallo?")
    assert await kept(world) == rows
    assert world.server.rooms[chat].texts() == [*before, "gesperrtes Wort", "hallo?"]
    assert {room.room_id: room.texts() for room in world.server.rooms.values() if room.room_id != chat} == {
        room: texts for room, texts in rooms.items() if room != chat
    }


async def test_others_are_heard_and_answers_still_go_out(world: World, chat: RoomId) -> None:
    await orders(world, "!sperren 7d")
    other = await world.chat(BERT)
    await world.says(BERT, other, "von Bert")
    assert "von Bert" in (await world.case_room(BERT)).texts()
    await orders(world, "Bitte lassen Sie das.")
    assert "Bitte lassen Sie das." in world.server.rooms[chat].texts()


@pytest.mark.parametrize("ends", ["by itself", "by command", "from the inbox"])
async def test_after_the_end_everything_is_as_before_and_what_was_written_meanwhile_stays_lost(
    world: World, chat: RoomId, ends: str
) -> None:
    await orders(world, "!sperren 2h")
    await world.says(ANNA, chat, "verloren")
    if ends == "by itself":
        world.later(hours=2)
    elif ends == "by command":
        assert "ist verloren" in await orders(world, "!entsperren")
    else:
        await world.says(JAN, world.made("inbox:annahme")[0].room_id, "!entsperren 1001")
    await world.says(ANNA, chat, "wieder da")
    texts = (await world.case_room(ANNA)).texts()
    assert "wieder da" in texts
    assert "verloren" not in texts


async def test_what_came_before_the_block_arrives_and_what_was_left_out_of_a_sync_meanwhile_does_not(
    world: World, chat: RoomId
) -> None:
    await world.writes(ANNA, chat, "noch davor")
    await orders(world, "!sperren 1h")
    for text in ("in der Lücke", "auch"):
        world.server.new_event(chat, ANNA, "m.room.message", {"msgtype": "m.text", "body": text})
    newest = world.server.new_event(chat, ANNA, "m.room.message", {"msgtype": "m.text", "body": "zuletzt"})
    prev = str(len(world.server.rooms[chat].events) - 1)
    await world.take_in(RoomUpdate(chat, "join", timeline=(newest,), limited=True, prev_batch=prev))
    await world.run()
    texts = (await world.case_room(ANNA)).texts()
    assert "noch davor" in texts
    assert not {"in der Lücke", "auch", "zuletzt"} & set(texts)
    assert await arrivals.open_lanes(world.database) == []


async def test_what_a_blocked_customer_deletes_is_deleted(world: World, chat: RoomId) -> None:
    event = await world.says(ANNA, chat, "Unsinn")
    await orders(world, "!sperren 1h")
    await world.take(chat, world.server.new_event(chat, ANNA, "m.room.redaction", {"redacts": event}))
    await world.run()
    assert "Unsinn" not in (await world.case_room(ANNA)).texts()


async def test_invitations_of_the_blocked_are_refused(world: World, chat: RoomId) -> None:
    await orders(world, "!sperren 1h")
    room = await world.chat(ANNA)
    assert world.server.rooms[room].members[world.rules.me] == "leave"
    world.later(hours=1)
    room = await world.chat(ANNA)
    assert world.server.rooms[room].members[world.rules.me] == "join"


async def test_a_blocked_customer_who_comes_and_goes_makes_no_noise(world: World, chat: RoomId) -> None:
    await orders(world, "!sperren 1h")
    texts = (await world.case_room(ANNA)).texts()
    event = {
        **{"type": "m.room.member", "state_key": ANNA, "sender": ANNA, "event_id": "$away"},
        "content": {"membership": "leave"},
    }
    await world.take_in(RoomUpdate(chat, "join", (event,), (event,)))
    await world.run()
    assert (await world.case_room(ANNA)).texts() == texts
    assert "hat den Chat verlassen" in await orders(world, "hört mich jemand?")


async def test_after_a_restore_nothing_is_dropped_because_the_end_may_be_lost(world: World, chat: RoomId) -> None:
    await orders(world, "!sperren 7d")
    event = world.server.new_event(chat, ANNA, "m.room.message", {"msgtype": "m.text", "body": "nach dem Ende"})

    async def nothing(tx: object) -> None:
        """What else a restore writes down."""

    await take_in(world.around, Batch("r1", (RoomUpdate(chat, "join", timeline=(event,)),)), begin=nothing)
    await world.run()
    assert "nach dem Ende" in (await world.case_room(ANNA)).texts()


async def test_who_is_muted_arrives_without_ringing(world: World, chat: RoomId) -> None:
    room = await world.case_room(ANNA)
    assert only(room, "erste").content["msgtype"] == "m.text"
    assert (await orders(world, "!stumm")).startswith("🔕 Stumm bis 02.03.2026")
    await world.says(ANNA, chat, "leise")
    await world.says(ANNA, chat, "bild.jpg", msgtype="m.image", file={"url": "mxc://far.example/x"})
    assert only(room, "leise").content["msgtype"] == "m.notice"
    world.later(hours=2)
    await world.says(ANNA, chat, "laut")
    assert only(room, "laut").content["msgtype"] == "m.text"


async def test_a_new_case_of_somebody_muted_rings_nowhere_either(world: World, chat: RoomId) -> None:
    await orders(world, "!stumm 90d")
    await orders(world, "!zu")
    world.later(days=30)
    await world.says(ANNA, chat, "neue Sache")
    inbox = [e["content"] for e in world.made("inbox:annahme")[0].events if "1002" in str(e["content"].get("body"))]
    assert {content["msgtype"] for content in inbox} == {"m.notice"}
    assert only(await world.case_room(ANNA), "neue Sache").content["msgtype"] == "m.notice"


async def test_the_last_word_counts_and_the_list_says_it(world: World, chat: RoomId) -> None:
    assert await orders(world, "!sperren") == world.around.say("block.list_empty")
    await orders(world, "!stumm 1h")
    await orders(world, "!sperren 2 Tage")
    listed = await orders(world, "!sperren")
    assert listed.splitlines() == [world.around.say("block.list"), "🚫 1001: gesperrt bis " + listed[-16:]]
    await orders(world, "!stumm 1h")
    assert "🔕 1001: stumm bis" in await orders(world, "!block")
    await world.says(ANNA, chat, "gehört")
    assert "gehört" in (await world.case_room(ANNA)).texts()
    world.later(hours=1)
    assert await orders(world, "!sperren") == world.around.say("block.list_empty")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        *(("!sperren bald", "!sperren 7d"), ("!stumm laut", "!stumm 2h"), ("!sperren 400d", "höchstens ein Jahr")),
        *(
            ("!entsperren", "weder gesperrt noch stumm"),
            ("!entsperren 7", "Welcher Kunde"),
            ("!entsperren x", "Welcher"),
        ),
    ],
)
async def test_what_cannot_be_done_is_said_and_nothing_changes(
    world: World, chat: RoomId, text: str, answer: str
) -> None:
    assert answer in await orders(world, text)
    assert await blocks.in_force(world.database, world.now()) == ()


async def test_outside_of_a_case_nobody_can_be_blocked(world: World, chat: RoomId) -> None:
    inbox = world.made("inbox:annahme")[0]
    await world.says(JAN, inbox.room_id, "!sperren 7d")
    assert inbox.texts()[-1] == world.around.say("command.not_here")
    await world.says(JAN, inbox.room_id, "!entsperren")
    assert inbox.texts()[-1] == world.around.say("block.whom")
    assert await blocks.in_force(world.database, world.now()) == ()


async def test_a_restart_changes_nothing(world: World, chat: RoomId) -> None:
    await orders(world, "!sperren 7d")
    await world.restart()
    await world.says(ANNA, chat, "verloren")
    assert "verloren" not in (await world.case_room(ANNA)).texts()


async def test_no_table_says_who_blocked_somebody(world: World, chat: RoomId) -> None:
    await orders(world, "!sperren 7d")
    rows = [str(tuple(row)) for row in await world.database.all("SELECT * FROM blocks")]
    assert len(rows) == 1
    assert not [user for user in (JAN, CHEF, UserId(ANNA)) if user in rows[0]]


async def test_who_is_blocked_can_take_a_consent_back_and_nothing_else_of_it_is_heard(world: World) -> None:
    chat, _ = await agreed(world)
    await orders(world, "!sperren 7d")
    before = (await world.case_room(ANNA)).texts()
    await says(world, ANNA, chat, "nur ein Ärgernis")
    assert (await world.case_room(ANNA)).texts() == before
    await says(world, ANNA, chat, "stopp")
    assert await standing(world) is Standing.WITHDRAWN
    after = (await world.case_room(ANNA)).texts()
    assert "stopp" not in after
    assert len(after) == len(before) + 1, "staff are told of the withdrawal itself"
    kept = "SELECT 1 FROM arrivals WHERE kind IN ('event', 'heed') AND (state != 'done' OR body IS NOT NULL)"
    assert await world.database.all(kept) == []


async def test_people_read_times_in_the_time_zone_of_the_business(world: World, chat: RoomId) -> None:
    world.rule(zone=ZoneInfo("Asia/Tokyo"))
    world.later(hours=7)
    assert "Gesperrt bis 10.03.2026 01:00" in await orders(world, "!sperren 7d")
    other = await world.chat(BERT)
    await world.says(BERT, other, "von Bert")
    assert any("Seit: 03.03.2026 01:00" in text for text in (await world.case_room(BERT)).texts())
