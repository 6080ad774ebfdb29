"""Taking consent back: as easy as giving it, effective at once, confirmed once, never followed by a question.

What is in clear counts in T1 already. What is encrypted is read ahead in a lane of its own when there is something to
take back, so that it never stands behind a waiting item. The message itself goes to staff like any other; one of a
device that is not believed does not, and takes back all the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

from bot.domain import consent
from bot.domain.arrival import Item, ItemKind, ItemState, aside_lane, customer_lane
from bot.domain.consent import ANY_CASE, Answer, Consent, Standing, Withdrawal
from bot.domain.ids import CaseNumber, CustomerId, EventId, ItemId, Lane, derived_item_id
from bot.domain.ledger.entries import LedgerKind
from bot.domain.message import Forged, Kind, Message, NoKey, Reading, Untrusted
from bot.domain.purpose import PurposeId
from bot.domain.room import Room, RoomKind
from bot.flows.purposes import words_of
from bot.flows.surroundings import Surroundings
from bot.store import arrivals, consents, ledger, permits, questions, rooms, suppression
from bot.store.database import Tx

LONGEST_WORDS = 200  # characters of a decision that go on record
MOST_READ = 2000  # characters of a message in clear
LOOK_AGAIN = timedelta(seconds=30)
GIVE_UP_AFTER = timedelta(days=1)
"""How long what cannot be decrypted is looked at again; its own item goes on waiting for the key after that."""

IN_DOUBT: Final = frozenset({"unbelieved", "unknown"})
"""Devices whose messages are not relayed."""

SPOKEN: Final = frozenset(Kind) - {Kind.DELETION, Kind.REACTION, Kind.POLL_VOTE, Kind.POLL_END, Kind.NOISE}


@dataclass(frozen=True, slots=True)
class Taken:
    """What somebody takes back (None: all; in one case alone), how, in which words, and from what kind of device.

    `device`: signed, unsigned, unbelieved (unsigned, where only signed ones are heard), unknown (none of theirs that we
    know or can learn of), or none (it was not encrypted, or staff recorded it).
    """

    purpose: PurposeId | None
    form: str
    words: str = ""
    device: str = "none"
    case: CaseNumber = ANY_CASE

    @property
    def in_doubt(self) -> bool:
        """The message itself is not relayed."""
        return self.device in IN_DOUBT


# --------------------------------------------------------------------------------------------------------- recognising


async def recognised(tx: Tx, around: Surroundings, item: Item, person: CustomerId, message: Message) -> Taken | None:
    """Return what a message takes back, if it does."""
    if message.kind in {Kind.DELETION, Kind.EDIT} and message.target:
        before = await _decided_by(tx, person, message.target)
        if before:
            form = "deletion" if message.kind is Kind.DELETION else "edit"
            return Taken(before.purpose, form, message.body, case=before.case)
    if message.kind is Kind.POLL_VOTE and message.target:
        question = await questions.of_event(tx, message.target)
        is_yes = consent.voted(message.vote) is Answer.YES
        if question is None or is_yes or not await _has(tx, person, question):
            return None
        return Taken(question.purpose, "vote", case=question.only_case)
    if message.kind not in SPOKEN:
        return None
    said = consent.withdrawal_in(message.words, words_of(around))
    if said and not await _is_refusal(tx, person, message, said):
        return Taken(said.purpose, "words", message.words)
    if message.replies_to and consent.answer_in(message.words) is Answer.NO:
        purpose, case = await _replied_to(tx, person, message)
        if purpose and await _stands(tx, person, purpose, case):
            return Taken(purpose, "reply", message.words, case=case)
    return None


async def _decided_by(tx: Tx, person: CustomerId, event: EventId) -> Consent | None:
    before = await consents.of_decision(tx, event)
    return before if before and before.customer == person else None


async def _has(tx: Tx, person: CustomerId, question: questions.Question) -> bool:
    return question.customer == person and await _stands(tx, person, question.purpose, question.only_case)


async def _stands(tx: Tx, person: CustomerId, purpose: PurposeId, case: CaseNumber) -> bool:
    known = await consents.find(tx, person, purpose, case)
    return known is not None and known.standing is Standing.GIVEN


async def _replied_to(tx: Tx, person: CustomerId, message: Message) -> tuple[PurposeId | None, CaseNumber]:
    """Return the purpose (and the case) of the question or the message of ours that this one answers."""
    if message.replies_to is None:
        return None, ANY_CASE
    question = await questions.of_event(tx, message.replies_to)
    if question:
        return (question.purpose if question.customer == person else None), question.only_case
    return await permits.purpose_of_event(tx, message.replies_to), ANY_CASE


async def _is_refusal(tx: Tx, person: CustomerId, message: Message, said: Withdrawal) -> bool:
    """`!nein zweck` to an open question says no to that, and nothing more."""
    word = message.words.strip().casefold().lstrip("!").split(maxsplit=1)[:1]
    question = await questions.open_of(tx, person, said.purpose)
    return word in (["nein"], ["no"]) and said.purpose is not None and question is not None


# ------------------------------------------------------------------------------------------------------- reading ahead


async def look_at(tx: Tx, around: Surroundings, item: Item) -> list[Lane]:
    """Part of T1: take back what is taken back in clear, and let the rest be read ahead. Returns lanes."""
    if around.privacy is None or item.sender in around.rules.staff:
        return []
    person = await rooms.of_user(tx, item.sender)
    if person is None:
        return []
    taken = await _in_clear(tx, around, item, person)
    if taken:
        return await apply(tx, around, item, person, taken)
    if item.body.get("type") != "m.room.encrypted" or not await has_something(tx, person):
        return []
    lane = aside_lane(item.id)
    await _add(tx, around, item, ItemKind.HEED, lane, {"item": item.id})
    return [lane]


async def _in_clear(tx: Tx, around: Surroundings, item: Item, person: CustomerId) -> Taken | None:
    """Relations and deletions stand in clear on the wire; so do the words of who writes without encryption."""
    content = item.body.get("content")
    if not isinstance(content, dict):
        return None
    relation = content.get("m.relates_to")
    edits = relation.get("event_id") if isinstance(relation, dict) and relation.get("rel_type") == "m.replace" else None
    deletes = item.body.get("redacts") or content.get("redacts")
    target = deletes if item.body.get("type") == "m.room.redaction" else edits
    if isinstance(target, str):
        before = await _decided_by(tx, person, EventId(target))
        return Taken(before.purpose, "edit" if target == edits else "deletion", case=before.case) if before else None
    body = content.get("body")
    if item.body.get("type") != "m.room.message" or not isinstance(body, str):
        return None
    words = "\n".join(line for line in body[:MOST_READ].splitlines() if not line.startswith(">"))  # not what it quotes
    said = consent.withdrawal_in(words, words_of(around))
    is_answer = words.strip().casefold().startswith(("!nein", "!no"))
    return Taken(said.purpose, "words", words) if said and not is_answer else None


async def has_something(tx: Tx, person: CustomerId) -> bool:
    """Tell whether there is anything to take back: a yes, or a question that a yes may be under way to."""
    known = await consents.of_customer(tx, person)
    return any(found.standing in {Standing.GIVEN, Standing.REQUESTED} for found in known)


async def read_only(tx: Tx, item_id: ItemId) -> None:
    """Part of T1: this is of somebody blocked. What stood in clear has had its effect; the rest ends once read."""
    item = await arrivals.get(tx, item_id)
    if item and item.body.get("type") == "m.room.encrypted":
        await arrivals.set_aside(tx, item)
    elif item:
        await arrivals.finish(tx, item, arrivals.LEFT_OUT)


async def read_alone(tx: Tx, around: Surroundings, waiting: Sequence[Item]) -> int:
    """What of this is being read ahead of its turn will have none: it ends once read. Returns how much that is."""
    count = 0
    for item in waiting:
        reading = await arrivals.get(tx, derived_item_id(around.key, *_name(ItemKind.HEED, item, {"item": item.id})))
        if reading and reading.state is not ItemState.DONE:
            await arrivals.set_aside(tx, item)
            count += 1
    return count


async def heed(around: Surroundings, item: Item) -> None:
    """Read an event ahead of what waits before it; only a withdrawal has an effect here."""
    waiting = await arrivals.get(around.database, ItemId(item.body["item"]))
    if waiting is None or not waiting.body or waiting.state is ItemState.DONE:
        await around.finish(item)
        return
    reading = await around.messenger.read(waiting.room_id, waiting.body)
    said, device = heard(reading)
    if isinstance(reading, NoKey) and around.now() - item.arrived_at < GIVE_UP_AFTER:
        async with around.database.transaction() as tx:
            await arrivals.wait(tx, item, "", around.now() + LOOK_AGAIN)
        return
    lanes: list[Lane] = []
    async with around.database.transaction() as tx:
        person = await rooms.of_user(tx, waiting.sender)
        if person and said:
            lanes = await take(tx, around, waiting, person, said, device=device) or []
        read = await arrivals.get(tx, waiting.id)
        if read and read.reason == arrivals.READ_AHEAD:
            await arrivals.finish(tx, read, arrivals.LEFT_OUT)
        await arrivals.finish(tx, item)
    around.bookkeeping.lanes_changed(lanes)


def heard(reading: Reading) -> tuple[Message | None, str]:
    """Return what may take something back, and which device said it: also one for which nothing else is believed.

    Only whoever runs a server could forge that, and whom it concerns loses a consent by it and nothing else.
    """
    match reading:
        case Message():
            return reading, "unsigned" if reading.unsigned_device else "signed" if reading.encrypted else "none"
        case Untrusted():
            return reading.said, "unbelieved"
        case Forged():
            return reading.said, "unknown"
        case _:
            return None, ""


async def despite_doubt(around: Surroundings, item: Item, room: Room, reading: Untrusted | Forged) -> bool:
    """A customer's message is about to be refused; tell whether it takes something back, which it then has done."""
    said, device = heard(reading)
    is_theirs = room.kind is RoomKind.CUSTOMER and item.sender not in around.rules.staff
    if said is None or around.privacy is None or not is_theirs:
        return False
    async with around.database.transaction() as tx:
        person = await rooms.of_user(tx, item.sender)
        lanes = await take(tx, around, item, person, said, device=device) if person else None
    around.bookkeeping.lanes_changed(lanes or [])
    return lanes is not None


