"""Rooms and their members, customers, and the rooms that the house itself needs (places)."""

import json
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

from bot.domain.ids import CaseNumber, CustomerId, DeskId, EventId, Lane, RoomId, UserId
from bot.domain.room import PRESENT, Room, RoomKind, Rotation
from bot.store.database import Database, Row, Tx, to_ms

_COLUMNS = (
    "room_id, kind, customer_id, case_number, desk, ours, space, encrypted, version, replaced_by, membership,"
    " last_event, predecessor, rotation_messages, rotation_ms"
)
Reader = Database | Tx


_SET_MEMBER = (
    "INSERT INTO members (room_id, user_id, membership) VALUES (?, ?, ?)"
    " ON CONFLICT DO UPDATE SET membership = excluded.membership"
)
_REMOVE_MEMBER = "DELETE FROM members WHERE room_id = ? AND user_id = ?"
"""Nobody is remembered who is in a room no more; who comes back must be agreed to anew."""


_MEMBERS = "(SELECT json_group_array(json_array(user_id, membership, accepted)) FROM members WHERE room_id = ?1)"


def _room(row: Row) -> Room:
    members = json.loads(row[15])
    return Room(
        room_id=RoomId(row[0]),
        kind=RoomKind(row[1]),
        customer_id=CustomerId(row[2]) if row[2] else None,
        case_number=CaseNumber(row[3]) if row[3] is not None else None,
        desk=DeskId(row[4]) if row[4] else None,
        ours=bool(row[5]),
        space=bool(row[6]),
        encrypted=bool(row[7]),
        version=row[8],
        replaced_by=row[9],
        membership=row[10],
        last_event=EventId(row[11]) if row[11] else None,
        predecessor=row[12],
        rotation=Rotation(row[13], timedelta(milliseconds=row[14])),
        members={UserId(user): membership for user, membership, _ in members},
        accepted=frozenset(UserId(user) for user, _, is_accepted in members if is_accepted),
    )


async def find(reader: Reader, room_id: RoomId) -> Room | None:
    """Return what is known of a room."""
    row = await reader.one(f"SELECT {_COLUMNS}, {_MEMBERS} FROM rooms WHERE room_id = ?1", room_id)  # noqa: S608
    return _room(row) if row else None


async def save(tx: Tx, room: Room, *, known: Room | None = None) -> None:
    """Write the facts of a room; only what differs from `known` is touched."""
    if known is None or _facts(known) != _facts(room):
        await tx.run(
            f"INSERT INTO rooms ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
            " ON CONFLICT (room_id) DO UPDATE SET kind = excluded.kind, customer_id = excluded.customer_id,"
            " case_number = excluded.case_number, desk = excluded.desk, ours = excluded.ours, space = excluded.space,"
            " encrypted = max(encrypted, excluded.encrypted), version = excluded.version,"
            " replaced_by = excluded.replaced_by, membership = excluded.membership, last_event = excluded.last_event,"
            " predecessor = excluded.predecessor, rotation_messages = excluded.rotation_messages,"
            " rotation_ms = excluded.rotation_ms",
            *_facts(room),
        )
    before = known.members if known else {}
    changed = [(room.room_id, *member) for member in room.members.items() if before.get(member[0]) != member[1]]
    await tx.run_many(_SET_MEMBER, [row for row in changed if row[2] in PRESENT])
    await tx.run_many(_REMOVE_MEMBER, [row[:2] for row in changed if row[2] not in PRESENT])


