"""What a check of the house found: one sentence about one thing, told apart by how much it matters."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum


class Grade(IntEnum):
    """How much a finding matters; what matters most comes first."""

    BAD = 0  # somebody must do something
    BLIND = 1  # could not look, so nobody knows
    NOTE = 2  # worth knowing, or not visible from here
    WELL = 3

    @property
    def sign(self) -> str:
        """What stands before the sentence."""
        return ("✗", "?", "•", "✓")[self]


@dataclass(frozen=True, slots=True)
class Finding:
    """`area` is what was looked at; `text` the id of one that says what, what it means and, after `→`, what to do."""

    area: str
    grade: Grade
    text: str
    values: dict[str, str] = field(default_factory=dict)


def bad(area: str, what: str, **values: str) -> Finding:
    """Somebody must do something."""
    return Finding(area, Grade.BAD, f"doctor.{area}.{what}", values)


def note(area: str, what: str, **values: str) -> Finding:
    """Worth knowing."""
    return Finding(area, Grade.NOTE, f"doctor.{area}.{what}", values)


def well(area: str, what: str = "well", **values: str) -> Finding:
    """All is as it should be."""
    return Finding(area, Grade.WELL, f"doctor.{area}.{what}", values)


def blind(area: str, reason: str) -> Finding:
    """It could not be looked at."""
    return Finding(area, Grade.BLIND, "doctor.blind", {"reason": reason})


def stopped(area: str, reason: str) -> Finding:
    """The bot itself would stop at this; `reason` is its sentence for the admin."""
    return Finding(area, Grade.BAD, "doctor.stopped", {"reason": reason})


def exit_code(findings: Iterable[Finding]) -> int:
    """Return 0 if all is well, 1 if somebody must do something, 2 if something could not be looked at."""
    grades = {finding.grade for finding in findings}
    if Grade.BAD in grades:
        return 1
    return 2 if Grade.BLIND in grades else 0
