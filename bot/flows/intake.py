"""T1: everything that the server says only once becomes rows in one commit, together with the new sync token.

Nothing is sent, decrypted or decided here but the lane, and that from room and sender alone.
"""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from bot.domain.arrival import ItemKind, customer_lane, room_lane, verification_lane
from bot.domain.ids import CustomerId, EventId, ItemId, Lane, RoomId, UserId, derived_item_id
from bot.domain.room import PRESENT, Room, RoomKind, fold
from bot.flows import blocking, withdrawing
from bot.flows.surroundings import Surroundings
from bot.store import arrivals, blocks, facts, rooms
from bot.store.database import Tx

Event = dict[str, Any]

SETTLING = timedelta(seconds=3)
"""A client must learn whose device we are before it is handed keys, after it joined or we did: a strict one that gets
them earlier shows what they open as insecure until it is started anew (matrix-sdk-crypto 0.19.1)."""


ANSWERED_TO_ANYBODY = frozenset({"m.key.verification.request", "m.key.verification.start"})
"""To-device events after which somebody's client waits for us."""


@dataclass(frozen=True, slots=True)
class RoomUpdate:
    """What one sync says of one room. `state` includes the state events of the timeline, in their order."""

    room_id: RoomId
    membership: str
    state: tuple[Event, ...] = ()
    timeline: tuple[Event, ...] = ()
    limited: bool = False
    prev_batch: str | None = None
    read_by: tuple[tuple[UserId, EventId], ...] = ()  # read receipts; a comfort that may be lost


@dataclass(frozen=True, slots=True)
class Batch:
    """One sync response, as far as it is not about keys."""

    token: str
    rooms: tuple[RoomUpdate, ...] = ()
    handshakes: tuple[Event, ...] = ()  # to-device events of verifications


Prepare = Callable[[Tx, RoomUpdate], Awaitable[RoomUpdate]]


async def take_in(
    around: Surroundings,
    batch: Batch,
    prepare: Prepare | None = None,
    begin: Callable[[Tx], Awaitable[None]] | None = None,
) -> set[Lane]:
    """Commit a batch and return the lanes in which something is new.

    `begin` is called first, in the same commit; `prepare` sees each room before it is taken in.
    """
    taking = _Taking(around, batch.token, around.now())
    async with around.database.transaction() as tx:
        if begin:
            await begin(tx)
        if begin is None and prepare is None:  # what a loss left out may be older than an end that was lost with it
            taking.blocked = await blocks.blocked(tx, taking.now)
            taking.reads_orders = True
        for update in batch.rooms:
            await taking.room(tx, await prepare(tx, update) if prepare else update)
        for number, event in enumerate(batch.handshakes):
            await taking.handshake(tx, number, event)
        if prepare:
            await facts.remove(tx, facts.ADOPTING)
        await facts.put(tx, facts.SYNC_TOKEN, batch.token)
    return taking.lanes


