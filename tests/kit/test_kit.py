"""The hosting kit: what is asked, what is written, what is kept, and what each file promises."""

import io
import json
import os
import pwd
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

from bot import cli
from bot.domain.errors import Fatal
from bot.kit.answers import QUESTIONS, Answers, Question, answers_from, missing
from bot.kit.writing import write
from bot.resources import resource_dir
from bot.settings import load_settings
from tests.conftest import require

yaml = pytest.importorskip("yaml")

GIVEN = {
    "user": "@werkstatt:example.de",
    "business": 'Werkstatt "Müller" & Söhne: {{ 7 * 7 }}',
    "member": ["@jan:example.de", "@eva:example.de"],
    "admin": ["@chefin:example.de"],
    "mail": "chefin@example.de",
}
SECRETS = {
    "compose": {
        *("bot/master.secret", "bot/bot.password", "postgres/password", "synapse/pgpass", "synapse/signing.key"),
        *("synapse/registration.secret", "synapse/macaroon.secret", "synapse/form.secret"),
    },
    "systemd": {
        *("bot/master.secret", "bot/bot.password", "synapse/signing.key"),
        *("synapse/registration.secret", "synapse/macaroon.secret", "synapse/form.secret"),
    },
}
KINDS = ("compose", "systemd")


def answered(kit: str, **more: Any) -> Answers:
    return answers_from(GIVEN | {"kit": kit} | more)


@pytest.fixture(autouse=True)
def _not_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else's accounts are needed to look at the files."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)


