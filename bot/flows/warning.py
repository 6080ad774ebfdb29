"""Failure is visible at the message: a parked item gets ⚠️ and one sentence, and the admins are told."""

from collections.abc import Mapping
from datetime import timedelta

import structlog

from bot.domain.arrival import Item, ItemKind, room_lane
from bot.domain.errors import Mistake, Refused
from bot.domain.ids import EventId, ItemId, RoomId, derived_item_id
from bot.domain.message import NoKey, Outgoing
from bot.domain.room import Room, RoomKind
from bot.flows.reasons import in_words
from bot.flows.surroundings import Surroundings, speaking_at
from bot.store import arrivals, cases, rooms
from bot.store.database import Tx

log = structlog.get_logger()

SIGN = "⚠️"


async def park(around: Surroundings, item: Item, error: Exception) -> None:
    """Set an item aside for a human and see to it that people are told, in one commit, unless it is gone."""
    code = error.code if isinstance(error, Refused) else type(error).__name__
    async with around.database.transaction() as tx:
        if not await arrivals.park(tx, item, code or "refused"):
            return
        if item.kind is not ItemKind.WARNING:
            await _add_warning(tx, around, item, error, code or "refused")
    log.warning("item_parked", kind=item.kind.value, code=code, attempt=item.attempts)
    around.bookkeeping.room_changed(item.room_id)


async def _add_warning(tx: Tx, around: Surroundings, item: Item, error: Exception, code: str) -> None:
    text, values = (error.text, error.values) if isinstance(error, Mistake) else ("", {})
    event = str(item.id) if item.kind is ItemKind.EVENT else ""
    name = ("warning", item.id, str(item.attempts))
    body = {"event": event, "text": text, "values": values, "reason": code, "label": item.label}
    await around.add_item(tx, ItemKind.WARNING, name, lane=item.lane, room=item.room_id, body=body, of=item)


async def warn(around: Surroundings, item: Item) -> None:
    """Mark the message that was not delivered, say so beside it, and tell the admins."""
    item = await around.planned(item, {"warns": True})
    room = await rooms.find(around.database, item.room_id)
    told = False
    if item.body["event"] and room and room.membership == "join" and room.encrypted:
        event = EventId(item.body["event"])
        try:
            await around.messenger.react(room.room_id, event, SIGN, txn=around.txn(item, "sign"))
            text = await _sentence(around, item, room.kind)
            to_all = item.body["text"].startswith("untrusted.")  # who is told could not read it otherwise
            sentence = Outgoing(text, notice=room.kind is not RoomKind.CUSTOMER, to_all=to_all)
            await around.send(item, "sentence", room.room_id, sentence)
            told = True
        except Refused as error:
            # Who wrote it cannot be told (they have no device that could read it): the admins must be, all the more.
            log.warning("sender_not_told", code=error.code, status=error.status)
    if not told or not item.body["text"]:
        number = (room and room.case_number) or await cases.number_of_lane(around.database, item.lane)
        await _tell_admins(around, item, number)
    await around.finish(item)


async def _sentence(around: Surroundings, item: Item, kind: RoomKind) -> str:
    is_theirs = item.body["text"] in {"untrusted.customer", "untrusted.customer_withdrew"}
    if item.body["text"] and (kind is not RoomKind.CUSTOMER or is_theirs):
        return await around.say_in(item.room_id, item.body["text"], **item.body["values"])
    reason = item.body["reason"]
    if kind is RoomKind.CUSTOMER:
        text = "customer.not_encrypted" if reason == "forged_not_encrypted" else "customer.not_delivered"
        return await around.say_in(item.room_id, text)
    return around.say("case.not_delivered", reason=in_words(around, reason))


async def _tell_admins(around: Surroundings, item: Item, number: int | None) -> None:
    admin_room = await rooms.place(around.database, "admin")
    if admin_room is None:
        return
    with speaking_at(None):
        reason, label = in_words(around, item.body["reason"]), item.body.get("label", "?")
    text = around.say("admin.parked", number=str(number or "–"), reason=reason, label=label)
    await around.send(item, "admin", admin_room, Outgoing(text, notice=True))


