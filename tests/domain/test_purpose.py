"""Periods, and the one spelling under which a text is hashed, shown and proved."""

import hashlib
import unicodedata
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.purpose import Basis, Period, PrivacyText, PurposeId, Unit, canonical, digest
from tests.a_business import PRIVACY

DATES = st.dates(date(1990, 1, 1), date(2100, 1, 1))


@pytest.mark.parametrize(
    ("count", "unit", "to_year_end", "start", "end"),
    [
        (90, Unit.DAYS, False, date(2026, 11, 25), date(2027, 2, 23)),
        (1, Unit.MONTHS, False, date(2027, 1, 31), date(2027, 2, 28)),
        (1, Unit.MONTHS, False, date(2028, 1, 31), date(2028, 2, 29)),
        (24, Unit.MONTHS, False, date(2026, 12, 31), date(2028, 12, 31)),
        (1, Unit.YEARS, False, date(2028, 2, 29), date(2029, 2, 28)),
        (6, Unit.YEARS, True, date(2026, 3, 1), date(2032, 12, 31)),
        (3, Unit.YEARS, True, date(2026, 12, 31), date(2029, 12, 31)),
    ],
)
def test_a_period_ends(count: int, unit: Unit, to_year_end: bool, start: date, end: date) -> None:
    assert Period("x", count, unit, to_year_end).ends(start) == end
    noon = datetime.combine(start, time(12, 30), UTC)
    assert Period("x", count, unit, to_year_end).after(noon) == datetime.combine(end, time(12, 30), UTC)


@given(DATES, st.integers(1, 40), st.sampled_from([Unit.MONTHS, Unit.YEARS]))
def test_a_period_of_months_is_never_longer_than_said(start: date, count: int, unit: Unit) -> None:
    end = Period("x", count, unit).ends(start)
    months = count * (12 if unit is Unit.YEARS else 1)

    assert (end.year * 12 + end.month) - (start.year * 12 + start.month) == months
    assert end.day == start.day or (end.day < start.day and (end + timedelta(days=1)).day == 1)


@given(DATES, st.integers(1, 4000), st.sampled_from(Unit))
def test_to_the_end_of_the_year_only_adds(start: date, count: int, unit: Unit) -> None:
    count = count if unit is Unit.DAYS else count % 40 + 1
    until = Period("x", count, unit, to_year_end=True).ends(start)

    assert (until.month, until.day) == (12, 31)
    assert until.year == Period("x", count, unit).ends(start).year


@given(st.text())
def test_the_canonical_spelling_is_the_same_whatever_a_client_did_to_it(text: str) -> None:
    once = canonical(text)

    assert canonical(once) == once
    assert digest(text) == digest(once) == hashlib.sha256(once.encode()).hexdigest()
    assert digest(unicodedata.normalize("NFD", text)) == digest(text)
    assert digest(once.replace("\n", "\r\n")) == digest(text)


@given(st.text(st.characters(categories=["L", "N"]), min_size=1), st.text(st.characters(categories=["L"]), min_size=1))
def test_other_words_have_another_hash(text: str, more: str) -> None:
    assert digest(text) != digest(text + more)


def test_values_are_inserted_once_and_all_of_them() -> None:
    text = PrivacyText("x", "1.1", "de", "Ja zu {purpose} am {date}")

    assert text.names == {"purpose", "date"}
    assert text.filled(purpose="{date}", date="heute") == "Ja zu {date} am heute"
    with pytest.raises(KeyError, match="date"):
        text.filled(purpose="x")
    with pytest.raises(KeyError, match="more"):
        text.filled(purpose="x", date="y", more="z")


def test_what_a_consent_is_about_has_a_hash_of_its_own() -> None:
    news = PRIVACY.purposes[PurposeId("marketing_news")]
    german = news.words["de"]
    others = [
        replace(news, bases=(Basis.LEGITIMATE_INTERESTS,)),
        replace(news, words={**news.words, "de": replace(german, recipients="die Werbeagentur")}),
        replace(news, words={**news.words, "de": replace(german, data="alles")}),
    ]

    assert len({news.sha256, *(other.sha256 for other in others)}) == 4
    assert replace(news, words={**news.words, "de": replace(german, retention="kürzer")}).sha256 == news.sha256
