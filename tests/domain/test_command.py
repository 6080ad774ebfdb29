"""The one rule that keeps words inside the house, and the table of commands."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.command import COMMANDS, Call, Unknown, Verb, parse

WORDS = [(command, word) for command in COMMANDS for word in command.words]


@pytest.mark.parametrize(("command", "word"), WORDS)
@pytest.mark.parametrize("case", [str.lower, str.upper, str.title])
def test_every_word_of_the_table_is_understood(command: object, word: str, case: object) -> None:
    assert callable(case)
    called = parse(f"!{case(word)} und mehr")
    assert isinstance(called, Call)
    assert called.command is command
    assert called.rest == "und mehr"


@pytest.mark.parametrize("text", [". intern", "  . intern", ".", "!notiz intern", "!Notiz intern", "!NOTE x"])
def test_notes(text: str) -> None:
    called = parse(text)
    assert isinstance(called, Call)
    assert called.command.verb is Verb.NOTE


@pytest.mark.parametrize("space", ["\n", "\t", "\u00a0", "\u202f", "\u2009", "\u200b "])
def test_any_space_behind_the_dot_makes_a_note(space: str) -> None:
    """Option and space on a Mac, a new line on a phone: nobody sees the difference."""
    called = parse(f".{space}intern")
    assert isinstance(called, Call)
    assert (called.command.verb, called.rest) == (Verb.NOTE, "intern")


@pytest.mark.parametrize("unseen", ["\u200b", "\ufeff", "\u2060", "\u00ad", " \u200b "])
@pytest.mark.parametrize("text", [". intern", "!zu", "!nicht für Kunden"])
def test_what_nobody_sees_before_it_does_not_send_it_out(unseen: str, text: str) -> None:
    assert parse(unseen + text) == parse(text)


@pytest.mark.parametrize("text", ["Hallo", ".NET ist gut", "... ja", "a ! b", "5 . 3", ""])
def test_answers(text: str) -> None:
    assert parse(text) is None


def test_what_stands_behind_a_command_keeps_what_holds_its_signs_together() -> None:
    called = parse("!fertig 👩\u200d🔧 wartet")
    assert isinstance(called, Call)
    assert called.rest == "👩\u200d🔧 wartet"


def test_a_typo_gets_a_suggestion_and_stays_inside() -> None:
    assert parse("!hlife") == Unknown("hlife", "hilfe")
    assert parse("!xyzzy") == Unknown("xyzzy", "")


@given(st.text())
def test_what_begins_like_a_command_is_never_an_answer(rest: str) -> None:
    assert parse("!" + rest) is not None
    assert parse(". " + rest) is not None
    assert parse("  !" + rest) is not None


@given(st.text())
def test_parsing_is_total(text: str) -> None:
    called = parse(text)
    unseen = "".join(c for c in text if c.isspace() or unicodedata.category(c) == "Cf")
    seen = text.lstrip(unseen)
    begins_inside = seen.startswith("!") or seen == "." or (seen[:1] == "." and seen[1:2] in unseen)
    assert (called is not None) == begins_inside
