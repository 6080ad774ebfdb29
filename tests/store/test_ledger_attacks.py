"""Attacks by somebody who has the file and its key (threat model: T1 to T5, T9, T11), and what an audit says.

T5, an older backup, is `tests/flows/test_anchoring.py`: the start is refused.
"""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.domain.errors import Fatal
from bot.domain.ledger.audit import Report
from bot.domain.ledger.entries import LedgerKind
from bot.store import ledger
from tests.store.ledgers import ANNA, AT, SIGNER, Forger, a_ledger, append, audit, sign


def told(report: Report) -> str:
    return "\n".join(str(finding) for finding in report.findings)


async def test_t1_a_changed_content_is_named(tmp_path: Path) -> None:
    async with a_ledger(tmp_path, 12) as database:
        await sign(database)
        forger = Forger(tmp_path / "b.db")
        forger.run(
            "UPDATE ledger_contents SET payload = CAST(replace(CAST(payload AS TEXT), 'given', 'taken') AS BLOB)"
            " WHERE position = 7"
        )
        forger.close()
        report = await audit(database)
        assert [finding.position for finding in report.findings] == [7]
        assert "does not fit the commitment" in told(report)


async def test_t1_two_swapped_contents_are_named(tmp_path: Path) -> None:
    async with a_ledger(tmp_path, 12) as database:
        forger = Forger(tmp_path / "b.db")
        for old, new in ((3, 90), (8, 3), (90, 8)):
            forger.run("UPDATE ledger_contents SET position = ? WHERE position = ?", new, old)
        forger.close()
        assert [finding.position for finding in (await audit(database)).findings] == [3, 8]


async def test_t2_an_entry_rewritten_with_its_commitment_is_named(tmp_path: Path) -> None:
    async with a_ledger(tmp_path, 12) as database:
        await sign(database)
        forger = Forger(tmp_path / "b.db")
        forger.forge_content(7, "purpose 7", "purpose 9")
        forger.close()
        report = await audit(database)
        assert report.findings[0].position == 7
        assert "Entry 7: its commitment was changed." in told(report)


async def test_t2_a_whole_rewritten_tree_does_not_fit_the_signed_checkpoint(tmp_path: Path) -> None:
    async with a_ledger(tmp_path, 5) as database:
        await sign(database)
        for number in range(5, 12):
            await append(database, number)
        await sign(database)
        forger = Forger(tmp_path / "b.db")
        forger.forge_content(7, "purpose 7", "purpose 9")
        forger.rebuild_tree()
        forger.close()
        report = await audit(database)
        assert [finding.position for finding in report.findings] == [None]
        assert "size 12) was signed over other entries: one of the entries 5 to 11 was changed" in told(report)
        assert [size for _, size in report.agreed] == [5]


async def test_t3_a_deletion_that_claims_to_be_an_erasure_is_named(tmp_path: Path) -> None:
    blank = "UPDATE ledger_contents SET subject = NULL, kind = NULL, salt = NULL, payload = NULL, erased_by = ? WHERE position = ?"
    async with a_ledger(tmp_path, 6) as database:
        async with database.transaction() as tx:
            said = await ledger.erase(tx, [2], {}, at=AT)
        assert (await audit(database)).is_clean
        forger = Forger(tmp_path / "b.db")
        forger.run(blank, said.position, 1)
        forger.run(blank, 0, 4)
        forger.run("UPDATE ledger_contents SET salt = NULL, payload = NULL WHERE position = 5")
        forger.run("DELETE FROM ledger_contents WHERE position = 3")
        forger.close()
        report = await audit(database)
        assert sorted(str(finding) for finding in report.findings) == [
            "Entry 1: its content is gone, but entry 6 does not say that it was erased.",
            "Entry 3: its content is missing, though it was not erased.",
            "Entry 4: its content is gone, but entry 0 does not say that it was erased.",
            "Entry 5: its content is gone, and no entry says that it was erased.",
        ]