class _Taking:
    """One T1 under way."""

    def __init__(self, around: Surroundings, token: str, now: datetime) -> None:
        self._around = around
        self._me = around.rules.me
        self._token = token
        self.now = now
        self.blocked: frozenset[UserId] = frozenset()
        self.reads_orders = False
        self.lanes: set[Lane] = set()

    async def room(self, tx: Tx, update: RoomUpdate) -> None:
        known = await rooms.find(tx, update.room_id)
        room = fold(known or Room(update.room_id), update.state, self._me)
        room = replace(room, membership=update.membership)
        room = await self._with_customer(tx, room, update)
        lane = customer_lane(room.customer_id) if room.customer_id else room_lane(room.room_id)
        if update.timeline:
            room = replace(room, last_event=_last_event(update) or room.last_event)
        await rooms.save(tx, room, known=known)
        await self._our_own_membership(tx, lane, room, known, update)
        if update.limited and update.prev_batch:
            until = known.last_event if known else None
            await self._add(tx, lane, room, ItemKind.GAP, {"from": update.prev_batch, "until": until}, "gap")
        await self._members(tx, lane, room, known, update)
        for event in update.timeline:
            if not is_for_us(event, self._around):
                continue
            if is_dropped(event, self.blocked):
                await self._of_blocked(tx, lane, room, event)
            else:
                await self._event(tx, lane, room, event)

    async def _with_customer(self, tx: Tx, room: Room, update: RoomUpdate) -> Room:
        """An unknown room that somebody else made belongs to the lane of the one person it is shared with."""
        if room.customer_id or room.kind is not RoomKind.UNKNOWN or room.ours or room.membership == "leave":
            return room
        person = self._inviter(update) or _only(room.present())
        if person is None or person in self._around.rules.staff | self._around.rules.ignored:
            return room
        return replace(room, customer_id=await rooms.make_customer(tx, person, self.now))

    def _inviter(self, update: RoomUpdate) -> UserId | None:
        for event in update.state:
            is_ours = event.get("type") == "m.room.member" and event.get("state_key") == self._me
            if is_ours and _membership(event) == "invite":
                return UserId(str(event.get("sender")))
        return None

    async def _our_own_membership(self, tx: Tx, lane: Lane, room: Room, known: Room | None, update: RoomUpdate) -> None:
        before = known.membership if known else "leave"
        if room.membership == "invite":
            await self._add(tx, lane, room, ItemKind.INVITE, {}, "invite", sender=self._inviter(update))
        if room.membership == "join" and before != "join" and not room.ours:
            # Who writes to us before that has asked for our devices, and is answered at once.
            due = self.now + SETTLING if room.encrypted and not room.predecessor else None
            await self._add(tx, lane, room, ItemKind.JOINED, {}, "joined", due_at=due)
        if room.replaced_by and room.kind is RoomKind.CUSTOMER and not (known and known.replaced_by):
            await self._add(tx, lane, room, ItemKind.REPLACED, {"by": room.replaced_by}, "replaced")
        if room.membership == "leave" and before == "join":
            await self._add(tx, lane, room, ItemKind.LEFT, {}, "left")

    async def _members(self, tx: Tx, lane: Lane, room: Room, known: Room | None, update: RoomUpdate) -> None:
        """Others who came or went since we last looked; who was there before us is no news."""
        before = known.members if known and known.membership == "join" else None
        if before is None and not room.ours:
            return
        for event in update.state:
            user, membership = UserId(str(event.get("state_key"))), _membership(event)
            if event.get("type") != "m.room.member" or user == self._me or user in self.blocked:
                continue
            if (before or {}).get(user, "leave") != membership and (membership not in PRESENT or membership == "join"):
                body = {"user": user, "membership": membership}
                due = self.now + SETTLING if membership == "join" and room.ours else None
                name = str(event.get("event_id"))
                # The event names it, in whichever sync it comes: after a restore it comes in another one again.
                await self._add(tx, lane, room, ItemKind.MEMBER, body, name, sender=user, due_at=due, token="")

    async def handshake(self, tx: Tx, number: int, event: Event) -> None:
        """A step of a verification from device to device. Of people who may not verify us only what has an answer."""
        sender, rules = event.get("sender"), self._around.rules
        if not isinstance(sender, str) or sender == rules.me or sender in rules.ignored | self.blocked:
            return
        if sender not in rules.staff and event.get("type") not in ANSWERED_TO_ANYBODY:
            return
        user = UserId(sender)
        lane = verification_lane(user)
        await self._add(*(tx, lane, Room(RoomId(""))), ItemKind.TO_DEVICE, event, str(number), sender=user)

    async def _event(self, tx: Tx, lane: Lane, room: Room, event: Event) -> None:
        deleted = redacts(event)
        if deleted:
            await arrivals.withdraw(tx, deleted, UserId(event["sender"]), arrivals.DELETED)
        added = await arrivals.add(
            tx,
            item_id=ItemId(event["event_id"]),
            lane=lane,
            room=room.room_id,
            kind=ItemKind.EVENT,
            sender=UserId(event["sender"]),
            sent_at=sent_at(event, self.now),
            arrived_at=self.now,
            body=event,
        )
        if added:
            self.lanes.add(lane)
            await self._heed(tx, room, ItemId(event["event_id"]))

    async def _of_blocked(self, tx: Tx, lane: Lane, room: Room, event: Event) -> None:
        """Nothing of it is kept, unless it may take a consent back: then it is read for that alone, and is gone."""
        person = await rooms.of_user(tx, UserId(event["sender"]))
        may_withdraw = self._around.privacy and person and await withdrawing.has_something(tx, person)
        if may_withdraw and not await arrivals.get(tx, event["event_id"]):
            await self._event(tx, lane, room, event)
            await withdrawing.read_only(tx, ItemId(event["event_id"]))

    async def _heed(self, tx: Tx, room: Room, item_id: ItemId) -> None:
        """What takes a consent back must not stand behind what waits, nor what blocks who wrote all that."""
        item = await arrivals.get(tx, item_id)
        if item:
            self.lanes.update(await withdrawing.look_at(tx, self._around, item))
        if item and self.reads_orders:
            self.lanes.update(await blocking.look_at(tx, self._around, item, room))

    async def _add(
        self,
        tx: Tx,
        lane: Lane,
        room: Room,
        kind: ItemKind,
        body: Event,
        name: str,
        *,
        sender: UserId | None = None,
        due_at: datetime | None = None,
        token: str | None = None,
    ) -> None:
        """Put in something that has no event id of its own: its id is made of the room and the token."""
        added = await arrivals.add(
            tx,
            item_id=derived_item_id(
                self._around.key, room.room_id, self._token if token is None else token, kind, name
            ),
            lane=lane,
            room=room.room_id,
            kind=kind,
            sender=sender or UserId(""),
            sent_at=self.now,
            arrived_at=self.now,
            body=body,
            due_at=due_at,
        )
        if added:
            self.lanes.add(lane)


