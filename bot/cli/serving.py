"""`run`, and what an admin asks about a bot that runs."""

import asyncio
import os
import signal
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from bot import app, diagnosis, logs
from bot.cli.common import (
    ConfigOption,
    config_path,
    err,
    load,
    out,
    until_signal,
)
from bot.domain.errors import Fatal, Transient
from bot.figures import heartbeat_age_s, is_well
from bot.flows import stuck
from bot.resources import resource_dir
from bot.settings import Settings, load_settings, load_texts
from bot.store import arrivals
from bot.store.database import utc_now


def run(config: ConfigOption = None) -> None:
    """Serve until stopped."""
    os.umask(0o077)  # what we write is nobody else's; the list of staff says itself who may read it
    path = config_path(config)
    asyncio.run(_serve(path, load(path)))


async def _serve(path: Path, settings: Settings) -> None:
    """Serve until a signal: the first one, once we serve, lets what is under way be finished. SIGHUP reloads."""
    serving, stop, changed = asyncio.Event(), asyncio.Event(), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, changed.set)
    reload = app.Reload(changed, partial(load_settings, path))

    def stop_in_order() -> bool:
        if stop.is_set() or not serving.is_set():
            return False
        stop.set()
        return True

    on_wait = _Waiting(settings.homeserver.url)
    work = app.run(settings, ready=serving.set, on_wait=on_wait, stop=stop, reload=reload)
    await until_signal(work, stop_in_order)


class _Waiting:
    """Says once that the server does not answer, and what to look at."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __call__(self, error: Transient) -> None:
        if self._url:
            err.print(
                f"[yellow]•[/yellow] {escape(self._url)} does not answer as a Matrix server: {escape(str(error))}. "
                "I keep trying, nothing is lost. If this lasts, check homeserver.url.",
                soft_wrap=True,
            )
        self._url = ""


def health(config: ConfigOption = None) -> None:
    """Tell by the exit code whether the bot has heard from the server lately."""
    settings = load_settings(config_path(config))
    age_s = heartbeat_age_s(settings)
    if age_s is None or not is_well(settings):
        if age_s is None:
            raise Fatal("The bot has not heard from the server yet.")
        raise Fatal(f"The bot last heard from the server {age_s:.0f} seconds ago.")
    out.print(f"[green]✓[/green] Heard from the server {age_s:.0f} seconds ago.")


def doctor(config: ConfigOption = None) -> None:
    """Look at everything and say what to do; the bot may be running.

    Exit code 0: all is well. 1: somebody must do something. 2: something could not be looked at.
    """
    logs.configure("error", "console")
    table, summary, code = diagnosis.shown(
        asyncio.run(diagnosis.diagnose(config_path(config))), load_texts(resource_dir("config") / "texts")
    )
    out.print(table)
    out.print(summary, soft_wrap=True)
    raise typer.Exit(code)


def items(
    config: ConfigOption = None,
    retry: Annotated[list[str], typer.Option(help="Try this item again; may be repeated.")] = [],  # noqa: B006
    drop: Annotated[list[str], typer.Option(help="Discard this item and what it carried; may be repeated.")] = [],  # noqa: B006
) -> None:
    """List what waits or is stuck, by case; the bot may be running."""
    asyncio.run(_items(load(config), retry, drop))


async def _items(settings: Settings, retry: list[str], drop: list[str]) -> None:
    async with app.stored(settings) as database:
        found = {line.label: line for line in await stuck.listed(database)}
        unknown = [label for label in (*retry, *drop) if label not in found]
        if unknown:
            raise Fatal(
                f"There is no item {', '.join(unknown)}. Nothing was changed. `botschaft items` shows the list."
            )
        async with database.transaction() as tx:
            for label in retry:
                await arrivals.retry(tx, found[label].item, utc_now())
            for label in drop:
                await arrivals.finish(tx, found[label].item)
    for label in retry:
        out.print(f"[green]✓[/green] {label} will be tried again within seconds, if the bot is running.")
    for label in drop:
        out.print(f"[green]✓[/green] {label} was discarded.")
    if not retry and not drop:
        out.print(_table(list(found.values())) if found else "[green]✓[/green] Nothing waits and nothing is stuck.")


def _table(found: list[stuck.Stuck]) -> Table:
    table = Table("item", "case", "state", "reason", "since (UTC)")
    for line in found:
        number = str(line.number or "–")
        table.add_row(line.label, number, line.state.value, line.reason, line.since.strftime("%Y-%m-%d %H:%M"))
    return table


def demo(
    once: Annotated[
        bool, typer.Option("--once", help="End after the conversation; exit 0 only if all of it arrived.")
    ] = False,
    day: Annotated[
        bool, typer.Option("--day", help="A whole working day instead: eight customers, three mechanics, two desks.")
    ] = False,
    file: Annotated[
        Path | None, typer.Option("--out", help="With --day: write the transcript there, as Markdown.")
    ] = None,
) -> None:
    """Start a real server, the bot, customers and mechanics on this machine, and show what they write to each other."""
    from bot.demo import day as whole_day  # noqa: PLC0415 - the demo needs what production does not have
    from bot.demo import script  # noqa: PLC0415

    logs.configure("error", "console")
    play = whole_day.run(once=once, file=file) if day else script.run(once=once)
    if not asyncio.run(until_signal(play)) and once:
        raise typer.Exit(1)
