"""Staff verify the bot: an admin compares, only then anything is vouched for; customers are told in a friendly way."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from bot.domain.arrival import ItemKind
from bot.domain.errors import Refused, Transient
from bot.domain.ids import EventId, RoomId, UserId
from bot.flows.intake import Batch, RoomUpdate, take_in
from bot.matrix.e2ee.verification import Party
from bot.store import arrivals
from tests.flows.fake import Crash, FakeRoom
from tests.flows.world import ANNA, CHEF, EVA, JAN, ME, World, a_world
from tests.matrix.sas import Phone

Json = dict[str, Any]
BOSS = UserId("@boss:example.org")


class Verifying:
    """A member of staff with their phone, in one room."""

    def __init__(self, world: World, user: UserId, room: RoomId | None) -> None:
        self.world, self.user, self.room = world, user, room
        known = Party(user, "PHONE", f"{user}+fingerprint", f"{user}+master")
        world.server.keys.setdefault(user, known)
        bot = world.server.party
        self.phone = Phone(
            user, "PHONE", dict(known.keys), ME, bot.device, "", dict(bot.keys), in_room=room is not None
        )

    async def says(self, step: str, content: Json) -> None:
        """Say a step, and let the bot work."""
        if self.room is None:
            event = {"type": f"m.key.verification.{step}", "sender": self.user, "content": content}
            self.world.sync += 1
            await take_in(self.world.around, Batch(f"s{self.world.sync}", handshakes=(event,)))
        else:
            event_type = "m.room.message" if step == "request" else f"m.key.verification.{step}"
            made = self.world.server.new_event(self.room, self.user, event_type, content)
            self.phone.transaction = self.phone.transaction or made["event_id"]
            await self.world.take(self.room, made)
        await self.world.run()

    async def asks(self) -> None:
        if self.room is None:
            self.phone.transaction = "by-device"
            stamp = round(self.world.now().timestamp() * 1000)
            await self.says("request", self.phone.bound(self.phone.request() | {"timestamp": stamp}))
        else:
            self.phone.transaction = ""
            await self.says("request", self.phone.request())

    def answers(self) -> list[tuple[str, Json]]:
        """What the bot has said about this attempt."""
        if self.room is None:
            said = [(name, content) for user, _, name, content in self.world.server.to_device if user == self.user]
        else:
            events = [e for e in self.world.server.rooms[self.room].events if e["sender"] == ME]
            said = [(e["type"], e["content"]) for e in events if self._is_mine(e["content"])]
        return [(name.removeprefix("m.key.verification."), content) for name, content in said]

    def _is_mine(self, content: Json) -> bool:
        return content.get("m.relates_to") == {"rel_type": "m.reference", "event_id": self.phone.transaction}

    def steps(self) -> list[str]:
        return [step for step, _ in self.answers()]

    def last(self, step: str) -> Json:
        assert self.steps()[-1] == step
        return self.answers()[-1][1]

    async def shows(self) -> list[int]:
        """Go on until the phone shows its pictures."""
        await self.asks()
        await self.says("start", self.phone.start())
        await self.says("key", self.phone.accepted(self.last("accept")))
        return self.phone.compare(self.last("key"))[0]

    async def matches(self) -> None:
        await self.says("mac", self.phone.mac())


def admin_room(world: World) -> FakeRoom:
    return world.made("admin")[0]


async def orders(world: World, text: str, admin: UserId = CHEF) -> str:
    """An admin writes in the admin room; returns what stands there then."""
    await world.says(admin, admin_room(world).room_id, text)
    return admin_room(world).texts()[-1]


async def in_inbox(world: World, user: UserId = JAN) -> Verifying:
    return Verifying(world, user, world.made("inbox:annahme")[0].room_id)


async def handled(world: World) -> None:
    """Nothing is parked or waiting, and no customer came into being by it."""
    counts = await arrivals.counts(world.database)
    assert set(counts) == {"done"}, counts
    assert await world.database.all("SELECT * FROM cases") == []


@pytest.mark.parametrize("where", ["inbox:annahme", "chat", "open chat", "device"])
async def test_staff_verify_wherever_they_ask(world: World, where: str) -> None:
    room = None
    if where.startswith("inbox"):
        room = world.made(where)[0].room_id
    elif where.endswith("chat"):
        room = await world.chat(JAN, encrypted=where == "chat")
    jan = Verifying(world, JAN, room)

    await jan.shows()
    assert jan.steps() == ["ready", "accept", "key"]
    assert world.server.signed == []
    asked = admin_room(world).texts()[-1]
    assert "Nr. 1:" in asked
    assert JAN in asked
    assert "notiert" in await orders(world, "!stimmt 1")
    assert jan.phone.believes(jan.last("mac"))
    assert world.server.signed == []

    await jan.matches()
    await jan.says("done", jan.phone.bound({}))
    assert jan.steps() == ["ready", "accept", "key", "mac", "done"]
    assert world.server.signed == [(JAN, f"{JAN}+master")]
    assert "gegenseitig" in admin_room(world).texts()[-1]
    await handled(world)
    assert await world.database.all("SELECT * FROM customers") == []


async def test_the_pictures_stand_there_with_their_words_and_make_the_phone_ring(world: World) -> None:
    jan = await in_inbox(world)
    pictures = await jan.shows()
    event = [e for e in admin_room(world).events if e["sender"] == ME][-1]
    words = event["content"]["body"].splitlines()[1].split(" · ")
    assert len(words) == len(pictures) == 7
    assert event["content"]["msgtype"] == "m.text"


async def test_numbers_stand_there_if_the_phone_has_no_pictures(world: World) -> None:
    jan = await in_inbox(world)
    await jan.asks()
    await jan.says("start", jan.phone.start(short_authentication_string=["decimal"]))
    await jan.says("key", jan.phone.accepted(jan.last("accept")))
    numbers = jan.phone.compare(jan.last("key"))[1]
    assert " – ".join(map(str, numbers)) in admin_room(world).texts()[-1]


async def test_the_colleague_may_be_first(world: World) -> None:
    jan = await in_inbox(world)
    await jan.shows()
    await jan.matches()
    assert (jan.steps()[-1], world.server.signed) == ("key", [])
    assert "gegenseitig" in await orders(world, "!match 1")
    assert jan.steps()[-2:] == ["mac", "done"]
    assert world.server.signed == [(JAN, f"{JAN}+master")]
    await handled(world)


async def test_nobody_vouches_for_their_own_identity(world: World) -> None:
    chef = Verifying(world, CHEF, admin_room(world).room_id)
    await chef.shows()
    await chef.matches()
    assert "kann niemand selbst" in await orders(world, "!stimmt 1")
    assert chef.steps()[-2:] == ["mac", "done"]
    assert world.server.signed == []


async def test_another_admin_vouches_for_an_admin(world: World) -> None:
    world.around = replace(world.around, rules=replace(world.around.rules, admins=(CHEF, BOSS)))
    chef = Verifying(world, CHEF, admin_room(world).room_id)
    await chef.shows()
    await orders(world, "!stimmt 1", BOSS)
    await chef.matches()
    assert world.server.signed == [(CHEF, f"{CHEF}+master")]


@pytest.mark.parametrize("first", [True, False])
async def test_an_admin_sees_other_pictures(world: World, first: bool) -> None:
    jan = await in_inbox(world)
    await jan.shows()
    if not first:
        await jan.matches()
    assert "abgebrochen" in await orders(world, "!falsch 1")
    assert jan.last("cancel")["code"] == "m.mismatched_sas"
    assert "keine Nummer" in await orders(world, "!stimmt 1")
    await jan.matches()
    assert jan.steps().count("cancel") == 1
    assert world.server.signed == []
    await handled(world)


async def test_the_colleague_sees_other_pictures_or_gives_up(world: World) -> None:
    for number, (code, word) in enumerate(
        (("m.mismatched_sas", "dazwischengeschaltet"), ("m.user", "neu beginnen")), 1
    ):
        jan = await in_inbox(world)
        await jan.shows()
        await jan.says("cancel", jan.phone.bound({"code": code}))
        assert word in admin_room(world).texts()[-1]
        assert "keine Nummer" in await orders(world, f"!stimmt {number}")
        assert "cancel" not in jan.steps()
    assert world.server.signed == []


async def test_other_keys_than_ours_end_it(world: World) -> None:
    jan = await in_inbox(world)
    await jan.shows()
    await orders(world, "!stimmt 1")
    await jan.says("mac", jan.phone.mac(jan.phone.keys | {"ed25519:strange": "strange"}))
    assert jan.last("cancel")["code"] == "m.key_mismatch"
    assert "stimmen nicht überein" in admin_room(world).texts()[-1]
    assert world.server.signed == []
    await handled(world)


async def test_an_identity_that_changes_meanwhile_is_not_signed(world: World) -> None:
    jan = await in_inbox(world)
    await jan.shows()
    await jan.matches()
    world.server.keys[JAN] = replace(world.server.keys[JAN], master="another")
    assert "währenddessen geändert" in await orders(world, "!stimmt 1")
    assert jan.last("cancel")["code"] == "m.key_mismatch"
    assert "done" not in jan.steps()
    assert world.server.signed == []


@pytest.mark.parametrize("text", ["!stimmt 2", "!stimmt nicht 1", "!stimmt ja", "!falsch 7"])
async def test_only_a_number_that_stands_there_counts(world: World, text: str) -> None:
    jan = await in_inbox(world)
    await jan.shows()
    assert "keine Nummer" in await orders(world, text)
    assert jan.steps() == ["ready", "accept", "key"]


async def test_a_reaction_is_no_command(world: World) -> None:
    """Reactions are never encrypted: whoever runs the server could put one into an admin's mouth."""
    jan = await in_inbox(world)
    await jan.shows()
    room = admin_room(world)
    for key in ("!stimmt 1", "!vertrauen @jan:example.org"):
        relation = {"rel_type": "m.annotation", "event_id": room.events[-1]["event_id"], "key": key}
        await world.take(
            room.room_id, world.server.new_event(room.room_id, CHEF, "m.reaction", {"m.relates_to": relation})
        )
        await world.run()
    assert jan.steps() == ["ready", "accept", "key"]
    assert world.server.confirmed == []


