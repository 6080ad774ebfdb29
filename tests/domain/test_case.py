"""Where a customer's message goes, by the time it arrived."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from bot.domain.case import Ask, Case, CaseState, Continue, Leave, Open, Phase, Turn, begins_anew, place, turned
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
    assert a_case(CaseState.READY).name == "🟢 1001"
    assert a_case(CaseState.LATER).name == "⏰ 1001"


PHASES = st.one_of(
    st.sampled_from([s for s in CaseState if s is not CaseState.LATER]).map(Phase),
    st.sampled_from([CaseState.OWED, CaseState.ANSWERED, CaseState.READY]).map(lambda s: Phase(CaseState.LATER, s)),
)


@given(PHASES, st.sampled_from(Turn), st.booleans())
def test_every_turn_leads_to_one_of_the_states_and_only_what_is_put_off_goes_back(
    before: Phase, happened: Turn, awaited: bool
) -> None:
    after = turned(before, happened, awaits_pickup=awaited)
    assert (after.state is CaseState.LATER) == (after.resumes is not None)
    assert after.state is not CaseState.OPENING or before.state is CaseState.OPENING
    assert begins_anew(before, after, happened) or after.state is before.state


@given(PHASES, st.booleans())
def test_a_customer_who_writes_is_owed_an_answer(before: Phase, awaited: bool) -> None:
    assert turned(before, Turn.CUSTOMER_WROTE, awaits_pickup=awaited) == Phase(CaseState.OWED)
    waits = Phase(CaseState.OWED)
    assert not begins_anew(waits, waits, Turn.CUSTOMER_WROTE), "and has waited since they wrote first"


@given(PHASES, st.lists(st.sampled_from(Turn)))
def test_a_case_is_closed_by_closing_alone_and_stays_so_until_somebody_speaks(
    before: Phase, happened: list[Turn]
) -> None:
    for one in happened:
        after = turned(before, one)
        if after.state is CaseState.CLOSED and before.state is not CaseState.CLOSED:
            assert one is Turn.CLOSED
        if before.state is CaseState.CLOSED and after.state is not CaseState.CLOSED:
            assert one in {Turn.CUSTOMER_WROTE, Turn.STAFF_ANSWERED, Turn.MADE_READY, Turn.REOPENED}
        before = after


@given(st.sampled_from([CaseState.OWED, CaseState.ANSWERED, CaseState.READY]), st.booleans())
def test_what_was_put_off_goes_back_to_where_it_was_or_to_what_staff_said_since(
    state: CaseState, awaited: bool
) -> None:
    later = turned(Phase(state), Turn.PUT_OFF)
    assert later == Phase(CaseState.LATER, state)
    assert turned(later, Turn.RANG) == Phase(state)
    assert turned(later, Turn.PUT_OFF) == later
    assert begins_anew(later, later, Turn.PUT_OFF), "until another moment"
    answered = turned(later, Turn.STAFF_ANSWERED, awaits_pickup=awaited)
    assert answered.state is CaseState.LATER
    assert not begins_anew(later, answered, Turn.STAFF_ANSWERED), "the reminder stays"
    assert turned(answered, Turn.RANG) == Phase(CaseState.READY if awaited else CaseState.ANSWERED)


def test_an_answer_counts_from_the_last_one() -> None:
    answered = Phase(CaseState.ANSWERED)
    assert begins_anew(answered, turned(answered, Turn.STAFF_ANSWERED), Turn.STAFF_ANSWERED)
    assert turned(Phase(CaseState.CLOSED), Turn.PICKED_UP) == Phase(CaseState.CLOSED)
    assert not begins_anew(Phase(CaseState.CLOSED), Phase(CaseState.CLOSED), Turn.PICKED_UP)
