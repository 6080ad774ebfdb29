"""The register of texts: one version, one wording, for ever."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlcipher3 import dbapi2 as sqlcipher

from bot.domain.purpose import PrivacyText
from bot.resources import resource_dir
from bot.store import privacy_texts
from bot.store.database import Database, Tx

NOW = datetime(2026, 3, 2, tzinfo=UTC)
GERMAN = PrivacyText("minor", "1.1", "de", "Danke für den Hinweis.")
ENGLISH = PrivacyText("minor", "1.1", "en", "Thank you.")


async def opened(folder: Path, migrations: Path | None = None) -> Database:
    return await Database.open(folder / "b.db", key=b"k" * 32, migrations=migrations or resource_dir("migrations"))


async def register(database: Database, *texts: PrivacyText) -> list[str]:
    async with database.transaction() as tx:
        return await privacy_texts.register(tx, texts, NOW)


async def test_what_was_shown_is_found_again_byte_for_byte(tmp_path: Path) -> None:
    database = await opened(tmp_path)
    for _ in range(2):  # a second start registers nothing anew
        assert await register(database, GERMAN, ENGLISH) == []

    assert await privacy_texts.by_hash(database, GERMAN.sha256) == GERMAN.text
    assert await privacy_texts.by_hash(database, "0" * 64) is None
    assert await database.all("SELECT count(*) FROM privacy_texts") == [(2,)]
    await database.close()


async def test_ac_08_other_words_under_an_old_version_are_refused_with_a_sentence(tmp_path: Path) -> None:
    database = await opened(tmp_path)
    await register(database, GERMAN, ENGLISH)
    other = replace(GERMAN, text="Danke sehr.")

    (sentence,) = await register(database, other, replace(ENGLISH, version="1.2"))

    assert sentence.startswith("minor.de: other words have been version 1.1 since 2026-03-02. Raise privacy.edition")
    assert await privacy_texts.changed(database, [other, ENGLISH]) == [sentence]
    assert await database.all("SELECT count(*) FROM privacy_texts") == [(2,)]
    assert await register(database, replace(other, version="2.1")) == []
    assert await register(database, GERMAN) == [], "an old version may come back with its old words"
    await database.close()


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE privacy_texts SET text = 'x'",
        "DELETE FROM privacy_texts",
        "REPLACE INTO privacy_texts VALUES ('minor', '1.1', 'de', '{hash}', 'x', 0)",
        "INSERT OR REPLACE INTO privacy_texts VALUES ('minor', '1.1', 'de', '{hash}', 'x', 0)",
        "INSERT INTO privacy_texts VALUES ('minor', '1.1', 'de', '{hash}', 'x', 0) ON CONFLICT DO UPDATE SET text = 'x'",
    ],
)
async def test_no_bug_of_ours_can_change_evidence(tmp_path: Path, sql: str) -> None:
    database = await opened(tmp_path)
    await register(database, GERMAN)

    async def run(tx: Tx) -> None:
        await tx.run(sql.replace("{hash}", "0" * 64))

    with pytest.raises(sqlcipher.IntegrityError, match="privacy text"):
        async with database.transaction() as tx:
            await run(tx)
    assert await privacy_texts.by_hash(database, GERMAN.sha256) == GERMAN.text
    await database.close()


async def test_looking_at_an_older_database_changes_nothing(tmp_path: Path) -> None:
    first = tmp_path / "first"
    first.mkdir()
    oldest = min(resource_dir("migrations").glob("*.sql"))
    (first / oldest.name).write_text(oldest.read_text())
    await (await opened(tmp_path, first)).close()

    database = await Database.open(tmp_path / "b.db", key=b"k" * 32, migrations=None)

    assert await privacy_texts.changed(database, [GERMAN]) == []
    assert await database.all("SELECT number FROM migrations") == [(1,)]
    await database.close()
