"""What the admin decides: environment over the TOML file over defaults. Unknown keys and secrets in TOML are refused.

All problems come at once, each with the place to look and what was expected.
"""

import difflib
import ipaddress
import json
import os
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, get_origin
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from bot.domain.errors import Fatal
from bot.domain.hours import DAY_MINUTES, Hours
from bot.domain.ids import is_user_id
from bot.domain.texts import Texts, TextsDiffer, checked, flat

_HEX_SECRET = re.compile(r"[0-9a-fA-F]{64}")
_HEADER = re.compile(r"\s*(\[\[?)\s*([\w.-]+)\s*\]")
_KEY = re.compile(r"\s*([\w-]+)\s*=")
_PREFIX = "BOTSCHAFT_"
_SECRETS = (("bot", "password"), ("homeserver", "admin_token"))
"""What may come from a file or from the environment, and never stands in the TOML."""

Place = tuple[str | int, ...]


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
    if not is_user_id(value):
        raise ValueError("expected a Matrix user id like @name:example.de (small letters)")
    return value


UserIdText = Annotated[str, AfterValidator(_user_id)]


DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_SPAN = re.compile(r"(\d\d):(\d\d)-(\d\d):(\d\d)")


def _span(value: object) -> object:
    """Read "07:30-12:00" as minutes since midnight; what stands here already read is left alone."""
    if not isinstance(value, str):
        return value
    found = _SPAN.fullmatch(value)
    if found:
        hour, minute, until_hour, until_minute = map(int, found.groups())
        start, end = hour * 60 + minute, until_hour * 60 + until_minute
        if max(minute, until_minute) < 60 and start < end <= DAY_MINUTES:
            return start, end
    raise ValueError('expected hours like "07:30-12:00", the earlier time first')


def _days(value: object) -> object:
    """Read one day or "first/last" (ISO 8601) as two days."""
    if not isinstance(value, str):
        return value
    first, _, last = value.partition("/")
    try:
        days = date.fromisoformat(first), date.fromisoformat(last or first)
    except ValueError:
        days = None
    if days is None or days[1] < days[0]:
        raise ValueError('expected a day like "2026-12-24", or the first and the last like "2026-12-24/2027-01-02"')
    return days


Span = Annotated[tuple[int, int], BeforeValidator(_span)]
Days = Annotated[tuple[date, date], BeforeValidator(_days)]


@cache  # what stays the same must also be equal: a reload compares the rules to tell what holds at once
def public_holidays(place: str) -> Callable[[date], bool]:
    """Return what tells the public holidays of a place, by its ISO 3166-2 code or that of a whole country.

    Nowhere there are none.

    Raises:
        ValueError: nothing is known of this place.
    """
    if not place:
        return lambda day: False
    # Only who wants it pays for it: the calendar takes 19 MiB.
    from holidays import country_holidays  # noqa: PLC0415

    country, _, part = place.partition("-")
    try:
        return country_holidays(country, part or None).__contains__
    except NotImplementedError:
        raise ValueError('expected the code of a place, like "DE-BY" for Bavaria, or nothing') from None


def _private_text_problem(file: Path, what: str) -> str:
    """Return what is wrong with a file that exists and holds one secret, or nothing."""
    if file.stat().st_mode & 0o077:
        return f"Others may read {what}. Run: chmod 600 {file}"
    try:
        is_empty = not file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        return f"{file} cannot be read ({type(error).__name__})."
    return f"{file} is empty. Put {what} into it." if is_empty else ""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HomeserverSettings(_Section):
    """The Matrix server."""

    allow_insecure_http: bool = False  # before `url`, whose check reads it
    url: str
    request_timeout_s: float = Field(default=30, gt=0, le=600)
    sync_timeout_s: float = Field(default=30, ge=0, le=300)
    admin_token_file: Path | None = None
    admin_token: SecretStr | None = None
    admin_url: str = ""

    @property
    def admin_address(self) -> str:
        """Where the server's admin API is."""
        return self.admin_url or self.url

    def secret_admin_token(self) -> str | None:
        """Return the access token of a server administrator, if there is one.

        Raises:
            Fatal: others may read its file.
        """
        if self.admin_token is not None:
            return self.admin_token.get_secret_value()
        if self.admin_token_file is None or not self.admin_token_file.is_file():
            return None
        problem = self.admin_token_problem()
        if problem:
            raise Fatal(problem)
        return self.admin_token_file.read_text(encoding="utf-8").strip()

    def admin_token_problem(self) -> str:
        """Return what is wrong with the admin token's file, or nothing; there need not be one."""
        file = self.admin_token_file
        if self.admin_token is not None or file is None or not file.is_file():
            return ""
        return _private_text_problem(file, "the token of a server administrator")

    @field_validator("url", "admin_url")
    @classmethod
    def _encrypted_or_local(cls, url: str, info: ValidationInfo) -> str:
        if not url and info.field_name == "admin_url":
            return url
        parts = urlsplit(url)
        if parts.scheme not in {"https", "http"} or not parts.hostname:
            raise ValueError("expected an address like https://matrix.example.de")
        if parts.scheme == "https" or _is_loopback(parts.hostname) or info.data.get("allow_insecure_http"):
            return url
        raise ValueError(
            "expected https; plain http is for a server on this very machine, or for a network that only "
            "you can read, after allow_insecure_http = true"
        )


