"""A backup is restored over a bot that had gone on: nothing is sent twice, nothing is swallowed, links and cases are back."""

import shutil
from collections import Counter
from datetime import datetime
from typing import Any

import pytest

from bot.domain.arrival import ItemState
from bot.domain.case import CaseState
from bot.domain.ids import CaseNumber, EventId, RoomId, SessionId, UserId
from bot.flows import house, reconciling, staffing, stuck
from bot.flows.intake import Batch, RoomUpdate
from bot.flows.messenger import STEP
from bot.store import arrivals, cases, facts, links, rooms, staff
from tests.flows.fake import FakeRoom
from tests.flows.shown import shown
from tests.flows.test_away import HOURS
from tests.flows.world import ANNA, BERT, CHEF, EVA, JAN, ME, Crash, World, _state

Json = dict[str, Any]


class Backup:
    """The database as it was, and how far every room had come."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.made_at: datetime = world.now()
        self.seen = {room: len(found.events) for room, found in world.server.rooms.items()}

    async def take(self) -> None:
        for room in list(self.seen):
            if await rooms.find(self.world.database, room) is None:
                del self.seen[room]  # made after the last sync, so the next one tells all of it
        await self.world.close()
        shutil.copy(self.world.folder / "botschaft.db", self.world.folder / "backup.db")
        await self.world.open()

    async def restore(self, *, shuffled: bool = False) -> None:
        """The disk is lost; the server knows no transaction id of the new device."""
        world = self.world
        await world.close()
        for name in ("botschaft.db-wal", "botschaft.db-shm"):
            (world.folder / name).unlink(missing_ok=True)
        shutil.copy(world.folder / "backup.db", world.folder / "botschaft.db")
        world.server.forget_transactions()
        world.server.aliases.clear()
        await world.open()
        async with world.database.transaction() as tx:
            await facts.put(tx, facts.RESTORED, self.made_at.isoformat())
            await arrivals.doubt_all(tx)
        found = list(world.server.rooms.values())
        world.sync += 100
        updates = tuple(self._update(room) for room in (reversed(found) if shuffled else found))
        await reconciling.take_in(world.around, Batch(f"s{world.sync}", updates))
        world.around.obey(staffing.in_force(world.rules, await staff.changes(world.database)))
        await house.set_up(world.around)
        await world.run()

    def _update(self, room: FakeRoom) -> RoomUpdate:
        old = self.seen.get(room.room_id)
        state: tuple[Json, ...] = ()
        if old is None:
            creator = ME if room.mark else next(user for user in room.members if user != ME)
            state = tuple(self.world.room_state(room.room_id, creator))
            if room.mark:
                state[0]["content"]["de.botschaft.room"] = room.mark
                state[0]["content"] |= {"type": "m.space"} if room.mark == "space" else {}
        timeline = tuple(room.events[old or 0 :])
        state += tuple(event for event in timeline if "state_key" in event)
        return RoomUpdate(room.room_id, room.members[ME], state, timeline)


async def backed_up(world: World) -> Backup:
    backup = Backup(world)
    await backup.take()
    return backup


def ours(world: World) -> Counter[tuple[str, str]]:
    """Return every event of the bot, by room and mark, without what it tells the admins about a restore."""
    return Counter(
        (room.room_id, str(event["content"].get(STEP, event["event_id"])))
        for room in world.server.rooms.values()
        for event in room.events
        if event["sender"] == ME and "💾" not in str(event["content"].get("body"))
    )


async def table(world: World, sql: str) -> list[tuple[Any, ...]]:
    return sorted(tuple(row) for row in await world.database.all(sql))


LINKS = "SELECT source_event, target_event, relation, case_number, coalesce(about, '') FROM copy_links"
CASES = "SELECT number, state, room_id, card_event, inbox_event, coalesce(previous, 0), desk FROM cases"
ROOMS = "SELECT room_id, kind, coalesce(case_number, 0), membership FROM rooms"
USERS = "SELECT user_id, room_id FROM customers"
FILES = "SELECT mxc, event_id, case_number FROM files"


async def everything(world: World) -> list[list[tuple[Any, ...]]]:
    return [await table(world, sql) for sql in (LINKS, CASES, ROOMS, USERS, FILES)]


async def relate(
    world: World, sender: UserId, room: RoomId, relation: Json, body: str = "x", kind: str = ""
) -> EventId:
    """Send a reaction, an edit or a reply, and let the bot work."""
    content: Json = {"m.relates_to": relation}
    if relation.get("rel_type") == "m.replace":
        content |= {"msgtype": "m.text", "body": f"* {body}", "m.new_content": {"msgtype": "m.text", "body": body}}
    elif not relation.get("rel_type"):
        content |= {"msgtype": "m.text", "body": body}
    event = world.server.new_event(room, sender, kind or "m.room.message", content)
    await world.take(room, event)
    await world.run()
    return EventId(event["event_id"])


async def delete(world: World, sender: UserId, room: RoomId, event: EventId) -> None:
    world.server.clear(room, event)
    await world.take(room, world.server.new_event(room, sender, "m.room.redaction", {"redacts": event}))
    await world.run()


async def copy_of(world: World, event: EventId, room: RoomId) -> EventId:
    found = await links.counterpart(world.database, event, room)
    assert found
    return found


async def a_busy_day(world: World, chat: RoomId) -> RoomId:
    """Everything that people do, after the backup was made; returns the chat of a customer who came new."""
    case = (await world.case_room(ANNA)).room_id
    for number in range(10):
        world.later(seconds=1)
        await world.says(ANNA, chat, f"Anna {number}")
        world.later(seconds=1)
        await world.says(JAN, case, f"Jan {number}")
    new_chat = await world.chat(BERT)
    first = await world.says(BERT, new_chat, "Bert ist neu")
    bert_case = (await world.case_room(BERT)).room_id
    world.later(seconds=1)
    answer = await world.says(EVA, bert_case, "Hallo Bert")
    world.later(seconds=1)
    said = await copy_of(world, answer, new_chat)
    await relate(world, BERT, new_chat, {"rel_type": "m.annotation", "event_id": said, "key": "👍"}, kind="m.reaction")
    world.later(seconds=1)
    await relate(world, BERT, new_chat, {"rel_type": "m.replace", "event_id": first}, "Bert ist ganz neu")
    await relate(world, BERT, new_chat, {"m.in_reply_to": {"event_id": said}}, "Danke")
    world.later(seconds=1)
    gone = await world.says(BERT, new_chat, "ein Versehen")
    await delete(world, BERT, new_chat, gone)
    world.later(seconds=1)
    slip = await world.says(JAN, case, "das war nicht für Anna")
    world.later(seconds=1)
    await relate(world, JAN, case, {"rel_type": "m.replace", "event_id": slip}, "!notiz das war nicht für Anna")
    world.later(seconds=1)
    await world.says(EVA, bert_case, "!zu")
    world.later(seconds=1)
    await world.says(BERT, new_chat, "noch eine Frage")
    world.later(seconds=1)
    await world.says(JAN, case, ". nur unter uns")
    await world.says(JAN, case, "!unsinn")
    await world.says(JAN, case, "!zu")
    return new_chat


@pytest.mark.parametrize("shuffled", [False, True])
async def test_nothing_is_sent_twice_and_all_is_known_again(world: World, shuffled: bool) -> None:
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "vor der Sicherung")
    backup = await backed_up(world)
    await a_busy_day(world, chat)
    sent, known = ours(world), await everything(world)
    screens = {room.room_id: shown(room) for room in world.server.rooms.values() if room.mark != "admin"}

    await backup.restore(shuffled=shuffled)

    assert ours(world) == sent
    assert await everything(world) == known
    assert {room.room_id: shown(room) for room in world.server.rooms.values() if room.mark != "admin"} == screens
    assert (await arrivals.counts(world.database)).keys() == {ItemState.DONE}
    assert (await world.case(ANNA)).state is CaseState.CLOSED
    assert (await world.case(BERT)).state is CaseState.OWED
    assert await facts.get(world.database, facts.RESTORED) is None
    admin = await rooms.place(world.database, "admin")
    assert admin
    told = [text for text in world.server.rooms[admin].texts() if "💾" in text]
    assert len(told) == 1
    assert "1 Vorgänge" in told[0]


async def test_a_code_from_after_the_backup_is_not_known_and_a_new_one_helps(world: World) -> None:
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "vor der Sicherung")
    room = await world.case_room(ANNA)
    backup = await backed_up(world)
    world.later(hours=1)
    await world.says(JAN, room.room_id, "!fertig")
    code = world.server.rooms[chat].texts()[-1].partition("Abholcode: ")[2][:4]
    sent, links_before = ours(world), await table(world, LINKS)

    await backup.restore()

    assert ours(world) == sent
    assert await table(world, LINKS) == links_before
    assert (await world.case(ANNA)).state is CaseState.READY
    await world.says(JAN, room.room_id, f"!abholung {code}")
    assert "keinen Code, der noch gilt" in room.texts()[-1]
    await world.says(JAN, room.room_id, "!fertig")
    code = world.server.rooms[chat].texts()[-1].partition("Abholcode: ")[2][:4]
    await world.says(JAN, room.room_id, f"!abholung {code}")
    assert "🤝" in room.texts()[-1]


async def test_a_case_put_off_after_the_backup_rings_when_it_was_to_ring(world: World) -> None:
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "vor der Sicherung")
    room = await world.case_room(ANNA)
    backup = await backed_up(world)
    world.later(hours=1)
    await world.says(JAN, room.room_id, "!spaeter 3h")
    sent = ours(world)
    world.later(hours=2)

    await backup.restore()

    assert ours(world) == sent
    assert (await world.case(ANNA)).state is CaseState.LATER
    await world.passes(minutes=50)
    assert ours(world) == sent
    await world.passes(minutes=20)
    assert room.texts()[-1].startswith("⏰ @jan:")
    assert (await world.case(ANNA)).state is CaseState.OWED


async def test_what_was_written_while_nobody_was_there_is_delivered(world: World) -> None:
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "vor der Sicherung")
    backup = await backed_up(world)
    new_chat = await a_busy_day(world, chat)
    sent = ours(world)
    case, bert_case = await world.case_room(ANNA), await world.case_room(BERT)
    world.later(seconds=60)
    for sender, room, text in (
        (ANNA, chat, "Anna in der Pause"),
        (JAN, case.room_id, "Jan in der Pause"),
        (BERT, new_chat, "Bert in der Pause"),
        (EVA, bert_case.room_id, "Eva in der Pause"),
    ):
        world.server.new_event(room, sender, "m.room.message", {"msgtype": "m.text", "body": text})

    await backup.restore()

    assert case.texts().count("Anna in der Pause") == bert_case.texts().count("Bert in der Pause") == 1
    assert world.server.rooms[chat].texts().count("Jan in der Pause") == 1
    assert world.server.rooms[new_chat].texts().count("Eva in der Pause") == 1
    assert not sent - ours(world)
    again = await world.chat(UserId("@carl:elsewhere.example"))
    await world.says(UserId("@carl:elsewhere.example"), again, "der Nächste")
    assert (await world.case(UserId("@carl:elsewhere.example"))).number == 1003


@pytest.mark.parametrize("at", range(1, 9))
async def test_a_crash_in_the_middle_of_a_case_is_gone_on_with(world: World, at: int) -> None:
    """The old bot died at each step of a first message; the new one finishes it in the same room."""
    backup = await backed_up(world)
    chat = await world.chat(ANNA)
    world.server.fail_at(at, "after", Crash())
    await world.writes(ANNA, chat, "Hilfe")
    with pytest.raises(Crash):
        await world.run()

    await backup.restore()

    seen = [text for room in world.server.rooms.values() if room.mark.startswith("case:") for text in room.texts()]
    assert seen.count("Hilfe") == 1
    assert all(count == 1 for (_, mark), count in ours(world).items() if not mark.startswith("$"))
    case = await world.case_room(ANNA)
    assert "Hilfe" in case.texts()
    await world.says(JAN, case.room_id, "Schon da")
    assert world.server.rooms[chat].texts().count("Schon da") == 1


async def test_what_a_moderator_deleted_is_left_to_people_and_not_sent_again(world: World) -> None:
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "eins")
    backup = await backed_up(world)
    case = await world.case_room(ANNA)
    world.later(seconds=1)
    two = await world.says(ANNA, chat, "zwei")
    copy = await copy_of(world, two, case.room_id)
    world.server.clear(case.room_id, copy)
    world.server.new_event(case.room_id, EVA, "m.room.redaction", {"redacts": copy})
    world.later(seconds=60)
    world.server.new_event(chat, ANNA, "m.room.message", {"msgtype": "m.text", "body": "drei"})

    await backup.restore()

    assert "zwei" not in case.texts()
    assert case.texts().count("drei") == 1
    parked = await arrivals.stuck(world.database)
    assert [(str(item.id), item.reason) for item in parked] == [(str(two), "mark_not_decidable")]
    async with world.database.transaction() as tx:
        await arrivals.retry(tx, parked[0], world.now())
        await arrivals.wake_due(tx, world.now())
    await world.run()
    assert case.texts().count("zwei") == 1


async def test_orders_of_before_open_no_door_again(world: World) -> None:
    """Whom an old !erlauben let in, and whose identity an old !vertrauen meant, nobody can tell any more."""
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "eins")
    case = await world.case_room(ANNA)
    admin = await rooms.place(world.database, "admin")
    assert admin
    backup = await backed_up(world)
    await world.joins(BERT, chat)
    await world.says(JAN, case.room_id, "!erlauben")
    await world.says(CHEF, admin, f"!vertrauen {JAN}")
    world.later(seconds=1)
    await world.says(BERT, chat, "ich bin dabei")
    confirmed = list(world.server.confirmed)
    assert confirmed == [JAN]
    stranger = UserId("@stranger:elsewhere.example")
    world.server.rooms[chat].members[stranger] = "join"
    world.server.rooms[chat].events.append(
        _state("m.room.member", stranger, {"membership": "join"}, sender=stranger) | {"event_id": "$stranger"}
    )
    sent = ours(world)

    await backup.restore()

    assert world.server.confirmed == confirmed
    room = await rooms.find(world.database, chat)
    assert room
    assert room.accepted == frozenset()
    assert len([text for text in case.texts() if "ich bin dabei" in text]) == 1
    assert not sent - ours(world)


async def test_a_room_of_nobody_is_named(world: World) -> None:
    """A room was made, nothing was written in it, and the disk was lost."""
    backup = await backed_up(world)
    lost = FakeRoom(RoomId("!lost"), {ME: "join", JAN: "join"}, mark="case:1007")
    world.server.rooms[lost.room_id] = lost

    await backup.restore()

    admin = await rooms.place(world.database, "admin")
    assert admin
    assert any("1007" in text for text in world.server.rooms[admin].texts())
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "eins")
    assert (await world.case(ANNA)).number == 1008
    assert await cases.find(world.database, CaseNumber(1007)) is None


async def test_what_the_new_device_cannot_read_was_relayed_all_the_same(world: World) -> None:
    """Its key was not in the key backup: nobody is told that it could not be read, and answers to it find it."""
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "eins")
    case = await world.case_room(ANNA)
    backup = await backed_up(world)
    two = await world.says(ANNA, chat, "zwei", session="lost")
    copy = await copy_of(world, two, case.room_id)
    world.later(seconds=60)
    relation = {"rel_type": "m.annotation", "event_id": copy, "key": "👍"}
    world.server.new_event(case.room_id, JAN, "m.reaction", {"m.relates_to": relation})
    world.server.missing_keys.add(SessionId("lost"))
    sent = ours(world)

    await backup.restore()

    assert (await arrivals.counts(world.database)).keys() == {ItemState.DONE}
    assert [mark.reactions for mark in shown(world.server.rooms[chat]) if mark.event_id == two] == [{(ME, "👍")}]
    assert sum((ours(world) - sent).values()) == 1


async def test_who_left_since_is_told_of_once(world: World) -> None:
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "eins")
    case = await world.case_room(ANNA)
    backup = await backed_up(world)
    world.server.rooms[chat].members[ANNA] = "leave"
    left = _state("m.room.member", ANNA, {"membership": "leave"}, sender=ANNA) | {"event_id": "$left"}
    world.server.rooms[chat].events.append(left)
    await world.take_in(RoomUpdate(chat, "join", (left,), (left,)))
    await world.run()
    told = len(case.texts())

    await backup.restore()

    assert len(case.texts()) == told


@pytest.mark.parametrize("at", range(1, 9))
async def test_a_backup_in_the_middle_of_a_case_holds_a_plan_that_was_followed_since(world: World, at: int) -> None:
    """A case was half opened when the backup was made; the old bot finished it, and its alias is gone."""
    chat = await world.chat(ANNA)
    world.server.fail_at(at, "after", Crash())
    await world.writes(ANNA, chat, "Hilfe")
    with pytest.raises(Crash):
        await world.run()
    await world.restart()
    backup = await backed_up(world)
    await world.run()
    world.later(seconds=1)
    await world.says(JAN, (await world.case_room(ANNA)).room_id, "Schon da")
    sent, known = ours(world), await everything(world)

    await backup.restore()

    assert ours(world) == sent
    assert await everything(world) == known


async def test_a_room_that_was_there_but_not_written_down_is_found_by_how_it_began(world: World) -> None:
    """The sync had shown the room before its case knew of it; then the backup was made."""
    chat = await world.chat(ANNA)
    world.server.fail_at(2, "after", Crash())
    await world.writes(ANNA, chat, "Hilfe")
    with pytest.raises(Crash):
        await world.run()
    await world.restart()
    room = next(room for room in world.server.rooms.values() if room.mark.startswith("case:"))
    began = _state("m.room.create", "", {"room_version": "12", "de.botschaft.room": room.mark}, sender=ME)
    room.events.insert(0, began)
    await world.take_in(RoomUpdate(room.room_id, "join", (began, *world.room_state(room.room_id, ME)[1:])))
    backup = await backed_up(world)
    await world.run()
    sent, known = ours(world), await everything(world)

    await backup.restore()

    assert ours(world) == sent
    assert await everything(world) == known


TOM, UDO = UserId("@tom:example.org"), UserId("@udo:example.org")


def moved(world: World, mark: str, user: UserId, membership: str) -> None:
    """Let a room show what the bot did with somebody's membership."""
    room = world.made(mark)[0]
    event = _state("m.room.member", user, {"membership": membership}, sender=ME)
    room.events.append(event | {"event_id": f"${mark}-{user}-{membership}"})


