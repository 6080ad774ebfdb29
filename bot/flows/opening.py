"""Opening a case: a number, an encrypted room with the desk's members in it, and two cards.

The case row with its alias is part of the plan, so a re-run can make neither a second case nor a second room. What
may come after the first message is an item of its own.
"""

from dataclasses import replace

from bot.domain.arrival import Item, staff_lane
from bot.domain.case import Case
from bot.domain.command import CHIPS
from bot.domain.ids import CaseNumber, RoomId, UserId
from bot.domain.message import Outgoing
from bot.domain.room import Room, RoomKind
from bot.flows import blocking, cards, staffing
from bot.flows.messenger import RoomSpec
from bot.flows.surroundings import Surroundings
from bot.store import arrivals, cases, rooms
from bot.store.database import Tx


async def open_case(around: Surroundings, item: Item, case: Case) -> Case:
    """Make what a new case needs before its first message, and return it as it is then."""
    if case.inbox_event is None:
        text = around.say_at(case.desk, "inbox.card_opening", number=str(case.number))
        card = Outgoing(text, notice=blocking.is_quiet(item))
        event = await around.send(item, "inbox_card", await cards.inbox_of(around, case), card)
        async with around.database.transaction() as tx:
            await cases.set_inbox_card(tx, case.number, event)
    case = await _with_room(around, item, case)
    assert case.room_id is not None
    await around.messenger.drop_alias(case.alias)
    if case.card_event is None:
        event = await around.send(item, "case_card", case.room_id, await cards.case_card(around, case))
        async with around.database.transaction() as tx:
            await cases.set_card(tx, case.number, event)
            await cases.set_card_shown(tx, case.number, case.card_revision)
    return case


async def announce(around: Surroundings, item: Item) -> None:
    """After the message: pin the card, hang the room into the Space, say so in the inbox, and put signs to tap."""
    item = await around.planned(item, {"announces": True})
    case = await cases.get(around.database, CaseNumber(item.body["case"]))
    space = await rooms.place(around.database, "space")
    assert space is not None, "the house is set up before anybody is served"
    assert case.room_id is not None
    assert case.inbox_event is not None
    await around.messenger.set_state(case.room_id, "m.room.pinned_events", "", {"pinned": [case.card_event]})
    via = [around.rules.me.partition(":")[2]]
    await around.messenger.set_state(space, "m.space.child", case.room_id, {"via": via})
    inbox = await cards.inbox_of(around, case)
    card = replace(await cards.inbox_card(around, case), replaces=case.inbox_event)
    await around.send(item, "inbox_open", inbox, card)
    assert case.card_event is not None
    await cards.seed(around, item, inbox, case.inbox_event, cards.ON_INBOX_CARD, step="inbox_chip")
    await cards.seed(around, item, case.room_id, case.card_event, CHIPS, step="chip")
    async with around.database.transaction() as tx:
        await cases.doubt_cards(tx, case.number, case.card_revision)
        await arrivals.finish(tx, item)
    around.bookkeeping.case_changed(case.number)


async def _with_room(around: Surroundings, item: Item, case: Case) -> Case:
    """Create the case room, or take the one that an earlier run made."""
    if case.room_id:
        return case
    desk = around.rules.desk(case.desk)
    parent = await rooms.place(around.database, "space")
    spec = RoomSpec(alias=case.alias, name=case.name, invite=desk.members, parent=parent, mark=f"case:{case.number}")
    room_id = await around.messenger.create_room(spec)
    now = around.now()
    async with around.database.transaction() as tx:
        await record_room(tx, case, room_id)
        await cases.set_room(tx, case.number, room_id, case.name, now)
        changed = await _changed_meanwhile(around, case, room_id, desk.members)
        await staffing.add_settling(tx, around, around.rules, changed, item.id)
    around.bookkeeping.lanes_changed(map(staff_lane, changed))
    return replace(case, room_id=room_id, shown_name=case.name, renamed_at=now)


async def _changed_meanwhile(
    around: Surroundings, case: Case, room_id: RoomId, invited: tuple[UserId, ...]
) -> frozenset[UserId]:
    """Return who came to the team or left it while the room was being made, before anybody knew that it is one."""
    there = {*invited, *await around.messenger.members(room_id)}
    missing = set(around.rules.desk(case.desk).members) - there
    return frozenset(missing | (there - around.rules.staff))


async def record_room(tx: Tx, case: Case, room_id: RoomId) -> None:
    """From now on this is the room of a case."""
    known = await rooms.find(tx, room_id)
    facts = replace(
        known or Room(room_id, membership="join", version="12"),
        kind=RoomKind.CASE,
        ours=True,
        encrypted=True,
        customer_id=case.customer_id,
        case_number=case.number,
        desk=case.desk,
    )
    await rooms.save(tx, facts, known=known)
