"""Backups of the whole folder in one sealed file, and the way back from it: check, accept, drill.

In a backup are the database, the master secret and the configuration. Not in it are the keys of the device, its access
token and the bot's password: who takes up a backup becomes a new device, with the recovery key.
"""

import hashlib
import importlib.metadata
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from bot import envelope, identity
from bot.app import alone, stored
from bot.domain.errors import Fatal
from bot.domain.secrets import Purpose, derive
from bot.identity import Recovered
from bot.matrix.e2ee.secret_storage import from_words
from bot.resources import resource_dir
from bot.settings import Settings, settings_from
from bot.store import facts, snapshot
from bot.store.database import Database, utc_now
from bot.store.snapshot import Contents

DATABASE: Final = "botschaft.db"
SECRET: Final = "master.secret"  # noqa: S105 - the name of a file
CONFIG: Final = "botschaft.toml"
ENDING: Final = ".age"
HALF: Final = ".part"
RESERVE: Final = 16 << 20
"""Bytes that stay free on the disk whatever we write; the bot beside us needs them more."""

Progress = Callable[[str, float], None]
"""Hears the name of a stage and how much of it is done, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Made:
    """A backup that is whole."""

    file: Path
    size: int  # bytes
    seconds: float
    deleted: int


@dataclass(frozen=True, slots=True)
class Checked:
    """What a backup says and holds."""

    made_at: datetime
    program: str
    bot: str
    contents: Contents
    known_version: int
    seconds: float

    @property
    def missing(self) -> timedelta:
        """How long ago it was made: what happened since is not in it."""
        return utc_now() - self.made_at


@dataclass(frozen=True, slots=True)
class _Opened:
    """A backup whose database stands in a folder of its own."""

    manifest: dict[str, Any]
    secret: bytes
    config: str
    database: Path

    @property
    def key(self) -> bytes:
        return derive(bytes.fromhex(self.secret.decode("ascii")), Purpose.DATABASE)


def write_new_key(file: Path) -> str:
    """Make a pair of keys, write the private one into a new file and return the public one.

    Raises:
        Fatal: the file exists.
    """
    public, private = envelope.new_pair()
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise Fatal(f"{file} exists already and was left as it is: it may be the key of older backups.") from None
    with os.fdopen(descriptor, "w", encoding="ascii") as target:
        target.write(f"# public key: {public}\n{private}\n")
    return public


async def make(settings: Settings, config: str, progress: Progress) -> Made:
    """Write a new backup; the bot may be running. A file with its final name is always whole.

    Raises:
        Fatal: with the sentence for the admin; no file is left.
    """
    began = time.monotonic()
    if not settings.backup.recipient:
        raise Fatal("backup.recipient is not set: whom backups are for. `botschaft backup --new-key FILE` makes a key.")
    folder, source, now = settings.backup.target, settings.storage.folder / DATABASE, utc_now()
    master = settings.storage.master_secret()
    if not source.exists():
        raise Fatal("The bot has not been started with this folder yet, so there is nothing to back up.")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    needed = 2 * sum(file.stat().st_size for file in settings.storage.folder.glob(f"{DATABASE}*"))
    _need_space(folder, needed)
    file = folder / f"botschaft-{now:%Y%m%d-%H%M%S-%f}{ENDING}"
    half = file.with_suffix(HALF)
    with alone(folder), _scratch(folder) as scratch:
        progress("copying the database", 0)
        copy, key = scratch / DATABASE, derive(master, Purpose.DATABASE)
        snapshot.copy(source, copy, key, now)
        progress("checking the copy", 0)
        contents = snapshot.look(copy, key)
        manifest = {
            "program": importlib.metadata.version("botschaft"),
            "made_at": now.isoformat(),
            "bot": settings.bot.user_id,
            "database_version": contents.version,
            "sha256": _digest(copy),
        }
        parts: dict[str, bytes | Path] = {SECRET: master.hex().encode(), CONFIG: config.encode(), DATABASE: copy}
        try:
            _write(half, settings.backup.recipient, manifest, parts, progress)
            os.replace(half, file)
        finally:
            half.unlink(missing_ok=True)
    _sync(folder)
    progress("writing down that it is whole", 0)
    async with stored(settings, as_it_is=True) as database, database.transaction() as tx:
        await facts.put(tx, facts.LAST_BACKUP, now.isoformat())
    deleted = _thin_out(folder, settings.backup.keep, file)
    return Made(file, file.stat().st_size, time.monotonic() - began, deleted)


def _write(
    half: Path, recipient: str, manifest: dict[str, Any], parts: dict[str, bytes | Path], progress: Progress
) -> None:
    total = sum(part.stat().st_size if isinstance(part, Path) else len(part) for part in parts.values())
    done = 0

    def written(piece: int) -> None:
        nonlocal done
        done += piece
        progress("sealing", min(1.0, done / total))

    progress("sealing", 0)
    with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as target:
        envelope.seal(target, recipient, manifest, parts, written)
        target.flush()
        os.fsync(target.fileno())
    progress("putting it in place", 0)


def _thin_out(folder: Path, keep: int, made: Path) -> int:
    """Delete the oldest backups of a folder beyond so many; 0 keeps all. Returns how many went.

    The one that was just made stays, also where a clock that was wrong has left names that seem newer.
    """
    others = [file for file in _backups(folder) if file != made]
    old = others[keep - 1 :] if keep else []
    for file in old:
        file.unlink()
    return len(old)


def _backups(folder: Path) -> list[Path]:
    """Return the whole backups of a folder, the newest first: their names begin with their time."""
    return sorted(folder.glob(f"botschaft-[0-9]*{ENDING}"), reverse=True)


def newest(settings: Settings) -> Path:
    """Return the newest backup.

    Raises:
        Fatal: there is none.
    """
    found = _backups(settings.backup.target)
    if not found:
        raise Fatal(f"There is no backup in {settings.backup.target}. `botschaft backup` makes one.")
    return found[0]


async def check(file: Path, private_key: str, progress: Progress, *, scratch_in: Path | None = None) -> Checked:
    """Open a backup in a temporary folder, check everything in it, and forget it again; nothing live is touched.

    Raises:
        Fatal: it cannot be restored, and why.
    """
    began = time.monotonic()
    with _scratch(scratch_in) as scratch:
        opened = _open(file, private_key, scratch, progress)
        return await _judged(opened, began, progress)


async def drill(settings: Settings, private_key: str, progress: Progress) -> tuple[Path, Checked]:
    """Check the newest backup, beside the others: the folder for temporary files may be small.

    Raises:
        Fatal: there is none, or it cannot be restored, and why.
    """
    file = newest(settings)
    with alone(settings.backup.target):
        return file, await check(file, private_key, progress, scratch_in=settings.backup.target)


async def _judged(opened: _Opened, began: float, progress: Progress) -> Checked:
    """Read every page, bring the copy to our version, and see whether its configuration is one of ours."""
    progress("checking the database", 0)
    contents = snapshot.look(opened.database, opened.key)
    migrations = resource_dir("migrations")
    database = await Database.open(opened.database, key=opened.key, migrations=migrations)
    await database.close()
    settings_from(opened.config, Path(CONFIG))
    return Checked(
        made_at=datetime.fromisoformat(opened.manifest["made_at"]),
        program=str(opened.manifest["program"]),
        bot=str(opened.manifest["bot"]),
        contents=contents,
        known_version=len(list(migrations.glob("*.sql"))),
        seconds=time.monotonic() - began,
    )


def _open(file: Path, private_key: str, scratch: Path, progress: Progress) -> _Opened:
    size = file.stat().st_size
    _need_space(scratch, size)
    done = 0

    def read(piece: int) -> None:
        nonlocal done
        done += piece
        progress("opening", min(1.0, done / max(size, 1)))

    progress("opening", 0)
    target = scratch / DATABASE
    with envelope.unsealed(file, private_key) as parts:
        secret, config = parts.small(SECRET), parts.small(CONFIG).decode("utf-8", "replace")
        parts.large(DATABASE, target, read)
        manifest = parts.manifest
    progress("opening", 1)
    if not re.fullmatch(rb"[0-9a-f]{64}", secret):
        raise Fatal(f"The master secret in {file.name} is none. Take an older backup.")
    if _digest(target) != manifest.get("sha256"):
        raise Fatal(f"The database in {file.name} is not the one that was put in. Take an older backup.")
    return _Opened(manifest, secret, config, target)


def write_config(file: Path, private_key: str, target: Path) -> None:
    """Write the configuration that stands in a backup where there is none.

    Raises:
        Fatal: the backup cannot be opened, or is not whole; nothing was written.
    """
    with envelope.unsealed(file, private_key) as parts:
        parts.small(SECRET)
        config = parts.small(CONFIG)
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as place:
        place.write(config)


async def accept(settings: Settings, file: Path, private_key: str, words: str, progress: Progress) -> Recovered:
    """Begin again with a backup, as a new device. What is in the folder is set aside. May be run again at any point.

    Raises:
        Fatal: with the sentence for the admin; before the backup has proved to be whole, nothing is changed.
    """
    from_words(words)
    folder = settings.storage.folder
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with alone(folder), _scratch(folder) as scratch:
        opened = _open(file, private_key, scratch, progress)
        checked = await _judged(opened, time.monotonic(), progress)
        if checked.bot != settings.bot.user_id:
            raise Fatal(f"This is a backup of {checked.bot}, the configuration says {settings.bot.user_id}.")
        progress("setting aside what is there", 0)
        _put_in_place(settings, opened, progress)
    progress("becoming a new device", 0)
    return await identity.recover(settings, words)


def _put_in_place(settings: Settings, opened: _Opened, progress: Progress) -> None:
    """Each step may be the last one before a power cut: until the database is there, the folder starts no bot."""
    folder, now = settings.storage.folder, utc_now()
    secret_file = settings.storage.master_secret_file
    if not secret_file.exists() or secret_file.read_text(encoding="ascii").strip() != opened.secret.decode("ascii"):
        _set_aside(secret_file, now)
        _write_secret(secret_file, opened.secret)
    for name in (DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm", "keys.db", "keys.db-wal", "keys.db-shm"):
        _set_aside(folder / name, now)
    progress("putting the database in place", 0)
    os.replace(opened.database, folder / DATABASE)
    _sync(folder)


def _set_aside(file: Path, now: datetime) -> None:
    if file.exists():
        file.rename(file.with_name(f"old-{now:%Y%m%d-%H%M%S}-{file.name}"))


def _write_secret(file: Path, secret: bytes) -> None:
    half = file.with_name(f"{file.name}{HALF}")
    half.unlink(missing_ok=True)
    with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as target:
        target.write(secret + b"\n")
        target.flush()
        os.fsync(target.fileno())
    os.replace(half, file)
    _sync(file.parent)


@contextmanager
def _scratch(folder: Path | None) -> Iterator[Path]:
    """Give a folder that only we may enter; what an earlier run left behind after a power cut goes first."""
    for left in folder.glob("scratch-*") if folder else ():
        shutil.rmtree(left, ignore_errors=True)
    for half in folder.glob(f"botschaft-*{HALF}") if folder else ():
        half.unlink()
    with tempfile.TemporaryDirectory(prefix="scratch-", dir=folder) as name:
        yield Path(name)


def _need_space(folder: Path, needed: int) -> None:
    """See to it that the disk can take what we are about to write.

    Raises:
        Fatal: it cannot.
    """
    free = shutil.disk_usage(folder).free
    if free < needed + RESERVE:
        raise Fatal(
            f"{(needed + RESERVE) >> 20} MiB are needed in {folder}, {free >> 20} are free. Nothing was written; "
            "make room, or set backup.target to another disk."
        )


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
