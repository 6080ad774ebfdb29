"""`botschaft ledger ...` and the bundle for auditors, which is checked with a bare Python and with OpenSSL."""

import asyncio
import io
import os
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest
from sqlcipher3 import dbapi2 as sqlcipher

from bot import cli
from bot.domain.ids import CustomerId, UserId
from bot.domain.ledger.entries import LedgerKind
from bot.domain.ledger.notes import Signer
from bot.domain.purpose import PrivacyText
from bot.domain.secrets import Purpose, derive
from bot.flows.surroundings import Ledger
from bot.resources import resource_dir
from bot.settings import load_settings
from bot.store import ledger, privacy_texts
from bot.store.database import Database, Tx
from tests.store.ledgers import Forger

AT = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
ANNA = "@anna:elsewhere.example"
ONLY_LOCAL = "integrity only up to the local checkpoint"
INIT = (
    *("init", "--homeserver", "http://127.0.0.1:9", "--user", "@werk:werk.de", "--business", "Werk"),
    *("--member", "@jan:werk.de", "--admin", "@chefin:werk.de"),
)


class Outcome(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


class Site:
    """A folder in which commands are run as a shell would, and whose ledger has some entries."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._patch = monkeypatch
        self._capsys = capsys

    def run(self, *words: str) -> Outcome:
        self._patch.setattr(sys, "argv", ["botschaft", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = self._capsys.readouterr()
        return Outcome(int(ended.value.code or 0), printed.out, printed.err)

    def work(self, act: Callable[[Database, Signer], Awaitable[None]]) -> None:
        async def done() -> None:
            settings = load_settings(self.folder / "botschaft.toml")
            master = settings.storage.master_secret()
            path = self.folder / "data" / "botschaft.db"
            database = await Database.open(
                path, key=derive(master, Purpose.DATABASE), migrations=resource_dir("migrations")
            )
            own = Ledger(UserId("@werk:werk.de"), derive(master, Purpose.LEDGER_SIGNING))
            try:
                await act(database, await own.signer(database))
            finally:
                await database.close()

        asyncio.run(done())

    def append(self, count: int) -> None:
        async def act(database: Database, signer: Signer) -> None:
            for _ in range(count):
                async with database.transaction() as tx:
                    details = {"user": ANNA, "words": "Ja, gern"}
                    await ledger.append(tx, LedgerKind.GIVEN, details, subject=CustomerId("c1"), at=AT)

        self.work(act)

    def forger(self) -> Forger:
        settings = load_settings(self.folder / "botschaft.toml")
        return Forger(self.folder / "data" / "botschaft.db", derive(settings.storage.master_secret(), Purpose.DATABASE))


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Site:
    """A bot that was started once, with seven entries."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("BOTSCHAFT_")]:
        monkeypatch.delenv(name)
    made = Site(tmp_path, monkeypatch, capsys)
    assert made.run(*INIT).code == 0
    made.append(7)
    return made


def test_verify_never_says_plainly_that_all_is_well(site: Site) -> None:
    ended = site.run("ledger", "verify")
    assert ended.code == 0
    assert f"{ONLY_LOCAL} (size 0)" in ended.out
    assert "Entries:  7, the content of 0 erased" in ended.out

    assert site.run("ledger", "checkpoint", "--file", "mail.txt").code == 0
    assert f"{ONLY_LOCAL} (size 7)" in site.run("ledger", "verify").out


def test_verify_with_a_checkpoint_from_outside_says_how_far_it_reaches(site: Site) -> None:
    site.run("ledger", "checkpoint", "--file", "mail.txt")
    with_it = site.run("ledger", "verify", "--checkpoint", "mail.txt")
    site.append(2)
    later = site.run("ledger", "verify", "--checkpoint", "mail.txt")

    assert (with_it.code, ONLY_LOCAL in with_it.out) == (0, False)
    assert "The first 7 entries are those that were signed for the copy outside." in with_it.out
    assert later.code == 0
    assert f"From entry 7 on: {ONLY_LOCAL} (size 7)." in later.out


def test_verify_names_the_entry_and_what_is_wrong(site: Site) -> None:
    site.run("ledger", "checkpoint", "--file", "mail.txt")
    forger = site.forger()
    forger.run("UPDATE ledger_contents SET payload = x'7b7d' WHERE position = 4")
    forger.close()
    ended = site.run("ledger", "verify", "--offline")
    assert ended.code == 1
    assert "✗ Entry 4: its content is not what it was: it does not fit the commitment." in ended.err
    assert ONLY_LOCAL not in ended.out


TAMPERED = {
    3: "UPDATE ledger_contents SET payload = CAST(replace(CAST(payload AS TEXT), 'gern', 'nein') AS BLOB) WHERE position = 3",
    4: "UPDATE ledger SET commitment = zeroblob(32) WHERE position = 4",
    5: "UPDATE ledger_contents SET position = CASE position WHEN 5 THEN 80 END WHERE position = 5",
    6: "DELETE FROM ledger WHERE position = 6",
}


def test_ac_09_whatever_is_tampered_with_is_named_by_its_entry(site: Site) -> None:
    """Content, commitment, order, a missing row. That the live database aborts such statements: tests/store."""
    site.run("ledger", "checkpoint")
    site.work(_no_change_is_possible)
    for position, sql in TAMPERED.items():
        forger = site.forger()
        forger.run(sql)
        forger.close()
        ended = site.run("ledger", "verify", "--offline")
        assert (ended.code, f"✗ Entry {position}: " in ended.err) == (1, True)


async def _no_change_is_possible(database: Database, signer: Signer) -> None:
    for sql in ("UPDATE ledger SET position = 9", "DELETE FROM ledger", "REPLACE INTO ledger VALUES (2, zeroblob(32))"):
        with pytest.raises(sqlcipher.IntegrityError, match="ledger"):
            await _run(database, sql)


async def _run(database: Database, sql: str) -> None:
    async with database.transaction() as tx:
        await tx.run(sql)


def test_ac_10_a_shorter_ledger_signed_with_the_stolen_key_is_told_by_the_copy_outside_only(site: Site) -> None:
    site.append(293)
    site.run("ledger", "checkpoint", "--file", "mail.txt")
    forger = site.forger()
    forger.truncate(290)
    forger.rebuild_tree()
    forger.run("DELETE FROM ledger_checkpoints")
    forger.close()
    site.run("ledger", "checkpoint")

    inside = site.run("ledger", "verify", "--offline")
    outside = site.run("ledger", "verify", "--offline", "--checkpoint", "mail.txt")

    assert (inside.code, ONLY_LOCAL in inside.out) == (0, True)
    assert outside.code == 1
    assert "mail.txt has size 300, but the ledger has 290 entries: entries 290 to 299 are missing." in outside.err


def test_a_file_that_is_no_checkpoint_is_said_in_a_sentence(site: Site) -> None:
    (site.folder / "x.txt").write_text("hello")
    for name in ("x.txt", "absent.txt"):
        ended = site.run("ledger", "verify", "--checkpoint", name)
        assert (ended.code, name in ended.err, "fault of Botschaft" in ended.err) == (1, True, False)


def test_the_server_need_not_be_there(site: Site) -> None:
    async def act(database: Database, signer: Signer) -> None:
        async with database.transaction() as tx:
            await tx.run("INSERT INTO places VALUES ('admin', 'x', '!admin:werk.de')")
            await tx.run("INSERT INTO facts VALUES ('access_token', 'x')")

    site.work(act)
    ended = site.run("ledger", "verify")
    assert ended.code == 0
    assert "The anchor in the admin room was not compared: no answer from the server" in ended.out


def test_show_lists_entries_and_opens_one_by_number_or_fingerprint(site: Site) -> None:
    listed = site.run("ledger", "show")
    names = re.findall(r"[A-Z2-7]{4}-[A-Z2-7]{4}-[A-Z2-7]{4}", listed.out)
    assert len(names) == 7
    assert ANNA not in listed.out
    by_name, by_number = site.run("ledger", "show", names[3].lower()), site.run("ledger", "show", "3")
    assert by_name.out == by_number.out
    assert f'user: "{ANNA}"' in by_name.out
    for unknown in ("7", "AAAA-AAAA-AAAA", "9" * 40, "²"):
        ended = site.run("ledger", "show", unknown)
        assert (ended.code, f"There is no entry {unknown}." in ended.err) == (1, True)


def test_show_lets_nobody_steer_the_terminal(site: Site) -> None:
    async def act(database: Database, signer: Signer) -> None:
        async with database.transaction() as tx:
            details = {"words": "Ja \x1b[31m \x9b2J [red]ä\u202e"}
            await ledger.append(tx, LedgerKind.GIVEN, details, subject=CustomerId("c1"), at=AT)

    site.work(act)
    shown = site.run("ledger", "show", "7").out
    assert '[red]ä\\u202e"' in shown
    assert not [letter for letter in shown if not letter.isprintable() and letter != "\n"]


def test_before_the_first_start_there_is_no_ledger(site: Site) -> None:
    for file in (site.folder / "data").glob("botschaft.db*"):
        file.unlink()
    for words in (("verify",), ("export", "x"), ("checkpoint",), ("show",)):
        ended = site.run("ledger", *words)
        assert (ended.code, "has not been started" in ended.err) == (1, True)


def test_a_loss_is_not_accepted_by_accident(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    ended = site.run("ledger", "accept-loss")
    assert ended.code == 1
    assert "cannot be undone" in ended.out


# The bundle


@pytest.fixture
def bundle(site: Site) -> Path:
    """A bundle of nine entries, two of which were erased, with a customer's proof beside it."""
    site.run("ledger", "checkpoint", "--file", "early.txt")

    async def act(database: Database, signer: Signer) -> None:
        async with database.transaction() as tx:
            proof = await ledger.proof(tx, signer, 5, at=AT, opened=True)
            (site.folder / "receipt.tlog-proof").write_text(proof.text())
            await _publish(tx)
            await ledger.erase(tx, [1, 2], {"ground": "art17"}, at=AT)

    site.work(act)
    assert site.run("ledger", "export", "bundle").code == 0
    return site.folder / "bundle"


TEXT = PrivacyText("question_news", "1.1", "de", "Dürfen wir?\n• Ja oder Nein")


async def _publish(tx: Tx) -> None:
    await privacy_texts.register(tx, [TEXT], AT)
    said = {"text": TEXT.id, "version": TEXT.version, "language": TEXT.language, "sha256": TEXT.sha256}
    await ledger.append(tx, LedgerKind.TEXT_PUBLISHED, said, subject=None, at=AT)


def check(bundle: Path, *files: str) -> subprocess.CompletedProcess[str]:
    """Run the script of the bundle with a Python that sees nothing but its own library."""
    command = [sys.executable, "-I", "-S", "bundle/verify.py", *files]
    return subprocess.run(command, cwd=bundle.parent, capture_output=True, text=True, check=False)


def signatures(bundle: Path) -> subprocess.CompletedProcess[str]:
    """Run the commands that stand in VERIFY.md."""
    found = re.search(r"```sh signatures\n(.*?)```", (bundle / "VERIFY.md").read_text(), re.DOTALL)
    assert found
    return subprocess.run(["sh", "-c", found[1]], cwd=bundle, capture_output=True, text=True, check=False)


def test_a_bundle_names_nobody(bundle: Path) -> None:
    everything = b"".join(file.read_bytes() for file in bundle.rglob("*") if file.is_file())
    assert not [word for word in (ANNA, "c1", "gern") if f'"{word}' in everything.decode(errors="replace")]
    assert b"anna" not in everything
    assert len((bundle / "leaves.bin").read_bytes()) == 9 * 32
    assert (bundle / "tombstones.csv").read_text() == "index,erased_by\n1,8\n2,8\n"


def test_a_bundle_is_never_written_over_something(site: Site, bundle: Path) -> None:
    ended = site.run("ledger", "export", "bundle")
    assert (ended.code, "exists already" in ended.err) == (1, True)


def test_a_bare_python_finds_the_bundle_whole(bundle: Path) -> None:
    ended = check(bundle, "early.txt", "receipt.tlog-proof")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "WRONG" not in ended.stdout
    assert "ok    early.txt: root of the first 7 entries of werk.de/werk/ledger" in ended.stdout
    assert "ok      entry 5 is under the root of the proof's checkpoint (size 7)" in ended.stdout
    assert f'"user":"{ANNA}"' in ended.stdout, "the holder's proof opens its entry"
    assert "9 entries, the content of 2 was erased" in ended.stdout
    assert "No checkpoint from outside" not in ended.stdout
    assert "No checkpoint from outside" in check(bundle).stdout


def test_openssl_finds_the_signatures_of_the_bundle_right(bundle: Path) -> None:
    ended = signatures(bundle)
    assert ended.stdout.count("Signature Verified Successfully") == 2
    assert "WRONG" not in ended.stdout
    first = min((bundle / "checkpoints").iterdir())
    first.write_text(first.read_text().replace("\n7\n", "\n6\n"))
    ended = signatures(bundle)
    assert ended.stdout.count("WRONG: checkpoints/") == 1


def test_the_script_prints_the_fingerprint_that_a_customer_was_told(site: Site, bundle: Path) -> None:
    shown = re.search(r"Fingerprint:  (\S+)", site.run("ledger", "show", "5").out)
    assert shown
    assert f"fingerprint {shown[1]}" in check(bundle, "receipt.tlog-proof").stdout


def test_the_script_finds_what_was_changed(bundle: Path) -> None:
    leaves = (bundle / "leaves.bin").read_bytes()
    for changed in (leaves[:96] + bytes(32) + leaves[128:], leaves[:-96], leaves[32:64] + leaves[:32] + leaves[64:]):
        (bundle / "leaves.bin").write_bytes(changed)
        ended = check(bundle, "early.txt")
        assert (ended.returncode, "WRONG early.txt" in ended.stdout) == (1, True)
    (bundle / "leaves.bin").write_bytes(leaves)
    assert check(bundle).returncode == 0
    (bundle / "tombstones.csv").write_text("index,erased_by\n1,8\n2,8\n3,8\n")
    ended = check(bundle)
    assert (ended.returncode, "the content of entry 3 is gone" in ended.stdout) == (1, True)


def test_the_bundle_has_the_words_that_customers_agreed_to(bundle: Path) -> None:
    file = bundle / "texts" / f"{TEXT.sha256}.txt"
    assert file.read_bytes() == TEXT.text.encode()
    ended = check(bundle)
    assert f"ok    question_news 1.1 (de), published 2026-03-02: texts/{TEXT.sha256}.txt" in ended.stdout

    file.write_text(TEXT.text + " Und die Wohnung?")
    ended = check(bundle)
    assert (ended.returncode, f"WRONG texts/{TEXT.sha256}.txt has the words" in ended.stdout) == (1, True)
    file.unlink()
    ended = check(bundle)
    assert (ended.returncode, "WRONG question_news 1.1 (de)" in ended.stdout) == (1, True)
    file.write_bytes(TEXT.text.encode())
    opened = bundle / "published.jsonl"
    opened.write_text(opened.read_text().replace("question_news", "question_mews"))
    ended = check(bundle)
    assert (ended.returncode, "WRONG entry 7 is what published.jsonl says" in ended.stdout) == (1, True)


def test_the_script_refuses_a_proof_of_something_else(bundle: Path) -> None:
    proof = bundle.parent / "receipt.tlog-proof"
    text = proof.read_text()
    for old, new in (("index 5", "index 4"), (text.split("\n")[1][:40], text.split("\n")[1][:39] + "0")):
        proof.write_text(text.replace(old, new))
        assert check(bundle, "receipt.tlog-proof").returncode == 1


def test_forging_needs_the_key_of_the_file(site: Site) -> None:
    with pytest.raises(sqlcipher.DatabaseError):
        Forger(site.folder / "data" / "botschaft.db", b"x" * 32)
