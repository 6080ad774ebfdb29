"""What we know of a room, folded from its state events. Stored in our own database; the server is not asked again."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from typing import Any

from bot.domain.ids import CaseNumber, CustomerId, DeskId, EventId, RoomId, UserId


class RoomKind(StrEnum):
    """Which of our rooms it is. Unknown: not judged yet."""

    UNKNOWN = "unknown"
    CUSTOMER = "customer"
    CASE = "case"
    INBOX = "inbox"
    ADMIN = "admin"
    SPACE = "space"


PRESENT = frozenset({"invite", "join"})


@dataclass(frozen=True, slots=True)
class Rotation:
    """After how many messages, or how long, a room wants a new session. What is absurd is brought into bounds."""

    messages: int = 100
    period: timedelta = timedelta(days=7)


MOST_MESSAGES, SHORTEST_PERIOD, LONGEST_PERIOD = 10_000, timedelta(hours=1), timedelta(days=365)


@dataclass(frozen=True, slots=True)
class Room:
    """Facts of one room. `encrypted` is never unset; `members` leaves us out."""

    room_id: RoomId
    kind: RoomKind = RoomKind.UNKNOWN
    customer_id: CustomerId | None = None
    case_number: CaseNumber | None = None
    desk: DeskId | None = None
    ours: bool = False
    space: bool = False
    encrypted: bool = False
    rotation: Rotation = Rotation()
    version: str = "1"
    replaced_by: str = ""
    membership: str = "leave"  # our own
    last_event: EventId | None = None
    predecessor: str = ""
    members: dict[UserId, str] = field(default_factory=dict)
    accepted: frozenset[UserId] = frozenset()

    def present(self) -> tuple[UserId, ...]:
        """Return who is joined or invited, without us."""
        return tuple(user for user, membership in self.members.items() if membership in PRESENT)

    def present_are(self, people: frozenset[UserId]) -> bool:
        """Tell whether everybody in the room is one of these."""
        return set(self.present()) <= people

    def is_one_to_one_with(self, user: UserId) -> bool:
        """Tell whether nobody but this user and we are in the room."""
        return set(self.present()) <= {user} and not self.space

    def is_chat_with_one_of(self, people: frozenset[UserId]) -> bool:
        """Tell whether somebody else made this room, and nobody is in it but one of these and we."""
        present = self.present()
        is_chat = len(present) == 1 and present[0] in people and not self.space
        return is_chat and not self.ours and self.membership == "join"

    def is_usable_by(self, user: UserId) -> bool:
        """Tell whether what we send here reaches this user, encrypted, and nobody else but whom staff accepted."""
        people = set(self.present())
        is_theirs = user in people and people - self.accepted <= {user}
        return self.membership == "join" and self.encrypted and is_theirs and not self.space and not self.replaced_by


def fold(room: Room, events: Iterable[dict[str, Any]], me: UserId) -> Room:
    """Return the room after these state events. Malformed events change nothing."""
    members = dict(room.members)  # once: a stranger's room may have 60,000
    for event in events:
        content, key = event.get("content"), event.get("state_key")
        if not isinstance(content, dict) or not isinstance(key, str):
            continue
        membership = content.get("membership")
        if event.get("type") == "m.room.member" and key != me and isinstance(membership, str):
            members[UserId(key)] = membership
        else:
            room = _after(room, event, content, me)
    return replace(room, members=members)


def _after(room: Room, event: dict[str, Any], content: dict[str, Any], me: UserId) -> Room:
    match event.get("type"):
        case "m.room.create":
            return replace(
                room,
                ours=event.get("sender") == me,
                space=content.get("type") == "m.space",
                version=str(content.get("room_version", "1")),
                predecessor=_predecessor(content),
            )
        case "m.room.encryption" if event["state_key"] == "":
            return replace(room, encrypted=True, rotation=_rotation(content))
        case "m.room.tombstone" if event["state_key"] == "":
            return replace(room, replaced_by=str(content.get("replacement_room", "")))
        case "m.room.member" if event["state_key"] == me and isinstance(content.get("membership"), str):
            return replace(room, membership=content["membership"])
        case _:
            return room


def _rotation(content: dict[str, Any]) -> Rotation:
    messages, period_ms = _whole(content.get("rotation_period_msgs")), _whole(content.get("rotation_period_ms"))
    usual = Rotation()
    period = timedelta(milliseconds=min(period_ms, 10**12)) if period_ms else usual.period
    return Rotation(
        messages=min(messages, MOST_MESSAGES) if messages else usual.messages,
        period=max(SHORTEST_PERIOD, min(period, LONGEST_PERIOD)),
    )


def _whole(value: object) -> int:
    """Return a positive number of a stranger's state event, 0 for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _predecessor(content: dict[str, Any]) -> str:
    before = content.get("predecessor")
    return str(before.get("room_id", "")) if isinstance(before, dict) else ""
