"""Copy links: which event is the copy of which. Edits, deletions and erasure walk along them."""

from bot.domain.ids import CaseNumber, EventId, RoomId
from bot.store.database import Database, Tx


async def link(tx: Tx, number: CaseNumber, source: tuple[RoomId, EventId], target: tuple[RoomId, EventId]) -> None:
    """Remember that one event is the copy of another."""
    await tx.run("INSERT OR IGNORE INTO copy_links VALUES (?, ?, ?, ?, ?)", *source, *target, number)


async def copy_of(database: Database, source: EventId, room: RoomId) -> EventId | None:
    """Return the copy of an event in a room."""
    row = await database.one(
        "SELECT target_event FROM copy_links WHERE source_event = ? AND target_room = ?", source, room
    )
    return EventId(row[0]) if row else None


async def copy_in_customer_room(database: Database, source: EventId) -> tuple[RoomId, EventId] | None:
    """Return where the copy of a staff member's message stands at the customer's."""
    row = await database.one(
        "SELECT target_room, target_event FROM copy_links WHERE source_event = ?"
        " AND target_room IN (SELECT room_id FROM rooms WHERE kind = 'customer')",
        source,
    )
    return (RoomId(row[0]), EventId(row[1])) if row else None