class BotSettings(_Section):
    """The bot's account."""

    user_id: UserIdText
    display_name: str = ""
    password_file: Path | None = None
    password: SecretStr | None = None
    device_name: str = "Botschaft"

    def secret_password(self) -> str | None:
        """Return the password, if there is one; it is needed at the first start only.

        Raises:
            Fatal: others may read its file.
        """
        if self.password is not None:
            return self.password.get_secret_value()
        if self.password_file is None or not self.password_file.is_file():
            return None
        problem = self.password_problem()
        if problem:
            raise Fatal(problem)
        return self.password_file.read_text(encoding="utf-8").strip()

    def has_password_file(self) -> bool:
        """Tell whether there is a file with the password; after the first start there need not be one."""
        return self.password_file is not None and self.password_file.is_file()

    def password_problem(self) -> str:
        """Return what is wrong with the password's file, or nothing."""
        file = self.password_file
        if self.password is not None or file is None:
            return ""
        if not file.is_file():
            return f"{file} is missing. Put the password of the bot's account into it, and run: chmod 600 {file}"
        return _private_text_problem(file, "the password of the bot's account")


class BusinessSettings(_Section):
    """Who the customers write to."""

    name: str = Field(min_length=1, max_length=80)
    language: Literal["de", "en"] = "de"
    tone: Literal["sie", "du"] = "sie"


class ControllerSettings(_Section):
    """Who is responsible for personal data (Art. 4(7) GDPR). All empty: not filled in yet."""

    name: str = ""
    address: str = ""
    contact: str = ""
    authority: str = ""
    privacy_url: str = ""
    officer: str = ""
    imprint: str = ""

    @property
    def is_filled_in(self) -> bool:
        """Tell whether privacy texts can be made from it."""
        return not self.missing()

    def missing(self) -> list[str]:
        """Return what must be there and is not."""
        needed = ("name", "address", "contact", "authority", "privacy_url")
        return [name for name in needed if not getattr(self, name).strip()]

    @field_validator("privacy_url")
    @classmethod
    def _anybody_can_open_it(cls, url: str) -> str:
        parts = urlsplit(url)
        if url and (parts.scheme != "https" or not parts.hostname):
            raise ValueError("expected an address like https://www.example.de/datenschutz")
        return url

    @model_validator(mode="after")
    def _whole_or_not_at_all(self) -> "ControllerSettings":
        missing = self.missing()
        if missing and any((self.name, self.address, self.contact, self.authority, self.privacy_url)):
            raise ValueError(f"{', '.join(missing)} must be filled in, too: customers are told all of it or nothing")
        return self


class HostingSettings(_Section):
    """Where the server stands and who runs it."""

    location: str = ""
    processor: str = ""
    contract: str = ""
    outside_eu: str = ""

    @model_validator(mode="after")
    def _bound_by_contract(self) -> "HostingSettings":
        if self.processor.strip() and not self.contract.strip():
            raise ValueError(
                "a contract is missing: whoever runs the server for you needs one under Art. 28 GDPR; "
                "put its reference into hosting.contract"
            )
        return self


class FederationSettings(_Section):
    """How far the server talks with others."""

    mode: Literal["closed", "listed", "open"] = "closed"


class PrivacySettings(_Section):
    """Purposes and privacy texts."""

    folder: Path | None = None
    edition: int = Field(default=1, ge=1)

    @field_validator("folder", mode="before")
    @classmethod
    def _nothing_is_no_folder(cls, folder: object) -> object:
        return None if folder == "" else folder


