"""The files of a privacy folder: what ships with us, overlaid by what the admin's own folder says. Shape only, no law.

Whatever is wrong is a `Finding` with file and key; reading goes on, so that all of them come at once.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from bot.domain.purpose import Basis, Category, Default, Period, Unit
from bot.expected import sentence

NAMES: Final = ("purposes.toml", "texts.toml", "page.toml")
_PERIOD: Final = re.compile(r"(\d{1,4}) (days|months|years)( to year-end)?")
_ID: Final = re.compile(r"[a-z][a-z_]{0,39}")

Key = tuple[str, ...]
M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One thing to correct: where it stands, and what was expected."""

    file: str
    key: str
    what: str

    def __str__(self) -> str:
        """Return it in one line."""
        return ": ".join(part for part in (self.file, self.key, self.what) if part)


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class WordsTable(_Table):
    """What is said about a purpose in one language."""

    title: str = Field(min_length=1)
    what: str = Field(min_length=1)
    data: str = Field(min_length=1)
    recipients: str = Field(min_length=1)
    retention: str = Field(min_length=1)
    interest: str = ""
    word: str = Field(default="", pattern=r"^[a-zäöüß-]*$")


class PurposeTable(_Table):
    """One purpose."""

    bases: list[Basis] = Field(min_length=1)
    category: Category
    default: Default
    keeps: list[str] = Field(min_length=1)
    question: str = ""
    minimum_age: int = Field(default=0, ge=0, le=99)
    most_per_month: int = Field(default=0, ge=0, le=31)
    de: WordsTable
    en: WordsTable


class SentenceTable(_Table):
    """A few words that stand inside texts."""

    de: str = Field(min_length=1)
    en: str = Field(min_length=1)


class TextTable(_Table):
    """One text, in all languages, under one version."""

    version: int = Field(ge=1)
    counts_from: int = Field(default=0, ge=0)
    de: str = Field(min_length=1)
    en: str = Field(min_length=1)

    @field_validator("de", "en")
    @classmethod
    def _says_something(cls, text: str) -> str:
        if not text.strip():
            raise ValueError("is empty")
        return text


@dataclass(slots=True)
class Files:
    """What stands in the files, as far as it has the right shape, and what has not."""

    periods: dict[str, Period] = field(default_factory=dict)
    purposes: dict[str, PurposeTable] = field(default_factory=dict)
    sentences: dict[str, SentenceTable] = field(default_factory=dict)
    texts: dict[str, TextTable] = field(default_factory=dict)
    page: dict[str, dict[str, str]] = field(default_factory=dict)
    page_version: int = 1
    findings: list[Finding] = field(default_factory=list)
    origin: dict[Key, str] = field(default_factory=dict)

    def find(self, file: str, key: str, what: str) -> None:
        """Add a finding about a key like `texts.minor.de`; the file is the one in which it was written."""
        place = (file, *key.split("."))
        known = [self.origin[place[:length]] for length in range(len(place), 1, -1) if place[:length] in self.origin]
        self.findings.append(Finding(known[0] if known else file, key, what))


def read(shipped: Path, own: Path | None = None) -> Files:
    """Read the shipped folder and lay the admin's own over it: key by key, a text only as a whole."""
    files = Files()
    trees: dict[str, dict[str, Any]] = {name: {} for name in NAMES}
    for folder in (shipped, own):
        if folder is None:
            continue
        files.findings += _strangers(folder)
        for name in NAMES:
            file = folder / name
            if file.is_file():
                shown = name if folder == shipped else str(file)
                _overlay(trees[name], _parsed(files, file, shown), (name,), files.origin, shown)
    _take_purposes(files, trees["purposes.toml"])
    _take_texts(files, trees["texts.toml"])
    _take_page(files, trees["page.toml"])
    return files


def _strangers(folder: Path) -> Iterator[Finding]:
    """A misspelt name would silently change nothing."""
    if not folder.is_dir():
        yield Finding(str(folder), "", "there is no such folder")
        return
    for file in sorted(folder.glob("*.toml")):
        if file.name not in NAMES:
            yield Finding(str(file), "", f"expected one of {', '.join(NAMES)}")


