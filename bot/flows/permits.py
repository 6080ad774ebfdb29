"""Whatever needs a consent needs a permit: committed in its plan, from standing and suppression in that transaction.

A withdrawal cancels every permit whose first step has not started. One that has started is looked for in its room: if
it is there, it was sent, and that is said; if not, it never will be.
"""

from datetime import timedelta

from bot.domain import consent
from bot.domain.arrival import Item
from bot.domain.consent import NoPermit, Standing
from bot.domain.ids import CustomerId, EventId, RoomId, UserId
from bot.domain.ledger.entries import LedgerKind
from bot.domain.message import Outgoing
from bot.domain.purpose import PurposeId
from bot.flows.expiring import end_of, lapse, validity_of
from bot.flows.surroundings import Surroundings
from bot.store import consents, ledger, permits, rooms, suppression
from bot.store.database import Tx

MONTH = timedelta(days=30)


async def permit(
    tx: Tx, around: Surroundings, item: Item, customer: CustomerId, purpose: PurposeId, room: RoomId, *, campaign: str
) -> NoPermit | None:
    """Permit an item to send one message (part of its T1b); or return why not, and nothing is permitted."""
    if not around.ledger.agrees:
        return NoPermit.LEDGER
    there = await rooms.find(tx, room)
    if there is None or there.membership != "join" or not there.encrypted:
        return NoPermit.UNREACHABLE
    for person in there.present():
        who = await rooms.of_user(tx, person)
        is_theirs = who == customer
        refused = await _refused(tx, around, person, who, purpose)
        if refused and person not in around.rules.staff:
            return refused if is_theirs else NoPermit.OTHERS
    known = await consents.find(tx, customer, purpose)
    assert known is not None, "without one it was refused above"
    await permits.grant(tx, item.id, customer, purpose, campaign, known.entry, around.now())
    return None


async def _refused(
    tx: Tx, around: Surroundings, user: UserId, who: CustomerId | None, purpose: PurposeId
) -> NoPermit | None:
    """Return why one person may not be sent something. The suppression list is asked first."""
    assert around.privacy is not None
    if await suppression.is_blocked(tx, suppression.mark_of(around.suppression_key, user), purpose):
        return NoPermit.SUPPRESSED
    known = await consents.find(tx, who, purpose) if who else None
    if who is None or known is None:
        return NoPermit.NOT_GIVEN
    if await consents.is_under_age(tx, who):
        return NoPermit.UNDER_AGE
    sent = await permits.count_since(tx, who, purpose, around.now() - MONTH)
    validity = validity_of(around.privacy, around.privacy.purposes[purpose], known)
    refused = consent.is_unusable(known, validity, now=around.now(), sent=sent)
    end = end_of(around.privacy.purposes[purpose], known)
    if refused is NoPermit.EXPIRED and end:  # the sweep that would have ended it comes later than this message
        await lapse(tx, around, known, end.reason)
    return refused


async def send(around: Surroundings, item: Item, customer: CustomerId, purpose: PurposeId, text: Outgoing) -> bool:
    """Send what is permitted, if it still is; False: it was taken back before it began, and will never be sent."""
    assert item.plan is not None
    room = RoomId(item.plan["room"])
    async with around.database.transaction() as tx:
        before = await permits.start(tx, item.id)
        known = await consents.find(tx, customer, purpose)
    stands = known is not None and known.standing is Standing.GIVEN
    event: EventId | None = None
    if before == "open" or (before in {"started", "used"} and stands):
        event = await around.send(item, "permitted", room, text)
    elif before in {"started", "used"}:
        assert item.planned_at is not None
        event = await around.messenger.find_mark(room, around.txn(item, "permitted"), since=item.planned_at)
    async with around.database.transaction() as tx:
        await _settle(tx, around, item, customer, purpose, event)
    return event is not None


async def _settle(
    tx: Tx, around: Surroundings, item: Item, customer: CustomerId, purpose: PurposeId, event: EventId | None
) -> None:
    """What became of it goes on record, once."""
    if event is None:
        await permits.drop(tx, item.id)
    elif await permits.purpose_of_event(tx, event) is None:
        await permits.use(tx, item.id, event)
        await consents.set_used(tx, customer, purpose, around.now())
        used = {"purpose": purpose, "event": event, "campaign": str((item.plan or {}).get("campaign", item.id))}
        await ledger.append(tx, LedgerKind.USED, used, subject=customer, at=around.now())
