"""The codes with which customers collect what is ready: one for each case, and how often a wrong one was said."""

from dataclasses import dataclass
from datetime import datetime

from bot.domain.ids import CaseNumber
from bot.store.database import Database, Tx, from_ms, to_ms

Reader = Database | Tx


@dataclass(frozen=True, slots=True)
class Pickup:
    """One row of `pickups`."""

    code: str
    wrong: int
    done_at: datetime | None


async def of_case(reader: Reader, number: CaseNumber) -> Pickup | None:
    """Return what is to be collected, or was, in this case."""
    row = await reader.one("SELECT code, wrong, done_at FROM pickups WHERE case_number = ?", number)
    return Pickup(row[0], row[1], from_ms(row[2]) if row[2] is not None else None) if row else None


async def is_awaited(reader: Reader, number: CaseNumber) -> bool:
    """Tell whether a customer holds a code that was not used yet."""
    row = await reader.one("SELECT 1 FROM pickups WHERE case_number = ? AND done_at IS NULL", number)
    return row is not None


async def put(tx: Tx, number: CaseNumber, code: str) -> None:
    """A customer was told this code; an older one is good for nothing any more."""
    await tx.run("INSERT OR REPLACE INTO pickups (case_number, code) VALUES (?, ?)", number, code)


async def move(tx: Tx, number: CaseNumber, there: CaseNumber) -> None:
    """A code that was not used yet is good in another case from now on, unless the customer holds one for that."""
    if await is_awaited(tx, number) and not await is_awaited(tx, there):
        await tx.run("DELETE FROM pickups WHERE case_number = ?", there)
        await tx.run("UPDATE pickups SET case_number = ? WHERE case_number = ?", there, number)


async def count_wrong(tx: Tx, number: CaseNumber) -> int:
    """A wrong code was said; return how many by now."""
    (row,) = await tx.all("UPDATE pickups SET wrong = wrong + 1 WHERE case_number = ? RETURNING wrong", number)
    return int(row[0])


async def finish(tx: Tx, number: CaseNumber, since: datetime) -> None:
    """It was handed over; `since` then the case has been in its state."""
    await tx.run("UPDATE pickups SET done_at = ? WHERE case_number = ?", to_ms(since), number)
