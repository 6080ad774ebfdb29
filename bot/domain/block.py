"""A customer from whom nothing is taken in (blocked), or for whom no phone rings (muted), always until some moment."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from bot.domain.ids import CustomerId

LONGEST: Final = timedelta(days=366)
_LENGTH: Final = re.compile(r"(\d{1,5})\s*([a-z]+)", re.ASCII)
_UNITS: Final = {
    **dict.fromkeys(("m", "min", "minute", "minuten", "minutes"), timedelta(minutes=1)),
    **dict.fromkeys(("h", "std", "stunde", "stunden", "hour", "hours"), timedelta(hours=1)),
    **dict.fromkeys(("d", "t", "tag", "tage", "tagen", "day", "days"), timedelta(days=1)),
    **dict.fromkeys(("w", "woche", "wochen", "week", "weeks"), timedelta(weeks=1)),
}


class BlockKind(StrEnum):
    """What is done with what a customer writes."""

    BLOCK = "block"  # it is lost, on purpose
    MUTE = "mute"  # it arrives and rings nowhere


@dataclass(frozen=True, slots=True)
class Block:
    """What holds for a customer, and until when."""

    customer: CustomerId
    kind: BlockKind
    until: datetime


def length(text: str) -> timedelta | None:
    """Return how long `7d`, `2 Std` or `4 Wochen` is; None: it says no length between a minute and a year."""
    found = _LENGTH.fullmatch(text.strip().casefold())
    unit = _UNITS.get(found.group(2)) if found else None
    if found is None or unit is None:
        return None
    long = int(found.group(1)) * unit
    return long if timedelta(0) < long <= LONGEST else None
