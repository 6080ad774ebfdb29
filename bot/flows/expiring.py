"""A consent ends by itself when nobody relied on it for long, at the age that the admin has set, or with its case.

It ends silently: whoever is told that a consent runs out is written to for its sake, which can be advertising itself.
"""

from dataclasses import dataclass
from datetime import datetime

from bot.domain.arrival import Item, ItemKind, aside_lane, customer_lane
from bot.domain.case import Case
from bot.domain.consent import Consent, Standing, Validity
from bot.domain.ids import CaseNumber, CustomerId, Lane, RoomId, derived_item_id
from bot.domain.ledger.entries import LedgerKind, Value, stamp
from bot.domain.purpose import Privacy, PrivacyText, Purpose, PurposeId
from bot.flows.posing import defer, look_again
from bot.flows.surroundings import Surroundings
from bot.store import arrivals, consents, permits, questions, rooms
from bot.store.database import Tx

UNUSED = "unused"
"""The period, from the day it was given or last relied on, after which a consent is over."""
LASTS = "lasts"
"""The period, from the day it was given, after which a consent is over even if it is used."""


@dataclass(frozen=True, slots=True)
class End:
    """When a consent is over by itself, and the period that ends then."""

    at: datetime
    reason: str


def end_of(purpose: Purpose, known: Consent) -> End | None:
    """Return when a consent ends if nothing happens; None: never. What ends on a day ends with that day."""
    begins = {UNUSED: known.used_at or known.since, LASTS: known.since}
    ends: list[End] = []
    for period in purpose.keeps:
        if period.id in begins:
            day = period.ends(begins[period.id].date())
            ends.append(End(datetime(day.year, day.month, day.day, 23, 59, tzinfo=known.since.tzinfo), period.id))
    return min(ends, key=lambda end: end.at, default=None)


def validity_of(privacy: Privacy, purpose: Purpose, known: Consent) -> Validity:
    """Return what a consent has to fit today."""
    text: PrivacyText = privacy.question(purpose.id, known.language or "de")
    end = end_of(purpose, known)
    return Validity(purpose.sha256, text.counts_from, end.at if end else None, purpose.most_per_month)


async def watch(tx: Tx, around: Surroundings, known: Consent) -> None:
    """Have a consent looked at when it may be over, once for each moment that this can be."""
    purpose = around.privacy.purposes.get(known.purpose) if around.privacy else None
    end = end_of(purpose, known) if purpose else None
    if end is None:
        return
    name = ("expiry", known.customer, known.purpose, str(known.entry), end.at.isoformat())
    lane = aside_lane(f"expiry:{derived_item_id(around.key, *name)}")
    room = await rooms.customer_room(tx, known.customer) or RoomId("")
    body = {"person": known.customer, "purpose": known.purpose, "case": known.case, "entry": known.entry}
    await around.add_item(tx, ItemKind.EXPIRY, name, lane=lane, room=room, body=body, due_at=end.at)


async def expire(around: Surroundings, item: Item) -> None:
    """End a consent whose time has come, with all that was going to be sent for it; one that was used goes on."""
    async with around.database.transaction() as tx:
        person, case = CustomerId(item.body["person"]), CaseNumber(item.body["case"])
        known = await consents.find(tx, person, PurposeId(item.body["purpose"]), case)
        stands = known is not None and known.standing is Standing.GIVEN and known.entry == item.body["entry"]
        purpose = around.privacy.purposes.get(known.purpose) if around.privacy and known else None
        end = end_of(purpose, known) if purpose and known and stands else None
        if end and around.now() < end.at:
            await arrivals.wait(tx, item, "", end.at)
            return
        if end and known:
            await lapse(tx, around, known, end.reason)
            await arrivals.drop_news(tx, customer_lane(known.customer), known.purpose)
        await arrivals.finish(tx, item)


async def lapse(tx: Tx, around: Surroundings, known: Consent, reason: str) -> None:
    """A consent is over by itself: that goes on record, and no permit that has not begun outlives it."""
    cancelled, _ = await permits.cancel(tx, known.customer, known.purpose)
    details: dict[str, Value] = {"reason": reason, "stopped": cancelled, "since": stamp(known.since)}
    await consents.record(tx, LedgerKind.EXPIRED, known, details, now=around.now())


async def end_with_case(tx: Tx, around: Surroundings, case: Case) -> list[Lane]:
    """Part of the commit that closes a case: what holds as long as it lasts is over. Returns lanes with more to do."""
    for known in await consents.of_customer(tx, case.customer_id) if around.privacy else []:
        purpose = around.privacy.purposes.get(known.purpose) if around.privacy else None
        if purpose and purpose.ends_with_case and known.case == case.number and known.standing is Standing.GIVEN:
            await lapse(tx, around, known, "case_closed")
    question = await questions.open_of(tx, case.customer_id)
    if question is None or question.only_case != case.number:
        return []
    await defer(tx, around, question)  # at once: a yes may stand right behind in the lane
    return [await look_again(tx, around, question, "question_outdated")]
