"""Who may be asked for consent, and when: staff want it, or the customer wishes it. One question for each contact."""

from collections.abc import Mapping
from typing import Any

from bot.domain import consent
from bot.domain.arrival import Item
from bot.domain.case import Case, CaseState
from bot.domain.consent import ANY_CASE, NotNow, Situation, Standing
from bot.domain.errors import Mistake
from bot.domain.ids import CaseNumber, CustomerId, RoomId
from bot.domain.ledger.entries import LedgerKind, Value
from bot.domain.message import Kind, Message, Outgoing
from bot.domain.purpose import NAMED, PrivacyText, PurposeId
from bot.flows.posing import pose
from bot.flows.purposes import period, title_of, words_of
from bot.flows.reaching import reachable_room
from bot.flows.surroundings import Surroundings
from bot.flows.withdrawing import LONGEST_WORDS
from bot.store import cases, consents, ledger, questions, rooms, suppression
from bot.store.database import Tx
from bot.store.questions import Question


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
    refused = await not_now(tx, around, item, case, purpose, one_case=bool(named))
    if refused:
        why = _why(around, refused, purpose, text.language)
        return {"do": "nothing", "reply": around.say("consent.not_asked", why=why)}
    plan = await planned(tx, around, item, case, purpose, room, named)
    title = title_of(around, purpose, case=case.number if named else ANY_CASE)
    return plan | {"reply": around.say("consent.asked", purpose=title)}


def _why(around: Surroundings, refused: NotNow, purpose: PurposeId, language: str) -> str:
    """Say why nobody is asked now; what a customer has to write is in their language."""
    why = around.say(f"consent.why_{refused.value}")
    if refused is not NotNow.SUPPRESSED or around.privacy is None:
        return why
    word = around.privacy.purposes[purpose].words[language].word
    return " ".join([why, around.say("consent.how_to_allow", word=word)])


def _how_to_ask(around: Surroundings, word: str, text: PrivacyText) -> str:
    """Say what has to stand behind the word: nothing, or what the question leaves open."""
    parts = [around.say(f"consent.named_{name}") for name in NAMED if name in text.names]
    if not parts:
        return around.say("consent.nothing_more", word=word)
    return around.say("consent.per_case", word=word, parts="; ".join(parts))


async def wished(
    tx: Tx, around: Surroundings, item: Item, person: CustomerId, message: Message
) -> dict[str, Any] | None:
    """`!ja <zweck>` without a question: they are shown it now, since they asked for it; never in the first session."""
    purpose = consent.agreed_in(message.body, words_of(around)) if message.kind is Kind.TEXT else None
    case = await cases.latest_of(tx, person)
    if purpose is None or case is None or around.privacy is None:
        return None
    text = around.privacy.question(purpose, await around.language_of(tx, person))
    situation = await _situation(tx, around, person, purpose)
    if situation.standing is Standing.GIVEN or (text.names and not situation.suppressed):
        return None  # what only staff can fill in is for them to read
    if text.names and await consents.withdrawn_after(tx, item, person, purpose):
        return None
    if text.names and message.encrypted and not situation.under_age:
        return await _let_ask(tx, around, item, case, purpose, message)
    open_one = any(question.is_open for question in situation.asked)
    if situation.under_age or open_one or not situation.session_over or not message.encrypted:
        return {"also": around.privacy.text("consent_unclear", await around.language_of(tx, person)).filled()}
    return await planned(tx, around, item, case, purpose, item.room_id, {})


async def _let_ask(
    tx: Tx, around: Surroundings, item: Item, case: Case, purpose: PurposeId, message: Message
) -> dict[str, Any]:
    """After STOPP they let us ask again what only staff can ask: on record, and no consent (part of T1b)."""
    now, person = around.now(), case.customer_id
    mark = suppression.mark_of(around.suppression_key, await rooms.user_of(tx, person))
    await suppression.lift(tx, mark, purpose, now, reason="may_ask")
    details: dict[str, Value] = {
        "form": "command",
        "words": message.body[:LONGEST_WORDS],
        "event": item.id,
        "room": item.room_id,
        "device": "unsigned" if message.unsigned_device else "signed",
        "scope": purpose,
    }
    await ledger.append(tx, LedgerKind.OBJECTION_LIFTED, details, subject=person, at=now)
    language = await around.language_of(tx, person)
    said = around.texts.render("customer.may_ask", language, purpose=title_of(around, purpose, language))
    return {"do": "let_ask", "case": case.number, "purpose": purpose, "text": said}


async def say_may_ask(around: Surroundings, item: Item) -> None:
    """Say to both sides that the team may ask again, and finish the item (T2)."""
    assert item.plan is not None
    await around.send(item, "confirmation", item.room_id, Outgoing(item.plan["text"], notice=True))
    case = await cases.get(around.database, item.plan["case"])
    if case.room_id:
        told = around.say_at(case.desk, "case.may_ask", purpose=title_of(around, item.plan["purpose"]))
        await around.send(item, "staff", case.room_id, Outgoing(told, notice=True))
    await around.finish(item)


async def pose_wished(around: Surroundings, item: Item) -> None:
    """Pose a question that the customer asked for, and finish the item (T2)."""
    await pose(around, item)
    await around.finish(item)


async def not_now(
    tx: Tx, around: Surroundings, item: Item, case: Case, purpose: PurposeId, *, one_case: bool = False
) -> NotNow | None:
    """Return why a customer may not be asked about a purpose (in one case), as things stand in this transaction."""
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


async def planned(
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
