"""Where a customer's message goes, by the time it arrived."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from bot.domain.case import Ask, Case, CaseState, Continue, Leave, Open, place
from bot.domain.ids import CaseNumber, CustomerId, DeskId
from bot.domain.message import Kind

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
WINDOW = timedelta(days=14)


def a_case(
    state: CaseState,
    closed_at: datetime | None = None,
    label: str = "",
    number: int = 1001,
    touched_at: datetime | None = None,
) -> Case:
    return Case(
        number=CaseNumber(number),
        touched_at=touched_at,
        customer_id=CustomerId("c"),
        desk=DeskId("annahme"),
        state=state,
        alias="a",
        opened_at=NOON,
        closed_at=closed_at,
        label=label,
    )


@given(st.sampled_from(Kind), st.sampled_from([CaseState.OPENING, CaseState.OWED, CaseState.ANSWERED]))
def test_an_open_case_takes_everything(kind: Kind, state: CaseState) -> None:
    assert place([a_case(state)], kind, NOON, WINDOW) == Continue(CaseNumber(1001), reopens=False)


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=60)))
def test_the_window_decides_between_the_old_case_and_a_new_one(passed: timedelta) -> None:
    decided = place([a_case(CaseState.CLOSED, NOON)], Kind.TEXT, NOON + passed, WINDOW)
    expected = Continue(CaseNumber(1001), reopens=True) if passed <= WINDOW else Open(CaseNumber(1001))
    assert decided == expected


def test_a_first_message_opens_a_case() -> None:
    assert place([], Kind.TEXT, NOON, WINDOW) == Open(None)
    assert place([], Kind.IMAGE, NOON, WINDOW) == Open(None)


def test_what_is_automatic_opens_and_reopens_nothing() -> None:
    for kind in (Kind.NOTICE, Kind.REACTION, Kind.DELETION):
        assert place([], kind, NOON, WINDOW) == Leave()
        assert place([a_case(CaseState.CLOSED, NOON)], kind, NOON, WINDOW) == Continue(CaseNumber(1001), reopens=False)


def test_of_two_open_cases_the_quoted_one_wins_then_the_touched_one_then_the_customer_is_asked() -> None:
    newer, older = a_case(CaseState.OWED, number=1002), a_case(CaseState.ANSWERED, number=1001)
    touched = replace(older, touched_at=NOON)

    def go(*cases: Case, kind: Kind = Kind.TEXT, quoted: int | None = None, was_asked: bool = False) -> object:
        number = CaseNumber(quoted) if quoted else None
        return place(cases, kind, NOON, WINDOW, quoted=number, was_asked=was_asked)

    assert go(newer, touched, quoted=1002) == Continue(CaseNumber(1002), reopens=False)
    assert go(newer, touched) == Continue(CaseNumber(1001), reopens=False)
    assert go(newer, older) == Ask((CaseNumber(1001), CaseNumber(1002)))
    assert go(newer, older, was_asked=True) == Continue(CaseNumber(1002), reopens=False)
    assert go(newer, older, kind=Kind.NOTICE) == Continue(CaseNumber(1002), reopens=False)
    assert go(newer, replace(older, state=CaseState.CLOSED), quoted=1001) == Continue(CaseNumber(1001), reopens=True)
    assert go(newer, older, quoted=7) == Ask((CaseNumber(1001), CaseNumber(1002)))


def test_the_room_name_is_the_board() -> None:
    assert a_case(CaseState.OWED).name == "🔴 1001"
    assert a_case(CaseState.ANSWERED, label="Bremse").name == "🟡 1001 · Bremse"
    assert a_case(CaseState.CLOSED, NOON).name == "✅ 1001"
