"""Writes what is missing, and never over anything, so that it may run again after every update.

A secret stays. Where another file differs from what would be written now, that stands beside it as `.new`.
"""

import base64
import json
import os
import pwd
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bot.domain.errors import Fatal
from bot.kit.answers import REMEMBERED, Answers, Kind
from bot.kit.templates import configuration, rendered
from bot.settings import Settings, SettingsProblems, settings_from

State = Literal["written", "kept", "differs"]


@dataclass(frozen=True, slots=True)
class Service:
    """A folder of the kit that belongs to the account of one service; `folders` hold its data."""

    name: str
    owner: Mapping[Kind, str | int]
    secrets: Mapping[str, Callable[[], str]]
    folders: Mapping[str, int]


def _signing_key() -> str:
    """Return a key as Synapse keeps it: algorithm, a version of our own, 32 bytes in base64 without padding."""
    seed = base64.b64encode(secrets.token_bytes(32)).decode().rstrip("=")
    return f"ed25519 a_{secrets.token_hex(2)} {seed}"


def _password() -> str:
    return secrets.token_urlsafe(32)


# The numbers are those of the accounts inside the images that compose.yaml names.
SERVICES = (
    Service(
        "bot",
        {"compose": 10001, "systemd": "botschaft"},
        {"master.secret": lambda: secrets.token_hex(32), "bot.password": _password},
        {"bot": 0o700, "bot/data": 0o700, "backups": 0o700, "staff": 0o755, "privacy": 0o755},
    ),
    Service(
        "synapse",
        {"compose": 991, "systemd": "synapse"},
        dict.fromkeys(("registration.secret", "macaroon.secret", "form.secret"), _password)
        | {"signing.key": _signing_key},
        {"synapse": 0o755, "synapse/media": 0o700},
    ),
    Service("postgres", {"compose": 999}, {"password": _password}, {"postgres": 0o755, "postgres/data": 0o700}),
    Service("caddy", {"compose": 0}, {}, {"caddy": 0o755, "caddy/data": 0o700, "caddy/config": 0o700}),
)


@dataclass(frozen=True, slots=True)
class Written:
    """What became of one file."""

    path: Path
    state: State


def write(answers: Answers, folder: Path) -> Iterator[Written]:
    """Write everything that is missing and tell of each file. Nothing is written before all of it is known to be right.

    Raises:
        Fatal: an answer cannot be used, or a master secret is lost that a new one cannot replace.
    """
    bots = folder if answers.kit == "bot" else folder / "bot"
    text = configuration(answers, folder)
    settings = _judged(text, bots / "botschaft.toml")
    if settings.storage.is_used() and not settings.storage.master_secret_file.exists():
        raise Fatal(settings.storage.secret_problem() + " Nothing was written.")
    if answers.kit == "bot":
        bots.mkdir(parents=True, exist_ok=True)
        settings.storage.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield _keep(bots / "botschaft.toml", text, 0o600)
        yield _keep_secret(bots / "master.secret", lambda: secrets.token_hex(32))
        return
    files = {"bot/botschaft.toml": text, REMEMBERED: _answers_text(answers)} | rendered(answers, folder)
    services = [service for service in SERVICES if answers.kit in service.owner]
    require_accounts(answers.kit)
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    for service in services:
        for name, mode in service.folders.items():
            _make_folder(folder / name, mode, service.owner[answers.kit])
    for name, content in sorted(files.items()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        mode = 0o600 if name.startswith("bot/") else 0o644
        yield _keep(folder / name, content, mode, _owner_of(name, services, answers.kit))
    for service in services:
        for name, make in service.secrets.items():
            yield _keep_secret(folder / service.name / name, make, service.owner[answers.kit])
    if answers.kit == "compose":
        yield _keep_secret(folder / "synapse/pgpass", lambda: _pgpass(folder), SERVICES[1].owner["compose"])


def require_accounts(kit: str) -> None:
    """Stop before the first file, because a half-owned folder would not be noticed by a second run.

    Raises:
        Fatal: accounts of this kit are missing on this machine, where files would be given to them.
    """
    if os.geteuid() != 0:
        return
    names = [owner for service in SERVICES for kind, owner in service.owner.items() if kind == kit]
    known = {account.pw_name for account in pwd.getpwall()}
    if absent := [name for name in names if isinstance(name, str) and name not in known]:
        commands = "; ".join(f"useradd --system --user-group {name}" for name in absent)
        raise Fatal(f"Accounts are missing here. Make them first: {commands}. Nothing was written.")


def next_steps(answers: Answers, folder: Path) -> Iterator[str]:
    """Return what a person does now."""
    if answers.kit == "bot":
        option = "" if folder == Path() else f" --config {folder / 'botschaft.toml'}"
        yield (
            f"Next: put the bot's password into {folder / 'bot.password'} (chmod 600), fill in [controller] and "
            f"[hosting] in {folder / 'botschaft.toml'}, then run: botschaft check-config{option}"
        )
        return
    if os.geteuid() != 0:
        for service in SERVICES:
            if (owner := service.owner.get(answers.kit)) is not None:
                folders = " ".join(str(folder / name) for name in service.folders if "/" not in name)
                yield f"Next, as root, because you are not: chown -R {owner}:{owner} {folders}"
    yield f"Next: docs/start.md, where the files in {folder} are used."


def _judged(text: str, path: Path) -> Settings:
    try:
        return settings_from(text, path)
    except SettingsProblems as error:
        reasons = [problem.what for problem in error.problems]
        raise Fatal("\n".join([*reasons, "Nothing was written. Correct the answers and try again."])) from None


def _answers_text(answers: Answers) -> str:
    return json.dumps(answers.model_dump(), indent=2, ensure_ascii=False) + "\n"


def _pgpass(folder: Path) -> str:
    """Return the password of the database as PostgreSQL's client library reads it."""
    return "*:*:*:synapse:" + (folder / "postgres/password").read_text(encoding="ascii").strip()


def _owner_of(name: str, services: list[Service], kind: Kind) -> str | int | None:
    top = name.partition("/")[0]
    return next((service.owner[kind] for service in services if service.name == top), None)


def _make_folder(path: Path, mode: int, owner: str | int) -> None:
    if not path.is_dir():
        path.mkdir(mode=mode)
        path.chmod(mode)
        _give(path, owner)


def _keep_secret(path: Path, make: Callable[[], str], owner: str | int | None = None) -> Written:
    if path.exists():
        return Written(path, "kept")
    return _keep(path, make() + "\n", 0o600, owner)


def _keep(path: Path, text: str, mode: int, owner: str | int | None = None) -> Written:
    """Write a file if there is none; put a different text beside one that is there."""
    if _write_new(path, text, mode, owner):
        return Written(path, "written")
    if path.read_text(encoding="utf-8") == text:
        return Written(path, "kept")
    beside = path.with_name(path.name + ".new")
    beside.unlink(missing_ok=True)
    _write_new(beside, text, mode, owner)
    return Written(path, "differs")


def _write_new(path: Path, text: str, mode: int, owner: str | int | None) -> bool:
    """Make a whole file appear in one moment, where there is none: a half-written secret would stay for ever."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, mode)
        _give(Path(name), owner)
        os.link(name, path)
    except FileExistsError:
        return False
    finally:
        os.unlink(name)
    return True


def _give(path: Path, owner: str | int | None) -> None:
    """Give a file to the account of its service, if we may; else `init` says what remains to be done."""
    if owner is not None and os.geteuid() == 0:
        group = owner if isinstance(owner, int) else pwd.getpwnam(owner).pw_gid
        shutil.chown(path, owner, group)
