"""The configuration: what is refused, where it says the fault stands, and who wins."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from bot.app import rules_of
from bot.domain.errors import Fatal
from bot.resources import resource_dir
from bot.settings import Settings, SettingsProblems, StorageSettings, load_settings, load_texts
from bot.settings.business import DeskSettings
from bot.settings.judging import problem_of

EXAMPLE = (resource_dir("config") / "botschaft.example.toml").read_text(encoding="utf-8")
URL = 'url = "https://matrix.example.de"'
ADMINS = 'admins = ["@chefin:example.de"]'
MEMBERS = 'members = ["@jan:example.de", "@eva:example.de"]'
SECOND_DESK = '\n[[desks]]\nid = "teile"\nname = "Teile"\nmembers = ["@kim:example.de"]\n'

Write = Callable[[str], Path]


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BOTSCHAFT_CONFIG", "BOTSCHAFT_BOT__PASSWORD", "BOTSCHAFT_STORAGE__FOLDER"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a configuration and return where it stands."""

    def written(text: str) -> Path:
        path = tmp_path / "botschaft.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return written


def example_with(*changes: tuple[str, str]) -> str:
    text = EXAMPLE
    for old, new in changes:
        assert text.count(old) == 1, f"{old!r} must stand in the example once"
        text = text.replace(old, new)
    return text


def line_of(text: str, start: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), 1) if line.startswith(start))


def problems_of(path: Path) -> list[str]:
    with pytest.raises(SettingsProblems) as caught:
        load_settings(path)
    assert str(caught.value) == "\n".join(str(problem) for problem in caught.value.problems)
    return [str(problem) for problem in caught.value.problems]


def test_the_example_is_a_configuration(write: Write) -> None:
    path = write(EXAMPLE)

    settings = load_settings(path)

    assert settings.desks[0].members == ["@jan:example.de", "@eva:example.de"]
    assert settings.storage.folder == path.parent / "data"
    assert settings.storage.master_secret_file == path.parent / "master.secret"
    assert settings.bot.password_file == path.parent / "bot.password"


def test_the_example_shows_the_defaults(write: Write) -> None:
    everything = load_settings(write(EXAMPLE))
    optional = ("request_timeout_s", "sync_timeout_s", "allow_insecure_http", "device_name", "language", "admin_url")
    short = "\n".join(line for line in EXAMPLE.splitlines() if not line.startswith(optional))

    bare = load_settings(write(short.partition("[cases]")[0]))

    assert bare.model_dump() == everything.model_dump()


def test_nothing_can_be_changed_afterwards(write: Write) -> None:
    settings = load_settings(write(EXAMPLE))

    with pytest.raises(ValidationError):
        settings.business.name = "Somebody else"


def test_all_problems_come_at_once_each_with_its_line(write: Write) -> None:
    text = example_with(
        (URL, 'url = "ftp://matrix"'),
        (ADMINS, 'admins = ["chefin"]'),
        ("reopen_days = 14", 'reopen_days = "soon"'),
        ("burst = 400", "burts = 400"),
        ('level = "info"', 'level = "loud"'),
    )
    path = write(text)

    found = problems_of(path)

    assert len(found) == 5
    for start in ('url = "ftp', "admins", "reopen_days", "burts", "level"):
        assert [p for p in found if p.startswith(f"{path}:{line_of(text, start)}: ")], (start, found)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("reopen_days = 14", "reopen_day = 14", "unknown key cases.reopen_day; did you mean `reopen_days`?"),
        ("[customers]", "[custommers]", "unknown key custommers; did you mean `customers`?"),
        (MEMBERS, f"{MEMBERS}\nmember = []", "unknown key desks.0.member; did you mean `members`?"),
        ("burst = 400", "burst = 400\nxyz = 1", "unknown key customers.xyz; known here: automatic_answers_per_hour, "),
        (ADMINS, "", "admins is missing"),
        (MEMBERS, "members = []", "desks.0.members: "),
        (ADMINS, "admins = []", "admins: "),
        ('user_id = "@werkstatt:example.de"', 'user_id = "@Werkstatt:example.de"', "expected a Matrix user id like"),
        (ADMINS, 'admins = ["@werkstatt:example.de"]', "bot.user_id: the bot itself cannot be a member"),
        ('gives = "account"', 'gives = "token"', "door.web_client: with gives = "),
        ('web_client = ""', 'web_client = "http://chat.example.de"', "door.web_client: expected an address like https"),
        ('web_client = ""', 'web_client = "https://chat.example.de/#/x"', "door.web_client: expected an address like"),
        ('server = ""', 'server = "https://example.de"', "door.server: "),
        ('admin_url = ""', 'admin_url = "http://synapse:8008"', "homeserver.admin_url: expected https"),
        ('listen = ""', 'listen = "9464"', "web.listen: expected an address and a port"),
        ('format = "console"', 'format = "xml"', "log.format: expected 'console' or 'json'"),
    ],
)
def test_a_problem_says_what_was_expected(write: Write, old: str, new: str, expected: str) -> None:
    assert expected in "\n".join(problems_of(write(example_with((old, new)))))


