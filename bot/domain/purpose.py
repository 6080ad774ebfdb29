"""What personal data is used for, on which letter of Art. 6(1) GDPR, and the exact texts that customers are shown.

A text is identified by id, version and language; its SHA-256 is over the canonical words. One id, version and language
never stand for two different texts (`bot/store/privacy_texts.py`).
"""

import hashlib
import json
import re
import unicodedata
from calendar import monthrange
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Final, NewType

PurposeId = NewType("PurposeId", str)
PLACEHOLDER: Final = re.compile(r"\{([a-z_]+)\}")
LANGUAGES: Final = ("de", "en")


class Basis(StrEnum):
    """The letters of Art. 6(1) GDPR."""

    CONSENT = "a"
    CONTRACT = "b"
    LEGAL_OBLIGATION = "c"
    VITAL_INTERESTS = "d"
    PUBLIC_TASK = "e"
    LEGITIMATE_INTERESTS = "f"


class Category(StrEnum):
    """What kind of use it is. Advertising needs consent whatever else would allow it (§ 7 UWG)."""

    SERVICE = "service"
    SHARING = "sharing"
    MARKETING = "marketing"
    PUBLICITY = "publicity"
    DUTY = "duty"
    OPERATION = "operation"


class Default(StrEnum):
    """What holds while nobody decided anything."""

    ON = "on"
    ON_REQUEST = "on_request"  # the customer orders it, each time
    PER_CASE = "per_case"  # asked for one case and one recipient
    OFF = "off"
    NOT_OFFERED = "not_offered"  # not asked, not shown


class Unit(StrEnum):
    """What periods are counted in."""

    DAYS = "days"
    MONTHS = "months"
    YEARS = "years"


_UNITS: Final = {
    "de": {Unit.DAYS: ("Tag", "Tage"), Unit.MONTHS: ("Monat", "Monate"), Unit.YEARS: ("Jahr", "Jahre")},
    "en": {Unit.DAYS: ("day", "days"), Unit.MONTHS: ("month", "months"), Unit.YEARS: ("year", "years")},
}


@dataclass(frozen=True, slots=True)
class Period:
    """How long something is kept. `to_year_end`: to 31 December of the year in which it ends (§ 257(5) HGB)."""

    id: str
    count: int
    unit: Unit
    to_year_end: bool = False

    def ends(self, start: date) -> date:
        """Return the last day of a period that begins with this day; a day that the month lacks is its last one."""
        months = {Unit.DAYS: 0, Unit.MONTHS: self.count, Unit.YEARS: 12 * self.count}[self.unit]
        if self.unit is Unit.DAYS:
            end = date.fromordinal(start.toordinal() + self.count)
        else:
            year, month = divmod(start.year * 12 + start.month - 1 + months, 12)
            end = date(year, month + 1, min(start.day, monthrange(year, month + 1)[1]))
        return date(end.year, 12, 31) if self.to_year_end else end

    def after(self, start: datetime) -> datetime:
        """Return the moment at which a period is over that begins with this one."""
        return datetime.combine(self.ends(start.date()), start.timetz())

    def said(self, language: str) -> str:
        """Return it in words, like "90 Tage"."""
        one, many = _UNITS[language][self.unit]
        return f"{self.count} {one if self.count == 1 else many}"


@dataclass(frozen=True, slots=True)
class Words:
    """What is said about a purpose in one language. `word` is what customers type; `interest` is for letter f."""

    title: str
    what: str
    data: str
    recipients: str
    retention: str
    interest: str = ""
    word: str = ""


