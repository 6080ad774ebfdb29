"""Committed permissions to send one message that needs a consent. A withdrawal cancels what has not begun.

open → started (committed before the first step) → used; or cancelled, from which nothing leads on.
"""

from datetime import datetime

from bot.domain.ids import CustomerId, EventId, ItemId
from bot.domain.purpose import PurposeId
from bot.store.database import Database, Tx, to_ms


async def grant(
    tx: Tx, item: ItemId, customer: CustomerId, purpose: PurposeId, campaign: str, entry: int, now: datetime
) -> None:
    """Permit one item to send (part of its T1b). `entry` is the place in the ledger of the consent it rests on."""
    await tx.run(
        "INSERT INTO permits (item_id, customer_id, purpose, campaign, state, position, at)"
        " VALUES (?, ?, ?, ?, 'open', ?, ?)",
        *(item, customer, purpose, campaign, entry, to_ms(now)),
    )


async def start(tx: Tx, item: ItemId) -> str:
    """Commit this before the first step. Returns the state before: `open` means that the step may be taken."""
    row = await tx.one("SELECT state FROM permits WHERE item_id = ?", item)
    assert row is not None, "no message that needs a consent without a permit"
    await tx.run("UPDATE permits SET state = 'started' WHERE item_id = ? AND state = 'open'", item)
    return str(row[0])


async def use(tx: Tx, item: ItemId, event: EventId) -> None:
    """It was sent."""
    await tx.run("UPDATE permits SET state = 'used', event_id = ? WHERE item_id = ?", event, item)


async def drop(tx: Tx, item: ItemId) -> None:
    """It will not be sent."""
    await tx.run("UPDATE permits SET state = 'cancelled' WHERE item_id = ?", item)


async def cancel(tx: Tx, customer: CustomerId, purpose: PurposeId | None) -> tuple[int, int]:
    """Cancel what has not begun, of one purpose or of all; return how many, and how many had begun already."""
    about = (customer, purpose)
    begun = await tx.one(
        "SELECT count(*) FROM permits WHERE customer_id = ?1 AND (purpose = ?2 OR ?2 IS NULL) AND state = 'started'",
        *about,
    )
    cancelled = await tx.run(
        "UPDATE permits SET state = 'cancelled'"
        " WHERE customer_id = ?1 AND (purpose = ?2 OR ?2 IS NULL) AND state = 'open'",
        *about,
    )
    return cancelled, int(begun[0]) if begun else 0


async def count_since(reader: Database | Tx, customer: CustomerId, purpose: PurposeId, since: datetime) -> int:
    """Return how many messages for a purpose were sent, or may still be, since then."""
    row = await reader.one(
        "SELECT count(*) FROM permits WHERE customer_id = ? AND purpose = ? AND state != 'cancelled' AND at >= ?",
        *(customer, purpose, to_ms(since)),
    )
    return int(row[0]) if row else 0


async def purpose_of_event(reader: Database | Tx, event: EventId) -> PurposeId | None:
    """Return the purpose for which an event of ours was sent."""
    row = await reader.one("SELECT purpose FROM permits WHERE event_id = ?", event)
    return PurposeId(row[0]) if row else None