def test_a_section_that_is_a_value_is_told_apart(write: Write) -> None:
    text = "log = 1\n" + EXAMPLE.partition("[log]")[0]

    found = problems_of(path := write(text))

    assert found == [f"{path}:1: log: expected a section with keys of its own"]


def test_a_fault_in_the_second_desk_is_found_there(write: Write) -> None:
    text = EXAMPLE + SECOND_DESK.replace("@kim:example.de", "kim")
    path = write(text)

    (found,) = problems_of(path)

    assert found.startswith(f"{path}:{len(text.splitlines())}: desks.1.members.0: expected a Matrix user id")


def test_what_a_desk_lacks_is_reported_at_its_header(write: Write) -> None:
    text = EXAMPLE + SECOND_DESK.replace('name = "Teile"\n', "")
    path = write(text)

    assert problems_of(path) == [f"{path}:{len(text.splitlines()) - 2}: desks.1.name is missing"]


def test_two_desks_need_two_ids_even_when_something_else_is_wrong(write: Write) -> None:
    text = example_with(("burst = 400", "burst = 0")) + SECOND_DESK.replace('"teile"', '"annahme"')

    found = "\n".join(problems_of(write(text)))

    assert "each desk needs its own id; annahme stands there more than once" in found
    assert "customers.burst: expected 1 or more" in found


WRONG: tuple[Any, ...] = (
    "",
    "x",
    10**30,
    -(10**9),
    1.5,
    True,
    [],
    ["x"],
    [1],
    {},
    {"x": 1},
    datetime(2026, 1, 1, 1, tzinfo=UTC),
)


def places(model: type[BaseModel], *before: str) -> Iterator[tuple[str, ...]]:
    """Yield every section and key of a part of the configuration."""
    for name, field in model.model_fields.items():
        yield (*before, name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from places(field.annotation, *before, name)


@pytest.mark.parametrize("place", [*places(Settings), *places(DeskSettings, "desks", "0")], ids=".".join)
def test_whatever_is_wrong_is_said_in_our_words(place: tuple[str, ...], tmp_path: Path) -> None:
    """None of pydantic's own sentences, and none of its kinds of errors that we have no sentence for."""
    refused = []
    for value in WRONG:
        tree: Any = {"desks": [{"id": "a", "name": "A", "members": ["@jan:example.de"]}]}
        inner = tree
        for part in place[:-1]:
            inner = inner[int(part)] if isinstance(inner, list) else inner.setdefault(part, {})
        inner[place[-1]] = value
        try:
            Settings.model_validate(tree)
        except ValidationError as error:
            refused += [str(problem_of(tmp_path, "", detail)) for detail in error.errors()]

    assert refused
    for sentence in refused:
        assert not re.search(r"Input should|Field required|cannot be used|valid |pydantic|\{", sentence), sentence


def test_a_syntax_error_has_its_line(write: Write) -> None:
    text = example_with(("[cases]", "[cases"))
    path = write(text)

    (found,) = problems_of(path)

    assert found.startswith(f"{path}:{line_of(text, '[cases')}: this is not TOML")


def test_a_missing_file_names_the_command_that_writes_one(tmp_path: Path) -> None:
    assert "botschaft init" in problems_of(tmp_path / "nothing.toml")[0]


def test_a_file_that_is_not_text_is_a_problem_and_no_crash(tmp_path: Path) -> None:
    path = tmp_path / "botschaft.toml"
    path.write_bytes(b"\xff\xfe\x00")

    assert "cannot be read" in problems_of(path)[0]


def test_a_password_in_the_file_is_refused_and_not_repeated(write: Write) -> None:
    text = example_with(("device_name =", 'password = "hunter2-hunter2"\ndevice_name ='))
    path = write(text)

    (found,) = problems_of(path)

    assert found.startswith(f"{path}:{line_of(text, 'password =')}: a secret must not stand here")
    assert "BOTSCHAFT_BOT__PASSWORD" in found
    assert "hunter2" not in found


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://matrix.example.de", True),
        ("http://localhost:8008", True),
        ("http://127.0.0.1:8008", True),
        ("http://[::1]:8008", True),
        ("http://matrix.example.de", False),
        ("http://synapse:8008", False),
        ("http://localhost.example.de", False),
        ("matrix.example.de", False),
        ("https://", False),
    ],
)
def test_plain_http_is_for_this_machine(write: Write, url: str, allowed: bool) -> None:
    path = write(example_with((URL, f'url = "{url}"')))

    if allowed:
        assert load_settings(path).homeserver.url == url
    else:
        assert "homeserver.url: expected" in problems_of(path)[0]


