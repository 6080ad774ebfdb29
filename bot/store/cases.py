"""Cases, and how often a customer was answered automatically."""

import json
import secrets
from collections.abc import Iterable, Sequence
from datetime import datetime

from bot.domain.case import Case, CaseState, Phase
from bot.domain.ids import CaseNumber, CustomerId, DeskId, EventId, ItemId, RoomId, UserId
from bot.store import facts
from bot.store.database import Database, Row, Tx, from_ms, to_ms

_COLUMNS = (
    "number, customer_id, desk, state, alias, opened_at, room_id, label, previous, card_event, inbox_event,"
    " closed_at, shown_name, renamed_at, touched_at, state_since, resumes, archived_at, holder, plate, reference, tags,"
    " card_revision, card_shown, merged_into"
)
Reader = Database | Tx
SAID = frozenset({"holder", "label", "plate", "reference", "tags"})
"""The columns of what staff say of a case."""


def _case(row: Row) -> Case:
    return Case(
        number=CaseNumber(row[0]),
        customer_id=CustomerId(row[1]),
        desk=DeskId(row[2]),
        state=CaseState(row[3]),
        alias=row[4],
        opened_at=from_ms(row[5]),
        room_id=RoomId(row[6]) if row[6] else None,
        label=row[7],
        previous=CaseNumber(row[8]) if row[8] is not None else None,
        card_event=EventId(row[9]) if row[9] else None,
        inbox_event=EventId(row[10]) if row[10] else None,
        closed_at=from_ms(row[11]) if row[11] is not None else None,
        shown_name=row[12],
        renamed_at=from_ms(row[13]) if row[13] is not None else None,
        touched_at=from_ms(row[14]) if row[14] is not None else None,
        since=from_ms(row[15]),
        resumes=CaseState(row[16]) if row[16] else None,
        archived_at=from_ms(row[17]) if row[17] is not None else None,
        holder=UserId(row[18]) if row[18] else None,
        plate=row[19],
        reference=row[20],
        tags=tuple(row[21].split()),
        card_revision=row[22],
        card_shown=row[23],
        merged_into=CaseNumber(row[24]) if row[24] is not None else None,
    )


async def _first(reader: Reader, condition: str, value: object) -> Case | None:
    row = await reader.one(f"SELECT {_COLUMNS} FROM cases WHERE {condition} LIMIT 1", value)  # noqa: S608
    return _case(row) if row else None


async def get(reader: Reader, number: CaseNumber) -> Case:
    """Return a case that exists."""
    case = await _first(reader, "number = ?", number)
    assert case is not None, "a plan or room names a case that does not exist"
    return case


async def latest_of(reader: Reader, customer: CustomerId) -> Case | None:
    """Return the newest case of a customer."""
    return await _first(reader, "customer_id = ? ORDER BY number DESC", customer)


async def current_of(reader: Reader, customer: CustomerId) -> Case | None:
    """Return the case in which staff look after a customer: what the customer writes next goes there, too.

    The open one that was last touched, else the newest of these, else the newest closed one that does not go on
    elsewhere; one whose room is not made yet comes last.
    """
    order = (
        "room_id IS NULL, state = 'closed', merged_into IS NOT NULL,"
        " CASE WHEN state != 'closed' THEN touched_at END DESC, number DESC"
    )
    return await _first(reader, f"customer_id = ? ORDER BY {order}", customer)


async def find(reader: Reader, number: CaseNumber) -> Case | None:
    """Return a case that a person named."""
    return await _first(reader, "number = ?", number)


async def number_of_lane(reader: Reader, lane: str) -> CaseNumber | None:
    """Return the newest case of the customer whose lane this is."""
    row = await reader.one("SELECT max(number) FROM cases WHERE 'customer:' || customer_id = ?", lane)
    return CaseNumber(row[0]) if row and row[0] is not None else None


async def all_of(reader: Reader, customer: CustomerId) -> Sequence[Case]:
    """Return the cases of a customer, the newest first."""
    rows = await reader.all(f"SELECT {_COLUMNS} FROM cases WHERE customer_id = ? ORDER BY number DESC", customer)  # noqa: S608
    return tuple(_case(row) for row in rows)


