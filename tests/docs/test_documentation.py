"""What is documented is what there is, and the layers hold."""

import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from bot.cli import cli
from bot.domain.command import COMMANDS, WISHES, Where
from bot.resources import resource_dir
from bot.settings import DeskSettings, Settings

ROOT = Path(__file__).parents[2]
EXAMPLE = (resource_dir("config") / "botschaft.example.toml").read_text(encoding="utf-8")
SECRETS = {"bot.password", "homeserver.admin_token"}


def fields(model: type[BaseModel], prefix: str = "") -> set[str]:
    """Return the dotted name of every value that an admin can set."""
    found: set[str] = set()
    for name, field in model.model_fields.items():
        section: Any = DeskSettings if field.annotation == list[DeskSettings] else field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            found |= fields(section, f"{prefix}{name}.")
        else:
            found.add(prefix + name)
    return found


def keys(tree: dict[str, Any], prefix: str = "") -> set[str]:
    """Return the dotted name of every value in a TOML file."""
    found: set[str] = set()
    for name, value in tree.items():
        tables = value if isinstance(value, list) and value and isinstance(value[0], dict) else [value]
        for table in tables:
            found |= keys(table, f"{prefix}{name}.") if isinstance(table, dict) and table else {prefix + name}
    return found


def test_every_setting_stands_in_the_example_and_nothing_else_does() -> None:
    assert keys(tomllib.loads(EXAMPLE)) == fields(Settings) - SECRETS


def test_every_setting_is_explained_right_above_it() -> None:
    lines = EXAMPLE.splitlines()
    settings = [number for number, line in enumerate(lines) if "=" in line and not line.startswith("#")]

    assert len(settings) == len(fields(Settings) - SECRETS)
    assert [lines[number] for number in settings if not lines[number - 1].startswith("#")] == []


def test_every_optional_setting_says_its_default() -> None:
    lines = EXAMPLE.splitlines()
    for section, field in Settings.model_fields.items():
        model: Any = DeskSettings if field.annotation == list[DeskSettings] else field.annotation
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            continue
        for name, value in model.model_fields.items():
            if value.is_required() or value.default in (None, ""):
                continue
            number = next(number for number, line in enumerate(lines) if line.startswith(f"{name} ="))
            assert "Default " in " ".join(lines[number - 3 : number]), f"{section}.{name} does not say its default"


def test_the_layers_hold() -> None:
    """The command of `make check`, run as it is there."""
    command = Path(sys.executable).parent / "lint-imports"

    ended = subprocess.run([command], cwd=ROOT, capture_output=True, text=True, check=False)

    assert ended.returncode == 0, ended.stdout
    assert "0 broken" in ended.stdout


def test_every_script_named_by_the_packaging_exists() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert project["scripts"] == {"botschaft": "bot.cli:main"}
    assert project["name"] == "botschaft"
    assert all((ROOT / name).is_file() for name in project["license-files"])


def figures() -> set[str]:
    source = (ROOT / "bot" / "figures.py").read_text(encoding="utf-8")
    return set(re.findall(r'"(botschaft_[a-z_]+)"', source))


def test_every_figure_is_explained() -> None:
    page = (ROOT / "docs" / "watching.md").read_text(encoding="utf-8")

    assert len(figures()) > 5
    assert {name for name in figures() if f"`{name}" not in page} == set()


def test_alerts_are_about_figures_that_exist_and_each_says_what_to_do() -> None:
    yaml = importlib.import_module("yaml")
    (group,) = yaml.safe_load((ROOT / "deploy" / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    rules = group["rules"]
    named = {name.removesuffix("_total") for rule in rules for name in re.findall(r"botschaft_[a-z_]+", rule["expr"])}

    assert named == figures(), "each alert has its figure, and each figure its alert"
    assert len({rule["alert"] for rule in rules}) == len(rules)
    assert [rule for rule in rules if set(rule["annotations"]) != {"summary", "action"}] == []
    assert {rule["labels"]["severity"] for rule in rules} == {"page", "ticket"}


def commands_in(section: str) -> list[str]:
    """Return what stands in the first column of a table of docs/commands.md, between backquotes."""
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    table = page.split(f"\n## {section}\n")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return [word for row in rows for word in re.findall(r"`([^`]+)`", row)]


SECTIONS = {
    "Every day": [command for command in COMMANDS if command.everyday],
    "In the room of a case": [row for row in COMMANDS if not row.everyday and row.where is Where.CASE],
    "In every room of the team": [row for row in COMMANDS if not row.everyday and row.where is Where.ANY_STAFF_ROOM],
    "In the admin room": [row for row in COMMANDS if not row.everyday and row.where is Where.ADMIN],
}


@pytest.mark.parametrize("section", SECTIONS)
def test_the_commands_of_staff_stand_where_they_are_typed_and_nothing_else_does(section: str) -> None:
    there = commands_in(section)

    assert sorted(there) == sorted(f"!{word}" for command in SECTIONS[section] for word in command.words)


def test_every_command_of_staff_has_a_section() -> None:
    assert sum(map(len, SECTIONS.values())) == len(COMMANDS)


def test_what_customers_can_type_is_documented() -> None:
    there = commands_in("What customers can type")

    assert [word for word in WISHES if f"!{word}" not in there] == []


def test_the_commands_of_the_shell_are_documented_and_nothing_else_is() -> None:
    verbs = [command.name or str(command.callback.__name__) for command in cli.registered_commands if command.callback]
    verbs += [
        f"{group.name} {command.name or command.callback.__name__}"
        for group in cli.registered_groups
        if group.typer_instance
        for command in group.typer_instance.registered_commands
        if command.callback
    ]
    there = {word for word in commands_in("In the shell") if word.startswith("botschaft ")}

    assert {"device reset-identity", "ledger accept-loss"} <= set(verbs)
    assert there == {f"botschaft {verb}" for verb in verbs}


def test_what_the_readme_shows_of_commands_is_there() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    staff = {word for command in COMMANDS for word in command.words}
    verbs = set(commands_in("In the shell"))

    shown = set(re.findall(r"`!([a-z]+)", readme))
    assert len(shown) > 8
    assert shown <= staff | set(WISHES) | {"ja"}
    for line in re.findall(r"(?:\$ |`)(botschaft [a-z][a-z -]*)", readme):
        assert any(line.startswith(verb) for verb in verbs), line


def test_every_link_leads_somewhere() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    links = [
        (page, link)
        for page in pages
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))
    ]

    assert len(links) > 20
    assert [f"{page.name}: {link}" for page, link in links if not (page.parent / link).exists()] == []


def test_every_link_to_a_heading_finds_it() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    links = [
        (page, name, heading)
        for page in pages
        for name, heading in re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", page.read_text(encoding="utf-8"))
    ]

    assert len(links) > 3
    for page, name, heading in links:
        assert heading in headings(page.parent / name if name else page), f"{page.name}: {name}#{heading}"


def headings(page: Path) -> set[str]:
    """Return the anchors of a page, as they are made where it is shown: small letters, hyphens for spaces, no signs."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_no_guide_repeats_a_version() -> None:
    """They stand in deploy/versions.env alone; a number in a guide would be forgotten at the next update."""
    versions = re.findall(r"^[A-Z]+_VERSION=(.+)$", (ROOT / "deploy" / "versions.env").read_text(), re.MULTILINE)

    assert len(versions) == 6
    for page in (ROOT / "docs").glob("*.md"):
        assert [version for version in versions if version in page.read_text(encoding="utf-8")] == [], page
