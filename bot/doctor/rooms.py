"""The rooms of the house as the server has them: encrypted, closed, with the right people, and the bot has power."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from bot.doctor.patient import Patient
from bot.domain.errors import Refused
from bot.domain.finding import Finding, bad, note, well
from bot.domain.ids import RoomId, UserId
from bot.matrix.transport import quote
from bot.store import rooms

Json = dict[str, Any]

POWER = 100
"""What our rooms ask for inviting, removing, renaming and pinning."""
SOON = timedelta(minutes=5)
"""How long nobody is missed who was invited; the module for staff lets them in at once."""
AT_ONCE = timedelta(seconds=5)
"""Sooner than a person finds the button."""
MOST_LOOKED_AT = 20


async def places(patient: Patient) -> Sequence[Finding]:
    """Space, admin room and inboxes."""
    found: list[Finding] = []
    states = await _states(patient)
    for name, people in expected(patient).items():
        state = states.get(name)
        if name not in states:
            found.append(bad("rooms", "not_made", room=name))
        elif state is None:
            found.append(bad("rooms", "not_in", room=name))
        else:
            found += faults(state, name, patient.rules.me, people)
    return found or [well("rooms", count=str(len(states)))]


async def staff_join(patient: Patient) -> Sequence[Finding]:
    """Whether the module for staff lets people in. No API tells of it; how soon they came in does."""
    waiting: set[str] = set()
    for room_id, event in await _staff_members(patient):
        user, membership = str(event["state_key"]), (event.get("content") or {}).get("membership")
        if membership == "invite" and patient.now() - _sent_at(event) > SOON:
            waiting.add(user)
        if membership == "join" and await _came_at_once(patient, room_id, event):
            return [well("staff_join")]
    if waiting:
        return [note("staff_join", "waiting", users=", ".join(sorted(waiting)))]
    return [note("staff_join", "not_seen")]


async def _staff_members(patient: Patient) -> list[tuple[RoomId, Json]]:
    """Return the membership events of the team in the places of the house, the newest first."""
    made = await rooms.places(patient.database)
    found = [
        (RoomId(str(made[name])), event)
        for name, state in (await _states(patient)).items()
        for event in state or []
        if event.get("type") == "m.room.member"
        and event.get("state_key") in patient.rules.staff
        and isinstance(event.get("origin_server_ts"), int)
    ]
    return sorted(found, key=lambda pair: -pair[1]["origin_server_ts"])[:MOST_LOOKED_AT]


async def _came_at_once(patient: Patient, room_id: RoomId, joined: Json) -> bool:
    before = (joined.get("unsigned") or {}).get("replaces_state")
    if not isinstance(before, str):
        return False
    try:
        invited = await patient.account.call("GET", f"{_path(room_id)}/event/{quote(before)}")
    except Refused:
        return False
    is_invitation = (invited.get("content") or {}).get("membership") == "invite"
    return is_invitation and _sent_at(joined) - _sent_at(invited) < AT_ONCE


def _sent_at(event: Json) -> datetime:
    return datetime.fromtimestamp(event.get("origin_server_ts", 0) / 1000, UTC)


async def _states(patient: Patient) -> dict[str, list[Json] | None]:
    """Return the state of each place that is made; None where the bot may not look."""
    states: dict[str, list[Json] | None] = {}
    for name, room_id in (await rooms.places(patient.database)).items():
        if room_id is None:
            continue
        try:
            states[name] = await patient.account.call("GET", f"{_path(room_id)}/state", expects=list)
        except Refused:
            states[name] = None
    return states


def _path(room_id: RoomId) -> str:
    return f"/_matrix/client/v3/rooms/{quote(room_id)}"


def expected(patient: Patient) -> dict[str, frozenset[UserId]]:
    """Return the places that there should be, and who belongs there."""
    rules = patient.rules
    inboxes = {f"inbox:{desk.id}": frozenset(desk.members) for desk in rules.desks}
    return {"space": rules.staff, "admin": frozenset(rules.admins), **inboxes}


def faults(state: list[Json], name: str, me: UserId, people: frozenset[UserId]) -> Iterator[Finding]:
    """Judge one room by its state."""
    found = {(str(event.get("type")), str(event.get("state_key"))): event for event in state}
    room = str(_content(found, "m.room.name").get("name") or name)
    if power_of(found, me) < POWER:
        yield bad("rooms", "no_power", room=room)
    if name != "space" and not _content(found, "m.room.encryption"):
        yield bad("rooms", "not_encrypted", room=room)
    rule = _content(found, "m.room.join_rules").get("join_rule")
    guests = _content(found, "m.room.guest_access").get("guest_access", "forbidden")
    if rule != "invite" or guests != "forbidden":
        yield bad("rooms", "open", room=room)
    there = {user: _content(found, "m.room.member", user).get("membership") for user in _members(found)}
    strangers = sorted(u for u, membership in there.items() if membership == "join" and u not in {*people, me})
    if strangers:
        yield bad("rooms", "strangers", room=room, users=", ".join(strangers))
    if missing := sorted(user for user in people if there.get(user) not in {"join", "invite"}):
        yield bad("rooms", "not_invited", room=room, users=", ".join(missing))
    if name == "admin" and not any(there.get(user) == "join" for user in people):
        yield bad("rooms", "nobody_there", room=room)


def power_of(found: dict[tuple[str, str], Json], user: UserId) -> float:
    """Return the power of a user. From room version 12 on the creators stand above all levels (Matrix 1.16)."""
    creation = found.get(("m.room.create", ""), {})
    about = creation.get("content") or {}
    version = str(about.get("room_version", "1"))
    if version.isdecimal() and int(version) >= 12:
        more = about.get("additional_creators")
        if user == creation.get("sender") or (isinstance(more, list) and user in more):
            return float("inf")
    levels = _content(found, "m.room.power_levels")
    users = levels.get("users")
    level = users.get(user) if isinstance(users, dict) else None
    level = levels.get("users_default", 0) if level is None else level
    return level if isinstance(level, int) else 0


def _members(found: dict[tuple[str, str], Json]) -> list[UserId]:
    return [UserId(key) for kind, key in found if kind == "m.room.member"]


def _content(found: dict[tuple[str, str], Json], kind: str, key: str = "") -> Json:
    content = found.get((kind, key), {}).get("content")
    return content if isinstance(content, dict) else {}