async def test_t3_an_erasure_that_did_not_happen_is_named(tmp_path: Path) -> None:
    async with a_ledger(tmp_path, 3) as database:
        await append(database, 3, LedgerKind.ERASED, covers=[1])
        assert told(await audit(database)) == "Entry 1: entry 3 says that it was erased, but it was not."


async def test_t4_a_shortened_ledger_with_a_new_signature_is_found_by_the_checkpoint_from_outside(
    tmp_path: Path,
) -> None:
    async with a_ledger(tmp_path, 30) as database:
        outside = await sign(database)
        forger = Forger(tmp_path / "b.db")
        forger.truncate(29)
        forger.rebuild_tree()
        forger.sign_anew()
        forger.close()
        assert (await audit(database)).is_clean, "from inside nobody can tell"
        report = await audit(database, outside)
        assert told(report) == (
            "The checkpoint from outside has size 30, but the ledger has 29 entries: entry 29 is missing."
        )


async def test_t4_a_shortened_ledger_with_its_old_signatures_is_found_from_inside(tmp_path: Path) -> None:
    async with a_ledger(tmp_path, 30) as database:
        await sign(database)
        forger = Forger(tmp_path / "b.db")
        forger.truncate(20)
        forger.close()
        report = await audit(database)
        assert {finding.position for finding in report.findings} >= set(range(20, 30))
        assert "has size 30, but the ledger has 20 entries" in told(report)


async def test_t9_a_stolen_key_fools_the_inside_and_no_copy_outside(tmp_path: Path) -> None:
    async with a_ledger(tmp_path, 30) as database:
        outside = await sign(database)
        async with database.transaction() as tx:
            proof = await ledger.proof(tx, SIGNER, 7, at=AT, opened=True)
        forger = Forger(tmp_path / "b.db")
        forger.forge_content(7, "given", "taken")
        forger.forge_content(7, "taken", "refused")
        forger.run("UPDATE ledger_contents SET kind = 'refused' WHERE position = 7")
        forger.rebuild_tree()
        forger.sign_anew()
        forger.close()
        assert (await audit(database)).is_clean, "from inside nobody can tell"
        assert "signed over other entries" in told(await audit(database, outside))
        assert "signed over other entries" in told(await audit(database, proof.checkpoint.note)), (
            "nor a customer's proof"
        )


async def test_t9_a_key_of_somebody_else_signs_nothing(tmp_path: Path) -> None:
    async with a_ledger(tmp_path, 3) as database:
        await sign(database)
        forger = Forger(tmp_path / "b.db")
        forger.run("UPDATE ledger_checkpoints SET note = CAST(replace(CAST(note AS TEXT), '3', '2') AS BLOB)")
        forger.close()
        assert "is not to be believed" in told(await audit(database))


async def test_t11_a_text_that_was_changed_afterwards_does_not_fit_what_was_published(tmp_path: Path) -> None:
    async with a_ledger(tmp_path, 4) as database:
        published = await append(database, 4, LedgerKind.TEXT_PUBLISHED, text="news.q", sha256="ab" * 32)
        await sign(database)
        forger = Forger(tmp_path / "b.db")
        forger.forge_content(4, "ab" * 32, "cd" * 32)
        forger.close()
        report = await audit(database)
        assert report.findings[0].position == published.position
        assert not report.is_clean


async def test_what_is_filed_elsewhere_than_it_says_is_named(tmp_path: Path) -> None:
    async with a_ledger(tmp_path, 4) as database:
        forger = Forger(tmp_path / "b.db")
        forger.run("UPDATE ledger_contents SET subject = 'somebody' WHERE position = 1")
        forger.run("UPDATE ledger_contents SET kind = 'withdrawn' WHERE position = 2")
        forger.close()
        report = await audit(database)
        assert [finding.position for finding in report.findings] == [1, 2]
        assert "filed under another customer or kind" in told(report)


