"""Which language somebody writes: only where it is plain, and never from a word or two."""

import pytest

from bot.domain.language import wanted_in, written_in


@pytest.mark.parametrize(
    ("words", "language"),
    [
        ("Hello, I have a problem with my brakes, can you help?", "en"),
        ("When is my car ready? I need it for the weekend", "en"),
        ("It’s making a noise when I’m driving, what could this be", "en"),
        ("Guten Tag, mein Auto ist kaputt, haben Sie noch einen Termin?", "de"),
        ("Was kostet ein Ölwechsel?", None),
        ("ok", None),
        ("", None),
        ("👍👍👍", None),
        ("Bonjour, ma voiture est en panne", None),
        ("Ich habe ein Problem mit the new Service Kit for my BMW, it is kaputt", None),
    ],
)
def test_a_language_is_told_from_common_words(words: str, language: str | None) -> None:
    assert written_in(words) == language


@pytest.mark.parametrize(
    ("words", "language"),
    [("English", "en"), ("english!", "en"), ("!english", "en"), ("Deutsch.", "de"), ("!Englisch", "en")],
)
def test_one_word_asks_for_a_language(words: str, language: str) -> None:
    assert wanted_in(words) == language


@pytest.mark.parametrize("words", ["English breakfast", "auf Deutsch", "en", "", "!", "der Engländer"])
def test_more_than_that_word_is_for_people(words: str) -> None:
    assert wanted_in(words) is None
