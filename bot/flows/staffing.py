"""Who comes to the team and who leaves it: `!aufnehmen`, `!entfernen`, and a configuration that changed.

From the commit of a change on nobody who left is heard or given a key; their rooms follow at once. Whoever came is
invited into the Space, their inbox and the open cases of their desk, as fast as the server allows.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import structlog

from bot.domain.arrival import Item, ItemKind, staff_lane
from bot.domain.errors import Fatal, Mistake, Refused
from bot.domain.ids import DeskId, RoomId, UserId, derived_item_id, is_user_id
from bot.domain.message import Outgoing
from bot.domain.room import RoomKind
from bot.domain.staff import Change
from bot.domain.texts import Texts
from bot.flows.surroundings import Desk, Rules, Surroundings
from bot.flows.warning import add_alarm
from bot.store import arrivals, cases, facts, rooms, staff
from bot.store.database import Tx

log = structlog.get_logger()

ROOMS_TO_LEAVE = (RoomKind.ADMIN, RoomKind.INBOX, RoomKind.CASE, RoomKind.SPACE)
"""In this order somebody is put out: first from where the most can be done and read."""


def in_force(rules: Rules, changes: Iterable[Change]) -> Rules:
    """Return the rules with these changes laid over them. A desk that has nobody left is answered by the admins.

    Raises:
        Fatal: no admin would be left.
    """
    changes = tuple(changes)
    removed = {change.user for change in changes if change.desk is None}
    taken_in = [(change.user, rules.desk(change.desk).id) for change in changes if change.desk is not None]
    admins = tuple(admin for admin in rules.admins if admin not in removed)
    if not admins:
        raise Fatal(
            "Every admin whom the configuration names was removed from the team by command. "
            "Name another one in `admins`."
        )

    def members(desk: Desk) -> tuple[UserId, ...]:
        stay = [user for user in desk.members if user not in removed]
        stay += [user for user, where in taken_in if where == desk.id and user not in stay]
        return tuple(stay) or admins

    return replace(rules, admins=admins, desks=tuple(replace(desk, members=members(desk)) for desk in rules.desks))


def places_of(rules: Rules, user: UserId) -> frozenset[str]:
    """Return the places of the house that somebody belongs into, beside the Space."""
    inboxes = {_inbox(desk) for desk in rules.desks if user in desk.members}
    return frozenset(inboxes | ({"admin"} if user in rules.admins else set()))


async def answering_for(around: Surroundings, desks: Iterable[DeskId]) -> list[DeskId]:
    """Return these desks, and those that the admin has since removed if one of these answers their cases."""
    theirs = set(desks)
    known = theirs | await cases.desks(around.database)
    return sorted(desk for desk in known if around.rules.desk(desk).id in theirs)


async def _inheriting(around: Surroundings, rules: Rules) -> frozenset[UserId]:
    """Return who answers the open cases of desks that the admin has removed, and may not be in their rooms."""
    gone = sorted(await cases.desks(around.database) - {desk.id for desk in rules.desks})
    is_left = gone and await cases.count_open(around.database, gone)
    return frozenset(rules.desk(gone[0]).members if is_left else ())


def changed_between(before: Rules, after: Rules) -> frozenset[UserId]:
    """Return everybody who belongs elsewhere than before."""
    everybody = before.staff | after.staff
    return frozenset(user for user in everybody if places_of(before, user) != places_of(after, user))


async def announce(around: Surroundings) -> None:
    """At a start, before the rooms follow: say in the admin room who came and who left since the last time.

    Whoever came gets the rooms of the open cases as well.
    """
    admin_room = await rooms.place(around.database, "admin")
    if admin_room is None:
        return
    came, gone = await _moved(around)
    heirs = await _inheriting(around, around.rules)
    name = f"start {around.now().isoformat()}"
    difference = derived_item_id(around.key, "moves", *sorted(came), "/", *sorted(gone))  # it names nobody
    async with around.database.transaction() as tx:
        # Who declines an invitation is missing at every start, and a start may be broken off: both are said once.
        if difference != await facts.get(tx, facts.STAFF_TOLD):
            await tell_moves(tx, around, admin_room, came, gone, name=name)
        await facts.put(tx, facts.STAFF_TOLD, difference)
        await cases.release_others(tx, around.rules.staff)
        await add_settling(tx, around, around.rules, came | heirs, name)


async def _moved(around: Surroundings) -> tuple[frozenset[UserId], frozenset[UserId]]:
    """Compare the rooms of the house with the rules: who is missing where they belong, who should be in none."""
    rules = around.rules
    places = {"space": rules.staff, "admin": frozenset(rules.admins)}
    places |= {_inbox(desk): frozenset(desk.members) for desk in rules.desks}
    came: set[UserId] = set()
    gone: set[UserId] = set()
    for name, people in places.items():
        room_id = await rooms.place(around.database, name)
        if room_id:
            present = frozenset(await around.messenger.members(room_id))
            came |= people - present
            gone |= present - rules.staff
    return frozenset(came), frozenset(gone)


async def tell_moves(
    tx: Tx,
    around: Surroundings,
    admin_room: RoomId,
    came: Iterable[UserId],
    gone: Iterable[UserId],
    *,
    name: str,
) -> None:
    """Put into the admin room whom a changed configuration brings in and puts out."""
    for text, people in (("admin.staff_came", came), ("admin.staff_gone", gone)):
        users = ", ".join(sorted(people))
        if users:
            await add_alarm(tx, around, admin_room, text, {"users": users}, name=name)


async def compare(around: Surroundings, configured: Rules) -> None:
    """Forget changes by command that the configuration says by now; tell the admins where it says the opposite."""
    overruled = set()
    async with around.database.transaction() as tx:
        changes = await staff.changes(tx)
        for user in {change.user for change in changes}:
            theirs = [change for change in changes if change.user == user]
            wanted = _wanted(configured, user, theirs)
            if wanted == places_of(configured, user):
                await staff.forget(tx, user)
            elif not wanted:
                overruled.add(user)
        admin_room = await rooms.place(tx, "admin")
        if overruled and admin_room:
            values = {"users": ", ".join(sorted(overruled))}
            await add_alarm(
                tx, around, admin_room, "admin.staff_overruled", values, name=around.now().date().isoformat()
            )
    around.bookkeeping.alarms_changed(admin_room)


async def take_over(
    around: Surroundings, configured: Rules, texts: Texts, text: str, values: Mapping[str, str]
) -> None:
    """A changed configuration holds from now on, below what was changed by command; the rooms of people follow.

    `text` and `values` are what the admin room is told. A crash after the commit loses nothing: a start does the same.

    Raises:
        Fatal: no admin would be left; nothing was changed.
    """
    name = around.now().isoformat()
    async with around.changing:
        before, rules = around.rules, in_force(configured, await staff.changes(around.database))
        moved = changed_between(before, rules) | await _inheriting(around, rules)
        async with around.database.transaction() as tx:
            admin_room = await rooms.place(tx, "admin")
            if admin_room:
                await add_alarm(tx, around, admin_room, text, values, name=name)
                came, gone = rules.staff - before.staff, before.staff - rules.staff
                await tell_moves(tx, around, admin_room, came, gone, name=name)
            await add_settling(tx, around, rules, moved, f"reload {name}")
            freed = await cases.release_others(tx, rules.staff)
        around.obey(rules, texts)
        around.bookkeeping.overviews_changed()
        await compare(around, configured)
    around.bookkeeping.lanes_changed(map(staff_lane, moved))
    for number in freed:
        around.bookkeeping.case_changed(number)


async def tell_admins(around: Surroundings, text: str, values: Mapping[str, str]) -> None:
    """Say something in the admin room that is about nobody's message."""
    async with around.database.transaction() as tx:
        admin_room = await rooms.place(tx, "admin")
        if admin_room:
            await add_alarm(tx, around, admin_room, text, values, name=around.now().isoformat())
    around.bookkeeping.alarms_changed(admin_room)


