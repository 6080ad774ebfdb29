"""The bot's keys: what the server shows of its device, what is backed up, whether strangers and we can use them."""

from collections.abc import Sequence

from bot.doctor.patient import Patient
from bot.domain.errors import Refused
from bot.domain.finding import Finding, bad, note, well
from bot.domain.ids import RoomId
from bot.matrix.transport import quote
from bot.store import rooms

FEW_KEYS = 10
RECENT_EVENTS = 100


async def device(patient: Patient) -> Sequence[Finding]:
    """The server knows our device as we do, signed by our identity, and hands out its keys."""
    status = await patient.keys.status()
    found = [bad("device", fault) for fault in status.faults if fault != "other_devices"]
    if status.others:
        found.append(bad("device", "other_devices", devices=", ".join(status.others)))
    left = await patient.keys.self_test.one_time_keys_left()
    if left < FEW_KEYS:
        found.append(note("device", "few_keys", count=str(left)))
    return found or [well("device", device=status.device_id, count=str(left))]


async def backup(patient: Patient) -> Sequence[Finding]:
    """What is needed after a lost disk lies on the server, and somebody has the key to it."""
    status = await patient.keys.status()
    found: list[Finding] = []
    if status.backup_version is None:
        found.append(bad("backup", "none"))
    elif not status.backup_is_ours:
        found.append(bad("backup", "foreign"))
    elif status.not_backed_up:
        found.append(note("backup", "behind", count=str(status.not_backed_up)))
    if not status.recoverable:
        found.append(bad("backup", "no_recovery_key"))
    return found or [well("backup", version=str(status.backup_version))]


async def round_trip(patient: Patient) -> Sequence[Finding]:
    """Who does not know us yet can write to us, and what we said last comes back from the server readable."""
    test = patient.keys.self_test
    fault = await test.fault_for_strangers()
    if fault:
        return [bad("encryption", "strangers", reason=fault)]
    event = await _last_said(patient)
    if event is None:
        return [note("encryption", "nothing_said")]
    room_id, said = event
    return [well("encryption") if test.opens(room_id, said) else bad("encryption", "not_readable")]


async def _last_said(patient: Patient) -> tuple[RoomId, dict[str, object]] | None:
    """Return the last encrypted event of the bot in the admin room, as the server keeps it."""
    room_id = await rooms.place(patient.database, "admin")
    if room_id is None:
        return None
    query = {"dir": "b", "limit": str(RECENT_EVENTS)}
    path = f"/_matrix/client/v3/rooms/{quote(room_id)}/messages"
    try:
        answer = await patient.account.call("GET", path, query=query)
    except Refused:
        return None  # the rooms are looked at elsewhere
    for event in answer.get("chunk") or []:
        if event.get("sender") == patient.rules.me and "ciphertext" in (event.get("content") or {}):
            return room_id, event
    return None


async def team(patient: Patient) -> Sequence[Finding]:
    """Everybody of the team has an identity that we know, and a device that it has signed."""
    found: list[Finding] = []
    for fault, users in patient.keys.staff_faults().items():
        grade = bad if fault == "changed" else note
        found.append(grade("team", fault, users=", ".join(users)))
    return found or [well("team", count=str(len(patient.rules.staff)))]
