"""What systemd hears: over a real socket, by its path and by an abstract name, and nothing from whoever hangs."""

import asyncio
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from bot import systemd
from bot.app import starting


@contextmanager
def listening(monkeypatch: pytest.MonkeyPatch, address: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind("\0" + address[1:] if address.startswith("@") else address)
        heard.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        yield heard


def test_it_is_told_at_a_path_and_at_an_abstract_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for address in (str(tmp_path / "notify"), f"@botschaft-{secrets.token_hex(8)}"):
        with listening(monkeypatch, address) as heard:
            systemd.tell("READY=1\nSTATUS=Serving.")
            assert heard.recv(100) == b"READY=1\nSTATUS=Serving."


def test_nobody_there_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    systemd.tell("READY=1")
    assert capsys.readouterr().out == ""
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    systemd.tell("READY=1")
    assert "systemd_not_told" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("variables", "interval_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
    ],
)
def test_the_watchdog_is_meant_for_us(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], interval_s: float | None
) -> None:
    for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert systemd.watchdog_s() == interval_s


async def test_the_watchdog_hears_only_from_who_moves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "20000")
    asked = asyncio.Event()
    moves = False

    def is_moving() -> bool:
        asked.set()
        return moves

    with listening(monkeypatch, str(tmp_path / "notify")) as heard:
        task = asyncio.ensure_future(systemd.answer_watchdog(is_moving))
        await asyncio.wait_for(asked.wait(), 20)
        heard.setblocking(False)
        with pytest.raises(BlockingIOError):
            heard.recv(100)
        moves = True
        assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(heard, 100), 20) == b"WATCHDOG=1"
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_a_start_asks_for_time_until_it_is_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    with listening(monkeypatch, str(tmp_path / "notify")) as heard:
        heard.setblocking(False)
        async with systemd.starting(every_s=0.001) as started:
            for _ in range(3):
                said = await asyncio.wait_for(loop.sock_recv(heard, 100), 20)
                assert said == b"EXTEND_TIMEOUT_USEC=180000000"
            started()
            await asyncio.sleep(0)  # now it is cancelled
            systemd.tell("READY=1")
            while (said := await asyncio.wait_for(loop.sock_recv(heard, 100), 20)) != b"READY=1":
                assert said == b"EXTEND_TIMEOUT_USEC=180000000"
            with suppress(BlockingIOError):
                raise AssertionError(heard.recv(100))


async def test_a_start_that_fails_asks_for_nothing_any_more(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = asyncio.all_tasks()
    with listening(monkeypatch, str(tmp_path / "notify")), pytest.raises(ValueError, match="refused"):
        async with systemd.starting(every_s=0.001):
            raise ValueError("refused")
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


def test_the_unit_waits_for_a_start_as_long_as_that_may_do_without_asking() -> None:
    unit = (Path(__file__).parents[1] / "deploy/kit/systemd/botschaft.service").read_text(encoding="utf-8")
    given = dict(line.split("=", 1) for line in unit.splitlines() if line.startswith(("Timeout", "Type")))
    assert given["Type"] == "notify"
    assert int(given["TimeoutStartSec"]) > starting.FIRST_SYNC_S > systemd.MORE_TIME_S
