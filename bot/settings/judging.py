"""What is wrong with a configuration: each problem with the place to look, and what was expected."""

import difflib
import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_origin

from pydantic import BaseModel

from bot.domain.errors import Fatal
from bot.expected import sentence
from bot.settings.business import DeskSettings
from bot.settings.whole import PREFIX, Settings

_HEADER = re.compile(r"\s*(\[\[?)\s*([\w.-]+)\s*\]")
_KEY = re.compile(r"\s*([\w-]+)\s*=")
_SECRETS = (("bot", "password"), ("homeserver", "admin_token"))
"""What may come from a file or from the environment, and never stands in the TOML."""

Place = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to correct: where it stands, and what was expected."""

    where: str
    what: str

    def __str__(self) -> str:
        """Return both in one line."""
        return f"{self.where}: {self.what}"


class SettingsProblems(Fatal):
    """The configuration cannot be used; `problems` is all that is wrong with it."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


def secrets_in(tree: dict[str, Any], path: Path, text: str) -> Iterator[Problem]:
    """Take secrets out of the tree: none of them is judged, shown or used."""
    for section, key in _SECRETS:
        table = tree.get(section)
        if isinstance(table, dict) and key in table:
            del table[key]
            yield Problem(
                _place(path, text, (section, key)),
                f"a secret must not stand here; put it into the file that {key}_file names, or into "
                f"the environment as {PREFIX}{section.upper()}__{key.upper()}",
            )


def unknown_variables() -> Iterator[Problem]:
    """Find misspelt sections. Only names with `__` count: Kubernetes sets BOTSCHAFT_PORT and the like by itself."""
    for variable in sorted(_variables()):
        section, nested, _ = variable.removeprefix(PREFIX).lower().partition("__")
        if variable.startswith(PREFIX) and nested and section not in Settings.model_fields:
            yield Problem(variable, f"unknown section {section}{_suggestion((section,))}")


def unreadable_variables(model: type[BaseModel], prefix: str) -> Iterator[Problem]:
    """Find lists and sections that came from the environment and are not JSON; pydantic-settings stops at the first."""
    variables = _variables()
    for name, field in model.model_fields.items():
        variable, annotation = prefix + name.upper(), field.annotation
        section = annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
        value = variables.get(variable)
        if value and (section or get_origin(annotation) is list) and not _is_json(value):
            yield Problem(variable, 'expected JSON, like ["@jan:example.de"] or {"id": "annahme"}')
        if section:
            yield from unreadable_variables(section, f"{variable}__")


def problem_of(path: Path, text: str, detail: Any) -> Problem:
    """Say one of pydantic's errors so that an admin can act on it; `text` is what stands in the file at `path`."""
    message = sentence(detail)
    location: Place = tuple(detail["loc"])
    if not location:  # A rule between sections; its sentence opens with the key it is about.
        key, _, message = message.partition(": ")
        location = tuple(key.split("."))
    name = ".".join(str(part) for part in location)
    match detail["type"]:
        case "extra_forbidden":
            return Problem(_place(path, text, location), f"unknown key {name}{_suggestion(location)}")
        case "missing":
            return Problem(_place(path, text, location[:-1]), f"{name} is missing")
        case _:
            return Problem(_place(path, text, location), f"{name}: {message}")


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _variables() -> dict[str, str]:
    """Return the environment; names of variables are compared without regard to case, as pydantic-settings does."""
    return {name.upper(): value for name, value in os.environ.items()}


def _suggestion(location: Place) -> str:
    known = _fields_at(location[:-1])
    found = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
    if found:
        return f"; did you mean `{found[0]}`?"
    return f"; known here: {', '.join(sorted(known))}" if known else ""


def _fields_at(location: Place) -> list[str]:
    model: Any = Settings
    for part in location:
        if isinstance(part, int):
            continue
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        model = DeskSettings if annotation == list[DeskSettings] else annotation
        if not isinstance(model, type) or not issubclass(model, BaseModel):
            return []
    return [name for name in model.model_fields if name not in {secret for _, secret in _SECRETS}]


def _place(path: Path, text: str, location: Place) -> str:
    """Return the environment variable that a value came from, or file and line of its key, or of what holds the key."""
    variables, lines = _variables(), _lines(text)
    around = [location[:length] for length in range(len(location), 0, -1)]
    for place in around:
        variable = PREFIX + "__".join(str(part) for part in place).upper()
        if variables.get(variable):
            return variable
    line = next((lines[place] for place in around if place in lines), None)
    return f"{path}:{line}" if line else str(path)


def _lines(text: str) -> dict[Place, int]:
    """Find the line of every key and table; `[[desks]]` are counted as pydantic counts them."""
    lines: dict[Place, int] = {}
    tables: Counter[Place] = Counter()
    table: Place = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            table = name = tuple(header.group(2).split("."))
            if tables[name[:1]] and len(name) > 1:  # a table inside the last one of several
                table = (name[0], tables[name[:1]] - 1, *name[1:])
            lines.setdefault(table, number)
            if header.group(1) == "[[":
                table = (*name, tables[name])
                tables[name] += 1
                lines[table] = number
        elif key := _KEY.match(line):
            lines.setdefault((*table, key.group(1)), number)
    return lines
