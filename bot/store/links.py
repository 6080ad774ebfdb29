"""Copy links: which event is the copy of which. Edits, reactions, deletions and erasure walk along them."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from bot.domain.ids import CaseNumber, EventId, RoomId
from bot.store.database import Database, Row, Tx

Reader = Database | Tx
Place = tuple[RoomId, EventId]


class Relation(StrEnum):
    """How the target of a link follows from its source."""

    COPY = "copy"
    EDIT = "edit"
    REACTION = "reaction"


@dataclass(frozen=True, slots=True)
class Link:
    """One row: somebody's event, and the event of ours that followed from it."""

    source: Place
    target: Place
    number: CaseNumber
    relation: Relation = Relation.COPY
    about: EventId | None = None  # what an edit changes; of a place, the live share that it began


_COLUMNS = "source_room, source_event, target_room, target_event, case_number, relation, about"


def _link(row: Row) -> Link:
    return Link(
        (RoomId(row[0]), EventId(row[1])),
        (RoomId(row[2]), EventId(row[3])),
        CaseNumber(row[4]),
        Relation(row[5]),
        EventId(row[6]) if row[6] else None,
    )


async def add(tx: Tx, link: Link) -> None:
    """Remember a link; again is fine, and what is known later counts."""
    values = (*link.source, *link.target, link.number, link.relation.value, link.about)
    await tx.run(f"INSERT OR REPLACE INTO copy_links ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)", *values)  # noqa: S608


async def forget(tx: Tx, sources: Iterable[EventId]) -> None:
    """The copies of these events are gone."""
    for source in sources:
        await tx.run("DELETE FROM copy_links WHERE source_event = ? OR about = ?", source, source)


async def original(reader: Reader, event: EventId) -> EventId:
    """Return the event that an edit is about, or the event itself. An edit of an edit is about the first text."""
    row = await reader.one("SELECT about FROM copy_links WHERE source_event = ? AND relation = 'edit' LIMIT 1", event)
    return EventId(row[0]) if row and row[0] else event


async def of_event(reader: Reader, event: EventId) -> Link | None:
    """Return the newest link of a message: of one that was copied, or of the copy."""
    row = await reader.one(
        f"SELECT {_COLUMNS} FROM copy_links WHERE relation = 'copy' AND (source_event = ? OR target_event = ?)"  # noqa: S608
        " ORDER BY case_number DESC LIMIT 1",
        event,
        event,
    )
    return _link(row) if row else None


async def counterpart(reader: Reader, event: EventId, room: RoomId) -> EventId | None:
    """Return what stands for this message in another room: its copy, or what it is a copy of."""
    row = await reader.one(
        "SELECT target_event FROM copy_links WHERE relation = 'copy' AND source_event = ?1 AND target_room = ?2"
        " UNION ALL SELECT source_event FROM copy_links"
        " WHERE relation = 'copy' AND target_event = ?1 AND source_room = ?2 LIMIT 1",
        event,
        room,
    )
    return EventId(row[0]) if row else None


async def began(reader: Reader, room: RoomId, share: EventId) -> Link | None:
    """Return the position of a live share that went over to the other side, if one did."""
    row = await reader.one(
        f"SELECT {_COLUMNS} FROM copy_links WHERE source_room = ? AND about = ? AND relation = 'copy' LIMIT 1",  # noqa: S608
        *(room, share),
    )
    return _link(row) if row else None


async def following(reader: Reader, source: EventId) -> tuple[Link, ...]:
    """Return everything of ours that exists because of this event: copies, their edits, a reaction."""
    rows = await reader.all(
        f"SELECT {_COLUMNS} FROM copy_links WHERE source_event = ?1 OR about = ?1 ORDER BY relation",  # noqa: S608
        source,
    )
    return tuple(_link(row) for row in rows)


async def is_shared(reader: Reader, link: Link) -> bool:
    """Tell whether another event has the same target: two people reacted alike, and we could react only once."""
    row = await reader.one(
        "SELECT 1 FROM copy_links WHERE target_event = ? AND source_event != ? LIMIT 1", link.target[1], link.source[1]
    )
    return row is not None


async def add_files(tx: Tx, number: CaseNumber, place: Place, mxcs: Iterable[str]) -> None:
    """Remember which files on a media server an event names."""
    for mxc in mxcs:
        await tx.run("INSERT OR IGNORE INTO files VALUES (?, ?, ?, ?)", mxc, *place, number)
