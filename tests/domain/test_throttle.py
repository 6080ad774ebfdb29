"""A sender may burst, then flows steadily; nothing is dropped."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from bot.domain.throttle import Bucket, draw

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def test_a_burst_goes_through_and_then_one_every_second() -> None:
    bucket: Bucket | None = None
    for _ in range(400):
        bucket, wait = draw(bucket, NOON, per_minute=60, burst=400)
        assert wait == timedelta(0)
    bucket, wait = draw(bucket, NOON, per_minute=60, burst=400)
    assert wait == timedelta(seconds=1)
    _, wait = draw(bucket, NOON + wait, per_minute=60, burst=400)
    assert wait == timedelta(0)


@given(st.lists(st.integers(0, 100_000), max_size=60), st.integers(1, 100), st.integers(1, 50))
def test_whoever_waits_as_told_is_let_through(steps_ms: list[int], per_minute: int, burst: int) -> None:
    bucket, now = None, NOON
    for step in steps_ms:
        now += timedelta(milliseconds=step)
        bucket, wait = draw(bucket, now, per_minute=per_minute, burst=burst)
        if wait:
            now += wait + timedelta(milliseconds=1)
            bucket, wait = draw(bucket, now, per_minute=per_minute, burst=burst)
            assert wait == timedelta(0)
