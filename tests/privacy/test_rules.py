"""Every rule is provoked once, through a folder of the admin's own, and names file and key. All findings come at once."""

import json
import re
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.purpose import LANGUAGES, Federation, Hosting, Operator, PurposeId
from bot.privacy import facts, lint
from bot.privacy.files import read
from bot.privacy.loading import Loaded, PrivacyProblems, load
from bot.resources import resource_dir
from tests.a_business import OPERATOR

SHIPPED = resource_dir("config") / "privacy"
TEXTS = tomllib.loads((SHIPPED / "texts.toml").read_text(encoding="utf-8"))["texts"]
PAGE = tomllib.loads((SHIPPED / "page.toml").read_text(encoding="utf-8"))

Load = Callable[..., Loaded]


@pytest.fixture
def own(tmp_path: Path) -> Load:
    """Load with a folder that has these files: `own(purposes="...", texts="...")`."""

    def loaded(operator: Operator = OPERATOR, **files: str) -> Loaded:
        for name, content in files.items():
            (tmp_path / f"{name}.toml").write_text(content, encoding="utf-8")
        return load(operator, tmp_path)

    return loaded


def findings(own: Load, operator: Operator = OPERATOR, **files: str) -> list[str]:
    with pytest.raises(PrivacyProblems) as caught:
        own(operator, **files)
    return [f"{Path(one.file).name}: {one.key}: {one.what}" for one in caught.value.findings]


def text_table(name: str, *changes: tuple[str, str], version: int = 2, without: str = "") -> str:
    """Return a table of texts.toml: the shipped one with these changes, each of which must happen in some language."""
    lines = [f"[texts.{name}]", f"version = {version}"]
    happened = set()
    for language in LANGUAGES:
        text = TEXTS[name][language]
        for old, new in changes:
            happened |= {old} if old in text else set()
            text = text.replace(old, new)
        if language != without:
            lines.append(f"{language} = {json.dumps(text, ensure_ascii=False)}")
    assert happened == {old for old, _ in changes}
    return "\n".join(lines) + "\n"


NEWS = "[purposes.marketing_news]\n"
REPLY = "[purposes.service_reply]\n"


@pytest.mark.parametrize(
    ("purposes", "expected"),
    [
        (
            NEWS + 'default = "on"',
            'marketing_news.default: consent is never given beforehand: expected "off", not "on"',
        ),
        (NEWS + 'default = "on_request"', "marketing_news.default: consent is never given beforehand"),
        (NEWS + 'bases = ["a", "f"]', "marketing_news.bases: consent stands alone"),
        (NEWS + 'bases = ["f"]', 'marketing_news.bases: a purpose of category "marketing" needs consent'),
        (NEWS + 'bases = ["g"]', "marketing_news.bases.0: expected 'a', 'b', 'c', 'd', 'e' or 'f'"),
        (NEWS + "bases = []", "marketing_news.bases: is empty"),
        (NEWS + 'question = ""', "marketing_news.question: is missing: consent needs a text"),
        (NEWS + 'question = "question_x"', "marketing_news.question: there is no text question_x"),
        (NEWS + 'question = "question_survey"', "feedback_survey.question: each purpose asks its own question"),
        (NEWS + "minimum_age = 12", "marketing_news.minimum_age: expected at least 13"),
        (NEWS + "most_per_month = 0", "marketing_news.most_per_month: is missing"),
        (NEWS + 'category = "spam"', "marketing_news.category: expected 'service'"),
        (NEWS + 'de = {word = ""}', "marketing_news.de.word: is missing: the word with which customers name"),
        (NEWS + 'de = {word = "umfragen"}', "marketing_news.de.word: more than one purpose is called umfragen"),
        (NEWS + 'en = {data = ""}', "marketing_news.en.data: is empty"),
        (NEWS + 'en = {what = "GDPR-compliant news"}', 'marketing_news.en.what: promises "GDPR-compliant"'),
        (NEWS + 'en = {what = "{nonsense}"}', "marketing_news.en.what: there is no {nonsense}"),
        (NEWS + "colour = 1", "marketing_news.colour: unknown key"),
        (REPLY + 'bases = ["b", "b"]', "service_reply.bases: names a letter twice"),
        (REPLY + 'question = "question_news"', 'service_reply.question: only a purpose with bases = ["a"]'),
        (REPLY + 'de = {interest = ""}', 'service_reply.de.interest: is missing: letter "f" needs the interest'),
        (REPLY + "keeps = []", "service_reply.keeps: is empty"),
        (REPLY + 'keeps = ["for_ever"]', "service_reply.keeps: there is no period for_ever"),
        (
            REPLY + 'en = {retention = "for long"}',
            "service_reply.en.retention: does not name {keep_chat}, {keep_enquiry}",
        ),
        ("[purposes.new]\nbases = ['b']", "purposes.new.en: is missing; every language must be there"),
        ("[purposes.New]\nbases = ['b']", "purposes.New: expected a name of small letters"),
        ("purposes = 1", "purposes: expected a table"),
        ("[purposes]\nmarketing_news = 1", "marketing_news: expected a table"),
        ("[periods]\nchat = '3 weeks'", 'periods.chat: expected a period like "90 days"'),
        ("[periods]\nchat = '0 days'", "periods.chat: expected a period"),
        ("[periods]\nask_again = '5 months'", "periods.ask_again: expected at least 6 months"),
        ("[periods]\nquestion = '32 days'", "periods.question: expected at most a month"),
        ("[period]\nchat = '3 days'", "period: unknown key; known here: periods, purposes"),
        ("[purposes", "this is not TOML"),
    ],
)
def test_ac_18_a_purpose_that_may_not_be(own: Load, purposes: str, expected: str) -> None:
    assert any(
        f"purposes.toml: {expected}" in one.replace(": purposes.", ": ", 1) or expected in one
        for one in findings(own, purposes=purposes)
    )


