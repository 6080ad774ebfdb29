"""The table of items: what came in, in which lane it waits, and what became of it."""

import json
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from bot.domain.arrival import RECONCILE_AFTER, Item, ItemKind, ItemState
from bot.domain.ids import EventId, ItemId, Lane, RoomId, SessionId, UserId
from bot.store import facts
from bot.store.database import Database, Row, Tx, from_ms, to_ms

Reader = Database | Tx

DELETED = "deleted"
"""The reason of a handled item whose author deleted it."""

READ_AHEAD = "blocked"
"""The reason of an item of somebody blocked that is read for a withdrawal alone."""

LEFT_OUT = "left_out"
"""The reason of a handled item of somebody blocked: nobody heard of it."""

_DONE = (
    "state = 'done', body = NULL, plan = NULL, retry_at = NULL, session_id = NULL, sender = author_mark(id, sender),"
    " lane = CASE WHEN instr(lane, ':@') THEN substr(lane, 1, instr(lane, ':@')) ELSE lane END"
)
"""What makes an item a handled one. Whoever it was about is named in it no more."""

_COLUMNS = (
    "id, lane, room_id, kind, state, sender, sent_at, arrived_at, body, seq, sub, plan, planned_at, attempts, reason"
)


def _item(row: Row) -> Item:
    return Item(
        id=ItemId(row[0]),
        lane=Lane(row[1]),
        room_id=RoomId(row[2]),
        kind=ItemKind(row[3]),
        state=ItemState(row[4]),
        sender=UserId(row[5]),
        sent_at=from_ms(row[6]),
        arrived_at=from_ms(row[7]),
        body=json.loads(row[8]) if row[8] is not None else {},
        position=(row[9], row[10]),
        plan=json.loads(row[11]) if row[11] is not None else None,
        planned_at=from_ms(row[12]) if row[12] is not None else None,
        attempts=row[13],
        reason=row[14],
    )


async def add(
    tx: Tx,
    *,
    item_id: ItemId,
    lane: Lane,
    room: RoomId,
    kind: ItemKind,
    sender: UserId,
    sent_at: datetime,
    arrived_at: datetime,
    body: dict[str, Any],
    due_at: datetime | None = None,
) -> bool:
    """Put one item at the end of its lane. An id that is known already changes nothing and returns False."""
    if await tx.one("SELECT 1 FROM arrivals WHERE id = ?", item_id):
        return False
    position = (await facts.next_number(tx, "arrival"), 0)
    await _insert(tx, position, (item_id, lane, room, kind, sender, sent_at, arrived_at), body, due_at)
    return True


_Head = tuple[ItemId, Lane, RoomId, ItemKind, UserId, datetime, datetime]


async def _insert(
    tx: Tx, position: tuple[int, int], head: _Head, body: dict[str, Any], due_at: datetime | None = None
) -> None:
    item_id, lane, room, kind, sender, sent_at, arrived_at = head
    state = ItemState.WAITING if due_at else ItemState.NEW
    await tx.run(
        "INSERT OR IGNORE INTO arrivals (seq, sub, id, lane, room_id, kind, state, sender, sent_at, arrived_at, body,"
        " retry_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        *position,
        *(item_id, lane, room, kind, state, sender, to_ms(sent_at), to_ms(arrived_at)),
        json.dumps(body, ensure_ascii=False),
        to_ms(due_at) if due_at else None,
    )


async def fill_gap(
    tx: Tx, gap: Item, found: Sequence[tuple[EventId, Lane, UserId, datetime, dict[str, Any]]], now: datetime
) -> int:
    """Put the events of a gap, oldest first, exactly where the gap stands; return how many were new."""
    before = await tx.one("SELECT count(*) FROM arrivals WHERE seq = ?", gap.position[0])
    for sub, (event_id, lane, sender, sent_at, body) in enumerate(found, start=1):
        head = (ItemId(event_id), lane, gap.room_id, ItemKind.EVENT, sender, sent_at, now)
        await _insert(tx, (gap.position[0], sub), head, body)
    after = await tx.one("SELECT count(*) FROM arrivals WHERE seq = ?", gap.position[0])
    return int(after[0]) - int(before[0]) if before and after else 0


async def next_of(database: Database, lane: Lane) -> Item | None:
    """Return the oldest item of a lane that may be handled now."""
    row = await database.one(
        f"SELECT {_COLUMNS} FROM arrivals WHERE lane = ? AND state = 'new' ORDER BY seq, sub LIMIT 1",  # noqa: S608
        lane,
    )
    return _item(row) if row else None


