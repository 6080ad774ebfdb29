"""What people type for a moment that lies ahead: `2h`, `30 min`, `3 tage`, `morgen`, `mo 8:00`, `14:30`, `12.9. 8:00`.

A length of time that ends while nobody is there means the next opening; a clock time means itself.
"""

import re
from datetime import date, datetime, time, timedelta, tzinfo
from typing import Final

from bot.domain.block import length
from bot.domain.hours import Hours

MORNING: Final = time(8)
"""When a day begins for a business without opening hours."""
FARTHEST: Final = timedelta(days=366)

_CLOCK = re.compile(r"(?:um |at )?(\d{1,2})(?::(\d\d))?\s*(?:uhr)?")
_DAY = re.compile(r"([a-zäöü]+|\d{1,2}\.\d{1,2}\.)(?:\s+(.+))?")
_WEEKDAYS: Final = {
    name: number
    for number, names in enumerate(
        (
            "mo mon montag monday",
            "di tue dienstag tuesday",
            "mi wed mittwoch wednesday",
            "do thu donnerstag thursday",
            "fr fri freitag friday",
            "sa sat samstag saturday",
            "so sun sonntag sunday",
        )
    )
    for name in names.split()
}
_DAYS_AHEAD: Final = {"heute": 0, "today": 0, "morgen": 1, "tomorrow": 1, "uebermorgen": 2, "übermorgen": 2}


def moment(text: str, now: datetime, zone: tzinfo, hours: Hours | None) -> datetime | None:
    """Return the moment that a text names, in UTC as `now` is; None: it names none that lies ahead within a year."""
    words = " ".join(text.casefold().split())
    found = _after(words, now, hours) or _at(words, now.astimezone(zone), hours)
    if found is None:
        return None
    found = found.astimezone(now.tzinfo)
    return found if now < found <= now + FARTHEST else None


def _after(words: str, now: datetime, hours: Hours | None) -> datetime | None:
    ahead = length(words.removeprefix("in "))
    if ahead is None:
        return None
    return (hours.next_opening(now + ahead) if hours else None) or now + ahead


def _at(words: str, now: datetime, hours: Hours | None) -> datetime | None:
    """`now` is local time: days and clock times are meant so."""
    clock = _clock(words)
    if clock:
        today = datetime.combine(now.date(), clock, now.tzinfo)
        return today if today > now else datetime.combine(now.date() + timedelta(days=1), clock, now.tzinfo)
    named = _DAY.fullmatch(words)
    day = _day(named.group(1), now.date()) if named else None
    if named is None or day is None:
        return None
    if named.group(2) is None:
        return _begin(day, now, hours)
    clock = _clock(named.group(2))
    return datetime.combine(day, clock, now.tzinfo) if clock else None


def _begin(day: date, now: datetime, hours: Hours | None) -> datetime | None:
    """Return when work begins on a day, or on the next one that has work."""
    if hours is None:
        return datetime.combine(day, MORNING, now.tzinfo)
    return hours.next_opening(datetime.combine(day, time(0), now.tzinfo))


def _clock(words: str) -> time | None:
    found = _CLOCK.fullmatch(words)
    hour, minute = (int(found.group(1)), int(found.group(2) or 0)) if found else (24, 0)
    return time(hour, minute) if hour < 24 and minute < 60 else None


def _day(word: str, today: date) -> date | None:
    if word in _DAYS_AHEAD:
        return today + timedelta(days=_DAYS_AHEAD[word])
    if word in _WEEKDAYS:
        return today + timedelta(days=(_WEEKDAYS[word] - today.weekday() - 1) % 7 + 1)
    if not word[0].isdecimal():
        return None
    day, month, _ = word.split(".")
    for year in (today.year, today.year + 1):
        try:
            named = date(year, int(month), int(day))
        except ValueError:
            continue
        if named >= today:
            return named
    return None