def _facts(room: Room) -> tuple[object, ...]:
    return (
        *(room.room_id, room.kind.value, room.customer_id, room.case_number, room.desk, int(room.ours)),
        *(int(room.space), int(room.encrypted), room.version, room.replaced_by, room.membership, room.last_event),
        *(room.predecessor, room.rotation.messages, room.rotation.period // timedelta(milliseconds=1)),
    )


async def set_member(tx: Tx, room_id: RoomId, user: UserId, membership: str) -> None:
    """Write down that one user is in a room or invited, or forget who is neither."""
    if membership in PRESENT:
        await tx.run(_SET_MEMBER, room_id, user, membership)
    else:
        await tx.run(_REMOVE_MEMBER, room_id, user)


async def accept(tx: Tx, room_id: RoomId, user: UserId) -> None:
    """Staff agreed that this person reads along in a customer's room."""
    await tx.run("UPDATE members SET accepted = 1 WHERE room_id = ? AND user_id = ?", room_id, user)


async def read_mark(database: Database, room_id: RoomId) -> EventId | None:
    """Return the event our read receipt stands at."""
    row = await database.one("SELECT read_up_to FROM rooms WHERE room_id = ?", room_id)
    return EventId(row[0]) if row and row[0] else None


async def set_read_mark(tx: Tx, room_id: RoomId, event: EventId) -> None:
    """Remember where our read receipt stands."""
    await tx.run("UPDATE rooms SET read_up_to = ? WHERE room_id = ?", event, room_id)


async def of_user(reader: Reader, user: UserId) -> CustomerId | None:
    """Return the customer with this Matrix user id."""
    row = await reader.one("SELECT id FROM customers WHERE user_id = ?", user)
    return CustomerId(row[0]) if row else None


async def make_customer(tx: Tx, user: UserId, now: datetime) -> CustomerId:
    """Return the customer with this user id; a new one gets an opaque random id."""
    known = await of_user(tx, user)
    if known:
        return known
    customer = CustomerId(secrets.token_hex(8))
    await tx.run("INSERT INTO customers (id, user_id, first_seen_at) VALUES (?, ?, ?)", customer, user, to_ms(now))
    return customer


async def user_of(reader: Reader, customer: CustomerId) -> UserId:
    """Return the Matrix user id of a customer."""
    row = await reader.one("SELECT user_id FROM customers WHERE id = ?", customer)
    assert row is not None, "a case or lane names a customer that does not exist"
    return UserId(row[0])


async def language(reader: Reader, customer: CustomerId) -> str | None:
    """Return the language that a customer chose or writes in; None: nobody knows."""
    row = await reader.one("SELECT language FROM customers WHERE id = ?", customer)
    return str(row[0]) if row and row[0] else None


async def set_language(tx: Tx, customer: CustomerId, language: str) -> None:
    """A customer is written to in this language from now on."""
    await tx.run("UPDATE customers SET language = ? WHERE id = ?", language, customer)


async def was_answered(reader: Reader, customer: CustomerId) -> bool:
    """Tell whether a person of ours has ever answered a customer."""
    row = await reader.one("SELECT answered FROM customers WHERE id = ?", customer)
    return bool(row and row[0])


async def note_answered(tx: Tx, customer: CustomerId) -> None:
    """From now on this is somebody whom we know."""
    await tx.run("UPDATE customers SET answered = 1 WHERE id = ? AND NOT answered", customer)


async def customer_room(reader: Reader, customer: CustomerId) -> RoomId | None:
    """Return the room in which this customer is written to."""
    row = await reader.one("SELECT room_id FROM customers WHERE id = ?", customer)
    return RoomId(row[0]) if row and row[0] else None


async def set_customer_room(tx: Tx, customer: CustomerId, room: RoomId | None) -> None:
    """The newest usable room of a customer is their customer room."""
    await tx.run("UPDATE customers SET room_id = ? WHERE id = ?", room, customer)


async def of_lane(reader: Reader, lane: Lane) -> Sequence[RoomId]:
    """Return the rooms of a customer's lane: their own ones and their cases'."""
    rows = await reader.all("SELECT room_id FROM rooms WHERE 'customer:' || customer_id = ?", lane)
    return tuple(RoomId(row[0]) for row in rows)


async def make_place(tx: Tx, name: str) -> tuple[str, RoomId | None]:
    """Return alias and room of a place of the house; a new place gets a random alias."""
    await tx.run("INSERT OR IGNORE INTO places VALUES (?, ?, NULL)", name, secrets.token_hex(16))
    row = await tx.one("SELECT alias, room_id FROM places WHERE name = ?", name)
    assert row is not None
    return str(row[0]), RoomId(row[1]) if row[1] else None


async def set_place(tx: Tx, name: str, room: RoomId) -> None:
    """Remember the room of a place."""
    await tx.run("UPDATE places SET room_id = ? WHERE name = ?", room, name)


async def place(reader: Reader, name: str) -> RoomId | None:
    """Return the room of a place."""
    row = await reader.one("SELECT room_id FROM places WHERE name = ?", name)
    return RoomId(row[0]) if row and row[0] else None


async def places(reader: Reader) -> dict[str, RoomId | None]:
    """Return all places of the house and their rooms, as far as they are made."""
    rows = await reader.all("SELECT name, room_id FROM places ORDER BY name")
    return {str(row[0]): RoomId(row[1]) if row[1] else None for row in rows}


async def present(reader: Reader, room_id: RoomId) -> Sequence[UserId]:
    """Return who is joined or invited in a room, without us."""
    rows = await reader.all(
        "SELECT user_id FROM members WHERE room_id = ? AND membership IN ('join', 'invite')", room_id
    )
    return tuple(UserId(row[0]) for row in rows)


async def of_kind(reader: Reader, kind: RoomKind) -> Sequence[RoomId]:
    """Return the rooms of a kind that we are in."""
    rows = await reader.all("SELECT room_id FROM rooms WHERE kind = ? AND membership = 'join'", kind.value)
    return tuple(RoomId(row[0]) for row in rows)


async def of_kind_with_desk(reader: Reader, kind: RoomKind) -> Sequence[tuple[RoomId, DeskId | None]]:
    """Return the same, each with the desk it belongs to."""
    rows = await reader.all("SELECT room_id, desk FROM rooms WHERE kind = ? AND membership = 'join'", kind.value)
    return tuple((RoomId(row[0]), DeskId(row[1]) if row[1] else None) for row in rows)


async def staff_rooms_of(reader: Reader, user: UserId) -> Sequence[RoomId]:
    """Return the encrypted rooms of the house that a member of staff is in."""
    rows = await reader.all(
        "SELECT room_id FROM rooms JOIN members USING (room_id) WHERE user_id = ? AND members.membership = 'join'"
        " AND ours = 1 AND encrypted = 1 AND rooms.membership = 'join' AND kind IN ('case', 'inbox', 'admin')",
        user,
    )
    return tuple(RoomId(row[0]) for row in rows)


async def set_desk(tx: Tx, room_id: RoomId, desk: DeskId) -> None:
    """A room belongs to another desk."""
    await tx.run("UPDATE rooms SET desk = ? WHERE room_id = ?", desk, room_id)