async def test_who_left_the_team_since_is_not_let_in_for_a_moment_and_who_came_stays(world: World) -> None:
    """The orders come again, but the house is set up before that."""
    admin = world.made("admin")[0].room_id
    backup = await backed_up(world)
    await world.says(CHEF, admin, f"!aufnehmen {TOM}")
    await world.says(CHEF, admin, f"!entfernen {EVA}")
    await world.says(CHEF, admin, f"!aufnehmen {UDO}")
    await world.says(CHEF, admin, f"!entfernen {UDO}")
    for mark in ("space", "inbox:annahme"):
        moved(world, mark, TOM, "invite")
        moved(world, mark, EVA, "leave")
        moved(world, mark, UDO, "invite")
        moved(world, mark, UDO, "leave")
    before, texts = len(world.server.calls), world.made("admin")[0].texts()
    assert world.around.rules.staff == {JAN, TOM, CHEF}

    await backup.restore()

    assert world.around.rules.staff == {JAN, TOM, CHEF}
    assert not [call for call in world.server.calls[before:] if call in {"invite", "remove"}]
    assert [text for text in world.made("admin")[0].texts() if "💾" not in text] == texts
    assert f"im Team: {TOM} (" in world.made("admin")[0].texts()[-1]
    assert world.made("inbox:annahme")[0].members[EVA] == "leave"