async def get(reader: Reader, item_id: str) -> Item | None:
    """Return one item by its id, an event by its event id."""
    row = await reader.one(f"SELECT {_COLUMNS} FROM arrivals WHERE id = ?", item_id)  # noqa: S608
    return _item(row) if row else None


async def is_by(reader: Reader, event: EventId, user: UserId) -> bool:
    """Tell whether an event came to us, and from this user."""
    item = await get(reader, event)
    return item is not None and item.kind is ItemKind.EVENT and item.is_from(user)


async def answered_besides(reader: Reader, item: Item, since: datetime, people: Collection[UserId]) -> UserId | None:
    """Return which of these people else has answered in the room of this answer since then, if its author has not."""
    rows = await reader.all(
        f"SELECT {_COLUMNS} FROM arrivals WHERE room_id = ? AND kind = 'event' AND arrived_at >= ? AND id != ?"  # noqa: S608
        " AND EXISTS (SELECT 1 FROM copy_links WHERE source_event = arrivals.id AND relation = 'copy')"
        " ORDER BY seq DESC, sub DESC",
        *(item.room_id, to_ms(since), item.id),
    )
    answers = [_item(row) for row in rows]
    if any(answer.is_from(item.sender) for answer in answers):
        return None
    return next((user for answer in answers for user in people if answer.is_from(user)), None)


async def open_of(reader: Reader, kind: ItemKind) -> list[Item]:
    """Return the items of a kind that are not handled yet, the oldest first."""
    rows = await reader.all(
        f"SELECT {_COLUMNS} FROM arrivals WHERE kind = ? AND state IN ('new', 'waiting') ORDER BY seq, sub",  # noqa: S608
        kind,
    )
    return [_item(row) for row in rows]


async def open_lanes(database: Database) -> list[Lane]:
    """Return all lanes in which something may be handled now."""
    return [Lane(row[0]) for row in await database.all("SELECT DISTINCT lane FROM arrivals WHERE state = 'new'")]


async def plan(tx: Tx, item: Item, plan: dict[str, Any], now: datetime) -> bool:
    """T1b: write down what the item decided. From now on every run follows it. False: it was withdrawn meanwhile."""
    changed = await tx.run(
        "UPDATE arrivals SET plan = ?, planned_at = ? WHERE id = ? AND plan IS NULL AND state = 'new'",
        json.dumps(plan, ensure_ascii=False),
        to_ms(now),
        item.id,
    )
    return changed > 0


async def add_to_plan(tx: Tx, item: Item, plan: dict[str, Any]) -> None:
    """Write down more of a plan, before the step that needs it."""
    await tx.run("UPDATE arrivals SET plan = ? WHERE id = ?", json.dumps(plan, ensure_ascii=False), item.id)


async def withdraw(tx: Tx, event: EventId, author: UserId, reason: str = "") -> None:
    """Its author took back an event that we have not begun to handle, or hold (or hold an edit of): nothing is kept."""
    gone = f"UPDATE arrivals SET {_DONE}, reason = ?1 WHERE sender = ?3"  # noqa: S608
    await tx.run(f"{gone} AND id = ?2 AND state != 'done' AND plan IS NULL", reason, event, author)
    await tx.run(
        f"{gone} AND state = 'waiting' AND reason = 'held' AND ?2 IN (id, plan ->> 'about')", reason, event, author
    )


async def delete(tx: Tx, event: EventId, author: UserId) -> None:
    """Its author deleted an event: nothing of it is kept but that, so that a late edit does not bring it back."""
    await tx.run(
        f"UPDATE arrivals SET {_DONE}, reason = ?1 WHERE id = ?2 AND sender IN (?3, author_mark(?2, ?3))",  # noqa: S608
        *(DELETED, event, author),
    )


async def finish(tx: Tx, item: Item, reason: str = "") -> None:
    """The item is handled; what it carried is deleted, its id stays so that it never comes in twice."""
    await tx.run(f"UPDATE arrivals SET {_DONE}, reason = ? WHERE id = ?", reason, item.id)  # noqa: S608


async def park(tx: Tx, item: Item, reason: str) -> bool:
    """The item needs a human. It keeps what it carried. False: meanwhile there is nothing of it any more."""
    changed = await tx.run(
        "UPDATE arrivals SET state = 'parked', reason = ?, retry_at = NULL WHERE id = ? AND state != 'done'",
        *(reason, item.id),
    )
    return changed > 0


