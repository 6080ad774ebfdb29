"""The full privacy page (Art. 13, 14) and the record of processing (Art. 30(1)), from the same purposes as everything.

One file for each language, which needs nothing from anywhere else. Whatever is filled in is escaped.
"""

import html
import re
from functools import cached_property
from typing import Any, Final

import jinja2

from bot.domain.purpose import LANGUAGES, Category, Federation, Privacy, PrivacyText, Purpose, canonical, digest
from bot.privacy import facts, lint
from bot.privacy.files import Files
from bot.resources import resource_dir

PAGE: Final = "privacy_page"
"""The id under which the words of the page are on record."""
PAGE_FILES: Final = {"de": "datenschutz.html", "en": "privacy.html"}
RECORD_FILES: Final = {"de": "verarbeitungsverzeichnis.html", "en": "record-of-processing.html"}
PARTS: Final = (
    *("controller", "purposes", "source", "server", "recipients", "abroad", "required", "automated"),
    *("rights", "objection", "withdrawal", "complaint"),
)
"""The sections of the page, in their order: what Art. 13 and 14 ask for."""
_BLOCK_ENDS: Final = re.compile(r"</(?:p|h\d|li|dt|dd|title)>")


class Pages:
    """Makes the pages of one `Privacy`; the words come from page.toml."""

    def __init__(self, privacy: Privacy, files: Files) -> None:
        self._privacy = privacy
        self._files = files
        self._folder = resource_dir("config") / "privacy"
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(self._folder),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def privacy_page(self, language: str) -> str:
        """Return the full page as HTML."""
        return self._rendered("page.html", language)

    def record(self, language: str) -> str:
        """Return the record of processing as HTML."""
        return self._rendered("record.html", language)

    def text(self, language: str) -> PrivacyText:
        """Return the words of the full page, as they go on record."""
        return PrivacyText(PAGE, self._version, language, self._words(language), self._files.page_version)

    def check(self, language: str) -> None:
        """Find what the page does not say."""
        missing = [f"{part}_heading" for part in PARTS] + [part for part in PARTS if part != "abroad"]
        for name in missing:
            if name not in self._files.page[language]:
                self._files.find("page.toml", f"{language}.{name}", "is missing")
        known = self._known(language)
        for name, words in self._files.page[language].items():
            unknown = facts.names(words) - known.keys() - {"checksum", "minimum_age"}
            if unknown:
                what = f"there is no {', '.join(f'{{{one}}}' for one in sorted(unknown))}"
                self._files.find("page.toml", f"{language}.{name}", what)
        if self._files.findings:
            return  # what does not stand there cannot be drawn
        for what in lint.missing(self._words(language), language, known, lint.FULL):
            self._files.find("page.toml", language, what)

    @property
    def _version(self) -> str:
        return f"{self._files.page_version}.{self._privacy.operator.edition}"

    @cached_property
    def _shown(self) -> list[Purpose]:
        return [purpose for purpose in self._privacy.purposes.values() if purpose.is_offered]

    def _known(self, language: str) -> dict[str, str]:
        operator = self._privacy.operator
        return facts.general(self._files, operator, self._shown, language) | {
            "version": self._version,
            "outside_eu": operator.hosting.outside_eu,
            "contract": operator.hosting.contract,
        }

    def _words(self, language: str) -> str:
        """Return the page without its marks, one block a line. The checksum is over this, so it cannot be in it."""
        page = self._rendered("page.html", language, checksum="")
        without_style = re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
        lines = re.sub(r"<[^>]*>", "", _BLOCK_ENDS.sub("\n", without_style)).splitlines()
        return canonical("\n".join(filter(None, (" ".join(html.unescape(line).split()) for line in lines))))

    def _rendered(self, template: str, language: str, *, checksum: str | None = None) -> str:
        operator = self._privacy.operator
        known = self._known(language)
        known["checksum"] = digest(self._words(language)) if checksum is None else checksum
        say = {name: facts.rendered(words, known) for name, words in self._files.page[language].items()}
        values: dict[str, Any] = {
            "say": say,
            "language": language,
            "other": next(other for other in LANGUAGES if other != language),
            "other_file": next(file for other, file in PAGE_FILES.items() if other != language),
            "parts": PARTS,
            "groups": self._groups(),
            "purposes": list(self._privacy.purposes.values()),
            "controller": operator.controller,
            "hosting": operator.hosting,
            "is_federated": operator.federation is not Federation.CLOSED,
            "age": lambda one: facts.fill(say["age"], {"minimum_age": str(one.minimum_age)}),
            "style": (self._folder / "style.css").read_text(encoding="utf-8"),
        }
        return self._templates.get_template(template).render(values)

    def _groups(self) -> list[tuple[list[Purpose], str]]:
        asked = [purpose for purpose in self._shown if purpose.needs_consent]
        others = [purpose for purpose in self._shown if not purpose.needs_consent]
        for_order = [purpose for purpose in others if purpose.category in {Category.SERVICE, Category.SHARING}]
        rest = [purpose for purpose in others if purpose not in for_order]
        return [(for_order, "purposes_service"), (asked, "purposes_consent"), (rest, "purposes_duty")]
