"""Customers were asked for whom their case is: what the numbers meant, and whether they have answered."""

import json
from dataclasses import dataclass

from bot.domain.ids import CaseNumber, CustomerId, DeskId, EventId
from bot.store.database import Database, Tx

Reader = Database | Tx


@dataclass(frozen=True, slots=True)
class DeskQuestion:
    """An open question. `desk`: where the case was when it was asked."""

    case: CaseNumber
    desk: DeskId
    desks: tuple[DeskId, ...]
    poll: EventId | None


async def add(tx: Tx, number: CaseNumber, desk: DeskId, desks: tuple[DeskId, ...]) -> None:
    """A customer is about to be asked."""
    await tx.run(
        "INSERT INTO desk_questions (case_number, desk, desks) VALUES (?, ?, ?)", number, desk, json.dumps(desks)
    )


async def set_poll(tx: Tx, number: CaseNumber, poll: EventId) -> None:
    """This event is the poll."""
    await tx.run("UPDATE desk_questions SET poll_event = ? WHERE case_number = ?", poll, number)


async def open_of(reader: Reader, customer: CustomerId) -> DeskQuestion | None:
    """Return what a customer was asked last and has not answered, while that case is open."""
    row = await reader.one(
        "SELECT number, q.desk, q.desks, q.poll_event FROM desk_questions q JOIN cases ON number = case_number"
        " WHERE customer_id = ? AND answered = 0 AND state != 'closed' ORDER BY number DESC LIMIT 1",
        customer,
    )
    if row is None:
        return None
    desks = tuple(DeskId(desk) for desk in json.loads(row[2]))
    return DeskQuestion(CaseNumber(row[0]), DeskId(row[1]), desks, EventId(row[3]) if row[3] else None)


async def close(tx: Tx, number: CaseNumber) -> None:
    """The customer has answered."""
    await tx.run("UPDATE desk_questions SET answered = 1 WHERE case_number = ?", number)