@dataclass(frozen=True, slots=True)
class Purpose:
    """One use of personal data. `question` is the id of the text that asks for consent, for letter a."""

    id: PurposeId
    bases: tuple[Basis, ...]
    category: Category
    default: Default
    words: Mapping[str, Words]
    keeps: tuple[Period, ...]
    question: str = ""
    minimum_age: int = 0  # years
    most_per_month: int = 0  # messages

    @property
    def needs_consent(self) -> bool:
        """Nothing of it may happen before the person said yes."""
        return Basis.CONSENT in self.bases

    @property
    def ends_with_case(self) -> bool:
        """A consent to it is over when its case is: what is passed on for a case is passed on while it lasts."""
        return self.default is Default.PER_CASE and self.category is Category.SHARING

    @property
    def is_offered(self) -> bool:
        """It is asked for and shown."""
        return self.default is not Default.NOT_OFFERED

    @property
    def sha256(self) -> str:
        """What a consent is about: another value means that an old consent covers something else."""
        said = {language: [words.title, words.data, words.recipients] for language, words in self.words.items()}
        subject = [self.id, sorted(self.bases), self.category, said]
        return hashlib.sha256(json.dumps(subject, ensure_ascii=False, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class PrivacyText:
    """The exact words of one version in one language. Values known only later stand there as `{names}`.

    `wording` is the version's first number; who was shown `counts_from` or anything newer need not be asked again.
    """

    id: str
    version: str
    language: str
    text: str
    wording: int = 1
    counts_from: int = 1

    @property
    def sha256(self) -> str:
        """The hash under which this text is on record."""
        return digest(self.text)

    @property
    def names(self) -> frozenset[str]:
        """The values that are still to be filled in."""
        return frozenset(PLACEHOLDER.findall(self.text))

    def filled(self, **values: str) -> str:
        """Return the text as it is sent. Values are inserted as they are, once.

        Raises:
            KeyError: a name without value, or a value without name.
        """
        if values.keys() != self.names:
            raise KeyError(f"{self.id} takes {sorted(self.names)}, not {sorted(values)}")
        return PLACEHOLDER.sub(lambda found: values[found.group(1)], self.text)


@dataclass(frozen=True, slots=True)
class Controller:
    """Who is responsible (Art. 4(7)). `officer` and `imprint` may be empty."""

    name: str
    address: str
    contact: str
    authority: str
    privacy_url: str
    officer: str = ""
    imprint: str = ""


@dataclass(frozen=True, slots=True)
class Hosting:
    """Where the server stands; a `processor` runs it under a `contract` (Art. 28), or nobody but ourselves."""

    location: str
    processor: str = ""
    contract: str = ""
    outside_eu: str = ""  # the country and what allows it (Art. 44-49), if there is one


class Federation(StrEnum):
    """With which other servers ours talks."""

    CLOSED = "closed"
    LISTED = "listed"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Operator:
    """What the texts say about this business. `edition` counts its changes and is the second number of versions."""

    controller: Controller
    hosting: Hosting
    federation: Federation = Federation.CLOSED
    edition: int = 1


@dataclass(frozen=True, slots=True)
class Privacy:
    """Purposes, periods and texts, checked as a whole. Texts by id and language."""

    operator: Operator
    periods: Mapping[str, Period]
    purposes: Mapping[PurposeId, Purpose]
    texts: Mapping[tuple[str, str], PrivacyText]

    def text(self, text_id: str, language: str) -> PrivacyText:
        """Return one text.

        Raises:
            KeyError: there is none.
        """
        return self.texts[text_id, language]

    def notice(self, language: str) -> PrivacyText:
        """Return the short layered text of the first contact (Art. 13)."""
        return self.text("first_contact", language)

    def question(self, purpose: PurposeId, language: str) -> PrivacyText:
        """Return the text that asks for consent to one purpose.

        Raises:
            KeyError: there is no such purpose, or it needs no consent.
        """
        return self.text(self.purposes[purpose].question, language)

    def confirmation(self, language: str) -> PrivacyText:
        """Return what a yes is answered with; takes the names of `ANSWERS["consent_given"]`."""
        return self.text("consent_given", language)

    def asked_for(self) -> list[Purpose]:
        """Return the purposes that customers may be asked to agree to."""
        return [purpose for purpose in self.purposes.values() if purpose.needs_consent and purpose.is_offered]


ANSWERS: Final[Mapping[str, frozenset[str]]] = {
    "first_contact": frozenset(),
    "privacy_overview": frozenset(),
    "imprint": frozenset(),
    "minor": frozenset(),
    "consent_given": frozenset({"purpose", "date", "question_version", "fingerprint", "word"}),
    "consent_refused": frozenset({"purpose", "next_time"}),
    "consent_unclear": frozenset(),
    "consent_withdrawn": frozenset({"purpose", "date", "count", "evidence_until"}),
    "consent_none": frozenset(),
}
"""The texts that must exist besides the questions, and the values that each may leave open."""

NAMED: Final = ("what", "recipient", "reason")
"""What staff fill into a question about one case, in this order, as far as its text asks for it."""

PER_CASE: Final = frozenset({"case", *NAMED})
"""The values that a question about one case leaves open."""


def canonical(text: str) -> str:
    """Return the one spelling of a text that is sent and hashed: NFC, LF, no space where a line or the text ends."""
    lines = unicodedata.normalize("NFC", text).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return "\n".join(line.rstrip() for line in lines).strip()


def digest(text: str) -> str:
    """Return the SHA-256 of the canonical text as 64 hex digits. For registered texts and for what was shown alike."""
    return hashlib.sha256(canonical(text).encode()).hexdigest()