def test_plain_http_elsewhere_has_to_be_said(write: Write) -> None:
    choice = ("allow_insecure_http = false", "allow_insecure_http = true")

    settings = load_settings(write(example_with((URL, 'url = "http://synapse:8008"'), choice)))

    assert settings.homeserver.url == "http://synapse:8008"


def test_the_environment_wins(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOTSCHAFT_CASES__REOPEN_DAYS", "3")
    monkeypatch.setenv("BOTSCHAFT_STORAGE__FOLDER", "/data")
    monkeypatch.setenv("BOTSCHAFT_CUSTOMERS__IGNORED", '["@bot:example.de"]')
    monkeypatch.setenv("BOTSCHAFT_CONFIG", "elsewhere.toml")
    monkeypatch.setenv("BOTSCHAFT_PORT", "tcp://10.0.0.1:80")

    settings = load_settings(write(EXAMPLE))

    assert settings.cases.reopen_days == 3
    assert settings.storage.folder == Path("/data")
    assert settings.customers.ignored == ["@bot:example.de"]
    assert settings.cases.first_number == 1001


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("BOTSCHAFT_HOMESERVER__URLL", "x", "BOTSCHAFT_HOMESERVER__URLL: unknown key homeserver.urll; did you mean"),
        ("BOTSCHAFT_HOMSERVER__URL", "x", "BOTSCHAFT_HOMSERVER__URL: unknown section homserver; did you mean"),
        ("BOTSCHAFT_CASES__REOPEN_DAYS", "soon", "BOTSCHAFT_CASES__REOPEN_DAYS: cases.reopen_days: expected a number"),
        ("botschaft_cases__reopen_days", "soon", "BOTSCHAFT_CASES__REOPEN_DAYS: cases.reopen_days: expected a number"),
        ("BOTSCHAFT_ADMINS", '["x"]', "BOTSCHAFT_ADMINS: admins.0: expected a Matrix user id"),
        ("BOTSCHAFT_DESKS", "annahme", "BOTSCHAFT_DESKS: expected JSON"),
        ("BOTSCHAFT_BOT", "werkstatt", "BOTSCHAFT_BOT: expected JSON"),
        ("BOTSCHAFT_CUSTOMERS__IGNORED", "@a:b.de", "BOTSCHAFT_CUSTOMERS__IGNORED: expected JSON"),
    ],
)
def test_a_problem_from_the_environment_names_its_variable(
    write: Write, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, expected: str
) -> None:
    monkeypatch.setenv(variable, value)

    (found,) = problems_of(write(EXAMPLE))

    assert found.startswith(expected)


