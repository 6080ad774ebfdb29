"""The register of privacy texts: what each version said, word for word. Rows are evidence; triggers keep them."""

from collections.abc import Iterable
from datetime import datetime

from bot.domain.purpose import PrivacyText, digest
from bot.store.database import Database, Tx, from_ms, to_ms


async def register(tx: Tx, texts: Iterable[PrivacyText], now: datetime) -> list[str]:
    """Write down the texts that are new; return a sentence for each that says something else than its version did.

    If a sentence is returned, the caller must not commit.
    """
    texts = list(texts)
    sentences = await changed(tx, texts)
    if sentences:
        return sentences
    known = {tuple(row) for row in await tx.all("SELECT id, version, language FROM privacy_texts")}
    for text in texts:
        if (text.id, text.version, text.language) not in known:
            await tx.run(
                "INSERT INTO privacy_texts VALUES (?, ?, ?, ?, ?, ?)",
                *(text.id, text.version, text.language, text.sha256, text.text, to_ms(now)),
            )
    return []


async def changed(reader: Database | Tx, texts: Iterable[PrivacyText]) -> list[str]:
    """Return a sentence for each text that says something else than its version did.

    A database that was never opened by a program with this register has none yet.
    """
    if await reader.one("SELECT 1 FROM sqlite_master WHERE name = 'privacy_texts'") is None:
        return []
    rows = await reader.all("SELECT id, version, language, sha256, first_used FROM privacy_texts")
    used = {(row[0], row[1], row[2]): (row[3], from_ms(row[4])) for row in rows}
    return [
        f"{text.id}.{text.language}: other words have been version {text.version} since {since:%Y-%m-%d}. Raise "
        "privacy.edition if you changed the business, purposes or periods; the version of the text if you changed that."
        for text in texts
        for sha256, since in [used.get((text.id, text.version, text.language), (text.sha256, None))]
        if sha256 != text.sha256
    ]


async def words(reader: Database | Tx) -> dict[str, str]:
    """Return every text that was ever registered, by its hash."""
    rows = await reader.all("SELECT sha256, text FROM privacy_texts ORDER BY sha256")
    return {str(row[0]): str(row[1]) for row in rows}


async def by_hash(reader: Database | Tx, sha256: str) -> str | None:
    """Return the words that have this hash, byte for byte as they were shown.

    Raises:
        AssertionError: what stands there is not what its hash says.
    """
    row = await reader.one("SELECT text FROM privacy_texts WHERE sha256 = ?", sha256)
    if row is None:
        return None
    text = str(row[0])
    assert digest(text) == sha256, "the register was tampered with"
    return text


async def registered(reader: Database | Tx, sha256: str) -> PrivacyText:
    """Return the text that has this hash, as it was when it was written down. It must be in the register."""
    row = await reader.one("SELECT id, version, language FROM privacy_texts WHERE sha256 = ?", sha256)
    text = await by_hash(reader, sha256)
    assert row is not None, "only texts of the register are shown"
    assert text is not None, "the row above has it"
    wording = int(str(row[1]).partition(".")[0])
    return PrivacyText(row[0], row[1], row[2], text, wording=wording, counts_from=wording)