async def wait_for_key(tx: Tx, item: Item, session: SessionId) -> bool:
    """The item steps aside until the key of this session comes. False: meanwhile it has no turn any more."""
    changed = await tx.run(
        "UPDATE arrivals SET state = 'waiting', reason = 'no_key', session_id = ? WHERE id = ? AND state = 'new'",
        *(session, item.id),
    )
    return changed > 0


async def wait(tx: Tx, item: Item, reason: str, until: datetime) -> None:
    """The item steps aside and decides anew when it comes back."""
    await tx.run(
        "UPDATE arrivals SET state = 'waiting', reason = ?, retry_at = ?, plan = NULL, planned_at = NULL,"
        " session_id = NULL WHERE id = ?",
        *(reason, to_ms(until), item.id),
    )


async def set_aside(tx: Tx, item: Item) -> None:
    """The item is not handled itself; whoever reads it ahead ends it."""
    await tx.run(
        "UPDATE arrivals SET state = 'waiting', reason = ?, retry_at = NULL, session_id = NULL WHERE id = ?",
        *(READ_AHEAD, item.id),
    )


def _unbegun(state: str) -> str:
    """Return which items of an author (?2) in a lane (?1) wait in this state and may still come to nothing."""
    return (
        f"lane = ?1 AND sender = ?2 AND state = '{state}' AND kind = 'event' AND plan IS NULL"
        f" AND reason != '{READ_AHEAD}' AND body ->> 'type' != 'm.room.redaction'"
    )


async def unbegun(tx: Tx, lane: Lane, author: UserId) -> list[Item]:
    """Return what somebody wrote that waits in a lane without a plan. Deletions do not count: they bring nothing in."""
    found = [
        await tx.all(f"SELECT {_COLUMNS} FROM arrivals WHERE {_unbegun(state)}", lane, author)  # noqa: S608
        for state in ("new", "waiting")
    ]
    return [_item(row) for rows in found for row in rows]


async def leave_out(tx: Tx, lane: Lane, author: UserId) -> int:
    """Nothing of what is `unbegun` goes anywhere, nor is it kept; returns how much that was."""
    changed = [
        await tx.run(
            f"UPDATE arrivals SET {_DONE}, reason = ?3 WHERE {_unbegun(state)}",  # noqa: S608
            *(lane, author, LEFT_OUT),
        )
        for state in ("new", "waiting")
    ]
    return sum(changed)


async def has_gap(tx: Tx, lane: Lane) -> bool:
    """Tell whether a sync left out something that was written in a customer's chat and has not been fetched yet."""
    row = await tx.one(
        "SELECT 1 FROM arrivals JOIN rooms USING (room_id) WHERE arrivals.lane = ? AND arrivals.state = 'new'"
        " AND arrivals.kind = 'gap' AND rooms.kind != 'case' LIMIT 1",
        lane,
    )
    return row is not None


async def hold(tx: Tx, item: Item, reason: str, until: datetime | None, plan: dict[str, Any]) -> None:
    """The item steps aside with what it has planned, until somebody decides or its time has come, if it has one."""
    await tx.run(
        "UPDATE arrivals SET state = 'waiting', reason = ?, retry_at = ?, plan = ?, session_id = NULL WHERE id = ?",
        *(reason, to_ms(until) if until else None, json.dumps(plan, ensure_ascii=False), item.id),
    )


async def held_at(reader: Reader, room: RoomId, event: EventId) -> Item | None:
    """Return what is held in a room, by its own event, by the one that it is an edit of or by the question about it."""
    row = await reader.one(
        f"SELECT {_COLUMNS} FROM arrivals WHERE room_id = ?1 AND state = 'waiting' AND reason = 'held'"  # noqa: S608
        " AND ?2 IN (id, plan ->> 'about', plan ->> 'question')",
        room,
        event,
    )
    return _item(row) if row else None


async def release(tx: Tx, item: Item, reason: str) -> None:
    """Somebody decided that what was held goes on: it decides anew, and `reason` tells it why."""
    await tx.run(
        "UPDATE arrivals SET state = 'new', reason = ?, retry_at = NULL, plan = NULL, planned_at = NULL WHERE id = ?",
        *(reason, item.id),
    )


async def last_turn(reader: Reader, lane: Lane, reason: str) -> datetime | None:
    """Return when the last item of a lane that waits for its turn has it."""
    row = await reader.one(
        "SELECT max(retry_at) FROM arrivals WHERE lane = ? AND reason = ? AND state = 'waiting'", lane, reason
    )
    return from_ms(row[0]) if row and row[0] is not None else None


