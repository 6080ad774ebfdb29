"""What a customer is told who writes when nobody is there: that it arrived, and when somebody reads it."""

from datetime import datetime, timedelta
from typing import Final

from bot.domain.arrival import Item
from bot.domain.case import Case
from bot.flows.surroundings import Surroundings
from bot.store import cases
from bot.store.database import Tx

TALK: Final = timedelta(minutes=30)
"""So long after staff wrote, somebody is there, whatever the hours say."""
PAUSE: Final = timedelta(hours=12)
"""A customer hears it once for each case, and of all their cases together not more often than this."""


async def sentence(tx: Tx, around: Surroundings, item: Item, case: Case) -> str:
    """Return what is to be said, as part of T1b; nothing if somebody is there or it was said."""
    hours, now = around.rules.hours_at(case.desk), around.now()
    if hours is None or hours.is_open(now) or (case.touched_at and now - case.touched_at < TALK):
        return ""
    step = _step(case)
    if await cases.was_answered(tx, case.customer_id, step, everywhere_since=now - PAUSE):
        return ""
    if not await around.may_answer(tx, item, case.customer_id, step):
        return ""
    opens = hours.next_opening(now)
    language = await around.language_of(tx, case.customer_id)
    if opens is None:
        return around.texts.render("customer.away_long", language)
    return around.texts.render("customer.away", language, when=_when(around, opens, now, language))


async def take_back(tx: Tx, item: Item, case: Case) -> None:
    """It is not said after all, so the next message is answered with it."""
    await cases.forget_automatic(tx, case.customer_id, item.id, _step(case))


def _step(case: Case) -> str:
    return f"away {case.number}"


def _when(around: Surroundings, opens: datetime, now: datetime, language: str) -> str:
    """Name the moment as people do. `opens` is local time, and so is every day here."""
    say = around.texts.render
    clock = opens.strftime("%H:%M")
    days = (opens.date() - now.astimezone(opens.tzinfo).date()).days
    if days < 2:
        return say("when.tomorrow" if days else "when.today", language, time=clock)
    weekday, month = say(f"weekday.{opens.isoweekday()}", language), say(f"month.{opens.month}", language)
    return say("when.day", language, weekday=weekday, day=str(opens.day), month=month, time=clock)
