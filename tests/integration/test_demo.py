"""The README's first command, as a process: it tells the truth by its exit code and leaves nothing behind."""

import asyncio
import json
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

from tests.conftest import require
from tests.waiting import PatientPeer, until

DEMO = (sys.executable, "-m", "bot", "demo")
DAY = Path(__file__).parents[2] / "docs" / "day.md"


def _loadable(file: Path) -> Any:
    return json.loads(file.read_text()) if file.exists() else None


async def test_once_exits_with_success(tmp_path: Path, synapse: object) -> None:
    require(synapse is not None, "matrix-synapse")
    process = await asyncio.create_subprocess_exec(
        *DEMO, "--once", cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 0, output.decode()
    assert "Every message arrived where it should" in output.decode()
    assert list(tmp_path.iterdir()) == []


async def test_a_person_can_join_and_ctrl_c_leaves_nothing(tmp_path: Path, synapse: object) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environment = os.environ | {"TMPDIR": str(temporary)}
    process = await asyncio.create_subprocess_exec(
        *DEMO, cwd=tmp_path, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL, env=environment
    )
    file = tmp_path / "build" / "demo.json"
    facts = await until(lambda: _loadable(file), timeout_s=120)
    assert set(facts) == {"homeserver", "server_name", "bot", "customer", "mechanic"}
    assert file.stat().st_mode & 0o077 == 0
    people = {}
    for role in ("customer", "mechanic"):
        store = tmp_path / role
        store.mkdir()
        who = facts[role]
        people[role] = await PatientPeer.login(facts["homeserver"], who["user"], who["password"], store=store)
    chat = await people["customer"].start_chat(facts["bot"])
    await people["customer"].text(chat, "Bin ich hier richtig?")
    question = await people["mechanic"].wait_for(lambda s: s.body == "Bin ich hier richtig?", 40)
    await people["mechanic"].text(question.room_id, "Genau richtig.")
    await people["customer"].wait_for(lambda s: s.body == "Genau richtig.", 40)
    for peer in people.values():
        await peer.close()

    process.send_signal(signal.SIGINT)
    assert await asyncio.wait_for(process.wait(), 60) == 0

    assert not file.exists()
    assert list(temporary.iterdir()) == []


async def test_a_working_day_goes_as_its_page_tells(tmp_path: Path, synapse: object) -> None:
    require(synapse is not None, "matrix-synapse")
    page = tmp_path / "day.md"
    process = await asyncio.create_subprocess_exec(
        *(*DEMO, "--day", "--once", "--out", page),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 600)
    assert process.returncode == 0, output.decode()
    assert list(tmp_path.iterdir()) == [page]
    told = shape(page.read_text(encoding="utf-8"))
    assert told == shape(DAY.read_text(encoding="utf-8")), "botschaft demo --day --once --out docs/day.md"


def shape(page: str) -> list[str]:
    """Return the lines without what is another number each time: times, codes, and how long something took."""
    for what in (r"\d\d:\d\d", r"\b\d\d\.\d\d\. ", r"(?<=[cC]ode: )\d{4}", r"(?<=!abholung )\d{4}"):
        page = re.sub(what, "#", page)
    page = re.sub(r"\d+(?= (Min|Std))|(?<=\| )\d+(?= \|)", "#", page)
    return re.sub(r"(?<=Prüfzeichen )[\w-]+", "#", page).splitlines()