def _wanted(configured: Rules, user: UserId, changes: list[Change]) -> frozenset[str]:
    """Return where somebody belongs, if these changes of theirs lie over the configuration."""
    removed = any(change.desk is None for change in changes)
    taken_in = {f"inbox:{configured.desk(change.desk).id}" for change in changes if change.desk is not None}
    return frozenset(taken_in | (set() if removed else places_of(configured, user)))


def _inbox(desk: Desk) -> str:
    return f"inbox:{desk.id}"


async def hire(around: Surroundings, item: Item, rest: str) -> None:
    """`!aufnehmen @jan:example.de [desk]`.

    Raises:
        Mistake: nobody of our server is named, or no desk that there is.
    """
    if item.plan is None:
        user, desk = _candidate(around, rest)
        reply = around.say("admin.staff_hired", user=user, desk=desk.name)
        if await rooms.of_user(around.database, user):
            reply += "\n" + around.say("admin.staff_was_customer", user=user)
        async with around.changing:
            rules = in_force(around.rules, [Change(user, desk.id)])
            async with around.database.transaction() as tx:
                item = await around.plan(tx, item, {"reply": reply})
                await staff.add(tx, user, desk.id, around.now())
                if not await around.was_sent(item, "reply", tx):
                    # (taken in before a restore, they were invited then, and may have been put out again since)
                    await add_settling(tx, around, rules, [user], item.id)
            around.obey(rules)
        around.bookkeeping.lanes_changed([staff_lane(user)])
    assert item.plan is not None
    await _reply(around, item, item.plan["reply"])


async def dismiss(around: Surroundings, item: Item, rest: str) -> None:
    """`!entfernen @jan:example.de`. The answer comes when they are out of every room.

    Raises:
        Mistake: nobody of the team is named, or one who cannot be spared.
    """
    if item.plan is None:
        user = _dismissed(around, item, rest)
        async with around.changing:
            async with around.database.transaction() as tx:
                item = await around.plan(tx, item, {"user": user})
                await staff.remove(tx, user, around.now())
                freed = await cases.release_others(tx, around.rules.staff - {user})
            around.obey(in_force(around.rules, [Change(user, None)]))
        for number in freed:
            around.bookkeeping.case_changed(number)
    assert item.plan is not None
    user = UserId(item.plan["user"])
    refused = await _put_out(around, user)
    text = around.say("admin.staff_dismissed", user=user)
    if refused:
        text += "\n" + around.say("admin.staff_not_put_out", user=user, count=str(refused))
    await _reply(around, item, text)


