"""The numbers that tell whether all is well. Asked for by whoever watches; nothing personal is among them."""

import shutil
import time
from collections.abc import Iterable
from datetime import datetime, timedelta

from bot.domain.arrival import ItemState
from bot.matrix.e2ee.keys import Keys
from bot.settings import Settings
from bot.store import arrivals, facts, rooms
from bot.store.database import Database, utc_now
from bot.web.server import Figure

HEARTBEAT_MAX_AGE_S = 120.0
ANSWER_TIME_S = 90.0
"""What the session allows the server beyond a long poll."""


def heartbeat_age_s(settings: Settings) -> float | None:
    """Return how long ago the bot heard from the server, None if it never did."""
    heartbeat = settings.storage.folder / "heartbeat"
    return time.time() - heartbeat.stat().st_mtime if heartbeat.exists() else None


def is_well(settings: Settings) -> bool:
    """Tell whether the bot heard from the server lately; a question for news may stay open for long."""
    age_s = heartbeat_age_s(settings)
    return age_s is not None and age_s <= max(HEARTBEAT_MAX_AGE_S, settings.homeserver.sync_timeout_s + ANSWER_TIME_S)


async def readiness(settings: Settings, database: Database, keys: Keys) -> dict[str, bool]:
    """Tell what of a start is done: only with all of it the bot serves."""
    places = await rooms.places(database)
    return {
        "keys": keys.is_signed,
        "rooms": bool(places) and all(places.values()),
        "server": is_well(settings),
    }


async def figures(settings: Settings, database: Database, keys: Keys) -> Iterable[Figure]:
    """Return all of them as they are now."""
    states = await arrivals.counts(database)
    items = "Things that came in and are not done, by what they wait for"
    owed = "Keys that devices of others should have and could not be given yet"
    withheld = "Keys that apps of others refused to give us since the start, by the reason they gave"
    return [
        *(
            Figure("botschaft_items", items, states.get(state, 0), {"state": state.value})
            for state in (ItemState.NEW, ItemState.WAITING, ItemState.PARKED)
        ),
        Figure(
            "botschaft_messages_without_key",
            "Messages that cannot be decrypted (yet)",
            await arrivals.count_keyless(database),
        ),
        Figure("botschaft_keys_owed", owed, keys.count_owed()),
        *(
            Figure("botschaft_keys_withheld", withheld, count, {"code": code}, counts=True)
            for code, count in sorted(keys.withheld_codes.items())
        ),
        Figure(
            "botschaft_sessions_not_backed_up",
            "Sessions that the key backup on the server lacks",
            keys.count_not_backed_up(),
        ),
        Figure(
            "botschaft_backup_foreign",
            "1 while the account has a key backup that is not ours, so that nothing is backed up",
            int(keys.backup_is_foreign),
        ),
        Figure(
            "botschaft_ready",
            "1 while keys, rooms and the server are as they must be to serve anybody",
            int(all((await readiness(settings, database, keys)).values())),
        ),
        Figure(
            "botschaft_disk_free_bytes",
            "What is free on the disk of the data folder",
            shutil.disk_usage(settings.storage.folder).free,
        ),
        *_ages(
            (
                "botschaft_last_sync_age_seconds",
                "Seconds since the bot heard from its server",
                heartbeat_age_s(settings),
            ),
            (
                "botschaft_oldest_new_item_age_seconds",
                "Seconds since the oldest thing came in that could be handled and is not",
                _age_s(await arrivals.oldest_new(database)),
            ),
            (
                "botschaft_last_backup_age_seconds",
                "Seconds since the last backup",
                _age_s(await facts.moment(database, facts.LAST_BACKUP)),
            ),
        ),
    ]


def _ages(*given: tuple[str, str, float | None]) -> Iterable[Figure]:
    """Return those that there are: what never happened has no age."""
    return (Figure(name, meaning, age_s) for name, meaning, age_s in given if age_s is not None)


def _age_s(moment: datetime | None) -> float | None:
    return (utc_now() - moment) / timedelta(seconds=1) if moment else None
