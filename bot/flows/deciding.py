"""Taking the answer of a customer: a yes or a no, in their chat.

A yes counts only as `domain.consent` says, while the question is open, of the current words, and encrypted, from the
person who was asked.
"""

from typing import Any

from bot.domain import consent
from bot.domain.arrival import Item
from bot.domain.consent import ANY_CASE, Answer, Standing
from bot.domain.ids import CustomerId
from bot.domain.ledger.entries import Entry, LedgerKind, Value
from bot.domain.message import Kind, Message, Outgoing
from bot.flows import asking, expiring
from bot.flows.confirming import shown_time
from bot.flows.posing import about_case, consent_of, end_poll, look_again, title
from bot.flows.purposes import period, words_of
from bot.flows.surroundings import Surroundings
from bot.flows.withdrawing import LONGEST_WORDS
from bot.store import cases, consents, ledger, questions, suppression
from bot.store.database import Tx
from bot.store.questions import Question


async def decided(
    tx: Tx, around: Surroundings, item: Item, person: CustomerId, message: Message
) -> dict[str, Any] | None:
    """Part of T1b: take a yes or a no. Returns the plan; one without `do` adds to what is done with any message."""
    if around.privacy is None or item.sender in around.rules.staff:
        return None
    young = await _young(tx, around, item, person, message)
    if young:
        return young
    question, answer = await _answered(tx, around, person, message)
    if question is None or question.customer != person:
        unheard = await _bare_yes(tx, around, item, person, message)
        return unheard or await asking.wished(tx, around, item, person, message)
    if answer is Answer.YES and question.is_open and await _may_say_yes(tx, around, item, question, message):
        return await _say_yes(tx, around, item, question, message)
    if answer is Answer.NO and question.is_open:
        return await _say_no(tx, around, item, question, message)
    if message.kind is Kind.POLL_VOTE or question.state == "decided":
        return None
    return await _unclear(tx, around, item, question)


async def _answered(
    tx: Tx, around: Surroundings, person: CustomerId, message: Message
) -> tuple[Question | None, Answer | None]:
    """Return the question that a message is about, and what it says to it. Nothing but a whole new message counts."""
    if message.kind is Kind.POLL_VOTE and message.target:
        question = await questions.of_event(tx, message.target)
        is_poll = question is not None and question.poll_event == message.target
        return question if is_poll else None, consent.voted(message.vote)
    if message.kind is not Kind.TEXT:
        return None, None
    if message.replies_to:
        return await questions.of_event(tx, message.replies_to), consent.answer_in(message.body)
    purpose = consent.agreed_in(message.body, words_of(around))
    if purpose:
        return await questions.open_of(tx, person, purpose), Answer.YES
    said = consent.withdrawal_in(message.body, words_of(around)) if message.body.strip().startswith("!") else None
    return (await questions.open_of(tx, person, said.purpose), Answer.NO) if said and said.purpose else (None, None)


async def _bare_yes(
    tx: Tx, around: Surroundings, item: Item, person: CustomerId, message: Message
) -> dict[str, Any] | None:
    """A yes-word that replies to nothing agrees to nothing, and is no answer to us once staff wrote something newer."""
    if message.kind is not Kind.TEXT or message.replies_to or consent.answer_in(message.body) is not Answer.YES:
        return None
    question = await questions.open_of(tx, person)
    if question is None or question.text_event is None or question.room_id != item.room_id:
        return None
    if not _in_time(around, item, question) or await questions.is_followed(tx, question, item.position):
        return None
    return await _unclear(tx, around, item, question)


async def _unclear(tx: Tx, around: Surroundings, item: Item, question: Question) -> dict[str, Any]:
    """Nothing goes on record. Staff see that beside each such message; the customer is told once for each question."""
    assert around.privacy is not None
    plan = {"uncounted": question.id}
    if question.unclear or not await around.may_answer(tx, item, question.customer, "also"):
        return plan
    await questions.set_unclear(tx, question.id)
    return plan | {"also": around.privacy.text("consent_unclear", question.language).filled()}


async def _young(
    tx: Tx, around: Surroundings, item: Item, person: CustomerId, message: Message
) -> dict[str, Any] | None:
    """Who says that they are too young is asked nothing any more, and what they agreed to never counted."""
    age = consent.age_in(message.words) if message.kind is Kind.TEXT else None
    if around.privacy is None or age is None or await consents.is_under_age(tx, person):
        return None
    if age >= max((purpose.minimum_age for purpose in around.privacy.asked_for()), default=0):
        return None
    await consents.set_under_age(tx, person)
    for known in await consents.of_customer(tx, person):
        details = {"event": item.event_id, "reason": "under_age"}
        await consents.record(tx, LedgerKind.INVALIDATED, known, details, now=around.now())
    question = await questions.open_of(tx, person)
    if question:
        await questions.close(tx, question.id, "outdated")
        await look_again(tx, around, question, "question_outdated", due_at=around.now())
    return {"also": around.privacy.text("minor", await around.language_of(tx, person)).filled()}


