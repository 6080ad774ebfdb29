"""The machine below: where things stand on disk, what others are told there, backups and logs."""

import os
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from bot.domain.errors import Fatal
from bot.settings.section import Section, shaped

_HEX_SECRET = re.compile(r"[0-9a-fA-F]{64}")


class StorageSettings(Section):
    """Where things stand on disk."""

    folder: Path
    master_secret_file: Path

    def master_secret(self) -> bytes:
        """Return the master secret.

        Raises:
            Fatal: it is missing, malformed, or others may read it.
        """
        problem = self.secret_problem()
        if problem:
            raise Fatal(problem)
        return bytes.fromhex(self.master_secret_file.read_text(encoding="ascii").strip())

    def secret_problem(self) -> str:
        """Return what is wrong with the master secret's file, or nothing."""
        file = self.master_secret_file
        if not file.is_file() and self.is_used():
            return (
                f"The master secret {file} is missing, and what stands in {self.folder} can be opened with it only. "
                "Put it back from your copy; a new one would not help."
            )
        if not file.is_file():
            return f"The master secret {file} is missing. `botschaft init` writes a first one."
        if file.stat().st_mode & 0o077:
            return f"Others may read the master secret. Run: chmod 600 {file}"
        try:
            text = file.read_text(encoding="ascii").strip()
        except UnicodeDecodeError:
            text = ""
        except OSError as error:
            return f"The master secret {file} cannot be read ({type(error).__name__})."
        if not _HEX_SECRET.fullmatch(text):
            return f"The master secret {file.name} is not 64 hexadecimal digits."
        return ""

    def is_used(self) -> bool:
        """Tell whether a bot has been started with this folder."""
        return (self.folder / "botschaft.db").exists() or (self.folder / "keys.db").exists()

    def folder_problem(self) -> str:
        """Return why nothing can be written into the folder, or nothing."""
        place = next(parent for parent in (self.folder, *self.folder.parents) if parent.exists())
        if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
            return f"storage.folder: {self.folder} cannot be created or written; {place} is in the way."
        return ""


class StaffSettings(Section):
    """What the homeserver is told about who works here."""

    file: Path | None = None

    @field_validator("file", mode="before")
    @classmethod
    def _named(cls, file: object) -> object:
        return None if file == "" else file

    def file_problem(self) -> str:
        """Return why the list cannot be written, or nothing."""
        folder = self.file.parent if self.file else None
        if folder is None or (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
            return ""
        return f"staff.file: the folder {folder} does not exist or cannot be written."


class WebSettings(Section):
    """Health and metrics."""

    listen: str = ""

    @field_validator("listen")
    @classmethod
    def _address(cls, listen: str) -> str:
        host, _, port = listen.rpartition(":")
        if listen and not (host and port.isdecimal() and int(port) <= 65535):
            raise ValueError('expected an address and a port like "127.0.0.1:9464", or nothing')
        return listen


class BackupSettings(Section):
    """Backups."""

    recipient: Annotated[str, shaped(r"(age1[a-z0-9]{58})?", "a public key of age, like age1…, or nothing")] = ""
    target: Path = Path("backups")
    keep: int = Field(default=0, ge=0)


class LogSettings(Section):
    """Logs."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["console", "json"] = "console"
