"""What people type for a moment that lies ahead."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.hours import Hours
from bot.domain.moments import moment

BERLIN = ZoneInfo("Europe/Berlin")
MONDAY = datetime(2026, 3, 2, 10, 0, tzinfo=BERLIN).astimezone(UTC)
HOURS = Hours(BERLIN, dict.fromkeys(range(5), ((7 * 60 + 30, 12 * 60), (13 * 60, 17 * 60))))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30 min", "02.03. 10:30"),
        ("30m", "02.03. 10:30"),
        ("1h", "02.03. 11:00"),
        ("in 1 Stunde", "02.03. 11:00"),
        ("2h", "02.03. 13:00"),  # noon: the break counts as closed
        ("2 Std", "02.03. 13:00"),
        ("8h", "03.03. 07:30"),  # nobody is there at six in the evening
        ("3 tage", "05.03. 10:00"),
        ("in 3 Tagen", "05.03. 10:00"),
        ("1 week", "09.03. 10:00"),
        ("morgen", "03.03. 07:30"),
        ("Tomorrow", "03.03. 07:30"),
        ("übermorgen", "04.03. 07:30"),
        ("uebermorgen 9 uhr", "04.03. 09:00"),
        ("morgen 8:00", "03.03. 08:00"),
        ("mo 8:00", "09.03. 08:00"),
        ("Montag", "09.03. 07:30"),
        ("di 8", "03.03. 08:00"),
        ("sa", "09.03. 07:30"),  # nobody is there on a Saturday
        ("sa 9:00", "07.03. 09:00"),  # but who says so means it
        ("14:30", "02.03. 14:30"),
        ("um 9 Uhr", "03.03. 09:00"),
        ("12.9. 8:00", "12.09. 08:00"),
        ("1.3.", "01.03. 07:30"),
        ("heute 16:00", "02.03. 16:00"),
    ],
)
def test_what_people_type(text: str, expected: str) -> None:
    found = moment(text, MONDAY, BERLIN, HOURS)
    assert found
    assert found.tzinfo is UTC
    assert found.astimezone(BERLIN).strftime("%d.%m. %H:%M") == expected


@pytest.mark.parametrize(
    "text", ["", "bald", "heute 9:00", "25:00", "31.2.", "morgen um zehn", "0h", "9999 wochen", "2 äpfel", "mo di", "."]
)
def test_what_names_no_moment_ahead(text: str) -> None:
    assert moment(text, MONDAY, BERLIN, HOURS) is None


def test_without_opening_hours_a_day_begins_at_eight() -> None:
    found = moment("morgen", MONDAY, BERLIN, None)
    assert found == datetime(2026, 3, 3, 8, 0, tzinfo=BERLIN)
    assert moment("8h", MONDAY, BERLIN, None) == MONDAY + timedelta(hours=8)


@given(
    st.text() | st.from_regex(r"\A[a-z0-9]{1,6}[ .:]{0,2}\d{0,2}(:\d\d)?\Z"),
    st.timedeltas(timedelta(0), timedelta(days=700)).map(lambda later: MONDAY + later),
    st.sampled_from([None, HOURS]),
)
def test_it_always_lies_ahead(text: str, now: datetime, hours: Hours | None) -> None:
    found = moment(text, now, BERLIN, hours)
    assert found is None or now < found <= now + timedelta(days=366)
