"""One thing from outside, as it waits to be handled: an item. Items of one customer form a lane and keep order."""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from bot.domain.ids import CustomerId, EventId, ItemId, Lane, RoomId, UserId

RECONCILE_AFTER = timedelta(hours=20)
"""Synapse forgets transaction ids after 24 h (1.163.2); past this age we look for our mark before we send again."""

KEY_PATIENCE = timedelta(seconds=10)
"""How long a message without a key holds its lane before it steps aside."""


class ItemKind(StrEnum):
    """What arrived."""

    EVENT = "event"  # a timeline event of somebody else
    INVITE = "invite"  # somebody invited the bot
    JOINED = "joined"  # the bot is now in a room that it did not make
    REPLACED = "replaced"  # a customer's room was upgraded to another
    LEFT = "left"  # the bot is no longer in a room
    MEMBER = "member"  # somebody else came or went
    GAP = "gap"  # events that the server left out of a sync
    WARNING = "warning"  # an item was parked: people must be told
    OPENED = "opened"  # a case has its room and its first message: the rest may follow
    ALARM = "alarm"  # the admins should know something
    IDENTITY = "identity"  # a customer has another cross-signing identity than before
    TO_DEVICE = "to_device"  # a step of a verification that came from device to device
    VERIFICATION = "verification"  # a verification is under way; due when it has taken too long
    STAFF = "staff"  # somebody came to the team or works elsewhere: their rooms follow
    LEAVER = "leaver"  # somebody left the team: they leave our rooms
    SLIP = "slip"  # a slip with a secret stands in a room of staff; due when it has to go
    HEED = "heed"  # what may be a withdrawal is read ahead of what waits before it
    ORDER = "order"  # what staff wrote may be a block: it is read ahead of what waits before it
    WITHDRAWN = "withdrawn"  # something was taken back: both sides are told
    ASKING = "asking"  # a case was closed: its customer may be asked about one purpose
    QUESTION = "question"  # a question for consent is over: its poll is ended
    EXPIRY = "expiry"  # a consent stands; due when it may be over by itself
    NEWS = "news"  # one message that needs a consent, for one recipient
    PUT_OFF = "put_off"  # a case was put off; due when it has to be looked at again
    ESCALATION = "escalation"  # a customer waits; due when somebody else has to be told
    SILENCE = "silence"  # a customer has our answer; due when they have said nothing for long
    ARCHIVING = "archiving"  # a case is closed; due when its room is put away
    RETURN = "return"  # a room that was put away is needed again
    STRANGERS = "strangers"  # many whom nobody knows wait: the admins should know how many
    UNREADABLE = "unreadable"  # an item waits for its key: people must be told when that lasts


class ItemState(StrEnum):
    """Where an item stands. Waiting means: its key has not come, or its time has not."""

    NEW = "new"
    WAITING = "waiting"
    PARKED = "parked"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Item:
    """One row of `arrivals`. `body` is what arrived, as JSON values; still ciphertext for encrypted events."""

    id: ItemId
    lane: Lane
    room_id: RoomId
    kind: ItemKind
    state: ItemState
    sender: UserId
    sent_at: datetime
    arrived_at: datetime
    body: dict[str, Any]
    position: tuple[int, int]
    plan: dict[str, Any] | None = None
    planned_at: datetime | None = None
    attempts: int = 0
    reason: str = ""

    @property
    def event_id(self) -> EventId:
        """The event id; only for items of kind EVENT, whose id it is."""
        return EventId(str(self.id))

    def is_from(self, user: UserId) -> bool:
        """Tell whether this is from somebody, also when it is handled and bears no name any more."""
        return self.sender in {user, author_mark(self.id, user)}

    @property
    def label(self) -> str:
        """The short name of an item for people: where it stands in the order of arrivals."""
        first, second = self.position
        return f"{first}.{second}" if second else f"{first}"

    def must_reconcile(self, now: datetime) -> bool:
        """Tell whether the server may have forgotten the transaction ids of this item's steps."""
        return self.planned_at is not None and now - self.planned_at > RECONCILE_AFTER


def author_mark(item: str, author: str) -> str:
    """Return what is kept of the author once an item is handled: it answers “was it them?” and lists nobody's items.

    What is such a mark already stays one.
    """
    return author if author.startswith("~") else "~" + hashlib.sha256(f"{item}\0{author}".encode()).hexdigest()


def customer_lane(customer: CustomerId) -> Lane:
    """Return the lane of everything that concerns one customer."""
    return Lane(f"customer:{customer}")


def aside_lane(name: str) -> Lane:
    """Return the lane of something that must stand behind nothing else."""
    return Lane(f"aside:{name}")


def verification_lane(user: UserId) -> Lane:
    """Return the lane of what is about the verifications of one person and belongs to no room."""
    return Lane(f"verification:{user}")


def staff_lane(user: UserId) -> Lane:
    """Return the lane in which the rooms of one member of staff follow where they work."""
    return Lane(f"staff:{user}")


def room_lane(room: RoomId) -> Lane:
    """Return the lane of a room that belongs to no customer."""
    return Lane(f"room:{room}")
