"""What the doctor sees of a server: each answer that is not as it should be is one finding."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bot.doctor import examine
from bot.doctor.patient import Patient
from bot.domain.errors import Transient
from bot.domain.finding import Finding
from bot.store.database import utc_now
from tests.doctor.patients import patient

CLOSED: dict[str, tuple[int, Any]] = {
    "GET /_matrix/client/versions": (200, {"versions": ["v1.11"]}),
    "GET /_synapse/admin/v1/server_version": (200, {"server_version": "1.163.2"}),
    "GET /_matrix/client/v3/capabilities": (
        200,
        {"capabilities": {"m.room_versions": {"available": {"12": "stable"}}}},
    ),
    "POST /_matrix/client/v3/register": (403, {"errcode": "M_FORBIDDEN"}),
    "GET /_matrix/client/v3/publicRooms": (401, {"errcode": "M_MISSING_TOKEN"}),
    "GET /_matrix/client/v3/login": (200, {"flows": [{"type": "m.login.password"}]}),
}
FLOWS = {"flows": [{"stages": ["m.login.dummy"]}]}
BY_TOKEN = {"flows": [{"stages": ["m.login.registration_token", "m.login.dummy"]}]}


async def words(looked_at: Patient, *areas: str) -> list[str]:
    return [finding.text.removeprefix("doctor.") for finding in await examine(looked_at, areas)]


async def test_a_closed_server_is_well(tmp_path: Path) -> None:
    async with patient(tmp_path, CLOSED) as looked_at:
        assert await words(looked_at, "clock", "server") == ["clock.well", "server.well"]
        assert await words(looked_at, "hardening") == ["hardening.well", "hardening.not_shown"]
        assert await words(looked_at, "limits") == ["limits.not_shown"]


@pytest.mark.parametrize(
    ("path", "answer", "finding"),
    [
        ("POST /_matrix/client/v3/register", (401, FLOWS), "hardening.registration_open"),
        ("POST /_matrix/client/v3/register", (401, {"flows": "x"}), "hardening.registration_open"),
        ("POST /_matrix/client/v3/register", (401, BY_TOKEN), None),
        ("GET /_matrix/client/v3/publicRooms", (200, {"chunk": []}), "hardening.rooms_listed"),
        ("GET /_matrix/client/v1/media/preview_url", (400, {"errcode": "M_MISSING_PARAM"}), "hardening.url_previews"),
        ("GET /_matrix/federation/v1/version", (200, {"server": {"name": "Synapse"}}), "hardening.federation"),
        ("GET /_matrix/client/v3/login", (200, {"flows": [{"type": "m.login.sso"}]}), "hardening.no_password_login"),
        ("GET /.well-known/matrix/client", (200, {"io.element.e2ee": {"default": False}}), "hardening.not_encrypted"),
        (
            "GET /.well-known/matrix/client",
            (200, {"io.element.e2ee": {"force_disable": True}}),
            "hardening.not_encrypted",
        ),
        ("GET /.well-known/matrix/client", (200, {"io.element.e2ee": "x"}), None),
    ],
)
async def test_each_open_door_is_a_finding(
    tmp_path: Path, path: str, answer: tuple[int, Any], finding: str | None
) -> None:
    async with patient(tmp_path, CLOSED | {path: answer}) as looked_at:
        expected = [finding, "hardening.not_shown"] if finding else ["hardening.well", "hardening.not_shown"]
        assert await words(looked_at, "hardening") == expected


@pytest.mark.parametrize(
    ("path", "answer", "findings"),
    [
        (
            "GET /_synapse/admin/v1/server_version",
            (200, {"server_version": "1.98.0 (b=x)"}),
            ["clock.well", "server.old"],
        ),
        ("GET /_synapse/admin/v1/server_version", (404, {}), ["clock.well", "server.version_not_shown"]),
        (
            "GET /_matrix/client/v3/capabilities",
            (200, {}),
            ["clock.well", "server.well", "server.no_room_version"],
        ),
        ("GET /_matrix/client/versions", (502, {}), ["server.not_matrix", "server.well"]),
    ],
)
async def test_another_server_than_tried(
    tmp_path: Path, path: str, answer: tuple[int, Any], findings: list[str]
) -> None:
    async with patient(tmp_path, CLOSED | {path: answer}) as looked_at:
        assert await words(looked_at, "clock", "server") == findings


@pytest.mark.parametrize("off", [timedelta(minutes=-5), timedelta(minutes=5)])
async def test_a_clock_that_is_off_is_found_in_either_direction(tmp_path: Path, off: timedelta) -> None:
    async with patient(tmp_path, CLOSED, now=lambda: utc_now() + off) as looked_at:
        (found,) = await examine(looked_at, ["clock"])
        assert found.text == "doctor.clock.off"
        assert 298 <= int(found.values["seconds"]) <= 302


async def test_a_server_that_does_not_tell_the_time(tmp_path: Path) -> None:
    async with patient(tmp_path, CLOSED, date=False) as looked_at:
        assert await words(looked_at, "clock") == ["clock.not_shown"]


async def test_what_cannot_be_looked_at_is_said(tmp_path: Path) -> None:
    async with patient(tmp_path, {}) as looked_at:
        await looked_at.transport.close()
        found: list[Finding] = await examine(looked_at, ["items", "device", "rooms"])
        assert [finding.text for finding in found] == ["doctor.blind"] * 3


async def test_a_server_that_wants_to_be_asked_later_is_not_taken_for_a_closed_one(tmp_path: Path) -> None:
    slow = (429, {"errcode": "M_LIMIT_EXCEEDED"})
    async with patient(tmp_path, CLOSED | {"POST /_matrix/client/v3/register": slow}) as looked_at:
        assert await words(looked_at, "hardening") == ["blind"]


async def test_without_a_token_the_account_is_not_asked_for(tmp_path: Path) -> None:
    async with patient(tmp_path, CLOSED) as looked_at:
        looked_at.transport.access_token = None
        assert await words(looked_at, "server", "hardening") == ["server.well", "hardening.well", "hardening.not_shown"]
        with pytest.raises(Transient):
            looked_at.account  # noqa: B018


async def test_a_token_that_is_no_longer_good_is_said_and_stops_nothing(tmp_path: Path) -> None:
    refused = (401, {"errcode": "M_UNKNOWN_TOKEN"})
    async with patient(tmp_path, CLOSED | {"GET /_matrix/client/v3/capabilities": refused}) as looked_at:
        (found,) = await examine(looked_at, ["server"])
        assert "no longer accepts the bot's access token" in found.values["reason"]