class DeskSettings(_Section):
    """One team."""

    id: str = Field(pattern=r"^[a-z0-9-]{1,40}$")
    name: str = Field(min_length=1, max_length=60)
    members: list[UserIdText] = Field(min_length=1)
    keywords: list[Annotated[str, Field(min_length=2, max_length=60)]] = []


class HoursSettings(_Section):
    """When somebody is there."""

    time_zone: str = "Europe/Berlin"
    holidays: str = ""
    monday: list[Span] = []
    tuesday: list[Span] = []
    wednesday: list[Span] = []
    thursday: list[Span] = []
    friday: list[Span] = []
    saturday: list[Span] = []
    sunday: list[Span] = []
    closed: list[Days] = []

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError):
            raise ValueError("expected a time zone like Europe/Berlin that this machine knows") from None
        return name

    @field_validator("holidays")
    @classmethod
    def _known_place(cls, place: str) -> str:
        public_holidays(place)
        return place

    @field_validator(*DAYS)
    @classmethod
    def _in_order(cls, spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
        if any(after[0] < before[1] for before, after in pairwise(spans)):
            raise ValueError("expected hours one after the other, that do not overlap")
        return spans

    def hours(self) -> Hours | None:
        """Return the calendar; None if no day has hours: then nothing depends on them."""
        weekly = {number: tuple(getattr(self, day)) for number, day in enumerate(DAYS)}
        if not any(weekly.values()):
            return None
        return Hours(ZoneInfo(self.time_zone), weekly, tuple(self.closed), public_holidays(self.holidays))


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


class CaseSettings(_Section):
    """Cases."""

    first_number: int = Field(default=1001, ge=1)
    reopen_days: float = Field(default=14, ge=0)
    rename_interval_s: float = Field(default=30, ge=0)
    read_marks: bool = False
    escalation_minutes: list[Annotated[float, Field(gt=0)]] = Field(default=[15, 30, 60], max_length=3)
    close_after_days: float = Field(default=0, ge=0)
    archive_after_days: float = Field(default=30, ge=0)

    @field_validator("escalation_minutes")
    @classmethod
    def _longer_each_time(cls, minutes: list[float]) -> list[float]:
        if any(after <= before for before, after in pairwise(minutes)):
            raise ValueError("expected up to three numbers of minutes, each larger than the one before")
        return minutes


class CustomerSettings(_Section):
    """Limits for people we do not know."""

    ignored: list[UserIdText] = []
    burst: int = Field(default=400, ge=1)
    messages_per_minute: int = Field(default=60, ge=1)
    automatic_answers_per_hour: int = Field(default=10, ge=0)
    unreadable_notice_after_s: float = Field(default=60, ge=0)
    unsigned_devices: Literal["deliver", "refuse"] = "deliver"
    largest_open_file_mib: int = Field(default=20, ge=0, le=200)


class ConsentSettings(_Section):
    """Questions for consent, and what is sent to those who agreed."""

    reask_after_days: int = Field(default=365, ge=180)
    question_days: int = Field(default=14, ge=1, le=30)
    news_interval_s: float = Field(default=3, ge=0)


class StaffSettings(_Section):
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


class DoorSettings(_Section):
    """What new customers are given."""

    gives: Literal["account", "token"] = "account"
    server: str = Field(default="", pattern=r"^[A-Za-z0-9.\-\[\]:]*$")
    app_link: str = "https://mobile.element.io/element/"
    web_client: str = ""
    token_days: float = Field(default=14, gt=0, le=365)
    slip_hours: float = Field(default=24, gt=0, le=24 * 14)
    per_hour: int = Field(default=10, ge=1)

    @field_validator("app_link", "web_client")
    @classmethod
    def _page(cls, url: str, info: ValidationInfo) -> str:
        if not url and info.field_name == "web_client":
            return url
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("expected an address like https://chat.example.de, without ? and #")
        return url


class WebSettings(_Section):
    """Health and metrics."""

    listen: str = ""

    @field_validator("listen")
    @classmethod
    def _address(cls, listen: str) -> str:
        host, _, port = listen.rpartition(":")
        if listen and not (host and port.isdecimal() and int(port) <= 65535):
            raise ValueError('expected an address and a port like "127.0.0.1:9464", or nothing')
        return listen


class BackupSettings(_Section):
    """Backups."""

    recipient: str = Field(default="", pattern=r"^(age1[a-z0-9]{58})?$")
    target: Path = Path("backups")
    keep: int = Field(default=0, ge=0)


class LogSettings(_Section):
    """Logs."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["console", "json"] = "console"


class Settings(BaseSettings):
    """Everything together."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, env_ignore_empty=True
    )

    homeserver: HomeserverSettings
    bot: BotSettings
    business: BusinessSettings
    desks: list[DeskSettings] = Field(min_length=1)
    admins: list[UserIdText] = Field(min_length=1)
    hours: HoursSettings = HoursSettings()
    storage: StorageSettings
    controller: ControllerSettings = ControllerSettings()
    hosting: HostingSettings = HostingSettings()
    federation: FederationSettings = FederationSettings()
    privacy: PrivacySettings = PrivacySettings()
    cases: CaseSettings = CaseSettings()
    customers: CustomerSettings = CustomerSettings()
    consent: ConsentSettings = ConsentSettings()
    staff: StaffSettings = StaffSettings()
    door: DoorSettings = DoorSettings()
    web: WebSettings = WebSettings()
    backup: BackupSettings = BackupSettings()
    log: LogSettings = LogSettings()

    @field_validator("desks")
    @classmethod
    def _distinct(cls, desks: list[DeskSettings]) -> list[DeskSettings]:
        for what in ("id", "name"):
            twice = [name for name, count in Counter(getattr(desk, what) for desk in desks).items() if count > 1]
            if twice:
                raise ValueError(f"each desk needs its own {what}; {', '.join(twice)} stands there more than once")
        return desks

    @model_validator(mode="after")
    def _consistent(self) -> "Settings":
        people = {member for desk in self.desks for member in desk.members} | set(self.admins)
        if self.bot.user_id in people:
            raise ValueError("bot.user_id: the bot itself cannot be a member of a desk or an admin")
        if self.controller.is_filled_in and not self.hosting.location.strip():
            raise ValueError("hosting.location: expected the place where the server stands; customers are told it")
        if self.door.gives == "token" and not self.door.web_client:
            raise ValueError(
                'door.web_client: with gives = "token" customers need a page to register at, which is missing here'
            )
        return self


