"""What the admin decides: environment over the TOML file over defaults. Unknown keys and secrets in TOML are refused.

All problems come at once, each with the place to look and what was expected.
"""

import difflib
import ipaddress
import os
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from bot.domain.errors import Fatal
from bot.domain.texts import Texts, checked, flat

_USER_ID = re.compile(r"@[a-z0-9._=/+\-]+:[A-Za-z0-9.\-\[\]:]+")
_HEX_SECRET = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to correct: where it stands, and what was expected."""

    where: str
    what: str

    def __str__(self) -> str:
        """Return both in one line."""
        return f"{self.where}: {self.what}"


class SettingsProblems(Fatal):
    """The configuration cannot be used; `problems` is all that is wrong with it."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


def _user_id(value: str) -> str:
    if not _USER_ID.fullmatch(value):
        raise ValueError("expected a Matrix user id like @name:example.de (small letters)")
    return value


UserIdText = Annotated[str, AfterValidator(_user_id)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HomeserverSettings(_Section):
    """The Matrix server."""

    url: str
    request_timeout_s: float = Field(default=30, gt=0, le=600)
    sync_timeout_s: float = Field(default=30, ge=0, le=300)

    @model_validator(mode="after")
    def _encrypted_or_local(self) -> "HomeserverSettings":
        parts = urlsplit(self.url)
        if parts.scheme not in {"https", "http"} or not parts.hostname:
            raise ValueError("url: expected an address like https://matrix.example.de")
        if parts.scheme == "http" and not _is_loopback(parts.hostname):
            raise ValueError("url: expected https; plain http is for a server on this very machine")
        return self


class BotSettings(_Section):
    """The bot's account."""

    user_id: UserIdText
    display_name: str = ""
    password_file: Path | None = None
    password: SecretStr | None = None
    device_name: str = "Botschaft"

    def secret_password(self) -> str | None:
        """Return the password, if there is one; it is needed at the first start only."""
        if self.password is not None:
            return self.password.get_secret_value()
        if self.password_file is None or not self.password_file.is_file():
            return None
        return self.password_file.read_text(encoding="utf-8").strip()


class BusinessSettings(_Section):
    """Who the customers write to."""

    name: str = Field(min_length=1, max_length=80)
    language: Literal["de", "en"] = "de"


class DeskSettings(_Section):
    """One team."""

    id: str = Field(pattern=r"^[a-z0-9-]{1,40}$")
    name: str = Field(min_length=1, max_length=60)
    members: list[UserIdText] = Field(min_length=1)


class StorageSettings(_Section):
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
        if not file.is_file():
            return f"The master secret {file.name} is missing. Put it back, or write a first one with `botschaft init`."
        if file.stat().st_mode & 0o077:
            return f"Others may read the master secret {file.name}. Run: chmod 600 {file.name}"
        try:
            text = file.read_text(encoding="ascii").strip()
        except UnicodeDecodeError:
            text = ""
        if not _HEX_SECRET.fullmatch(text):
            return f"The master secret {file.name} is not 64 hexadecimal digits."
        return ""


class CaseSettings(_Section):
    """Cases."""

    first_number: int = Field(default=1001, ge=1)
    reopen_days: float = Field(default=14, ge=0)
    rename_interval_s: float = Field(default=30, ge=0)


class CustomerSettings(_Section):
    """Limits for people we do not know."""

    ignored: list[UserIdText] = []
    burst: int = Field(default=400, ge=1)
    messages_per_minute: int = Field(default=60, ge=1)
    automatic_answers_per_hour: int = Field(default=10, ge=0)
    unreadable_notice_after_s: float = Field(default=60, ge=0)


class LogSettings(_Section):
    """Logs."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["console", "json"] = "console"


class Settings(BaseSettings):
    """Everything together."""

    model_config = SettingsConfigDict(
        env_prefix="BOTSCHAFT_", env_nested_delimiter="__", extra="forbid", frozen=True, env_ignore_empty=True
    )

    homeserver: HomeserverSettings
    bot: BotSettings
    business: BusinessSettings
    desks: list[DeskSettings] = Field(min_length=1)
    admins: list[UserIdText] = Field(min_length=1)
    storage: StorageSettings
    cases: CaseSettings = CaseSettings()
    customers: CustomerSettings = CustomerSettings()
    log: LogSettings = LogSettings()

    @model_validator(mode="after")
    def _consistent(self) -> "Settings":
        ids = [desk.id for desk in self.desks]
        if len(set(ids)) != len(ids):
            raise ValueError("desks: each desk needs an id of its own")
        people = {member for desk in self.desks for member in desk.members} | set(self.admins)
        if self.bot.user_id in people:
            raise ValueError("bot.user_id: the bot itself cannot be a member of a desk or an admin")
        return self


def load_settings(path: Path) -> Settings:
    """Read the configuration.

    Raises:
        SettingsProblems: with everything that is wrong.
    """
    text = _read(path)
    tree = _parse(path, text)
    secrets_in_file = list(_secrets_in(tree, path, text))

    class _Loaded(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return env_settings, InitSettingsSource(settings_cls, init_kwargs=tree)

    try:
        loaded = _Loaded()  # type: ignore[call-arg]
    except ValidationError as error:
        problems = [_problem(path, text, detail) for detail in error.errors(include_url=False, include_input=False)]
        raise SettingsProblems([*secrets_in_file, *problems]) from None
    if secrets_in_file:
        raise SettingsProblems(secrets_in_file)
    return _with_absolute_paths(loaded, path.parent.resolve())


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SettingsProblems(
            [Problem(str(path), "there is no such file; `botschaft init` writes a first one")]
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsProblems([Problem(str(path), f"cannot be read ({type(error).__name__})")]) from None


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        where = f"{path}:{line.group(1)}" if line else str(path)
        raise SettingsProblems([Problem(where, f"this is not TOML: {error}")]) from None


def _secrets_in(tree: dict[str, Any], path: Path, text: str) -> Iterator[Problem]:
    bot = tree.get("bot")
    if isinstance(bot, dict) and "password" in bot:
        del bot["password"]
        yield Problem(
            _place(path, text, ("bot", "password")),
            "a secret must not stand here; put it into the file that password_file names, or into "
            "the environment as BOTSCHAFT_BOT__PASSWORD",
        )


def _problem(path: Path, text: str, detail: Any) -> Problem:
    location = tuple(detail["loc"])
    name = ".".join(str(part) for part in location)
    if detail["type"] == "extra_forbidden":
        return Problem(_place(path, text, location), f"unknown key {name}{_suggestion(location)}")
    if detail["type"] == "missing":
        return Problem(_place(path, text, location[:-1]), f"{name} is missing")
    message = str(detail["msg"]).removeprefix("Value error, ")
    return Problem(_place(path, text, location), f"{name}: {message}" if name else message)


def _suggestion(location: tuple[Any, ...]) -> str:
    known = _fields_at(location[:-1])
    found = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
    if found:
        return f"; did you mean {found[0]}?"
    return f"; known here: {', '.join(sorted(known))}" if known else ""


def _fields_at(location: tuple[Any, ...]) -> list[str]:
    model: Any = Settings
    for part in location:
        if isinstance(part, int):
            continue
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        model = DeskSettings if annotation == list[DeskSettings] else annotation
        if not isinstance(model, type) or not issubclass(model, BaseModel):
            return []
    return [name for name in model.model_fields if name != "password"]


def _place(path: Path, text: str, location: tuple[Any, ...]) -> str:
    """Return file and line of a key, or the environment variable it came from."""
    variable = "BOTSCHAFT_" + "__".join(str(part) for part in location).upper()
    if location and variable in os.environ:
        return variable
    line = _line(text, [part for part in location if isinstance(part, str)])
    return f"{path}:{line}" if line else str(path)


def _line(text: str, names: list[str]) -> int | None:
    section, found = "", None
    for number, line in enumerate(text.splitlines(), start=1):
        header = re.match(r"\s*\[\[?\s*([\w.-]+)\s*\]\]?", line)
        if header:
            section = header.group(1)
            found = number if names and section == names[0] and found is None else found
        key = re.match(r"\s*([\w-]+)\s*=", line)
        if key and names and [*section.split("."), key.group(1)] == (names if len(names) > 1 else ["", *names]):
            return number
    return found


def _with_absolute_paths(settings: Settings, base: Path) -> Settings:
    """Make paths absolute: they are relative to the folder of the file."""
    password_file = settings.bot.password_file
    storage = settings.storage
    return settings.model_copy(
        update={
            "bot": settings.bot.model_copy(
                update={"password_file": base / password_file if password_file is not None else None}
            ),
            "storage": storage.model_copy(
                update={"folder": base / storage.folder, "master_secret_file": base / storage.master_secret_file}
            ),
        }
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def load_texts(folder: Path) -> Texts:
    """Read all languages.

    Raises:
        TextsDiffer: they do not say the same.
    """
    files = sorted(folder.glob("*.toml"))
    return checked({file.stem: flat(tomllib.loads(file.read_text(encoding="utf-8"))) for file in files})
