"""The tables of the ledger: they grow by appends only, in the commit of the cause, and contents can be erased."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pymerkle
import pytest
from sqlcipher3 import dbapi2 as sqlcipher

from bot.domain.ids import CustomerId
from bot.domain.ledger import tree
from bot.domain.ledger.entries import LedgerKind, commitment, fact_of, hash_of_entry
from bot.domain.ledger.notes import opened_proof
from bot.store import ledger, snapshot
from bot.store.database import Database
from tests.store.ledgers import ANNA, AT, BERT, KEY, SIGNER, a_ledger, append, audit, opened, sign

FORBIDDEN = {
    "changed": "UPDATE ledger SET commitment = zeroblob(32)",
    "moved": "UPDATE ledger SET position = position + 100",
    "deleted": "DELETE FROM ledger WHERE position = 4",
    "replaced": "REPLACE INTO ledger VALUES (2, zeroblob(32))",
    "replaced by an insert": "INSERT OR REPLACE INTO ledger VALUES (2, zeroblob(32))",
    "ignored": "INSERT OR IGNORE INTO ledger VALUES (2, zeroblob(32))",
    "with a gap": "INSERT INTO ledger VALUES (6, zeroblob(32))",
    "before the first": "INSERT INTO ledger VALUES (-1, zeroblob(32))",
    "without a place": "INSERT INTO ledger VALUES (NULL, zeroblob(32))",
    "a node changed": "UPDATE ledger_nodes SET hash = zeroblob(32) WHERE level = 1",
    "a node deleted": "DELETE FROM ledger_nodes",
    "a node replaced": "REPLACE INTO ledger_nodes VALUES (1, 0, zeroblob(32))",
    "a content changed": "UPDATE ledger_contents SET payload = x'00' WHERE position = 1",
    "a content deleted": "DELETE FROM ledger_contents WHERE position = 1",
    "a content replaced": "REPLACE INTO ledger_contents VALUES (1, NULL, 'given', zeroblob(32), x'00', NULL)",
    "a content filed elsewhere": "UPDATE ledger_contents SET subject = 'c9' WHERE position = 1",
    "blanked": "UPDATE ledger_contents SET subject = NULL, kind = NULL, salt = NULL, payload = NULL WHERE position = 1",
    "blanked by an entry that does not say so": (
        "UPDATE ledger_contents SET subject = NULL, kind = NULL, salt = NULL, payload = NULL, erased_by = 3"
        " WHERE position = 1"
    ),
    "a checkpoint changed": "UPDATE ledger_checkpoints SET note = x'00'",
    "a checkpoint deleted": "DELETE FROM ledger_checkpoints",
    "a checkpoint replaced": "REPLACE INTO ledger_checkpoints SELECT origin, size, x'00', 0 FROM ledger_checkpoints",
}


@pytest.mark.parametrize("what", FORBIDDEN)
async def test_nothing_is_changed_deleted_replaced_or_left_out(tmp_path: Path, what: str) -> None:
    async with a_ledger(tmp_path, 5) as database:
        await sign(database)
        with pytest.raises(Exception, match=r"ledger|content|checkpoint"):
            async with database.transaction() as tx:
                await tx.run(FORBIDDEN[what])
        assert (await audit(database)).is_clean
        await append(database, 5)
        assert await ledger.size(database) == 6


async def test_an_entry_shares_the_commit_of_its_cause(tmp_path: Path) -> None:
    async with a_ledger(tmp_path, 3) as database:
        with pytest.raises(sqlcipher.IntegrityError):
            await _append_and_fail(database)
        assert await ledger.size(database) == 3
        entry = await append(database, 3)
        assert entry.position == 3
        assert (await audit(database)).is_clean


async def _append_and_fail(database: Database) -> None:
    async with database.transaction() as tx:
        await ledger.append(tx, LedgerKind.GIVEN, {}, subject=ANNA, at=AT)
        await tx.run("INSERT INTO customers DEFAULT VALUES")


async def test_the_stored_tree_is_that_of_pymerkle(tmp_path: Path) -> None:
    other = pymerkle.InmemoryTree(algorithm="sha256")
    async with a_ledger(tmp_path) as database:
        for number in range(40):
            other.append_entry(b"\x01" + (await append(database, number)).committed)
            assert await ledger.root(database, number + 1) == other.get_root()
        for old in range(1, 41):
            proof = await ledger.consistency(database, old, 40)
            assert tree.extends(other.get_root(old), old, other.get_root(), 40, proof)


async def test_an_entry_is_found_again_by_place_fingerprint_customer_and_kind(tmp_path: Path) -> None:
    async with a_ledger(tmp_path, 6) as database:
        published = await append(database, 6, LedgerKind.TEXT_PUBLISHED)
        assert await ledger.entry(database, 6) == await ledger.find(database, published.fingerprint) == published
        assert await ledger.entry(database, 7) is await ledger.find(database, "AAAA-AAAA-AAAA") is None
        assert [entry.position for entry in await ledger.of_subject(database, BERT)] == [1, 3, 5]
        assert await ledger.of_kind(database, LedgerKind.TEXT_PUBLISHED) == [published]
        assert [entry.position for entry in await ledger.newest(database, 2)] == [5, 6]
        assert published.fact
        assert published.fact.at == AT + timedelta(minutes=6)
        assert published.fact.details == {"purpose": "purpose 6"}


@pytest.mark.parametrize("size", [1, 2, 7, 8, 33])
async def test_a_proof_holds_for_whoever_has_it(tmp_path: Path, size: int) -> None:
    async with a_ledger(tmp_path, size) as database:
        for position in range(size):
            async with database.transaction() as tx:
                text = (await ledger.proof(tx, SIGNER, position, at=AT, opened=True)).text()
            proof = opened_proof(text, SIGNER.verifier)
            salt, payload = proof.extra[:32], proof.extra[32:]
            assert proof.holds(hash_of_entry(commitment(salt, payload)))
            assert fact_of(payload).details == {"purpose": f"purpose {position}"}
        assert len(await ledger.checkpoints(database)) == 1


async def test_a_proof_for_others_says_nothing_of_the_content(tmp_path: Path) -> None:
    async with a_ledger(tmp_path, 5) as database:
        async with database.transaction() as tx:
            proof = await ledger.proof(tx, SIGNER, 2, at=AT, opened=False)
        entry = await ledger.entry(database, 2)
        assert entry
        assert (proof.extra, proof.holds(entry.leaf)) == (b"", True)


async def test_what_is_erased_is_gone_and_the_tree_stays(tmp_path: Path) -> None:
    database = await opened(tmp_path)
    for number in range(6):
        await append(database, number, words="Ja, gern, Bremsbelaege")
    before = await sign(database)
    root = await ledger.root(database, 6)
    positions = [entry.position for entry in await ledger.of_subject(database, ANNA)]
    salts = [row[0] for row in await database.all("SELECT salt FROM ledger_contents WHERE subject = ?", ANNA)]
    async with database.transaction() as tx:
        said = await ledger.erase(tx, positions, {"ground": "art17"}, at=AT)
    report = await audit(database, before)
    entry = await ledger.entry(database, 2)

    assert report.is_clean
    assert (report.erased, report.size) == (3, 7)
    assert await ledger.root(database, 6) == root
    assert entry
    assert (entry.fact, entry.erased_by) == (None, said.position)
    assert await ledger.of_subject(database, ANNA) == []
    assert said.fact
    assert said.fact.details == {"ground": "art17", "covers": [0, 2, 4]}
    left = b"".join(
        bytes(part) for row in await database.all("SELECT salt, payload FROM ledger_contents") for part in row if part
    )
    assert not [salt for salt in salts if salt in left]
    async with database.transaction() as tx:
        proof = await ledger.proof(tx, SIGNER, 2, at=AT, opened=True)
    assert (proof.extra, proof.holds(entry.leaf)) == (b"", True)
    await database.close()


async def test_what_says_that_something_was_erased_stays(tmp_path: Path) -> None:
    async with a_ledger(tmp_path, 3) as database:
        async with database.transaction() as tx:
            first = await ledger.erase(tx, [1], {}, at=AT)
            again = await ledger.erase(tx, [1, first.position, 99], {}, at=AT)
        assert again.fact
        assert again.fact.details == {"covers": []}
        assert (await audit(database)).is_clean
        with pytest.raises(Exception, match="can only be erased"):
            async with database.transaction() as tx:
                await tx.run(
                    "UPDATE ledger_contents SET subject = NULL, kind = NULL, salt = NULL, payload = NULL, erased_by = ?"
                    " WHERE position = ?",
                    *(again.position, first.position),
                )


async def test_what_has_two_spellings_gets_nowhere(tmp_path: Path) -> None:
    async with a_ledger(tmp_path, 1) as database:
        with pytest.raises(ValueError, match="share"):
            async with database.transaction() as tx:
                await ledger.append(tx, LedgerKind.USED, {"share": 0.5}, subject=CustomerId("x"), at=AT)  # type: ignore[dict-item]
        assert await ledger.size(database) == 1


async def test_a_backup_holds_the_ledger_with_its_triggers(tmp_path: Path) -> None:
    async with a_ledger(tmp_path, 9) as database:
        async with database.transaction() as tx:
            await ledger.erase(tx, [3], {}, at=AT)
        note = await sign(database)
        (tmp_path / "copy").mkdir()
        await asyncio.to_thread(snapshot.copy, tmp_path / "b.db", tmp_path / "copy" / "b.db", KEY, AT)
    async with a_ledger(tmp_path / "copy") as restored:
        report = await audit(restored, note)
        assert (report.is_clean, report.size, report.erased) == (True, 10, 1)
        with pytest.raises(sqlcipher.IntegrityError, match="not changed"):
            await _run(restored, FORBIDDEN["changed"])


async def _run(database: Database, sql: str) -> None:
    async with database.transaction() as tx:
        await tx.run(sql)
