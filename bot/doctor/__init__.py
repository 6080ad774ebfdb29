"""Looking at everything an admin would have to look at. One function for each thing; none of them changes anything.

What it costs: one of the bot's one-time keys, and a file that is written into the data folder and removed again.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from bot.doctor import books, keys, machine, rooms, server
from bot.doctor.patient import Patient
from bot.domain.errors import Fatal, Refused, Transient
from bot.domain.finding import Finding, blind, stopped

Check = Callable[[Patient], Awaitable[Sequence[Finding]]]

CHECKS: Final[dict[str, Check]] = {
    "configuration": machine.configuration,
    "disk": machine.disk,
    "databases": machine.databases,
    "clock": server.clock,
    "server": server.software,
    "hardening": server.hardening,
    "limits": server.limits,
    "device": keys.device,
    "backup": keys.backup,
    "encryption": keys.round_trip,
    "team": keys.team,
    "rooms": rooms.places,
    "staff_join": rooms.staff_join,
    "items": books.items,
    "archive": books.archive,
    "deletion": books.deletion,
    "serving": books.serving,
}
"""What is looked at, by its area, in the order in which it is told."""


async def examine(patient: Patient, areas: Sequence[str] = tuple(CHECKS)) -> list[Finding]:
    """Look at these areas. Whatever cannot be looked at is a finding, too: nothing comes out but findings."""
    found: list[Finding] = []
    for area in areas:
        try:
            found += await CHECKS[area](patient)
        except (Transient, Refused) as error:
            found.append(blind(area, str(error)))
        except Fatal as error:
            found.append(stopped(area, str(error)))
    return found
