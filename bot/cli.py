"""The command line: what an admin types. Every failure is a sentence and an exit code, never a traceback."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar, assert_never

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from bot import app, backup, diagnosis, door, envelope, identity, ledger_cli, logs
from bot.domain.door import Gift, Ticket
from bot.domain.errors import Fatal, Transient
from bot.domain.texts import TextsDiffer
from bot.figures import heartbeat_age_s, is_well
from bot.flows import stuck
from bot.kit.answers import QUESTIONS, answers_from, missing, remembered
from bot.kit.writing import Written, next_steps, write
from bot.privacy.loading import load
from bot.privacy.pages import PAGE_FILES, RECORD_FILES, Pages
from bot.resources import resource_dir
from bot.settings import Settings, SettingsProblems, load_settings, load_texts
from bot.store import arrivals
from bot.store.database import utc_now

PLACES = (Path("botschaft.toml"), Path("/config/botschaft.toml"))
T = TypeVar("T")

cli = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they print local variables, which may be anybody's words
    help="A self-hosted Matrix bot for business messaging.",
)
device = typer.Typer(no_args_is_help=True, help="The bot's device and its signatures.")
cli.add_typer(device, name="device")
customer = typer.Typer(no_args_is_help=True, help="New customers.")
cli.add_typer(customer, name="customer")
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="Default: BOTSCHAFT_CONFIG, ./botschaft.toml or /config/botschaft.toml.")
]


def main() -> None:
    """Run a command; turn our own failures into one sentence."""
    try:
        cli()
    except Fatal as error:
        _complain(error)
        raise SystemExit(1) from None
    except OSError as error:
        if error.filename is None:
            raise
        _complain(Fatal(f"{error.filename}: {error.strerror}."))
        raise SystemExit(1) from None
    except Exception as error:  # noqa: BLE001 - a traceback would print values, which may be personal
        _complain(Fatal(f"This is a fault of Botschaft itself: {logs.told(error)}, at {logs.places(error)}."))
        raise SystemExit(70) from None  # EX_SOFTWARE of sysexits.h


def _complain(error: Fatal) -> None:
    for line in str(error).splitlines():
        err.print(f"[red]✗[/red] {escape(line)}", soft_wrap=True)


def _config_path(given: Path | None) -> Path:
    named = given or os.environ.get("BOTSCHAFT_CONFIG")
    if named:
        return Path(named)
    return next((place for place in PLACES if place.is_file()), PLACES[0])


def _load(given: Path | None) -> Settings:
    settings = load_settings(_config_path(given))
    logs.configure(settings.log.level, settings.log.format)
    return settings


cli.add_typer(ledger_cli.commands(_load), name="ledger")


@cli.command()
def run(config: ConfigOption = None) -> None:
    """Serve until stopped."""
    os.umask(0o077)  # what we write is nobody else's; the list of staff says itself who may read it
    path = _config_path(config)
    asyncio.run(_serve(path, _load(path)))


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
    await _until_signal(work, stop_in_order)


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


async def _until_signal(work: Coroutine[Any, Any, T], stop_in_order: Callable[[], bool] = lambda: False) -> T | None:
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


@cli.command("check-config")
def check_config(config: ConfigOption = None) -> None:
    """Check the configuration, the master secret and the texts; print all problems at once."""
    problems: list[str] = []
    path = _config_path(config)
    try:
        settings = load_settings(path)
        found = [settings.storage.secret_problem(), settings.storage.folder_problem(), settings.staff.file_problem()]
        found.append(settings.homeserver.admin_token_problem())
        if not settings.storage.is_used() or settings.bot.has_password_file():
            found.append(settings.bot.password_problem())
        problems += [problem for problem in found if problem]
        problems += _privacy_problems(settings, path)
    except SettingsProblems as error:
        problems += [str(problem) for problem in error.problems]
    try:
        load_texts(resource_dir("config") / "texts")
    except TextsDiffer as error:
        problems += str(error).splitlines()
    if problems:
        _complain(Fatal("\n".join(problems)))
        raise typer.Exit(1)
    out.print("[green]✓[/green] Everything is fine.")


def _privacy_problems(settings: Settings, path: Path) -> list[str]:
    """Return what is wrong with purposes and privacy texts, or that customers cannot be shown any."""
    missing, problems = settings.controller.missing(), []
    if missing:
        problems.append(
            f"{path}: controller: {', '.join(missing)} must be filled in. Until then customers are shown no privacy "
            "text and asked for no consent, which the law does not allow for long; messages are carried."
        )
    try:
        privacy = load(app.operator_of(settings), settings.privacy.folder).privacy
        # Without the secret, which is another problem, the register cannot be read.
        if not missing and not settings.storage.secret_problem():
            problems += asyncio.run(app.changed_texts(settings, privacy))
    except Fatal as error:
        problems += str(error).splitlines()
    return problems


def _pages(config: Path | None) -> Pages:
    """Return what makes pages.

    Raises:
        Fatal: who is responsible is not filled in.
    """
    loaded = app.loaded_privacy(load_settings(_config_path(config)))
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


@cli.command("privacy-page")
def privacy_page(config: ConfigOption = None, folder: OutOption = Path()) -> None:
    """Write the full privacy page in German and English, to be put where controller.privacy_url points."""
    pages = _pages(config)
    _write_pages(folder, {file: pages.privacy_page(language) for language, file in PAGE_FILES.items()})


@cli.command()
def record(config: ConfigOption = None, folder: OutOption = Path()) -> None:
    """Write the record of processing activities (Art. 30 GDPR) in German and English, for your files."""
    pages = _pages(config)
    _write_pages(folder, {file: pages.record(language) for language, file in RECORD_FILES.items()})


@cli.command()
def health(config: ConfigOption = None) -> None:
    """Tell by the exit code whether the bot has heard from the server lately."""
    settings = load_settings(_config_path(config))
    age_s = heartbeat_age_s(settings)
    if age_s is None or not is_well(settings):
        seen = "never" if age_s is None else f"{age_s:.0f} seconds ago"
        raise Fatal(f"The bot last heard from the server {seen}.")
    out.print(f"[green]✓[/green] Heard from the server {age_s:.0f} seconds ago.")


@cli.command()
def doctor(config: ConfigOption = None) -> None:
    """Look at everything and say what to do; the bot may be running.

    Exit code 0: all is well. 1: somebody must do something. 2: something could not be looked at.
    """
    logs.configure("error", "console")
    table, summary, code = diagnosis.shown(
        asyncio.run(diagnosis.diagnose(_config_path(config))), load_texts(resource_dir("config") / "texts")
    )
    out.print(table)
    out.print(summary, soft_wrap=True)
    raise typer.Exit(code)


@cli.command()
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
            default = question.default(answers) if question.default else None
            answer = question.read(typer.prompt(question.text, default=default, show_default=bool(default)))
            if problem := question.problem(answer):
                out.print(f"[yellow]•[/yellow] {escape(problem)}", soft_wrap=True)
            else:
                answers[question.name] = answer
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


@device.command("status")
def device_status(config: ConfigOption = None) -> None:
    """Show the bot's device, its fingerprint and whether the server shows our signatures. Changes nothing."""
    status = asyncio.run(identity.device_status(_load(config)))
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


