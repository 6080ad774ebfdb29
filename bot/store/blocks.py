"""Which customers are blocked or muted. What has ended counts no more, whether or not its row is still there."""

from collections.abc import Sequence
from datetime import datetime

from bot.domain.block import Block, BlockKind
from bot.domain.ids import CustomerId, UserId
from bot.store.database import Database, Row, Tx, from_ms, to_ms

Reader = Database | Tx


def _block(row: Row) -> Block:
    return Block(CustomerId(row[0]), BlockKind(row[1]), from_ms(row[2]))


async def put(tx: Tx, block: Block, now: datetime) -> None:
    """From now on this holds for the customer, and nothing else. What has ended is forgotten."""
    await tx.run("DELETE FROM blocks WHERE until <= ?", to_ms(now))
    await tx.run("INSERT OR REPLACE INTO blocks VALUES (?, ?, ?)", block.customer, block.kind, to_ms(block.until))


async def lift(tx: Tx, customer: CustomerId) -> None:
    """Nothing holds for this customer any more."""
    await tx.run("DELETE FROM blocks WHERE customer_id = ?", customer)


async def of(reader: Reader, customer: CustomerId, at: datetime) -> Block | None:
    """Return what holds for a customer at a moment."""
    row = await reader.one(
        "SELECT customer_id, kind, until FROM blocks WHERE customer_id = ? AND until > ?", customer, to_ms(at)
    )
    return _block(row) if row else None


async def in_force(reader: Reader, at: datetime) -> Sequence[Block]:
    """Return everything that holds at a moment, what ends first first."""
    rows = await reader.all(
        "SELECT customer_id, kind, until FROM blocks WHERE until > ? ORDER BY until, customer_id", to_ms(at)
    )
    return tuple(_block(row) for row in rows)


async def blocked(reader: Reader, at: datetime) -> frozenset[UserId]:
    """Return the people from whom nothing is taken in at a moment."""
    rows = await reader.all(
        "SELECT user_id FROM blocks JOIN customers ON id = customer_id WHERE kind = 'block' AND until > ?", to_ms(at)
    )
    return frozenset(UserId(row[0]) for row in rows)