QUESTION = "texts.question_news"


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (text_table("question_news", ("{withdrawal}\n", "")), f"{QUESTION}.de: does not say the withdrawal sentence"),
        (text_table("question_news", ("{controller}", "uns")), f"{QUESTION}.en: does not say the controller"),
        (text_table("question_reminder", ("{purpose}", "Post")), "question_reminder.de: does not say the purpose"),
        (text_table("question_news", ("{recipients}", "?")), f"{QUESTION}.de: does not say the recipients"),
        (text_table("question_news", ("{data}", "?")), f"{QUESTION}.de: does not say the data"),
        (text_table("question_news", ("{voluntary}", "")), f"{QUESTION}.en: does not say that it is voluntary"),
        (text_table("question_news", ("{answer}", "")), f"{QUESTION}.en: does not say how to say yes or no"),
        (text_table("question_news", ("{version}", "1")), f"{QUESTION}.de: does not say its version"),
        (text_table("question_news", ("{most}", "{case}")), f"{QUESTION}.de: there is no {{case}} here"),
        (text_table("question_news", without="en"), f"{QUESTION}.en: is missing; every language must be there"),
        (
            text_table("question_news", without="en"),
            "marketing_news.question: there is no text question_news, or not in",
        ),
        (text_table("first_contact", without="de"), "texts.first_contact.de: is missing; every language must be there"),
        ("[texts.minor]\nversion = 2\nde = ' '\nen = ''", "texts.minor.de: is empty"),
        ("[texts.minor]\nde = 'x'\nen = 'x'", "texts.minor.version: is missing"),
        (
            "[texts.minor]\nversion = 1\ncounts_from = 2\nde = 'x'\nen = 'x'",
            "texts.minor.counts_from: expected a version",
        ),
        ("[texts.minr]\nversion = 2\nde = 'x'\nen = 'x'", "texts.minr: nothing shows this text"),
        ("[sentences.withdrawal]\nde = 'Bitte anrufen.'", f"{QUESTION}.de: does not say the withdrawal sentence"),
        ("[sentences.withdrawal]\nen = ''", "sentences.withdrawal.en: is empty"),
        ("[sentences.withdrawal]\nen = ''", "sentences.withdrawal: is missing, or not in every language"),
        (text_table("first_contact", ("Wofür:", "100 % sicher:")), 'first_contact.de: promises "100 % sicher"'),
        (text_table("first_contact", ("Wofür:", "DSGVO-konform:")), 'first_contact.de: promises "DSGVO-konform"'),
        (text_table("first_contact", ("Guten Tag!", "Guten Tag!" * 60)), "a first layer has at most 1800"),
        (text_table("consent_given", ("{date}", "heute")), "consent_given.de: does not say the date"),
        (text_table("consent_given", ("STOPP ", "Widerruf ")), "consent_given.de: does not say how to withdraw"),
        (text_table("imprint", ("{address}", "")), "imprint.de: does not say the controller's address"),
    ],
)
def test_ac_18_a_text_that_may_not_be(own: Load, texts: str, expected: str) -> None:
    assert any(expected in one for one in findings(own, texts=texts))


