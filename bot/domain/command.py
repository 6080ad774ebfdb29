"""Commands are data: one table, from which permission, help and tests are derived. Parsing is pure and total.

The one rule that keeps words inside the house: whatever begins with `!`, or with a dot and a space, is never
an answer to a customer.
"""

import difflib
import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Verb(StrEnum):
    """What a command does."""

    HELP = "help"
    CLOSE = "close"
    REOPEN = "reopen"
    NOTE = "note"
    MOVE = "move"
    ALLOW = "allow"
    STUCK = "stuck"
    TRUST = "trust"
    ALIKE = "alike"
    NOT_ALIKE = "not_alike"
    HIRE = "hire"
    DISMISS = "dismiss"
    NEW_CUSTOMER = "new_customer"
    DOCTOR = "doctor"
    ASK = "ask"
    WITHDRAW = "withdraw"
    SURVEY = "survey"
    NEWS = "news"
    READY = "ready"
    PICKUP = "pickup"
    LATER = "later"
    DAY_END = "day_end"
    BLOCK = "block"
    MUTE = "mute"
    UNBLOCK = "unblock"
    TAKE = "take"
    RELEASE = "release"
    PLATE = "plate"
    REFERENCE = "reference"
    TAG = "tag"
    TITLE = "title"
    WHO = "who"
    HISTORY = "history"
    SEARCH = "search"
    TODAY = "today"
    JOIN = "join"


class Wish(StrEnum):
    """What a customer asks the bot itself for."""

    PRIVACY = "privacy"
    IMPRINT = "imprint"
    CONSENTS = "consents"
    PROOF = "proof"


class Where(StrEnum):
    """The kind of room a command is for."""

    CASE = "case"
    ANY_STAFF_ROOM = "any"
    ADMIN = "admin"


class Takes(StrEnum):
    """What may stand behind the word of a command."""

    NOTHING = "nothing"
    MAYBE = "maybe"  # or what is missing is better said by the command itself
    NEEDED = "needed"


@dataclass(frozen=True, slots=True)
class Command:
    """One row of the table. `words` are German first, then English; `help` is the id of a text.

    `chip` is a sign on the card of a case: a tap on it is the command without anything behind its word. Reactions are
    never encrypted, so only what can be taken back and is said in the room may have one.
    What is `everyday` stands in the short help, in the order of the table.
    """

    verb: Verb
    words: tuple[str, ...]
    where: Where
    help: str
    chip: str = ""
    takes: Takes = Takes.NOTHING
    everyday: bool = False


COMMANDS: Final = (
    Command(Verb.TAKE, ("ich", "take"), Where.CASE, "help.take", chip="👍", everyday=True),
    Command(Verb.RELEASE, ("abgeben", "release"), Where.CASE, "help.release"),
    Command(Verb.NOTE, ("notiz", "note"), Where.CASE, "help.note", takes=Takes.MAYBE, everyday=True),
    Command(Verb.READY, ("fertig", "ready"), Where.CASE, "help.ready", chip="🟢", takes=Takes.MAYBE, everyday=True),
    Command(Verb.PICKUP, ("abholung", "pickup"), Where.CASE, "help.pickup", takes=Takes.NEEDED, everyday=True),
    Command(
        Verb.LATER,
        ("spaeter", "later", "snooze"),
        Where.CASE,
        "help.later",
        chip="⏰",
        takes=Takes.MAYBE,
        everyday=True,
    ),
    Command(Verb.CLOSE, ("zu", "close"), Where.CASE, "help.close", chip="✅", everyday=True),
    Command(Verb.REOPEN, ("auf", "reopen"), Where.ANY_STAFF_ROOM, "help.reopen", takes=Takes.MAYBE, everyday=True),
    Command(Verb.DAY_END, ("feierabend", "endofday"), Where.ANY_STAFF_ROOM, "help.day_end"),
    Command(Verb.MOVE, ("an", "assign", "move"), Where.CASE, "help.move", takes=Takes.MAYBE, everyday=True),
    Command(Verb.TITLE, ("titel", "title"), Where.CASE, "help.title", takes=Takes.MAYBE),
    Command(Verb.PLATE, ("kfz", "plate"), Where.CASE, "help.plate", takes=Takes.MAYBE),
    Command(Verb.REFERENCE, ("nr", "ref"), Where.CASE, "help.reference", takes=Takes.MAYBE),
    Command(Verb.TAG, ("tag",), Where.CASE, "help.tag", takes=Takes.MAYBE),
    Command(Verb.WHO, ("wer", "who"), Where.CASE, "help.who"),
    Command(Verb.HISTORY, ("verlauf", "history"), Where.CASE, "help.history", takes=Takes.MAYBE),
    Command(Verb.JOIN, ("verbinden", "merge"), Where.CASE, "help.join", takes=Takes.MAYBE),
    Command(Verb.ALLOW, ("erlauben", "allow"), Where.CASE, "help.allow"),
    Command(Verb.ASK, ("fragen", "ask"), Where.CASE, "help.ask", takes=Takes.NEEDED),
    Command(Verb.WITHDRAW, ("widerruf", "withdraw"), Where.CASE, "help.withdraw", takes=Takes.MAYBE),
    Command(Verb.SURVEY, ("umfrage", "survey"), Where.CASE, "help.survey", takes=Takes.NEEDED),
    Command(Verb.NEWS, ("info", "news"), Where.ADMIN, "help.news", takes=Takes.NEEDED),
    Command(Verb.MUTE, ("stumm", "mute"), Where.CASE, "help.mute", takes=Takes.MAYBE),
    Command(Verb.BLOCK, ("sperren", "block"), Where.ANY_STAFF_ROOM, "help.block", takes=Takes.MAYBE),
    Command(Verb.UNBLOCK, ("entsperren", "unblock"), Where.ANY_STAFF_ROOM, "help.unblock", takes=Takes.MAYBE),
    Command(Verb.TODAY, ("heute", "today"), Where.ANY_STAFF_ROOM, "help.today"),
    Command(Verb.SEARCH, ("suche", "find"), Where.ANY_STAFF_ROOM, "help.search", takes=Takes.MAYBE, everyday=True),
    Command(Verb.STUCK, ("haenger", "stuck"), Where.ANY_STAFF_ROOM, "help.stuck", takes=Takes.MAYBE),
    Command(Verb.TRUST, ("vertrauen", "trust"), Where.ADMIN, "help.trust", takes=Takes.NEEDED),
    Command(Verb.ALIKE, ("stimmt", "match"), Where.ADMIN, "help.alike", takes=Takes.NEEDED),
    Command(Verb.NOT_ALIKE, ("falsch", "mismatch"), Where.ADMIN, "help.not_alike", takes=Takes.NEEDED),
    Command(Verb.HIRE, ("aufnehmen", "add"), Where.ADMIN, "help.hire", takes=Takes.NEEDED),
    Command(Verb.DISMISS, ("entfernen", "remove"), Where.ADMIN, "help.dismiss", takes=Takes.NEEDED),
    Command(
        Verb.NEW_CUSTOMER,
        ("neukunde", "newcustomer"),
        Where.ANY_STAFF_ROOM,
        "help.new_customer",
        takes=Takes.MAYBE,
        everyday=True,
    ),
    Command(Verb.DOCTOR, ("arzt", "doctor"), Where.ADMIN, "help.doctor"),
    Command(Verb.HELP, ("hilfe", "help"), Where.ANY_STAFF_ROOM, "help.help", takes=Takes.MAYBE),
)