async def test_a_content_or_a_tree_that_cannot_be_read_is_a_clear_stop(tmp_path: Path) -> None:
    async with a_ledger(tmp_path, 4) as database:
        forger = Forger(tmp_path / "b.db")
        forger.run("UPDATE ledger_contents SET payload = x'00' WHERE position = 1")
        forger.run("DELETE FROM ledger_nodes WHERE level = 2")
        forger.close()
        with pytest.raises(Fatal, match=r"entry 1 cannot be read.*ledger verify"):
            await ledger.entry(database, 1)
        with pytest.raises(Fatal, match=r"hashes of its tree are missing.*ledger verify"):
            await sign(database)


SIZE = 11


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.sampled_from(["flip", "drop", "swap", "add"]), st.data())
async def test_any_flipped_bit_and_any_dropped_swapped_or_added_row_is_found_and_named(
    tmp_path_factory: pytest.TempPathFactory, how: str, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("l")
    async with a_ledger(folder, SIZE - 1) as database:
        async with database.transaction() as tx:
            await ledger.erase(tx, [4], {}, at=AT)
        await sign(database)
        assert (await audit(database)).is_clean
        forger = Forger(folder / "b.db")
        named = {"flip": flip, "drop": drop, "swap": swap, "add": add}[how](forger, data)
        forger.close()
        report = await audit(database)
        assert named & {finding.position for finding in report.findings} == named, told(report)
        assert not report.is_clean


Named = set[int | None]


def flip(forger: Forger, data: st.DataObject) -> Named:
    """One bit of one value, anywhere. Returns what must be named."""
    values: list[int]
    named: int | None
    columns = [("ledger", "commitment"), ("ledger_contents", "salt"), ("ledger_contents", "payload")]
    columns += [("ledger_nodes", "hash"), ("ledger_checkpoints", "note")]
    table, column = data.draw(st.sampled_from(columns))
    where, values, named = "1", [], None
    if table in {"ledger", "ledger_contents"}:
        named = data.draw(st.sampled_from([n for n in range(SIZE) if column == "commitment" or n != 4]))
        where, values = "position = ?", [named]
    elif table == "ledger_nodes":
        values = list(data.draw(st.sampled_from(forger.rows("SELECT level, position FROM ledger_nodes"))))
        where, named = "level = ? AND position = ?", values[1] if values[0] == 0 else None
    old = bytes(forger.one(f"SELECT {column} FROM {table} WHERE {where}", *values))
    bit = data.draw(st.integers(0, len(old) * 8 - 1))
    new = bytearray(old)
    new[bit // 8] ^= 1 << bit % 8
    forger.run(f"UPDATE {table} SET {column} = ? WHERE {where}", bytes(new), *values)
    return {named}


def drop(forger: Forger, data: st.DataObject) -> Named:
    table = data.draw(st.sampled_from(["ledger", "ledger_contents", "ledger_nodes"]))
    position = data.draw(st.integers(0, SIZE - 1))
    level = " AND level = 0" if table == "ledger_nodes" else ""
    forger.run(f"DELETE FROM {table} WHERE position = ?{level}", position)
    return {position}


def swap(forger: Forger, data: st.DataObject) -> Named:
    table = data.draw(st.sampled_from(["ledger", "ledger_contents"]))
    one, other = data.draw(st.lists(st.integers(0, SIZE - 1), min_size=2, max_size=2, unique=True))
    for old, new in ((one, 90), (other, one), (90, other)):
        forger.run(f"UPDATE {table} SET position = ? WHERE position = ?", new, old)
    return {one, other}


def add(forger: Forger, data: st.DataObject) -> Named:
    position = data.draw(st.integers(SIZE, SIZE + 3))
    table = data.draw(st.sampled_from(["ledger", "ledger_contents"]))
    if table == "ledger":
        forger.run("INSERT INTO ledger VALUES (?, zeroblob(32))", position)
    else:
        forger.run("INSERT INTO ledger_contents VALUES (?, ?, 'given', zeroblob(32), x'00', NULL)", position, ANNA)
    return {position}
