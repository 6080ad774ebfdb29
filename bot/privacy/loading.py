"""From files and the operator's facts to a checked `Privacy`, or to everything that is wrong with it."""

from dataclasses import dataclass
from pathlib import Path

from bot.domain.errors import Fatal
from bot.domain.purpose import LANGUAGES, Operator, Privacy, PrivacyText, Purpose, PurposeId
from bot.privacy import facts, pages, rules
from bot.privacy.files import Files, Finding, TextTable, read
from bot.resources import resource_dir


class PrivacyProblems(Fatal):
    """Purposes or texts cannot be used; `findings` is all that is wrong with them."""

    def __init__(self, findings: list[Finding]) -> None:
        super().__init__("\n".join(str(finding) for finding in findings))
        self.findings = findings


@dataclass(frozen=True, slots=True)
class Loaded:
    """What flows use, and what only pages need."""

    privacy: Privacy
    pages: pages.Pages


def load(operator: Operator, own: Path | None = None, *, shipped: Path | None = None) -> Loaded:
    """Read what ships with us and the admin's own folder over it.

    Raises:
        PrivacyProblems: with every finding, sorted by file and key.
    """
    files = read(shipped or resource_dir("config") / "privacy", own)
    purposes = rules.purposes_of(files)
    rules.check_sentences(files, operator)
    written = {
        (name, language): _written(files, operator, purposes, name, language)
        for name in files.texts
        for language in LANGUAGES
    }
    rules.check_texts(files, purposes, written)
    texts = {
        (name, language): PrivacyText(
            id=name,
            version=known["version"],
            language=language,
            text=text,
            wording=files.texts[name].version,
            counts_from=files.texts[name].counts_from or files.texts[name].version,
        )
        for (name, language), (text, known) in written.items()
    }
    made = pages.Pages(Privacy(operator, files.periods, purposes, texts), files)
    for language in LANGUAGES:
        made.check(language)
    if files.findings:
        raise PrivacyProblems(sorted(set(files.findings)))
    on_record = {(pages.PAGE, language): made.text(language) for language in LANGUAGES}
    return Loaded(Privacy(operator, files.periods, purposes, texts | on_record), made)


def _written(
    files: Files, operator: Operator, purposes: dict[PurposeId, Purpose], name: str, language: str
) -> tuple[str, facts.Facts]:
    """Return a text with everything filled in that is known now, and what was known."""
    table: TextTable = files.texts[name]
    known: facts.Facts = {
        **facts.general(files, operator, purposes.values(), language),
        "version": f"{table.version}.{operator.edition}",
    }
    asking = next((purpose for purpose in purposes.values() if purpose.question == name), None)
    if asking:
        known = facts.of_purpose(files, asking, language, known)
    return facts.rendered(getattr(table, language), known), known