async def plan_new(
    tx: Tx, customer: CustomerId, desk: DeskId, *, previous: CaseNumber | None, now: datetime, first: int
) -> CaseNumber:
    """Give a new case its number and the random alias that will make its room exist once (part of T1b)."""
    number = CaseNumber(await facts.next_number(tx, "case", first=first))
    await tx.run(
        "INSERT INTO cases (number, customer_id, desk, state, alias, previous, opened_at, state_since)"
        " VALUES (?, ?, ?, 'opening', ?, ?, ?, ?)",
        *(number, customer, desk, secrets.token_hex(16), previous, to_ms(now), to_ms(now)),
    )
    return number


async def put_back(
    tx: Tx,
    number: CaseNumber,
    customer: CustomerId,
    desk: DeskId,
    room: RoomId,
    *,
    cards: tuple[EventId | None, EventId | None],
    opened_at: datetime,
) -> Case:
    """Write down a case that was opened after the backup we began with; its opening is gone through once more.

    `cards`: the one in its room and the one in the inbox.
    """
    before = await tx.one("SELECT max(number) FROM cases WHERE customer_id = ? AND number < ?", customer, number)
    await tx.run(
        "INSERT INTO cases (number, customer_id, desk, state, alias, room_id, previous, card_event, inbox_event,"
        " opened_at, renamed_at, state_since) VALUES (?, ?, ?, 'opening', ?, ?, ?, ?, ?, ?, ?, ?)",
        *(number, customer, desk, secrets.token_hex(16), room, before[0] if before else None, *cards),
        *(to_ms(opened_at), to_ms(opened_at), to_ms(opened_at)),
    )
    return await get(tx, number)


async def set_room(tx: Tx, number: CaseNumber, room: RoomId, shown_name: str, now: datetime) -> None:
    """The room of a case exists."""
    await tx.run(
        "UPDATE cases SET room_id = ?, shown_name = ?, renamed_at = ? WHERE number = ?",
        *(room, shown_name, to_ms(now), number),
    )


async def set_inbox_card(tx: Tx, number: CaseNumber, event: EventId) -> None:
    """The card of a case stands in the inbox."""
    await tx.run("UPDATE cases SET inbox_event = ? WHERE number = ?", event, number)


async def set_card(tx: Tx, number: CaseNumber, event: EventId) -> None:
    """The card of a case stands in its room."""
    await tx.run("UPDATE cases SET card_event = ? WHERE number = ?", event, number)


async def touch(tx: Tx, number: CaseNumber, now: datetime) -> None:
    """Staff wrote in this case, or somebody chose it: what comes next without a quotation belongs here."""
    await tx.run("UPDATE cases SET touched_at = ? WHERE number = ?", to_ms(now), number)


async def set_state(tx: Tx, number: CaseNumber, phase: Phase, since: datetime) -> None:
    """Move a case to a state that it has had since then; only `flows/states` does.

    Closing remembers when, and forgets who looked after it; opening parts it again from what it was joined with.
    """
    closed_at = to_ms(since) if phase.state is CaseState.CLOSED else None
    await tx.run(
        "UPDATE cases SET state = ?, resumes = ?, state_since = ?, closed_at = ? WHERE number = ?",
        *(phase.state, phase.resumes, to_ms(since), closed_at, number),
    )
    if closed_at is None:
        await tx.run("UPDATE cases SET merged_into = NULL WHERE number = ?", number)
    else:
        await tx.run(
            "UPDATE cases SET holder = NULL, card_revision = card_revision + 1 WHERE number = ? AND holder IS NOT NULL",
            number,
        )


async def set_archived(tx: Tx, number: CaseNumber, at: datetime | None) -> None:
    """The room of a closed case has left the Space and staff have left it, or (None) they come back."""
    await tx.run("UPDATE cases SET archived_at = ? WHERE number = ?", to_ms(at) if at else None, number)


async def with_clock(reader: Reader) -> Sequence[Case]:
    """Return the cases that time does something to: all but those that are put away."""
    rows = await reader.all(
        f"SELECT {_COLUMNS} FROM cases WHERE room_id IS NOT NULL AND archived_at IS NULL"  # noqa: S608
    )
    return tuple(_case(row) for row in rows)


async def open_of(reader: Reader, user: UserId, desks: Sequence[DeskId]) -> list[Case]:
    """Return the open cases of these desks, or that somebody looks after, those first whose state is the oldest."""
    rows = await reader.all(
        f"SELECT {_COLUMNS} FROM cases WHERE room_id IS NOT NULL AND state != 'closed'"  # noqa: S608
        " AND (desk IN (SELECT value FROM json_each(?)) OR holder = ?) ORDER BY state_since, number",
        *(json.dumps(desks), user),
    )
    return [_case(row) for row in rows]


