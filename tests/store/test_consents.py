"""What people agreed to before there were consents for one case is theirs as it was."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

from bot.domain.consent import ANY_CASE, Standing
from bot.domain.ids import CaseNumber, UserId
from bot.domain.ledger.entries import LedgerKind
from bot.domain.purpose import PurposeId
from bot.resources import resource_dir
from bot.store import consents, ledger, questions, rooms
from bot.store.database import Database

NEWS = PurposeId("marketing_news")
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


def before(folder: Path, name: str) -> Path:
    """The migrations up to one of this name, without it."""
    older = folder / "older"
    older.mkdir()
    for file in sorted(resource_dir("migrations").glob("*.sql")):
        if name in file.name:
            return older
        shutil.copy(file, older)
    raise AssertionError(f"there is no migration {name}")


async def test_a_consent_from_before_is_about_no_case_in_particular(tmp_path: Path) -> None:
    older = before(tmp_path, "consents_for_one_case")
    database = await Database.open(tmp_path / "b.db", key=b"k" * 32, migrations=older)
    async with database.transaction() as tx:
        anna = await rooms.make_customer(tx, UserId("@anna:example.org"), NOW)
        details = {"purpose": NEWS, "before": "none", "standing": "given"}
        entry = await ledger.append(tx, LedgerKind.GIVEN, details, subject=anna, at=NOW)
        await tx.run(
            "INSERT INTO consents VALUES (?, ?, 'given', 1, ?, 'a', '1.1', 'en', 'b', '$yes', 7, 3, 9)",
            *(anna, NEWS, entry.position),
        )
        await tx.run(
            "INSERT INTO cases (number, customer_id, desk, alias, opened_at, touched_at, state)"
            " VALUES (1001, ?, 'annahme', 'x', 1, 1, 'owed')",
            anna,
        )
        await tx.run(
            "INSERT INTO questions VALUES (1, 'item', ?, ?, 1001, '!r', ?, '1.1', 'en', '$t', '$p', 'decided', 0, 5)",
            *(anna, NEWS, "0" * 64),
        )
    await database.close()

    database = await Database.open(tmp_path / "b.db", key=b"k" * 32, migrations=resource_dir("migrations"))
    try:
        known = await consents.find(database, anna, NEWS)
        assert known
        assert (known.standing, known.case, known.language, known.decision) == (Standing.GIVEN, ANY_CASE, "en", "$yes")
        assert (known.arrived, known.entry) == ((7, 3), entry.position)
        assert await consents.find(database, anna, NEWS, CaseNumber(1001)) is None
        assert await consents.differing(database) == []
        asked = await questions.get(database, 1)
        assert (asked.named, asked.only_case) == ({}, ANY_CASE)
    finally:
        await database.close()
