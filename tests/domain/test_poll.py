"""Polls are counted as clients count them."""

from datetime import UTC, datetime, timedelta

from bot.domain.ids import UserId
from bot.domain.poll import Poll, Vote, tally

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
POLL = Poll("Wann?", (("a", "acht"), ("b", "neun")))


def vote(voter: str, minute: int, *choice: str) -> Vote:
    return Vote(UserId(voter), NOON + timedelta(minutes=minute), choice)


def test_the_last_vote_of_each_person_in_time_counts() -> None:
    votes = [vote("@x", 2, "b"), vote("@x", 1, "a"), vote("@y", 1, "a"), vote("@z", 9, "a")]
    assert tally(POLL, votes, NOON + timedelta(minutes=5)) == (("acht", 1), ("neun", 1))


def test_unknown_answers_spoil_a_vote_and_too_many_are_cut() -> None:
    votes = [vote("@x", 1, "zzz"), vote("@y", 1, "b", "a"), vote("@z", 1)]
    assert tally(POLL, votes, NOON + timedelta(minutes=5)) == (("acht", 0), ("neun", 1))
