"""One matter of one customer at one desk: its states, and what a new message means for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from bot.domain.ids import CaseNumber, CustomerId, DeskId, EventId, RoomId, UserId
from bot.domain.message import Kind


class CaseState(StrEnum):
    """Who owes whom an answer."""

    OPENING = "opening"  # planned; its room may not exist yet
    OWED = "owed"  # we owe the customer an answer
    ANSWERED = "answered"  # the customer has our answer
    READY = "ready"  # the customer can collect it
    LATER = "later"  # somebody put it off until a moment
    CLOSED = "closed"


SIGNS = {
    CaseState.OPENING: "🔴",
    CaseState.OWED: "🔴",
    CaseState.ANSWERED: "🟡",
    CaseState.READY: "🟢",
    CaseState.LATER: "⏰",
    CaseState.CLOSED: "✅",
}


class Turn(StrEnum):
    """What moves a case from one state to another. A note is none."""

    CUSTOMER_WROTE = "customer_wrote"
    STAFF_ANSWERED = "staff_answered"
    MADE_READY = "made_ready"
    PICKED_UP = "picked_up"
    PUT_OFF = "put_off"
    RANG = "rang"  # what it was put off for has come
    CLOSED = "closed"
    REOPENED = "reopened"


@dataclass(frozen=True, slots=True)
class Phase:
    """The state of a case; `resumes` is where it goes back to, set exactly while it is put off."""

    state: CaseState
    resumes: CaseState | None = None


def turned(phase: Phase, turn: Turn, *, awaits_pickup: bool = False) -> Phase:
    """Return the state after something happened. `awaits_pickup`: the customer holds a code that was not used yet.

    What is put off stays so whatever staff do, since nobody asked to forget the reminder; the customer ends it.
    """
    state = phase.state
    match turn:
        case Turn.CUSTOMER_WROTE:
            return Phase(CaseState.OWED)
        case Turn.STAFF_ANSWERED:
            answered = CaseState.READY if awaits_pickup else CaseState.ANSWERED
            return Phase(state, answered) if state is CaseState.LATER else Phase(answered)
        case Turn.PICKED_UP if state is not CaseState.CLOSED:
            return Phase(state, CaseState.ANSWERED) if state is CaseState.LATER else Phase(CaseState.ANSWERED)
        case Turn.MADE_READY:
            return Phase(CaseState.READY)
        case Turn.PUT_OFF if state not in {CaseState.CLOSED, CaseState.LATER}:
            return Phase(CaseState.LATER, CaseState.OWED if state is CaseState.OPENING else state)
        case Turn.RANG if phase.resumes:
            return Phase(phase.resumes)
        case Turn.CLOSED:
            return Phase(CaseState.CLOSED)
        case Turn.REOPENED if state is CaseState.CLOSED:
            return Phase(CaseState.OWED)
        case _:
            return phase


def begins_anew(before: Phase, after: Phase, turn: Turn) -> bool:
    """Tell whether time in a state counts from now: it is another one, or staff said something new in it.

    Not when the customer writes once more: they have waited since the first time.
    """
    return before.state is not after.state or after.state in _RENEWED_BY.get(turn, ())


_RENEWED_BY = {
    Turn.STAFF_ANSWERED: (CaseState.ANSWERED, CaseState.READY),
    Turn.MADE_READY: (CaseState.READY,),
    Turn.PICKED_UP: (CaseState.ANSWERED,),
    Turn.PUT_OFF: (CaseState.LATER,),
}


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
    touched_at: datetime | None = None
    holder: UserId | None = None  # who looks after it now; `Rules.holder` leaves out who left the team
    plate: str = ""
    reference: str = ""
    tags: tuple[str, ...] = ()
    card_revision: int = 0
    card_shown: int = 0
    merged_into: CaseNumber | None = None  # it is closed and goes on there
    since: datetime | None = None  # when it came into its state
    resumes: CaseState | None = None
    archived_at: datetime | None = None

    @property
    def phase(self) -> Phase:
        """Its state, and where it goes back to."""
        return Phase(self.state, self.resumes)

    @property
    def name(self) -> str:
        """The room name: sign, number, and the label that staff chose. Never a customer's name or plate."""
        label = f" · {self.label}" if self.label else ""
        return f"{SIGNS[self.state]} {self.number}{label}"

    @property
    def is_shown_otherwise(self) -> bool:
        """Tell whether its room bears another name, or its cards say something else, than what holds now."""
        return self.name != self.shown_name or self.card_revision != self.card_shown


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
class Ask:
    """Several cases are open and nothing tells them apart: the customer is asked once."""

    numbers: tuple[CaseNumber, ...]


@dataclass(frozen=True, slots=True)
class Leave:
    """The message stands alone: automatic, and no case to put it in."""


AUTOMATIC = frozenset({Kind.NOTICE, Kind.REACTION, Kind.DELETION, Kind.POLL_END})
"""Kinds that never open a case and never get an automatic answer."""


def place(
    cases: Sequence[Case],
    kind: Kind,
    arrived_at: datetime,
    reopen_window: timedelta,
    *,
    quoted: CaseNumber | None = None,
    was_asked: bool = False,
) -> Continue | Open | Ask | Leave:
    """Decide where a customer's message goes, by the time it arrived. `cases` are theirs, the newest first.

    The quoted message's case, else the only open one, else the one that was last touched, else one question.
    """
    by_number = {case.number: case for case in cases}
    quoted = _goes_on_in(by_number, quoted)
    cases = [case for case in cases if case.merged_into is None]
    if quoted in by_number:
        is_closed = by_number[quoted].state is CaseState.CLOSED
        return Continue(quoted, reopens=is_closed and kind not in AUTOMATIC)
    still_open = [case for case in cases if case.state is not CaseState.CLOSED]
    if still_open:
        return _among(still_open, asks=kind not in AUTOMATIC and not was_asked)
    latest = cases[0] if cases else None
    if kind in AUTOMATIC:
        return Continue(latest.number, reopens=False) if latest else Leave()
    if latest and latest.closed_at and arrived_at - latest.closed_at <= reopen_window:
        return Continue(latest.number, reopens=True)
    return Open(previous=latest.number if latest else None)


def _goes_on_in(by_number: Mapping[CaseNumber, Case], number: CaseNumber | None) -> CaseNumber | None:
    """Follow joined cases to the last one. There is no circle: nothing is joined with what goes on elsewhere."""
    case = by_number.get(number) if number else None
    while case and case.merged_into and case.merged_into in by_number:
        case = by_number[case.merged_into]
    return case.number if case else None


def _among(still_open: Sequence[Case], *, asks: bool) -> Continue | Ask:
    touched = [case for case in still_open if case.touched_at]
    if touched:
        return Continue(max(touched, key=lambda case: case.touched_at or case.opened_at).number, reopens=False)
    if len(still_open) == 1 or not asks:
        return Continue(still_open[0].number, reopens=False)
    return Ask(tuple(sorted(case.number for case in still_open)))
