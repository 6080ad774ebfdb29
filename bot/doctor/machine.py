"""What the machine has to give: a configuration, a disk that takes what is written, files that are whole."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Sequence
from typing import Final

from bot.doctor.patient import Patient
from bot.domain.finding import Finding, bad, note, well
from bot.domain.secrets import Purpose, derive
from bot.store.soundness import damage

MIB: Final = 1024 * 1024
LITTLE_MIB = 1024
TOO_LITTLE_MIB = 100
PROBE_BYTES = 64 * 1024

FILES: Final = {"botschaft.db": Purpose.DATABASE, "keys.db": Purpose.KEY_STORE}


async def configuration(patient: Patient) -> Sequence[Finding]:
    """The files that the configuration names are there and private."""
    settings = patient.settings
    problems = [settings.storage.secret_problem(), settings.homeserver.admin_token_problem()]
    if settings.bot.has_password_file() or not settings.storage.is_used():
        problems.append(settings.bot.password_problem())
    found = [bad("configuration", "problem", problem=problem) for problem in problems if problem]
    return found or [well("configuration")]


async def disk(patient: Patient) -> Sequence[Finding]:
    """The data folder takes what is written into it, and will for a while."""
    folder = patient.settings.storage.folder
    try:
        await asyncio.to_thread(_write_something, str(folder))
        free_mib = shutil.disk_usage(folder).free // MIB
    except OSError as error:
        return [bad("disk", "not_writable", folder=str(folder), reason=os.strerror(error.errno or 0))]
    if free_mib < TOO_LITTLE_MIB:
        return [bad("disk", "full", mib=str(free_mib))]
    if free_mib < LITTLE_MIB:
        return [note("disk", "little", mib=str(free_mib))]
    return [well("disk", mib=str(free_mib))]


def _write_something(folder: str) -> None:
    with tempfile.TemporaryFile(dir=folder) as probe:
        probe.write(os.urandom(PROBE_BYTES))
        probe.flush()
        os.fsync(probe.fileno())


async def databases(patient: Patient) -> Sequence[Finding]:
    """Every page of both database files is as it was written."""
    storage = patient.settings.storage
    master = storage.master_secret()
    found: list[Finding] = []
    for name, purpose in FILES.items():
        what = await asyncio.to_thread(damage, storage.folder / name, derive(master, purpose))
        if what:
            found.append(bad("databases", "damaged", file=name, damage=what))
    return found or [well("databases")]