async def test_whom_only_the_server_says_we_invited_does_not_join_the_team_unseen(world: World) -> None:
    """Whoever runs the server can invite in our name, but gives no order: nobody elsewhere comes, and all are named."""
    near, far = UserId("@spy:example.org"), UserId("@spy:elsewhere.example")
    backup = await backed_up(world)
    for mark in ("space", "inbox:annahme"):
        for user in (near, far, *world.rules.ignored):
            moved(world, mark, user, "invite")

    await backup.restore()

    assert world.around.rules.staff == {JAN, EVA, CHEF, near}
    assert any("💾" in text and f"im Team: {near} (" in text for text in world.made("admin")[0].texts())


async def test_what_the_hours_say_now_is_not_said_about_messages_of_before(world: World) -> None:
    """They were relayed by day; the restore happens in the night."""
    world.rule(hours=HOURS)
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "eins")
    backup = await backed_up(world)
    await world.says(ANNA, chat, "zwei")
    world.later(hours=14)
    sent = ours(world)

    await backup.restore()

    assert ours(world) == sent


async def test_what_was_held_and_sent_is_not_asked_about_again(world: World) -> None:
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "eins")
    case = await world.case_room(ANNA)
    backup = await backed_up(world)
    note = await world.says(JAN, case.room_id, ". nur unter uns")
    held = await relate(world, EVA, case.room_id, {"m.in_reply_to": {"event_id": note}}, "stimmt")
    question = next(m.event_id for m in shown(case) if m.sender == ME and m.quotes == held)
    relation = {"rel_type": "m.annotation", "event_id": question, "key": "📤"}
    await relate(world, EVA, case.room_id, relation, kind="m.reaction")
    await world.run()
    assert "stimmt" in world.server.rooms[chat].texts()
    sent = ours(world)

    await backup.restore()

    assert ours(world) == sent
    assert await links.counterpart(world.database, held, chat)