def made(folder: Path, kit: str, **more: Any) -> Path:
    assert {file.state for file in write(answered(kit, **more), folder)} == {"written"}
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def compose(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((folder / "compose.yaml").read_text())
    return loaded


def homeserver(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((folder / "synapse/homeserver.yaml").read_text())
    return loaded


@pytest.mark.parametrize("kit", KINDS)
def test_every_file_can_be_read_by_what_reads_it(tmp_path: Path, kit: str) -> None:
    folder = made(tmp_path, kit)

    for path in folder.rglob("*.yaml"):
        assert yaml.safe_load(path.read_text())
    assert json.loads((folder / "element/config.json").read_text())["brand"] == GIVEN["business"]
    assert json.loads((folder / "well-known/matrix/client").read_text()) == {
        "m.homeserver": {"base_url": "https://matrix.example.de"}
    }
    settings = load_settings(folder / "bot/botschaft.toml")
    assert settings.business.name == GIVEN["business"]
    assert settings.staff.file
    assert str(settings.staff.file).endswith("/staff/staff.txt")
    assert str(settings.backup.target).endswith("/backups")
    assert settings.door.web_client == "https://chat.example.de"
    assert homeserver(folder)["modules"][0]["config"]["staff_file"].endswith("/staff/staff.txt")
    assert (folder / "synapse/modules/botschaft_staff_join/__init__.py").is_file()
    assert settings.door.web_client == "https://chat.example.de"
    assert settings.storage.secret_problem() == settings.bot.password_problem() == ""
    assert "{{" not in re.sub(r"\{\{ 7 \* 7 \}\}", "", "".join(file.read_text() for file in folder.rglob("*.*")))


@pytest.mark.parametrize("kit", KINDS)
def test_secrets_are_fresh_private_and_nowhere_else(tmp_path: Path, kit: str) -> None:
    one, two = made(tmp_path / "one", kit), made(tmp_path / "two", kit)

    private = {name for name, _ in tree(one).items() if (one / name).stat().st_mode & 0o777 == 0o600}
    assert private == SECRETS[kit] | {"bot/botschaft.toml"}
    for name in SECRETS[kit]:
        secret = (one / name).read_bytes().strip()
        assert len(secret) >= 32
        assert secret != (two / name).read_bytes().strip()
        assert [other for other, content in tree(one).items() if secret in content and other != name] == [
            "synapse/pgpass"
        ] * (name == "postgres/password")


@pytest.mark.parametrize("kit", KINDS)
def test_a_second_run_changes_nothing(tmp_path: Path, kit: str) -> None:
    before = tree(made(tmp_path, kit))

    assert {file.state for file in write(answered(kit), tmp_path)} == {"kept"}

    assert tree(tmp_path) == before


def test_what_was_edited_stays_and_what_is_new_stands_beside_it(tmp_path: Path) -> None:
    made(tmp_path, "compose")
    edited = tmp_path / "Caddyfile"
    edited.write_text("# by hand\n")
    (tmp_path / "synapse/form.secret").unlink()
    secret = (tmp_path / "bot/master.secret").read_bytes()

    states = {str(file.path.relative_to(tmp_path)): file.state for file in write(answered("compose"), tmp_path)}

    assert {name for name, state in states.items() if state != "kept"} == {"Caddyfile", "synapse/form.secret"}
    assert (states["Caddyfile"], states["synapse/form.secret"]) == ("differs", "written")
    assert edited.read_text() == "# by hand\n"
    assert "matrix.example.de {" in (tmp_path / "Caddyfile.new").read_text()
    assert (tmp_path / "bot/master.secret").read_bytes() == secret


def test_a_database_password_that_is_kept_is_the_one_that_synapse_gets(tmp_path: Path) -> None:
    made(tmp_path, "compose")
    (tmp_path / "synapse/pgpass").unlink()

    list(write(answered("compose"), tmp_path))

    password = (tmp_path / "postgres/password").read_text().strip()
    assert (tmp_path / "synapse/pgpass").read_text().strip() == f"*:*:*:synapse:{password}"


def test_a_run_that_dies_leaves_no_half_written_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", die)
    with pytest.raises(OSError, match="No space"):
        list(write(answered("compose"), tmp_path))

    assert tree(tmp_path) == {}


def test_root_gives_each_service_its_own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "chown", lambda path, user, group: given.setdefault(Path(path).name, user))

    made(tmp_path, "compose")

    assert given.items() >= {"bot": 10001, "synapse": 991, "media": 991, "postgres": 999, "caddy": 0}.items()


def test_accounts_that_are_missing_are_a_sentence_before_the_first_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(pwd, "getpwall", list)
    with pytest.raises(Fatal, match="useradd --system --user-group botschaft; useradd --system --user-group synapse"):
        list(write(answered("systemd"), tmp_path / "kit"))

    assert not (tmp_path / "kit").exists()


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"mail": "chefin"}, "--mail: expected an address"),
        ({"matrix_host": "matrix.example.de {"}, "--matrix-host: expected a name"),
        ({"element_host": "matrix.example.de"}, "three different names"),
        ({"user": "@werkstatt:localhost", "member": ["@jan:localhost"]}, "expected a name like"),
        ({"member": ["@jan:elsewhere.example"]}, "@jan:elsewhere.example: on no server that may write to example.de"),
        ({"federate_with": ["https://other.example"]}, "--federate-with: expected a name"),
        ({"kit": "kubernetes"}, "--kit: expected 'bot', 'compose' or 'systemd'"),
        ({"business": ""}, "--business: "),
        ({"admin": ["@werkstatt:example.de"]}, "the bot itself cannot be a member"),
    ],
)
def test_nothing_is_written_before_everything_is_right(tmp_path: Path, wrong: dict[str, Any], expected: str) -> None:
    with pytest.raises(Fatal, match="Nothing was written") as refused:
        list(write(answered("compose", **wrong) if "kit" not in wrong else answers_from(GIVEN | wrong), tmp_path))

    assert expected in str(refused.value)
    assert tree(tmp_path) == {}


def test_what_is_needed_is_named_by_its_options() -> None:
    assert missing({"kit": "compose"}) == ["--business", "--user", "--mail", "--member", "--admin"]
    assert missing({}) == ["--business", "--user", "--member", "--admin"]


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.name)
def test_every_example_is_an_answer_and_nothing_is_one_only_where_there_is_a_default(question: Question) -> None:
    assert question.problem(question.read(question.example), {}) == ""
    assert question.problem(question.read(""), {}) or question.default


