"""The command line: sentences, exit codes, and files that are never overwritten."""

import asyncio
import json
import os
import re
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from bot import app, cli, door
from bot.domain.errors import Fatal
from bot.domain.secrets import Purpose, derive
from bot.privacy.pages import PAGE_FILES, RECORD_FILES
from bot.resources import resource_dir
from bot.settings import load_settings
from bot.store import privacy_texts
from bot.store.database import Database, utc_now

INIT = (
    *("init", "--homeserver", "https://matrix.werk.de", "--user", "@werk:werk.de", "--business", 'Werk "Nord"'),
    *("--member", "@jan:werk.de", "--member", "@eva:werk.de", "--admin", "@chefin:werk.de"),
)


class Outcome(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


Botschaft = Callable[..., Outcome]


@pytest.fixture
def botschaft(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Botschaft:
    """Run a command as a shell in an empty folder would."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("BOTSCHAFT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("bot.cli.common.PLACES", (Path("botschaft.toml"), tmp_path / "config" / "botschaft.toml"))

    def run(*words: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["botschaft", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        return Outcome(int(ended.value.code or 0), printed.out, printed.err)

    return run


def test_init_writes_what_was_said(botschaft: Botschaft, tmp_path: Path) -> None:
    ended = botschaft(*INIT, "--folder", "site", "--language", "en")

    assert ended.code == 0
    settings = load_settings(tmp_path / "site" / "botschaft.toml")
    assert settings.homeserver.url == "https://matrix.werk.de"
    assert settings.bot.user_id == "@werk:werk.de"
    assert settings.bot.display_name == settings.business.name == 'Werk "Nord"'
    assert settings.business.language == "en"
    assert settings.desks[0].members == ["@jan:werk.de", "@eva:werk.de"]
    assert settings.admins == ["@chefin:werk.de"]
    assert len(settings.storage.master_secret()) == 32


def test_init_keeps_its_files_to_itself(botschaft: Botschaft, tmp_path: Path) -> None:
    botschaft(*INIT)

    modes = {name: (tmp_path / name).stat().st_mode & 0o777 for name in ("botschaft.toml", "master.secret", "data")}

    assert modes == {"botschaft.toml": 0o600, "master.secret": 0o600, "data": 0o700}


def test_init_again_leaves_everything_as_it_is(botschaft: Botschaft, tmp_path: Path) -> None:
    botschaft(*INIT)
    before = {name: (tmp_path / name).read_bytes() for name in ("botschaft.toml", "master.secret")}

    ended = botschaft(*INIT, "--language", "en")

    assert ended.code == 0
    assert ended.out.count("exists already and was left as it is.") == 2
    assert before == {name: (tmp_path / name).read_bytes() for name in before}


def test_init_writes_no_second_secret_beside_an_old_one(botschaft: Botschaft, tmp_path: Path) -> None:
    (tmp_path / "master.secret").write_text("old")

    botschaft(*INIT)

    assert (tmp_path / "master.secret").read_text() == "old"
    assert (tmp_path / "botschaft.toml").exists()


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--user", "werkstatt", "--user: expected a Matrix user id"),
        ("--admin", "chefin", "--admin: expected a Matrix user id"),
        ("--homeserver", "http://matrix.werk.de", "--homeserver: expected https"),
        ("--language", "fr", "--language: expected 'de' or 'en'"),
    ],
)
def test_init_writes_nothing_that_check_config_would_refuse(
    botschaft: Botschaft, tmp_path: Path, option: str, value: str, expected: str
) -> None:
    ended = botschaft(*INIT, option, value)

    assert ended.code == 1
    assert expected in ended.err
    assert list(tmp_path.iterdir()) == []


def put_password(folder: Path) -> None:
    file = folder / "bot.password"
    file.write_text("geheim\n")
    file.chmod(0o600)


def fill_in(place: Path, **changes: str) -> None:
    """Write down who is responsible, and change other values of the configuration."""
    file = place / "botschaft.toml"
    text, answers = file.read_text(encoding="utf-8"), {"name": "Werk GmbH", "address": "Weg 1, Werkstadt"}
    answers |= {"contact": "Telefon 1", "authority": "Landesbeauftragte, Hannover", "location": "Werkstadt"}
    answers |= {"privacy_url": "https://werk.de/datenschutz"} | changes
    for key, value in answers.items():
        text, happened = re.subn(rf'^{key} = ""$', f"{key} = {json.dumps(value)}", text, count=1, flags=re.MULTILINE)
        assert happened, key
    file.write_text(text, encoding="utf-8")


def test_check_config_is_content_with_what_init_wrote_a_password_and_a_controller(
    botschaft: Botschaft, tmp_path: Path
) -> None:
    botschaft(*INIT)
    assert "bot.password is missing" in botschaft("check-config").err

    put_password(tmp_path)
    ended = botschaft("check-config")
    assert (ended.code, ended.out) == (0, "✓ The bot can start.\n"), "as it does"
    assert ended.err.startswith("⚠ ")
    assert "botschaft.toml: controller: name, address, contact, authority, privacy_url must be filled in" in ended.err

    fill_in(tmp_path)
    ended = botschaft("check-config")

    assert ended == Outcome(0, "✓ The bot can start.\n", "")


def test_check_config_warns_of_people_whom_the_server_cannot_reach(botschaft: Botschaft, tmp_path: Path) -> None:
    botschaft(*INIT)
    put_password(tmp_path)
    fill_in(tmp_path)
    file = tmp_path / "botschaft.toml"
    file.write_text(file.read_text().replace("@jan:werk.de", "@jan:wrek.de"))

    closed = botschaft("check-config")
    file.write_text(file.read_text().replace('mode = "closed"', 'mode = "listed"'))
    listed = botschaft("check-config")

    assert (closed.code, closed.out) == (0, "✓ The bot can start.\n")
    assert closed.err.startswith("⚠ ")
    assert "@jan:wrek.de" in closed.err
    assert "@eva" not in closed.err
    assert listed == Outcome(0, "✓ The bot can start.\n", "")


def test_who_waits_at_a_shell_is_told_that_the_server_is_away(botschaft: Botschaft, tmp_path: Path) -> None:
    botschaft(*INIT)
    put_password(tmp_path)
    file = tmp_path / "botschaft.toml"
    file.write_text(re.sub(r'(?m)^url = ".*"$', 'url = "http://127.0.0.1:9"', file.read_text()))
    for command in (("sign",), ("trust", "@jan:werk.de"), ("reset-identity", "--yes")):
        ended = botschaft("device", *command)
        assert (ended.code, ended.err.count("\n")) == (1, 1), ended.err
        assert "http://127.0.0.1:9 does not answer" in ended.err
        assert "Nothing was changed." in ended.err


def test_a_password_that_others_may_read_is_refused(botschaft: Botschaft, tmp_path: Path) -> None:
    botschaft(*INIT)
    put_password(tmp_path)
    (tmp_path / "bot.password").chmod(0o644)
    for command in ("check-config", "run"):
        ended = botschaft(command)
        assert (ended.code, "chmod 600" in ended.err) == (1, True)


def test_a_lost_master_secret_is_never_replaced(botschaft: Botschaft, tmp_path: Path) -> None:
    botschaft(*INIT)
    put_password(tmp_path)
    (tmp_path / "data" / "botschaft.db").write_bytes(b"x")
    (tmp_path / "master.secret").unlink()
    assert "Put it back" in botschaft("check-config").err
    assert botschaft(*INIT).code == 1
    assert not (tmp_path / "master.secret").exists()


def test_paths_that_cannot_be_are_said_in_a_sentence(botschaft: Botschaft, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ended = botschaft(*INIT, "--folder", "file")
    assert (ended.code, "Traceback" in ended.err, "fault of Botschaft" in ended.err) == (1, False, False)
    botschaft(*INIT)
    put_password(tmp_path)
    (tmp_path / "data").rmdir()
    (tmp_path / "data").write_text("")
    assert "storage.folder" in botschaft("check-config").err
    assert botschaft("run").code == 1


def test_check_config_knows_what_customers_can_be_asked_about(
    botschaft: Botschaft, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    botschaft(*INIT)
    put_password(tmp_path)
    fill_in(tmp_path)
    monkeypatch.setenv("BOTSCHAFT_CONSENT__ASK_AT_CLOSE", '["marketing_news"]')
    assert botschaft("check-config").code == 0
    monkeypatch.setenv("BOTSCHAFT_CONSENT__ASK_AT_CLOSE", '["news", "insurer_expert_share"]')
    ended = botschaft("check-config")
    assert ended.code == 1
    assert "consent: ask_at_close: insurer_expert_share, news: nobody can be asked about that by itself" in ended.err
    assert "possible are: feedback_survey, marketing_news, reminder_service" in ended.err


def test_check_config_looks_at_the_place_of_the_staff_list(
    botschaft: Botschaft, monkeypatch: pytest.MonkeyPatch
) -> None:
    botschaft(*INIT)
    monkeypatch.setenv("BOTSCHAFT_STAFF__FILE", "gone/staff.txt")
    outcome = botschaft("check-config")
    assert outcome.code == 1
    assert "staff.file: the folder" in outcome.err


def test_items_need_a_folder_that_was_used(botschaft: Botschaft) -> None:
    botschaft(*INIT)
    ended = botschaft("items")
    assert (ended.code, "has not been started" in ended.err) == (1, True)


def test_check_config_prints_all_problems_with_their_places(botschaft: Botschaft, tmp_path: Path) -> None:
    botschaft(*INIT)
    config = tmp_path / "botschaft.toml"
    text = config.read_text().replace("reopen_days", "reopen_dais").replace('"@jan:', '"jan:')
    config.write_text(text)

    ended = botschaft("check-config")

    assert ended.code == 1
    assert ended.out == ""
    first, second = ended.err.splitlines()
    assert "botschaft.toml:" in first
    assert "desks.0.members.0: expected a Matrix user id" in first
    assert "unknown key cases.reopen_dais; did you mean `reopen_days`?" in second


def test_check_config_looks_at_the_master_secret(botschaft: Botschaft, tmp_path: Path) -> None:
    botschaft(*INIT)
    (tmp_path / "master.secret").chmod(0o644)

    ended = botschaft("check-config")

    assert ended.code == 1
    assert "chmod 600" in ended.err


def test_check_config_looks_at_the_texts(botschaft: Botschaft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    botschaft(*INIT)
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "de.toml").write_text('a = "x"\n')
    (texts / "en.toml").write_text('b = "x"\n')
    monkeypatch.setattr("bot.cli.setting_up.resource_dir", lambda _name: tmp_path)

    ended = botschaft("check-config")

    assert ended.code == 1
    assert "en: a is missing" in ended.err
    assert "de: b is missing" in ended.err


def test_check_config_finds_faults_of_configuration_purposes_and_texts_at_once(
    botschaft: Botschaft, tmp_path: Path
) -> None:
    botschaft(*INIT)
    file = tmp_path / "botschaft.toml"
    file.write_text(file.read_text().replace('folder = ""', 'folder = "own"'))
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "purposes.toml").write_text('[purposes.marketing_news]\ndefault = "on"\n')
    (tmp_path / "own" / "texts.toml").write_text("[sentences.withdrawal]\nde = 'Rufen Sie an.'\nen = 'Call us.'\n")

    ended = botschaft("check-config")

    assert ended.code == 1
    assert "bot.password is missing" in ended.err
    assert "controller: name, address, contact, authority, privacy_url must be filled in" in ended.err
    own = tmp_path / "own"
    assert f"{own / 'purposes.toml'}: purposes.marketing_news.default: consent is never given beforehand" in ended.err
    assert "texts.question_survey.de: does not say the withdrawal sentence" in ended.err
    assert "texts.question_news.en: does not say the withdrawal sentence" in ended.err
    fill_in(tmp_path)
    refused = botschaft("run")
    assert (refused.code, "purposes.marketing_news.default" in refused.err) == (1, True)


async def put_on_record(folder: Path) -> None:
    """What a start does with the texts."""
    settings = load_settings(folder / "botschaft.toml")
    loaded = app.loaded_privacy(settings)
    assert loaded
    key = derive(settings.storage.master_secret(), Purpose.DATABASE)
    migrations = resource_dir("migrations")
    database = await Database.open(settings.storage.folder / "botschaft.db", key=key, migrations=migrations)
    async with database.transaction() as tx:
        assert await privacy_texts.register(tx, loaded.privacy.texts.values(), utc_now()) == []
    await database.close()


def test_ac_08_check_config_finds_a_text_that_changed_under_an_old_version(
    botschaft: Botschaft, tmp_path: Path
) -> None:
    botschaft(*INIT)
    put_password(tmp_path)
    fill_in(tmp_path)
    asyncio.run(put_on_record(tmp_path))
    assert botschaft("check-config").code == 0
    file = tmp_path / "botschaft.toml"
    file.write_text(file.read_text().replace("Telefon 1", "Telefon 2"))

    ended = botschaft("check-config")

    assert ended.code == 1
    assert "first_contact.de: other words have been version 2.1 since" in ended.err
    assert "privacy_page.en: other words" in ended.err
    assert "consent_none" not in ended.err, "it does not name the contact"
    file.write_text(file.read_text().replace("edition = 1", "edition = 2"))
    assert botschaft("check-config").code == 0


def test_a_broken_database_is_a_sentence_of_check_config(botschaft: Botschaft, tmp_path: Path) -> None:
    botschaft(*INIT)
    fill_in(tmp_path)
    (tmp_path / "data" / "botschaft.db").write_bytes(b"x" * 4096)

    ended = botschaft("check-config")

    assert (ended.code, "botschaft.db cannot be opened" in ended.err) == (1, True)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"address": ""}, "controller: address must be filled in, too"),
        ({"location": ""}, "hosting.location: expected the place where the server stands"),
        ({"privacy_url": "http://werk.de"}, "controller.privacy_url: expected an address like https://"),
        ({"processor": "Beispiel Hosting GmbH"}, "hosting: a contract is missing"),
    ],
)
def test_half_a_controller_and_a_processor_without_contract_are_refused(
    botschaft: Botschaft, tmp_path: Path, changes: dict[str, str], expected: str
) -> None:
    botschaft(*INIT)
    fill_in(tmp_path, **changes)

    for command in ("check-config", "run", "privacy-page"):
        ended = botschaft(command)
        assert (ended.code, expected in ended.err) == (1, True), ended


def test_pages_are_written_where_it_was_said(botschaft: Botschaft, tmp_path: Path) -> None:
    botschaft(*INIT)
    refused = botschaft("privacy-page", "--out", "web")
    assert (refused.code, "fill in [controller]" in refused.err) == (1, True)
    assert not (tmp_path / "web").exists()
    fill_in(tmp_path)

    for command in ("privacy-page", "record", "privacy-page"):
        assert botschaft(command, "--out", "web").code == 0

    written = {file.name: file.read_text(encoding="utf-8") for file in (tmp_path / "web").iterdir()}
    assert written.keys() == {*PAGE_FILES.values(), *RECORD_FILES.values()}
    assert all("Werk GmbH, Weg 1, Werkstadt" in page for page in written.values())
    assert 'lang="de"' in written["datenschutz.html"]
    assert 'lang="en"' in written["privacy.html"]


def test_a_missing_configuration_names_the_next_command(botschaft: Botschaft) -> None:
    ended = botschaft("check-config")

    assert ended.code == 1
    assert "botschaft.toml: there is no such file; `botschaft init` writes a first one" in ended.err


def test_the_configuration_is_found_where_it_was_said(
    botschaft: Botschaft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    botschaft(*INIT, "--folder", "config")
    put_password(tmp_path / "config")
    fill_in(tmp_path / "config")
    assert botschaft("check-config").code == 0, "the container's folder is looked at last"

    (tmp_path / "botschaft.toml").write_text("x = 1")
    assert botschaft("check-config").code == 1, "the folder one stands in comes first"

    monkeypatch.setenv("BOTSCHAFT_CONFIG", "config/botschaft.toml")
    assert botschaft("check-config").code == 0, "the environment wins over both"

    assert botschaft("check-config", "--config", "botschaft.toml").code == 1, "the option wins over everything"


def test_health_follows_the_heartbeat(botschaft: Botschaft, tmp_path: Path) -> None:
    botschaft(*INIT)
    heartbeat = tmp_path / "data" / "heartbeat"

    never = botschaft("health")
    heartbeat.touch()
    alive = botschaft("health")
    os.utime(heartbeat, (time.time() - 130, time.time() - 130))
    silent = botschaft("health")

    assert (never.code, alive.code, silent.code) == (1, 0, 1)
    assert "The bot has not heard from the server yet." in never.err
    assert "seconds ago" in silent.err


def test_health_waits_for_a_long_poll_to_end(
    botschaft: Botschaft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    botschaft(*INIT)
    monkeypatch.setenv("BOTSCHAFT_HOMESERVER__SYNC_TIMEOUT_S", "300")
    heartbeat = tmp_path / "data" / "heartbeat"
    heartbeat.touch()

    os.utime(heartbeat, (time.time() - 350, time.time() - 350))
    polling = botschaft("health")
    os.utime(heartbeat, (time.time() - 450, time.time() - 450))
    silent = botschaft("health")

    assert (polling.code, silent.code) == (0, 1)


def test_a_failure_of_ours_is_a_sentence(botschaft: Botschaft, monkeypatch: pytest.MonkeyPatch) -> None:
    botschaft(*INIT)

    def stop(*_: object) -> None:
        raise Fatal("The server [does] not answer.\nLook at it.")

    monkeypatch.setattr("bot.cli.serving.load_settings", stop)

    assert botschaft("health") == Outcome(1, "", "✗ The server [does] not answer.\n✗ Look at it.\n")


def test_an_unexpected_failure_shows_no_values(botschaft: Botschaft, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise ValueError("Meine Bremse quietscht @anna:elsewhere.example")

    monkeypatch.setattr("bot.cli.serving.load_settings", stop)

    ended = botschaft("health")

    assert ended.code == 70
    assert "ValueError, at test_cli.py:" in ended.err
    assert "Bremse" not in ended.err + ended.out
    assert "anna" not in ended.err + ended.out


def test_the_master_secret_is_new_every_time(botschaft: Botschaft, tmp_path: Path) -> None:
    botschaft(*INIT, "--folder", "one")
    botschaft(*INIT, "--folder", "two")

    first, second = ((tmp_path / name / "master.secret").read_text() for name in ("one", "two"))
    assert first != second
    assert tomllib.loads((tmp_path / "one" / "botschaft.toml").read_text())


def test_without_an_administrator_the_slip_is_printed_with_lines_to_write_on(
    botschaft: Botschaft, tmp_path: Path
) -> None:
    botschaft(*INIT)

    ended = botschaft("customer", "new", "--lang", "en", "--lang", "de")

    assert ended.code == 0
    assert "No account was made" in ended.out
    assert "register_new_matrix_user" in ended.out
    slip = tmp_path / "access-slip.pdf"
    assert slip.read_bytes().startswith(b"%PDF")
    assert slip.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("by_option", [True, False])
def test_without_an_administrator_there_is_no_slip_for_a_code(
    botschaft: Botschaft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_option: bool
) -> None:
    botschaft(*INIT)
    if not by_option:
        monkeypatch.setenv("BOTSCHAFT_DOOR__GIVES", "token")
        monkeypatch.setenv("BOTSCHAFT_DOOR__WEB_CLIENT", "https://chat.example.de")

    ended = botschaft("customer", "new", *(["--token"] if by_option else []))

    assert ended.code == 1
    assert "No code was made" in ended.err
    assert "homeserver.admin_token_file" in ended.err
    assert "--account" in ended.err
    assert ended.out == ""
    assert not (tmp_path / "access-slip.pdf").exists()


def test_the_sign_is_printed_without_asking_anybody(botschaft: Botschaft, tmp_path: Path) -> None:
    botschaft(*INIT)

    assert botschaft("sign").code == 0
    assert botschaft("sign", "--out", "sign.PNG", "--lang", "de", "--lang", "en").code == 0
    assert (tmp_path / "counter-sign.pdf").read_bytes().startswith(b"%PDF")
    assert (tmp_path / "sign.PNG").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("customer", "new", "--out", "slip.docx"), "only .pdf and .png"),
        (("customer", "new", "--out", "there.pdf"), "exists already"),
        (("customer", "new", "--out", "nowhere/slip.pdf"), "no folder that can be written"),
        (("customer", "new", "--lang", "fr"), "There are no texts in fr"),
        (("sign", "--out", "there.pdf"), "exists already"),
        (("sign", "--lang", "xx"), "There are no texts in xx"),
    ],
)
def test_nothing_is_made_for_a_slip_that_cannot_be_printed(
    botschaft: Botschaft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], sentence: str
) -> None:
    botschaft(*INIT)
    (tmp_path / "there.pdf").write_text("mine")
    monkeypatch.setattr(door, "let_in", None)  # must not be reached

    ended = botschaft(*words)

    assert ended.code == 1
    assert sentence in ended.err
    assert (tmp_path / "there.pdf").read_text() == "mine"


def test_an_admin_token_that_others_may_read_is_a_problem(botschaft: Botschaft, tmp_path: Path) -> None:
    botschaft(*INIT)
    put_password(tmp_path)
    token = tmp_path / "admin.token"
    token.write_text("syt_secret")
    token.chmod(0o644)

    checked, made = botschaft("check-config"), botschaft("customer", "new")

    for ended in (checked, made):
        assert ended.code == 1
        assert "chmod 600" in ended.err
        assert "syt_secret" not in ended.out + ended.err


def test_a_server_that_does_not_answer_is_one_sentence(
    botschaft: Botschaft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    botschaft(*INIT)
    monkeypatch.setenv("BOTSCHAFT_HOMESERVER__ADMIN_TOKEN", "syt_secret")
    monkeypatch.setenv("BOTSCHAFT_HOMESERVER__ADMIN_URL", "http://127.0.0.1:9")

    ended = botschaft("customer", "new")

    assert ended.code == 1
    assert "http://127.0.0.1:9 does not answer" in ended.err
    assert not (tmp_path / "access-slip.pdf").exists()
