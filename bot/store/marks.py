"""Marks: what we had sent after a backup, found in the rooms once after a restore. Empty in every other database."""

from datetime import datetime

from bot.domain.ids import EventId, RoomId, TxnId
from bot.store.database import Database, Tx, to_ms
from bot.store.links import Place

Reader = Database | Tx

LOST = TxnId("")
"""Stands for the marks of events that somebody else deleted: nobody can tell any more which steps they were."""


async def add(tx: Tx, txn: TxnId, room: RoomId, event: EventId, sent_at: datetime) -> None:
    """Remember that a step had been taken; of the lost ones of a room the last is kept."""
    await tx.run(
        "INSERT INTO marks VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET sent_at = max(sent_at, excluded.sent_at)",
        *(txn, room, event, to_ms(sent_at)),
    )


async def exist(reader: Reader) -> bool:
    """Tell whether this database was ever restored."""
    return await reader.one("SELECT 1 FROM marks LIMIT 1") is not None


async def find(reader: Reader, txn: TxnId, room: RoomId) -> EventId | None:
    """Return our event of this step in this room."""
    row = await reader.one("SELECT event_id FROM marks WHERE txn = ? AND room_id = ?", txn, room)
    return EventId(row[0]) if row else None


async def place_of(reader: Reader, txn: TxnId) -> Place | None:
    """Return room and event of a step, wherever it went."""
    row = await reader.one("SELECT room_id, event_id FROM marks WHERE txn = ? LIMIT 1", txn)
    return (RoomId(row[0]), EventId(row[1])) if row else None


async def may_be_lost(reader: Reader, room: RoomId, since: datetime) -> bool:
    """Tell whether something that we sent in this room since then has lost its mark."""
    row = await reader.one(
        "SELECT 1 FROM marks WHERE txn = ? AND room_id = ? AND sent_at >= ?", LOST, room, to_ms(since)
    )
    return row is not None