async def decide_anew(tx: Tx, reason: str) -> list[Lane]:
    """Let all that waits for this decide again. Returns the lanes concerned."""
    rows = await tx.all(
        "UPDATE arrivals SET state = 'new', reason = '', retry_at = NULL, plan = NULL"
        " WHERE state = 'waiting' AND reason = ? RETURNING lane",
        reason,
    )
    return sorted({Lane(row[0]) for row in rows})


async def of_strangers(reader: Reader) -> tuple[int, int]:
    """Count people whom nobody has answered and who wait, and what they have written that is here and waits."""
    row = await reader.one(
        "SELECT count(DISTINCT arrivals.lane), count(*) FILTER (WHERE arrivals.kind = 'event') FROM arrivals"
        " JOIN customers ON arrivals.lane = 'customer:' || customers.id WHERE NOT customers.answered"
        " AND (arrivals.kind = 'event' AND arrivals.state = 'new' OR arrivals.kind = 'invite' AND"
        " arrivals.state = 'waiting')"
    )
    return (int(row[0]), int(row[1])) if row else (0, 0)


async def begun(reader: Reader, lane: Lane) -> list[Item]:
    """Return the items of a lane that may have taken steps and have not come to their end; parked ones, too."""
    rows = await reader.all(
        f"SELECT {_COLUMNS} FROM arrivals WHERE lane = ? AND state IN ('new', 'parked') AND plan IS NOT NULL",  # noqa: S608
        lane,
    )
    return [_item(row) for row in rows]


async def has_of(reader: Reader, lane: Lane, people: Collection[UserId]) -> bool:
    """Tell whether something that one of these people wrote or tapped is to be handled in a lane."""
    row = await reader.one(
        "SELECT 1 FROM arrivals WHERE lane = ? AND state = 'new' AND kind = 'event'"
        " AND sender IN (SELECT value FROM json_each(?)) LIMIT 1",
        *(lane, json.dumps(sorted(people))),
    )
    return row is not None


async def waiting_for(reader: Reader, lane: Lane, reason: str) -> int:
    """Return how many items of a lane wait for this, or were let go on and have not been handled yet."""
    row = await reader.one(
        "SELECT (SELECT count(*) FROM arrivals WHERE state = 'new' AND lane = ?1 AND reason = ?2)"
        " + (SELECT count(*) FROM arrivals WHERE state = 'waiting' AND lane = ?1 AND reason = ?2)",
        *(lane, reason),
    )
    return int(row[0]) if row else 0


async def go_on(tx: Tx, lane: Lane, reason: str) -> None:
    """Let what waits for this in a lane be handled."""
    await tx.run(
        "UPDATE arrivals SET state = 'new', retry_at = NULL WHERE lane = ? AND reason = ? AND state = 'waiting'",
        *(lane, reason),
    )


async def drop_news(tx: Tx, lane: Lane, purpose: str | None) -> int:
    """Drop what was going to be sent to somebody for a purpose, or for any, and has no plan yet; return how many."""
    return await tx.run(
        f"UPDATE arrivals SET {_DONE} WHERE lane = ?1 AND kind = 'news'"  # noqa: S608
        " AND state IN ('new', 'waiting') AND plan IS NULL"
        " AND (json_extract(body, '$.purpose') = ?2 OR ?2 IS NULL)",
        *(lane, purpose),
    )


async def stuck(reader: Reader, lane: str | None = None) -> list[Item]:
    """Return what waits for a key or an answer, or is parked, of one lane or of all, the oldest first."""
    rows = await reader.all(
        f"SELECT {_COLUMNS} FROM arrivals WHERE state IN ('parked', 'waiting')"  # noqa: S608
        " AND (state = 'parked' OR reason NOT IN ('', 'blocked', 'strangers')) AND (lane = ?1 OR ?1 IS NULL)"
        " ORDER BY seq, sub",
        lane,
    )
    return [_item(row) for row in rows]


async def retry(tx: Tx, item: Item, at: datetime) -> None:
    """Let an item be tried again at this time, at its old place in its lane, with the plan it has."""
    await tx.run(
        "UPDATE arrivals SET state = 'waiting', retry_at = ?, session_id = NULL, attempts = attempts + 1"
        " WHERE id = ? AND state IN ('waiting', 'parked')",
        *(to_ms(at), item.id),
    )


async def doubt_all(tx: Tx) -> None:
    """We are another device now, which the server holds to no transaction id: every step must be looked for."""
    await tx.run(
        "UPDATE arrivals SET planned_at = planned_at - ? WHERE planned_at IS NOT NULL AND state != 'done'",
        round(2 * RECONCILE_AFTER / timedelta(milliseconds=1)),
    )