async def test_nothing_can_be_confirmed_before_it_is_shown(world: World) -> None:
    jan = await in_inbox(world)
    await jan.asks()
    assert "keine Nummer" in await orders(world, "!stimmt 1")
    assert jan.steps() == ["ready"]


async def test_only_admins_in_the_admin_room_confirm(world: World) -> None:
    jan = await in_inbox(world)
    await jan.shows()
    await world.says(CHEF, world.made("inbox:annahme")[0].room_id, "!stimmt 1")
    assert "nur für die Verwaltung" in world.made("inbox:annahme")[0].texts()[-1]
    assert "nur für die Verwaltung" in await orders(world, "!stimmt 1", EVA)
    assert "mac" not in jan.steps()


async def test_after_ten_minutes_it_ends(world: World) -> None:
    jan, eva = await in_inbox(world), await in_inbox(world, EVA)
    await jan.shows()
    await eva.asks()
    before = len(admin_room(world).texts())
    await due(world, minutes=9)
    assert jan.steps()[-1] == "key"
    await due(world, minutes=2)
    assert jan.last("cancel")["code"] == eva.last("cancel")["code"] == "m.timeout"
    assert "zu lange gedauert" in admin_room(world).texts()[-1]
    assert len(admin_room(world).texts()) == before + 1  # nobody had anything to compare with Eva
    assert "keine Nummer" in await orders(world, "!stimmt 1")
    await handled(world)


