"""How fast people may be relayed: a bucket that holds a burst and refills steadily. Nothing is dropped by it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final


@dataclass(frozen=True, slots=True)
class Bucket:
    """What is left for one sender, as of a moment; below zero it is promised to those who wait."""

    left: float
    at: datetime


def draw(bucket: Bucket | None, now: datetime, *, per_minute: int, burst: int) -> tuple[Bucket, timedelta]:
    """Take one message out; returns the bucket after it and how long to wait first (zero: go on)."""
    if bucket is None:
        return Bucket(burst - 1, now), timedelta(0)
    refilled = min(burst, bucket.left + (now - bucket.at) / timedelta(minutes=1) * per_minute)
    if refilled >= 1:
        return Bucket(refilled - 1, now), timedelta(0)
    return Bucket(refilled, now), timedelta(minutes=(1 - refilled) / per_minute)


REMEMBERED: Final = timedelta(hours=1)
"""How long after its moment a promise is known. Whoever comes later to be let through gets another."""


class Turns:
    """One bucket for many: whoever has to wait is promised a moment of their own, in the order in which they came."""

    def __init__(self) -> None:
        self._bucket: Bucket | None = None
        self._promised: dict[str, tuple[str, datetime]] = {}  # in the order of the moments

    def wait(self, who: str, what: str, now: datetime, *, every: timedelta, burst: int) -> timedelta:
        """Return how long somebody has to wait with something (zero: go on). They wait with one thing at a time."""
        known, moment = self._promised.get(who, ("", now))
        if known != what:
            before = self._bucket or Bucket(burst, now)
            left = min(burst, before.left + (now - before.at) / every) - 1
            self._bucket = Bucket(left, now)
            moment = now + max(-left, 0) * every
            self._promised.pop(who, None)
            self._promised[who] = (what, moment)
            self._forget(now - REMEMBERED)
        return max(moment - now, timedelta(0))

    def _forget(self, before: datetime) -> None:
        """So no more are known than turns were dealt out since then, and those who wait; the newest is one of them."""
        while self._promised[oldest := next(iter(self._promised))][1] < before:
            del self._promised[oldest]
