"""An entry has one spelling only, and its commitment says nothing without the salt."""

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.ids import CustomerId
from bot.domain.ledger.entries import (
    Entry,
    Fact,
    LedgerKind,
    commitment,
    fact_of,
    fingerprint,
    hash_of_entry,
)

AT = datetime(2026, 3, 2, 9, 0, 0, 123000, tzinfo=UTC)
FACT = Fact("ab" * 16, LedgerKind.GIVEN, CustomerId("c1"), AT, {"text": "Ja, „gern“ \u2028 \x1f", "n": 1, "none": None})
SALT = bytes(range(32))

NAMES = st.from_regex(r"[a-z][a-z_]{0,12}", fullmatch=True).filter(
    lambda name: name not in {"v", "id", "type", "subject", "at"}
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
VALUES = st.one_of(TEXT, st.integers(-(2**53) + 1, 2**53 - 1), st.booleans(), st.none(), st.lists(TEXT, max_size=4))


def test_the_spelling_is_that_of_rfc_8785() -> None:
    assert FACT.payload().decode() == (
        '{"at":"2026-03-02T09:00:00.123Z","id":"' + "ab" * 16 + '","n":1,"none":null,"subject":"c1",'
        '"text":"Ja, „gern“ \u2028 \\u001f","type":"given","v":1}'
    )


@given(st.dictionaries(NAMES, VALUES, max_size=6), st.sampled_from(LedgerKind), st.integers(0, 10**6))
def test_what_was_written_is_read_again(details: dict[str, str], kind: LedgerKind, seconds: int) -> None:
    fact = Fact("id", kind, None, AT + timedelta(seconds=seconds), details)
    assert fact_of(fact.payload()) == fact


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("x", 0.5), ("x", 2**53), ("x", [1.5]), ("x", {"a": 1}), ("x", [["a"]]), ("x", b"a")),
        *(("ä", "x"), ("", "x"), ("a b", "x"), ("type", "x"), ("subject", "x"), ("v", 2), ("at", "x"), ("id", "x")),
    ],
)
def test_what_has_more_than_one_spelling_is_refused(name: str, value: object) -> None:
    with pytest.raises(ValueError, match="not for the ledger"):
        Fact("id", LedgerKind.GIVEN, None, AT, {name: value}).payload()  # type: ignore[dict-item]


@pytest.mark.parametrize(
    "payload",
    [
        *(b"", b"{}", b"[]", b"null", b"\xff", b"[" * 100_000, FACT.payload()[:-1], FACT.payload() + b"x"),
        *(FACT.payload().replace(b'"v":1', b'"v":2'), FACT.payload().replace(b"given", b"taken")),
        *(FACT.payload().replace(b'"given"', b"[]"), FACT.payload().replace(b"2026-", b"x")),
    ],
)
def test_what_is_no_entry_is_told(payload: bytes) -> None:
    with pytest.raises(ValueError, match=r"no entry|version"):
        fact_of(payload)


def test_commitment_leaf_and_fingerprint_are_what_they_are_said_to_be() -> None:
    """An auditor's script computes the same (config/audit/verify.py): the formats must never change."""
    committed = hashlib.sha256(b"consent-event/v1\x00" + SALT + FACT.payload()).digest()
    leaf = hashlib.sha256(b"\x00\x01" + committed).digest()
    assert commitment(SALT, FACT.payload()) == committed
    assert hash_of_entry(committed) == Entry(0, committed, None).leaf == leaf
    assert fingerprint(bytes(32)) == "AAAA-AAAA-AAAA"
    assert Entry(0, committed, FACT).fingerprint.replace("-", "").isalnum()


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_another_salt_is_another_commitment(one: bytes, other: bytes) -> None:
    assert (commitment(one, b"x") == commitment(other, b"x")) == (one == other)
