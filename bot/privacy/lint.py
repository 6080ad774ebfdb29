"""What the law wants to stand in a text: Art. 13 and 14 for information, Art. 4(11) and 7 for a question of consent.

A duty is met by a fact (the value itself must stand there) or by words. This finds what is missing, not what is wrong.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from bot.privacy.facts import Facts


@dataclass(frozen=True, slots=True)
class Duty:
    """One thing that must be said. `fact` may be empty in the configuration; then there is nothing to say."""

    article: str
    what: str
    fact: str = ""
    words: Mapping[str, str] = field(default_factory=dict)
    instead: str = ""  # a name that is filled in later and says the same

    def is_met(self, text: str, language: str, facts: Facts) -> bool:
        """Tell whether the text says it."""
        if self.words:
            return re.search(self.words[language], text, re.IGNORECASE) is not None
        is_left_open = self.instead != "" and f"{{{self.instead}}}" in text
        return is_left_open or (self.fact != "" and _plain(facts[self.fact]) in text)


def _words(de: str, en: str) -> dict[str, str]:
    return {"de": de, "en": en}


_WHO: Final = (
    Duty("Art. 13(1)(a)", "the controller's name, as {controller}", "controller"),
    Duty("Art. 13(1)(a)", "the controller's address, as {address}", "address"),
    Duty("Art. 13(1)(a)", "how to reach the controller, as {contact}", "contact"),
    Duty("Art. 13(1)(b)", "the data protection officer, as {officer}", "officer"),
    Duty("Art. 13(1)(c)", "the legal basis (Art. 6)", words=_words(r"Art\. ?6", r"Art(\.|icle) ?6")),
    Duty("Art. 13(1)(e)", "where the data is stored and by whom, as {server}", "server"),
    Duty("Art. 13(1)(e)", "what happens with accounts on other servers, as {federation}", "federation"),
    Duty("Art. 13(2)(d)", "the supervisory authority, as {authority}", "authority"),
)
_RIGHTS: Final = (
    Duty("Art. 13(2)(b)", "the right of access", words=_words("Auskunft", "access")),
    Duty("Art. 13(2)(b)", "the right to rectification", words=_words("Berichtigung", "rectif|correct")),
    Duty("Art. 13(2)(b)", "the right to erasure", words=_words("Löschung", "eras|delet")),
    Duty("Art. 13(2)(b)", "the right to restriction", words=_words("Einschränkung", "restrict")),
    Duty("Art. 13(2)(b)", "the right to portability", words=_words("Datenübertragbarkeit", "portab")),
    Duty("Art. 13(2)(b)", "the right to object", words=_words("Widerspruch", "object")),
    Duty("Art. 13(2)(d)", "the right to complain", words=_words("Beschwer", "complain")),
)
_WHERE_MORE: Final = (
    Duty("Art. 12(1)", "where the full text stands, as {privacy_url}", "privacy_url"),
    Duty("Art. 5(2)", "its version, as {version}", "version"),
)
_WITHDRAWAL: Final = Duty(
    "Art. 7(3)",
    "the withdrawal sentence: at any time, with STOPP (STOP), as {withdrawal}",
    words=_words(
        r"jederzeit(?s:.)*\bSTOPP\b|\bSTOPP\b(?s:.)*jederzeit", r"any time(?s:.)*\bSTOP\b|\bSTOP\b(?s:.)*any time"
    ),
)

SHORT: Final[Sequence[Duty]] = (
    *_WHO,
    Duty("Art. 13(2)(a)", "how long an enquiry is kept, as {keep_enquiry}", "keep_enquiry"),
    *_RIGHTS,
    *_WHERE_MORE,
)
"""The first layer: who, what for, where, how long, which rights, and where the rest stands."""

IMPRINT: Final[Sequence[Duty]] = _WHO[:3]
"""Who answers for this (§ 5 DDG); what else belongs there is the operator's own `controller.imprint`."""

OVERVIEW: Final[Sequence[Duty]] = (*_WHO, *_RIGHTS, *_WHERE_MORE, _WITHDRAWAL)

FULL: Final[Sequence[Duty]] = (
    *_WHO,
    *_RIGHTS,
    Duty("Art. 13(1)(d)", "the legitimate interests", words=_words("berechtigtes Interesse", "legitimate interest")),
    Duty("Art. 13(1)(e)", "the recipients", words=_words("Empfänger", "recipients")),
    Duty("Art. 13(1)(f)", "transfers outside the EU", words=_words("außerhalb der", "outside the")),
    Duty("Art. 13(1)(f)", "the country and the safeguard, as {outside_eu}", "outside_eu"),
    Duty("Art. 13(2)(a)", "how long data is kept", words=_words("Speicherdauer", "kept for")),
    _WITHDRAWAL,
    Duty("Art. 13(2)(e)", "whether data must be provided", words=_words("verpflichtet", "obliged")),
    Duty("Art. 13(2)(f)", "automated decisions", words=_words("automatisierte Entscheidung", "automated decision")),
    Duty("Art. 14(2)(f)", "where the data comes from", words=_words("von Ihnen", "from you")),
    Duty(
        "Art. 21(4)", "objection to advertising", words=_words("Werbung(?s:.)*widersprech", "object(?s:.)*advertising")
    ),
    Duty("Art. 5(2)", "its version, as {version}", "version"),
)
"""The full page. What it says about each purpose is checked purpose by purpose."""

QUESTION: Final[Sequence[Duty]] = (
    Duty("Art. 4(11)", "the controller, as {controller}", "controller"),
    Duty("Art. 4(11)", "the purpose, as {purpose}", "purpose"),
    Duty("Art. 4(11)", "the data, as {data}", "data", instead="what"),
    Duty("Art. 4(11)", "the recipients, as {recipients}", "recipients", instead="recipient"),
    _WITHDRAWAL,
    Duty("Art. 7(4)", "that it is voluntary, as {voluntary}", words=_words("freiwillig", "voluntar")),
    Duty(
        "Art. 4(11)",
        "how to say yes or no, as {answer}",
        words=_words(r"\bja\b(?s:.)*\bnein\b", r"\byes\b(?s:.)*\bno\b"),
    ),
    Duty("Art. 7(1)", "its version, as {version}", "version"),
)

YES: Final[Sequence[Duty]] = (
    Duty("Art. 7(3)", "how to withdraw, with STOPP (STOP)", words=_words(r"\bSTOPP\b", r"\bSTOP\b")),
    Duty("Art. 7(1)", "the purpose, as {purpose}", instead="purpose"),
    Duty("Art. 7(1)", "the date, as {date}", instead="date"),
    Duty("Art. 7(1)", "the fingerprint, as {fingerprint}", instead="fingerprint"),
)

PROMISES: Final = re.compile(
    r"(DSGVO|DS-GVO|GDPR)[ -]?(konform|gerecht|compliant|safe)|100 ?% (sicher|secure)", re.IGNORECASE
)
"""What nobody can promise."""

SHORT_ENOUGH: Final = 1800
"""Characters of a first layer that is still read on a phone."""


def missing(text: str, language: str, facts: Facts, duties: Iterable[Duty]) -> Iterator[str]:
    """Return what the text does not say, and what it should not say."""
    plain = _plain(text)
    for duty in duties:
        if not duty.is_met(plain, language, facts):
            yield f"does not say {duty.what} ({duty.article} GDPR)"
    yield from promised(text)


def promised(text: str) -> Iterator[str]:
    """Return what the text promises although nobody can."""
    for found in PROMISES.finditer(text):
        yield f'promises "{found.group(0)}", which no program can'


def _plain(text: str) -> str:
    return " ".join(text.split())
