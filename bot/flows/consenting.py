"""Asking for consent and taking the answer. One purpose for each question, one question for each contact.

The registered text is an ordinary message; the poll is a second, short event that replies to it. A yes counts only as
`domain.consent` says, while the question is open, of the current words, and encrypted, from the person who was asked.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import structlog

from bot.domain import consent
from bot.domain.arrival import Item, ItemKind, aside_lane, customer_lane
from bot.domain.case import Case, CaseState
from bot.domain.consent import ANY_CASE, NO, YES, Answer, Consent, NotNow, Situation, Standing
from bot.domain.errors import Mistake, Refused
from bot.domain.ids import CaseNumber, CustomerId, EventId, Lane, RoomId
from bot.domain.ledger.entries import Entry, LedgerKind, Value
from bot.domain.message import Kind, Message, Outgoing
from bot.domain.poll import Poll
from bot.domain.purpose import NAMED, Privacy, PrivacyText, PurposeId, digest
from bot.flows import expiring
from bot.flows.confirming import shown_time
from bot.flows.expiring import validity_of
from bot.flows.purposes import period, title_of, words_of
from bot.flows.reaching import reachable_room
from bot.flows.surroundings import Surroundings
from bot.flows.withdrawing import LONGEST_WORDS
from bot.store import blocks, cases, consents, ledger, privacy_texts, questions, rooms, suppression
from bot.store.database import Tx
from bot.store.questions import Question

log = structlog.get_logger()


# -------------------------------------------------------------------------------------------------------------- asking


async def ask(around: Surroundings, item: Item, case: Case, rest: str) -> None:
    """Staff want a customer to be asked about a purpose. Why not, if not, is said to them."""
    if item.plan is None:
        async with around.database.transaction() as tx:
            item = await around.plan(tx, item, await _asked_by_staff(tx, around, item, case, rest))
    assert item.plan is not None
    told = item.plan["reply"]
    if item.plan["do"] == "question" and not await pose(around, item):
        told = around.say("consent.not_asked", why=around.say("consent.why_unreachable"))
    await around.send(item, "reply", item.room_id, Outgoing(told, notice=True))
    await around.finish(item)


async def _asked_by_staff(tx: Tx, around: Surroundings, item: Item, case: Case, rest: str) -> dict[str, Any]:
    word, _, details = rest.strip().partition(" ")
    purpose = words_of(around).get(word.casefold())
    if around.privacy is None or purpose is None:
        words = ", ".join(sorted(words_of(around))) or "–"
        return {"do": "nothing", "reply": around.say("consent.which", words=words)}
    text = around.privacy.question(purpose, await around.language_of(tx, case.customer_id))
    named = consent.named_in(details, text.names) if text.names else {}
    if named is None or (details and not text.names):
        return {"do": "nothing", "reply": _how_to_ask(around, word, text)}
    if named and case.state is CaseState.CLOSED:
        return {"do": "nothing", "reply": around.say("consent.not_asked", why=around.say("consent.why_case_closed"))}
    try:
        room = await reachable_room(around, case)
    except Mistake:
        why = around.say("consent.why_unreachable")
        return {"do": "nothing", "reply": around.say("consent.not_asked", why=why)}
    refused = await _refused(tx, around, item, case, purpose, one_case=bool(named))
    if refused:
        why = around.say(f"consent.why_{refused.value}")
        return {"do": "nothing", "reply": around.say("consent.not_asked", why=why)}
    plan = await _question(tx, around, item, case, purpose, room, named)
    title = title_of(around, purpose, case=case.number if named else ANY_CASE)
    return plan | {"reply": around.say("consent.asked", purpose=title)}


async def add_asking(tx: Tx, around: Surroundings, item: Item, case: Case) -> list[Lane]:
    """Part of the commit in which staff close a case: its customer may be asked now. Returns lanes."""
    if around.privacy is None or not around.rules.ask_at_close or case.room_id is None:
        return []
    lane = customer_lane(case.customer_id)
    name, body = ("asking", item.id), {"case": case.number}
    await around.add_item(tx, ItemKind.ASKING, name, lane=lane, room=case.room_id, body=body)
    return [lane]


async def ask_at_close(around: Surroundings, item: Item) -> None:
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
        if await _refused(tx, around, item, case, purpose, one_case=False) is None:
            plan = await _question(tx, around, item, case, purpose, room, {})
            return plan | {"reply": around.say("consent.asked", purpose=title_of(around, purpose))}
    return {"do": "nothing"}


def _how_to_ask(around: Surroundings, word: str, text: PrivacyText) -> str:
    """Say what has to stand behind the word: nothing, or what the question leaves open."""
    parts = [around.say(f"consent.named_{name}") for name in NAMED if name in text.names]
    if not parts:
        return around.say("consent.nothing_more", word=word)
    return around.say("consent.per_case", word=word, parts="; ".join(parts))


async def _refused(
    tx: Tx, around: Surroundings, item: Item, case: Case, purpose: PurposeId, *, one_case: bool
) -> NotNow | None:
    situation = await _situation(tx, around, case.customer_id, purpose, case.number if one_case else ANY_CASE)
    return consent.may_ask(
        purpose, situation, case=case.number, now=item.arrived_at, ask_again=period(around, "ask_again")
    )


async def _situation(
    tx: Tx, around: Surroundings, person: CustomerId, purpose: PurposeId, only_case: CaseNumber = ANY_CASE
) -> Situation:
    known = await consents.find(tx, person, purpose, only_case)
    mark = suppression.mark_of(around.suppression_key, await rooms.user_of(tx, person))
    asked = await questions.asked(tx, person)
    theirs = await cases.all_of(tx, person)
    return Situation(
        standing=known.standing if known else Standing.NONE,
        asked=asked,
        session_over=bool(asked) or any(case.state is CaseState.CLOSED or case.previous for case in theirs),
        under_age=await consents.is_under_age(tx, person),
        suppressed=await suppression.is_blocked(tx, mark, purpose),
        one_case=only_case != ANY_CASE,
    )


async def _question(
    tx: Tx,
    around: Surroundings,
    item: Item,
    case: Case,
    purpose: PurposeId,
    room: RoomId,
    named: Mapping[str, str],
) -> dict[str, Any]:
    """Write a question down (part of T1b) and return the plan that poses it."""
    assert around.privacy is not None
    text = around.privacy.question(purpose, await around.language_of(tx, case.customer_id))
    asked = Question(
        *(0, case.customer_id, purpose, case.number, room, text.sha256, text.version, text.language, None, None),
        *("open", False, around.now(), named),
    )
    return {"do": "question", "question": await questions.add(tx, item.id, asked), "reply": ""}


def _shown(text: PrivacyText, question: Question) -> str:
    """Return the words of a question as they are sent."""
    values = {"case": str(question.case), **question.named}
    return text.filled(**{name: values[name] for name in text.names})


async def pose(around: Surroundings, item: Item) -> bool:
    """Pose the planned question: its text, and the poll that replies to it. False: it cannot reach the customer."""
    assert item.plan is not None
    question = await questions.get(around.database, item.plan["question"])
    text = await privacy_texts.registered(around.database, question.sha256)
    say = around.texts.render
    poll = Poll(
        say("consent.poll", question.language, purpose=_title(around, question, question.language)),
        ((YES, say("consent.yes", question.language)), (NO, say("consent.no", question.language))),
    )
    try:
        said = await around.send(item, "question", question.room_id, Outgoing(_shown(text, question)))
        outgoing = Outgoing(poll.question, poll=poll, replies_to=said)
        voted_on = await around.send(item, "poll", question.room_id, outgoing)
    except Refused as error:
        log.info("question_refused", code=error.code)
        async with around.database.transaction() as tx:
            await questions.close(tx, question.id, "outdated")
        return False
    async with around.database.transaction() as tx:
        await _record_asked(tx, around, item, question, said, voted_on)
    return True


async def _record_asked(
    tx: Tx, around: Surroundings, item: Item, question: Question, said: EventId, poll: EventId
) -> None:
    """The events of a question exist: that goes on record, and when it is over stands in the table. Once."""
    known = await questions.get(tx, question.id)
    if known.text_event:
        return
    await questions.set_events(tx, question.id, said, poll)
    details: dict[str, Value] = {"question": said, "poll": poll, "room": question.room_id, "case": question.case}
    details |= await _about_case(tx, question)
    asked = _consent_of(around, question, item)
    await consents.record(tx, LedgerKind.REQUESTED, asked, details, now=around.now())
    await _add_item(tx, around, question, "question_over", due_at=period(around, "question").after(around.now()))


def _consent_of(around: Surroundings, question: Question, item: Item, decision: EventId | None = None) -> Consent:
    assert around.privacy is not None
    return Consent(
        customer=question.customer,
        purpose=question.purpose,
        standing=Standing.NONE,
        since=around.now(),
        entry=0,
        text_sha256=question.sha256,
        text_version=question.version,
        language=question.language,
        purpose_sha256=around.privacy.purposes[question.purpose].sha256,
        decision=decision,
        arrived=item.position,
        case=question.only_case,
    )


async def _about_case(tx: Tx, question: Question) -> dict[str, Value]:
    """Return what stands in the entries about a question for one case: what was filled in, and what came of it."""
    if not question.named:
        return {}
    text = await privacy_texts.registered(tx, question.sha256)
    return {**question.named, "shown_sha256": digest(_shown(text, question))}


def _title(around: Surroundings, question: Question, language: str = "") -> str:
    return title_of(around, question.purpose, language, question.only_case)


# ----------------------------------------------------------------------------------------------------------- answering


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
        return await _wished(tx, around, item, person, message)
    if answer is Answer.YES and question.is_open and await _may_say_yes(tx, around, item, question, message):
        return await _say_yes(tx, around, item, question, message)
    if answer is Answer.NO and question.is_open:
        return await _say_no(tx, around, item, question, message)
    if message.kind is Kind.POLL_VOTE or question.unclear or question.state == "decided":
        return None
    await questions.set_unclear(tx, question.id)
    return {"also": around.privacy.text("consent_unclear", question.language).filled()}


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


async def _may_say_yes(tx: Tx, around: Surroundings, item: Item, question: Question, message: Message) -> bool:
    """A yes needs an encrypted event, in time, to the words as they are now, not taken back since, of a grown-up."""
    assert around.privacy is not None
    purpose = around.privacy.purposes.get(question.purpose)
    if purpose is None or not purpose.needs_consent:
        return False
    in_time = item.arrived_at <= period(around, "question").after(question.asked_at)
    current = around.privacy.question(question.purpose, question.language).sha256 == question.sha256
    taken_back = await consents.withdrawn_after(tx, item, question.customer, question.purpose)
    young = await consents.is_under_age(tx, question.customer)
    return message.encrypted and in_time and current and not taken_back and not young


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
        purpose=_title(around, question, question.language),
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
        purpose=_title(around, question, question.language),
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
    } | await _about_case(tx, question)
    await questions.close(tx, question.id, "decided")
    answered = _consent_of(around, question, item, item.event_id)
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
    await _end_poll(around, item, question)
    await around.send(item, "confirmation", item.room_id, Outgoing(item.plan["text"], notice=True))
    case = await cases.get(around.database, question.case)
    if case.room_id:
        told = around.say_at(case.desk, item.plan["staff"], purpose=_title(around, question))
        await around.send(item, "staff", case.room_id, Outgoing(told, notice=True))
    await around.finish(item)


async def _end_poll(around: Surroundings, item: Item, question: Question) -> None:
    if question.poll_event is None:
        return
    over = Outgoing(around.texts.render("poll.ended", question.language), ends=question.poll_event)
    try:
        await around.send(item, "poll_end", question.room_id, over)
    except Refused as error:
        log.info("poll_not_ended", code=error.code)  # the room is gone, and the poll with it


async def over(around: Surroundings, item: Item) -> None:
    """A question has lasted long enough, or became another one: no answer means no."""
    if item.plan is None:
        async with around.database.transaction() as tx:
            item = await around.plan(tx, item, {"ends": True})
            await _defer(tx, around, item, await questions.get(tx, item.body["question"]))
    await _end_poll(around, item, await questions.get(around.database, item.body["question"]))
    await around.finish(item)


async def _defer(tx: Tx, around: Surroundings, item: Item, question: Question) -> None:
    if not question.is_open:
        return
    await questions.close(tx, question.id, "outdated")
    known = await consents.find(tx, question.customer, question.purpose, question.only_case)
    if known:
        details = {"question": question.text_event}
        await consents.record(tx, LedgerKind.DEFERRED, known, details, now=around.now())


async def _wished(
    tx: Tx, around: Surroundings, item: Item, person: CustomerId, message: Message
) -> dict[str, Any] | None:
    """`!ja <zweck>` without a question: they are shown it now, since they asked for it; never in the first session."""
    purpose = consent.agreed_in(message.body, words_of(around)) if message.kind is Kind.TEXT else None
    case = await cases.latest_of(tx, person)
    if purpose is None or case is None or around.privacy is None:
        return None
    text = around.privacy.question(purpose, await around.language_of(tx, person))
    situation = await _situation(tx, around, person, purpose)
    if situation.standing is Standing.GIVEN or text.names:  # what only staff can fill in is for them to read
        return None
    open_one = any(question.is_open for question in situation.asked)
    if situation.under_age or open_one or not situation.session_over or not message.encrypted:
        return {"also": around.privacy.text("consent_unclear", await around.language_of(tx, person)).filled()}
    return await _question(tx, around, item, case, purpose, item.room_id, {})


async def pose_wished(around: Surroundings, item: Item) -> None:
    """Pose a question that the customer asked for, and finish the item (T2)."""
    await pose(around, item)
    await around.finish(item)


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
        await _add_item(tx, around, question, "question_outdated", due_at=around.now())
    return {"also": around.privacy.text("minor", await around.language_of(tx, person)).filled()}


# --------------------------------------------------------------------------------------------------- words that change


async def bring_up_to_date(around: Surroundings) -> None:
    """At a start: what somebody agreed to may be something else now, and what they were asked, too."""
    if around.privacy is None:
        return
    async with around.database.transaction() as tx:
        await _publish(tx, around, around.privacy)
        for known in await consents.given(tx):
            purpose = around.privacy.purposes.get(known.purpose)
            if purpose is None or not purpose.question or not validity_of(around.privacy, purpose, known).fits(known):
                await consents.record(tx, LedgerKind.SUPERSEDED, known, {}, now=around.now())
            else:
                await expiring.watch(tx, around, known)
        for question in await questions.all_open(tx):
            if not _is_current(around.privacy, question):
                await _add_item(tx, around, question, "question_outdated")


def _is_current(privacy: Privacy, question: Question) -> bool:
    purpose = privacy.purposes.get(question.purpose)
    return bool(purpose and purpose.question) and (
        privacy.question(question.purpose, question.language).sha256 == question.sha256
    )


async def _add_item(
    tx: Tx, around: Surroundings, question: Question, name: str, *, due_at: datetime | None = None
) -> Lane:
    """Have a question looked at again, now or when it is due; returns its lane."""
    lane = aside_lane(f"question:{question.id}")
    named, body = (name, str(question.id)), {"question": question.id}
    await around.add_item(tx, ItemKind.QUESTION, named, lane=lane, room=question.room_id, body=body, due_at=due_at)
    return lane


async def end_with_case(tx: Tx, around: Surroundings, case: Case) -> list[Lane]:
    """Part of the commit that closes a case: what holds as long as it lasts is over. Returns lanes with more to do."""
    for known in await consents.of_customer(tx, case.customer_id) if around.privacy else []:
        purpose = around.privacy.purposes.get(known.purpose) if around.privacy else None
        if purpose and purpose.ends_with_case and known.case == case.number and known.standing is Standing.GIVEN:
            await expiring.lapse(tx, around, known, "case_closed")
    question = await questions.open_of(tx, case.customer_id)
    if question is None or question.only_case != case.number:
        return []
    return [await _add_item(tx, around, question, "question_outdated")]


async def _publish(tx: Tx, around: Surroundings, privacy: Privacy) -> None:
    """Every text and purpose that people may be shown is in the ledger before they are."""
    known = {
        entry.fact.details.get("sha256")
        for kind in (LedgerKind.TEXT_PUBLISHED, LedgerKind.PURPOSE_PUBLISHED)
        for entry in await ledger.of_kind(tx, kind)
        if entry.fact
    }
    now = around.now()
    for text in privacy.texts.values():
        if text.sha256 not in known:
            said = {"text": text.id, "version": text.version, "language": text.language, "sha256": text.sha256}
            await ledger.append(tx, LedgerKind.TEXT_PUBLISHED, said, subject=None, at=now)
    for purpose in privacy.asked_for():
        if purpose.sha256 not in known:
            published = {"purpose": purpose.id, "sha256": purpose.sha256}
            await ledger.append(tx, LedgerKind.PURPOSE_PUBLISHED, published, subject=None, at=now)