# ------------------------------------------------------------------------------------------------------------- effects


async def take(
    tx: Tx, around: Surroundings, item: Item, person: CustomerId, message: Message, *, device: str = ""
) -> list[Lane] | None:
    """Take back what a message takes back, in this commit; None: it does not. Returns the lanes of what follows."""
    if await consents.is_withdrawal(tx, item.id):
        return []
    taken = await recognised(tx, around, item, person, message)
    if taken is None:
        return None
    return await apply(tx, around, item, person, replace(taken, device=device or heard(message)[1]))


async def apply(tx: Tx, around: Surroundings, item: Item, person: CustomerId, taken: Taken) -> list[Lane]:
    """Put it on record, cancel what has not begun, block what may come, have both sides told. Once per item."""
    if around.privacy is None or not await consents.note_withdrawal(tx, item, person, taken.purpose):
        return []
    now = around.now()
    details = {
        "form": taken.form,
        "words": taken.words[:LONGEST_WORDS],
        "event": item.id,
        "room": item.room_id,
        "device": taken.device,
    }
    ended = await _end(tx, around, item, person, taken, details)
    dropped = await arrivals.drop_news(tx, customer_lane(person), taken.purpose)
    cancelled, begun = await permits.cancel(tx, person, taken.purpose)
    mark = suppression.mark_of(around.suppression_key, await rooms.user_of(tx, person))
    # What somebody does not want in one case they may still be asked about in another.
    is_new = not taken.case and await suppression.block(tx, mark, taken.purpose, reason="withdrawal", now=now)
    if is_new and not ended:
        scope = taken.purpose or suppression.EVERYTHING
        await ledger.append(tx, LedgerKind.OBJECTED, {**details, "scope": scope}, subject=person, at=now)
    lanes = [lane for known in ended for lane in await _outdate(tx, around, item, known)]
    if not ended and not is_new:
        return lanes
    body = {
        "person": person,
        "purposes": [known.purpose for known in ended if known.standing is Standing.GIVEN],
        "cases": [known.case for known in ended if known.standing is Standing.GIVEN],
        "stopped": dropped + cancelled,
        "begun": begun,
        "language": ended[0].language if ended else await around.language_of(tx, person),
        "in_doubt": taken.in_doubt,
    }
    aside, theirs = aside_lane(f"withdrawn:{item.id}"), customer_lane(person)
    await _add(tx, around, item, ItemKind.WITHDRAWN, aside, body | {"to": "customer"})
    await _add(tx, around, item, ItemKind.WITHDRAWN, theirs, body | {"to": "staff"})  # behind the message itself
    return [*lanes, aside, theirs]


