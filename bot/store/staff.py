"""What was changed by command in who works here. It goes before the configuration until that says the same."""

from collections.abc import Sequence
from datetime import datetime

from bot.domain.ids import DeskId, UserId
from bot.domain.staff import Change
from bot.store.database import Database, Tx, to_ms

_FROM_EVERYWHERE = ""


async def changes(reader: Database | Tx) -> Sequence[Change]:
    """Return all changes; those of one person may be several."""
    rows = await reader.all("SELECT user_id, desk FROM staff_changes ORDER BY changed_at, user_id, desk")
    return tuple(Change(UserId(user), DeskId(desk) if desk else None) for user, desk in rows)


async def add(tx: Tx, user: UserId, desk: DeskId, now: datetime) -> None:
    """Somebody was taken in at a desk."""
    await tx.run("INSERT OR REPLACE INTO staff_changes VALUES (?, ?, ?)", user, desk, to_ms(now))


async def remove(tx: Tx, user: UserId, now: datetime) -> None:
    """Somebody was removed from everywhere, whatever was changed before."""
    await forget(tx, user)
    await tx.run("INSERT INTO staff_changes VALUES (?, ?, ?)", user, _FROM_EVERYWHERE, to_ms(now))


async def forget(tx: Tx, user: UserId) -> None:
    """The configuration says the same by now."""
    await tx.run("DELETE FROM staff_changes WHERE user_id = ?", user)