def load_settings(path: Path) -> Settings:
    """Read the configuration.

    Raises:
        SettingsProblems: with everything that is wrong.
    """
    return settings_from(_read(path), path)


def settings_from(text: str, path: Path) -> Settings:
    """Judge the text of a configuration that stands, or will stand, at `path`.

    Raises:
        SettingsProblems: with everything that is wrong.
    """
    tree = _parse(path, text)
    refused = [*_secrets_in(tree, path, text), *_unknown_variables()]
    if unreadable := list(_unreadable_variables(Settings, _PREFIX)):
        # With these the environment cannot be judged, and without it the rest would seem to be missing.
        raise SettingsProblems([*refused, *unreadable])

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
        raise SettingsProblems([*refused, *problems]) from None
    if refused:
        raise SettingsProblems(refused)
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
    for section, key in _SECRETS:
        table = tree.get(section)
        if isinstance(table, dict) and key in table:
            del table[key]
            yield Problem(
                _place(path, text, (section, key)),
                f"a secret must not stand here; put it into the file that {key}_file names, or into "
                f"the environment as {_PREFIX}{section.upper()}__{key.upper()}",
            )


def _unknown_variables() -> Iterator[Problem]:
    """Find misspelt sections. Only names with `__` count: Kubernetes sets BOTSCHAFT_PORT and the like by itself."""
    for variable in sorted(_variables()):
        section, nested, _ = variable.removeprefix(_PREFIX).lower().partition("__")
        if variable.startswith(_PREFIX) and nested and section not in Settings.model_fields:
            yield Problem(variable, f"unknown section {section}{_suggestion((section,))}")


def _unreadable_variables(model: type[BaseModel], prefix: str) -> Iterator[Problem]:
    """Find lists and sections that came from the environment and are not JSON; pydantic-settings stops at the first."""
    variables = _variables()
    for name, field in model.model_fields.items():
        variable, annotation = prefix + name.upper(), field.annotation
        section = annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
        value = variables.get(variable)
        if value and (section or get_origin(annotation) is list) and not _is_json(value):
            yield Problem(variable, 'expected JSON, like ["@jan:example.de"] or {"id": "annahme"}')
        if section:
            yield from _unreadable_variables(section, f"{variable}__")


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _variables() -> dict[str, str]:
    """Return the environment; names of variables are compared without regard to case, as pydantic-settings does."""
    return {name.upper(): value for name, value in os.environ.items()}