async def set_merged(tx: Tx, number: CaseNumber, there: CaseNumber) -> None:
    """A closed case goes on in another."""
    await tx.run("UPDATE cases SET merged_into = ? WHERE number = ?", there, number)


async def change(tx: Tx, number: CaseNumber, **said: str | None) -> None:
    """Write down what staff say of a case (see `SAID`); its cards have to follow."""
    assert said.keys() <= SAID
    columns = "".join(f"{name} = ?, " for name in said)
    await tx.run(
        f"UPDATE cases SET {columns}card_revision = card_revision + 1 WHERE number = ?",  # noqa: S608
        *(*said.values(), number),
    )


async def set_desk(tx: Tx, number: CaseNumber, desk: DeskId, inbox_event: str) -> None:
    """A case belongs to another desk, in whose inbox it has this card."""
    await tx.run("UPDATE cases SET desk = ?, inbox_event = ? WHERE number = ?", desk, inbox_event, number)


async def release_others(tx: Tx, staff: Iterable[UserId]) -> Sequence[CaseNumber]:
    """Nobody but these looks after a case any more; return the cases that were looked after by somebody else."""
    rows = await tx.all(
        "UPDATE cases SET holder = NULL, card_revision = card_revision + 1"
        " WHERE holder IS NOT NULL AND holder NOT IN (SELECT value FROM json_each(?)) RETURNING number",
        json.dumps(list(staff)),
    )
    return tuple(CaseNumber(row[0]) for row in rows)


async def set_card_shown(tx: Tx, number: CaseNumber, revision: int) -> None:
    """The cards of a case show it as it was at this revision."""
    await tx.run("UPDATE cases SET card_shown = ? WHERE number = ?", revision, number)


async def doubt_cards(tx: Tx, number: CaseNumber, revision: int) -> None:
    """A card was written as of this revision, perhaps over a newer one."""
    await tx.run("UPDATE cases SET card_shown = min(card_shown, ?) WHERE number = ?", revision, number)


async def of_inbox_card(reader: Reader, event: EventId) -> Case | None:
    """Return the case whose card in an inbox this is."""
    return await _first(reader, "inbox_event = ?", event)


async def set_shown_name(tx: Tx, number: CaseNumber, name: str, now: datetime) -> None:
    """The room of a case now bears this name."""
    await tx.run("UPDATE cases SET shown_name = ?, renamed_at = ? WHERE number = ?", name, to_ms(now), number)


async def numbered(reader: Reader, numbers: Iterable[CaseNumber]) -> Sequence[Case]:
    """Return the cases with these numbers."""
    rows = await reader.all(
        f"SELECT {_COLUMNS} FROM cases WHERE number IN (SELECT value FROM json_each(?))",  # noqa: S608
        json.dumps(list(numbers)),
    )
    return tuple(_case(row) for row in rows)


async def with_room(database: Database) -> Sequence[Case]:
    """Return all cases whose room exists, so that names can be compared at a start."""
    rows = await database.all(f"SELECT {_COLUMNS} FROM cases WHERE room_id IS NOT NULL")  # noqa: S608
    return tuple(_case(row) for row in rows)


async def open_for(reader: Reader, user: UserId, desks: Sequence[DeskId]) -> Sequence[RoomId]:
    """Return the rooms of the open cases of these desks, or that somebody looks after, the newest first."""
    rows = await reader.all(
        "SELECT room_id FROM cases WHERE room_id IS NOT NULL AND state != 'closed'"
        " AND (desk IN (SELECT value FROM json_each(?)) OR holder = ?) ORDER BY number DESC",
        *(json.dumps(desks), user),
    )
    return tuple(RoomId(row[0]) for row in rows)


