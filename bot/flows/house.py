"""The rooms that the business needs before anybody can be served: Space, inbox rooms, admin room.

Safe at every start: what exists is kept, who is missing is invited, who does not work here any more is put out.
"""

from dataclasses import replace
from functools import partial

import structlog

from bot.domain.errors import Refused
from bot.domain.ids import DeskId, RoomId, UserId
from bot.domain.room import Room, RoomKind
from bot.flows import staffing
from bot.flows.insisting import insist
from bot.flows.messenger import RoomSpec
from bot.flows.surroundings import Surroundings
from bot.store import rooms

log = structlog.get_logger()


async def set_up(around: Surroundings) -> None:
    """Make every place that is missing and invite every member who is missing."""
    await staffing.announce(around)
    rules = around.rules
    everybody = tuple(sorted(rules.staff))
    space_name = around.say("room.space", business=rules.business)
    space = await _place(around, "space", RoomKind.SPACE, space_name, everybody)
    admin = await _place(around, "admin", RoomKind.ADMIN, around.say("room.admin"), rules.admins, parent=space)
    await _hang(around, space, admin)
    for desk in rules.desks:
        name = around.say_at(desk.id, "room.inbox", desk=desk.name)
        place = f"inbox:{desk.id}"
        inbox = await _place(around, place, RoomKind.INBOX, name, desk.members, parent=space, desk=desk.id)
        await _hang(around, space, inbox)
    # Also rooms of desks and cases that no configuration and no table knows any more.
    for kind in (RoomKind.CASE, RoomKind.INBOX):
        for room_id in await rooms.of_kind(around.database, kind):
            await _put_out_others(around, room_id, rules.staff)


async def _place(
    around: Surroundings,
    name: str,
    kind: RoomKind,
    title: str,
    people: tuple[UserId, ...],
    *,
    parent: RoomId | None = None,
    desk: DeskId | None = None,
) -> RoomId:
    async with around.database.transaction() as tx:
        alias, room_id = await rooms.make_place(tx, name)
    if room_id is None:
        is_space = kind is RoomKind.SPACE
        spec = RoomSpec(
            alias=alias, name=title, invite=people, encrypted=not is_space, space=is_space, parent=parent, mark=name
        )
        room_id = await insist(lambda: around.messenger.create_room(spec))
        await _record(around, name, room_id, kind, desk)
    await insist(lambda: around.messenger.drop_alias(alias))
    await _put_out_others(around, room_id, frozenset(people))
    await _invite_missing(around, room_id, people)
    return room_id


async def _record(around: Surroundings, name: str, room_id: RoomId, kind: RoomKind, desk: DeskId | None) -> None:
    async with around.database.transaction() as tx:
        known = await rooms.find(tx, room_id)
        facts = replace(
            known or Room(room_id, membership="join", version="12"),
            kind=kind,
            desk=desk,
            ours=True,
            space=kind is RoomKind.SPACE,
            encrypted=kind is not RoomKind.SPACE,
        )
        await rooms.save(tx, facts, known=known)
        await rooms.set_place(tx, name, room_id)


async def _invite_missing(around: Surroundings, room_id: RoomId, people: tuple[UserId, ...]) -> None:
    present = set(await around.messenger.members(room_id))
    for user in people:
        if user in present:
            continue
        try:
            await insist(partial(around.messenger.invite, room_id, user))
        except Refused as error:
            # One person who cannot be invited must not keep the business closed.
            log.warning("invite_refused", code=error.code, status=error.status)


async def _put_out_others(around: Surroundings, room_id: RoomId, people: frozenset[UserId]) -> None:
    """Whoever is no longer in the configuration leaves our rooms; what their phone holds already stays there."""
    for user in set(await around.messenger.members(room_id)) - people:
        try:
            await insist(partial(around.messenger.remove, room_id, user))
        except Refused as error:
            # They get no keys any more, whatever the server says of the room; the door is the server's.
            log.warning("not_put_out", code=error.code, status=error.status)


async def _hang(around: Surroundings, space: RoomId, room_id: RoomId) -> None:
    via = [around.rules.me.partition(":")[2]]
    await insist(lambda: around.messenger.set_state(space, "m.space.child", room_id, {"via": via}))
