"""`botschaft doctor`: open of one data folder what can be opened, beside a running bot or without, and look at it.

Nothing is taken from a bot that serves: its lock stays its own, and no ratchet of its keys is moved (`SelfTest`).
"""

from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Final

from rich.markup import escape
from rich.table import Table

from bot.app import loaded_privacy, opened, rules_of, stored
from bot.doctor import CHECKS, examine
from bot.doctor.machine import FILES
from bot.doctor.patient import Patient
from bot.domain.errors import Fatal, Transient
from bot.domain.finding import Finding, bad, exit_code, note, stopped
from bot.domain.texts import Texts, TextsDiffer
from bot.flows.checkup import in_words, summary
from bot.matrix.transport import Transport
from bot.privacy.loading import PrivacyProblems
from bot.resources import resource_dir
from bot.settings import Settings, SettingsProblems, load_settings, load_texts
from bot.store import facts
from bot.store.database import Clock, Database, newest_version, utc_now

LANGUAGE: Final = "en"
"""Of everything that is said in a shell."""

FIRST: Final = ("configuration", "disk", "databases")
"""What is looked at in files, before anything is opened."""
WITHOUT_A_FOLDER: Final = ("configuration", "clock", "server", "hardening", "limits")


async def diagnose(config: Path, *, now: Clock = utc_now) -> list[Finding]:
    """Look at everything that can be looked at; whatever goes wrong is a finding."""
    try:
        settings = load_settings(config)
        load_texts(resource_dir("config") / "texts")
        has_controller = loaded_privacy(settings) is not None
    except (SettingsProblems, TextsDiffer, PrivacyProblems) as error:
        return [bad("configuration", "problem", problem=line) for line in str(error).splitlines()]
    found = [] if has_controller else [note("configuration", "no_controller")]
    async with AsyncExitStack() as stack:
        transport = Transport(settings.homeserver.url, timeout_s=settings.homeserver.request_timeout_s)
        stack.push_async_callback(transport.close)
        bare = Patient(settings, rules_of(settings), transport, now)
        if not settings.storage.is_used() or await _has_no_device(settings):
            return [*found, *await examine(bare, WITHOUT_A_FOLDER), bad("serving", "never")]
        found += await examine(bare, FIRST)
        try:
            patient = await _opened(bare, stack)
        except (Fatal, Transient) as error:
            found.append(stopped("serving", str(error)))
            patient = replace(bare, opened_database=await _database(settings, stack))
        return found + await examine(patient, [area for area in CHECKS if area not in FIRST])


async def _has_no_device(settings: Settings) -> bool:
    """Tell whether the bot has never got through its first start: then nothing is damaged, it is not there yet."""
    if (settings.storage.folder / "keys.db").exists():
        return False
    try:
        async with stored(settings, as_it_is=True) as database:
            return await facts.get(database, facts.DEVICE_ID) is None
    except (Fatal, Transient):
        return False


async def _opened(bare: Patient, stack: AsyncExitStack) -> Patient:
    """Open everything as it is: no file is made, and no database brought to a version that a running bot does not know.

    Raises:
        Fatal, Transient: why that is not possible.
    """
    settings = bare.settings
    for name in FILES:
        if not (settings.storage.folder / name).is_file():
            raise Fatal(
                f"{settings.storage.folder / name} is missing: restore it from the backup, or “If the keys are lost”."
            )
    async with stored(settings, as_it_is=True) as database:
        version, newest = await database.version(), newest_version(resource_dir("migrations"))
    if version < newest:
        raise Fatal(
            f"The database is of version {version}, this program makes it {newest}. Start the bot; then look again."
        )
    parts = await stack.enter_async_context(opened(settings, looks_only=True))
    return Patient(settings, parts.around.rules, parts.transport, bare.now, parts.database, parts.keys)


async def _database(settings: Settings, stack: AsyncExitStack) -> Database | None:
    """Open the database alone; that may be possible where the rest is not."""
    try:
        return await stack.enter_async_context(stored(settings, as_it_is=True))
    except (Fatal, Transient):
        return None  # why was said a moment ago


def shown(findings: list[Finding], texts: Texts) -> tuple[Table, str, int]:
    """Return the findings as a table, all of it in one sentence, and the exit code."""

    def say(text: str, **values: str) -> str:
        return texts.render(text, LANGUAGE, **values)

    table = Table(show_header=False)
    for sign, area, words in in_words(findings, say):
        table.add_row(sign, escape(area), escape(words))
    return table, summary(findings, say), exit_code(findings)