async def found_by(reader: Reader, words: str, plate: str, desks: Sequence[DeskId], *, most: int) -> Sequence[Case]:
    """Return cases of these desks by number, or by a part of what staff said of them, the newest first.

    `plate`: the letters and digits alone. SQLite folds ASCII only, so words are looked for in every usual spelling.
    """
    spellings = {words, words.lower(), words.upper(), words.capitalize()}
    rows = await reader.all(
        f"SELECT {_COLUMNS} FROM cases WHERE room_id IS NOT NULL"  # noqa: S608
        " AND desk IN (SELECT value FROM json_each(?1)) AND (number = CAST(?2 AS INTEGER)"
        " OR instr(replace(replace(lower(plate), '-', ''), ' ', ''), ?3)"
        " OR EXISTS (SELECT 1 FROM json_each(?4)"
        " WHERE instr(lower(label || char(10) || reference || char(10) || tags), lower(value))))"
        " ORDER BY number DESC LIMIT ?5",
        *(json.dumps(desks), words if words.isdecimal() else "0", plate, json.dumps(sorted(spellings)), most),
    )
    return tuple(_case(row) for row in rows)


async def still_open(reader: Reader, desks: Sequence[DeskId], *, most: int) -> Sequence[Case]:
    """Return the open cases of these desks, the most urgent first.

    What waits for us, then what was put off, what is ready, and what waits for the customer; each by how long it has.
    """
    rows = await reader.all(
        f"SELECT {_COLUMNS} FROM cases WHERE room_id IS NOT NULL AND state != 'closed'"  # noqa: S608
        " AND desk IN (SELECT value FROM json_each(?))"
        " ORDER BY CASE state WHEN 'later' THEN 1 WHEN 'ready' THEN 2 WHEN 'answered' THEN 3 ELSE 0 END,"
        " state_since, number LIMIT ?",
        *(json.dumps(desks), most),
    )
    return tuple(_case(row) for row in rows)


async def count_open(reader: Reader, desks: Sequence[DeskId]) -> int:
    """Return how many cases of these desks are open."""
    row = await reader.one(
        "SELECT count(*) FROM cases WHERE room_id IS NOT NULL AND state != 'closed'"
        " AND desk IN (SELECT value FROM json_each(?))",
        json.dumps(desks),
    )
    return int(row[0]) if row else 0


async def desks(reader: Reader) -> frozenset[DeskId]:
    """Return the desks that cases are at; some of them may be removed by now."""
    return frozenset(DeskId(row[0]) for row in await reader.all("SELECT DISTINCT desk FROM cases"))


async def count_automatic(tx: Tx, customer: CustomerId, since: datetime) -> int:
    """Return how many automatic sentences were planned for a customer since then."""
    row = await tx.one(
        "SELECT count(*) FROM automatic_answers WHERE customer_id = ? AND planned_at >= ?", customer, to_ms(since)
    )
    return int(row[0]) if row else 0


async def was_told(tx: Tx, customer: CustomerId, since: datetime) -> bool:
    """Tell whether a customer was told since then that they write in a room which we cannot use."""
    row = await tx.one(
        "SELECT 1 FROM automatic_answers WHERE customer_id = ? AND step IN ('offer', 'unusable') AND planned_at >= ?",
        *(customer, to_ms(since)),
    )
    return row is not None


async def was_answered(tx: Tx, customer: CustomerId, step: str, *, everywhere_since: datetime) -> bool:
    """Tell whether a sentence was planned about this case (`step` is its kind and the case), or lately about any."""
    kind, _, _ = step.partition(" ")
    row = await tx.one(
        "SELECT 1 FROM automatic_answers WHERE customer_id = ? AND (step = ? OR (step LIKE ? AND planned_at >= ?))",
        *(customer, step, f"{kind} %", to_ms(everywhere_since)),
    )
    return row is not None


async def add_automatic(tx: Tx, customer: CustomerId, item: ItemId, step: str, now: datetime) -> None:
    """An automatic sentence was planned."""
    await tx.run("INSERT OR IGNORE INTO automatic_answers VALUES (?, ?, ?, ?)", customer, item, step, to_ms(now))


async def forget_automatic(tx: Tx, customer: CustomerId, item: ItemId, step: str) -> None:
    """An automatic sentence that was planned is not said."""
    await tx.run(
        "DELETE FROM automatic_answers WHERE customer_id = ? AND item_id = ? AND step = ?", customer, item, step
    )


async def flag_device(tx: Tx, number: CaseNumber, device: str) -> bool:
    """Remember that staff are told of an unsigned device; False if they were told in this case before."""
    return await tx.run("INSERT OR IGNORE INTO flagged_devices VALUES (?, ?)", number, device) > 0
