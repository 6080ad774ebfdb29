"""Polls (MSC3381): counted as clients count them, and shown as text to whoever cannot vote."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from bot.domain.ids import UserId


@dataclass(frozen=True, slots=True)
class Poll:
    """A question with its answers, as (id, text) in their order."""

    question: str
    answers: tuple[tuple[str, str], ...]
    most: int = 1  # how many answers one person may choose


@dataclass(frozen=True, slots=True)
class Vote:
    """What one person chose at one moment."""

    voter: UserId
    at: datetime
    choice: tuple[str, ...]


def tally(poll: Poll, votes: Iterable[Vote], until: datetime) -> tuple[tuple[str, int], ...]:
    """Return each answer's text with its count: everybody's last vote in time counts, unknown answers spoil it."""
    known = {answer for answer, _ in poll.answers}
    last: dict[UserId, Vote] = {}
    for vote in sorted(votes, key=lambda vote: vote.at):
        if vote.at <= until:
            last[vote.voter] = vote
    counts = Counter(
        answer
        for vote in last.values()
        if set(vote.choice) <= known
        for answer in dict.fromkeys(vote.choice[: poll.most])
    )
    return tuple((text, counts[answer]) for answer, text in poll.answers)
