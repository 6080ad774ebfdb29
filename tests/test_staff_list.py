"""The list of staff that the bot writes for the homeserver's module."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bot.app import list_staff
from bot.flows.bookkeeping import Bookkeeper
from bot.resources import resource_dir
from bot.settings import Settings, load_settings
from tests.flows.world import CHEF, EVA, JAN, RULES

Written = Callable[[str], Settings]


@pytest.fixture
def settings(tmp_path: Path) -> Written:
    """Return the example's settings with this file for the list."""

    def write(file: str) -> Settings:
        text = (resource_dir("config") / "botschaft.example.toml").read_text(encoding="utf-8")
        path = tmp_path / "botschaft.toml"
        path.write_text(text.replace('\nfile = ""', f'\nfile = "{file}"'), encoding="utf-8")
        return load_settings(path)

    return write


def test_everybody_who_works_here_stands_in_it_and_the_homeserver_may_read_it(
    settings: Written, tmp_path: Path
) -> None:
    given = settings("staff.txt")
    list_staff(given, RULES, Bookkeeper())
    file = tmp_path / "staff.txt"
    assert file.read_text().splitlines() == sorted([CHEF, EVA, JAN])
    assert file.stat().st_mode & 0o777 == 0o644
    list_staff(given, replace(RULES, desks=()), Bookkeeper())
    assert file.read_text().splitlines() == [CHEF]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["botschaft.toml", "staff.txt"]


def test_without_a_file_nothing_is_written(settings: Written, tmp_path: Path) -> None:
    given = settings("")
    assert given.staff.file is None
    assert given.staff.file_problem() == ""
    list_staff(given, RULES, Bookkeeper())
    assert [path.name for path in tmp_path.iterdir()] == ["botschaft.toml"]


def test_a_list_that_cannot_be_written_is_told_and_stops_nothing(
    settings: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = settings("missing/staff.txt")
    told: list[tuple[str, dict[str, str]]] = []
    bookkeeper = Bookkeeper()
    monkeypatch.setattr(bookkeeper, "alarm", lambda text, **values: told.append((text, values)))
    list_staff(given, RULES, bookkeeper)
    assert told == [("admin.staff_file", {"reason": "FileNotFoundError"})]
    assert "staff.file" in given.staff.file_problem()
