"""`customer new` and `sign`: how new customers come in."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from bot.cli.common import (
    ConfigOption,
    load,
    out,
)
from bot.domain.door import Gift, Ticket
from bot.settings import Settings

customer = typer.Typer(no_args_is_help=True, help="New customers.")


LanguageOption = Annotated[
    list[str], typer.Option("--lang", help="de or en; may be repeated. Default: the language of the business.")
]


@customer.command("new")
def customer_new(
    config: ConfigOption = None,
    account: Annotated[
        bool | None,
        typer.Option("--account/--token", help="A ready account, or a code to make one with. Default: door.gives."),
    ] = None,
    lang: LanguageOption = [],  # noqa: B006
    to: Annotated[Path, typer.Option("--out", help="Where to print the slip: .pdf or .png.")] = Path("access-slip.pdf"),
) -> None:
    """Let a new customer in: make an account or a registration token, and print the slip; the bot may be running."""
    from bot import door  # noqa: PLC0415 - fonts and printers cost a start 30 MiB and a quarter of a second

    settings = load(config)
    languages, paper = door.languages_of(settings, lang), door.paper(to, private=True)
    wanted = None if account is None else Gift.ACCOUNT if account else Gift.TOKEN
    ticket = asyncio.run(door.let_in(settings, wanted, languages[0]))
    _show_ticket(settings, ticket)
    paper.write(*door.slips(settings, ticket, languages))
    out.print(f"[green]✓[/green] {to} written, A5. Print it, hand it over, then delete the file.", soft_wrap=True)


def _show_ticket(settings: Settings, ticket: Ticket) -> None:
    """Say it before it is printed: a full disk must not lose the only copy of a password."""
    from bot import door  # noqa: PLC0415 - fonts and printers cost a start 30 MiB and a quarter of a second

    match ticket.gift:
        case Gift.ACCOUNT:
            out.print("[green]✓[/green] Account made.")
            out.print(f"User name:       {escape(ticket.account)}", soft_wrap=True)
            out.print(f"First password:  {ticket.secret}")
        case Gift.TOKEN:
            out.print(f"[green]✓[/green] Registration token made, good once, until {ticket.valid_until}.")
            out.print(f"Token:           {ticket.secret}")
            out.print(f"Register at:     {escape(door.register_page(settings))}", soft_wrap=True)
        case Gift.NOTHING:
            out.print(
                "[yellow]•[/yellow] No account was made: homeserver.admin_token_file is not there. Make one on the "
                "server (`register_new_matrix_user`), with a name that says nothing about the customer, and write name "
                "and password on the slip. Who has an account already needs no other.",
                soft_wrap=True,
            )


def sign(
    config: ConfigOption = None,
    lang: LanguageOption = [],  # noqa: B006
    to: Annotated[Path, typer.Option("--out", help="Where to print it: .pdf or .png.")] = Path("counter-sign.pdf"),
) -> None:
    """Print the A5 sign for the counter: how to reach you, without any secret. Asks no server."""
    from bot import door  # noqa: PLC0415 - fonts and printers cost a start 30 MiB and a quarter of a second

    settings = load(config)
    languages, paper = door.languages_of(settings, lang), door.paper(to, private=False)
    paper.write(door.sign(settings, languages))
    out.print(f"[green]✓[/green] {to} written, A5.", soft_wrap=True)