async def due(world: World, **delta: float) -> None:
    world.later(**delta)
    async with world.database.transaction() as tx:
        await arrivals.wake_due(tx, world.now())
    await world.run()


async def test_a_restart_ends_it(world: World) -> None:
    jan = await in_inbox(world)
    await jan.shows()
    await world.restart()
    await world.run()
    assert jan.last("cancel")["code"] == "m.unknown_transaction"
    assert "neu gestartet" in admin_room(world).texts()[-1]
    await jan.matches()
    assert jan.steps().count("cancel") == 1
    await handled(world)


@pytest.mark.parametrize("where", ["room", "device"])
async def test_a_step_of_what_was_forgotten_is_answered(world: World, where: str) -> None:
    jan = await in_inbox(world) if where == "room" else Verifying(world, JAN, None)
    await jan.asks()
    world.server.verifications.clear()
    await jan.says("start", jan.phone.start())
    assert jan.last("cancel")["code"] == "m.unknown_transaction"
    await jan.says("key", jan.phone.bound({"key": jan.phone.public}))
    assert jan.steps() == ["ready", "cancel"]
    await handled(world)


async def test_what_nobody_asked_is_answered_from_device_to_device_only(world: World) -> None:
    by_device, in_room = Verifying(world, JAN, None), await in_inbox(world)
    by_device.phone.transaction = in_room.phone.transaction = "$strange"
    for step in ("key", "done", "cancel"):
        await by_device.says(step, by_device.phone.bound({"key": "x"}))
    await in_room.says("start", in_room.phone.start())
    assert [content["code"] for _, content in by_device.answers()] == ["m.unknown_transaction"]
    assert in_room.steps() == []
    await handled(world)