YesOption = Annotated[bool, typer.Option("--yes", help="Do it without asking.")]


@device.command("sign")
def device_sign(
    config: ConfigOption = None,
    new_recovery_key: Annotated[
        bool, typer.Option("--new-recovery-key", help="Make another one; the old one opens nothing any more.")
    ] = False,
) -> None:
    """See to it that the device is signed and make the recovery key, which is shown once. Stop the bot first."""
    words = asyncio.run(identity.sign_device(_load(config), new_key=new_recovery_key))
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
    if not asyncio.run(identity.trust(_load(config), user)):
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
    settings = _load(config)
    _confirm(
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
    settings = _load(config)
    _confirm(
        "The bot gets a new identity. The apps of all customers and staff will warn that it changed, who has verified "
        "the bot must do so again, and the key backup starts anew: what is in the old one is lost. This cannot be "
        "undone. If you have the recovery key, use `botschaft device recover` instead.",
        yes=yes,
    )
    _show_recovery_key(asyncio.run(identity.reset_identity(settings)))


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
    settings = _load(config)
    languages, paper = door.languages_of(settings, lang), door.paper(to, private=True)
    wanted = None if account is None else Gift.ACCOUNT if account else Gift.TOKEN
    ticket = asyncio.run(door.let_in(settings, wanted, languages[0]))
    _show_ticket(settings, ticket)
    paper.write(*door.slips(settings, ticket, languages))
    out.print(f"[green]✓[/green] {to} written, A5. Print it, hand it over, then delete the file.", soft_wrap=True)


def _show_ticket(settings: Settings, ticket: Ticket) -> None:
    """Say it before it is printed: a full disk must not lose the only copy of a password."""
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
                "and password on the slip. Who has Matrix already does not need one.",
                soft_wrap=True,
            )


