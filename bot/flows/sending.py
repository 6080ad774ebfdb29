"""What staff send that needs a consent: one question about how satisfied a customer was, and news to all who agreed.

Also the one thing about consent that staff may record themselves: that somebody took it back by word of mouth.
"""

from typing import Any, Final

from bot.domain.arrival import Item, ItemKind, customer_lane
from bot.domain.case import Case
from bot.domain.errors import Mistake
from bot.domain.ids import CustomerId, RoomId
from bot.domain.message import Outgoing
from bot.domain.purpose import PurposeId
from bot.flows import permits
from bot.flows.purposes import words_of
from bot.flows.reaching import reachable_room
from bot.flows.surroundings import Surroundings
from bot.flows.withdrawing import Taken, apply
from bot.store import consents, rooms
from bot.store.database import Tx

SURVEY: Final = PurposeId("feedback_survey")
NEWS: Final = PurposeId("marketing_news")


async def record_withdrawal(around: Surroundings, item: Item, case: Case, rest: str) -> None:
    """Staff record that a customer took consent back orally. That somebody agrees they cannot record."""
    purpose = words_of(around).get(rest.strip().casefold())
    if item.plan is None:
        async with around.database.transaction() as tx:
            item, lanes = await _planned_withdrawal(tx, around, item, case, purpose, rest)
        around.bookkeeping.lanes_changed(lanes)
    assert item.plan is not None
    await around.send(item, "reply", item.room_id, Outgoing(item.plan["reply"], notice=True))
    await around.finish(item)


async def _planned_withdrawal(
    tx: Tx, around: Surroundings, item: Item, case: Case, purpose: PurposeId | None, rest: str
) -> tuple[Item, list[Any]]:
    if around.privacy is None or (rest.strip() and purpose is None):
        words = ", ".join(sorted(words_of(around))) or "–"
        return await around.plan(tx, item, {"reply": around.say("consent.which", words=words)}), []
    lanes = await apply(tx, around, item, case.customer_id, Taken(purpose, "staff"))
    reply = "consent.withdrawal_recorded" if lanes else "consent.withdrawal_known"
    return await around.plan(tx, item, {"reply": around.say(reply)}), lanes


async def survey(around: Surroundings, item: Item, case: Case, rest: str) -> None:
    """`!umfrage <text>`: ask the customer of a case how satisfied they were, if they agreed to be asked."""
    if item.plan is None:
        plan = await _reached(around, case)
        async with around.database.transaction() as tx:
            plan = await _planned(tx, around, item, case.customer_id, SURVEY, plan, text=rest, campaign=item.id)
            item = await around.plan(tx, item, plan)
    sent = await _send_planned(around, item, case.customer_id, SURVEY)
    await around.send(item, "reply", item.room_id, Outgoing(_outcome(around, item, sent), notice=True))
    await around.finish(item)


async def _reached(around: Surroundings, case: Case) -> dict[str, Any]:
    try:
        return {"room": await reachable_room(around, case)}
    except Mistake:
        return {"room": None}


async def _planned(
    tx: Tx,
    around: Surroundings,
    item: Item,
    customer: CustomerId,
    purpose: PurposeId,
    plan: dict[str, Any],
    *,
    text: str,
    campaign: str,
) -> dict[str, Any]:
    """T1b: the permit, or why there is none."""
    if around.privacy is None or purpose not in around.privacy.purposes or not text.strip():
        return plan | {"why": "usage"}
    if plan["room"] is None:
        return plan | {"why": "unreachable"}
    room = RoomId(plan["room"])
    refused = await permits.permit(tx, around, item, customer, purpose, room, campaign=campaign)
    return plan | {"why": refused.value if refused else "", "text": text, "campaign": campaign}


async def _send_planned(around: Surroundings, item: Item, customer: CustomerId, purpose: PurposeId) -> bool:
    assert item.plan is not None
    if item.plan["why"] or around.privacy is None:
        return False
    known = await consents.find(around.database, customer, purpose)
    language = known.language if known else around.rules.language
    word = around.privacy.purposes[purpose].words[language].word
    footer = around.texts.render("consent.footer", language, word=word)
    text = Outgoing(f"{item.plan['text']}\n\n{footer}")
    return await permits.send(around, item, customer, purpose, text)


def _outcome(around: Surroundings, item: Item, sent: bool) -> str:
    assert item.plan is not None
    if sent:
        return around.say("consent.survey_sent")
    return around.say("consent.not_sent", why=around.say(f"consent.why_{item.plan['why'] or 'not_given'}"))


async def news(around: Surroundings, item: Item, rest: str) -> None:
    """`!info <text>` in the admin room: one item for each customer who agreed to news, one after the other."""
    if item.plan is None:
        async with around.database.transaction() as tx:
            item = await around.plan(tx, item, {"reply": await _queued(tx, around, item, rest)})
    assert item.plan is not None
    await around.send(item, "reply", item.room_id, Outgoing(item.plan["reply"], notice=True))
    await around.finish(item)


async def _queued(tx: Tx, around: Surroundings, item: Item, text: str) -> str:
    """Queue what can go out (part of T1b), and return what is said about it."""
    if not text.strip():
        return around.say("consent.usage")
    if around.privacy is not None and not around.ledger.agrees:
        return around.say("consent.not_sent", why=around.say("consent.why_ledger"))
    return around.say("consent.news_queued", count=str(await _queue(tx, around, item, text)))


async def _queue(tx: Tx, around: Surroundings, item: Item, text: str) -> int:
    """Part of T1b: what each of them will be sent has an item in their lane; whether it may be, is decided there."""
    if around.privacy is None:
        return 0
    count = 0
    for known in await consents.given(tx, NEWS):
        room = await rooms.customer_room(tx, known.customer)
        if room is None:
            continue
        count += 1
        name, lane = ("news", item.id, known.customer), customer_lane(known.customer)
        body = {"purpose": NEWS, "customer": known.customer, "text": text, "campaign": item.id}
        due_at = around.now() + count * around.rules.news_interval
        await around.add_item(tx, ItemKind.NEWS, name, lane=lane, room=room, body=body, due_at=due_at)
    return count


async def send_news(around: Surroundings, item: Item) -> None:
    """Send one customer what all who agreed are sent, if they still agree."""
    customer = CustomerId(item.body["customer"])
    purpose = PurposeId(item.body["purpose"])
    if item.plan is None:
        async with around.database.transaction() as tx:
            where = {"room": await rooms.customer_room(tx, customer)}
            text, campaign = item.body["text"], item.body["campaign"]
            plan = await _planned(tx, around, item, customer, purpose, where, text=text, campaign=campaign)
            item = await around.plan(tx, item, plan)
    await _send_planned(around, item, customer, purpose)
    await around.finish(item)
