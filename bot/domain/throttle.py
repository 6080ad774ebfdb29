"""How fast one sender may be relayed: a bucket that holds a burst and refills steadily. Nothing is dropped by it."""

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Bucket:
    """What is left for one sender, as of a moment."""

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
