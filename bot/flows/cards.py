"""The two cards of a case, in its room and in the inbox: what they say now, and the signs on them that staff tap.

They are kept up by edits, which push nobody. Names and plates stand only here, encrypted.
"""

from collections.abc import Iterable
from dataclasses import replace
from html import escape
from typing import Final

import structlog

from bot.domain.arrival import Item
from bot.domain.case import Case
from bot.domain.command import CHIPS, Command, Verb
from bot.domain.errors import Refused
from bot.domain.ids import CaseNumber, EventId, ItemId, RoomId, txn_id
from bot.domain.message import Outgoing
from bot.flows.describing import described
from bot.flows.surroundings import Surroundings
from bot.store import cases, rooms

log = structlog.get_logger()

ON_INBOX_CARD: Final = tuple(row for row in CHIPS if row.verb is Verb.TAKE)
"""The signs on a card in an inbox."""


async def case_card(around: Surroundings, case: Case) -> Outgoing:
    """Return the card in the room of a case: whose it is, who looks after it, and what can be tapped."""
    user = await rooms.user_of(around.database, case.customer_id)
    customer_room = await rooms.customer_room(around.database, case.customer_id)
    name = await around.messenger.display_name(customer_room, user) if customer_room else user
    who = name if name == user else f"{name} ({user})"
    opened = case.opened_at.astimezone(around.rules.zone).strftime("%d.%m.%Y %H:%M")
    desk = around.rules.desk(case.desk).name
    lines = [around.say_at(case.desk, "case.card", number=str(case.number), customer=who, desk=desk, opened=opened)]
    lines += [await _holder_line(around, case), *described(around, case)]
    if case.previous is not None:
        lines.append(around.say_at(case.desk, "case.card_previous", previous=str(case.previous)))
    chips = " · ".join(f"{row.chip} {around.say_at(case.desk, f'chip.{row.verb.value}')}" for row in CHIPS)
    lines.append(around.say_at(case.desk, "case.card_chips", chips=chips))
    return Outgoing("\n".join(lines), notice=True)


async def _holder_line(around: Surroundings, case: Case) -> str:
    holder = around.rules.holder(case)
    if holder is None or case.room_id is None:
        return around.say_at(case.desk, "case.card_nobody")
    return around.say_at(case.desk, "case.card_holder", name=await around.messenger.display_name(case.room_id, holder))


async def inbox_card(around: Surroundings, case: Case) -> Outgoing:
    """Return the card in the inbox of a case whose room exists: a way into it, and who looks after it."""
    assert case.room_id is not None
    holder, number = around.rules.holder(case), str(case.number)
    text = around.say_at(case.desk, "inbox.card_open", number=number)
    if holder:
        name = await around.messenger.display_name(case.room_id, holder)
        text = around.say_at(case.desk, "inbox.card_taken", number=number, name=name)
    link = f"{escape(text)} {link_to(around, case.room_id, number)}"
    return Outgoing(text, html=link, notice=True)


def link_to(around: Surroundings, room: RoomId, text: str) -> str:
    """Return HTML that opens a room when it is tapped."""
    server = around.rules.me.partition(":")[2]
    return f'<a href="https://matrix.to/#/{room}?via={server}">{escape(text)}</a>'


async def inbox_of(around: Surroundings, case: Case) -> RoomId:
    """Return the inbox room of a case's desk."""
    inbox = await rooms.place(around.database, f"inbox:{around.rules.desk(case.desk).id}")
    assert inbox is not None, "the house is set up before anybody is served"
    return inbox


async def seed(
    around: Surroundings, item: Item, room: RoomId, card: EventId, rows: Iterable[Command], *, step: str
) -> None:
    """Put the signs under a card, so that one tap is enough."""
    for ordinal, row in enumerate(rows):
        await around.messenger.react(room, card, row.chip, txn=around.txn(item, step, ordinal))


async def keep_up(around: Surroundings, number: CaseNumber) -> None:
    """Bring both cards of a case up to date. The same change again is the same event.

    Raises:
        Transient: the server did not answer; again later.
    """
    case = await cases.get(around.database, number)
    if case.card_shown == case.card_revision or case.room_id is None or case.card_event is None:
        return
    await _edit(around, case, case.room_id, case.card_event, await case_card(around, case))
    has_inbox = any(desk.id == case.desk for desk in around.rules.desks)  # that of a desk which is gone nobody reads
    if case.inbox_event and has_inbox:
        await _edit(around, case, await inbox_of(around, case), case.inbox_event, await inbox_card(around, case))
    async with around.database.transaction() as tx:
        await cases.set_card_shown(tx, number, case.card_revision)


async def _edit(around: Surroundings, case: Case, room: RoomId, card: EventId, now: Outgoing) -> None:
    txn = txn_id(around.key, ItemId(card), "card", case.card_revision)
    try:
        await around.messenger.send(room, replace(now, replaces=card), txn=txn)
    except Refused as error:
        log.info("card_refused", code=error.code)