def _membership(event: Event) -> str:
    content = event.get("content")
    return str(content.get("membership")) if isinstance(content, dict) else ""


def redacts(event: Event) -> EventId | None:
    """Return what an event deletes: up to room version 10 it stands beside the content, since 11 inside."""
    content = event.get("content")
    inside = content.get("redacts") if isinstance(content, dict) else None
    target = event.get("redacts") or inside
    return EventId(target) if event.get("type") == "m.room.redaction" and isinstance(target, str) else None


def is_for_us(event: Event, around: Surroundings) -> bool:
    """Tell whether a timeline event is something that somebody else wrote, and well formed enough to keep."""
    if "state_key" in event or not isinstance(event.get("event_id"), str) or not isinstance(event.get("type"), str):
        return False
    sender = event.get("sender")
    return isinstance(sender, str) and sender != around.rules.me and sender not in around.rules.ignored


def is_dropped(event: Event, blocked: frozenset[UserId]) -> bool:
    """Tell whether nothing is kept of an event because of who sent it. What they delete is deleted all the same."""
    return event["sender"] in blocked and redacts(event) is None


def sent_at(event: Event, now: datetime) -> datetime:
    """Return when an event says it was written; the server's claim, so only for showing."""
    stamp = event.get("origin_server_ts")
    latest = now.timestamp() * 1000
    if not isinstance(stamp, int) or isinstance(stamp, bool) or not 0 <= stamp <= latest:
        return now
    return datetime.fromtimestamp(stamp / 1000, UTC)


def _last_event(update: RoomUpdate) -> EventId | None:
    ids = [event.get("event_id") for event in update.timeline]
    return next((EventId(value) for value in reversed(ids) if isinstance(value, str)), None)


def _only(people: tuple[UserId, ...]) -> UserId | None:
    return people[0] if len(people) == 1 else None


def messages_of(events: tuple[Event, ...], around: Surroundings) -> Iterator[Event]:
    """Return, oldest first, what belongs into a lane of events that were read newest first."""
    return (event for event in reversed(events) if is_for_us(event, around))


def customer_of(room: Room) -> CustomerId:
    """Return the customer of a room that has one."""
    assert room.customer_id is not None, "only rooms in a customer's lane get here"
    return room.customer_id
