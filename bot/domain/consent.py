"""What counts as a yes, what as a no, and what may follow. Strict where somebody agrees, else lenient.

Sources: Art. 7 GDPR; EDPB guidelines 05/2020. A consent belongs to a person and a purpose, never to a room.
"""

import difflib
import re
import unicodedata
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, TypeVar

from bot.domain.ids import CaseNumber, CustomerId, EventId
from bot.domain.ledger.entries import LedgerKind
from bot.domain.purpose import NAMED, Period, PurposeId


class Standing(StrEnum):
    """Where one person stands about one purpose."""

    NONE = "none"
    REQUESTED = "requested"
    GIVEN = "given"
    REFUSED = "refused"
    DEFERRED = "deferred"  # no answer; that is a no
    WITHDRAWN = "withdrawn"
    REVOKED = "revoked"
    EXPIRED = "expired"
    INVALIDATED = "invalidated"
    SUPERSEDED = "superseded"


_RESULTS: Final[Mapping[LedgerKind, Standing]] = {
    LedgerKind.REQUESTED: Standing.REQUESTED,
    LedgerKind.GIVEN: Standing.GIVEN,
    LedgerKind.RENEWED: Standing.GIVEN,
    LedgerKind.REFUSED: Standing.REFUSED,
    LedgerKind.DEFERRED: Standing.DEFERRED,
    LedgerKind.WITHDRAWN: Standing.WITHDRAWN,
    LedgerKind.REVOKED: Standing.REVOKED,
    LedgerKind.EXPIRED: Standing.EXPIRED,
    LedgerKind.INVALIDATED: Standing.INVALIDATED,
    LedgerKind.SUPERSEDED: Standing.SUPERSEDED,
}

_OPEN: Final = frozenset({Standing.REQUESTED})
_GIVEN: Final = frozenset({Standing.GIVEN})
_NOT_GIVEN: Final = frozenset(Standing) - _GIVEN
_ALLOWED: Final[Mapping[LedgerKind, frozenset[Standing]]] = {
    LedgerKind.REQUESTED: _NOT_GIVEN - _OPEN,
    LedgerKind.GIVEN: _NOT_GIVEN,
    LedgerKind.RENEWED: frozenset({Standing.EXPIRED, Standing.SUPERSEDED, Standing.REQUESTED}),
    LedgerKind.REFUSED: _NOT_GIVEN,
    LedgerKind.DEFERRED: _OPEN,
    LedgerKind.WITHDRAWN: _GIVEN | _OPEN,
    LedgerKind.REVOKED: _GIVEN,
    LedgerKind.EXPIRED: _GIVEN,
    LedgerKind.INVALIDATED: _GIVEN | _OPEN,
    LedgerKind.SUPERSEDED: _GIVEN,
}


def after(before: Standing, kind: LedgerKind) -> Standing | None:
    """Return the standing after something went on record; None: that cannot happen then, or is about no consent."""
    return _RESULTS[kind] if before in _ALLOWED.get(kind, ()) else None


ANY_CASE: Final = CaseNumber(0)
"""The case of a consent that is about no case in particular."""

Position = tuple[int, int]
"""The place of an item among all that arrived: what somebody said later counts, whenever it could be read."""


@dataclass(frozen=True, slots=True)
class Consent:
    """Where one person stands about one purpose, and what that rests on. `case`: it is about that case alone."""

    customer: CustomerId
    purpose: PurposeId
    standing: Standing
    since: datetime
    entry: int  # the place in the ledger of what made it so
    text_sha256: str = ""
    text_version: str = ""
    language: str = ""
    purpose_sha256: str = ""
    decision: EventId | None = None  # the customer's own event
    arrived: Position = (0, 0)
    used_at: datetime | None = None
    case: CaseNumber = ANY_CASE


Matter = TypeVar("Matter", bound=Hashable)


def folded(facts: Iterable[tuple[Matter, LedgerKind]]) -> dict[Matter, Standing]:
    """Return where a person stands about each matter, from what is on record about them, oldest first."""
    found: dict[Matter, Standing] = {}
    for matter, kind in facts:
        standing = after(found.get(matter, Standing.NONE), kind)
        if standing is not None:
            found[matter] = standing
    return found


# -------------------------------------------------------------------------------------------------- what somebody said