async def test_a_new_attempt_ends_the_one_before(world: World) -> None:
    first, second = await in_inbox(world), Verifying(world, JAN, None)
    await first.shows()
    await second.shows()
    assert first.last("cancel")["code"] == "m.user"
    assert "keine Nummer" in await orders(world, "!stimmt 1")
    await orders(world, "!stimmt 2")
    await second.matches()
    assert second.steps()[-1] == "done"
    await handled(world)


async def test_an_old_request_is_left_alone(world: World) -> None:
    jan = await in_inbox(world)
    assert jan.room
    event = world.server.new_event(jan.room, JAN, "m.room.message", jan.phone.request())
    jan.phone.transaction = event["event_id"]
    world.later(minutes=11)
    await world.take(jan.room, event)
    await world.run()
    assert jan.steps() == []
    await handled(world)


async def test_an_unsigned_device_is_told_what_comes_first(world: World) -> None:
    jan = await in_inbox(world)
    del world.server.keys[JAN]
    await jan.asks()
    assert jan.last("cancel")["code"] == "m.key_mismatch"
    assert "noch nicht bestätigt" in world.made("inbox:annahme")[0].texts()[-1]
    assert await arrivals.open_of(world.database, ItemKind.VERIFICATION) == []


async def test_others_cannot_meddle(world: World) -> None:
    """Eva knows everything that was said in the room, and may say what she likes about it."""
    jan = await in_inbox(world)
    await jan.asks()
    eva = await in_inbox(world, EVA)
    eva.phone.transaction = jan.phone.transaction
    for step, content in (("start", eva.phone.start()), ("cancel", eva.phone.bound({"code": "m.user"}))):
        await eva.says(step, content)
    assert jan.steps() == ["ready"]
    await jan.says("start", jan.phone.start())
    assert jan.steps() == ["ready", "accept"]


async def test_a_request_to_somebody_else_is_none_of_our_business(world: World) -> None:
    jan = await in_inbox(world)
    assert jan.room
    await jan.says("request", jan.phone.request() | {"to": EVA})
    assert jan.steps() == []
    await handled(world)


async def test_a_chat_of_staff_stays_and_says_what_it_is_for(world: World) -> None:
    room = await world.chat(JAN)
    assert world.server.rooms[room].members[ME] == "join"
    for text in ("Hallo Bot", "noch da?"):
        await world.says(JAN, room, text)
    assert len(world.server.rooms[room].texts()) == 3
    assert "Was Sie hier schreiben, liest niemand" in world.server.rooms[room].texts()[1]
    world.later(days=1)
    await world.says(JAN, room, "und heute?")
    assert len([t for t in world.server.rooms[room].texts() if "liest niemand" in t]) == 2


async def test_a_room_of_several_staff_is_left_as_before(world: World) -> None:
    room = await world.chat(JAN, others=(EVA,))
    assert world.server.rooms[room].members[ME] == "leave"


async def test_customers_are_told_and_go_on(world: World) -> None:
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "vorher")
    anna = Verifying(world, ANNA, chat)
    staff = [room.texts() for room in world.server.rooms.values() if room.mark]

    await anna.asks()
    assert anna.last("cancel")["code"] == "m.user"
    assert "einfach weiterschreiben" in world.server.rooms[chat].texts()[-1]
    await anna.says("start", anna.phone.start())
    await anna.says("cancel", anna.phone.bound({"code": "m.user"}))
    assert anna.steps() == ["cancel"]

    assert [room.texts() for room in world.server.rooms.values() if room.mark] == staff
    await world.says(ANNA, chat, "nachher")
    assert (await world.case_room(ANNA)).texts()[-2:] == ["vorher", "nachher"]
    assert set(await arrivals.counts(world.database)) == {"done"}


