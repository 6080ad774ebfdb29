"""What may happen later than the message itself: receipts, marks, names, cards, overviews, the ledger's anchor.

Nothing here is a fact of its own: all follow from the tables, so a crash loses nothing.
"""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import structlog

from bot.domain.errors import Refused, Transient
from bot.domain.ids import CaseNumber, DeskId, EventId, ItemId, RoomId, UserId, txn_id
from bot.flows import anchoring, cards, overview
from bot.flows.surroundings import Bookkeeping, Surroundings
from bot.flows.warning import add_alarm
from bot.store import arrivals, cases, links, overviews, rooms

log = structlog.get_logger()

RETRY_S = 2.0
ROUNDS_EVERY_S = 0.25
"""Changes that come within this time are looked at together: in a burst there are hundreds a second."""
READ = "👁️"
ANCHOR_EVERY = timedelta(minutes=1)
"""Entries that come within this time share an anchor: each of them stays in the room's state for ever."""


class Bookkeeper(Bookkeeping):
    """Remembers which rooms and cases have changed and brings them up to date, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self._rooms: set[RoomId] = set()
        self._cases: set[CaseNumber] = set()
        self._read: dict[tuple[RoomId, UserId], EventId] = {}
        self._alarms: set[tuple[str, tuple[tuple[str, str], ...]]] = set()
        self._overviews = False
        self._desks: dict[DeskId, datetime] = {}  # whose overview may say something else, and since when
        self._overview_at: dict[DeskId, datetime] = {}
        self._anchor_at = datetime.min.replace(tzinfo=UTC)
        self._changed = asyncio.Event()

    def was_read(self, room: RoomId, read_by: Iterable[tuple[UserId, EventId]]) -> None:
        """People have read this far in a room; only the newest counts, and only a customer's (see `_mark_read`)."""
        for user, event in read_by:
            self._read[room, user] = event
            self._changed.set()

    def alarm(self, text: str, **values: str) -> None:
        """The admins should know something, once a day. `text` is the id of a text."""
        self._alarms.add((text, tuple(values.items())))
        self._changed.set()

    def room_changed(self, room: RoomId) -> None:
        """An item of this room was handled: our receipt may move."""
        self._rooms.add(room)
        self._changed.set()

    def case_changed(self, number: int) -> None:
        """The name of this case's room, its cards, or the overview of its desk may have to change."""
        self._cases.add(CaseNumber(number))
        self.overviews_changed()

    def overviews_changed(self) -> None:
        """Every desk is looked at: a case may have gone from one to another."""
        self._overviews = True
        self._changed.set()

    async def run(self, around: Surroundings) -> None:
        """Work until cancelled. While a room has a backlog its receipt waits: the messages go first."""
        self._cases |= {case.number for case in await cases.with_room(around.database) if case.is_shown_otherwise}
        async with around.database.transaction() as tx:
            await overviews.look_again(tx)
        self.overviews_changed()
        while True:
            self._changed.clear()
            try:
                wait_s = await self._do_all(around)
            except Transient as error:
                log.info("bookkeeping_waits", reason=str(error))
                wait_s = RETRY_S
            await asyncio.sleep(ROUNDS_EVERY_S)
            try:
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _do_all(self, around: Surroundings) -> float:
        """Do what can be done now; return after how many seconds to look again, though nothing changed."""
        waits: list[float] = []
        behind = await arrivals.rooms_with_new(around.database) if self._rooms else frozenset()
        for room in tuple(self._rooms):
            self._rooms.discard(room)
            if room in behind or not await self._move_receipt(around, room):
                self._rooms.add(room)
                waits.append(RETRY_S)
        while self._alarms:
            await self._tell(around, *self._alarms.pop())
        while self._read:
            (room, user), event = self._read.popitem()
            await self._mark_read(around, room, user, event)
        waits += await self._keep_cases(around)
        waits += await self._keep_overviews(around)
        waits.append(await self._keep_anchor(around))
        return min(waits)

    async def _keep_cases(self, around: Surroundings) -> list[float]:
        """Bring names and cards up to date; return after how many seconds to look again at those that are not."""
        waits: list[float] = []
        behind, self._cases = self._cases, set()
        try:
            for case in await cases.numbered(around.database, behind) if behind else ():
                wait_s = await self._keep_case(around, case.number) if case.is_shown_otherwise else 0.0
                if wait_s:
                    waits.append(wait_s)
                else:
                    behind.discard(case.number)
        finally:
            self._cases |= behind
        return waits

    async def _keep_case(self, around: Surroundings, number: CaseNumber) -> float:
        """Return the seconds until the case can be looked at again, 0: it is up to date."""
        return max(await self._keep_cards(around, number), await self._rename(around, number))

    async def _keep_anchor(self, around: Surroundings) -> float:
        """Bring the ledger's anchor up to date, once a minute at most; return the seconds until then."""
        if around.now() >= self._anchor_at:
            self._anchor_at = around.now() + ANCHOR_EVERY
            if not await anchoring.keep_up(around):
                self.alarm("admin.ledger_anchor")
        return max(RETRY_S, (self._anchor_at - around.now()) / timedelta(seconds=1))

    async def _move_receipt(self, around: Surroundings, room: RoomId) -> bool:
        event = await arrivals.read_up_to(around.database, room)
        if event is None or event == await rooms.read_mark(around.database, room):
            return True
        try:
            await around.messenger.mark_read(room, event)
        except Transient:
            return False
        except Refused as error:
            log.info("receipt_refused", code=error.code)
        async with around.database.transaction() as tx:
            await rooms.set_read_mark(tx, room, event)
        return True

    async def _tell(self, around: Surroundings, text: str, values: tuple[tuple[str, str], ...]) -> None:
        admin_room = await rooms.place(around.database, "admin")
        if admin_room is None:
            return
        async with around.database.transaction() as tx:
            added = await add_alarm(tx, around, admin_room, text, dict(values), name=around.now().date().isoformat())
        self.alarms_changed(admin_room if added else None)

    async def _mark_read(self, around: Surroundings, room_id: RoomId, user: UserId, event: EventId) -> None:
        """Show staff how far the customer has read. A comfort: what fails is not tried again."""
        room = await rooms.find(around.database, room_id)
        link = await links.of_event(around.database, event)
        if room is None or room.customer_id is None or link is None or link.target != (room_id, event):
            return
        if user != await rooms.user_of(around.database, room.customer_id):
            return
        try:
            await around.messenger.react(*link.source, READ, txn=txn_id(around.key, ItemId(event), "read"))
        except (Transient, Refused) as error:
            log.info("read_mark_failed", reason=type(error).__name__)

    async def _keep_cards(self, around: Surroundings, number: CaseNumber) -> float:
        """Bring the cards up to date; return the seconds to wait if the server did not answer, else 0."""
        try:
            await cards.keep_up(around, number)
        except Transient:
            return RETRY_S
        return 0.0

    async def _keep_overviews(self, around: Surroundings) -> list[float]:
        """Bring overviews up to date whose time has come; return the seconds to wait for others.

        While messages wait they go first, for as long as the distance between two changes at most.
        """
        now, distance, waits = around.now(), around.rules.overview_interval, list[float]()
        if self._overviews:
            self._overviews = False
            for desk in around.rules.desks:
                self._desks.setdefault(desk.id, now)
        is_busy = bool(self._desks) and bool(await arrivals.open_lanes(around.database))
        for desk_id, since in tuple(self._desks.items()):
            early = self._overview_at.get(desk_id, datetime.min.replace(tzinfo=UTC)) + distance - now
            if early > timedelta(0):
                waits.append(early / timedelta(seconds=1))
            elif is_busy and now - since < distance:
                waits.append(RETRY_S)
            elif await self._keep_overview(around, desk_id):
                del self._desks[desk_id]
                self._overview_at[desk_id] = now
            else:
                waits.append(RETRY_S)
        return waits

    @staticmethod
    async def _keep_overview(around: Surroundings, desk_id: DeskId) -> bool:
        try:
            await overview.keep_up(around, around.rules.desk(desk_id))
        except Transient:
            return False
        return True

    async def _rename(self, around: Surroundings, number: CaseNumber) -> float:
        """Bring the room name up to date; return the seconds to wait if it is too early, else 0."""
        case = await cases.get(around.database, number)
        if case.room_id is None or case.name == case.shown_name:
            return 0.0
        early = (case.renamed_at or case.opened_at) + around.rules.rename_interval - around.now()
        if early > timedelta(0):
            return early / timedelta(seconds=1)
        try:
            await around.messenger.set_state(case.room_id, "m.room.name", "", {"name": case.name})
        except Transient:
            return RETRY_S
        except Refused as error:
            log.info("rename_refused", code=error.code)
        async with around.database.transaction() as tx:
            await cases.set_shown_name(tx, number, case.name, around.now())
        return 0.0
