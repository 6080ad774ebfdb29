"""Questions for consent that were asked: about what, with which text, and which events they are."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from bot.domain.consent import ANY_CASE, Asked, Position
from bot.domain.ids import CaseNumber, CustomerId, EventId, ItemId, RoomId
from bot.domain.purpose import PurposeId
from bot.store.database import Database, Row, Tx, from_ms, to_ms

Reader = Database | Tx
_COLUMNS = (
    "id, customer_id, purpose, case_number, room_id, sha256, version, language, text_event, poll_event, state,"
    " unclear, asked_at, named"
)


@dataclass(frozen=True, slots=True)
class Question:
    """One question. `unclear`: the person was told once that their answer was none.

    `named`: what staff filled into a question about one case, by name; empty for one that is about no case alone.
    """

    id: int
    customer: CustomerId
    purpose: PurposeId
    case: CaseNumber
    room_id: RoomId
    sha256: str
    version: str
    language: str
    text_event: EventId | None
    poll_event: EventId | None
    state: str
    unclear: bool
    asked_at: datetime
    named: Mapping[str, str]

    @property
    def only_case(self) -> CaseNumber:
        """The one case that a yes covers, or none in particular."""
        return self.case if self.named else ANY_CASE

    @property
    def is_open(self) -> bool:
        """It waits for an answer."""
        return self.state == "open"


def _question(row: Row) -> Question:
    return Question(
        *(row[0], CustomerId(row[1]), PurposeId(row[2]), CaseNumber(row[3]), RoomId(row[4]), row[5], row[6], row[7]),
        EventId(row[8]) if row[8] else None,
        EventId(row[9]) if row[9] else None,
        row[10],
        bool(row[11]),
        from_ms(row[12]),
        json.loads(row[13]),
    )


async def add(tx: Tx, item: ItemId, question: Question) -> int:
    """Write down that a question is about to be asked; returns its id."""
    row = await tx.one(
        "INSERT INTO questions (item_id, customer_id, purpose, case_number, room_id, sha256, version, language, state,"
        " asked_at, named) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'open', ?, ?) RETURNING id",
        *(item, question.customer, question.purpose, question.case, question.room_id, question.sha256),
        *(question.version, question.language, to_ms(question.asked_at)),
        json.dumps(dict(question.named), ensure_ascii=False),
    )
    assert row is not None
    return int(row[0])


async def set_events(tx: Tx, question: int, text: EventId, poll: EventId) -> None:
    """It was asked: these are its text and its poll."""
    await tx.run("UPDATE questions SET text_event = ?, poll_event = ? WHERE id = ?", text, poll, question)


async def close(tx: Tx, question: int, state: str) -> None:
    """It is decided, or outdated."""
    await tx.run("UPDATE questions SET state = ? WHERE id = ?", state, question)


async def set_unclear(tx: Tx, question: int) -> None:
    """The person was told that their answer was none."""
    await tx.run("UPDATE questions SET unclear = 1 WHERE id = ?", question)


async def get(reader: Reader, question: int) -> Question:
    """Return a question that exists."""
    row = await reader.one(f"SELECT {_COLUMNS} FROM questions WHERE id = ?", question)  # noqa: S608
    assert row is not None
    return _question(row)


async def of_event(reader: Reader, event: EventId) -> Question | None:
    """Return the question that an event of ours asks, be it its text or its poll."""
    row = await reader.one(f"SELECT {_COLUMNS} FROM questions WHERE ? IN (text_event, poll_event)", event)  # noqa: S608
    return _question(row) if row else None


async def open_of(reader: Reader, customer: CustomerId, purpose: PurposeId | None = None) -> Question | None:
    """Return the question that a customer has not answered yet; about this purpose, if one is given."""
    row = await reader.one(
        f"SELECT {_COLUMNS} FROM questions WHERE customer_id = ?1 AND state = 'open'"  # noqa: S608
        " AND (purpose = ?2 OR ?2 IS NULL)",
        *(customer, purpose),
    )
    return _question(row) if row else None


FOLLOWED: Final = (
    "SELECT 1 FROM questions q JOIN cases asked ON asked.number = q.case_number"
    " JOIN arrivals asks ON asks.id = q.item_id"
    " JOIN cases theirs ON theirs.customer_id = asked.customer_id"
    " JOIN arrivals wrote ON wrote.room_id = theirs.room_id AND wrote.kind = 'event'"
    " AND (wrote.seq, wrote.sub) > (asks.seq, asks.sub) AND (wrote.seq, wrote.sub) < (?2, ?3)"
    " JOIN copy_links copied ON copied.source_event = wrote.id"
    " AND copied.target_room = q.room_id AND copied.relation = 'copy' WHERE q.id = ?1 LIMIT 1"
)


async def is_followed(reader: Reader, question: Question, before: Position) -> bool:
    """Tell whether something that staff wrote went into the chat of a question after it, and before this position."""
    return await reader.one(FOLLOWED, question.id, *before) is not None


async def all_open(reader: Reader) -> list[Question]:
    """Return all questions that wait for an answer."""
    return [_question(row) for row in await reader.all(f"SELECT {_COLUMNS} FROM questions WHERE state = 'open'")]  # noqa: S608


async def asked(reader: Reader, customer: CustomerId) -> list[Asked]:
    """Return what a customer was asked."""
    rows = await reader.all(f"SELECT {_COLUMNS} FROM questions WHERE customer_id = ? ORDER BY id", customer)  # noqa: S608
    questions = [_question(row) for row in rows]
    return [Asked(known.purpose, known.asked_at, known.case, known.is_open) for known in questions]