@pytest.mark.parametrize("words", ["!neukunde", "!neukunde code"])
async def test_who_was_let_in_since_the_backup_is_not_let_in_again(world: World, words: str) -> None:
    inbox = world.made("inbox:annahme")[0]
    backup = await backed_up(world)
    await world.says(JAN, inbox.room_id, words)
    before, sent = (dict(world.server.accounts), dict(world.server.registration_tokens)), ours(world)

    await backup.restore()

    assert (world.server.accounts, world.server.registration_tokens) == before
    assert ours(world) == sent
    world.later(hours=25)
    async with world.database.transaction() as tx:
        await arrivals.wake_due(tx, world.now())
    await world.run()
    assert not [e for e in inbox.events if e["sender"] == ME and "Zettel" in str(e["content"])], "the secret goes, too"


async def test_a_slip_that_a_moderator_deleted_makes_no_second_account(world: World) -> None:
    """Whether it was shown cannot be told any more: that is for people, and nothing is made meanwhile."""
    inbox = world.made("inbox:annahme")[0]
    backup = await backed_up(world)
    world.later(seconds=1)
    await world.says(JAN, inbox.room_id, "!neukunde")
    made = dict(world.server.accounts)
    for event in [e for e in inbox.events if e["sender"] == ME and e["content"].get("msgtype")][-2:]:
        await delete(world, CHEF, inbox.room_id, EventId(event["event_id"]))

    await backup.restore()

    assert world.server.accounts == made
    assert (await arrivals.counts(world.database))[ItemState.PARKED] == 1


