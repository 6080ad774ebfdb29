"""Verification as the flows see it: who asks, what is answered, and the pictures that people compare.

What the numbers and keys mean is the business of `bot.matrix.e2ee.verification`; nothing is computed here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from bot.domain.ids import EventId, RoomId, UserId

LONGEST: Final = timedelta(minutes=10)
"""How long a verification may take (Matrix 1.18, Key verification framework)."""

TIMEOUT: Final = "m.timeout"
REFUSED: Final = "m.user"
KEY_MISMATCH: Final = "m.key_mismatch"
NOT_ALIKE: Final = "m.mismatched_sas"
UNKNOWN: Final = "m.unknown_transaction"
UNKNOWN_METHOD: Final = "m.unknown_method"
UNEXPECTED: Final = "m.unexpected_message"
INVALID: Final = "m.invalid_message"

REASONS: Final = {
    TIMEOUT: "The verification took too long.",
    REFUSED: "The verification was declined.",
    KEY_MISMATCH: "These are not the keys that are known here.",
    NOT_ALIKE: "The pictures are not the same.",
    UNKNOWN: "This verification is not known here (any more).",
    UNKNOWN_METHOD: "There is no common method; this side speaks m.sas.v1.",
    UNEXPECTED: "This step was not expected now.",
    INVALID: "This step is malformed.",
}
"""What stands in a cancellation beside its code, for people who read the sources of events."""


def cancellation(code: str) -> tuple[str, dict[str, Any]]:
    """Return the step that ends a verification for this reason."""
    return "cancel", {"code": code, "reason": REASONS[code]}


EMOJIS: Final = (
    *(("🐶", "dog"), ("🐱", "cat"), ("🦁", "lion"), ("🐎", "horse"), ("🦄", "unicorn"), ("🐷", "pig")),
    *(("🐘", "elephant"), ("🐰", "rabbit"), ("🐼", "panda"), ("🐓", "rooster"), ("🐧", "penguin")),
    *(("🐢", "turtle"), ("🐟", "fish"), ("🐙", "octopus"), ("🦋", "butterfly"), ("🌷", "flower"), ("🌳", "tree")),
    *(("🌵", "cactus"), ("🍄", "mushroom"), ("🌏", "globe"), ("🌙", "moon"), ("☁️", "cloud"), ("🔥", "fire")),
    *(("🍌", "banana"), ("🍎", "apple"), ("🍓", "strawberry"), ("🌽", "corn"), ("🍕", "pizza"), ("🎂", "cake")),
    *(("❤️", "heart"), ("😀", "smiley"), ("🤖", "robot"), ("🎩", "hat"), ("👓", "glasses"), ("🔧", "spanner")),
    *(("🎅", "santa"), ("👍", "thumbs_up"), ("☂️", "umbrella"), ("⌛", "hourglass"), ("⏰", "clock"), ("🎁", "gift")),
    *(("💡", "light_bulb"), ("📕", "book"), ("✏️", "pencil"), ("📎", "paperclip"), ("✂️", "scissors")),
    *(("🔒", "lock"), ("🔑", "key"), ("🔨", "hammer"), ("☎️", "telephone"), ("🏁", "flag"), ("🚂", "train")),
    *(("🚲", "bicycle"), ("✈️", "aeroplane"), ("🚀", "rocket"), ("🏆", "trophy"), ("⚽", "ball"), ("🎸", "guitar")),
    *(("🎺", "trumpet"), ("🔔", "bell"), ("⚓", "anchor"), ("🎧", "headphones"), ("📁", "folder"), ("📌", "pin")),
)
"""The 64 pictures in their order, and under which name their word stands in the texts (Matrix 1.18, SAS emoji)."""


@dataclass(frozen=True, slots=True)
class Partner:
    """The other side of one verification. `room` is empty if it goes from device to device."""

    user: UserId
    device: str
    transaction: str  # in a room: the event that asked for it
    room: RoomId | None = None


@dataclass(frozen=True, slots=True)
class Handshake:
    """One step of a verification, said by somebody's client. `content` comes from a stranger and is not checked yet."""

    event_id: EventId
    partner: Partner
    step: str  # request, ready, start, accept, key, mac, done, cancel
    content: Mapping[str, Any]
    sent_at: datetime


@dataclass(frozen=True, slots=True)
class Progress:
    """What follows from a step: what to answer, what to show, and how it ended, if it did."""

    answers: tuple[tuple[str, Mapping[str, Any]], ...] = ()  # step and content
    emojis: tuple[int, ...] = ()
    numbers: tuple[int, ...] = ()  # shown instead by clients without pictures
    cancelled: str = ""  # the code, whoever cancelled
    was_shown: bool = False  # it was cancelled after people had something to compare
    done: bool = False  # both sides have said that it is right, and their keys are those that we know
    vouched_key: str = ""  # when done: the master key that somebody else than its owner has vouched for
    superseded: tuple[Partner, ...] = field(default=())  # attempts of the same person that this one ends
