"""Opening hours: when a business is open, when it opens next, and how much open time lies between two moments.

Hours are local wall-clock times, moments are UTC. A wall-clock time that a change of the clocks skips counts as the
moment one hour later, one that comes twice as the first (PEP 495, fold 0).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final

MONDAY, SUNDAY = 0, 6
DAY_MINUTES: Final = 24 * 60
LOOK_AHEAD: Final = timedelta(days=366)
"""A business that does not open for a year has no next opening."""

Span = tuple[int, int]
"""From and until when a business is open, in minutes since local midnight; 1440 is midnight at the end of the day."""


@dataclass(frozen=True, slots=True)
class Hours:
    """What is open when. `closed` are inclusive ranges of days; `is_holiday` tells public holidays."""

    zone: tzinfo
    weekly: Mapping[int, tuple[Span, ...]]
    closed: tuple[tuple[date, date], ...] = ()
    is_holiday: Callable[[date], bool] = lambda day: False

    def is_open(self, moment: datetime) -> bool:
        """Tell whether somebody is there."""
        start, _ = next(self._openings(moment), (None, None))
        return start is not None and start <= moment

    def next_opening(self, moment: datetime) -> datetime | None:
        """Return when the business opens next, in local time; `moment` itself if it is open; None: not for a year."""
        start, _ = next(self._openings(moment), (None, None))
        return max(start, moment).astimezone(self.zone) if start else None

    def between(self, since: datetime, until: datetime) -> timedelta:
        """Return how much open time lies between two moments; nothing if they stand the other way round."""
        total = timedelta(0)
        for start, end in self._openings(since):
            if start >= until:
                break
            total += min(end, until) - max(start, since)
        return total

    def after(self, since: datetime, open_time: timedelta) -> datetime | None:
        """Return the first moment when so much open time has passed since then; None: not for a year."""
        for start, end in self._openings(since):
            begin = max(start, since)
            if end - begin >= open_time:
                return begin + open_time
            open_time -= end - begin
        return None

    def spans_on(self, day: date) -> tuple[Span, ...]:
        """Return the hours of one day, holidays considered."""
        if self.is_holiday(day) or any(first <= day <= last for first, last in self.closed):
            return ()
        return self.weekly.get(day.weekday(), ())

    def _openings(self, moment: datetime) -> Iterator[tuple[datetime, datetime]]:
        """Yield the openings in UTC that end after a moment, in order, for a year."""
        first = moment.astimezone(self.zone).date()
        for ahead in range(LOOK_AHEAD.days + 1):
            day = first + timedelta(days=ahead)
            for start, end in self.spans_on(day):
                opening = self._moment(day, start), self._moment(day, end)
                if opening[1] > max(moment, opening[0]):  # an hour that the clocks skip is no opening
                    yield opening

    def _moment(self, day: date, minutes: int) -> datetime:
        days, rest = divmod(minutes, DAY_MINUTES)
        clock = time(rest // 60, rest % 60)
        return datetime.combine(day + timedelta(days=days), clock, self.zone).astimezone(UTC)
