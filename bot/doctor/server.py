"""The homeserver, as far as its APIs show it: its clock, its version, what it lets strangers do, what it lets us do.

Every question was tried with Synapse 1.163.2. None makes the server ask anybody else, and none leaves anything behind
but one unfinished registration.
"""

import re
from collections.abc import Sequence
from typing import Any, Final

from bot.doctor.patient import Patient
from bot.domain.errors import Fatal, Refused
from bot.domain.finding import Finding, bad, note, well
from bot.domain.ids import UserId
from bot.matrix.admin import UNLIMITED, Admin
from bot.matrix.rooms import ROOM_VERSION

CLOCK_MAX_OFF_S = 10
TRIED: Final = (1, 163)
"""The Synapse that this program was tried with."""

REGISTER = "/_matrix/client/v3/register"
TOKEN_ONLY = "m.login.registration_token"  # noqa: S105 - the name of a stage
PREVIEW = "/_matrix/client/v1/media/preview_url"
CAPABILITIES = "/_matrix/client/v3/capabilities"


async def clock(patient: Patient) -> Sequence[Finding]:
    """The machine's clock and the server's agree."""
    asked_at = patient.now()
    answer = await patient.transport.look("GET", "/_matrix/client/versions", token=False)
    if answer.status != 200:
        return [bad("server", "not_matrix", url=patient.settings.homeserver.url, status=str(answer.status))]
    if answer.date is None:
        return [note("clock", "not_shown")]
    early = round((answer.date - patient.now()).total_seconds())
    late = round((asked_at - answer.date).total_seconds())
    off_s = max(early, late, 0)  # the server's time lies between question and answer, if both clocks are right
    return [bad("clock", "off", seconds=str(off_s)) if off_s > CLOCK_MAX_OFF_S else well("clock")]


async def software(patient: Patient) -> Sequence[Finding]:
    """What the server is, whether it is older than what was tried, and whether it can make our rooms."""
    found: list[Finding] = []
    admin = _admin(patient, "")
    try:
        version, _, _ = (await admin.version()).partition(" ")
        is_old = _numbers(version) < TRIED
        tried = ".".join(map(str, TRIED))
        found.append(note("server", "old", version=version, tried=tried) if is_old else well("server", version=version))
    except Refused:
        found.append(note("server", "version_not_shown"))
    finally:
        await admin.close()
    if patient.transport.access_token:
        answer = await patient.transport.call("GET", CAPABILITIES)
        known = _at(answer, "capabilities", "m.room_versions", "available")
        if ROOM_VERSION not in (known or {}):
            found.append(bad("server", "no_room_version", version=ROOM_VERSION))
    return found


def _numbers(version: str) -> tuple[int, ...]:
    found = re.match(r"(\d+)\.(\d+)", version)
    return tuple(map(int, found.groups())) if found else TRIED


async def hardening(patient: Patient) -> Sequence[Finding]:
    """What the server lets strangers do."""
    found = [
        *await _registration(patient),
        *await _lists_rooms(patient),
        *await _previews(patient),
        *await _federates(patient),
        *await _password_login(patient),
        *await _encrypts_by_itself(patient),
    ]
    return [*(found or [well("hardening")]), note("hardening", "not_shown")]


async def _registration(patient: Patient) -> list[Finding]:
    answer = await patient.transport.look("POST", REGISTER, {}, token=False)
    if answer.status != 401:  # 403: closed; 404 and 405: accounts are made elsewhere
        return []
    flows = [flow.get("stages") for flow in _at(answer.json, "flows") or [] if isinstance(flow, dict)]
    by_token = flows and all(TOKEN_ONLY in (stages or []) for stages in flows)
    return [] if by_token else [bad("hardening", "registration_open")]


async def _lists_rooms(patient: Patient) -> list[Finding]:
    answer = await patient.transport.look("GET", "/_matrix/client/v3/publicRooms?limit=1", token=False)
    return [note("hardening", "rooms_listed")] if answer.status == 200 else []


async def _previews(patient: Patient) -> list[Finding]:
    """Without an address in the question a server that previews complains of that, and fetches nothing."""
    if not patient.transport.access_token:
        return []
    answer = await patient.transport.look("GET", PREVIEW)
    return [bad("hardening", "url_previews")] if answer.status == 400 else []


async def _federates(patient: Patient) -> list[Finding]:
    answer = await patient.transport.look("GET", "/_matrix/federation/v1/version", token=False)
    return [note("hardening", "federation")] if answer.status == 200 and _at(answer.json, "server") else []


async def _password_login(patient: Patient) -> list[Finding]:
    answer = await patient.transport.look("GET", "/_matrix/client/v3/login", token=False)
    flows = [flow.get("type") for flow in _at(answer.json, "flows") or [] if isinstance(flow, dict)]
    return [] if "m.login.password" in flows else [note("hardening", "no_password_login")]


async def _encrypts_by_itself(patient: Patient) -> list[Finding]:
    """Element asks the server's well-known file whether new chats are encrypted; it is looked for at our address."""
    answer = await patient.transport.look("GET", "/.well-known/matrix/client", token=False)
    wishes = _at(answer.json, "io.element.e2ee") or {}
    plain = wishes.get("default") is False or wishes.get("force_disable") is True if isinstance(wishes, dict) else False
    return [bad("hardening", "not_encrypted")] if plain else []


async def limits(patient: Patient) -> Sequence[Finding]:
    """The server does not slow the bot down."""
    try:
        token = patient.settings.homeserver.secret_admin_token()
    except Fatal:
        token = None  # its file is looked at elsewhere
    if not token:
        return [note("limits", "not_shown", user=patient.rules.me)]
    admin = _admin(patient, token)
    try:
        limit = await admin.rate_limit(UserId(patient.rules.me))
    except Refused as error:
        return [bad("limits", "refused", reason=str(error))]
    finally:
        await admin.close()
    if limit == UNLIMITED:
        return [well("limits")]
    return [bad("limits", "missing", user=patient.rules.me)]


def _admin(patient: Patient, token: str) -> Admin:
    homeserver = patient.settings.homeserver
    return Admin(homeserver.admin_address, token, timeout_s=homeserver.request_timeout_s)


def _at(value: Any, *path: str) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value