def test_the_password_comes_from_the_environment_before_the_file(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(EXAMPLE)
    assert load_settings(path).bot.secret_password() is None

    (path.parent / "bot.password").write_text("from the file\n")
    (path.parent / "bot.password").chmod(0o600)
    assert load_settings(path).bot.secret_password() == "from the file"

    monkeypatch.setenv("BOTSCHAFT_BOT__PASSWORD", "from the environment")
    settings = load_settings(path)
    assert settings.bot.secret_password() == "from the environment"
    assert "from the environment" not in repr(settings)


def a_storage(folder: Path, content: bytes, mode: int = 0o600) -> StorageSettings:
    file = folder / "master.secret"
    file.write_bytes(content)
    file.chmod(mode)
    return StorageSettings(folder=folder, master_secret_file=file)


def test_the_master_secret_is_32_bytes(tmp_path: Path) -> None:
    assert a_storage(tmp_path, b"0f" * 32 + b"\n").master_secret() == b"\x0f" * 32


@pytest.mark.parametrize(
    ("content", "mode", "sentence"),
    [
        (b"0f" * 31, 0o600, "is not 64 hexadecimal digits"),
        (b"zz" * 32, 0o600, "is not 64 hexadecimal digits"),
        (b"\xff" * 64, 0o600, "is not 64 hexadecimal digits"),
        (b"", 0o600, "is not 64 hexadecimal digits"),
        (b"0f" * 32, 0o640, "chmod 600"),
        (b"0f" * 32, 0o604, "chmod 600"),
    ],
)
def test_a_bad_master_secret_stops_with_a_sentence(tmp_path: Path, content: bytes, mode: int, sentence: str) -> None:
    storage = a_storage(tmp_path, content, mode)

    with pytest.raises(Fatal, match=sentence):
        storage.master_secret()


def test_a_missing_master_secret_is_never_a_new_start(tmp_path: Path) -> None:
    storage = StorageSettings(folder=tmp_path, master_secret_file=tmp_path / "master.secret")

    with pytest.raises(Fatal, match="is missing"):
        storage.master_secret()
    assert not storage.master_secret_file.exists()


def test_texts_that_are_not_toml_name_their_file(tmp_path: Path) -> None:
    (tmp_path / "de.toml").write_text("[customer")

    with pytest.raises(ValueError, match=r"de\.toml: this is not TOML"):
        load_texts(tmp_path)


def test_a_desk_has_hours_and_a_language_of_its_own(write: Write) -> None:
    own = 'language = "en"\nwhen_closed = "annahme"\nhours = { friday = [], saturday = ["08:00-12:00"], holidays = "AT-9" }\n'
    settings = load_settings(write(EXAMPLE + SECOND_DESK + own))
    business, desk = settings.hours.hours(), settings.hours.at(settings.desks[1].hours).hours()

    assert business
    assert desk
    assert settings.hours.at(settings.desks[0].hours).hours() == business
    assert (desk.weekly[3], desk.weekly[4], desk.weekly[5]) == (business.weekly[3], (), ((480, 720),))
    assert (desk.zone, desk.closed) == (business.zone, business.closed)
    assert (desk.is_holiday(date(2026, 10, 26)), business.is_holiday(date(2026, 10, 26))) == (True, False)
    first, second = rules_of(settings).desks
    assert (first.hours, first.language, first.when_closed) == (None, "", None)
    assert (second.hours, second.language, second.when_closed) == (desk, "en", "annahme")


@pytest.mark.parametrize(
    ("own", "problem"),
    [
        ('when_closed = "teile"', "when_closed of teile: expected the id of another desk"),
        ('when_closed = "nowhere"', "when_closed of teile: expected the id of another desk"),
        ('hours = { time_zone = "Europe/Berlin" }', "unknown key desks.1.hours.time_zone"),
        ('hours = { monday = ["12-13"] }', 'desks.1.hours.monday.0: expected hours like "07:30-12:00"'),
        ("hours = { monday = [], tuesday = [], wednesday = [], thursday = [], friday = [] }", "teile would never open"),
        ('language = "fr"', "desks.1.language: expected"),
    ],
)
def test_what_a_desk_cannot_have_is_refused(write: Write, own: str, problem: str) -> None:
    [said] = problems_of(write(EXAMPLE + SECOND_DESK + own))
    assert problem in said


def test_a_table_of_a_desk_is_found_where_it_stands(write: Write) -> None:
    text = EXAMPLE + SECOND_DESK + "[desks.hours]\nsonday = []\n"
    [said] = problems_of(write(text))
    assert said.startswith(f"{write(text)}:{line_of(text, 'sonday')}: unknown key desks.1.hours.sonday")