def run(monkeypatch: pytest.MonkeyPatch, typed: str | None, *words: str) -> int:
    """Run `init` with somebody who types, or with nobody at a terminal."""
    monkeypatch.setattr(sys, "argv", ["botschaft", "init", *words])
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed or ""))
    monkeypatch.setattr("bot.cli.setting_up._is_terminal", lambda: typed is not None)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_on_a_terminal_everything_is_asked_until_it_is_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = (
        "compose\n\nWerkstatt Müller\nwerkstatt\n@werkstatt:example.de\n\nmatrix.example.de\nchat.example.de\nmaybe\nja\nother.example\n"
        "not a mail\nchefin@example.de\n@jan:exmaple.de\n@jan:example.de, @eva:example.de\n@chefin:example.de\nen\n"
    )

    assert run(monkeypatch, typed, "--folder", str(tmp_path)) == 0

    printed = capsys.readouterr().out
    assert "expected a Matrix user id" in printed
    assert "expected an address like" in printed
    assert "this is needed" in printed
    assert "three different names" in printed
    assert "expected yes or no" in printed
    assert "@jan:exmaple.de: on no server that may write to example.de" in printed
    assert "chown -R 10001:10001" in printed
    assert json.loads((tmp_path / "kit.json").read_text()) == {
        "kit": "compose",
        "business": "Werkstatt Müller",
        "user": "@werkstatt:example.de",
        "member": ["@jan:example.de", "@eva:example.de"],
        "admin": ["@chefin:example.de"],
        "language": "en",
        "homeserver": "",
        "matrix_host": "matrix.example.de",
        "element_host": "chat.example.de",
        "mail": "chefin@example.de",
        "federate_with": ["other.example"],
        "website": True,
    }


@pytest.mark.parametrize(("typed", "words"), [("systemd\n", []), ("", ["--kit", "systemd"])])
def test_missing_accounts_are_told_before_anything_else_is_asked(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    typed: str,
    words: list[str],
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(pwd, "getpwall", list)

    assert run(monkeypatch, typed, *words, "--folder", str(tmp_path)) == 1

    printed = capsys.readouterr()
    assert "useradd --system --user-group botschaft; useradd --system --user-group synapse" in printed.err
    assert "The name of your business" not in printed.out
    assert tree(tmp_path) == {}


def test_a_second_run_remembers_the_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made(tmp_path, "compose")
    before = tree(tmp_path)

    assert run(monkeypatch, "", "--folder", str(tmp_path)) == 0

    assert "written." not in capsys.readouterr().out
    assert tree(tmp_path) == before


def test_away_from_a_terminal_nothing_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, None, "--kit", "systemd", "--folder", str(tmp_path), "--user", "@w:example.de") == 1

    assert "Still needed: --business, --mail, --member, --admin." in capsys.readouterr().err
    assert tree(tmp_path) == {}


def test_answers_that_cannot_be_read_are_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "kit.json").write_text("{")

    assert run(monkeypatch, None, "--folder", str(tmp_path)) == 1

    assert "is not JSON" in capsys.readouterr().err


def versions() -> dict[str, str]:
    text = (resource_dir("deploy") / "versions.env").read_text()
    return dict(re.findall(r"^(\w+)=(.+)$", text, re.MULTILINE))


def test_versions_stand_in_one_place_and_are_those_that_are_tested() -> None:
    root = Path(__file__).parents[2]
    pins = (root / "constraints.txt").read_text()
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]

    assert f"matrix-synapse=={versions()['SYNAPSE_VERSION']} " in pins
    assert versions()["BOTSCHAFT_VERSION"] == project["version"]
    assert f"ARG BASE=docker.io/library/python:{versions()['PYTHON_VERSION']}-slim-bookworm" in (
        (root / "Dockerfile").read_text()
    )


def test_every_image_takes_its_tag_from_there(tmp_path: Path) -> None:
    folder = made(tmp_path, "compose")

    used = [re.search(r":v?\$\{(\w+):\?\}", service["image"]) for service in compose(folder)["services"].values()]

    assert {match.group(1) for match in used if match} == set(versions()) - {"PYTHON_VERSION"}
    assert all(used)
    assert (folder / ".env").read_text() == (resource_dir("deploy") / "versions.env").read_text()


