"""A running bot reads its configuration again: what holds at once, what waits for a restart, and what is said."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from bot.app import rules_of
from bot.domain.ids import UserId
from bot.domain.texts import Texts, TextsDiffer
from bot.flows import house, staffing
from bot.reloading import Reloading, Sources
from bot.settings import Settings, load_settings
from bot.store import staff
from tests.flows.world import ANNA, CHEF, EVA, JAN, ME, Crash, World, a_world

FILE = f"""admins = ["{CHEF}"]
[homeserver]
url = "https://matrix.example.org"
[bot]
user_id = "{ME}"
[business]
name = "Werkstatt Müller"
[storage]
folder = "data"
master_secret_file = "master.secret"
[customers]
burst = 400
[[desks]]
id = "annahme"
name = "Annahme"
members = ["{JAN}", "{EVA}"]
"""
TOM = UserId("@tom:example.org")


class Running:
    """A bot of the tests with a configuration file."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        self.file = folder / "botschaft.toml"
        self.texts = world.texts
        self.file.write_text(FILE)
        settings = self.load()
        world.around.rules = rules_of(settings)
        self.reloading = Reloading(world.around, settings, Sources(self.load, lambda _: self.texts, rules_of))

    def load(self) -> Settings:
        return load_settings(self.file)

    async def reload_with(self, text: str) -> str:
        self.file.write_text(text)
        room = self.world.made("admin")[0]
        before = len(room.texts())
        self.world.later(seconds=1)
        await self.reloading.reload()
        await self.world.run()
        return "\n".join(room.texts()[before:])


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("BOTSCHAFT_")]:
        monkeypatch.delenv(name)


Start = Callable[[World], Running]


@pytest.fixture
def started(tmp_path: Path, clean_environment: None) -> Start:
    return lambda world: Running(world, tmp_path)


def where(world: World, user: UserId) -> set[str]:
    return {room.mark for room in world.server.rooms.values() if room.members.get(user) in {"join", "invite"}}


async def test_staff_come_and_leave_at_once(tmp_path: Path, started: Start) -> None:
    async with a_world(tmp_path) as world:
        running = started(world)
        await world.says(ANNA, await world.chat(ANNA), "Hallo")
        said = await running.reload_with(FILE.replace(f'"{JAN}", "{EVA}"', f'"{EVA}", "{TOM}"'))
        assert f"• desks.annahme.members: +{TOM}, −{JAN}" in said
        assert "Neustart" not in said
        assert f"aus allen unseren Räumen entfernt: {JAN}" in said
        assert where(world, TOM) == {"space", "inbox:annahme", "case:1001"}
        assert where(world, JAN) == set()
        assert world.around.rules.staff == {CHEF, EVA, TOM}
        # The next time only what is new is said.
        assert await running.reload_with(running.file.read_text()) == world.around.say("admin.reload_same")


@pytest.mark.parametrize("holidays", ["", 'holidays = "DE-BY"'])
async def test_with_opening_hours_too_what_needs_a_restart_is_said_to(
    tmp_path: Path, started: Start, holidays: str
) -> None:
    async with a_world(tmp_path) as world:
        running = started(world)
        hours = f'{FILE}[hours]\nmonday = ["08:00-17:00"]\n{holidays}\n'
        await running.reload_with(hours)
        said = await running.reload_with(hours.replace("https://matrix.example.org", "https://m.example.org"))
        assert "homeserver.url" in said
        assert "Neustart" in said
        assert "hours" not in said


async def test_limits_texts_and_names_hold_at_once(tmp_path: Path, started: Start) -> None:
    async with a_world(tmp_path) as world:
        world.privacy = None  # else the privacy text is the greeting
        await world.restart()
        running = started(world)
        catalogue = world.texts.catalogue
        running.texts = replace(
            world.texts,
            catalogue=dict(catalogue) | {"en": dict(catalogue["en"]) | {"customer.greeting": "{business}!"}},
        )
        text = FILE.replace("burst = 400", 'burst = 5\nunsigned_devices = "refuse"\nignored = ["@spam:far.example"]')
        said = await running.reload_with(text.replace('"Werkstatt Müller"', '"Müller"\nlanguage = "en"'))
        for line in ("customers.burst: 400 → 5", "customers.ignored: +@spam:far.example", "language: de → en"):
            assert f"• {line}" in said or f"• business.{line}" in said
        assert "• config/texts: ✎" in said
        rules = world.around.rules
        assert (rules.burst, rules.business, rules.strict_customers) == (5, "Müller", True)
        await world.says(ANNA, await world.chat(ANNA), "Hi")
        assert any("Müller!" in room.texts() for room in world.server.rooms.values())


