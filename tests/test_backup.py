"""A backup is whole or not there; it opens with its key only, and says clearly what is wrong with it."""

import asyncio
import os
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_asyncio

from bot import backup, envelope
from bot.domain.arrival import ItemKind
from bot.domain.errors import Fatal
from bot.domain.ids import ItemId, Lane, RoomId, UserId
from bot.domain.secrets import Purpose, derive
from bot.matrix.e2ee.secret_storage import as_words
from bot.resources import resource_dir
from bot.settings import Settings, load_settings
from bot.store import arrivals, facts
from bot.store.database import Database

CONFIG = """admins = ["@chefin:werk.de"]
[homeserver]
url = "https://matrix.werk.de"
[bot]
user_id = "@werk:werk.de"
[business]
name = "Werk"
[[desks]]
id = "annahme"
name = "Annahme"
members = ["@jan:werk.de"]
[storage]
folder = "data"
master_secret_file = "master.secret"
[backup]
recipient = "{recipient}"
keep = 2
"""
TOKEN = "syt_token_of_the_account"


def silent(stage: str, share: float) -> None:
    """Nobody looks."""


class House:
    """A folder with a database that somebody has open and writes in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key_file = folder / "away" / "backup.key"
        self.key_file.parent.mkdir()
        self.text = CONFIG.format(recipient=backup.write_new_key(self.key_file))
        (folder / "botschaft.toml").write_text(self.text)
        (folder / "master.secret").write_text("ab" * 32)
        (folder / "master.secret").chmod(0o600)
        (folder / "data").mkdir(mode=0o700)
        self.settings: Settings = load_settings(folder / "botschaft.toml")
        self.private = envelope.read_private_key(self.key_file)
        self.database: Database

    async def open(self) -> None:
        key = derive(self.settings.storage.master_secret(), Purpose.DATABASE)
        file = self.folder / "data" / "botschaft.db"
        self.database = await Database.open(file, key=key, migrations=resource_dir("migrations"))
        async with self.database.transaction() as tx:
            await facts.put(tx, facts.ACCESS_TOKEN, TOKEN)
            await facts.put(tx, facts.DEVICE_ID, "BOTSCHAFT1")
            await facts.put(tx, facts.SYNC_TOKEN, "s1")

    async def add(self, name: str, size: int = 10) -> None:
        async with self.database.transaction() as tx:
            now = datetime.now(UTC)
            await arrivals.add(
                tx,
                item_id=ItemId(name),
                lane=Lane("room:!a"),
                room=RoomId("!a"),
                kind=ItemKind.EVENT,
                sender=UserId("@anna:werk.de"),
                sent_at=now,
                arrived_at=now,
                body={"text": os.urandom(size).hex()},
            )

    async def make(self) -> Path:
        return (await backup.make(self.settings, self.text, silent)).file

    async def check(self, file: Path) -> backup.Checked:
        return await backup.check(file, self.private, silent)

    def left(self) -> list[str]:
        return sorted(path.name for path in self.settings.backup.target.iterdir() if path.name != "lock")


@pytest_asyncio.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    place = House(tmp_path)
    await place.open()
    yield place
    await place.database.close()


async def test_a_backup_is_taken_while_somebody_writes_and_holds_one_moment(house: House) -> None:
    await house.add("first", 200_000)
    stop = asyncio.Event()

    async def keep_writing() -> int:
        count = 0
        while not stop.is_set():
            await house.add(f"later{count}")
            count += 1
        return count

    writing = asyncio.ensure_future(keep_writing())
    made = await asyncio.to_thread(asyncio.run, backup.make(house.settings, house.text, silent))
    stop.set()
    wrote = await writing

    checked = await house.check(made.file)
    assert wrote > 0
    assert 1 <= checked.contents.open_items <= wrote + 1
    assert checked.bot == "@werk:werk.de"
    assert stat.S_IMODE(made.file.stat().st_mode) == 0o600
    assert house.left() == [made.file.name]
    assert await facts.get(house.database, facts.LAST_BACKUP) == checked.made_at.isoformat()


async def test_what_must_not_live_twice_is_not_in_it_and_nothing_of_it_lies_open(house: House, tmp_path: Path) -> None:
    file = await house.make()
    target = tmp_path / "out.db"

    with envelope.unsealed(file, house.private) as parts:
        assert parts.small("master.secret") == b"ab" * 32
        assert parts.small("botschaft.toml").decode() == house.text
        parts.large("botschaft.db", target, lambda piece: None)
    assert not any(word in file.read_bytes() for word in (b"abababab", b"SQLite", b"matrix.werk.de", TOKEN.encode()))
    assert b"SQLite" not in target.read_bytes()
    key = derive(bytes.fromhex("ab" * 32), Purpose.DATABASE)
    copy = await Database.open(target, key=key, migrations=resource_dir("migrations"))
    names = {str(row[0]) for row in await copy.all("SELECT name FROM facts")}
    assert names == {facts.SYNC_TOKEN, facts.RESTORED}
    await copy.close()
    assert await facts.get(house.database, facts.ACCESS_TOKEN) == TOKEN


async def test_damage_and_strange_keys_are_named(house: House, tmp_path: Path) -> None:
    await house.add("first", 100_000)
    file = await house.make()
    whole = file.read_bytes()
    other = tmp_path / "other.key"
    backup.write_new_key(other)

    with pytest.raises(Fatal, match="sealed for another key"):
        await backup.check(file, envelope.read_private_key(other), silent)
    with pytest.raises(Fatal, match="private key is not one of age"):
        await backup.check(file, house.private[:-3], silent)
    for size in (0, 10, 180, 300, 5_000, 70_000, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:size])
        with pytest.raises(Fatal, match="damaged or incomplete"):
            await house.check(file)
    for place in (5, 60, 150, 250, 66_000, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(Fatal, match=r"damaged or incomplete|sealed for another key"):
            await house.check(file)
    file.write_bytes(whole + b"x")
    with pytest.raises(Fatal, match="damaged or incomplete"):
        await house.check(file)
    file.write_bytes(whole)
    assert (await house.check(file)).contents.open_items == 1


async def test_something_else_and_something_newer_are_named(house: House, tmp_path: Path) -> None:
    recipient = house.settings.backup.recipient
    newer, strange, shuffled = (tmp_path / name for name in ("newer", "strange", "shuffled"))
    with newer.open("wb") as file:
        envelope.seal(file, recipient, {"format": 2, "program": "9.0"}, {}, lambda piece: None)
    with pytest.raises(Fatal, match=r"newer program \(9\.0\)"):
        await house.check(newer)
    with strange.open("wb") as file:
        envelope.seal(file, recipient, {"format": "x"}, {}, lambda piece: None)
    with pytest.raises(Fatal, match="no backup of Botschaft"):
        await house.check(strange)
    with shuffled.open("wb") as file:
        envelope.seal(file, recipient, {}, {"botschaft.toml": b""}, lambda piece: None)
    with pytest.raises(Fatal, match=r"master\.secret is not where"):
        await house.check(shuffled)
    async with house.database.transaction() as tx:
        await tx.run("INSERT INTO migrations VALUES (999, 'x')")
    with pytest.raises(Fatal, match="is of version 999, this program knows"):
        await house.check(await house.make())


async def test_without_key_space_or_database_there_is_a_sentence_and_no_file(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type(shutil.disk_usage(house.folder))
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda folder: usage(10**9, 10**9, 1000))
        with pytest.raises(Fatal, match="are needed"):
            await house.make()
    no_key = house.settings.model_copy(update={"backup": house.settings.backup.model_copy(update={"recipient": ""})})
    with pytest.raises(Fatal, match=r"backup\.recipient is not set"):
        await backup.make(no_key, house.text, silent)
    wrong = house.settings.backup.model_copy(update={"recipient": "age1" + "q" * 58})
    with pytest.raises(Fatal, match="not a public key"):
        await backup.make(house.settings.model_copy(update={"backup": wrong}), house.text, silent)
    assert house.left() == []
    with pytest.raises(Fatal, match="There is no backup"):
        backup.newest(house.settings)


async def test_as_many_stay_as_the_admin_wants(house: House) -> None:
    files = [await house.make() for _ in range(4)]
    assert len(house.left()) == 2
    assert backup.newest(house.settings).name == max(file.name for file in files)


async def test_a_clock_that_was_wrong_costs_no_new_backup_and_keys_are_not_counted(house: House) -> None:
    target = house.settings.backup.target
    target.mkdir()
    names = ["botschaft-20991231-000000-000000.age", "botschaft-20991230-000000-000000.age", "botschaft-key.age"]
    for name in names:
        (target / name).write_bytes(b"x")
    made = await house.make()
    assert house.left() == sorted([made.name, names[0], names[2]])


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from bot import backup
from bot.settings import load_settings
stage, config = sys.argv[1], Path(sys.argv[2])
def progress(now, share):
    if f"{now} {share:.1f}".startswith(stage):
        os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(backup.make(load_settings(config), config.read_text(), progress))
"""