CHIPS: Final = tuple(row for row in COMMANDS if row.chip)
"""The signs that stand ready to be tapped on the card of a case."""


def tapped(key: str) -> Command | None:
    """Return the command of a reaction to a card; some apps add U+FE0F to a sign, some people a skin tone."""
    plain = key.translate(dict.fromkeys((0xFE0F, *range(0x1F3FB, 0x1F400))))
    return next((row for row in CHIPS if row.chip == plain), None)


WISHES: Final = {
    "datenschutz": (Wish.PRIVACY, "de"),
    "privacy": (Wish.PRIVACY, "en"),
    "impressum": (Wish.IMPRINT, "de"),
    "imprint": (Wish.IMPRINT, "en"),
    "einwilligungen": (Wish.CONSENTS, "de"),
    "meine": (Wish.CONSENTS, "de"),
    "consents": (Wish.CONSENTS, "en"),
    "mine": (Wish.CONSENTS, "en"),
    "beleg": (Wish.PROOF, "de"),
    "proof": (Wish.PROOF, "en"),
}
"""What customers may type after a `!`; the word tells their language. Anything else of theirs is for people to read."""


@dataclass(frozen=True, slots=True)
class Wished:
    """A customer's wish, the language of its word, and what they wrote besides."""

    wish: Wish
    language: str
    rest: str


@dataclass(frozen=True, slots=True)
class Call:
    """A command of the table, with the rest of the line."""

    command: Command
    rest: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """It begins like a command but is none; `suggestion` is the nearest word or empty."""

    word: str
    suggestion: str


def parse(body: str) -> Call | Unknown | None:
    """Return the command in a staff member's message; None means: it is an answer for the customer."""
    text = _seen(body)
    behind = _seen(text[1:])
    if text.startswith(".") and (text == "." or behind != text[1:]):
        return Call(_by_word("notiz"), behind.rstrip())
    if not text.startswith("!"):
        return None
    word, _, rest = text[1:].partition(" ")
    first, newline, tail = word.partition("\n")
    known = _WORDS.get(_plain(first))
    if known is None:
        return Unknown(first, _nearest(first))
    return Call(known, (tail + (" " if newline and rest else "") + rest).strip())


def _seen(text: str) -> str:
    """Return a text from where it can be seen on: apps and clipboards put more than spaces before what was typed."""
    return next((text[n:] for n, c in enumerate(text) if not (c.isspace() or unicodedata.category(c) == "Cf")), "")


def wished(body: str) -> Wished | None:
    """Return what a customer asks the bot for; None: it is for people."""
    text = body.strip()
    word, *rest = text[1:].split(maxsplit=1) or [""]
    known = WISHES.get(_plain(word.rstrip(".!?,:")))
    if not text.startswith("!") or known is None:
        return None
    return Wished(*known, rest=rest[0] if rest else "")


def _plain(word: str) -> str:
    """Fold case and umlauts: `Später`, `spaeter` and `SPÄTER` are one word."""
    folded = word.casefold()
    for umlaut, plain in (("ä", "ae"), ("ö", "oe"), ("ü", "ue"), ("ß", "ss")):
        folded = folded.replace(umlaut, plain)
    return "".join(c for c in unicodedata.normalize("NFKD", folded) if not unicodedata.combining(c)).strip()


_WORDS: Final = {word: command for command in COMMANDS for word in command.words}


def row_of(verb: Verb) -> Command:
    """Return the row of what a command does."""
    return next(row for row in COMMANDS if row.verb is verb)


def _by_word(word: str) -> Command:
    return _WORDS[word]


def _nearest(word: str) -> str:
    found = difflib.get_close_matches(_plain(word), _WORDS, n=1, cutoff=0.6)
    return found[0] if found else ""