def _parsed(files: Files, file: Path, shown: str) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        files.findings.append(Finding(shown, "", f"this is not TOML: {error}"))
    except (OSError, UnicodeDecodeError) as error:
        files.findings.append(Finding(shown, "", f"cannot be read ({type(error).__name__})"))
    return {}


def _overlay(below: dict[str, Any], above: Mapping[str, Any], at: Key, origin: dict[Key, str], file: str) -> None:
    for name, value in above.items():
        key = (*at, name)
        is_whole_text = at == ("texts.toml", "texts")
        origin[key] = file
        if isinstance(value, Mapping) and not is_whole_text:
            if not isinstance(below.get(name), dict):
                below[name] = {}
            _overlay(below[name], value, key, origin, file)
        else:
            below[name] = value


def _take_purposes(files: Files, tree: dict[str, Any]) -> None:
    _known_tables(files, "purposes.toml", tree, ("periods", "purposes"))
    for name, value in _entries(files, "purposes.toml", tree, "periods"):
        period = _PERIOD.fullmatch(value) if isinstance(value, str) else None
        if period is None or int(period.group(1)) == 0:
            what = 'expected a period like "90 days", "12 months" or "6 years to year-end"'
            files.find("purposes.toml", f"periods.{name}", what)
            files.periods[name] = Period(name, 1, Unit.DAYS)  # stands in, so that nothing else is found because of it
        else:
            files.periods[name] = Period(name, int(period.group(1)), Unit(period.group(2)), bool(period.group(3)))
    _take(files, "purposes.toml", tree, "purposes", PurposeTable, files.purposes)


def _take_texts(files: Files, tree: dict[str, Any]) -> None:
    _known_tables(files, "texts.toml", tree, ("sentences", "texts"))
    _take(files, "texts.toml", tree, "sentences", SentenceTable, files.sentences)
    _take(files, "texts.toml", tree, "texts", TextTable, files.texts)


def _take_page(files: Files, tree: dict[str, Any]) -> None:
    _known_tables(files, "page.toml", tree, ("version", "de", "en"))
    version = tree.get("version")
    if isinstance(version, int) and version >= 1:
        files.page_version = version
    else:
        files.find("page.toml", "version", "expected a number from 1 on")
    for language in ("de", "en"):
        words = files.page[language] = {}
        for name, value in _entries(files, "page.toml", tree, language):
            if isinstance(value, str) and value.strip():
                words[name] = value
            else:
                files.find("page.toml", f"{language}.{name}", "expected some words")
    for language, other in (("de", "en"), ("en", "de")):
        for name in files.page[other].keys() - files.page[language].keys():
            files.find("page.toml", f"{language}.{name}", "is missing; every language must say it")


def _known_tables(files: Files, file: str, tree: dict[str, Any], known: tuple[str, ...]) -> None:
    for name in tree.keys() - set(known):
        files.find(file, name, f"unknown key; known here: {', '.join(known)}")


def _entries(files: Files, file: str, tree: dict[str, Any], table: str) -> Iterator[tuple[str, Any]]:
    entries = tree.get(table)
    if not isinstance(entries, dict):
        files.find(file, table, "expected a table with keys of its own")
        return
    for name, value in entries.items():
        if _ID.fullmatch(name):
            yield name, value
        else:
            files.find(file, f"{table}.{name}", "expected a name of small letters and underscores")


def _take(files: Files, file: str, tree: dict[str, Any], table: str, model: type[M], into: dict[str, M]) -> None:
    for name, value in _entries(files, file, tree, table):
        try:
            into[name] = model.model_validate(value)
        except ValidationError as error:
            for detail in error.errors(include_url=False, include_input=False):
                files.find(file, ".".join([table, name, *map(str, detail["loc"])]), _said(detail))


def _said(detail: Any) -> str:
    match detail["type"]:
        case "missing" if detail["loc"][-1] in {"de", "en"}:
            return "is missing; every language must be there"
        case "string_too_short" | "too_short":
            return "is empty"
        case "string_pattern_mismatch":
            return "expected one word of small letters"
        case "model_type" | "dict_type":
            return "expected a table with keys of its own"
        case _:
            return sentence(detail)
