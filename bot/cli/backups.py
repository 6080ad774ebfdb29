"""`backup`, `restore`, `drill`."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from bot import backup, envelope
from bot.cli.common import (
    ConfigOption,
    Shown,
    YesOption,
    config_path,
    confirm,
    load,
    out,
)
from bot.domain.errors import Fatal

PrivateKey = Annotated[
    Path, typer.Option("--private-key", help="The file that `backup --new-key` wrote, or one of age-keygen.")
]


def make_backup(
    config: ConfigOption = None,
    new_key: Annotated[
        Path | None,
        typer.Option(help="Make a pair of keys instead: the private one into this file, the public one shown."),
    ] = None,
) -> None:
    """Write a backup, sealed for backup.recipient; the bot may be running."""
    if new_key:
        public = backup.write_new_key(new_key)
        out.print(f"[green]✓[/green] {new_key} written. Move it away from this machine; without it no backup opens.")
        out.print(f'Put this into the configuration:\n\n[backup]\nrecipient = "{public}"', soft_wrap=True, markup=False)
        return
    settings = load(config)
    text = config_path(config).read_text(encoding="utf-8")
    with Shown() as shown:
        made = asyncio.run(backup.make(settings, text, shown))
    out.print(f"[green]✓[/green] {made.file}", soft_wrap=True)
    out.print(f"[green]✓[/green] {made.size / 1024:.0f} KiB in {made.seconds:.1f} s, sealed and whole.")
    if made.deleted:
        out.print(f"[green]✓[/green] {made.deleted} older ones deleted (backup.keep).")


def restore(
    file: Annotated[Path, typer.Argument(help="A backup.")],
    private_key: PrivateKey,
    config: ConfigOption = None,
    accept: Annotated[bool, typer.Option("--accept", help="Begin again with it. Else it is only checked.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Only check it; the default.")] = False,
    key_file: Annotated[
        Path | None, typer.Option(help="Read the recovery key from a file; else it is asked for.")
    ] = None,
    yes: YesOption = False,
) -> None:
    """Check a backup, or begin again with it as a new device. Stop the bot first for the latter."""
    if accept and check:
        raise Fatal("Either --check or --accept. Nothing was changed.")
    key = envelope.read_private_key(private_key)
    if not accept:
        with Shown() as shown:
            _say_checked(asyncio.run(backup.check(file, key, shown)))
        return
    _accept(file, key, config, key_file, yes=yes)


def _accept(file: Path, key: str, config: Path | None, key_file: Path | None, *, yes: bool) -> None:
    if not config_path(config).exists():
        backup.write_config(file, key, config_path(config))
        out.print(f"[green]✓[/green] {config_path(config)} written, as it stands in the backup.", soft_wrap=True)
    settings = load(config)
    if not settings.bot.secret_password():
        raise Fatal(
            f"The bot's password is not in a backup. Put it into {settings.bot.password_file} (chmod 600), then again."
        )
    confirm(
        "The bot begins again with this backup, as a new device; its old device is removed, so a bot that still runs "
        "elsewhere ends. What is in the folder now is set aside, not deleted. At the next start the bot looks into its "
        "rooms for all it had sent since the backup, before it sends anything.",
        yes=yes,
    )
    words = key_file.read_text(encoding="utf-8") if key_file else typer.prompt("Recovery key", hide_input=True)
    with Shown() as shown:
        done = asyncio.run(backup.accept(settings, file, key, words, shown))
    out.print(f"[green]✓[/green] New device {done.device_id}, signed by the bot's old identity.")
    out.print(f"[green]✓[/green] {done.sessions} keys of conversations are back.")
    out.print(f"[green]✓[/green] {done.removed_devices} old devices removed from the account.")
    out.print("Next: botschaft run", soft_wrap=True)


def drill(private_key: PrivateKey, config: ConfigOption = None) -> None:
    """Restore the newest backup into a temporary folder, check everything there, and say what would be missing."""
    settings = load(config)
    with Shown() as shown:
        file, checked = asyncio.run(backup.drill(settings, envelope.read_private_key(private_key), shown))
    out.print(f"[green]✓[/green] {file}", soft_wrap=True)
    _say_checked(checked)
    if checked.bot != settings.bot.user_id:
        raise Fatal(f"It is a backup of {checked.bot}, not of {settings.bot.user_id}.")


def _say_checked(checked: backup.Checked) -> None:
    held = checked.contents
    out.print(f"[green]✓[/green] Whole and readable, checked in {checked.seconds:.1f} s.")
    out.print(f"Made:      {checked.made_at:%Y-%m-%d %H:%M:%S} UTC by version {checked.program}, for {checked.bot}")
    updated = "" if held.version == checked.known_version else f", brought to {checked.known_version} without trouble"
    out.print(f"Database:  version {held.version}{updated}")
    out.print(
        f"Holds:     {held.customers} customers, {held.cases} cases, {held.open_items} items under way, "
        f"{held.parked_items} that need a human; the master secret; the configuration"
    )
    missing = str(checked.missing).partition(".")[0]
    out.print(
        f"Missing:   what happened in the {missing} (hours:minutes:seconds) since. Messages of that time are found in "
        "the rooms again, and what the bot had sent is not sent twice. Who was let into a chat with !erlauben since "
        "must be let in again. The bot's password and the recovery key are never in a backup.",
        soft_wrap=True,
    )