async def test_a_plan_of_before_is_followed_once(world: World) -> None:
    """The backup was made after the account was chosen; it exists since, and its owner has changed the password."""
    inbox = world.made("inbox:annahme")[0]
    await world.writes(JAN, inbox.room_id, "!neukunde")
    world.server.fail_at(3, "before", Crash())
    with pytest.raises(Crash):
        await world.run()
    await world.restart()
    backup = await backed_up(world)
    await world.run()
    ((account, _),) = world.server.accounts.items()
    world.server.accounts[account] = "changed by its owner"
    sent = ours(world)

    await backup.restore()

    assert world.server.accounts == {account: "changed by its owner"}
    assert ours(world) == sent


async def test_an_order_about_an_item_is_not_done_to_another_one(world: World) -> None:
    """`!haenger weg 7` names a place in the order of arrivals, and that begins anew at the backup."""
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "eins")
    case = await world.case_room(ANNA)
    backup = await backed_up(world)
    await world.joins(BERT, chat)
    world.later(seconds=1)
    dropped = await world.says(BERT, chat, "wer bin ich?")
    (line,) = await stuck.listed(world.database)
    assert str(line.item.id) == dropped
    world.later(seconds=1)
    await world.says(JAN, case.room_id, f"!haenger weg {line.label}")
    assert await stuck.listed(world.database) == []

    await backup.restore()

    assert [str(found.item.id) for found in await stuck.listed(world.database)] == [str(dropped)]
