"""What ships: the whole table for a workshop, and texts that say what the law asks for, in both languages."""

import pytest

from bot.domain.purpose import ANSWERS, LANGUAGES, Basis, Category, Default, PurposeId, digest
from bot.privacy import facts, lint
from tests.a_business import OPERATOR, PRIVACY

# The table of purposes, by their letter: what may happen without asking, and what never.
WITHOUT_CONSENT = {
    "service_reply": "bf",
    "appointment": "b",
    "estimate_approval": "bc",
    "status_notice": "b",
    "damage_media": "bf",
    "order_share": "b",
    "instructed_share": "b",
    "invoice": "bc",
    "safety_recall": "cdf",
    "reminder_requested": "b",
    "archive_statutory": "c",
    "consent_evidence": "cf",
    "suppression": "cf",
    "dsr_handling": "c",
    "legal_defence": "f",
    "security_log": "f",
    "desk_stats": "f",
}
WITH_CONSENT = {
    "insurer_expert_share": Default.PER_CASE,
    "reminder_service": Default.OFF,
    "marketing_news": Default.OFF,
    "feedback_survey": Default.OFF,
    "publicity_media": Default.NOT_OFFERED,
}


def test_the_table_of_purposes_is_whole() -> None:
    letters = {name: "".join(purpose.bases) for name, purpose in PRIVACY.purposes.items()}

    assert letters == WITHOUT_CONSENT | dict.fromkeys(WITH_CONSENT, "a")
    assert {p.id: p.default for p in PRIVACY.purposes.values() if p.needs_consent} == WITH_CONSENT


def test_advertising_and_surveys_are_never_anything_but_consent() -> None:
    asked = [p for p in PRIVACY.purposes.values() if p.category in {Category.MARKETING, Category.PUBLICITY}]

    assert len(asked) == 4
    assert all(p.bases == (Basis.CONSENT,) and p.minimum_age == 16 for p in asked)
    assert all(p.most_per_month for p in asked if p.category is Category.MARKETING)


def test_ac_24_every_text_exists_in_both_languages_and_passes_the_linter() -> None:
    ids = set(ANSWERS) | {p.question for p in PRIVACY.purposes.values() if p.question} | {"privacy_page"}

    assert PRIVACY.texts.keys() == {(name, language) for name in ids for language in LANGUAGES}
    for (name, language), text in PRIVACY.texts.items():
        assert (text.id, text.language, text.version) == (name, language, f"{text.wording}.1")
        assert text.sha256 == digest(text.text)
        assert list(lint.promised(text.text)) == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_question_says_all_that_makes_a_consent_informed(language: str) -> None:
    word = {"de": "STOPP", "en": "STOP"}[language]
    for purpose in PRIVACY.asked_for():
        text, words = PRIVACY.question(purpose.id, language).text, purpose.words[language]
        assert OPERATOR.controller.name in text
        assert words.title in text
        assert words.data in text or "{what}" in text
        assert words.recipients in text or "{recipient}" in text
        assert f"{word}." in text or f"{word} " in text
        assert "16" in text
        assert "(Fassung 2.1)" in text or "(version 2.1)" in text


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_a_text_leaves_open_is_what_flows_fill_in(language: str) -> None:
    for name, names in ANSWERS.items():
        assert PRIVACY.text(name, language).names == names
    assert PRIVACY.question(PurposeId("insurer_expert_share"), language).names == {
        *("case", "what", "recipient", "reason")
    }
    assert PRIVACY.question(PurposeId("marketing_news"), language).names == frozenset()


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_first_layer_is_short(language: str) -> None:
    assert len(PRIVACY.notice(language).text) <= 1500


@pytest.mark.parametrize("word", ["konform", "compliant", "100 %", "TÜV", "ticket", "homeserver", "bridge", "MXID"])
def test_no_text_promises_what_nobody_can_or_uses_words_of_the_trade(word: str) -> None:
    words = [value for p in PRIVACY.purposes.values() for said in p.words.values() for value in (said.title, said.what)]
    everything = [text.text for text in PRIVACY.texts.values()] + words

    assert [text for text in everything if word.lower() in text.lower()] == []


def test_every_word_that_customers_type_is_one_word() -> None:
    for language in LANGUAGES:
        words = [purpose.words[language].word for purpose in PRIVACY.purposes.values() if purpose.needs_consent]
        assert len(set(words)) == len(words) == len(WITH_CONSENT)


def test_the_same_start_makes_the_same_hashes() -> None:
    from bot.privacy.loading import load

    again = load(OPERATOR).privacy

    assert {key: text.sha256 for key, text in again.texts.items()} == {
        key: text.sha256 for key, text in PRIVACY.texts.items()
    }


def test_nothing_that_is_filled_in_is_filled_in_again() -> None:
    assert facts.fill("{controller} {x}", {"controller": "{address}", "address": "A"}) == "{address} {x}"
