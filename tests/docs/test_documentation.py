"""What is documented is what there is, and the layers hold."""

import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from bot.cli import cli
from bot.domain.command import COMMANDS, WISHES
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


def test_the_readme_explains_every_figure() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    assert len(figures()) > 5
    assert {name for name in figures() if name not in readme} == set()


def test_alerts_are_about_figures_that_exist_and_each_says_what_to_do() -> None:
    yaml = importlib.import_module("yaml")
    (group,) = yaml.safe_load((ROOT / "deploy" / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    rules = group["rules"]
    named = {name.removesuffix("_total") for rule in rules for name in re.findall(r"botschaft_[a-z_]+", rule["expr"])}

    assert named == figures(), "each alert has its figure, and each figure its alert"
    assert len({rule["alert"] for rule in rules}) == len(rules)
    assert [rule for rule in rules if set(rule["annotations"]) != {"summary", "action"}] == []
    assert {rule["labels"]["severity"] for rule in rules} == {"page", "ticket"}


def test_the_readme_names_every_command_of_staff_and_of_the_shell() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    words = [f"`!{word}`" for command in COMMANDS for word in command.words]
    verbs = [command.name or str(command.callback.__name__) for command in cli.registered_commands if command.callback]
    verbs += [
        f"{group.name} {command.name or command.callback.__name__}"
        for group in cli.registered_groups
        if group.typer_instance
        for command in group.typer_instance.registered_commands
        if command.callback
    ]

    assert {"device reset-identity", "ledger accept-loss"} <= set(verbs)
    assert [word for word in words + [f"`botschaft {verb}" for verb in verbs] if word not in readme] == []


def test_the_readme_names_what_customers_can_type() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    assert [word for word in WISHES if f"`!{word}`" not in readme] == []


def test_every_link_leads_somewhere() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    links = [
        (page, link)
        for page in pages
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))
    ]

    assert len(links) > 20
    assert [f"{page.name}: {link}" for page, link in links if not (page.parent / link).exists()] == []


def test_no_guide_repeats_a_version() -> None:
    """They stand in deploy/versions.env alone; a number in a guide would be forgotten at the next update."""
    versions = re.findall(r"^[A-Z]+_VERSION=(.+)$", (ROOT / "deploy" / "versions.env").read_text(), re.MULTILINE)

    assert len(versions) == 6
    for page in (ROOT / "docs").glob("*.md"):
        assert [version for version in versions if version in page.read_text(encoding="utf-8")] == [], page
