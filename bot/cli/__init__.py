"""The command line: what an admin types. Every failure is a sentence and an exit code, never a traceback."""

import typer

from bot import logs
from bot.cli import backups, customers, device, ledger, serving, setting_up
from bot.cli.common import complain
from bot.domain.errors import Fatal

cli = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they print local variables, which may be anybody's words
    help="A self-hosted Matrix bot for business messaging.",
)

for command in (serving.run, serving.health, serving.doctor, serving.items):
    cli.command()(command)
cli.command()(setting_up.init)
cli.command("check-config")(setting_up.check_config)
cli.command("privacy-page")(setting_up.privacy_page)
cli.command()(setting_up.record)
cli.command("backup")(backups.make_backup)
cli.command()(backups.restore)
cli.command()(backups.drill)
cli.command()(customers.sign)
cli.command()(serving.demo)
cli.add_typer(device.device, name="device")
cli.add_typer(customers.customer, name="customer")
cli.add_typer(ledger.ledger_commands, name="ledger")


def main() -> None:
    """Run a command; turn our own failures into one sentence."""
    try:
        cli()
    except Fatal as error:
        complain(error)
        raise SystemExit(1) from None
    except OSError as error:
        if error.filename is None:
            raise
        complain(Fatal(f"{error.filename}: {error.strerror}."))
        raise SystemExit(1) from None
    except Exception as error:  # noqa: BLE001 - a traceback would print values, which may be personal
        complain(Fatal(f"This is a fault of Botschaft itself: {logs.told(error)}, at {logs.places(error)}."))
        raise SystemExit(70) from None  # EX_SOFTWARE of sysexits.h
