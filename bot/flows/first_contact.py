"""Whoever writes to us for the first time is shown the short privacy text (Art. 13 GDPR) before anything else is done.

Their message waits until the server has taken that text, ten minutes at most; then it goes on, staff see that, and it
is on record that the text could not be shown. Nobody is asked for consent to that: answering needs none.
"""

from dataclasses import replace
from datetime import timedelta

import structlog

from bot.domain.arrival import Item
from bot.domain.errors import Refused, Transient
from bot.domain.ids import CustomerId, derived_item_id
from bot.domain.message import Outgoing
from bot.domain.purpose import PrivacyText
from bot.flows.surroundings import Surroundings
from bot.store import arrivals, cases, consents, privacy_texts, rooms
from bot.store.database import Database, Tx

PATIENCE = timedelta(minutes=10)
"""How long a message waits for the text that has to come first."""
AGAIN_EVERY = timedelta(seconds=15)

log = structlog.get_logger()


async def planned(tx: Tx, around: Surroundings, item: Item, customer: CustomerId) -> dict[str, str]:
    """Return what belongs into the plan of an item of somebody who was not shown the text yet (part of its T1b)."""
    text = await due(tx, around, customer)
    if text is None:
        return {}
    await cases.add_automatic(tx, customer, item.id, "notice", around.now())
    return {"notice": text.sha256, "person": customer}


async def due(reader: Database | Tx, around: Surroundings, customer: CustomerId) -> PrivacyText | None:
    """Return the text that a person has to be shown first; None: there is none, or they know it."""
    if around.privacy is None:
        return None
    chosen = await rooms.language(reader, customer)
    text = around.privacy.notice(chosen or around.rules.language)
    return None if await consents.knows_notice(reader, customer, text, in_language=chosen) else text


async def show(around: Surroundings, item: Item) -> bool:
    """Show what is planned and put it on record; False: after ten minutes of trying it could not be shown.

    Raises:
        Transient: not yet; the lane waits.
    """
    assert item.plan is not None
    if "notice" not in item.plan:
        return True
    customer = CustomerId(item.plan["person"])
    text = await privacy_texts.registered(around.database, item.plan["notice"])
    if await consents.knows_notice(around.database, customer, text, in_language=text.language):
        return True
    # Whichever item shows it, also after a restore that forgot which did: the same person, room and text bear one mark.
    user = await rooms.user_of(around.database, customer)
    once = replace(item, id=derived_item_id(around.key, "notice", user, item.room_id, text.sha256))
    try:
        event = await around.send(once, "notice", item.room_id, Outgoing(text.text, to_all=True))
    except (Transient, Refused) as error:
        left = item.arrived_at + PATIENCE - around.now()
        if left > timedelta(0) and not await consents.notice_failed(around.database, customer):
            pause = min(left, AGAIN_EVERY) / timedelta(seconds=1)
            asked = error.retry_after_s if isinstance(error, Transient) else None
            raise Transient("the privacy text has to come first", retry_after_s=asked or pause) from error
        log.warning("notice_failed", reason=type(error).__name__)
        async with around.database.transaction() as tx:
            await consents.note_notice(tx, customer, text, None, {"room": item.room_id}, around.now())
        return False
    async with around.database.transaction() as tx:
        await consents.note_notice(tx, customer, text, event, {"room": item.room_id}, around.now())
    return True


async def show_first(around: Surroundings, item: Item) -> Item:
    """Show what is planned before anything else of an item; its plan says if that failed, so that staff see it."""
    if await show(around, item) or item.plan is None or item.plan.get("unnoticed"):
        return item
    plan = item.plan | {"unnoticed": True}
    async with around.database.transaction() as tx:
        await arrivals.add_to_plan(tx, item, plan)
    return replace(item, plan=plan)
