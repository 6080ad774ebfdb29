"""`init`, `check-config`, and the pages that follow from the configuration."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Any, assert_never

import typer
from rich.markup import escape

from bot import app
from bot.cli.common import (
    ConfigOption,
    complain,
    config_path,
    out,
    warn,
)
from bot.domain.errors import Fatal
from bot.domain.texts import TextsDiffer
from bot.kit.answers import QUESTIONS, answers_from, missing, remembered
from bot.kit.writing import Written, next_steps, require_accounts, write
from bot.privacy.pages import PAGE_FILES, RECORD_FILES, Pages
from bot.resources import resource_dir
from bot.settings import Settings, SettingsProblems, load_settings, load_texts


def init(
    *,
    kit: Annotated[
        str | None,
        typer.Option("--kit", help="bot: the bot's own files; compose or systemd: a whole server around it."),
    ] = None,
    user: Annotated[str | None, typer.Option(help="The bot's account, like @werkstatt:example.de.")] = None,
    business: Annotated[str | None, typer.Option(help="Your business, as customers know it.")] = None,
    member: Annotated[list[str], typer.Option(help="Who answers; repeat for each person.")] = [],  # noqa: B006
    admin: Annotated[list[str], typer.Option(help="Who sees alarms; repeat for each person.")] = [],  # noqa: B006
    language: Annotated[str | None, typer.Option(help="de or en; default de.")] = None,
    homeserver: Annotated[str | None, typer.Option(help="With --kit bot: address of your Matrix server.")] = None,
    matrix_host: Annotated[
        str | None, typer.Option(help="Name under which apps find the server; default matrix.<domain>.")
    ] = None,
    element_host: Annotated[str | None, typer.Option(help="Name of the web client; default chat.<domain>.")] = None,
    mail: Annotated[str | None, typer.Option(help="Mail address for the certificates (Let's Encrypt).")] = None,
    federate_with: Annotated[
        list[str],
        typer.Option(help="A server whose people may write to you; repeat for each. Default: none."),
    ] = [],  # noqa: B006
    website: Annotated[
        bool | None, typer.Option("--website/--no-website", help="The domain has a web site on another machine.")
    ] = None,
    folder: Annotated[Path, typer.Option(help="Where to write the files.")] = Path(),
) -> None:
    """Write the configuration and fresh secrets, or a whole server. Asks on a terminal; writes over nothing."""
    options = {
        "kit": kit, "user": user, "business": business, "member": member, "admin": admin, "language": language,
        "homeserver": homeserver, "matrix_host": matrix_host, "element_host": element_host, "mail": mail,
        "federate_with": federate_with, "website": website,
    }  # fmt: skip
    given = remembered(folder) | {name: value for name, value in options.items() if value not in (None, [])}
    answers = answers_from(_asked(given) if _is_terminal() and missing(given) else given)
    for file in write(answers, folder):
        _tell(file)
    for line in next_steps(answers, folder):
        out.print(line, soft_wrap=True, markup=False)


def _is_terminal() -> bool:
    return sys.stdin.isatty()


def _asked(given: dict[str, Any]) -> dict[str, Any]:
    """Ask for everything that was not given, each thing until the answer can be used."""
    answers = dict(given)
    for question in QUESTIONS:
        while question.name not in answers and question.applies(answers):
            default = question.default(answers) if question.default else ""
            out.print(f"\n[bold]{escape(question.text)}[/bold]\n  {escape(question.reason)}", soft_wrap=True)
            label = f"  For example {question.example}" + ("; Enter takes" if default else "")
            typed = typer.prompt(label, default=default, show_default=bool(default))
            answer = question.read(typed)
            if problem := question.problem(answer, answers):
                out.print(f"[yellow]•[/yellow] {escape(problem)}", soft_wrap=True)
            else:
                answers[question.name] = answer
        if question.name == "kit":
            require_accounts(answers["kit"])  # before anybody answers the rest for nothing
    return answers


def _tell(file: Written) -> None:
    match file.state:
        case "written":
            out.print(f"[green]✓[/green] {escape(str(file.path))} written.", soft_wrap=True)
        case "kept":
            out.print(
                f"[yellow]•[/yellow] {escape(str(file.path))} exists already and was left as it is.", soft_wrap=True
            )
        case "differs":
            out.print(
                f"[yellow]•[/yellow] {escape(str(file.path))} exists already and was left as it is. "
                f"What would be written now stands in {escape(file.path.name)}.new",
                soft_wrap=True,
            )
        case _ as never:
            assert_never(never)


def check_config(config: ConfigOption = None) -> None:
    """Check the configuration, the master secret and the texts; print all problems at once."""
    problems: list[str] = []
    path = config_path(config)
    try:
        settings = load_settings(path)
        found = [settings.storage.secret_problem(), settings.storage.folder_problem(), settings.staff.file_problem()]
        found.append(settings.homeserver.admin_token_problem())
        if not settings.storage.is_used() or settings.bot.has_password_file():
            found.append(settings.bot.password_problem())
        problems += [problem for problem in found if problem]
        problems += _privacy_problems(settings)
        _warn_without_controller(settings, path)
        _warn_of_people_elsewhere(settings, path)
    except SettingsProblems as error:
        problems += [str(problem) for problem in error.problems]
    try:
        load_texts(resource_dir("config") / "texts")
    except TextsDiffer as error:
        problems += str(error).splitlines()
    if problems:
        complain(Fatal("\n".join(problems)))
        raise typer.Exit(1)
    out.print("[green]✓[/green] The bot can start.")


def _warn_without_controller(settings: Settings, path: Path) -> None:
    """Say what every start says in the admin room: it carries messages, and that is not enough."""
    absent = ", ".join(settings.controller.missing())
    if absent:
        warn(
            f"{path}: controller: {absent} must be filled in. Until then customers are shown no privacy text and asked "
            "for no consent, which the law does not allow for long; the bot starts and carries messages."
        )


def _warn_of_people_elsewhere(settings: Settings, path: Path) -> None:
    """Say whom the bot could never invite: a server that talks with no other has no accounts of others."""
    home = settings.bot.user_id.partition(":")[2]
    people = {member for desk in settings.desks for member in desk.members} | set(settings.admins)
    elsewhere = sorted(user for user in people if user.partition(":")[2] != home)
    if elsewhere and settings.federation.mode == "closed":
        warn(
            f'{path}: {", ".join(elsewhere)}: not on {home}, and with federation.mode = "closed" nobody from another '
            "server can be reached. Is it a typo?"
        )


def _privacy_problems(settings: Settings) -> list[str]:
    """Return what is wrong with purposes and privacy texts; without a controller they are read as well."""
    problems: list[str] = []
    try:
        privacy = app.read_privacy(settings).privacy
        # Without the secret, which is another problem, the register cannot be read.
        if not settings.controller.missing() and not settings.storage.secret_problem():
            problems += asyncio.run(app.changed_texts(settings, privacy))
    except Fatal as error:
        problems += str(error).splitlines()
    return problems


def _pages(config: Path | None) -> Pages:
    """Return what makes pages.

    Raises:
        Fatal: who is responsible is not filled in.
    """
    loaded = app.loaded_privacy(load_settings(config_path(config)))
    if loaded is None:
        raise Fatal("Nothing was written: fill in [controller] in the configuration first (botschaft check-config).")
    return loaded.pages


def _write_pages(folder: Path, pages: dict[str, str]) -> None:
    """Write pages that anybody may read; older ones of the same name are replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages.items():
        (folder / name).write_text(text, encoding="utf-8")
        out.print(f"[green]✓[/green] {folder / name} written.", soft_wrap=True)


OutOption = Annotated[Path, typer.Option("--out", help="The folder to write into. Default: this one.")]


def privacy_page(config: ConfigOption = None, folder: OutOption = Path()) -> None:
    """Write the full privacy page in German and English, to be put where controller.privacy_url points."""
    pages = _pages(config)
    _write_pages(folder, {file: pages.privacy_page(language) for language, file in PAGE_FILES.items()})


def record(config: ConfigOption = None, folder: OutOption = Path()) -> None:
    """Write the record of processing activities (Art. 30 GDPR) in German and English, for your files."""
    pages = _pages(config)
    _write_pages(folder, {file: pages.record(language) for language, file in RECORD_FILES.items()})
