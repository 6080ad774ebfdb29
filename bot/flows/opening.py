"""Opening a case: a number, an encrypted room with the desk's members in it, and two cards.

The case row with its alias is part of the plan, so a re-run can make neither a second case nor a second room. What
may come after the first message is an item of its own.
"""

from dataclasses import replace

from bot.domain.arrival import Item, staff_lane
from bot.domain.case import Case
from bot.domain.ids import CaseNumber, RoomId, UserId
from bot.domain.message import Outgoing
from bot.domain.room import Room, RoomKind
from bot.flows import blocking, staffing
from bot.flows.messenger import RoomSpec
from bot.flows.surroundings import Surroundings
from bot.store import arrivals, cases, rooms
from bot.store.database import Tx


async def open_case(around: Surroundings, item: Item, case: Case) -> Case:
    """Make what a new case needs before its first message, and return it as it is then."""
    if case.inbox_event is None:
        text = around.say("inbox.card_opening", number=str(case.number))
        card = Outgoing(text, notice=blocking.is_quiet(item))
        event = await around.send(item, "inbox_card", await _inbox_of(around, case), card)
        async with around.database.transaction() as tx:
            await cases.set_inbox_card(tx, case.number, event)
    case = await _with_room(around, item, case)
    assert case.room_id is not None
    await around.messenger.drop_alias(case.alias)
    if case.card_event is None:
        text = await _card_text(around, case)
        event = await around.send(item, "case_card", case.room_id, Outgoing(text, notice=True))
        async with around.database.transaction() as tx:
            await cases.set_card(tx, case.number, event)
    return case


async def announce(around: Surroundings, item: Item) -> None:
    """After the message: pin the card, hang the room into the Space and say in the inbox that it is there."""
    item = await around.planned(item, {"announces": True})
    case = await cases.get(around.database, CaseNumber(item.body["case"]))
    space = await rooms.place(around.database, "space")
    assert space is not None, "the house is set up before anybody is served"
    assert case.room_id is not None
    assert case.inbox_event is not None
    await around.messenger.set_state(case.room_id, "m.room.pinned_events", "", {"pinned": [case.card_event]})
    via = [around.rules.me.partition(":")[2]]
    await around.messenger.set_state(space, "m.space.child", case.room_id, {"via": via})
    text = around.say("inbox.card_open", number=str(case.number))
    link = f"https://matrix.to/#/{case.room_id}?via={via[0]}"
    card = Outgoing(text, html=f'{text} <a href="{link}">{case.number}</a>', notice=True, replaces=case.inbox_event)
    await around.send(item, "inbox_open", await _inbox_of(around, case), card)
    async with around.database.transaction() as tx:
        await arrivals.finish(tx, item)


async def _inbox_of(around: Surroundings, case: Case) -> RoomId:
    desk = around.rules.desk(case.desk)
    inbox = await rooms.place(around.database, f"inbox:{desk.id}")
    assert inbox is not None, "the house is set up before anybody is served"
    return inbox


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


async def _card_text(around: Surroundings, case: Case) -> str:
    """The pinned card says who it is; names stand only here, encrypted."""
    user = await rooms.user_of(around.database, case.customer_id)
    customer_room = await rooms.customer_room(around.database, case.customer_id)
    name = await around.messenger.display_name(customer_room, user) if customer_room else user
    who = name if name == user else f"{name} ({user})"
    opened = case.opened_at.astimezone().strftime("%d.%m.%Y %H:%M")
    desk = around.rules.desk(case.desk).name
    card = around.say("case.card", number=str(case.number), customer=who, desk=desk, opened=opened)
    if case.previous is None:
        return card
    return card + "\n" + around.say("case.card_previous", previous=str(case.previous))
