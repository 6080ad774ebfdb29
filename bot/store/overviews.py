"""The overviews in the inbox rooms: which event each of them is, and whether it shows what holds now."""

from dataclasses import dataclass
from datetime import datetime

from bot.domain.ids import DeskId, EventId
from bot.store.database import Database, Row, Tx, from_ms, to_ms

Reader = Database | Tx
_COLUMNS = "copies, begun_at, event_id, said, revision, shown, pinned"
PINNED, NOT_PINNED, NOT_ALLOWED = 1, 0, -1


@dataclass(frozen=True, slots=True)
class Overview:
    """One row of `overviews`."""

    copies: int
    begun_at: datetime
    event: EventId | None
    said: str
    revision: int
    shown: int
    pinned: int


def _overview(row: Row) -> Overview:
    return Overview(row[0], from_ms(row[1]), EventId(row[2]) if row[2] else None, *row[3:7])


async def find(reader: Reader, desk: DeskId) -> Overview | None:
    """Return what is known of the overview of a desk."""
    row = await reader.one(f"SELECT {_COLUMNS} FROM overviews WHERE desk = ?", desk)  # noqa: S608
    return _overview(row) if row else None


async def plan(tx: Tx, desk: DeskId, said: str, now: datetime) -> Overview:
    """Write down what it is about to say; the same as before stays the same revision."""
    row = await tx.one(
        f"INSERT INTO overviews (desk, begun_at, said) VALUES (?, ?, ?) ON CONFLICT (desk)"  # noqa: S608
        f" DO UPDATE SET revision = revision + (said != excluded.said), said = excluded.said RETURNING {_COLUMNS}",
        *(desk, to_ms(now), said),
    )
    assert row is not None
    return _overview(row)


async def set_event(tx: Tx, desk: DeskId, event: EventId, shown: int) -> None:
    """It stands in its room."""
    await tx.run("UPDATE overviews SET event_id = ?, shown = ?, pinned = 0 WHERE desk = ?", event, shown, desk)


async def set_shown(tx: Tx, desk: DeskId, revision: int) -> None:
    """It shows this revision."""
    await tx.run("UPDATE overviews SET shown = ? WHERE desk = ?", revision, desk)


async def set_pinned(tx: Tx, desk: DeskId, pinned: int) -> None:
    """It is pinned, or may not be."""
    await tx.run("UPDATE overviews SET pinned = ? WHERE desk = ?", pinned, desk)


async def forget(tx: Tx, event: EventId, now: datetime) -> bool:
    """An event is gone; tell whether it was an overview: then another one is made."""
    changed = await tx.run(
        "UPDATE overviews SET event_id = NULL, copies = copies + 1, begun_at = ?, said = '', shown = -1, pinned = 0"
        " WHERE event_id = ?",
        *(to_ms(now), event),
    )
    return changed > 0


async def look_again(tx: Tx) -> None:
    """At a start: whether they are pinned is looked at anew."""
    await tx.run("UPDATE overviews SET pinned = 0")


async def doubt(tx: Tx) -> None:
    """After a restore nobody knows what they show."""
    await tx.run("UPDATE overviews SET shown = -1")
