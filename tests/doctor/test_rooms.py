"""One room of the house, judged by its state."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bot.doctor import examine
from bot.doctor.rooms import faults, power_of
from bot.domain.ids import RoomId, UserId
from bot.resources import resource_dir
from bot.store import rooms
from bot.store.database import Database
from tests.doctor.patients import CHEF, JAN, ME, patient

Json = dict[str, Any]


def state(**changes: Json | None) -> list[Json]:
    """Return the state of a room that is as it should be, but for these changes (None: not there)."""
    usual: dict[str, Json | None] = {
        "m.room.create": {"room_version": "12"},
        "m.room.power_levels": {"users": {}, "users_default": 0},
        "m.room.encryption": {"algorithm": "m.megolm.v1.aes-sha2"},
        "m.room.join_rules": {"join_rule": "invite"},
        "m.room.guest_access": {"guest_access": "forbidden"},
        "m.room.name": {"name": "🛠 Leitung"},
    }
    content = usual | {f"m.room.{name}": value for name, value in changes.items()}
    events = [
        {"type": kind, "state_key": "", "sender": ME, "content": value}
        for kind, value in content.items()
        if value is not None
    ]
    return [*events, member(ME, "join"), member(CHEF, "join")]


def member(user: str, membership: str) -> Json:
    return {"type": "m.room.member", "state_key": user, "sender": user, "content": {"membership": membership}}


def words(events: list[Json], name: str = "admin") -> list[str]:
    return [f.text.removeprefix("doctor.rooms.") for f in faults(events, name, UserId(ME), frozenset({UserId(CHEF)}))]


def test_a_room_as_it_should_be_has_no_fault() -> None:
    assert words(state()) == []
    assert words(state(encryption=None), "space") == []


@pytest.mark.parametrize(
    ("events", "found"),
    [
        (state(encryption=None), ["not_encrypted"]),
        (state(join_rules={"join_rule": "public"}), ["open"]),
        (state(join_rules=None), ["open"]),
        (state(guest_access={"guest_access": "can_join"}), ["open"]),
        (state(create={"room_version": "11"}), ["no_power"]),
        ([*state(), member(JAN, "join")], ["strangers"]),
        ([*state(), member(JAN, "invite")], []),
        ([*state(), member(CHEF, "invite")], ["nobody_there"]),
        ([*state(), member(CHEF, "leave")], ["not_invited", "nobody_there"]),
    ],
)
def test_each_fault_is_named(events: list[Json], found: list[str]) -> None:
    assert words(events) == found


@pytest.mark.parametrize(
    ("creation", "levels", "power"),
    [
        ({"room_version": "12"}, {}, float("inf")),
        ({"room_version": "12", "additional_creators": [JAN]}, {}, float("inf")),
        ({"room_version": "11"}, {"users": {ME: 100, JAN: 100}}, 100),
        ({"room_version": "11"}, {"users_default": 5}, 5),
        ({"room_version": "11"}, {"users": {ME: "100", JAN: "100"}}, 0),
        ({"room_version": "11"}, {"users": "x"}, 0),
        ({}, {"users": {ME: 50, JAN: 50}}, 50),
        ({"room_version": "org.matrix.x"}, {"users": {ME: 1, JAN: 1}}, 1),
    ],
)
def test_power(creation: Json, levels: Json, power: float) -> None:
    found: dict[tuple[str, str], Json] = {
        ("m.room.create", ""): {"sender": ME, "content": creation},
        ("m.room.power_levels", ""): {"content": levels},
    }
    assert power_of(found, UserId(ME)) == power
    if "additional_creators" in creation:
        assert power_of(found, UserId(JAN)) == power


MADE_AT = 1_700_000_000_000


@pytest.mark.parametrize(
    ("membership", "invited_at", "now_s", "found"),
    [
        ("invite", MADE_AT, 60, "not_seen"),
        ("invite", MADE_AT, 400, "waiting"),
        ("join", MADE_AT - 900, 400, "well"),
        ("join", MADE_AT - 60_000, 400, "not_seen"),
    ],
)
async def test_how_soon_people_come_in(
    tmp_path: Path, membership: str, invited_at: int, now_s: int, found: str
) -> None:
    event = member(CHEF, membership) | {"origin_server_ts": MADE_AT, "unsigned": {"replaces_state": "$invitation"}}
    invitation = member(CHEF, "invite") | {"origin_server_ts": invited_at}
    base = "GET /_matrix/client/v3/rooms/!admin:example.org"
    answers = {f"{base}/state": (200, [event]), f"{base}/event/$invitation": (200, invitation)}
    now = datetime.fromtimestamp(MADE_AT / 1000 + now_s, UTC)
    async with patient(tmp_path, answers, now=lambda: now) as bare:
        database = await Database.open(tmp_path / "x.db", key=bytes(32), migrations=resource_dir("migrations"))
        async with database.transaction() as tx:
            await rooms.make_place(tx, "admin")
            await rooms.set_place(tx, "admin", RoomId("!admin:example.org"))
        seen = await examine(replace(bare, opened_database=database), ["staff_join"])
        missing = await examine(replace(bare, opened_database=database), ["rooms"])
        await database.close()
    assert [f.text for f in seen] == [f"doctor.staff_join.{found}"]
    assert [f.text for f in missing if f.values["room"] in {"space", "inbox:annahme"}] == ["doctor.rooms.not_made"] * 2
