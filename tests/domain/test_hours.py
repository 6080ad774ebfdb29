"""Opening hours across changes of the clocks, lunch breaks and the public holidays of all sixteen states."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.hours import DAY_MINUTES, Hours
from bot.settings import public_holidays

BERLIN = ZoneInfo("Europe/Berlin")
STATES = ("BB", "BE", "BW", "BY", "HB", "HE", "HH", "MV", "NI", "NW", "RP", "SH", "SL", "SN", "ST", "TH")
WORKDAY = ((7 * 60 + 30, 12 * 60), (13 * 60, 17 * 60))
WORKSHOP = Hours(BERLIN, dict.fromkeys(range(5), WORKDAY))


def local(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN)


def utc(text: str) -> datetime:
    return local(text).astimezone(UTC)


@st.composite
def spans(draw: st.DrawFn) -> tuple[tuple[int, int], ...]:
    edges = sorted(draw(st.sets(st.integers(0, DAY_MINUTES), max_size=6)))
    return tuple(zip(edges[::2], edges[1::2], strict=False))


weeks = st.builds(
    lambda zone, days, state: Hours(ZoneInfo(zone), dict(enumerate(days)), (), public_holidays(f"DE-{state}")),
    st.sampled_from(["Europe/Berlin", "UTC", "America/New_York", "Pacific/Apia", "Australia/Lord_Howe"]),
    st.lists(spans(), min_size=7, max_size=7),
    st.sampled_from(STATES),
)
YEAR = (datetime(2026, 1, 1), datetime(2026, 12, 31))  # noqa: DTZ001 - the strategy wants them so
# Around both changes of the clocks of 2026, and anywhere in it.
moments = st.datetimes(*YEAR, timezones=st.just(UTC)) | (
    st.builds(
        lambda day, minutes: datetime.combine(day, time(0), UTC) + timedelta(minutes=minutes),
        st.sampled_from([date(2026, 3, 28), date(2026, 3, 29), date(2026, 10, 24), date(2026, 10, 25)]),
        st.integers(0, 2880),
    )
)


@pytest.mark.parametrize(
    ("moment", "is_open", "opens"),
    [
        ("2026-03-02T07:29", False, "2026-03-02T07:30"),
        ("2026-03-02T07:30", True, "2026-03-02T07:30"),
        ("2026-03-02T11:59", True, "2026-03-02T11:59"),
        ("2026-03-02T12:00", False, "2026-03-02T13:00"),
        ("2026-03-02T17:00", False, "2026-03-03T07:30"),
        ("2026-03-06T18:00", False, "2026-03-09T07:30"),
        ("2026-03-27T17:00", False, "2026-03-30T07:30"),
    ],
)
def test_a_workshop_with_a_lunch_break(moment: str, is_open: bool, opens: str) -> None:
    assert WORKSHOP.is_open(utc(moment)) is is_open
    assert WORKSHOP.next_opening(utc(moment)) == local(opens)


@pytest.mark.parametrize("state", STATES)
def test_holidays_of_every_state_are_closed(state: str) -> None:
    every_day = Hours(BERLIN, dict.fromkeys(range(7), WORKDAY), (), public_holidays(f"DE-{state}"))
    closed = {day for day in (date(2026, 1, 1) + timedelta(n) for n in range(365)) if not every_day.spans_on(day)}
    assert {date(2026, 1, 1), date(2026, 5, 1), date(2026, 10, 3), date(2026, 12, 25), date(2026, 12, 26)} <= closed
    assert (date(2026, 1, 6) in closed) is (state in {"BW", "BY", "ST"})
    assert (date(2026, 6, 4) in closed) is (state in {"BW", "BY", "HE", "NW", "RP", "SL"})
    assert (date(2026, 10, 31) in closed) is (state in {"BB", "HB", "HH", "MV", "NI", "SH", "SN", "ST", "TH"})
    assert (date(2026, 11, 18) in closed) is (state == "SN")
    assert 10 <= len(closed) <= 12


def test_holidays_of_the_company() -> None:
    hours = Hours(BERLIN, dict.fromkeys(range(7), WORKDAY), ((date(2026, 12, 24), date(2027, 1, 2)),))
    assert hours.next_opening(utc("2026-12-23T20:00")) == local("2027-01-03T07:30")


def test_who_never_opens_has_no_next_opening() -> None:
    hours = Hours(BERLIN, dict.fromkeys(range(7), WORKDAY), ((date(2026, 1, 1), date(2030, 1, 1)),))
    assert hours.next_opening(utc("2026-03-02T09:00")) is None
    assert hours.after(utc("2026-03-02T09:00"), timedelta(minutes=1)) is None


def test_open_time_passes_over_the_lunch_break_and_the_weekend() -> None:
    friday = utc("2026-03-06T16:30")
    assert WORKSHOP.after(friday, timedelta(hours=1)) == utc("2026-03-09T08:00")
    assert WORKSHOP.between(friday, utc("2026-03-09T14:00")) == timedelta(hours=0.5 + 4.5 + 1)
    assert WORKSHOP.between(utc("2026-03-09T14:00"), friday) == timedelta(0)


def test_a_night_shift_is_an_hour_shorter_or_longer_when_the_clocks_change() -> None:
    night = Hours(BERLIN, dict.fromkeys(range(7), ((0, 6 * 60),)))
    assert night.between(utc("2026-03-29T00:00"), utc("2026-03-29T12:00")) == timedelta(hours=5)
    assert night.between(utc("2026-10-25T00:00"), utc("2026-10-25T12:00")) == timedelta(hours=7)


def test_an_hour_that_the_clocks_skip_is_no_opening() -> None:
    skipped = Hours(BERLIN, {6: ((2 * 60, 3 * 60),)})
    assert skipped.next_opening(utc("2026-03-28T12:00")) == local("2026-04-05T02:00")


@given(weeks, moments)
def test_it_is_open_exactly_when_the_next_opening_is_now(hours: Hours, moment: datetime) -> None:
    shown = hours.next_opening(moment)
    opens = shown.astimezone(UTC) if shown else None  # in an hour that comes twice local times equal nothing (PEP 495)
    assert hours.is_open(moment) is (opens == moment)
    if shown and opens:
        assert opens >= moment
        assert hours.is_open(opens)
        assert not hours.is_holiday(shown.date())
        assert hours.between(moment, opens) == timedelta(0)


@given(weeks, moments, st.lists(st.integers(0, 20_000), min_size=2, max_size=2))
def test_open_time_adds_up(hours: Hours, moment: datetime, minutes: list[int]) -> None:
    middle, end = (moment + timedelta(minutes=total) for total in sorted(minutes))
    assert hours.between(moment, middle) + hours.between(middle, end) == hours.between(moment, end)
    assert timedelta(0) <= hours.between(moment, end) <= end - moment


@given(weeks, moments, st.integers(1, 5000))
def test_after_is_the_inverse_of_between(hours: Hours, moment: datetime, minutes: int) -> None:
    end = hours.after(moment, timedelta(minutes=minutes))
    if end:
        assert hours.between(moment, end) == timedelta(minutes=minutes)
        assert hours.between(moment, end - timedelta(seconds=1)) < timedelta(minutes=minutes)
