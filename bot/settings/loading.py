"""Reading the configuration: the environment over the TOML file over defaults."""

import re
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource

from bot.settings.judging import (
    Problem,
    SettingsProblems,
    problem_of,
    secrets_in,
    unknown_variables,
    unreadable_variables,
)
from bot.settings.machine import StaffSettings
from bot.settings.whole import PREFIX, Settings


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
    refused = [*secrets_in(tree, path, text), *unknown_variables()]
    if unreadable := list(unreadable_variables(Settings, PREFIX)):
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
        problems = [problem_of(path, text, detail) for detail in error.errors(include_url=False, include_input=False)]
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
