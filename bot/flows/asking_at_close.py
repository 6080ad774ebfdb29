"""When staff close a case its customer may be asked about one purpose, the first of `ask_at_close` that is allowed."""

from typing import Any

from bot.domain.arrival import Item, ItemKind, customer_lane
from bot.domain.case import Case, CaseState
from bot.domain.errors import Mistake
from bot.domain.ids import CaseNumber, Lane
from bot.domain.message import Outgoing
from bot.flows import asking
from bot.flows.posing import pose
from bot.flows.purposes import period, title_of
from bot.flows.reaching import reachable_room
from bot.flows.surroundings import Surroundings
from bot.store import blocks, cases, questions
from bot.store.database import Tx


async def add(tx: Tx, around: Surroundings, item: Item, case: Case) -> list[Lane]:
    """Part of the commit in which staff close a case: its customer may be asked now. Returns lanes."""
    if around.privacy is None or not around.rules.ask_at_close or case.room_id is None:
        return []
    lane = customer_lane(case.customer_id)
    name, body = ("asking", item.id), {"case": case.number}
    await around.add_item(tx, ItemKind.ASKING, name, lane=lane, room=case.room_id, body=body)
    return [lane]


async def ask(around: Surroundings, item: Item) -> None:
    """A case was closed: ask about the first purpose that the customer may be asked about, if any, and tell staff."""
    case = await cases.get(around.database, CaseNumber(item.body["case"]))
    if item.plan is None:
        async with around.database.transaction() as tx:
            item = await around.plan(tx, item, await _first_question(tx, around, item, case))
    assert item.plan is not None
    if item.plan["do"] == "question" and await pose(around, item):
        await around.send(item, "reply", item.room_id, Outgoing(item.plan["reply"], notice=True))
    await around.finish(item)


async def _first_question(tx: Tx, around: Surroundings, item: Item, case: Case) -> dict[str, Any]:
    """T1b. Nobody whom staff do not want to hear from, and nobody who was asked anything within the time."""
    asked = await questions.asked(tx, case.customer_id)
    recently = any(item.arrived_at < period(around, "ask_again").after(question.at) for question in asked)
    kept_off = await blocks.of(tx, case.customer_id, around.now())
    if case.state is not CaseState.CLOSED or recently or kept_off:
        return {"do": "nothing"}
    try:
        room = await reachable_room(around, case)
    except Mistake:
        return {"do": "nothing"}
    known = [purpose for purpose in around.rules.ask_at_close if around.privacy and purpose in around.privacy.purposes]
    for purpose in known:
        if await asking.not_now(tx, around, item, case, purpose) is None:
            plan = await asking.planned(tx, around, item, case, purpose, room, {})
            return plan | {"reply": around.say("consent.asked", purpose=title_of(around, purpose))}
    return {"do": "nothing"}
