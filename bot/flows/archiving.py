"""Rooms of closed cases are put away: they leave the Space, and staff leave them. When a case opens again they return.

What the bot wrote there, the customer's words included, is readable for whoever comes back, with keys that it kept.
What staff wrote is not, for those who were not there; so it is said again.
"""

import structlog

from bot.domain.arrival import Item, staff_lane
from bot.domain.errors import Refused
from bot.domain.ids import CaseNumber, RoomId, UserId
from bot.domain.message import Outgoing
from bot.flows import staffing, states, telling
from bot.flows.surroundings import Surroundings
from bot.store import arrivals, cases, rooms

log = structlog.get_logger()


async def put_away(around: Surroundings, item: Item) -> None:
    """Take the room of a closed case out of the Space and everybody out of the room, if it is still closed."""
    if item.plan is None:
        planned = await _decided(around, item)
        if planned is None:
            return
        item = planned
    assert item.plan is not None
    await _hang(around, item.room_id, {})
    for user in item.plan["people"]:
        try:
            await around.messenger.remove(item.room_id, UserId(user))
        except Refused as error:
            log.warning("not_put_out", code=error.code, status=error.status)
    async with around.database.transaction() as tx:
        await arrivals.finish(tx, item)


async def _decided(around: Surroundings, item: Item) -> Item | None:
    """T1b: who leaves; None: it is too early, or the case is open again."""
    people = await around.messenger.members(item.room_id)
    now, period = around.now(), around.rules.archive_after
    async with around.database.transaction() as tx:
        case = await states.rung(tx, item)
        if case is None or case.since is None or not period:
            await arrivals.finish(tx, item)
            return None
        if case.since + period > now:
            await arrivals.wait(tx, item, "", case.since + period)
            return None
        await cases.set_archived(tx, case.number, now)
        return await around.plan(tx, item, {"people": list(people)})


async def bring_back(around: Surroundings, item: Item) -> None:
    """Hang the room into the Space again, say what staff wrote, and invite the desk."""
    case = await cases.get(around.database, CaseNumber(item.body["case"]))
    item = await around.planned(item, {"returns": True})
    await _hang(around, item.room_id, {"via": [around.rules.me.partition(":")[2]]})
    # Not even a plan holds what people wrote.
    lines = await telling.lines_of(around, item.room_id, telling.USUAL, staff_only=True)
    if lines:
        said = "\n".join([around.say("telling.recap"), *lines])
        await around.send(item, "recap", item.room_id, Outgoing(said, notice=True))
    people = around.rules.desk(case.desk).members
    async with around.database.transaction() as tx:
        await staffing.add_settling(tx, around, around.rules, people, item.id)
        await arrivals.finish(tx, item)
    around.bookkeeping.lanes_changed(map(staff_lane, people))


async def _hang(around: Surroundings, room_id: RoomId, content: dict[str, list[str]]) -> None:
    """Hang a room into the Space; without content, take it out."""
    space = await rooms.place(around.database, "space")
    assert space is not None, "the house is set up before anybody is served"
    await around.messenger.set_state(space, "m.space.child", room_id, dict(content))