async def test_what_needs_a_restart_says_so_and_changes_nothing(tmp_path: Path, started: Start) -> None:
    async with a_world(tmp_path) as world:
        running = started(world)
        text = FILE.replace("matrix.example.org", "other.example.org").replace(str(ME), "@other:example.org")
        text = text.replace("[customers]", '[cases]\nread_marks = true\n[web]\nlisten = "127.0.0.1:0"\n[customers]')
        text += f'[[desks]]\nid = "teile"\nname = "Teile"\nmembers = ["{TOM}"]\n'
        before = world.around.rules
        said = await running.reload_with(text)
        for key in ("homeserver.url", "bot.user_id", "cases.read_marks", "web.listen", "desks"):
            assert f"⏳ {key}: " in said
        assert "•" not in said
        assert world.around.rules == before
        # It is said again, because it still holds only after a restart.
        assert "⏳ homeserver.url: " in await running.reload_with(text)


async def test_a_password_is_never_shown(
    tmp_path: Path, started: Start, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    async with a_world(tmp_path) as world:
        running = started(world)
        monkeypatch.setenv("BOTSCHAFT_BOT__PASSWORD", "streng-geheim")
        said = await running.reload_with(FILE)
        assert "⏳ bot.password: " in said
        said += await running.reload_with(FILE.replace("[business]", 'password = "streng-geheim"\n[business]'))
        assert "a secret must not stand here" in said
        captured = capfd.readouterr()
        assert "streng" not in said + captured.out + captured.err


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ("burst = 400", "burst = -1", "customers.burst"),
        ("[customers]", "[customer]", "did you mean `customers`"),
        ("[customers]", "[customers", "this is not TOML"),
        (f'"{JAN}"', '"jan"', "expected a Matrix user id"),
    ],
)
async def test_what_is_wrong_changes_nothing(
    tmp_path: Path, started: Start, before: str, after: str, problem: str
) -> None:
    async with a_world(tmp_path) as world:
        running = started(world)
        held = world.around.rules
        said = await running.reload_with(FILE.replace(before, after).replace("Werkstatt Müller", "Müller"))
        assert said.startswith("⚠️ Die Konfiguration kann so nicht gelten")
        assert problem in said
        assert world.around.rules == held
        said = await running.reload_with(FILE.replace("Werkstatt Müller", "Müller"))
        assert "business.name: Werkstatt Müller → Müller" in said


async def test_a_file_that_is_gone_and_texts_that_differ_change_nothing(tmp_path: Path, started: Start) -> None:
    async with a_world(tmp_path) as world:
        running = started(world)
        running.file.unlink()
        await running.reloading.reload()
        await world.run()
        assert "there is no such file" in world.made("admin")[0].texts()[-1]

        def broken(_: Settings) -> Texts:
            raise TextsDiffer("en: customer.greeting is missing")

        running.file.write_text(FILE)
        running.reloading = Reloading(world.around, running.load(), Sources(running.load, broken, rules_of))
        assert "customer.greeting is missing" in await running.reload_with(FILE)


async def test_a_reload_brings_nobody_back_whom_a_command_removed(tmp_path: Path, started: Start) -> None:
    async with a_world(tmp_path) as world:
        running = started(world)
        await world.says(CHEF, world.made("admin")[0].room_id, f"!entfernen {JAN}")
        said = await running.reload_with(FILE.replace("burst = 400", "burst = 6"))
        assert f"nennt noch {JAN}" in said
        assert JAN not in world.around.rules.staff
        assert where(world, JAN) == set()
        await running.reload_with(FILE.replace(f'"{JAN}", ', ""))
        assert await staff.changes(world.database) == ()


async def test_a_file_whose_only_admin_was_removed_is_refused(tmp_path: Path, started: Start) -> None:
    async with a_world(tmp_path) as world:
        running = started(world)
        two = FILE.replace(f'admins = ["{CHEF}"', f'admins = ["{CHEF}", "{TOM}"')
        await running.reload_with(two)
        await world.says(CHEF, world.made("admin")[0].room_id, f"!entfernen {TOM}")
        said = await running.reload_with(FILE.replace(f'admins = ["{CHEF}"', f'admins = ["{TOM}"'))
        assert "Every admin" in said
        assert world.around.rules.admins == (CHEF,)


@pytest.mark.parametrize("how", ["before", "after"])
@pytest.mark.parametrize("at", range(1, 9))
async def test_a_crash_after_a_reload_leaves_nobody_where_they_do_not_belong(
    tmp_path: Path, started: Start, at: int, how: Literal["before", "after"]
) -> None:
    async with a_world(tmp_path) as world:
        running = started(world)
        await world.says(ANNA, await world.chat(ANNA), "Hallo")
        world.server.fail_at(at, how, Crash())
        with pytest.raises(Crash):
            await running.reload_with(FILE.replace(f'"{JAN}", "{EVA}"', f'"{EVA}", "{TOM}"'))
        await world.restart()
        world.around.rules = staffing.in_force(rules_of(running.load()), await staff.changes(world.database))
        await house.set_up(world.around)
        await world.run()
        assert where(world, TOM) == {"space", "inbox:annahme", "case:1001"}
        assert where(world, JAN) == set()
        told = [text for text in world.made("admin")[0].texts() if f"members: +{TOM}, −{JAN}" in text]
        assert len(told) == 1