def test_an_own_text_may_say_things_in_its_own_way(own: Load) -> None:
    loaded = own(texts=text_table("question_news", ("Eine Frage von", "Kurze Frage von")))

    text = loaded.privacy.question(PurposeId("marketing_news"), "de")
    assert text.text.startswith("Kurze Frage von Werkstatt Müller GmbH")
    assert (text.version, text.wording, text.counts_from) == ("2.1", 2, 2)
    assert loaded.privacy.question(PurposeId("marketing_news"), "en").version == "2.1"


def test_an_edition_is_the_second_number_of_every_version(own: Load) -> None:
    texts = own(replace(OPERATOR, edition=7)).privacy.texts

    assert {text.version.partition(".")[2] for text in texts.values()} == {"7"}
    assert "(Fassung 2.7)" in texts["first_contact", "de"].text


def test_only_what_differs_has_to_stand_in_the_own_folder(own: Load) -> None:
    privacy = own(purposes='[periods]\nchat = "30 days"\n[purposes.marketing_news]\ndefault = "not_offered"\n').privacy

    assert privacy.periods["chat"].count == 30
    assert not privacy.purposes[PurposeId("marketing_news")].is_offered
    assert privacy.purposes[PurposeId("marketing_news")].words["de"].title == "Angebote und Neuigkeiten"
    assert "Angebote und Neuigkeiten" not in privacy.text("privacy_overview", "de").text
    assert "30 Tage" in privacy.purposes[PurposeId("status_notice")].words["de"].retention


def test_a_misspelt_file_changes_nothing_silently(own: Load) -> None:
    assert findings(own, purpose="x = 1") == ["purpose.toml: : expected one of purposes.toml, texts.toml, page.toml"]


def test_a_folder_that_is_not_there_is_found(tmp_path: Path) -> None:
    with pytest.raises(PrivacyProblems, match="there is no such folder"):
        load(OPERATOR, tmp_path / "nowhere")


def test_a_file_that_is_not_text_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "texts.toml").write_bytes(b"\xff\xfe")

    with pytest.raises(PrivacyProblems, match="cannot be read"):
        load(OPERATOR, tmp_path)


@pytest.mark.parametrize("mode", [Federation.OPEN, Federation.LISTED])
def test_ac_17_open_federation_needs_its_sentence(own: Load, mode: Federation) -> None:
    operator = replace(OPERATOR, federation=mode)

    assert "eine eigene Kopie" in own(operator).privacy.notice("de").text
    found = findings(own, operator, texts=text_table("first_contact", (" {federation}", "")))
    assert len([one for one in found if "what happens with accounts on other servers" in one]) == 2
    found = findings(own, operator, texts="[sentences.federation]\nde = ''")
    assert any(f'with federation.mode = "{mode}" customers must be told' in one for one in found)


def test_without_federation_nobody_is_told_of_copies() -> None:
    assert "Kopie" not in load(OPERATOR).privacy.notice("de").text


def test_a_hosted_server_is_named_in_the_first_text() -> None:
    hosted = replace(OPERATOR, hosting=Hosting("Falkenstein", "Beispiel Hosting GmbH", "AVV 2026-01"))

    notice = load(hosted).privacy.notice("de").text
    assert "unseres Dienstleisters Beispiel Hosting GmbH (Falkenstein)" in notice
    assert "eigenen Server" not in notice


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("version = 0", "version: expected a number from 1 on"),
        ("[de]\nrights = ''", "de.rights: expected some words"),
        ("[de]\nextra = 'x'", "en.extra: is missing; every language must say it"),
        ("[de]\nrights = '{nonsense}'", "de.rights: there is no {nonsense}"),
        ("[fr]\nrights = 'x'", "fr: unknown key"),
        ("[de]\nsource = 'Das wissen wir nicht.'", "de: does not say where the data comes from (Art. 14(2)(f)"),
        ("[en]\nautomated = 'x'\nautomated_heading = 'Robots'", "en: does not say automated decisions (Art. 13(2)(f)"),
        ("[en]\nrequired = 'No.'", "en: does not say whether data must be provided (Art. 13(2)(e)"),
        ("[de]\ncomplaint = 'x'", "de: does not say the supervisory authority"),
        ("[de]\nlead = 'Ganz DSGVO-konform.'", 'de: promises "DSGVO-konform"'),
        ("[de]\ncontroller = 'wir'", "de: does not say the controller's address"),
    ],
)
def test_a_page_that_does_not_say_what_it_must(own: Load, page: str, expected: str) -> None:
    assert any(f"page.toml: {expected}" in one for one in findings(own, page=page))


