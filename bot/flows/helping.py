"""`!hilfe`: what is needed every day, "alle": everything, a word: what that does. Made from the table of commands."""

from typing import Final

from bot.domain import command
from bot.domain.command import COMMANDS, Call, Command, Unknown
from bot.flows.surroundings import Surroundings

EVERYTHING: Final = frozenset({"alle", "alles", "all", "everything"})


def text(around: Surroundings, rest: str) -> str:
    """Return the help about everyday things, about everything, or about the command that is named."""
    wanted = rest.strip().casefold()
    if not wanted:
        everyday = [_line(around, row) for row in COMMANDS if row.everyday]
        return "\n".join([around.say("command.help_intro"), *everyday, around.say("command.help_more")])
    if wanted in EVERYTHING:
        return "\n".join([around.say("command.help_intro"), *(_line(around, row) for row in COMMANDS)])
    called = command.parse("!" + wanted.removeprefix("!"))
    return _line(around, called.command) if isinstance(called, Call) else unknown(around, called or Unknown(wanted, ""))


def unknown(around: Surroundings, called: Unknown) -> str:
    """Return what is said to a word that is no command."""
    if called.suggestion:
        return around.say("command.unknown", word=called.word, suggestion=called.suggestion)
    return around.say("command.unknown_plain", word=called.word)


def word_of(around: Surroundings, row: Command) -> str:
    """Return the word of a command in the language that we speak."""
    return (row.words[:1] if around.language == "de" else row.words[1:2] or row.words)[0]


def _line(around: Surroundings, row: Command) -> str:
    words = " / ".join(f"!{word}" for word in row.words)
    return around.say("command.help_line", words=words, what=around.say(row.help))
