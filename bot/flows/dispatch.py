"""From an item to the flow that handles it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Final

from bot.domain.arrival import KEY_PATIENCE, Item, ItemKind, customer_lane
from bot.domain.errors import Mistake, Refused
from bot.domain.ids import DeskId, Lane, UserId
from bot.domain.message import Forged, Message, NoKey, Untrusted
from bot.domain.room import Room, RoomKind
from bot.domain.throttle import Bucket, draw
from bot.domain.verification import Handshake
from bot.flows import (
    answer,
    archiving,
    asking_at_close,
    blocking,
    commands,
    confirming,
    door,
    escalating,
    expiring,
    gap,
    identities,
    later,
    membership,
    opening,
    posing,
    relay,
    sending,
    silence,
    staffing,
    strangers,
    verifying,
    warning,
    welcome,
    withdrawing,
)
from bot.flows.intake import customer_of
from bot.flows.surroundings import Surroundings, speaking_at
from bot.flows.worker import Hold
from bot.store import arrivals, rooms

FLOWS: Final[Mapping[ItemKind, Callable[[Surroundings, Item], Awaitable[None]]]] = {
    ItemKind.INVITE: welcome.accept,
    ItemKind.JOINED: welcome.look_around,
    ItemKind.REPLACED: welcome.follow,
    ItemKind.LEFT: welcome.notice_leaving,
    ItemKind.MEMBER: membership.notice,
    ItemKind.GAP: gap.fill,
    ItemKind.OPENED: opening.announce,
    ItemKind.WARNING: warning.warn,
    ItemKind.ALARM: warning.alarm,
    ItemKind.IDENTITY: identities.tell,
    ItemKind.TO_DEVICE: verifying.take_to_device,
    ItemKind.VERIFICATION: verifying.give_up,
    ItemKind.STAFF: staffing.settle,
    ItemKind.LEAVER: staffing.settle,
    ItemKind.SLIP: door.take_back,
    ItemKind.HEED: withdrawing.heed,
    ItemKind.ORDER: blocking.heed,
    ItemKind.WITHDRAWN: confirming.confirm,
    ItemKind.ASKING: asking_at_close.ask,
    ItemKind.QUESTION: posing.over,
    ItemKind.EXPIRY: expiring.expire,
    ItemKind.NEWS: sending.send_news,
    ItemKind.PUT_OFF: later.ring,
    ItemKind.ESCALATION: escalating.escalate,
    ItemKind.SILENCE: silence.close,
    ItemKind.ARCHIVING: archiving.put_away,
    ItemKind.RETURN: archiving.bring_back,
    ItemKind.STRANGERS: strangers.tell,
    ItemKind.UNREADABLE: warning.tell_unreadable,
}
"""Who handles what is not somebody's event."""


def _untrusted(around: Surroundings, item: Item, reason: str, *, withdrew: bool) -> str:
    """Return the sentence for somebody whose device is not believed."""
    if item.sender not in around.rules.staff:
        return "untrusted.customer_withdrew" if withdrew else "untrusted.customer"
    return "untrusted.changed" if reason == "changed" else "untrusted.unsigned"


