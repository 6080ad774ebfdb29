"""What the day of the demo promises without a server: its clock, its page, and that whoever misses something says so."""

import asyncio
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from bot.cli import cli
from bot.demo import day
from bot.demo.page import Page
from bot.demo.stage import Player
from bot.demo.telling import Missed, Telling
from bot.demo.workshop import BEGINNING, ZONE, Clock

STAGE: Any = SimpleNamespace(bot=SimpleNamespace(mxid="@bot:localhost"))


def test_the_pretended_clock_is_set_forward_and_never_back() -> None:
    clock = Clock()
    clock.set_forward("12:20")
    noon = clock.now()
    assert noon.astimezone(ZONE).strftime("%d.%m.%Y %H:%M") == "13.05.2026 12:20"
    clock.set_forward("07:40")
    assert timedelta(0) <= clock.now() - noon < timedelta(hours=1)


def test_the_pretended_day_lies_in_the_past_on_the_eve_of_a_holiday() -> None:
    now = datetime.now(ZONE)
    assert now > BEGINNING + timedelta(days=1), "else the homeserver's stamps would be believed"


def test_what_is_said_stands_in_columns_whatever_signs_are_in_it() -> None:
    page = Page("Title", "About.")
    page.scene("07:40", "Scene", "What it shows.")
    page.line("📥 Eingang Annahme", "Jan", "eins")
    page.line("1001", "", "zwei\n" + "drei " * 30)
    page.table("List", "Of rooms.", ("room", "unread"), [("🔴 1001", "2")])
    page.end()
    lines = page.text().splitlines()

    assert lines[:7] == ["# Title", "", "About.", "", "## 07:40 · Scene", "", "What it shows."]
    assert lines[9] == "📥 Eingang Annahme   Jan               eins"
    assert lines[10] == "1001                                   zwei"
    assert lines[11].startswith(" " * 39 + "drei drei")
    assert lines[-3:] == ["| room | unread |", "| --- | --- |", "| 🔴 1001 | 2 |"]
    assert lines.count("```") == 2


async def test_what_does_not_show_up_ends_the_day() -> None:
    async def in_vain(*args: object) -> None:
        raise TimeoutError

    person: Any = SimpleNamespace(name="Anna", mxid="@anna:localhost")
    peer: Any = SimpleNamespace(wait_for=in_vain)
    lines: list[tuple[str, str, str]] = []
    told = Telling(STAGE, lambda *line: lines.append(line))

    with pytest.raises(Missed, match=r"Guten Tag.*Anna"):
        await told.arrives(Player(person, peer), "Guten Tag")
    with pytest.raises(Missed, match="stayed inside"):
        told.holds("The note stayed inside.", False)
    assert lines == []


@pytest.mark.parametrize(("came", "code"), [(True, 0), (False, 1)])
def test_the_exit_code_tells_whether_all_of_it_showed_up(
    came: bool, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run(**options: object) -> bool:
        await asyncio.sleep(0)
        assert options == {"once": True, "file": None}
        return came

    monkeypatch.setattr(day, "run", run)
    assert CliRunner().invoke(cli, ["demo", "--day", "--once"]).exit_code == code