async def move(tx: Tx, item: Item, lane: Lane) -> None:
    """Put an item that turned out to belong elsewhere at the end of that lane."""
    seq = await facts.next_number(tx, "arrival")
    await tx.run("UPDATE arrivals SET lane = ?, seq = ?, sub = 0 WHERE id = ?", lane, seq, item.id)


async def wake_sessions(tx: Tx, sessions: Iterable[SessionId]) -> list[Lane]:
    """Keys came: let what waited for them be handled again. Returns the lanes concerned."""
    lanes: set[Lane] = set()
    for session in sessions:
        rows = await tx.all(
            "UPDATE arrivals SET state = 'new' WHERE state = 'waiting' AND session_id = ? RETURNING lane", session
        )
        lanes.update(Lane(row[0]) for row in rows)
    return sorted(lanes)


async def wake_all_keyless(tx: Tx) -> None:
    """At a start: try every item that waits for a key once."""
    await tx.run("UPDATE arrivals SET state = 'new' WHERE state = 'waiting' AND session_id IS NOT NULL")


async def wake_kind(tx: Tx, kind: ItemKind) -> None:
    """Let all items of a kind be handled now, whenever they would be due."""
    await tx.run("UPDATE arrivals SET state = 'new', retry_at = NULL WHERE state = 'waiting' AND kind = ?", kind)


async def look_again(tx: Tx, lane: Lane, kind: ItemKind, at: datetime) -> None:
    """Let the items of a kind that wait for their time in a lane be looked at then already."""
    await tx.run(
        "UPDATE arrivals SET retry_at = min(retry_at, ?) WHERE lane = ? AND state = 'waiting' AND kind = ?",
        *(to_ms(at), lane, kind),
    )


async def wake_due(tx: Tx, now: datetime) -> list[Lane]:
    """Let items whose time has come be handled. Returns the lanes concerned."""
    rows = await tx.all(
        "UPDATE arrivals SET state = 'new', retry_at = NULL WHERE state = 'waiting' AND retry_at <= ? RETURNING lane",
        to_ms(now),
    )
    return sorted({Lane(row[0]) for row in rows})


async def next_due(database: Database) -> datetime | None:
    """Return when the next timed item is due."""
    row = await database.one("SELECT min(retry_at) FROM arrivals WHERE state = 'waiting' AND retry_at IS NOT NULL")
    return from_ms(row[0]) if row and row[0] is not None else None


async def read_up_to(database: Database, room: RoomId) -> EventId | None:
    """Return the last event of the unbroken run of handled ones in a room; parked counts, for people were told.

    What nobody heard of because its author is blocked does not.
    """
    open_row = await database.one(
        "SELECT seq, sub FROM arrivals WHERE room_id = ? AND kind = 'event' AND state IN ('new', 'waiting')"
        " ORDER BY seq, sub LIMIT 1",
        room,
    )
    limit = tuple(open_row) if open_row else (2**62, 0)
    row = await database.one(
        "SELECT id FROM arrivals WHERE room_id = ? AND kind = 'event' AND state IN ('done', 'parked')"
        " AND reason != ? AND (seq, sub) < (?, ?) ORDER BY seq DESC, sub DESC LIMIT 1",
        *(room, LEFT_OUT, *limit),
    )
    return EventId(row[0]) if row else None


async def rooms_with_new(database: Database) -> frozenset[RoomId]:
    """Return the rooms of which something could be handled right now."""
    rows = await database.all(  # the index holds what is new, and not all that ever came
        "SELECT DISTINCT room_id FROM arrivals INDEXED BY arrivals_by_lane WHERE kind = 'event' AND state = 'new'"
    )
    return frozenset(RoomId(row[0]) for row in rows)


async def oldest_new(database: Database) -> datetime | None:
    """Return when the oldest item came in that may be handled now."""
    row = await database.one("SELECT min(arrived_at) FROM arrivals WHERE state = 'new'")
    return from_ms(row[0]) if row and row[0] is not None else None


async def count_keyless(database: Database) -> int:
    """Count what waits for a key."""
    row = await database.one("SELECT count(*) FROM arrivals WHERE state = 'waiting' AND session_id IS NOT NULL")
    return int(row[0]) if row else 0


async def counts(database: Database) -> dict[ItemState, int]:
    """Return how many items stand in each state."""
    rows = await database.all("SELECT state, count(*) FROM arrivals GROUP BY state")
    return {ItemState(row[0]): int(row[1]) for row in rows}
