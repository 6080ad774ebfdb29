"""The file that tells the homeserver's module who works here."""

from pathlib import Path

import structlog

from bot.flows.bookkeeping import Bookkeeper
from bot.flows.surroundings import Rules
from bot.settings import Settings

log = structlog.get_logger()


def list_staff(settings: Settings, rules: Rules, bookkeeper: Bookkeeper) -> None:
    """Write who works here for the homeserver's module, in one piece; without the file people just tap “Accept”."""
    if settings.staff.file is None:
        return
    try:
        _write_whole(settings.staff.file, "".join(f"{user}\n" for user in sorted(rules.staff)))
    except OSError as error:
        log.warning("staff_not_listed", reason=type(error).__name__)
        bookkeeper.alarm("admin.staff_file", reason=type(error).__name__)


def _write_whole(file: Path, text: str) -> None:
    """Replace a file that others may read, so that whoever reads it sees all of the old or all of the new text."""
    draft = file.with_name(f".{file.name}.new")
    draft.write_text(text, encoding="utf-8")
    draft.chmod(0o644)
    draft.replace(file)
