"""The one place where a case changes its state, and where that starts a clock.

A clock is an item that falls due. It names the state and since when it had lasted, so that one which has been
overtaken does nothing, and none has to be found and stopped.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from bot.domain.arrival import Item, ItemKind, customer_lane, room_lane, staff_lane
from bot.domain.case import Case, CaseState, Turn, begins_anew, turned
from bot.domain.ids import CaseNumber, Lane, UserId
from bot.flows import expiring, staffing
from bot.flows.surroundings import Rules, Surroundings
from bot.store import cases, pickups, rooms
from bot.store.database import Tx

STATES: Final = {
    ItemKind.ESCALATION: CaseState.OWED,
    ItemKind.SILENCE: CaseState.ANSWERED,
    ItemKind.PUT_OFF: CaseState.LATER,
    ItemKind.ARCHIVING: CaseState.CLOSED,
}
"""In which state each clock runs."""


async def turn(tx: Tx, around: Surroundings, number: CaseNumber, happened: Turn) -> Sequence[Lane]:
    """Move a case on, as part of T2; return the lanes that have something to do after the commit."""
    case = await cases.get(tx, number)
    phase = turned(case.phase, happened, awaits_pickup=await pickups.is_awaited(tx, number))
    anew = begins_anew(case.phase, phase, happened) or case.since is None
    if anew or phase != case.phase:
        await cases.set_state(tx, number, phase, around.now() if anew else case.since or around.now())
    closes = phase.state is CaseState.CLOSED and case.state is not CaseState.CLOSED
    ended = await expiring.end_with_case(tx, around, case) if closes else []
    lanes = [room_lane(case.room_id)] if case.room_id and case.archived_at else []
    opens = case.state is CaseState.CLOSED and phase.state is not CaseState.CLOSED
    if lanes and phase.state is not CaseState.CLOSED:
        await cases.set_archived(tx, number, None)
        await _add_return(tx, around, case)
    called = await _call_in(tx, around, case) if opens and not lanes else []
    if phase != case.phase or anew or lanes:
        case = await cases.get(tx, number)
    await start_clock(tx, around, case)
    return [*lanes, *ended, *called]


async def _call_in(tx: Tx, around: Surroundings, case: Case) -> Sequence[Lane]:
    """A case opens again: invite those of its desk who are not in its room, newcomers and who had left it."""
    here = await rooms.present(tx, case.room_id) if case.room_id else ()
    people = sorted(set(around.rules.desk(case.desk).members) - set(here))
    await staffing.add_settling(tx, around, around.rules, people, f"open {case.number} {around.now().isoformat()}")
    return [staff_lane(user) for user in people]


async def start_clock(tx: Tx, around: Surroundings, case: Case) -> None:
    """Start what runs in the state of a case; one that runs already is left alone."""
    match case.state:
        case CaseState.OWED:
            await add(tx, around, case, ItemKind.ESCALATION, escalates_at(around.rules, case, 0))
        case CaseState.ANSWERED:
            await add(tx, around, case, ItemKind.SILENCE, _ends(case, around.rules.close_after))
        case CaseState.CLOSED if case.archived_at is None:
            await add(tx, around, case, ItemKind.ARCHIVING, _ends(case, around.rules.archive_after))


async def start_clocks(around: Surroundings) -> None:
    """At a start: what a changed configuration wants to be watched from now on."""
    async with around.database.transaction() as tx:
        for case in await cases.with_clock(tx):
            await start_clock(tx, around, case)


async def add(
    tx: Tx,
    around: Surroundings,
    case: Case,
    kind: ItemKind,
    due_at: datetime | None,
    level: int = 0,
    user: UserId | None = None,
) -> None:
    """Start a clock of a case, once; without a moment there is none. Putting away keeps no message waiting."""
    if due_at is None or case.since is None or case.room_id is None:
        return
    since = case.since.isoformat()
    name = (kind, str(case.number), since, str(level))
    lane = room_lane(case.room_id) if kind is ItemKind.ARCHIVING else customer_lane(case.customer_id)
    body = {"case": case.number, "since": since, "level": level, "user": user}
    await around.add_item(tx, kind, name, lane=lane, room=case.room_id, body=body, due_at=due_at)


async def _add_return(tx: Tx, around: Surroundings, case: Case) -> None:
    assert case.room_id is not None
    assert case.archived_at is not None
    name, body = ("return", str(case.number), case.archived_at.isoformat()), {"case": case.number}
    await around.add_item(tx, ItemKind.RETURN, name, lane=room_lane(case.room_id), room=case.room_id, body=body)


async def rung(tx: Tx, item: Item) -> Case | None:
    """Return the case whose clock this is; None: it was overtaken."""
    case = await cases.get(tx, CaseNumber(item.body["case"]))
    is_same = case.state is STATES[item.kind] and case.since is not None
    return case if is_same and case.since and case.since.isoformat() == item.body["since"] else None


def escalates_at(rules: Rules, case: Case, level: int) -> datetime | None:
    """Return when so much open time has passed; None: nobody is to be told, or nobody knows when it is open."""
    hours = rules.hours_at(case.desk)
    if hours is None or case.since is None or level >= len(rules.escalation):
        return None
    return hours.after(case.since, rules.escalation[level])


def opens_at(rules: Rules, case: Case, moment: datetime) -> datetime:
    """Return the moment, or when the desk of a case opens next if it is closed then."""
    hours = rules.hours_at(case.desk)
    return (hours.next_opening(moment) if hours else None) or moment


def _ends(case: Case, period: timedelta) -> datetime | None:
    return case.since + period if case.since and period else None
