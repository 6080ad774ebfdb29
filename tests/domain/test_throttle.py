"""A sender may burst, then flows steadily; nothing is dropped."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from bot.domain.throttle import REMEMBERED, Bucket, Turns, draw

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


def test_many_share_a_bucket_and_each_is_promised_a_moment() -> None:
    turns, every = Turns(), timedelta(minutes=1)
    waits = [turns.wait(who, "first", NOON, every=every, burst=2) for who in "abcd"]
    assert waits == [timedelta(0), timedelta(0), every, 2 * every]
    assert turns.wait("d", "first", NOON, every=every, burst=2) == 2 * every, "asking again takes no second turn"
    assert turns.wait("d", "first", NOON + 2 * every, every=every, burst=2) == timedelta(0)
    assert turns.wait("e", "first", NOON + 2 * every, every=every, burst=2) == every


def test_promises_are_forgotten_an_hour_after_their_moment() -> None:
    turns, every = Turns(), timedelta(seconds=10)
    for number in range(1000):
        turns.wait(f"stranger {number}", "first", NOON + number * every, every=every, burst=1)
        assert len(turns._promised) <= REMEMBERED / every + 1


def test_a_promise_is_kept_for_who_comes_late() -> None:
    turns, every = Turns(), timedelta(minutes=1)
    for who in "abc":
        turns.wait(who, "first", NOON, every=every, burst=1)
    latest = NOON + 2 * every + REMEMBERED
    turns.wait("d", "first", latest, every=every, burst=1)
    assert len(turns._promised) == 2, "c and d"
    assert turns.wait("c", "first", latest, every=every, burst=1) == timedelta(0), "it takes no second turn"
    assert turns.wait("b", "first", latest, every=every, burst=1) == every, "it takes another"


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 120)), max_size=40), st.integers(1, 5))
def test_no_more_pass_than_the_bucket_holds(comings: list[tuple[int, int]], burst: int) -> None:
    turns, every, now = Turns(), timedelta(minutes=1), NOON
    passed = []
    for number, (who, later_s) in enumerate(comings):
        now += timedelta(seconds=later_s)
        passed.append(now + turns.wait(str(who), str(number), now, every=every, burst=burst))
    for first in passed:
        within = [moment for moment in passed if first <= moment < first + 10 * every]
        assert len(within) <= burst + 10