@pytest.mark.parametrize(
    ("stage", "files"),
    [
        ("copying", 0),
        ("checking", 0),
        ("sealing 0.0", 0),
        ("sealing 0.5", 0),
        ("sealing 1.0", 0),
        ("putting it", 0),
        ("writing down", 1),
    ],
)
async def test_a_power_cut_leaves_nothing_that_looks_like_a_backup(house: House, stage: str, files: int) -> None:
    await house.add("first", 300_000)
    command = [sys.executable, "-c", KILLED, stage, str(house.folder / "botschaft.toml")]
    ended = await asyncio.to_thread(subprocess.run, command, check=False, capture_output=True)

    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    whole = list(house.settings.backup.target.glob("*.age"))
    assert len(whole) == files
    for file in whole:
        await house.check(file)
    again = await house.make()
    assert house.left() == sorted(path.name for path in (*whole, again))
    assert (await house.check(again)).contents.open_items == 1
    assert (await house.check(again)).seconds >= 0


def test_a_private_key_is_written_once_and_only_for_us(tmp_path: Path) -> None:
    file = tmp_path / "backup.key"
    public = backup.write_new_key(file)
    assert public.startswith("age1")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with pytest.raises(Fatal, match="exists already"):
        backup.write_new_key(file)
    file.write_text("nothing")
    with pytest.raises(Fatal, match="does not hold a private key"):
        envelope.read_private_key(file)


