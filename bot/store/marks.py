"""Marks: what we had sent after a backup, found in the rooms once after a restore. Empty in every other database."""

from bot.domain.ids import EventId, RoomId, TxnId
from bot.store.database import Database, Tx

Reader = Database | Tx


async def add(tx: Tx, txn: TxnId, room: RoomId, event: EventId) -> None:
    """Remember that a step had been taken; again is fine."""
    await tx.run("INSERT OR IGNORE INTO marks VALUES (?, ?, ?)", txn, room, event)


async def find(reader: Reader, txn: TxnId, room: RoomId) -> EventId | None:
    """Return our event of this step in this room."""
    row = await reader.one("SELECT event_id FROM marks WHERE txn = ? AND room_id = ?", txn, room)
    return EventId(row[0]) if row else None


async def place_of(reader: Reader, txn: TxnId) -> tuple[RoomId, EventId] | None:
    """Return room and event of a step, wherever it went."""
    row = await reader.one("SELECT room_id, event_id FROM marks WHERE txn = ? LIMIT 1", txn)
    return (RoomId(row[0]), EventId(row[1])) if row else None
