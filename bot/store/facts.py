"""Single values: the sync token, the account's device. And the counters that numbers come from."""

from datetime import datetime

from bot.store.database import Database, Tx

SYNC_TOKEN = "sync_token"  # noqa: S105 - the name of a row
DEVICE_ID = "device_id"
ACCESS_TOKEN = "access_token"  # noqa: S105 - the name of a row
RECOVERING = "recovering"
"""A lost disk is being made good; set until the last step of it."""
SLIPS = "slips"
"""When slips for new customers were made in the last hour, as JSON; nothing about whom."""
ADOPTING = "adopting"
"""Our rooms exist but our tables are empty: the first sync says which rooms we have."""
STAFF_TOLD = "staff_told"
"""A digest of who was missing from our rooms, and who was in them and should not be, when the admins were last told."""

LAST_BACKUP = "last_backup"
"""When the last backup was complete, in ISO 8601 with its offset."""
RESTORED = "restored"
"""When the backup was made that we begin with; set until the rooms have been looked into."""
STRANGERS_PER_HOUR = "strangers_per_hour"
"""The limit under which those who wait outside got their turns."""
LEDGER_EPOCH = "ledger_epoch"
"""How often the ledger went on under another name (see `bot.domain.ledger.notes.origin_of`); none: never."""
LEDGER_ANCHORED = "ledger_anchored"
"""Origin and size of the checkpoint that the anchor holds, as far as we know."""


async def get(reader: Database | Tx, name: str) -> str | None:
    """Read one value."""
    row = await reader.one("SELECT value FROM facts WHERE name = ?", name)
    return str(row[0]) if row else None


async def moment(reader: Database | Tx, name: str) -> datetime | None:
    """Read a value that is a moment."""
    value = await get(reader, name)
    return datetime.fromisoformat(value) if value else None


async def put(tx: Tx, name: str, value: str) -> None:
    """Write one value."""
    await tx.run("INSERT INTO facts VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", name, value)


async def remove(tx: Tx, name: str) -> None:
    """Forget one value."""
    await tx.run("DELETE FROM facts WHERE name = ?", name)


async def next_number(tx: Tx, counter: str, *, first: int = 1) -> int:
    """Return the next number of a counter; numbers are never given twice."""
    row = await tx.one(
        "INSERT INTO counters VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value",
        counter,
        first,
    )
    assert row is not None
    return int(row[0])


async def raise_to(tx: Tx, counter: str, number: int) -> None:
    """See to it that no number up to this one is given again."""
    await tx.run(
        "INSERT INTO counters VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)",
        *(counter, number),
    )