async def _may_say_yes(tx: Tx, around: Surroundings, item: Item, question: Question, message: Message) -> bool:
    """A yes needs an encrypted event, in time, to the words as they are now, not taken back since, of a grown-up."""
    assert around.privacy is not None
    purpose = around.privacy.purposes.get(question.purpose)
    if purpose is None or not purpose.needs_consent:
        return False
    in_time = _in_time(around, item, question)
    current = around.privacy.question(question.purpose, question.language).sha256 == question.sha256
    taken_back = await consents.withdrawn_after(tx, item, question.customer, question.purpose)
    young = await consents.is_under_age(tx, question.customer)
    return message.encrypted and in_time and current and not taken_back and not young


def _in_time(around: Surroundings, item: Item, question: Question) -> bool:
    return item.arrived_at <= period(around, "question").after(question.asked_at)


async def _say_yes(tx: Tx, around: Surroundings, item: Item, question: Question, message: Message) -> dict[str, Any]:
    assert around.privacy is not None
    again = await _agreed_before(tx, question)
    kind = LedgerKind.RENEWED if again else LedgerKind.GIVEN
    entry = await _record_answer(tx, around, item, question, message, kind)
    if entry is None:
        return {}
    mark = suppression.mark_of(around.suppression_key, item.sender)
    await suppression.lift(tx, mark, question.purpose, around.now())
    text = around.privacy.confirmation(question.language).filled(
        purpose=title(around, question, question.language),
        date=shown_time(around, item, question.language),
        question_version=question.version,
        fingerprint=entry.fingerprint,
        word=around.privacy.purposes[question.purpose].words[question.language].word,
    )
    return _concluded(question, text, "case.consent_given")


async def _agreed_before(tx: Tx, question: Question) -> bool:
    facts = [entry.fact for entry in await ledger.of_subject(tx, question.customer) if entry.fact]
    matter = (question.purpose, question.only_case)
    given = [fact.details for fact in facts if fact.kind is LedgerKind.GIVEN]
    return any((said.get("purpose"), said.get(consents.ONLY_CASE, ANY_CASE)) == matter for said in given)


async def _say_no(tx: Tx, around: Surroundings, item: Item, question: Question, message: Message) -> dict[str, Any]:
    assert around.privacy is not None
    await _record_answer(tx, around, item, question, message, LedgerKind.REFUSED)
    next_time = period(around, "ask_again").after(question.asked_at)
    text = around.privacy.text("consent_refused", question.language).filled(
        purpose=title(around, question, question.language),
        next_time=next_time.strftime("%d.%m.%Y" if question.language == "de" else "%Y-%m-%d"),
    )
    return _concluded(question, text, "case.consent_refused")


async def _record_answer(
    tx: Tx, around: Surroundings, item: Item, question: Question, message: Message, kind: LedgerKind
) -> Entry | None:
    """Everything that shows later what was asked, what was said, by whom and when."""
    form = "vote" if message.kind is Kind.POLL_VOTE else "reply" if message.replies_to else "command"
    details: dict[str, Value] = {
        "question": question.text_event,
        "poll": question.poll_event,
        "event": item.event_id,
        "room": item.room_id,
        "user": item.sender,
        "form": form,
        "words": (message.words or ", ".join(message.vote))[:LONGEST_WORDS],
        "written_at": message.sent_at.isoformat(timespec="milliseconds"),
        "device": "unsigned" if message.unsigned_device else "signed",
    } | await about_case(tx, question)
    await questions.close(tx, question.id, "decided")
    answered = consent_of(around, question, item, item.event_id)
    entry = await consents.record(tx, kind, answered, details, now=around.now())
    known = await consents.find(tx, question.customer, question.purpose, question.only_case)
    if known and known.standing is Standing.GIVEN:
        await expiring.watch(tx, around, known)
    return entry


def _concluded(question: Question, text: str, staff: str) -> dict[str, Any]:
    return {"do": "conclude", "question": question.id, "text": text, "staff": staff, "purpose": question.purpose}


async def conclude(around: Surroundings, item: Item) -> None:
    """End the poll, confirm to the customer, tell staff, and finish the item (T2)."""
    assert item.plan is not None
    question = await questions.get(around.database, item.plan["question"])
    await end_poll(around, item, question)
    await around.send(item, "confirmation", item.room_id, Outgoing(item.plan["text"], notice=True))
    case = await cases.get(around.database, question.case)
    if case.room_id:
        told = around.say_at(case.desk, item.plan["staff"], purpose=title(around, question))
        await around.send(item, "staff", case.room_id, Outgoing(told, notice=True))
    await around.finish(item)
