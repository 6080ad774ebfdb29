"""What somebody wrote, free of Matrix: the values that flows decide on.

Bodies come from strangers. Whoever builds a `Message` has already made it safe (`bot.matrix.content`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from bot.domain.ids import EventId, RoomId, SessionId, UserId
from bot.domain.poll import Poll
from bot.domain.verification import Handshake


class Kind(StrEnum):
    """How a message wants to be taken."""

    TEXT = "text"
    NOTICE = "notice"  # automatic; never opens a case and never gets an automatic answer
    EMOTE = "emote"
    IMAGE = "image"
    FILE = "file"
    AUDIO = "audio"  # voice messages too
    VIDEO = "video"
    STICKER = "sticker"
    LOCATION = "location"
    EDIT = "edit"  # the new content, in the form that it now has
    REACTION = "reaction"  # `body` is the reaction
    DELETION = "deletion"
    POLL = "poll"
    POLL_VOTE = "poll_vote"
    POLL_END = "poll_end"
    CALL = "call"  # somebody rings
    NOISE = "noise"  # what clients say to each other and no person wrote
    OTHER = "other"  # something this version has no word for


WITH_FILE = frozenset({Kind.IMAGE, Kind.FILE, Kind.AUDIO, Kind.VIDEO, Kind.STICKER})
"""Kinds that carry a file."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file or a place, rebuilt from the fields that we know; `content` is what goes into an event beside the text."""

    content: Mapping[str, Any]
    mxcs: tuple[str, ...] = ()  # every file on a media server that it names
    open_mxc: str = ""  # the file, if it was uploaded without encryption

    @property
    def file_name(self) -> str:
        """A file name without path, control and direction characters; empty for a place."""
        return str(self.content.get("filename", ""))


@dataclass(frozen=True, slots=True)
class Message:
    """One readable message. `body` is plain text (the caption of a file), `html` is sanitised or None."""

    event_id: EventId
    room_id: RoomId
    sender: UserId
    sent_at: datetime
    kind: Kind
    body: str = ""
    html: str | None = None
    form: Kind = Kind.TEXT  # what an edit turns its message into; else the same as `kind`
    target: EventId | None = None  # what an edit, reaction, deletion, vote or end of a poll is about
    replies_to: EventId | None = None
    thread: tuple[EventId, ...] = ()  # what it stands under in a thread: how that began, and what came last
    mentions: frozenset[UserId] = frozenset()
    attachment: Attachment | None = None
    poll: Poll | None = None
    vote: tuple[str, ...] = ()
    share: EventId | None = None  # the live share of a place that this is one position of
    encrypted: bool = True  # came through a session that belongs to a device of the sender
    unsigned_device: str = ""  # its id, if nobody has signed the device that wrote it
    oversized: bool = False  # larger than we carry; the body was cut

    @property
    def words(self) -> str:
        """What a person typed, a file name included: the text in which commands and notes are looked for."""
        if self.poll:
            return self.poll.question
        return self.body or (self.attachment.file_name if self.attachment else "")


@dataclass(frozen=True, slots=True)
class NoKey:
    """The key of this event has not come (yet). `withheld`: the code the sender's app gave for that, if it did."""

    session_id: SessionId
    withheld: str = ""


@dataclass(frozen=True, slots=True)
class Forged:
    """The event is not what it claims to be. `reason` is one word for metrics and logs.

    `said`: what stands in it, if only no device of its sender can be found for it. It counts as a withdrawal alone.
    """

    reason: str
    said: Message | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Untrusted:
    """The device that wrote it is not believed: `unsigned`, or signed by a `changed` identity.

    `said`: what stands in it. It counts as a withdrawal alone.
    """

    reason: str
    said: Message | None = field(default=None, compare=False)


Reading = Message | Handshake | NoKey | Forged | Untrusted


@dataclass(frozen=True, slots=True)
class Outgoing:
    """What we send. `notice` makes no phone ring; `replaces` makes it an edit of our own event."""

    body: str
    html: str | None = None
    notice: bool = False
    to_all: bool = False  # also for devices that are not believed; only for our own fixed sentences
    form: Kind = Kind.TEXT
    attachment: Attachment | None = None
    replaces: EventId | None = None
    replies_to: EventId | None = None
    poll: Poll | None = None  # a question to vote on; `body` is for clients without polls
    ends: EventId | None = None  # the poll of ours that is over; `body` says so
    mentions: tuple[UserId, ...] = ()  # whom it is meant for by name
    everybody: bool = False  # rings for all who are in the room
