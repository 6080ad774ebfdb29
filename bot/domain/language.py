"""Which of our languages somebody writes, or wants. Matrix tells nobody's language, so it is taken from their words."""

import re
from typing import Final

WANTED: Final = {"deutsch": "de", "german": "de", "english": "en", "englisch": "en"}
"""The one word that changes the language, alone in a message, with or without a `!`."""

_GERMAN: Final = """
    ich ist nicht und wir sie mein meine meinen ein eine einen mit für auf kann können haben habe wann bitte der das den
    dem von zu auch noch bei oder guten danke hätte möchte wird sind ihr ihre es
"""
_ENGLISH: Final = """
    the is my you i can have please what with and for it of to are do does how your this that would could when not be
    there it's i'm i'd hello thanks need
"""
_COMMON: Final = {"de": frozenset(_GERMAN.split()), "en": frozenset(_ENGLISH.split())}
_ENOUGH: Final = 3
"""So many common words of one language tell it, if there are three times as many as of the other."""
_WORDS: Final = re.compile(r"\w+(?:['’]\w+)?")


def wanted_in(words: str) -> str | None:
    """Return the language that a message asks for and says nothing else."""
    return WANTED.get(words.strip().removeprefix("!").rstrip(".!? ").casefold())


def written_in(words: str) -> str | None:
    """Return the language of a text if that is plain; None: it is too short, or something else."""
    tokens = [token.replace("’", "'") for token in _WORDS.findall(words.casefold())]
    counts = {language: sum(token in common for token in tokens) for language, common in _COMMON.items()}
    best = max(counts, key=lambda language: counts[language])
    others = sum(counts.values()) - counts[best]
    return best if counts[best] >= max(_ENOUGH, 3 * others) else None