YES_WORDS: Final = frozenset({"ja", "yes", "einverstanden", "ich willige ein"})
NO_WORDS: Final = frozenset({"nein", "no", "nö", "nope"})
STOP_WORDS: Final = frozenset({"stop", "stopp", "abmelden", "widerruf", "unsubscribe"})
_STOP_PHRASES: Final = ("keine werbung", "nicht mehr schreiben", "no more ads", "no more advertising")
_YES_COMMANDS: Final = frozenset({"ja", "yes"})
_NO_COMMANDS: Final = frozenset({"nein", "no", "widerruf", "withdraw", "stopp", "stop", "abmelden", "unsubscribe"})
_PUNCTUATION: Final = " \t\n.!,;:…'\"„“”‚‘’()"
_WORDS: Final = re.compile(r"\w+")
_PARTS: Final = re.compile(r"[.!?,;:\n…–—()\"„“”]+")

YES, NO = "yes", "no"
"""The ids of the answers in our polls."""


class Answer(StrEnum):
    """What somebody answers to a question."""

    YES = "yes"
    NO = "no"


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """Somebody takes consent back, for one purpose or (None) for all of them."""

    purpose: PurposeId | None


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def answer_in(words: str) -> Answer | None:
    """Return what a reply to our question says. A yes is exactly a yes-word; a no may say why."""
    plain = _plain(words)
    if plain.strip(_PUNCTUATION) in YES_WORDS:
        return Answer.YES
    first = re.split(r"[^\w]+", plain.strip(_PUNCTUATION), maxsplit=1)[0]
    return Answer.NO if first in NO_WORDS else None


def voted(choice: Sequence[str]) -> Answer | None:
    """Return what a vote in our poll says: exactly one known answer, or (None) nothing, as when it is taken back."""
    return {YES: Answer.YES, NO: Answer.NO}.get(choice[0]) if len(choice) == 1 else None


def agreed_in(words: str, purposes: Mapping[str, PurposeId]) -> PurposeId | None:
    """Return the purpose that `!ja <zweck>` or `!yes <purpose>` names, exactly. `purposes` by what customers type."""
    word, _, rest = _plain(words).partition(" ")
    if word.removeprefix("!") not in _YES_COMMANDS or not word.startswith("!"):
        return None
    return purposes.get(rest.strip(_PUNCTUATION))


def withdrawal_in(words: str, purposes: Mapping[str, PurposeId]) -> Withdrawal | None:
    """Return what somebody takes back, in doubt everything; None: they do not.

    `STOPP` counts when it stands alone, before the name of a purpose, alone between signs, or anywhere in capitals.
    """
    plain = _plain(words)
    word, _, rest = plain.partition(" ")
    if word.startswith("!") and word.strip(_PUNCTUATION) in _NO_COMMANDS:
        return Withdrawal(_named(rest, purposes))
    for part in _PARTS.split(words):
        first, *more = _WORDS.findall(_plain(part)) or [""]
        rest = " ".join(more)
        if first in STOP_WORDS and (not rest or _named(rest, purposes)):
            return Withdrawal(_named(rest, purposes))
    shouted = {token.strip(_PUNCTUATION).casefold() for token in words.split() if token.isupper()}
    if shouted & STOP_WORDS or any(phrase in plain for phrase in _STOP_PHRASES):
        return Withdrawal(None)
    return None


def _named(rest: str, purposes: Mapping[str, PurposeId]) -> PurposeId | None:
    """Return the purpose that is meant; a slip of the pen is forgiven, what is not understood means all."""
    found = difflib.get_close_matches(rest.strip(_PUNCTUATION), purposes, n=1, cutoff=0.75)
    return purposes[found[0]] if found else None


LONGEST_NAMED: Final = 300
"""Characters of each thing that staff fill into a question about one case."""


def named_in(rest: str, names: Iterable[str]) -> dict[str, str] | None:
    """Return what is filled into a question about one case: its parts in order, between semicolons or on lines."""
    wanted = [name for name in NAMED if name in names]
    parts = [" ".join(part.split()) for part in re.split(r"[;\n]", rest)]
    fits = len(parts) == len(wanted) and all(part and len(part) <= LONGEST_NAMED for part in parts)
    return dict(zip(wanted, parts, strict=True)) if fits else None