class Dispatch:
    """Hands each item to its flow. `catching_up` is true while the server still has keys for us."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self.catching_up = False
        self._buckets: dict[Lane, Bucket] = {}

    async def handle(self, item: Item) -> None:
        """Handle one item to its T2, or raise what the worker answers."""
        with speaking_at(await self._desk(item)):
            if item.kind is ItemKind.EVENT:
                await self._event(item)
            else:
                await FLOWS[item.kind](self._around, item)

    async def _desk(self, item: Item) -> DeskId | None:
        """Return the desk whose room an item is about, as far as that makes a difference."""
        if not any(desk.language for desk in self._around.rules.desks):
            return None
        room = await rooms.find(self._around.database, item.room_id)
        return room.desk if room else None

    async def _event(self, item: Item) -> None:
        room = await rooms.find(self._around.database, item.room_id)
        assert room is not None, "T1 stores the room with its first item"
        if room.customer_id and item.lane != customer_lane(room.customer_id):
            await self._move(item, room)
            return
        with_staff = room.kind is RoomKind.UNKNOWN and room.is_chat_with_one_of(self._around.rules.staff)
        if room.kind is RoomKind.UNKNOWN and not with_staff:
            await self._in_unknown_room(item, room)
            return
        reading = await self._around.messenger.read(item.room_id, item.body)
        if not isinstance(reading, Message) and await self._around.was_sent(item, "relay"):
            # It was read and relayed before a restore; who we are now cannot read it, and need not.
            async with self._around.database.transaction() as tx:
                await arrivals.finish(tx, item)
            return
        match reading:
            case NoKey():
                await self._without_key(item, reading)
            case Forged(reason):
                await withdrawing.despite_doubt(self._around, item, room, reading)
                raise Refused("the event is not what it claims to be", code=f"forged_{reason}")
            case Untrusted(reason):
                withdrew = await withdrawing.despite_doubt(self._around, item, room, reading)
                raise Mistake(_untrusted(self._around, item, reason, withdrew=withdrew))
            case Handshake():
                await self._handshake(item, room, reading)
            case Message() if with_staff:
                await verifying.say_what_for(self._around, item, room, reading)
            case Message():
                await self._message(item, room, reading)

    async def _message(self, item: Item, room: Room, message: Message) -> None:
        if room.kind is RoomKind.CUSTOMER:
            await strangers.take_turns(self._around, item, customer_of(room))
            self._throttle(item)
            await relay.relay(self._around, item, room, message)
        elif room.kind is RoomKind.CASE:
            await answer.answer(self._around, item, room, message)
        else:
            await commands.run_outside_cases(self._around, item, room, message)

    async def _handshake(self, item: Item, room: Room, handshake: Handshake) -> None:
        if room.kind is RoomKind.CUSTOMER:
            self._throttle(item)
        await verifying.take(self._around, item, room, handshake)

    def _throttle(self, item: Item) -> None:
        """One sender cannot flood staff: past the burst their lane flows steadily. A re-run was let through before."""
        if item.plan is not None:
            return
        rules, now = self._around.rules, self._around.now()
        known = self._buckets.get(item.lane)
        self._buckets[item.lane], wait = draw(known, now, per_minute=rules.messages_per_minute, burst=rules.burst)
        if wait:
            raise Hold("one sender writes very much", retry_after_s=wait / timedelta(seconds=1))

    async def _move(self, item: Item, room: Room) -> None:
        """The room turned out to belong to a customer: the item goes to the end of that lane, in its own commit."""
        assert room.customer_id is not None
        async with self._around.database.transaction() as tx:
            await arrivals.move(tx, item, customer_lane(room.customer_id))
        self._around.bookkeeping.lanes_changed([customer_lane(room.customer_id)])

    async def _in_unknown_room(self, item: Item, room: Room) -> None:
        """Our own room is being recorded by its case; somebody else's may have become usable since."""
        if room.ours and room.membership != "join":
            raise Refused("written in a room of ours that was given up", code="room_given_up")
        if room.ours:
            raise Hold("the room of a case is not recorded yet", retry_after_s=1.0)
        if room.customer_id:
            person = await rooms.user_of(self._around.database, room.customer_id)
            was_usable = item.sender == person and room.encrypted and room.is_one_to_one_with(person)
            if room.is_usable_by(person) or was_usable:
                await self._take_up(room, person)
                raise Hold("the room has just become usable", retry_after_s=0.001)
        await welcome.say_unusable(self._around, item, room)

    async def _take_up(self, room: Room, person: UserId) -> None:
        """From now on it is a customer's; where they, or we, have left again they are read, and not answered."""
        async with self._around.database.transaction() as tx:
            if room.is_usable_by(person):
                await welcome.adopt(tx, room.room_id, customer_of(room))
            else:
                await rooms.save(tx, replace(room, kind=RoomKind.CUSTOMER), known=room)

    async def _without_key(self, item: Item, missing: NoKey) -> None:
        waited = self._around.now() - item.arrived_at
        if waited < KEY_PATIENCE:
            raise Hold("no key yet", retry_after_s=(KEY_PATIENCE - waited) / timedelta(seconds=1))
        if self.catching_up:
            raise Hold("keys are still coming in", retry_after_s=1.0)
        if await self._around.messenger.look_for_key(item.room_id, item.body):
            raise Hold("the key was in our backup", retry_after_s=0.001)
        await warning.step_aside(self._around, item, missing)
