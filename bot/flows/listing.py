"""One line for each case, as `!heute`, `!suche` and the pinned overview of an inbox show it; one tap opens its room."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from bot.domain.case import SIGNS, Case, CaseState
from bot.flows import cards
from bot.flows.surroundings import Surroundings

ROOM_FOR: Final = 20_000
"""Bytes of a list at most, as text and as HTML together: an edit holds it twice, encryption adds a third, and an event
ends at 65,536."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A list of cases, and how many of them it names."""

    plain: str
    html: str
    count: int

    def with_end(self, text: str) -> "Listed":
        """Return the list with a last line."""
        return Listed(f"{self.plain}\n{text}", f"{self.html}<br>{escape(text)}", self.count)


async def listed(around: Surroundings, head: str, found: Sequence[Case], most: int) -> Listed:
    """Return a list for people, of so many cases at most and no longer than an event may be."""
    plain, html, names, left = [head], [escape(head)], dict[str, str](), ROOM_FOR
    for case in found[:most]:
        assert case.room_id is not None
        holder = around.rules.holder(case)
        if holder and holder not in names:
            names[holder] = await around.messenger.display_name(case.room_id, holder)
        lines = _line(around, case, names)
        left -= len(json.dumps(lines))
        if left < 0:
            break
        plain.append(lines[0])
        html.append(lines[1])
    return Listed("\n".join(plain), "<br>".join(html), len(plain) - 1)


def _line(around: Surroundings, case: Case, names: dict[str, str]) -> tuple[str, str]:
    """Return what staff said of a case, who looks after it and since when it has been as it is, as text and as HTML."""
    assert case.room_id is not None
    holder = around.rules.holder(case)
    name = f"👤 {names[holder]}" if holder else ""
    tags = " ".join(f"#{tag}" for tag in case.tags)
    parts = (case.label, case.plate, case.reference, tags, name, _since(around, case))
    text = "".join(f" · {part}" for part in parts if part)
    link = cards.link_to(around, case.room_id, str(case.number))
    return f"{SIGNS[case.state]} {case.number}{text}", f"{SIGNS[case.state]} {link}{escape(text)}"


def _since(around: Surroundings, case: Case) -> str:
    """Name the moment, not how long ago it is: so a line stays the same until something happens."""
    if case.state is CaseState.CLOSED or case.since is None:
        return ""
    since = case.since.astimezone(around.rules.zone).strftime("%d.%m. %H:%M")
    return around.say_at(case.desk, f"listing.{case.state}", since=since)
