"""What somebody wrote, free of Matrix: the values that flows decide on.

Bodies come from strangers. Whoever builds a `Message` has already made it safe (`bot.matrix.content`).
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from bot.domain.ids import EventId, RoomId, SessionId, UserId


class Kind(StrEnum):
    """How a message wants to be taken."""

    TEXT = "text"
    NOTICE = "notice"  # automatic; never opens a case and never gets an automatic answer
    EMOTE = "emote"
    EDIT = "edit"  # `body` is the new text
    REACTION = "reaction"  # `body` is the reaction
    DELETION = "deletion"
    IMAGE = "image"
    FILE = "file"
    AUDIO = "audio"
    VIDEO = "video"
    LOCATION = "location"
    STICKER = "sticker"
    POLL = "poll"
    OTHER = "other"  # something this version has no word for


@dataclass(frozen=True, slots=True)
class Message:
    """One readable message. `body` is plain text, `html` is sanitised or None."""

    event_id: EventId
    room_id: RoomId
    sender: UserId
    sent_at: datetime
    kind: Kind
    body: str = ""
    html: str | None = None
    target: EventId | None = None  # what an edit, a reaction or a deletion is about
    encrypted: bool = True  # came through a session that belongs to a device of the sender
    oversized: bool = False  # larger than we carry; the body was cut


@dataclass(frozen=True, slots=True)
class NoKey:
    """The key of this event has not come (yet)."""

    session_id: SessionId


@dataclass(frozen=True, slots=True)
class Forged:
    """The event is not what it claims to be. `reason` is one word for metrics and logs."""

    reason: str


Reading = Message | NoKey | Forged


@dataclass(frozen=True, slots=True)
class Outgoing:
    """What we send. `notice` makes no phone ring; `replaces` makes it an edit of our own event."""

    body: str
    html: str | None = None
    notice: bool = False
    replaces: EventId | None = None
