"""Where people stand, as it follows from the ledger: each change is one entry and one row, in one commit.

Also who was shown the privacy text, who is under age, and what was taken back before it was said to be given.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from bot.domain.arrival import Item
from bot.domain.consent import ANY_CASE, Consent, Standing, after, folded
from bot.domain.ids import CaseNumber, CustomerId, EventId, ItemId
from bot.domain.ledger.entries import Entry, Fact, LedgerKind, Value
from bot.domain.purpose import PrivacyText, PurposeId
from bot.store import ledger
from bot.store.database import Database, Row, Tx, from_ms, to_ms

Reader = Database | Tx
ONLY_CASE = "only_case"
"""The detail of an entry that is about a consent for one case alone."""
_COLUMNS = (
    "customer_id, purpose, standing, since, position, text_sha256, text_version, language, purpose_sha256,"
    " decision_event, arrived_seq, arrived_sub, used_at, case_number"
)


def _consent(row: Row) -> Consent:
    return Consent(
        customer=CustomerId(row[0]),
        purpose=PurposeId(row[1]),
        standing=Standing(row[2]),
        since=from_ms(row[3]),
        entry=row[4],
        text_sha256=row[5],
        text_version=row[6],
        language=row[7],
        purpose_sha256=row[8],
        decision=EventId(row[9]) if row[9] else None,
        arrived=(row[10], row[11]),
        used_at=from_ms(row[12]) if row[12] is not None else None,
        case=CaseNumber(row[13]),
    )


async def find(reader: Reader, customer: CustomerId, purpose: PurposeId, case: CaseNumber = ANY_CASE) -> Consent | None:
    """Return where a customer stands about a purpose (in one case); None: nothing was ever said or asked."""
    row = await reader.one(
        f"SELECT {_COLUMNS} FROM consents WHERE customer_id = ? AND purpose = ? AND case_number = ?",  # noqa: S608
        *(customer, purpose, case),
    )
    return _consent(row) if row else None


async def of_customer(reader: Reader, customer: CustomerId) -> list[Consent]:
    """Return where a customer stands about everything that was ever said or asked."""
    rows = await reader.all(
        f"SELECT {_COLUMNS} FROM consents WHERE customer_id = ? ORDER BY purpose, case_number",  # noqa: S608
        customer,
    )
    return [_consent(row) for row in rows]


async def given(reader: Reader, purpose: PurposeId | None = None) -> list[Consent]:
    """Return the consents that stand, of one purpose or of all."""
    rows = await reader.all(
        f"SELECT {_COLUMNS} FROM consents WHERE standing = 'given' AND (purpose = ?1 OR ?1 IS NULL)"  # noqa: S608
        " ORDER BY position",
        purpose,
    )
    return [_consent(row) for row in rows]


async def of_decision(reader: Reader, event: EventId) -> Consent | None:
    """Return the consent that stands because of an event of the customer."""
    row = await reader.one(
        f"SELECT {_COLUMNS} FROM consents WHERE decision_event = ? AND standing = 'given'",  # noqa: S608
        event,
    )
    return _consent(row) if row else None


async def record(
    tx: Tx, kind: LedgerKind, consent: Consent, details: Mapping[str, Value], *, now: datetime
) -> Entry | None:
    """Put what happened into the ledger and into the table; None: it cannot happen now, and nothing was written.

    `consent` says about whom and what, and which text; standing, time and entry are filled in here.
    """
    before = await find(tx, consent.customer, consent.purpose, consent.case)
    was = before.standing if before else Standing.NONE
    standing = after(was, kind)
    if standing is None:
        return None
    said = {
        "purpose": consent.purpose,
        "purpose_sha256": consent.purpose_sha256,
        "text_version": consent.text_version,
        "text_sha256": consent.text_sha256,
        "language": consent.language,
        "before": was.value,
        "standing": standing.value,
    } | ({ONLY_CASE: consent.case} if consent.case else {})
    entry = await ledger.append(tx, kind, {**details, **said}, subject=consent.customer, at=now)
    await _put(tx, replace(consent, standing=standing, since=now, entry=entry.position))
    return entry


async def _put(tx: Tx, consent: Consent) -> None:
    values = (
        *(consent.customer, consent.purpose, consent.standing.value, to_ms(consent.since), consent.entry),
        *(consent.text_sha256, consent.text_version, consent.language, consent.purpose_sha256, consent.decision),
        *(*consent.arrived, to_ms(consent.used_at) if consent.used_at else None, consent.case),
    )
    await tx.run(
        f"INSERT OR REPLACE INTO consents ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
        *values,
    )


async def set_used(tx: Tx, customer: CustomerId, purpose: PurposeId, now: datetime) -> None:
    """A consent was relied on."""
    await tx.run("UPDATE consents SET used_at = ? WHERE customer_id = ? AND purpose = ?", to_ms(now), customer, purpose)


async def differing(reader: Reader) -> list[str]:
    """Compare the table with what the ledger says; return a sentence for each difference; erased entries are silent."""
    sentences: list[str] = []
    for (customer,) in await reader.all("SELECT DISTINCT customer_id FROM consents ORDER BY customer_id"):
        facts = [entry.fact for entry in await ledger.of_subject(reader, customer) if entry.fact]
        on_record = folded((_matter(fact), fact.kind) for fact in facts if "purpose" in fact.details)
        known = {(consent.purpose, consent.case): consent.standing for consent in await of_customer(reader, customer)}
        sentences += [
            f"{matter[0]} of one customer: the table says {known.get(matter)}, the ledger {on_record.get(matter)}."
            for matter in sorted(known.keys() | on_record.keys())
            if known.get(matter) != on_record.get(matter)
        ]
    return sentences


def _matter(fact: Fact) -> tuple[PurposeId, CaseNumber]:
    return PurposeId(str(fact.details["purpose"])), CaseNumber(int(str(fact.details.get(ONLY_CASE, ANY_CASE))))


async def forget(tx: Tx, customer: CustomerId) -> None:
    """Nothing of what a customer agreed to is known any more. What they took back stays in the suppression list."""
    for table in ("consents", "permits", "questions", "notices", "withdrawals"):
        await tx.run(f"DELETE FROM {table} WHERE customer_id = ?", customer)  # noqa: S608 - the names stand above


# --------------------------------------------------------------------------------------------------------- withdrawals


async def note_withdrawal(tx: Tx, item: Item, customer: CustomerId, purpose: PurposeId | None) -> bool:
    """Write down that an item takes something back, before or while it is handled; False: it was before."""
    return (
        await tx.run(
            "INSERT OR IGNORE INTO withdrawals VALUES (?, ?, ?, ?, ?)", item.id, customer, purpose, *item.position
        )
        > 0
    )


async def is_withdrawal(reader: Reader, item: ItemId) -> bool:
    """Tell whether an item took something back already."""
    return await reader.one("SELECT 1 FROM withdrawals WHERE item_id = ?", item) is not None


async def withdrawn_after(reader: Reader, item: Item, customer: CustomerId, purpose: PurposeId) -> bool:
    """Tell whether a purpose was taken back by something that arrived after this item and was read ahead."""
    row = await reader.one(
        "SELECT 1 FROM withdrawals WHERE customer_id = ? AND (purpose = ? OR purpose IS NULL) AND (seq, sub) > (?, ?)",
        *(customer, purpose, *item.position),
    )
    return row is not None


# ----------------------------------------------------------------------------------------------- notices, young people


async def knows_notice(reader: Reader, customer: CustomerId, text: PrivacyText, *, in_language: str | None) -> bool:
    """Tell whether a customer was shown this text, or an older wording that counts as much; None: in any language."""
    row = await reader.one(
        "SELECT 1 FROM notices JOIN privacy_texts USING (sha256) WHERE customer_id = ?1 AND text_id = ?2"
        " AND state = 'shown' AND wording >= ?3 AND (language = ?4 OR ?4 IS NULL)",
        *(customer, text.id, text.counts_from, in_language),
    )
    return row is not None


async def notice_failed(reader: Reader, customer: CustomerId) -> bool:
    """Tell whether the last try to show a customer the privacy text was given up."""
    row = await reader.one("SELECT state FROM notices WHERE customer_id = ? ORDER BY at DESC LIMIT 1", customer)
    return row is not None and row[0] == "failed"


async def note_notice(
    tx: Tx, customer: CustomerId, text: PrivacyText, event: EventId | None, details: Mapping[str, Value], now: datetime
) -> None:
    """Put on record that a customer was shown a text; without an event, that it could not be shown. Once each."""
    state = "shown" if event else "failed"
    if await tx.one(
        "SELECT 1 FROM notices WHERE customer_id = ? AND sha256 = ? AND state IN ('shown', ?)",
        *(customer, text.sha256, state),
    ):
        return
    said = {
        "text": text.id,
        "text_version": text.version,
        "text_sha256": text.sha256,
        "language": text.language,
        "event": event,
    }
    kind = LedgerKind.NOTICE_SHOWN if event else LedgerKind.NOTICE_FAILED
    await ledger.append(tx, kind, {**details, **said}, subject=customer, at=now)
    await tx.run(
        "INSERT OR REPLACE INTO notices VALUES (?, ?, ?, ?, ?, ?, ?)",
        *(customer, text.id, text.sha256, text.wording, state, event, to_ms(now)),
    )


async def is_under_age(reader: Reader, customer: CustomerId) -> bool:
    """Tell whether a customer said that they are too young to agree to anything."""
    row = await reader.one("SELECT under_age FROM customers WHERE id = ?", customer)
    return bool(row and row[0])


async def set_under_age(tx: Tx, customer: CustomerId) -> None:
    """They are too young. No birth date is kept."""
    await tx.run("UPDATE customers SET under_age = 1 WHERE id = ?", customer)