def test_every_container_is_shut_as_far_as_it_can_be(tmp_path: Path) -> None:
    services = compose(made(tmp_path, "compose"))["services"]

    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["healthcheck"]["test"], name
        assert "privileged" not in service, name
    assert [name for name, service in services.items() if "user" not in service] == ["caddy"]
    assert {name: service["cap_add"] for name, service in services.items() if "cap_add" in service} == {
        "caddy": ["NET_BIND_SERVICE"]
    }
    assert [name for name, service in services.items() if "ports" in service] == ["caddy"]


def test_the_bot_reaches_synapse_and_nothing_else(tmp_path: Path) -> None:
    loaded = compose(made(tmp_path, "compose"))
    networks = {name: set(service["networks"]) for name, service in loaded["services"].items()}

    assert networks["bot"] == {"bot"}
    assert {name for name, used in networks.items() if "bot" in used} == {"bot", "synapse"}
    assert {name for name, used in networks.items() if "database" in used} == {"postgres", "synapse"}
    assert {name for name, network in loaded["networks"].items() if not network.get("internal")} == {"outside"}
    assert {name for name, used in networks.items() if "outside" in used} == {"caddy", "synapse"}


def test_secrets_are_mounted_only_where_they_belong(tmp_path: Path) -> None:
    folder = made(tmp_path, "compose")

    mounts = {
        name: {volume.split(":")[0] for volume in service.get("volumes", [])}
        for name, service in compose(folder)["services"].items()
    }

    assert [name for name, paths in mounts.items() if "./bot" in paths] == ["bot"]
    assert [name for name, paths in mounts.items() if "./synapse" in paths] == ["synapse"]
    assert {path for paths in mounts.values() for path in paths if not (folder / path).exists()} == set()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # those of Synapse about itself
@pytest.mark.parametrize("kit", KINDS)
@pytest.mark.parametrize("federate_with", [[], ["other.example"]])
def test_synapse_itself_accepts_its_configuration(tmp_path: Path, kit: str, federate_with: list[str]) -> None:
    config = pytest.importorskip("synapse.config.homeserver").HomeServerConfig
    folder = made(tmp_path, kit, federate_with=federate_with)
    file = folder / "synapse/homeserver.yaml"
    local = (
        file.read_text().replace('"/config/', f'"{folder}/synapse/').replace('"/media"', f'"{folder}/synapse/media"')
    )
    file.write_text(local)

    loaded = config.load_config("kit", ["-c", str(file)])

    assert set(loaded.federation.federation_domain_whitelist) == set(federate_with)
    assert loaded.key.key_servers == []
    assert loaded.registration.enable_registration
    assert loaded.registration.registration_requires_token
    assert not loaded.registration.account_threepid_delegate_msisdn
    assert not loaded.media.url_preview_enabled
    assert not loaded.push.push_include_content
    assert not loaded.metrics.report_stats
    assert not loaded.server.presence_enabled
    assert loaded.room.encryption_enabled_by_default_for_room_presets
    assert loaded.server.redaction_retention_period == 24 * 3600 * 1000
    assert loaded.server.user_ips_max_age == 7 * 24 * 3600 * 1000
    names = [name for listener in loaded.server.listeners for name in listener.http_options.resources[0].names]
    assert names == (["client", "federation"] if federate_with else ["client"])
    told = load_settings(folder / "bot/botschaft.toml").federation.mode
    assert told == ("listed" if federate_with else "closed"), "what customers are told is what the server does"
    assert bool(loaded.key.signing_key)


@pytest.mark.parametrize("federate_with", [[], ["other.example"]])
def test_every_hardening_line_says_why(tmp_path: Path, federate_with: list[str]) -> None:
    folder = made(tmp_path, "compose", federate_with=federate_with)
    text = (folder / "synapse/homeserver.yaml").read_text()
    lines = text.split("# ---- Who can be written to ----")[1].splitlines()
    settings = [number for number, line in enumerate(lines) if re.match(r"[a-z_0-9]+:", line)]

    assert len(settings) > 25
    assert [lines[number] for number in settings if not lines[number - 1].startswith("# ")] == []


