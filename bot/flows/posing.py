"""A question for consent: how it is posed, what of it goes on record, and when it is over.

The registered text is an ordinary message; the poll is a second, short event that replies to it. One purpose for each
question. No answer means no.
"""

from datetime import datetime

import structlog

from bot.domain.arrival import Item, ItemKind, aside_lane
from bot.domain.consent import NO, YES, Consent, Standing
from bot.domain.errors import Refused
from bot.domain.ids import EventId, Lane
from bot.domain.ledger.entries import LedgerKind, Value
from bot.domain.message import Outgoing
from bot.domain.poll import Poll
from bot.domain.purpose import PrivacyText, digest
from bot.flows.purposes import period, title_of
from bot.flows.surroundings import Surroundings
from bot.store import consents, privacy_texts, questions
from bot.store.database import Tx
from bot.store.questions import Question

log = structlog.get_logger()


async def pose(around: Surroundings, item: Item) -> bool:
    """Pose the planned question: its text, and the poll that replies to it. False: it cannot reach the customer."""
    assert item.plan is not None
    question = await questions.get(around.database, item.plan["question"])
    text = await privacy_texts.registered(around.database, question.sha256)
    say = around.texts.render
    poll = Poll(
        say("consent.poll", question.language, purpose=title(around, question, question.language)),
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
    details |= await about_case(tx, question)
    asked = consent_of(around, question, item)
    await consents.record(tx, LedgerKind.REQUESTED, asked, details, now=around.now())
    await look_again(tx, around, question, "question_over", due_at=period(around, "question").after(around.now()))


def _shown(text: PrivacyText, question: Question) -> str:
    """Return the words of a question as they are sent."""
    values = {"case": str(question.case), **question.named}
    return text.filled(**{name: values[name] for name in text.names})


def title(around: Surroundings, question: Question, language: str = "") -> str:
    """Return what a question is about, for people."""
    return title_of(around, question.purpose, language, question.only_case)


def consent_of(around: Surroundings, question: Question, item: Item, decision: EventId | None = None) -> Consent:
    """Return what goes on record about a question now, or about the event that decided it."""
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


async def about_case(tx: Tx, question: Question) -> dict[str, Value]:
    """Return what stands in the entries about a question for one case: what was filled in, and what came of it."""
    if not question.named:
        return {}
    text = await privacy_texts.registered(tx, question.sha256)
    return {**question.named, "shown_sha256": digest(_shown(text, question))}


async def look_again(
    tx: Tx, around: Surroundings, question: Question, name: str, *, due_at: datetime | None = None
) -> Lane:
    """Have a question looked at again, now or when it is due; returns its lane."""
    lane = aside_lane(f"question:{question.id}")
    named, body = (name, str(question.id)), {"question": question.id}
    await around.add_item(tx, ItemKind.QUESTION, named, lane=lane, room=question.room_id, body=body, due_at=due_at)
    return lane


async def over(around: Surroundings, item: Item) -> None:
    """A question has lasted long enough, or became another one: no answer means no."""
    if item.plan is None:
        async with around.database.transaction() as tx:
            item = await around.plan(tx, item, {"ends": True})
            await defer(tx, around, await questions.get(tx, item.body["question"]))
    await end_poll(around, item, await questions.get(around.database, item.body["question"]))
    await around.finish(item)


async def defer(tx: Tx, around: Surroundings, question: Question) -> None:
    """A question is over without an answer, if it has none (part of a commit)."""
    if not question.is_open:
        return
    await questions.close(tx, question.id, "outdated")
    known = await consents.find(tx, question.customer, question.purpose, question.only_case)
    if known:
        details = {"question": question.text_event}
        await consents.record(tx, LedgerKind.DEFERRED, known, details, now=around.now())


async def end_poll(around: Surroundings, item: Item, question: Question) -> None:
    """Nobody can vote any more, if there ever was a poll."""
    if question.poll_event is None:
        return
    over = Outgoing(around.texts.render("poll.ended", question.language), ends=question.poll_event)
    try:
        await around.send(item, "poll_end", question.room_id, over)
    except Refused as error:
        log.info("poll_not_ended", code=error.code)  # the room is gone, and the poll with it