async def _reply(around: Surroundings, item: Item, text: str) -> None:
    await around.send(item, "reply", item.room_id, Outgoing(text, notice=True))
    await around.finish(item)


def _candidate(around: Surroundings, rest: str) -> tuple[UserId, Desk]:
    """Return who is to be taken in, and where; without a desk at the first.

    Only accounts of our own server, because a typo in a server's name would invite a stranger.
    """
    name, _, where = rest.strip().partition(" ")
    rules, where = around.rules, where.strip().casefold()
    if not is_user_id(name) or name == rules.me or name in rules.ignored:
        raise Mistake("admin.staff_who")
    if name.partition(":")[2] != rules.me.partition(":")[2]:
        raise Mistake("admin.staff_elsewhere", user=name)
    found = [desk for desk in rules.desks if not where or where in {desk.id.casefold(), desk.name.casefold()}]
    if not found:
        raise Mistake("admin.staff_desk", desks=", ".join(desk.name for desk in rules.desks))
    return UserId(name), found[0]


def _dismissed(around: Surroundings, item: Item, rest: str) -> UserId:
    """Return who leaves. Nobody locks themselves out, and no desk is left without anybody who answers."""
    user, rules = UserId(rest.strip()), around.rules
    if user not in rules.staff:
        raise Mistake("admin.staff_unknown")
    if user == item.sender:
        raise Mistake("admin.staff_yourself")
    alone = [desk.name for desk in rules.desks if set(desk.members) == {user}]
    if alone:
        raise Mistake("admin.staff_last", user=user, desk=alone[0])
    return user


async def add_settling(tx: Tx, around: Surroundings, rules: Rules, people: Iterable[UserId], name: str) -> None:
    """Let the rooms of these people follow where they work by these rules; an item each, in a lane of its own."""
    for user in people:
        kind, named = ItemKind.STAFF if user in rules.staff else ItemKind.LEAVER, ("staff", user, name)
        await around.add_item(tx, kind, named, lane=staff_lane(user), room=RoomId(""), body={"user": user})


async def settle(around: Surroundings, item: Item) -> None:
    """Bring the rooms of one person in line with where they work now. It decides nothing: the rules in force do."""
    user = UserId(item.body["user"])
    item = await around.planned(item, {"settles": True})
    refused = await _bring_in(around, user)
    # Last, because whoever was dismissed meanwhile must be out of what they were invited to a moment ago.
    await _put_out(around, user)
    async with around.database.transaction() as tx:
        admin_room = await rooms.place(tx, "admin")
        if refused and admin_room:
            values = {"user": user, "count": str(refused)}
            await add_alarm(tx, around, admin_room, "admin.staff_not_invited", values, name=item.id)
        await arrivals.finish(tx, item)
    around.bookkeeping.alarms_changed(admin_room)


async def _bring_in(around: Surroundings, user: UserId) -> int:
    """Invite somebody to where they are missing; return how often the server said no."""
    refused = 0
    for room_id in await _rooms_for(around, user):
        if user not in around.rules.staff:
            break
        if user in await around.messenger.members(room_id):
            continue
        try:
            await around.messenger.invite(room_id, user)
        except Refused as error:
            log.warning("invite_refused", code=error.code, status=error.status)
            refused += 1
    return refused


async def _rooms_for(around: Surroundings, user: UserId) -> list[RoomId]:
    """Return where somebody belongs, in the order in which it helps them: the newest cases first."""
    places = places_of(around.rules, user)
    if not places:
        return []
    found = [await rooms.place(around.database, place) for place in ("space", *sorted(places))]
    desks = await answering_for(around, [desk.id for desk in around.rules.desks if user in desk.members])
    open_cases = await cases.open_for(around.database, user, desks)
    return [room_id for room_id in (*found, *open_cases) if room_id]


async def _put_out(around: Surroundings, user: UserId) -> int:
    """Remove somebody from where they do not belong (any more); return how often the server said no."""
    refused = 0
    for kind in ROOMS_TO_LEAVE:
        for room_id, desk in await rooms.of_kind_with_desk(around.database, kind):
            if may_be_in(around.rules, user, kind, desk) or user not in await around.messenger.members(room_id):
                continue
            try:
                await around.messenger.remove(room_id, user)
            except Refused as error:
                # They get no keys any more, whatever the server says of the room; the door is the server's.
                log.warning("not_put_out", code=error.code, status=error.status)
                refused += 1
    return refused


def may_be_in(rules: Rules, user: UserId, kind: RoomKind, desk: DeskId | None) -> bool:
    """Tell whether somebody may be in a room of the house. A colleague from another desk may be called into a case."""
    known = next((known for known in rules.desks if known.id == desk), None)
    if kind is RoomKind.ADMIN:
        return user in rules.admins
    if kind is RoomKind.INBOX and known:
        return user in known.members
    return user in rules.staff