def test_element_asks_nobody_but_its_own_server(tmp_path: Path) -> None:
    text = (made(tmp_path, "compose") / "element/config.json").read_text()

    assert set(re.findall(r"https?://[^\"]+", text)) == {"https://matrix.example.de", "https://chat.example.de"}
    config = json.loads(text)
    assert "m.identity_server" not in config["default_server_config"]
    assert not {"bug_report_endpoint_url", "posthog", "sentry", "jitsi", "map_style_url"} & set(config)


@pytest.mark.parametrize(
    "more", [{}, {"federate_with": ["other.example"]}, {"website": True}], ids=["closed", "allow-list", "website"]
)
@pytest.mark.parametrize("kit", KINDS)
def test_caddy_accepts_its_file(tmp_path: Path, kit: str, more: dict[str, Any]) -> None:
    require(shutil.which("caddy") is not None, "caddy")
    folder = made(tmp_path, kit, **more)

    ended = subprocess.run(
        ["caddy", "adapt", "--validate", "--config", "Caddyfile", "--adapter", "caddyfile"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"HOME": str(tmp_path)},
    )

    assert ended.returncode == 0, ended.stderr
    hosts = set(re.findall(r'"([a-z.]+\.de)"', ended.stdout))
    expected = {"matrix.example.de", "chat.example.de", "example.de"} - ({"example.de"} if "website" in more else set())
    assert hosts & {"matrix.example.de", "chat.example.de", "example.de"} == expected
    assert ("/_matrix/federation/*" in ended.stdout) == ("federate_with" in more)


def test_compose_accepts_its_file(tmp_path: Path) -> None:
    command = _compose_command()
    require(bool(command), "docker compose")
    folder = made(tmp_path, "compose")

    ended = subprocess.run([*command, "config"], cwd=folder, capture_output=True, text=True, check=False)

    assert ended.returncode == 0, ended.stderr
    images = {service["image"] for service in yaml.safe_load(ended.stdout)["services"].values()}
    assert f"docker.io/matrixdotorg/synapse:v{versions()['SYNAPSE_VERSION']}" in images
    assert [image for image in images if not re.search(r":v?\d+\.\d+(\.\d+)?(-\w+)?$", image)] == []


def _compose_command() -> list[str]:
    for command in (["docker", "compose"], ["docker-compose"]):
        if (
            shutil.which(command[0])
            and subprocess.run([*command, "version"], capture_output=True, check=False).returncode == 0
        ):
            return command
    return []


@pytest.mark.parametrize("name", ["botschaft", "synapse"])
def test_systemd_accepts_its_unit_and_finds_it_shut(tmp_path: Path, name: str) -> None:
    require(shutil.which("systemd-analyze") is not None, "systemd-analyze")
    unit = made(tmp_path, "systemd") / f"{name}.service"
    here = tmp_path / "here" / unit.name
    here.parent.mkdir()
    here.write_text(re.sub(r"ExecStart=\S+", "ExecStart=/bin/true", unit.read_text()))

    verified = subprocess.run(["systemd-analyze", "verify", here], capture_output=True, text=True, check=False)
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", here],
        capture_output=True,
        text=True,
        check=False,
    )

    complaints = [line for line in verified.stderr.splitlines() if here.name in line and "not found" not in line]
    assert complaints == []
    assert judged.returncode == 0, judged.stdout


def test_the_wheel_brings_the_kit_along(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]

    ended = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)

    assert ended.returncode == 0, ended.stderr
    names = set(zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist())
    needed = {str(file.relative_to(root)) for file in (root / "deploy" / "kit").rglob("*") if file.is_file()}
    needed |= {"deploy/versions.env", "deploy/staff_join/botschaft_staff_join/__init__.py"}
    assert len(needed) > 10
    assert {name for name in needed if f"bot/_resources/{name}" not in names} == set()


def test_no_hours_are_invented(tmp_path: Path) -> None:
    """They would be told to customers."""
    hours = tomllib.loads((made(tmp_path, "compose") / "bot/botschaft.toml").read_text(encoding="utf-8"))["hours"]

    assert [name for name, value in hours.items() if value] == ["time_zone"]