async def add_alarm(
    tx: Tx, around: Surroundings, room: RoomId, text: str, values: Mapping[str, str], *, name: str
) -> bool:
    """Put an alarm into the lane of a room, once for each text, values and name; False: it is there already."""
    named, body = (text, *map(str, values.items()), name), {"text": text, "values": dict(values)}
    return await around.add_item(tx, ItemKind.ALARM, named, lane=room_lane(room), room=room, body=body)


async def alarm(around: Surroundings, item: Item) -> None:
    """Tell the admins something that is about no single message."""
    item = await around.planned(item, {"alarms": True})
    text = around.say(item.body["text"], **item.body["values"])
    outgoing = Outgoing(text, notice=True, to_all=item.body.get("to_all", False))
    await around.send(item, "alarm", item.room_id, outgoing)
    async with around.database.transaction() as tx:
        await arrivals.finish(tx, item)


async def step_aside(around: Surroundings, item: Item, missing: NoKey) -> None:
    """The key has not come: let others pass, and show it at the message if that lasts."""
    due = around.now() + max(around.rules.unreadable_notice_after, timedelta(milliseconds=1))
    async with around.database.transaction() as tx:
        if not await arrivals.wait_for_key(tx, item, missing.session_id):
            return
        name, body = ("unreadable", item.id), {"item": item.id}
        await around.add_item(
            tx, ItemKind.UNREADABLE, name, lane=item.lane, room=item.room_id, body=body, due_at=due, of=item
        )
    log.info("item_without_key", kind=item.kind.value)


async def tell_unreadable(around: Surroundings, item: Item) -> None:
    """Tell both sides in words that a message cannot be read, if it still cannot, and the admins why."""
    waiting = await arrivals.get(around.database, ItemId(item.body["item"]))
    if waiting and waiting.state == "waiting":
        room = await rooms.find(around.database, item.room_id)
        missing = await around.messenger.read(item.room_id, waiting.body)
        if room and room.membership == "join" and room.encrypted and isinstance(missing, NoKey):
            await _say_unreadable(around, item, room, missing)
    async with around.database.transaction() as tx:
        await arrivals.finish(tx, item)


async def _say_unreadable(around: Surroundings, item: Item, room: Room, missing: NoKey) -> None:
    if item.plan is None:
        code = missing.withheld.removeprefix("m.") or "unknown"
        async with around.database.transaction() as tx:
            says = await _is_first_of_session(tx, around, item, missing)
            item = await around.plan(tx, item, {"code": code, "says": says})
    assert item.plan is not None
    await around.messenger.react(room.room_id, EventId(item.body["item"]), SIGN, txn=around.txn(item, "sign"))
    if not item.plan.get("says", True):
        return
    to_customer = room.kind is RoomKind.CUSTOMER
    name = "customer.unreadable" if to_customer else "case.unreadable_from_staff"
    text = await around.say_in(room.room_id, name)
    await around.send(item, "sentence", room.room_id, Outgoing(text, notice=not to_customer))
    case = await cases.current_of(around.database, room.customer_id) if room.customer_id else None
    if to_customer and case and case.room_id:
        await around.send(
            item, "staff", case.room_id, Outgoing(around.say_at(case.desk, "case.unreadable"), notice=True)
        )
    admin_room = await rooms.place(around.database, "admin")
    if admin_room:
        reason, number = (
            around.say_at(None, f"withheld.{item.plan.get('code', 'unknown')}"),
            str(case.number) if case else "–",
        )
        text = around.say("admin.unreadable", number=number, reason=reason)
        await around.send(item, "admin", admin_room, Outgoing(text, notice=True))


async def _is_first_of_session(tx: Tx, around: Surroundings, item: Item, missing: NoKey) -> bool:
    """Every message gets its sign, but the sentences are said once per session: an item that is done says they were."""
    name = ("unreadable_told", item.room_id, missing.session_id)
    added = await around.add_item(tx, ItemKind.UNREADABLE, name, lane=item.lane, room=item.room_id, body={}, of=item)
    told = await arrivals.get(tx, derived_item_id(around.key, *name))
    if added and told:
        await arrivals.finish(tx, told)
    return added
