"""What the machine gives: files that are whole, a disk that takes what is written; and each that is not is found."""

import errno
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest

from bot.doctor import examine
from bot.doctor.patient import Patient
from bot.domain.secrets import Purpose, derive
from bot.resources import resource_dir
from bot.store.database import Database
from bot.store.soundness import damage
from tests.doctor.patients import patient

MIB = 1024 * 1024


async def words(looked_at: Patient, *areas: str) -> list[str]:
    return [finding.text.removeprefix("doctor.") for finding in await examine(looked_at, areas)]


@pytest.mark.parametrize(("free_mib", "found"), [(99, "disk.full"), (1023, "disk.little"), (1024, "disk.well")])
async def test_how_much_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_mib: int, found: str) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": free_mib * MIB}))
    async with patient(tmp_path) as looked_at:
        assert await words(looked_at, "disk") == [found]
        assert list(looked_at.settings.storage.folder.iterdir()) == []


async def test_a_disk_that_takes_nothing_is_named_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(**_: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    async with patient(tmp_path) as looked_at:
        (found,) = await examine(looked_at, ["disk"])
        assert (found.text, found.values["reason"]) == ("doctor.disk.not_writable", "Read-only file system")


async def test_private_files_that_others_may_read_are_named(tmp_path: Path) -> None:
    async with patient(tmp_path) as looked_at:
        assert await words(looked_at, "configuration") == ["configuration.well"]
        looked_at.settings.storage.master_secret_file.chmod(0o640)
        assert await words(looked_at, "configuration") == ["configuration.problem"]
        assert await words(looked_at, "databases") == ["stopped"], "what cannot be read is said, and no traceback"


async def test_the_password_is_missed_before_the_first_start_and_not_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOTSCHAFT_BOT__PASSWORD_FILE", str(tmp_path / "bot.password"))
    async with patient(tmp_path) as looked_at:
        (found,) = await examine(looked_at, ["configuration"])
        assert "bot.password is missing" in found.values["problem"]
        (tmp_path / "data" / "keys.db").touch()
        assert await words(looked_at, "configuration") == ["configuration.well"]


async def test_a_page_that_was_changed_is_found_and_so_is_another_key(tmp_path: Path) -> None:
    file, key = tmp_path / "botschaft.db", derive(bytes(32), Purpose.DATABASE)
    assert damage(file, key) == "there is no such file"
    database = await Database.open(file, key=key, migrations=resource_dir("migrations"))
    assert damage(file, key) == "", "also while somebody has it open"
    await database.close()
    assert damage(file, key) == ""
    assert damage(file, bytes(32)) != ""

    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert "page" in damage(file, key)