async def _end(
    tx: Tx, around: Surroundings, item: Item, person: CustomerId, taken: Taken, details: dict[str, Any]
) -> list[Consent]:
    """Return what stood or was asked, as it was before. What was agreed to later than this was said stays."""
    ended: list[Consent] = []
    for known in await consents.of_customer(tx, person):
        concerned = taken.purpose in {None, known.purpose} and taken.case in {ANY_CASE, known.case}
        if not concerned or known.arrived >= item.position:
            continue
        if await consents.record(tx, LedgerKind.WITHDRAWN, known, details, now=around.now()):
            ended.append(known)
    return ended


async def _outdate(tx: Tx, around: Surroundings, item: Item, known: Consent) -> list[Lane]:
    """A question about it is over."""
    question = await questions.open_of(tx, known.customer, known.purpose)
    if question is None or question.only_case != known.case:
        return []
    await questions.close(tx, question.id, "decided")
    lane = aside_lane(f"question:{question.id}")
    await _add(tx, around, item, ItemKind.QUESTION, lane, {"question": question.id})
    return [lane]


async def _add(tx: Tx, around: Surroundings, item: Item, kind: ItemKind, lane: Lane, body: dict[str, Any]) -> None:
    await around.add_item(tx, kind, _name(kind, item, body), lane=lane, room=item.room_id, body=body, of=item)


def _name(kind: ItemKind, item: Item, body: dict[str, Any]) -> tuple[str, ...]:
    return (kind, item.id, *map(str, body.values()))
