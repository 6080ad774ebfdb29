"""What counts as a yes, what as a no, and what may follow: strict where somebody agrees, lenient where they do not."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.consent import (
    NO,
    YES,
    Answer,
    Asked,
    Consent,
    NoPermit,
    NotNow,
    Situation,
    Standing,
    Validity,
    Withdrawal,
    after,
    age_in,
    agreed_in,
    answer_in,
    folded,
    is_unusable,
    may_ask,
    voted,
    withdrawal_in,
)
from bot.domain.ids import CaseNumber, CustomerId
from bot.domain.ledger.entries import LedgerKind
from bot.domain.purpose import Period, PurposeId, Unit

NEWS, SURVEY = PurposeId("marketing_news"), PurposeId("feedback_survey")
PURPOSES = {"neuigkeiten": NEWS, "news": NEWS, "umfragen": SURVEY, "surveys": SURVEY}
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
YEAR = timedelta(days=365)
AGAIN = Period("ask_again", 365, Unit.DAYS)


@pytest.mark.parametrize(
    "words", ["ja", "Ja", "JA.", " ja! ", "yes", "Yes!", "einverstanden", "Ich willige ein.", "„Ja“"]
)
def test_a_yes_is_exactly_a_yes_word(words: str) -> None:
    assert answer_in(words) is Answer.YES


@pytest.mark.parametrize(
    "words",
    [
        "ok",
        "👍",
        "ja, aber nur einmal",
        "ja?",
        "ja bitte",
        "jaja",
        "ja 👍",
        "j",
        "",
        "gerne",
        "yes please",
        "ja nein",
        "⁇",
    ],
)
def test_nothing_else_is_a_yes(words: str) -> None:
    assert answer_in(words) is None


@pytest.mark.parametrize("words", ["nein", "Nein danke", "no", "NO!", "nein, auf keinen Fall", "Nö"])
def test_a_no_may_say_why(words: str) -> None:
    assert answer_in(words) is Answer.NO


@given(st.text())
def test_what_is_a_yes_consists_of_a_yes_word_and_signs(words: str) -> None:
    if answer_in(words) is Answer.YES:
        letters = "".join(c for c in words.casefold() if c.isalpha())
        assert letters in {"ja", "yes", "einverstanden", "ichwilligeein"} or not words.isascii()


def test_a_vote_is_one_known_answer() -> None:
    assert (voted([YES]), voted([NO])) == (Answer.YES, Answer.NO)
    assert [voted(choice) for choice in ([], [YES, NO], [YES, YES], ["other"])] == [None] * 4


@pytest.mark.parametrize("words", ["!ja neuigkeiten", "!JA Neuigkeiten", "!yes news", "!ja  neuigkeiten."])
def test_the_command_names_its_purpose_exactly(words: str) -> None:
    assert agreed_in(words, PURPOSES) == NEWS


@pytest.mark.parametrize(
    "words", ["!ja", "ja neuigkeiten", "!ja neuigkeite", "!ja alles", "!nein neuigkeiten", "! ja news"]
)
def test_a_command_that_names_none_agrees_to_nothing(words: str) -> None:
    assert agreed_in(words, PURPOSES) is None


@pytest.mark.parametrize(
    "words",
    [
        *("stopp", "STOPP", "Stopp!", "stop.", " STOP ", "abmelden", "Widerruf", "unsubscribe"),
        *(
            "Bitte STOPP mit den Nachrichten",
            "Stopp! Das reicht jetzt.",
            "Das reicht, stopp.",
            "keine Werbung mehr bitte",
        ),
        *("Bitte nicht mehr schreiben", "no more ads please", "!stopp", "!stop", "!widerruf", "!abmelden", "!nein"),
        *("!withdraw", "!widerruf alles", "!STOPP", "stopp\nDanke", "Stopp 🙏"),
    ],
)
def test_withdrawals_are_read_leniently(words: str) -> None:
    assert withdrawal_in(words, PURPOSES) == Withdrawal(None)


@pytest.mark.parametrize(
    "words", ["STOPP neuigkeiten", "stop news", "!widerruf Neuigkeiten", "stopp neuigkeit", "!nein news"]
)
def test_a_withdrawal_may_name_its_purpose_and_slips_of_the_pen_are_forgiven(words: str) -> None:
    assert withdrawal_in(words, PURPOSES) == Withdrawal(NEWS)


@pytest.mark.parametrize(
    "words",
    [
        "",
        "Wann ist mein Auto fertig?",
        "Der Motor stoppt",
        "nonstop",
        "stop by tomorrow",
        "Nichtstopp",
        "!datenschutz",
        "ja",
    ],
)
def test_ordinary_words_take_nothing_back(words: str) -> None:
    assert withdrawal_in(words, PURPOSES) is None


@given(st.text(), st.sampled_from(["stopp", "STOP", "Stopp", "widerruf"]), st.sampled_from(["\n", ". ", "! "]))
def test_a_stop_word_alone_counts_whatever_stands_before_it(before: str, word: str, between: str) -> None:
    assert withdrawal_in(f"{before}{between}{word}", PURPOSES) is not None


@given(st.text())
def test_reading_is_total_and_never_both(words: str) -> None:
    agreed, taken = agreed_in(words, PURPOSES), withdrawal_in(words, PURPOSES)
    assert not (agreed and taken)
    if answer_in(words) is Answer.YES:
        assert taken is None


@pytest.mark.parametrize(("words", "age"), [("ich bin 14", 14), ("Ich bin erst 15 Jahre alt", 15), ("I'm 15.", 15)])
def test_somebody_says_how_old_they_are(words: str, age: int) -> None:
    assert age_in(words) == age


@pytest.mark.parametrize("words", ["ich bin 15 Minuten später da", "ich bin um 14 Uhr da", "bin 15 km entfernt", "14"])
def test_other_numbers_are_no_age(words: str) -> None:
    assert age_in(words) is None


# -------------------------------------------------------------------------------------------------------- what follows

GRANTS = frozenset({LedgerKind.GIVEN, LedgerKind.RENEWED})
kinds = st.sampled_from(list(LedgerKind))


@given(st.lists(kinds))
def test_only_a_yes_leads_to_a_yes(history: list[LedgerKind]) -> None:
    standing = Standing.NONE
    for kind in history:
        reached = after(standing, kind)
        if reached is Standing.GIVEN:
            assert kind in GRANTS
        standing = reached or standing


@given(st.lists(kinds))
def test_what_was_taken_back_stays_so_until_they_say_yes_again(history: list[LedgerKind]) -> None:
    before = folded((NEWS, kind) for kind in [LedgerKind.GIVEN, LedgerKind.WITHDRAWN])
    assert before == {NEWS: Standing.WITHDRAWN}
    whole = [LedgerKind.GIVEN, LedgerKind.WITHDRAWN, *(kind for kind in history if kind not in GRANTS)]
    assert folded((NEWS, kind) for kind in whole)[NEWS] is not Standing.GIVEN


@given(st.lists(st.tuples(st.sampled_from([NEWS, SURVEY]), kinds)))
def test_purposes_never_mix(history: list[tuple[PurposeId, LedgerKind]]) -> None:
    together = folded(history)
    alone = folded(entry for entry in history if entry[0] == NEWS)
    assert together.get(NEWS) == alone.get(NEWS)


def test_whoever_agreed_can_always_take_it_back() -> None:
    assert after(Standing.GIVEN, LedgerKind.WITHDRAWN) is Standing.WITHDRAWN
    assert after(Standing.REQUESTED, LedgerKind.WITHDRAWN) is Standing.WITHDRAWN


CASE = CaseNumber(7)
FREE = Situation(Standing.NONE, (), session_over=True, under_age=False, suppressed=False)


def asks(situation: Situation) -> NotNow | None:
    return may_ask(NEWS, situation, case=CASE, now=NOW, ask_again=AGAIN)


def asked(purpose: PurposeId, days_ago: int, case: int, *, is_open: bool = False) -> Asked:
    return Asked(purpose, NOW - timedelta(days=days_ago), CaseNumber(case), is_open)


@pytest.mark.parametrize(
    ("situation", "why"),
    [
        (FREE, None),
        (Situation(Standing.NONE, (), False, False, False), NotNow.FIRST_SESSION),
        (Situation(Standing.NONE, (), True, True, False), NotNow.UNDER_AGE),
        (Situation(Standing.WITHDRAWN, (), True, False, True), NotNow.SUPPRESSED),
        (Situation(Standing.GIVEN, (), True, False, False), NotNow.GIVEN),
        (Situation(Standing.NONE, (asked(SURVEY, 3, 6, is_open=True),), True, False, False), NotNow.QUESTION_OPEN),
        (Situation(Standing.NONE, (asked(SURVEY, 3, 7),), True, False, False), NotNow.ASKED_IN_THIS_CONTACT),
        (Situation(Standing.REFUSED, (asked(NEWS, 364, 6),), True, False, False), NotNow.TOO_SOON),
        (Situation(Standing.REFUSED, (asked(NEWS, 365, 6),), True, False, False), None),
        (Situation(Standing.SUPERSEDED, (asked(NEWS, 3, 6),), True, False, False), None),
        (Situation(Standing.NONE, (asked(SURVEY, 3, 6),), True, False, False), None),
    ],
)
def test_when_somebody_may_be_asked(situation: Situation, why: NotNow | None) -> None:
    assert asks(situation) is why


questions = st.builds(
    Asked,
    purpose=st.sampled_from([NEWS, SURVEY]),
    at=st.integers(0, 800).map(lambda days: NOW - timedelta(days=days)),
    case=st.integers(1, 9).map(CaseNumber),
    is_open=st.booleans(),
)
situations = st.builds(
    Situation,
    standing=st.sampled_from(Standing),
    asked=st.lists(questions),
    session_over=st.booleans(),
    under_age=st.booleans(),
    suppressed=st.booleans(),
)


@given(situations)
def test_nobody_is_asked_in_the_first_session_or_twice_or_against_their_will(situation: Situation) -> None:
    if asks(situation) is None:
        assert situation.session_over
        assert not situation.suppressed
        assert not situation.under_age
        assert situation.standing is not Standing.GIVEN
        assert not any(question.is_open or question.case == CASE for question in situation.asked)


def consent(standing: Standing = Standing.GIVEN, **changed: object) -> Consent:
    values = {"purpose_sha256": "p", "text_version": "2.1"} | changed
    return Consent(CustomerId("c"), NEWS, standing, NOW, 0, **values)  # type: ignore[arg-type]


VALID = Validity("p", 2, NOW + YEAR, 2)


@pytest.mark.parametrize(
    ("known", "sent", "now", "why"),
    [
        (consent(), 0, NOW, None),
        (consent(), 1, NOW, None),
        (consent(), 2, NOW, NoPermit.TOO_MANY),
        (consent(), 0, NOW + YEAR + timedelta(seconds=1), NoPermit.EXPIRED),
        (consent(purpose_sha256="q"), 0, NOW, NoPermit.OUTDATED),
        (consent(text_version="1.9"), 0, NOW, NoPermit.OUTDATED),
        (consent(text_version="3.1"), 0, NOW, None),
        (None, 0, NOW, NoPermit.NOT_GIVEN),
    ],
)
def test_what_a_consent_can_be_relied_on_for(
    known: Consent | None, sent: int, now: datetime, why: NoPermit | None
) -> None:
    assert is_unusable(known, VALID, now=now, sent=sent) is why


@pytest.mark.parametrize("standing", [standing for standing in Standing if standing is not Standing.GIVEN])
def test_nothing_but_a_yes_is_relied_on(standing: Standing) -> None:
    assert is_unusable(consent(standing), VALID, now=NOW, sent=0) is NoPermit.NOT_GIVEN
