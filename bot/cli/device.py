"""`device`: the bot's device and its signatures."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from bot import identity
from bot.cli.common import (
    ConfigOption,
    YesOption,
    confirm,
    load,
    out,
)
from bot.domain.errors import Fatal

device = typer.Typer(no_args_is_help=True, help="The bot's device and its signatures.")


@device.command("status")
def device_status(config: ConfigOption = None) -> None:
    """Show the bot's device, its fingerprint and whether the server shows our signatures. Changes nothing."""
    status = asyncio.run(identity.device_status(load(config)))
    out.print(f"Device:       {status.device_id}")
    out.print(f"Fingerprint:  {status.fingerprint}")
    out.print(f"Identity:     {status.master_key or 'none'}")
    out.print(f"Not backed up: {status.not_backed_up} of the conversations' keys")
    if not status.recoverable:
        out.print(
            "[yellow]•[/yellow] There is no recovery key: after a lost disk nothing could be read any more. "
            "`botschaft device sign` makes one.",
            soft_wrap=True,
        )
    if status.problems:
        raise Fatal("\n".join(status.problems))
    out.print("[green]✓[/green] The server knows this device, and it is signed by the bot's identity.")


@device.command("sign")
def device_sign(
    config: ConfigOption = None,
    new_recovery_key: Annotated[
        bool, typer.Option("--new-recovery-key", help="Make another one; the old one opens nothing any more.")
    ] = False,
) -> None:
    """See to it that the device is signed and make the recovery key, which is shown once. Stop the bot first."""
    words = asyncio.run(identity.sign_device(load(config), new_key=new_recovery_key))
    out.print("[green]✓[/green] The bot's device is signed by the bot's identity.")
    if words is None:
        out.print(
            "A recovery key exists and cannot be shown again. If it is lost, `botschaft device sign "
            "--new-recovery-key` makes another one.",
            soft_wrap=True,
        )
    else:
        _show_recovery_key(words)


def _show_recovery_key(words: str) -> None:
    out.print("\nThe recovery key. Write it on paper, keep it away from this machine; it is not shown again:\n")
    out.print(f"    {words}\n", soft_wrap=True)
    out.print(
        "After a lost disk it brings back the bot's identity and every conversation (`botschaft device recover`). "
        "Whoever has it and the bot's password can read them all.",
        soft_wrap=True,
    )


@device.command("trust")
def device_trust(
    user: Annotated[str, typer.Argument(help="A member of the team, like @jan:example.de.")],
    config: ConfigOption = None,
) -> None:
    """Trust the new identity of a member of the team, like `!trust` in the admin room. Stop the bot first."""
    if not asyncio.run(identity.trust(load(config), user)):
        raise Fatal(f"{user} has no digital identity. They set it up in Element: Settings → Encryption.")
    out.print(f"[green]✓[/green] The identity that {user} has now is trusted.")


@device.command("recover")
def device_recover(
    config: ConfigOption = None,
    key_file: Annotated[
        Path | None, typer.Option(help="Read the recovery key from a file; else it is asked for.")
    ] = None,
    yes: YesOption = False,
) -> None:
    """Bring the bot back after a lost disk or a broken key store, with the recovery key."""
    settings = load(config)
    confirm(
        "The bot logs in as a new device, takes its old identity and all keys of its conversations from the server, "
        "and removes its old device there. People who talk to it notice nothing. A key store in the folder is kept "
        "beside the new one.",
        yes=yes,
    )
    words = key_file.read_text(encoding="utf-8") if key_file else typer.prompt("Recovery key", hide_input=True)
    done = asyncio.run(identity.recover(settings, words))
    out.print(f"[green]✓[/green] New device {done.device_id}, signed by the bot's old identity.")
    out.print(f"[green]✓[/green] {done.sessions} keys of conversations are back.")
    out.print(f"[green]✓[/green] {done.removed_devices} old devices removed from the account.")
    if not done.keeps_customers:
        out.print(
            "[yellow]•[/yellow] There was no database: which case belongs to whom is lost. Rooms of customers are used "
            "again, their next message opens a new case, and no consent is on record.",
            soft_wrap=True,
        )
    out.print("Next: botschaft run")


@device.command("reset-identity")
def device_reset_identity(config: ConfigOption = None, yes: YesOption = False) -> None:
    """Give the bot a new identity. Every customer's app warns about it; only if the recovery key is lost, too."""
    settings = load(config)
    confirm(
        "The bot gets a new identity. The apps of all customers and staff will warn that it changed, who has verified "
        "the bot must do so again, and the key backup starts anew: what is in the old one is lost. This cannot be "
        "undone. If you have the recovery key, use `botschaft device recover` instead.",
        yes=yes,
    )
    _show_recovery_key(asyncio.run(identity.reset_identity(settings)))