def test_all_findings_come_at_once_each_with_its_file(own: Load) -> None:
    found = findings(
        own,
        replace(OPERATOR, federation=Federation.OPEN),
        purposes=NEWS + 'default = "on"\n[purposes.suppression]\nkeeps = ["x"]\n[periods]\nchat = "soon"',
        texts=text_table("first_contact", (" {federation}", ""))
        + text_table("question_survey", ("{withdrawal}\n", "")),
        page="[de]\nrights = '{nonsense}'",
    )

    for part in ("marketing_news.default", "suppression.keeps", "periods.chat", "first_contact.de", "first_contact.en"):
        assert any(part in one for one in found), part
    for part in ("question_survey.de: does not say the withdrawal", "question_survey.en: does not say", "de.rights"):
        assert any(part in one for one in found), part
    assert not any("{keep_chat}" in one for one in found), "one fault is one finding"


@given(
    st.dictionaries(
        st.sampled_from(["bases", "default", "keeps", "de", "most_per_month", "x"]),
        st.one_of(st.integers(), st.text(max_size=5), st.lists(st.text(max_size=3), max_size=2), st.booleans()),
        min_size=1,
    )
)
def test_whatever_stands_in_a_purpose_is_a_finding_or_fits(
    tmp_path_factory: pytest.TempPathFactory, table: dict[str, object]
) -> None:
    """Never an exception of another kind: `check-config` would show a fault of ours."""
    folder = tmp_path_factory.mktemp("own")
    lines = [f"{name} = {json.dumps(value)}" for name, value in table.items()]
    (folder / "purposes.toml").write_text(NEWS + "\n".join(lines), encoding="utf-8")
    try:
        purpose = load(OPERATOR, folder).privacy.purposes[PurposeId("marketing_news")]
    except PrivacyProblems:
        return
    assert purpose.needs_consent
    assert purpose.default.value in {"off", "per_case", "not_offered"}


@given(st.sets(st.integers(0, len(lint.QUESTION) - 1), min_size=1))
def test_a_question_that_lacks_several_things_hears_of_each(lacking: set[int]) -> None:
    known = {"controller": "C1", "purpose": "P1", "data": "D1", "recipients": "R1", "version": "V1"}
    words = {"Art. 7(3)": "jederzeit STOPP", "Art. 7(4)": "freiwillig", "Art. 4(11)": "Ja oder Nein"}
    said = [known[duty.fact] if duty.fact else words[duty.article] for duty in lint.QUESTION]
    text = " . ".join(part for number, part in enumerate(said) if number not in lacking)

    found = list(lint.missing(text, "de", known, lint.QUESTION))

    assert [one.split(" (")[0] for one in found] == [
        f"does not say {lint.QUESTION[number].what}".split(" (")[0] for number in sorted(lacking)
    ]


SHOWN = {
    "first_contact": lint.SHORT,
    "privacy_overview": lint.OVERVIEW,
    "privacy_page": lint.FULL,
    "imprint": lint.IMPRINT,
}
FEDERATED = replace(
    OPERATOR, federation=Federation.OPEN, hosting=Hosting("Zürich", "Beispiel AG", "AVV 1", "Schweiz (Beschluss)")
)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(("name", "duty"), [(name, duty) for name, duties in SHOWN.items() for duty in duties])
def test_every_single_duty_is_missed_when_it_is_not_met(name: str, duty: lint.Duty, language: str) -> None:
    files = read(SHIPPED)
    privacy = load(FEDERATED).privacy
    known = facts.general(files, FEDERATED, privacy.purposes.values(), language)
    known |= {"version": privacy.text(name, language).version, "outside_eu": FEDERATED.hosting.outside_eu}
    text = " ".join(privacy.text(name, language).text.split())
    left_out = text.replace(known[duty.fact], "") if duty.fact else re.sub(duty.words[language], "", text, flags=re.I)

    assert list(lint.missing(text, language, known, [duty])) == []
    assert list(lint.missing(left_out, language, known, [duty])) == [f"does not say {duty.what} ({duty.article} GDPR)"]


def test_every_language_of_the_page_has_the_same_names() -> None:
    assert PAGE["de"].keys() == PAGE["en"].keys()