@cli.command()
def sign(
    config: ConfigOption = None,
    lang: LanguageOption = [],  # noqa: B006
    to: Annotated[Path, typer.Option("--out", help="Where to print it: .pdf or .png.")] = Path("counter-sign.pdf"),
) -> None:
    """Print the A5 sign for the counter: how to reach you, without any secret. Asks no server."""
    settings = _load(config)
    languages, paper = door.languages_of(settings, lang), door.paper(to, private=False)
    paper.write(door.sign(settings, languages))
    out.print(f"[green]✓[/green] {to} written, A5.", soft_wrap=True)


def _confirm(what: str, *, yes: bool) -> None:
    out.print(what, soft_wrap=True)
    if not yes and not typer.confirm("Go on?"):
        raise Fatal("Nothing was changed.")


@cli.command()
def items(
    config: ConfigOption = None,
    retry: Annotated[list[str], typer.Option(help="Try this item again; may be repeated.")] = [],  # noqa: B006
    drop: Annotated[list[str], typer.Option(help="Discard this item and what it carried; may be repeated.")] = [],  # noqa: B006
) -> None:
    """List what waits or is stuck, by case; the bot may be running."""
    asyncio.run(_items(_load(config), retry, drop))


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


class _Shown:
    """The progress of a long command: a bar for people, one line for each stage for a journal."""

    def __init__(self) -> None:
        self._bars = Progress(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=out)
        self._stage, self._task = "", TaskID(0)

    def __enter__(self) -> "_Shown":
        self._bars.start()
        return self

    def __exit__(self, *what: object) -> None:
        self._bars.stop()

    def __call__(self, stage: str, share: float) -> None:
        if stage != self._stage:
            if self._stage:
                self._bars.update(self._task, completed=1.0)
            self._stage, self._task = stage, self._bars.add_task(stage, total=1.0)
        self._bars.update(self._task, completed=share)


PrivateKey = Annotated[
    Path, typer.Option("--private-key", help="The file that `backup --new-key` wrote, or one of age-keygen.")
]


@cli.command("backup")
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
    settings = _load(config)
    text = _config_path(config).read_text(encoding="utf-8")
    with _Shown() as shown:
        made = asyncio.run(backup.make(settings, text, shown))
    out.print(f"[green]✓[/green] {made.file}", soft_wrap=True)
    out.print(f"[green]✓[/green] {made.size / 1024:.0f} KiB in {made.seconds:.1f} s, sealed and whole.")
    if made.deleted:
        out.print(f"[green]✓[/green] {made.deleted} older ones deleted (backup.keep).")


@cli.command()
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
        with _Shown() as shown:
            _say_checked(asyncio.run(backup.check(file, key, shown)))
        return
    _accept(file, key, config, key_file, yes=yes)


def _accept(file: Path, key: str, config: Path | None, key_file: Path | None, *, yes: bool) -> None:
    if not _config_path(config).exists():
        backup.write_config(file, key, _config_path(config))
        out.print(f"[green]✓[/green] {_config_path(config)} written, as it stands in the backup.", soft_wrap=True)
    settings = _load(config)
    if not settings.bot.secret_password():
        raise Fatal(
            f"The bot's password is not in a backup. Put it into {settings.bot.password_file} (chmod 600), then again."
        )
    _confirm(
        "The bot begins again with this backup, as a new device; its old device is removed, so a bot that still runs "
        "elsewhere ends. What is in the folder now is set aside, not deleted. At the next start the bot looks into its "
        "rooms for all it had sent since the backup, before it sends anything.",
        yes=yes,
    )
    words = key_file.read_text(encoding="utf-8") if key_file else typer.prompt("Recovery key", hide_input=True)
    with _Shown() as shown:
        done = asyncio.run(backup.accept(settings, file, key, words, shown))
    out.print(f"[green]✓[/green] New device {done.device_id}, signed by the bot's old identity.")
    out.print(f"[green]✓[/green] {done.sessions} keys of conversations are back.")
    out.print(f"[green]✓[/green] {done.removed_devices} old devices removed from the account.")
    out.print("Next: botschaft run", soft_wrap=True)


@cli.command()
def drill(private_key: PrivateKey, config: ConfigOption = None) -> None:
    """Restore the newest backup into a temporary folder, check everything there, and say what would be missing."""
    settings = _load(config)
    with _Shown() as shown:
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


@cli.command()
def demo(
    once: Annotated[
        bool, typer.Option("--once", help="End after the conversation; exit 0 only if all of it arrived.")
    ] = False,
) -> None:
    """Start a real server, the bot, a customer and a mechanic on this machine, and show a conversation."""
    from bot.demo import script  # noqa: PLC0415 - the demo needs what production does not have

    logs.configure("error", "console")
    if not asyncio.run(_until_signal(script.run(once=once))) and once:
        raise typer.Exit(1)