async def test_a_customer_who_asks_for_ever_is_told_a_few_times_only(world: World) -> None:
    chat = await world.chat(ANNA)
    anna = Verifying(world, ANNA, chat)
    for _ in range(15):
        await anna.asks()
        assert anna.last("cancel")["code"] == "m.user"
    told = [text for text in world.server.rooms[chat].texts() if "einfach weiterschreiben" in text]
    assert 0 < len(told) < 11
    await handled(world)


async def test_a_customers_device_is_declined_and_nothing_else_of_it_is_kept(world: World) -> None:
    anna = Verifying(world, ANNA, None)
    await anna.asks()
    await anna.says("key", anna.phone.bound({"key": "x"}))
    assert [content["code"] for _, content in anna.answers()] == ["m.user"]
    rows = await world.database.all("SELECT count(*) FROM arrivals WHERE kind = 'to_device'")
    assert rows[0][0] == 1


@pytest.mark.parametrize("content", [None, [], {}, {"transaction_id": 7}])
async def test_malformed_steps_from_device_to_device_change_nothing(world: World, content: Any) -> None:
    await Verifying(world, JAN, None).says("key", content)
    assert world.server.to_device == []
    await handled(world)


async def test_who_cannot_be_answered_stops_nobody(world: World) -> None:
    jan = await in_inbox(world)
    world.server.fail_at(1, "before", Refused("no device of anybody could be given the key", code="no_device"))
    await jan.asks()
    await due(world, minutes=11)
    await handled(world)


async def confirmed(world: World) -> Verifying:
    """An admin confirms, and the phone has done so before: everything follows from one item."""
    jan = await in_inbox(world)
    await jan.shows()
    await jan.matches()
    await world.writes(CHEF, admin_room(world).room_id, "!stimmt 1")
    return jan


@pytest.mark.parametrize("at", range(1, 5))
@pytest.mark.parametrize("how", ["before", "after"])
async def test_what_was_confirmed_is_finished_even_if_the_process_dies(
    tmp_path: Path, at: int, how: Literal["before", "after"]
) -> None:
    async with a_world(tmp_path) as world:
        jan = await confirmed(world)
        world.server.fail_at(at, how, Crash())
        with pytest.raises(Crash):
            await world.run()
        await world.restart()
        await world.run()
        assert jan.steps() == ["ready", "accept", "key", "mac", "done"]
        assert world.server.signed == [(JAN, f"{JAN}+master")]
        assert len([text for text in admin_room(world).texts() if "gegenseitig" in text]) == 1
        await handled(world)


@pytest.mark.parametrize("at", range(1, 6))
@pytest.mark.parametrize("how", ["before", "after"])
@pytest.mark.parametrize("error", [Crash(), Transient("not now", retry_after_s=0.001)])
async def test_wherever_it_breaks_it_ends_once_and_nothing_is_signed_unseen(
    tmp_path: Path, at: int, how: Literal["before", "after"], error: BaseException
) -> None:
    """Before anybody confirmed: after a crash the phone gets one cancellation; a server in trouble is waited for."""
    async with a_world(tmp_path) as world:
        jan = await in_inbox(world)
        world.server.fail_at(at, how, error)
        try:
            await jan.shows()
        except Crash:
            await world.restart()
            await world.run()
        expected = ["ready", "accept", "key"]
        if isinstance(error, Crash) and at < 5:
            # What was planned before the crash and the cancellation stand in two lanes: a phone minds only the latter.
            assert [c["code"] for step, c in jan.answers() if step == "cancel"] == ["m.unknown_transaction"]
            assert [step for step in jan.steps() if step != "cancel"] == expected[: len(jan.steps()) - 1]
        else:
            assert jan.steps() == expected
        assert world.server.signed == []


async def test_a_command_that_is_taken_back_in_time_confirms_nothing(world: World) -> None:
    jan = await in_inbox(world)
    await jan.shows()
    room = admin_room(world).room_id
    event = await world.writes(CHEF, room, "!stimmt 1")
    redaction = world.server.new_event(room, CHEF, "m.room.redaction", {"redacts": event})
    world.server.clear(room, EventId(event))
    await world.take_in(RoomUpdate(room, "join", timeline=(redaction,)))
    await world.run()
    await jan.matches()
    assert (jan.steps()[-1], world.server.signed) == ("key", [])
