"""What every command of the shell shares: where the configuration is, how things are said, how one is asked."""

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from bot import logs
from bot.domain.errors import Fatal
from bot.settings import Settings, load_settings

PLACES = (Path("botschaft.toml"), Path("/config/botschaft.toml"))


T = TypeVar("T")


out = Console(highlight=False, emoji=False)


err = Console(stderr=True, highlight=False, emoji=False)


ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="Default: BOTSCHAFT_CONFIG, ./botschaft.toml or /config/botschaft.toml.")
]


YesOption = Annotated[bool, typer.Option("--yes", help="Do it without asking.")]


def complain(error: Fatal) -> None:
    """Say what failed, a line for each problem."""
    for line in str(error).splitlines():
        err.print(f"[red]✗[/red] {escape(line)}", soft_wrap=True)


def warn(text: str) -> None:
    """Say what should be otherwise and keeps nothing from working."""
    err.print(f"[yellow]⚠[/yellow] {escape(text)}", soft_wrap=True)


def config_path(given: Path | None) -> Path:
    """Return where the configuration is: named, in the environment, or in one of the usual places."""
    named = given or os.environ.get("BOTSCHAFT_CONFIG")
    if named:
        return Path(named)
    return next((place for place in PLACES if place.is_file()), PLACES[0])


def load(given: Path | None) -> Settings:
    """Read the configuration, and log as it says."""
    settings = load_settings(config_path(given))
    logs.configure(settings.log.level, settings.log.format)
    return settings


def confirm(what: str, *, yes: bool) -> None:
    """Say what will be done, and ask.

    Raises:
        Fatal: they do not want it.
    """
    out.print(what, soft_wrap=True)
    if not yes and not typer.confirm("Go on?"):
        raise Fatal("Nothing was changed.")


async def until_signal(work: Coroutine[Any, Any, T], stop_in_order: Callable[[], bool] = lambda: False) -> T | None:
    """Run until it ends or SIGTERM or SIGINT asks it to; then everything is closed in order.

    `stop_in_order` may make it end by itself (True); else it is cancelled.
    """
    task = asyncio.ensure_future(work)

    def asked() -> None:
        if not stop_in_order():
            task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, asked)
    try:
        return await task
    except asyncio.CancelledError:
        return None


class Shown:
    """The progress of a long command: a bar for people, one line for each stage for a journal."""

    def __init__(self) -> None:
        self._bars = Progress(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=out)
        self._stage, self._task = "", TaskID(0)

    def __enter__(self) -> "Shown":
        self._bars.start()
        return self

    def __exit__(self, *what: object) -> None:
        self._bars.stop()

    def __call__(self, stage: str, share: float) -> None:
        """So much of this stage is done, from 0 to 1."""
        if stage != self._stage:
            if self._stage:
                self._bars.update(self._task, completed=1.0)
            self._stage, self._task = stage, self._bars.add_task(stage, total=1.0)
        self._bars.update(self._task, completed=share)
