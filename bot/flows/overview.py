"""One pinned, encrypted event in each inbox says what is open at its desk, and is edited in place when that changes.

It follows from the tables like a card does, so a crash loses nothing. Edits push nobody.
"""

from dataclasses import replace
from typing import Final

import structlog

from bot.domain.arrival import RECONCILE_AFTER
from bot.domain.errors import Refused
from bot.domain.ids import DeskId, EventId, ItemId, RoomId, TxnId, txn_id
from bot.domain.message import Outgoing
from bot.flows.listing import listed
from bot.flows.messenger import STEP
from bot.flows.staffing import answering_for
from bot.flows.surroundings import Desk, Surroundings
from bot.flows.warning import add_alarm
from bot.store import cases, marks, overviews, rooms
from bot.store.overviews import Overview

MOST: Final = 30
PINS: Final = "m.room.pinned_events"
GONE: Final = 404

log = structlog.get_logger()


async def keep_up(around: Surroundings, desk: Desk) -> None:
    """Bring the overview of a desk up to date; there is none until something was open. The same again changes nothing.

    Raises:
        Transient: the server did not answer; again later.
    """
    inbox = await rooms.place(around.database, f"inbox:{desk.id}")
    before = await overviews.find(around.database, desk.id)
    desks = await answering_for(around, [desk.id])
    count = await cases.count_open(around.database, desks)
    if inbox is None or ((before is None or before.event is None) and not count):
        return
    says = await _says(around, desk, desks, count)
    said = txn_id(around.key, ItemId(says.body), "overview")  # keyed: what it says must not be guessed from the table
    if before and before.event and before.said == said and before.shown == before.revision and before.pinned:
        return
    try:
        await _bring(around, inbox, desk, says, said, before)
    except Refused as error:
        log.info("overview_refused", code=error.code)


async def _says(around: Surroundings, desk: Desk, desks: list[DeskId], count: int) -> Outgoing:
    found = await cases.still_open(around.database, desks, most=MOST)
    if not found:
        return Outgoing(around.say_at(desk.id, "overview.nothing", desk=desk.name), notice=True)
    shown = await listed(around, around.say_at(desk.id, "overview.open", desk=desk.name), found, MOST)
    if count > shown.count:
        shown = shown.with_end(around.say_at(desk.id, "overview.more", count=str(count - shown.count)))
    return Outgoing(shown.plain, html=shown.html, notice=True)


async def _bring(
    around: Surroundings, inbox: RoomId, desk: Desk, says: Outgoing, said: str, before: Overview | None
) -> None:
    """Commit what it is about to say, then make or edit it, then pin it.

    Raises:
        Refused: the server says no to the event itself.
    """
    if before and before.event and not await _is_there(around, inbox, before.event):
        async with around.database.transaction() as tx:
            await overviews.forget(tx, before.event, around.now())
            before = await overviews.find(tx, desk.id)
    async with around.database.transaction() as tx:
        now = await overviews.plan(tx, desk.id, said, around.now())
    event, shown = now.event, now.shown
    if event is None:
        event, shown = await _made(around, inbox, desk, says, now)
        if before and before.said not in {"", said}:
            shown = -1  # an earlier run may have made it, with what there was to say then
        async with around.database.transaction() as tx:
            await overviews.set_event(tx, desk.id, event, shown)
    if shown != now.revision:
        txn = txn_id(around.key, ItemId(event), "overview", now.revision)
        await around.messenger.send(inbox, replace(says, replaces=event), txn=txn)
        async with around.database.transaction() as tx:
            await overviews.set_shown(tx, desk.id, now.revision)
    if event != now.event or not now.pinned:
        await _pin(around, inbox, desk, event)


async def _is_there(around: Surroundings, inbox: RoomId, event: EventId) -> bool:
    try:
        return bool((await around.messenger.event(inbox, event)).get("content"))
    except Refused as error:
        if error.status != GONE:
            raise
        return False


async def _made(around: Surroundings, inbox: RoomId, desk: Desk, says: Outgoing, now: Overview) -> tuple[EventId, int]:
    """Return the event, and what it shows: one that an earlier run, or a lost database, made is taken up."""
    pinned = await _pinned_before(around, inbox, desk, now)
    if pinned:
        return pinned, -1
    txn = _txn(around, desk.id, now.copies)
    found = await marks.find(around.database, txn, inbox)
    if found and not await _is_there(around, inbox, found):
        found = None
    if found is None and around.now() - now.begun_at > RECONCILE_AFTER:
        found = await around.messenger.find_mark(inbox, txn, since=now.begun_at)
    if found:
        return found, -1
    return await around.messenger.send(inbox, says, txn=txn), now.revision


def _txn(around: Surroundings, desk: DeskId, copy: int) -> TxnId:
    return txn_id(around.key, ItemId(f"overview {desk}"), "overview", copy)


async def _pinned_before(around: Surroundings, inbox: RoomId, desk: Desk, now: Overview) -> EventId | None:
    """Return the overview that is pinned there, known by its clear mark."""
    ours = {_txn(around, desk.id, copy) for copy in range(1, now.copies + 1)}
    for event in await _pins(around, inbox):
        raw = await _raw(around, inbox, event)
        content = raw.get("content")
        if raw.get("sender") == around.rules.me and isinstance(content, dict) and content.get(STEP) in ours:
            return event
    return None


async def _pins(around: Surroundings, inbox: RoomId) -> list[EventId]:
    content = await around.messenger.state(inbox, PINS, "") or {}
    pinned = content.get("pinned")
    return [EventId(event) for event in pinned if isinstance(event, str)] if isinstance(pinned, list) else []


async def _raw(around: Surroundings, inbox: RoomId, event: EventId) -> dict[str, object]:
    try:
        return await around.messenger.event(inbox, event)
    except Refused:
        return {}


async def _pin(around: Surroundings, inbox: RoomId, desk: Desk, event: EventId) -> None:
    """Pin it beside what others have pinned; that we may not is said to the admins, once."""
    pins, pinned = await _pins(around, inbox), overviews.PINNED
    if event not in pins:
        others = [pin for pin in pins if (await _raw(around, inbox, pin)).get("sender") != around.rules.me]
        try:
            await around.messenger.set_state(inbox, PINS, "", {"pinned": [event, *others]})
        except Refused as error:
            log.warning("overview_not_pinned", code=error.code, status=error.status)
            pinned = overviews.NOT_ALLOWED
    async with around.database.transaction() as tx:
        admin_room = await rooms.place(tx, "admin")
        if pinned == overviews.NOT_ALLOWED and admin_room:
            await add_alarm(tx, around, admin_room, "admin.overview_not_pinned", {"desk": desk.name}, name=event)
        await overviews.set_pinned(tx, desk.id, pinned)
    around.bookkeeping.alarms_changed(admin_room)
