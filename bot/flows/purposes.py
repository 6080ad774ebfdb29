"""What purposes are called, by customers who type a word and by people who read a title; and their periods."""

from bot.domain.consent import ANY_CASE
from bot.domain.ids import CaseNumber
from bot.domain.purpose import Period, PurposeId
from bot.flows.surroundings import Surroundings


def words_of(around: Surroundings) -> dict[str, PurposeId]:
    """Return what customers type for each purpose that they can agree to."""
    asked = around.privacy.asked_for() if around.privacy else []
    return {words.word: purpose.id for purpose in asked for words in purpose.words.values() if words.word}


def title_of(around: Surroundings, purpose: PurposeId, language: str = "", case: CaseNumber = ANY_CASE) -> str:
    """Return what a purpose is called (in one case); one that is configured no more goes by its id."""
    known = around.privacy.purposes.get(purpose) if around.privacy else None
    language = language or around.rules.language
    title = known.words[language].title if known else purpose
    return around.texts.render("consent.in_case", language, purpose=title, case=str(case)) if case else title


def period(around: Surroundings, name: str) -> Period:
    """Return one of the periods that hold for all purposes, such as how long a question is open."""
    assert around.privacy is not None
    return around.privacy.periods[name]
