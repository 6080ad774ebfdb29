"""Whom nothing may be sent to that they did not order. Accounts stand here as keyed hashes only, and survive erasure.

The newest row for a person counts: "nothing at all" blocks every purpose, until they themselves agree to one again, or
let us ask about it.
"""

import hashlib
import hmac
from datetime import datetime

from bot.domain.ids import UserId
from bot.domain.purpose import PurposeId
from bot.store import facts
from bot.store.database import Database, Tx

EVERYTHING = "*"


def mark_of(key: bytes, user: UserId) -> bytes:
    """Return what stands for an account here. `key` is derived for this list alone."""
    return hmac.new(key, user.encode(), hashlib.sha256).digest()


async def is_blocked(reader: Database | Tx, mark: bytes, purpose: PurposeId) -> bool:
    """Tell whether nothing may be sent to this person for a purpose."""
    row = await reader.one(
        "SELECT blocks FROM suppression WHERE mark = ? AND scope IN (?, ?) ORDER BY number DESC LIMIT 1",
        *(mark, EVERYTHING, purpose),
    )
    return bool(row and row[0])


async def block(tx: Tx, mark: bytes, purpose: PurposeId | None, *, reason: str, now: datetime) -> bool:
    """Block one purpose, or (None) everything; False if it was blocked already."""
    if purpose is not None:
        if await is_blocked(tx, mark, purpose):
            return False
        await _put(tx, mark, purpose, reason, now, blocks=True)
        return True
    known = {row[0]: row[1] for row in await tx.all("SELECT scope, blocks FROM suppression WHERE mark = ?", mark)}
    if known.get(EVERYTHING) and all(known.values()):
        return False
    await tx.run("DELETE FROM suppression WHERE mark = ?", mark)
    await _put(tx, mark, EVERYTHING, reason, now, blocks=True)
    return True


async def lift(tx: Tx, mark: bytes, purpose: PurposeId, now: datetime, *, reason: str = "agreed") -> None:
    """They have just agreed to this purpose themselves. Who was never blocked does not get into the list."""
    if await is_blocked(tx, mark, purpose):
        await _put(tx, mark, purpose, reason, now, blocks=False)


async def _put(tx: Tx, mark: bytes, scope: str, reason: str, now: datetime, *, blocks: bool) -> None:
    number = await facts.next_number(tx, "suppression")
    await tx.run(
        "INSERT INTO suppression VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (mark, scope) DO UPDATE SET"
        " blocks = excluded.blocks, number = excluded.number, reason = excluded.reason, day = excluded.day",
        *(mark, scope, int(blocks), number, reason, now.date().isoformat()),
    )
