"""What must hold for purposes and texts before anybody is shown one. Each rule adds findings; none stops the others."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from bot.domain.purpose import (
    ANSWERS,
    LANGUAGES,
    PER_CASE,
    Basis,
    Category,
    Default,
    Federation,
    Operator,
    Purpose,
    PurposeId,
    Unit,
    Words,
)
from bot.privacy import facts, lint
from bot.privacy.files import Files, PurposeTable, WordsTable

SENTENCES: Final = ("server_own", "server_processor", "federation", "officer", "nothing", *facts.SHARED)
PERIODS: Final = ("unused", "question", "ask_again", "evidence", "enquiry")
"""Periods that the program itself asks for."""
_DUTIES: Final = {
    "first_contact": lint.SHORT,
    "privacy_overview": lint.OVERVIEW,
    "consent_given": lint.YES,
    "imprint": lint.IMPRINT,
}


def purposes_of(files: Files) -> dict[PurposeId, Purpose]:
    """Return the purposes as plain values, with their periods filled into the words; check each."""
    for name in PERIODS:
        if name not in files.periods:
            files.find("purposes.toml", f"periods.{name}", "is missing")
    _check_rhythm(files)
    made = {PurposeId(name): _purpose(files, PurposeId(name), table) for name, table in files.purposes.items()}
    for name, table in files.purposes.items():
        _check_purpose(files, f"purposes.{name}", table)
    _check_words_are_distinct(files)
    return made


def _purpose(files: Files, name: PurposeId, table: PurposeTable) -> Purpose:
    keeps = []
    for period in table.keeps:
        if period in files.periods:
            keeps.append(files.periods[period])
        else:
            files.find("purposes.toml", f"purposes.{name}.keeps", f"there is no period {period}")
    said = {"de": _said(files, table, table.de, "de"), "en": _said(files, table, table.en, "en")}
    return Purpose(
        id=name,
        bases=tuple(table.bases),
        category=table.category,
        default=table.default,
        words=said,
        keeps=tuple(keeps),
        question=table.question,
        minimum_age=table.minimum_age,
        most_per_month=table.most_per_month,
    )


def _said(files: Files, table: PurposeTable, words: WordsTable, language: str) -> Words:
    known = {f"keep_{name}": period.said(language) for name, period in files.periods.items()}
    known["most"] = str(table.most_per_month)
    return Words(**{name: facts.rendered(value, known) for name, value in words.model_dump().items()})


def _check_rhythm(files: Files) -> None:
    again = files.periods.get("ask_again")
    months = {Unit.DAYS: 1 / 31, Unit.MONTHS: 1, Unit.YEARS: 12}
    if again and again.count * months[again.unit] < 6:
        files.find("purposes.toml", "periods.ask_again", "expected at least 6 months: nobody is asked to weariness")
    question = files.periods.get("question")
    if question and question.count * months[question.unit] > 1:
        files.find("purposes.toml", "periods.question", "expected at most a month: a yes belongs to what was just read")


def _check_purpose(files: Files, key: str, table: PurposeTable) -> None:
    def find(at: str, what: str) -> None:
        files.find("purposes.toml", f"{key}.{at}", what)

    if len(set(table.bases)) != len(table.bases):
        find("bases", "names a letter twice")
    if Basis.CONSENT in table.bases:
        _check_consent(files, key, table)
    elif table.category in {Category.MARKETING, Category.PUBLICITY}:
        find("bases", f'a purpose of category "{table.category}" needs consent: expected ["a"]')
    elif table.question:
        find("question", 'only a purpose with bases = ["a"] asks a question')
    for language, words in (("de", table.de), ("en", table.en)):
        if Basis.LEGITIMATE_INTERESTS in table.bases and not words.interest.strip():
            find(f"{language}.interest", 'is missing: letter "f" needs the interest in words (Art. 13(1)(d) GDPR)')
        _check_words(files, f"{key}.{language}", table, words)


def _check_words(files: Files, key: str, table: PurposeTable, words: WordsTable) -> None:
    periods = {f"keep_{name}" for name in files.periods}
    unnamed = {f"keep_{name}" for name in table.keeps} & periods - facts.names(words.retention)
    if unnamed:
        files.find("purposes.toml", f"{key}.retention", f"does not name {_braced(unnamed)}")
    for field, value in words.model_dump().items():
        unknown = facts.names(value) - periods - {"most"}
        if unknown:
            files.find("purposes.toml", f"{key}.{field}", f"there is no {_braced(unknown)}")
        for promise in lint.promised(value):
            files.find("purposes.toml", f"{key}.{field}", promise)


def _check_consent(files: Files, key: str, table: PurposeTable) -> None:
    def find(at: str, what: str) -> None:
        files.find("purposes.toml", f"{key}.{at}", what)

    if len(set(table.bases)) > 1:
        find("bases", "consent stands alone: what another letter allows needs none, and it cannot be exchanged later")
    if table.default in {Default.ON, Default.ON_REQUEST}:
        find("default", f'consent is never given beforehand: expected "off", not "{table.default}"')
    if table.minimum_age < 13:
        find("minimum_age", "expected at least 13; in Germany it is 16 (Art. 8 GDPR)")
    if not table.question:
        find("question", "is missing: consent needs a text that asks for it")
    elif table.question not in files.texts:
        find("question", f"there is no text {table.question}, or not in every language")
    if table.category is Category.MARKETING and not table.most_per_month:
        find("most_per_month", "is missing: say how many messages a month there will be at most")
    for language, words in (("de", table.de), ("en", table.en)):
        if not words.word:
            find(f"{language}.word", "is missing: the word with which customers name this purpose, like STOPP word")


def _check_words_are_distinct(files: Files) -> None:
    for language in LANGUAGES:
        words = Counter(getattr(table, language).word for table in files.purposes.values())
        for name, table in files.purposes.items():
            word = getattr(table, language).word
            if word and words[word] > 1:
                what = f"more than one purpose is called {word}"
                files.find("purposes.toml", f"purposes.{name}.{language}.word", what)
    questions = Counter(table.question for table in files.purposes.values() if table.question)
    for name, table in files.purposes.items():
        if questions[table.question] > 1:
            files.find(
                "purposes.toml", f"purposes.{name}.question", "each purpose asks its own question, never two at once"
            )


def check_sentences(files: Files, operator: Operator) -> None:
    """Every shared sentence exists; the one on other servers is asked for when there are other servers."""
    for name in SENTENCES:
        if name in files.sentences or (name == "federation" and operator.federation is Federation.CLOSED):
            continue
        reason = "is missing, or not in every language"
        if name == "federation":
            reason += f': with federation.mode = "{operator.federation}" customers must be told of copies elsewhere'
        files.find("texts.toml", f"sentences.{name}", reason)


def check_texts(
    files: Files, purposes: Mapping[PurposeId, Purpose], written: Mapping[tuple[str, str], tuple[str, facts.Facts]]
) -> None:
    """Check each text as it would be shown. `written` holds it by id and language, with what was known."""
    asks = {purpose.question: purpose for purpose in purposes.values() if purpose.question}
    for name in ANSWERS:
        if name not in files.texts:
            files.find("texts.toml", f"texts.{name}", "is missing, or not in every language")
    for name, table in files.texts.items():
        if name not in ANSWERS and name not in asks:
            files.find("texts.toml", f"texts.{name}", "nothing shows this text; did you mean another name?")
        if table.counts_from > table.version:
            files.find("texts.toml", f"texts.{name}.counts_from", "expected a version up to this one")
    for (name, language), (text, known) in written.items():
        if name in ANSWERS or name in asks:
            for what in _wrong_with(name, language, text, known, asks.get(name)):
                files.find("texts.toml", f"texts.{name}.{language}", what)


def _wrong_with(name: str, language: str, text: str, known: facts.Facts, asking: Purpose | None) -> Iterator[str]:
    duties = lint.QUESTION if asking else _DUTIES.get(name, ())
    yield from lint.missing(text, language, known, duties)
    is_about_one_case = asking is not None and asking.category in {Category.SHARING, Category.PUBLICITY}
    unknown = facts.names(text) - ANSWERS.get(name, PER_CASE if is_about_one_case else frozenset())
    if unknown:
        yield f"there is no {_braced(unknown)} here"
    if name == "first_contact" and len(text) > lint.SHORT_ENOUGH:
        yield f"is {len(text)} characters long; a first layer has at most {lint.SHORT_ENOUGH}"


def _braced(unknown: Iterable[str]) -> str:
    return ", ".join(f"{{{name}}}" for name in sorted(unknown))
