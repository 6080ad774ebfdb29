"""The full page and the record: every item the law names, in both languages, in files that need nothing else."""

import html
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from bot.domain.purpose import LANGUAGES, Federation, Hosting, Operator, digest
from bot.privacy.loading import load
from bot.privacy.pages import PAGE_FILES, PARTS
from tests.a_business import OPERATOR, PRIVACY

PAGES = load(OPERATOR).pages
VOID = {"meta", "link", "br", "img", "hr", "input"}

ARTICLE_13 = [
    ("controller", "Werkstatt Müller GmbH", "Werkstatt Müller GmbH"),
    ("address", "Musterstraße 1, 12345 Musterstadt", "Musterstraße 1, 12345 Musterstadt"),
    ("contact", "Telefon 01234 567890", "Telefon 01234 567890"),
    ("officer", "Datenschutzbeauftragte Person: Dr. Ada Klar", "Data protection officer: Dr. Ada Klar"),
    ("legal basis", "Art. 6 Abs. 1 Buchst. b DSGVO", "Art. 6(1)(b) GDPR"),
    ("legitimate interest", "berechtigtes Interesse", "legitimate interest"),
    ("recipients", "Teilehandel, Lackiererei", "parts dealers, paint shop"),
    (
        "third countries",
        "keine Daten in Länder außerhalb der Europäischen Union",
        "no data to countries outside the European",
    ),
    ("storage", "90 Tage nach der letzten Nachricht", "90 days after the last message"),
    ("access", "Auskunft verlangen (Art. 15 DSGVO)", "access (Art. 15 GDPR)"),
    ("rectification", "Berichtigung (Art. 16)", "correction (Art. 16)"),
    ("erasure", "Löschung (Art. 17)", "deletion (Art. 17)"),
    ("restriction", "Einschränkung der Verarbeitung (Art. 18)", "restriction of processing (Art. 18)"),
    ("portability", "Datenübertragbarkeit (Art. 20)", "portability (Art. 20)"),
    ("objection", "jederzeit Widerspruch einlegen", "object at any time"),
    ("withdrawal", "jederzeit widerrufen", "withdraw every consent at any time"),
    ("complaint", "Aufsichtsbehörde beschweren (Art. 77 DSGVO)", "supervisory authority (Art. 77 GDPR)"),
    ("authority", "Landesbeauftragte für den Datenschutz", "Landesbeauftragte für den Datenschutz"),
    ("must data be provided", "nicht verpflichtet", "not obliged"),
    ("automated decisions", "keine automatisierte Entscheidung", "no automated decision-making"),
    ("source (Art. 14)", "Von Ihnen: aus dem, was Sie uns schreiben", "From you: from what you write"),
]


def words_of(page: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page.split("</style>")[1])).split())


@pytest.mark.parametrize(("item", "german", "english"), ARTICLE_13)
def test_the_page_says_every_item_of_article_13(item: str, german: str, english: str) -> None:
    assert german in words_of(PAGES.privacy_page("de")), item
    assert english in words_of(PAGES.privacy_page("en")), item


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_says_everything_about_every_purpose_that_is_offered(language: str) -> None:
    page = words_of(PAGES.privacy_page(language))
    for purpose in PRIVACY.purposes.values():
        said = purpose.words[language]
        parts = [said.title, said.what, said.data, said.recipients, said.retention, said.interest]
        assert all(part in page for part in parts) or not purpose.is_offered
        assert purpose.is_offered or said.what not in page


@pytest.mark.parametrize("language", LANGUAGES)
def test_ac_25_the_record_has_every_purpose_with_basis_recipients_and_retention(language: str) -> None:
    record = PAGES.record(language)
    for purpose in PRIVACY.purposes.values():
        part = record.partition(f'<section id="{purpose.id}">')[2].partition("</section>")[0]
        section = words_of(f"</style>{part}")
        said = purpose.words[language]
        assert all(part in section for part in (said.title, said.data, said.recipients, said.retention))
        assert section.count("Art. 6") == len(purpose.bases)
        assert all(f"{period.id}: {period.said(language)}" in section for period in purpose.keeps)
    general = words_of(record)
    for part in (OPERATOR.controller.name, OPERATOR.controller.officer, OPERATOR.controller.authority, "Art. 32"):
        assert part in general


