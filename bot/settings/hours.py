"""When somebody is there: hours of the week, days that are closed, public holidays."""

import re
from collections.abc import Callable
from datetime import date
from functools import cache
from itertools import pairwise
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BeforeValidator, field_validator

from bot.domain.hours import DAY_MINUTES, Hours
from bot.settings.section import Section

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_SPAN = re.compile(r"(\d\d):(\d\d)-(\d\d):(\d\d)")


def _span(value: object) -> object:
    """Read "07:30-12:00" as minutes since midnight; what stands here already read is left alone."""
    if not isinstance(value, str):
        return value
    found = _SPAN.fullmatch(value)
    if found:
        hour, minute, until_hour, until_minute = map(int, found.groups())
        start, end = hour * 60 + minute, until_hour * 60 + until_minute
        if max(minute, until_minute) < 60 and start < end <= DAY_MINUTES:
            return start, end
    raise ValueError('expected hours like "07:30-12:00", the earlier time first')


def _days(value: object) -> object:
    """Read one day or "first/last" (ISO 8601) as two days."""
    if not isinstance(value, str):
        return value
    first, _, last = value.partition("/")
    try:
        days = date.fromisoformat(first), date.fromisoformat(last or first)
    except ValueError:
        days = None
    if days is None or days[1] < days[0]:
        raise ValueError('expected a day like "2026-12-24", or the first and the last like "2026-12-24/2027-01-02"')
    return days


Span = Annotated[tuple[int, int], BeforeValidator(_span)]
Days = Annotated[tuple[date, date], BeforeValidator(_days)]


@cache  # what stays the same must also be equal: a reload compares the rules to tell what holds at once
def public_holidays(place: str) -> Callable[[date], bool]:
    """Return what tells the public holidays of a place, by its ISO 3166-2 code or that of a whole country.

    Nowhere there are none.

    Raises:
        ValueError: nothing is known of this place.
    """
    if not place:
        return lambda day: False
    # Only who wants it pays for it: the calendar takes 19 MiB.
    from holidays import country_holidays  # noqa: PLC0415

    country, _, part = place.partition("-")
    try:
        return country_holidays(country, part or None).__contains__
    except NotImplementedError:
        raise ValueError('expected the code of a place, like "DE-BY" for Bavaria, or nothing') from None


class WeekSettings(Section):
    """When somebody is there, as days. At a desk, what is not named is as it is for the whole business."""

    holidays: str = ""
    monday: list[Span] = []
    tuesday: list[Span] = []
    wednesday: list[Span] = []
    thursday: list[Span] = []
    friday: list[Span] = []
    saturday: list[Span] = []
    sunday: list[Span] = []
    closed: list[Days] = []

    @field_validator("holidays")
    @classmethod
    def _known_place(cls, place: str) -> str:
        public_holidays(place)
        return place

    @field_validator(*DAYS)
    @classmethod
    def _in_order(cls, spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
        if any(after[0] < before[1] for before, after in pairwise(spans)):
            raise ValueError("expected hours one after the other, that do not overlap")
        return spans


class HoursSettings(WeekSettings):
    """The same for the whole business, and where its clocks are."""

    time_zone: str = "Europe/Berlin"

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError):
            raise ValueError("expected a time zone like Europe/Berlin that this machine knows") from None
        return name

    def at(self, desk: WeekSettings | None) -> "HoursSettings":
        """Return the hours of a desk: its own, and for the rest those of the business."""
        return self.model_copy(update={name: getattr(desk, name) for name in desk.model_fields_set} if desk else {})

    def hours(self) -> Hours | None:
        """Return the calendar; None if no day has hours: then nothing depends on them."""
        weekly = {number: tuple(getattr(self, day)) for number, day in enumerate(DAYS)}
        if not any(weekly.values()):
            return None
        return Hours(ZoneInfo(self.time_zone), weekly, tuple(self.closed), public_holidays(self.holidays))
