"""Words that change: a consent holds for what was agreed to and for nothing else, and so does a question.

Every text and purpose goes on record before anybody is shown it.
"""

from bot.domain.ledger.entries import LedgerKind
from bot.domain.purpose import Privacy
from bot.flows.expiring import validity_of, watch
from bot.flows.posing import look_again
from bot.flows.surroundings import Surroundings
from bot.store import consents, ledger, questions
from bot.store.database import Tx
from bot.store.questions import Question


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
                await watch(tx, around, known)
        for question in await questions.all_open(tx):
            if not _is_current(around.privacy, question):
                await look_again(tx, around, question, "question_outdated")


def _is_current(privacy: Privacy, question: Question) -> bool:
    purpose = privacy.purposes.get(question.purpose)
    return bool(purpose and purpose.question) and (
        privacy.question(question.purpose, question.language).sha256 == question.sha256
    )


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