def test_the_archive_is_one_that_other_tools_read(tmp_path: Path) -> None:
    """`age --decrypt | tar x` must do when this program is not at hand."""
    import pyrage

    public, private = envelope.new_pair()
    sealed = tmp_path / "x.age"
    with sealed.open("wb") as file:
        envelope.seal(file, public, {"program": "1"}, {"a": b"one", "b": b"two"}, lambda piece: None)
    plain = tmp_path / "x.tar"
    pyrage.decrypt_file(str(sealed), str(plain), [pyrage.x25519.Identity.from_str(private)])
    with tarfile.open(plain) as tar:
        assert tar.getnames() == ["manifest.json", "a", "b"]


def botschaft(house: House, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bot", *words, "--config", str(house.folder / "botschaft.toml")]
    environment = os.environ | {"COLUMNS": "300"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


async def test_the_shell_says_what_was_made_what_is_in_it_and_what_would_be_missing(house: House) -> None:
    await house.add("first")
    made = await asyncio.to_thread(botschaft, house, "backup")
    assert (made.returncode, made.stderr) == (0, "")
    assert "sealed and whole" in made.stdout
    (file,) = house.settings.backup.target.glob("*.age")
    key = ("--private-key", str(house.key_file))

    for command in (("drill", *key), ("restore", str(file), *key), ("restore", str(file), "--check", *key)):
        said = await asyncio.to_thread(botschaft, house, *command)
        assert (said.returncode, said.stderr) == (0, "")
        for part in ("Whole and readable", "for @werk:werk.de", "1 items under way", "Missing:"):
            assert part in said.stdout
    assert house.left() == [file.name]
    assert await facts.get(house.database, facts.ACCESS_TOKEN) == TOKEN

    both = await asyncio.to_thread(botschaft, house, "restore", str(file), "--check", "--accept", *key)
    assert (both.returncode, "Either" in both.stderr) == (1, True)
    without = await asyncio.to_thread(botschaft, house, "restore", str(file), "--accept", "--yes", *key)
    assert (without.returncode, "password is not in a backup" in without.stderr) == (1, True)
    missing = await asyncio.to_thread(botschaft, house, "restore", "nowhere.age", *key)
    assert (missing.returncode, "Traceback" in missing.stderr) == (1, False)
    pair = await asyncio.to_thread(botschaft, house, "backup", "--new-key", str(house.folder / "second.key"))
    assert "AGE-SECRET-KEY" not in pair.stdout
    assert 'recipient = "age1' in pair.stdout


async def test_a_backup_of_another_bot_or_a_shortened_recovery_key_changes_nothing(house: House) -> None:
    file = await house.make()
    await house.database.close()
    before = sorted(path.name for path in (house.folder / "data").iterdir())
    words = a_recovery_key()
    other = house.settings.bot.model_copy(update={"user_id": "@other:werk.de"})
    settings = house.settings.model_copy(update={"bot": other})

    with pytest.raises(Fatal, match=r"a backup of @werk:werk\.de"):
        await backup.accept(settings, file, house.private, words, silent)
    with pytest.raises(Fatal):
        await backup.accept(house.settings, file, house.private, words[:-1], silent)

    assert sorted(path.name for path in (house.folder / "data").iterdir() if path.name != "lock") == before
    await house.open()


def a_recovery_key() -> str:
    """Return a recovery key that is well formed and opens nothing."""
    return as_words(bytes(32))