def _problem(path: Path, text: str, detail: Any) -> Problem:
    message = str(detail["msg"]).removeprefix("Value error, ")
    location: Place = tuple(detail["loc"])
    if not location:  # A rule between sections; its sentence opens with the key it is about.
        key, _, message = message.partition(": ")
        location = tuple(key.split("."))
    name = ".".join(str(part) for part in location)
    match detail["type"]:
        case "extra_forbidden":
            return Problem(_place(path, text, location), f"unknown key {name}{_suggestion(location)}")
        case "missing":
            return Problem(_place(path, text, location[:-1]), f"{name} is missing")
        case "model_type" | "dict_type":
            return Problem(_place(path, text, location), f"{name}: expected a section with keys of its own")
        case _:
            return Problem(_place(path, text, location), f"{name}: {message.replace('Input should be', 'expected')}")


def _suggestion(location: Place) -> str:
    known = _fields_at(location[:-1])
    found = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
    if found:
        return f"; did you mean `{found[0]}`?"
    return f"; known here: {', '.join(sorted(known))}" if known else ""


def _fields_at(location: Place) -> list[str]:
    model: Any = Settings
    for part in location:
        if isinstance(part, int):
            continue
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        model = DeskSettings if annotation == list[DeskSettings] else annotation
        if not isinstance(model, type) or not issubclass(model, BaseModel):
            return []
    return [name for name in model.model_fields if name not in {secret for _, secret in _SECRETS}]


def _place(path: Path, text: str, location: Place) -> str:
    """Return the environment variable that a value came from, or file and line of its key, or of what holds the key."""
    variables, lines = _variables(), _lines(text)
    around = [location[:length] for length in range(len(location), 0, -1)]
    for place in around:
        variable = _PREFIX + "__".join(str(part) for part in place).upper()
        if variables.get(variable):
            return variable
    line = next((lines[place] for place in around if place in lines), None)
    return f"{path}:{line}" if line else str(path)


def _lines(text: str) -> dict[Place, int]:
    """Find the line of every key and table; `[[desks]]` are counted as pydantic counts them."""
    lines: dict[Place, int] = {}
    tables: Counter[Place] = Counter()
    table: Place = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            table = name = tuple(header.group(2).split("."))
            lines.setdefault(name, number)
            if header.group(1) == "[[":
                table = (*name, tables[name])
                tables[name] += 1
                lines[table] = number
        elif key := _KEY.match(line):
            lines.setdefault((*table, key.group(1)), number)
    return lines


def _with_absolute_paths(settings: Settings, base: Path) -> Settings:
    """Make paths absolute: they are relative to the folder of the file."""
    password_file, admin_token_file = settings.bot.password_file, settings.homeserver.admin_token_file
    storage, staff_file = settings.storage, settings.staff.file
    return settings.model_copy(
        update={
            "homeserver": settings.homeserver.model_copy(
                update={"admin_token_file": base / admin_token_file if admin_token_file is not None else None}
            ),
            "bot": settings.bot.model_copy(
                update={"password_file": base / password_file if password_file is not None else None}
            ),
            "staff": StaffSettings(file=base / staff_file if staff_file is not None else None),
            "privacy": settings.privacy.model_copy(
                update={"folder": base / settings.privacy.folder if settings.privacy.folder is not None else None}
            ),
            "storage": storage.model_copy(
                update={"folder": base / storage.folder, "master_secret_file": base / storage.master_secret_file}
            ),
            "backup": settings.backup.model_copy(update={"target": base / settings.backup.target}),
        }
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def load_texts(folder: Path, tone: str = "sie") -> Texts:
    """Read all languages; `de-du.toml` and its like lie over their language for that tone.

    Raises:
        TextsDiffer: they do not say the same, or cannot be read.
    """
    files = {file.stem: flat(_text_table(file)) for file in sorted(folder.glob("*.toml"))}
    toned = {name: files.pop(name) for name in tuple(files) if "-" in name}
    texts = checked(files)
    for name, changed in toned.items():
        language, _, its_tone = name.partition("-")
        laid = texts.laid_over(language, changed)
        texts = laid if its_tone == tone else texts
    return texts


def _text_table(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise TextsDiffer(f"{file.name}: this is not TOML: {error}") from None
