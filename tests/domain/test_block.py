"""How long somebody is blocked, as people type it."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.block import LONGEST, length


@pytest.mark.parametrize(
    ("text", "long"),
    [
        *(("7d", timedelta(days=7)), (" 2H ", timedelta(hours=2)), ("30 min", timedelta(minutes=30))),
        *(("4 Wochen", timedelta(weeks=4)), ("1 Tag", timedelta(days=1)), ("366d", LONGEST)),
    ],
)
def test_what_people_type(text: str, long: timedelta) -> None:
    assert length(text) == long


@pytest.mark.parametrize(
    "text", ["", "7", "d", "0d", "-1d", "367d", "99999w", "7d bitte", "morgen", "7 x", "٧d", "1.5h"]
)
def test_what_says_no_length(text: str) -> None:
    assert length(text) is None


@given(st.text())
def test_it_is_total_and_never_longer_than_a_year(text: str) -> None:
    long = length(text)
    assert long is None or timedelta(0) < long <= LONGEST