_AGE: Final = re.compile(
    r"\b(?:ich bin|bin|i am|i'm|i’m)\s+(?:erst|gerade|nur|only|just)?\s*(\d{1,2})\b"
    r"(?=\s*(?:$|[.,!;)]|jahre|j\.|years|yrs|und|and))"
)


def age_in(words: str) -> int | None:
    """Return the age in years that somebody says they have; "ich bin 15 Minuten später da" is none."""
    found = _AGE.search(_plain(words))
    return int(found[1]) if found else None


# ----------------------------------------------------------------------------------------------------- what may follow


class NotNow(StrEnum):
    """Why a question for consent may not be asked now."""

    FIRST_SESSION = "first_session"
    UNDER_AGE = "under_age"
    SUPPRESSED = "suppressed"
    GIVEN = "given"
    QUESTION_OPEN = "question_open"
    ASKED_IN_THIS_CONTACT = "asked_in_this_contact"
    TOO_SOON = "too_soon"


@dataclass(frozen=True, slots=True)
class Asked:
    """A question that was asked: about what, when, and in which case."""

    purpose: PurposeId
    at: datetime
    case: CaseNumber
    is_open: bool


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known of a person when somebody wants to ask them. `session_over`: a case of theirs was closed before.

    `one_case`: the question is about one case; `standing` is about that case then, and another case is no repetition.
    """

    standing: Standing
    asked: Sequence[Asked]
    session_over: bool
    under_age: bool
    suppressed: bool
    one_case: bool = False


def may_ask(
    purpose: PurposeId, situation: Situation, *, case: CaseNumber, now: datetime, ask_again: Period
) -> NotNow | None:
    """Return why somebody may not be asked now, None: they may. One question at a time, and one in each contact.

    A text that became another one is asked about again at once: the old answer was to something else.
    """
    if situation.under_age:
        return NotNow.UNDER_AGE
    if situation.suppressed:
        return NotNow.SUPPRESSED
    if situation.standing is Standing.GIVEN:
        return NotNow.GIVEN
    if not situation.session_over:
        return NotNow.FIRST_SESSION
    if any(question.is_open for question in situation.asked):
        return NotNow.QUESTION_OPEN
    if any(question.case == case for question in situation.asked):
        return NotNow.ASKED_IN_THIS_CONTACT
    is_new = situation.standing is Standing.SUPERSEDED or situation.one_case
    if not is_new and any(q.purpose == purpose and now < ask_again.after(q.at) for q in situation.asked):
        return NotNow.TOO_SOON
    return None


class NoPermit(StrEnum):
    """Why something that needs consent may not be sent."""

    LEDGER = "ledger"  # its anchor does not agree with it, so nobody can tell what is on record
    SUPPRESSED = "suppressed"
    UNDER_AGE = "under_age"
    NOT_GIVEN = "not_given"
    OUTDATED = "outdated"  # the purpose or its text has changed since
    EXPIRED = "expired"
    TOO_MANY = "too_many"
    UNREACHABLE = "unreachable"
    OTHERS = "others"  # somebody in the room did not agree


@dataclass(frozen=True, slots=True)
class Validity:
    """What a consent must fit to be relied on now. `counts_from`: the oldest wording that counts; `until`: its end."""

    purpose_sha256: str
    counts_from: int
    until: datetime | None
    most_per_month: int

    def fits(self, consent: Consent) -> bool:
        """Tell whether the person agreed to what the purpose is now."""
        return consent.purpose_sha256 == self.purpose_sha256 and wording(consent.text_version) >= self.counts_from


def wording(version: str) -> int:
    """Return the first number of a version: which words they were."""
    return int(version.partition(".")[0])


def is_unusable(consent: Consent | None, validity: Validity, *, now: datetime, sent: int) -> NoPermit | None:
    """Return why a consent cannot be relied on now. `sent`: how many messages went out in the last 30 days."""
    if consent is None or consent.standing is not Standing.GIVEN:
        return NoPermit.NOT_GIVEN
    if not validity.fits(consent):
        return NoPermit.OUTDATED
    if validity.until is not None and now > validity.until:
        return NoPermit.EXPIRED
    if validity.most_per_month and sent >= validity.most_per_month:
        return NoPermit.TOO_MANY
    return None