class Outline(HTMLParser):
    """What a screen reader and a browser make of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[int] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.language = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        if re.fullmatch(r"h\d", tag):
            self.headings.append(int(tag[1]))
        if tag == "html":
            self.language = given.get("lang") or ""
        self.ids += [value for name, value in attrs if name == "id" and value]
        self.links += [value for name, value in attrs if name in {"href", "src", "srcset", "action"} and value]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes nothing"


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", ["privacy_page", "record"])
def test_a_page_is_whole_ordered_and_alone(kind: str, language: str) -> None:
    page = getattr(PAGES, kind)(language)
    outline = Outline(page)

    assert page.startswith("<!doctype html>")
    assert outline.open == []
    assert outline.language == language
    assert outline.headings.count(1) == 1
    steps = zip(outline.headings, outline.headings[1:], strict=False)
    assert all(below - above <= 1 for above, below in steps), "no level of headings is left out"
    assert len(set(outline.ids)) == len(outline.ids)
    inside = {f"#{name}" for name in outline.ids}
    assert {link for link in outline.links if link not in inside} <= set(PAGE_FILES.values())
    assert outline.tags.isdisjoint({"script", "img", "iframe", "link", "form", "video", "object"})
    assert not re.search(r"url\(|@import|\{[a-z_]+\}", page)
    assert 'name="viewport"' in page


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_contents_lead_to_every_section(language: str) -> None:
    outline = Outline(PAGES.privacy_page(language))

    assert [link[1:] for link in outline.links if link.startswith("#")] == list(PARTS)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_promises_nothing_and_knows_its_version(language: str) -> None:
    page = words_of(PAGES.privacy_page(language))
    text = PAGES.text(language)

    assert not re.search("konform|compliant|100 ?%", page, re.IGNORECASE)
    assert text.sha256 in page
    assert text.version == "1.1"
    assert PRIVACY.text("privacy_page", language) == text
    assert text.sha256 == digest(text.text)
    assert "<" not in text.text


def changed(**facts: object) -> Operator:
    return replace(OPERATOR, **facts)  # type: ignore[arg-type]


def test_what_an_admin_wrote_is_never_markup() -> None:
    name = '<script>alert(1)</script> & "Söhne"'
    pages = load(changed(controller=replace(OPERATOR.controller, name=name))).pages
    for page in (pages.privacy_page("de"), pages.record("en")):
        assert "<script" not in page
        assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; " in page
        assert Outline(page).open == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_federation_a_processor_and_another_country_are_said(language: str) -> None:
    hosting = Hosting("Zürich", "Beispiel Hosting AG", "AVV 2026-01", "Schweiz (Angemessenheitsbeschluss)")
    pages = load(changed(hosting=hosting, federation=Federation.OPEN)).pages
    page, record = words_of(pages.privacy_page(language)), words_of(pages.record(language))

    assert {"de": "eine eigene Kopie", "en": "its own copy"}[language] in page
    assert {"de": "bei einem Anbieter in einem solchen Land", "en": "a provider in such a country"}[language] in page
    assert "Beispiel Hosting AG (Zürich)" in page
    assert "Schweiz (Angemessenheitsbeschluss)" in page
    assert {"de": "keine Daten in Länder", "en": "no data to countries"}[language] not in page
    assert "AVV 2026-01" in record
    assert "AVV 2026-01" not in page


def test_without_an_officer_the_record_says_so() -> None:
    pages = load(changed(controller=replace(OPERATOR.controller, officer=""))).pages

    assert "keine benannt" in words_of(pages.record("de"))
    assert "Datenschutzbeauftragte Person" not in words_of(pages.privacy_page("de"))
