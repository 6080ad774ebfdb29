"""What the tables tell: what waits, is stuck or stays; when the last backup was, and whether anybody serves."""

from collections.abc import Sequence
from datetime import timedelta

from bot.doctor.patient import Patient
from bot.domain.arrival import ItemState
from bot.domain.finding import Finding, bad, note, well
from bot.figures import heartbeat_age_s, is_well
from bot.flows import stuck
from bot.store import arrivals, facts

BACKUP_MAX_AGE = timedelta(days=7)
BEHIND_AFTER = timedelta(minutes=5)


async def items(patient: Patient) -> Sequence[Finding]:
    """Nothing is stuck, nothing waits for a key, and nobody waits long."""
    found: list[Finding] = []
    listed = await stuck.listed(patient.database)
    parked = sum(line.state is ItemState.PARKED for line in listed)
    keyless = await arrivals.count_keyless(patient.database)
    others = len(listed) - parked - keyless
    oldest = await arrivals.oldest_new(patient.database)
    if parked:
        found.append(bad("items", "parked", count=str(parked)))
    if oldest and patient.now() - oldest > BEHIND_AFTER:
        found.append(bad("items", "behind", minutes=_whole(patient.now() - oldest, timedelta(minutes=1))))
    if keyless:
        found.append(note("items", "without_key", count=str(keyless)))
    if others > 0:
        found.append(note("items", "waiting", count=str(others)))
    return found or [well("items")]


async def archive(patient: Patient) -> Sequence[Finding]:
    """There is a backup of the data folder, and it is not old."""
    last = await facts.moment(patient.database, facts.LAST_BACKUP)
    if last is None:
        return [note("archive", "never")]
    days = _whole(patient.now() - last, timedelta(days=1))
    if patient.now() - last > BACKUP_MAX_AGE:
        return [bad("archive", "old", days=days)]
    return [well("archive", days=days)]


async def deletion(patient: Patient) -> Sequence[Finding]:
    """Customers are told when their data are deleted, and nothing does that by itself yet."""
    return [note("deletion", "by_hand")] if patient.settings.controller.is_filled_in else []


async def serving(patient: Patient) -> Sequence[Finding]:
    """A bot serves from this folder and hears from its server."""
    age_s = heartbeat_age_s(patient.settings)
    if age_s is None:
        return [bad("serving", "not_running")]
    seconds = str(round(age_s))
    return [
        well("serving", seconds=seconds) if is_well(patient.settings) else bad("serving", "silent", seconds=seconds)
    ]


def _whole(span: timedelta, unit: timedelta) -> str:
    return str(max(0, span // unit))
