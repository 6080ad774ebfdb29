"""One matter of one customer at one desk: its states, and what a new message means for it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from bot.domain.ids import CaseNumber, CustomerId, DeskId, EventId, RoomId
from bot.domain.message import Kind


class CaseState(StrEnum):
    """Who owes whom an answer."""

    OPENING = "opening"  # planned; its room may not exist yet
    OWED = "owed"  # we owe the customer an answer
    ANSWERED = "answered"  # the customer has our answer
    CLOSED = "closed"


SIGNS = {CaseState.OPENING: "🔴", CaseState.OWED: "🔴", CaseState.ANSWERED: "🟡", CaseState.CLOSED: "✅"}


@dataclass(frozen=True, slots=True)
class Case:
    """One row of `cases`."""

    number: CaseNumber
    customer_id: CustomerId
    desk: DeskId
    state: CaseState
    alias: str
    opened_at: datetime
    room_id: RoomId | None = None
    label: str = ""
    previous: CaseNumber | None = None
    card_event: EventId | None = None
    inbox_event: EventId | None = None
    closed_at: datetime | None = None
    shown_name: str = ""
    renamed_at: datetime | None = None

    @property
    def name(self) -> str:
        """The room name: sign, number, and the label that staff chose. Never a customer's name or plate."""
        label = f" · {self.label}" if self.label else ""
        return f"{SIGNS[self.state]} {self.number}{label}"


@dataclass(frozen=True, slots=True)
class Continue:
    """The message belongs to this case; `reopens` if the case was closed."""

    number: CaseNumber
    reopens: bool


@dataclass(frozen=True, slots=True)
class Open:
    """The message opens a case; `previous` is the customer's last one."""

    previous: CaseNumber | None


@dataclass(frozen=True, slots=True)
class Leave:
    """The message stands alone: automatic, and no case to put it in."""


def place(latest: Case | None, kind: Kind, arrived_at: datetime, reopen_window: timedelta) -> Continue | Open | Leave:
    """Decide where a customer's message goes, by the time it arrived."""
    if latest and latest.state is not CaseState.CLOSED:
        return Continue(latest.number, reopens=False)
    if kind in {Kind.NOTICE, Kind.REACTION, Kind.DELETION}:
        return Continue(latest.number, reopens=False) if latest else Leave()
    if latest and latest.closed_at and arrived_at - latest.closed_at <= reopen_window:
        return Continue(latest.number, reopens=True)
    return Open(previous=latest.number if latest else None)
