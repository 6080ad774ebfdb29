"""The sync loop, with our own token. Keys are committed first, then everything else in T1; only then the next sync.

Timelines never pass through nio: it would decrypt them in place and treat what it decrypts as state.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import structlog

from bot.domain.errors import Refused, Transient
from bot.domain.ids import EventId, RoomId, SessionId, UserId
from bot.flows.intake import Batch, RoomUpdate
from bot.matrix.e2ee.keys import Keys
from bot.matrix.members import bring_up_to_date
from bot.matrix.transport import Transport
from bot.store import facts
from bot.store.database import Database

log = structlog.get_logger()
Json = dict[str, Any]

TO_DEVICE_LIMIT = 100
"""Synapse 1.163.2 hands out at most so many to-device messages in one sync; a full hand means there are more."""

LONGEST_PAUSE_S = 60.0
SLACK_S = 30.0
"""How much later than it must a step may end before something hangs."""
BREATH_S = 0.05
LONGEST_BREATH_S = 2.0
BREATHS = 9
"""While many messages are under way, each of ours would answer the next question for news by itself. Waiting then,
until fewer are under way, but at most nine times as long as the question took, leaves the server to them; what is new
would only get into the queue."""

NOTHING: Final = {"not_types": ["*"]}
STATE_TYPES: Final = ["m.room.create", "m.room.member", "m.room.encryption", "m.room.tombstone"]


def sync_filter(*, receipts: bool) -> Json:
    """Return what we want to hear of: no more than is used."""
    return {
        "presence": NOTHING,
        "account_data": NOTHING,
        "room": {
            "account_data": NOTHING,
            "ephemeral": {"types": ["m.receipt"]} if receipts else NOTHING,
            "state": {"types": STATE_TYPES, "lazy_load_members": False},
            "timeline": {"limit": 100},
            "include_leave": False,
        },
    }


@dataclass(frozen=True, slots=True)
class Listeners:
    """Who is told what by the loop."""

    batch: Callable[[Batch], Awaitable[None]]
    keys: Callable[[set[SessionId]], Awaitable[None]]
    catching_up: Callable[[bool], None]
    busy: Callable[[], bool] = lambda: False


class Session:
    """Long-polls `/sync` for as long as the process lives."""

    def __init__(
        self,
        transport: Transport,
        keys: Keys,
        database: Database,
        me: UserId,
        *,
        timeout_s: float,
        patience_s: float = 60.0,
        receipts: bool = False,
    ) -> None:
        self._patience_s = patience_s
        self._filter = json.dumps(sync_filter(receipts=receipts))
        self._transport = transport
        self._keys = keys
        self._database = database
        self._me = me
        self._timeout_s = timeout_s
        self.heartbeat: Path | None = None
        self._moves_by = time.monotonic() + self._longest_step_s

    @property
    def _longest_step_s(self) -> float:
        return self._timeout_s + self._patience_s + SLACK_S

    @property
    def is_moving(self) -> bool:
        """Tell whether the loop goes round. It also does while the server is away: a restart would not help then."""
        return time.monotonic() <= self._moves_by + SLACK_S

    async def run(self, listeners: Listeners) -> None:
        """Sync until cancelled. Trouble with the server or the network is waited out.

        Raises:
            Fatal: the token is no longer valid, or the key store is broken.
        """
        failures = 0
        quick = True
        while True:
            self._moves_by = time.monotonic() + self._longest_step_s
            try:
                asked_at = time.monotonic()
                async with asyncio.timeout(self._longest_step_s):
                    quick = await self.step(listeners, quick=quick)
                failures = 0
                await _breathe(listeners, time.monotonic() - asked_at)
            except (Transient, TimeoutError) as error:
                asked = error.retry_after_s if isinstance(error, Transient) else None
                pause = asked or min(0.25 * 2**failures, LONGEST_PAUSE_S)
                failures = min(failures + 1, 10)
                log.info("sync_waits", reason=str(error) or "watchdog", seconds=round(pause, 2))
                self._moves_by = time.monotonic() + pause
                await asyncio.sleep(pause)

    async def step(self, listeners: Listeners, *, quick: bool) -> bool:
        """Do one sync; return whether the server has more for us right now."""
        token = await facts.get(self._database, facts.SYNC_TOKEN)
        query = {"filter": self._filter, "timeout": str(0 if quick else round(self._timeout_s * 1000))}
        if token:
            query["since"] = token
        response = await self._transport.call(
            "GET", "/_matrix/client/v3/sync", query=query, timeout_s=self._timeout_s + self._patience_s
        )
        if not isinstance(response.get("next_batch"), str):
            raise Transient("the server is in trouble (a sync without a token)")
        to_device = _list(response, "to_device", "events")
        arrived = self._keys.take_in(
            to_device,
            _names(response, "changed"),
            _names(response, "left"),
            response.get("device_one_time_keys_count"),
            response.get("device_unused_fallback_key_types"),
        )
        more = len(to_device) >= TO_DEVICE_LIMIT
        listeners.catching_up(more)
        await bring_up_to_date(self._transport, response)
        await listeners.batch(replace(parse(response, self._me), handshakes=arrived.handshakes))
        if arrived.sessions:
            await listeners.keys(set(arrived.sessions))
        if self.heartbeat:
            self.heartbeat.touch()
        await self._upkeep()
        return more

    async def _upkeep(self) -> None:
        """What cannot be done now is done after the next sync; it must not keep messages waiting."""
        try:
            await self._keys.upkeep()
        except (Transient, Refused) as error:
            log.info("upkeep_waits", reason=str(error))


async def _breathe(listeners: Listeners, took_s: float) -> None:
    until = time.monotonic() + min(BREATHS * took_s, LONGEST_BREATH_S)
    while listeners.busy() and time.monotonic() < until:  # noqa: ASYNC110 - an event at each message would cost more
        await asyncio.sleep(BREATH_S)


def _list(value: Any, *path: str) -> list[Json]:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return [event for event in value if isinstance(event, dict)] if isinstance(value, list) else []


def _names(response: Json, which: str) -> list[str]:
    """Return the users whose device lists changed, or of whom we no longer hear."""
    lists = response.get("device_lists")
    users = lists.get(which) if isinstance(lists, dict) else None
    return [user for user in users if isinstance(user, str)] if isinstance(users, list) else []


def parse(response: Json, me: UserId) -> Batch:
    """Take from a sync response what T1 needs; malformed parts are left out."""
    rooms = response.get("rooms")
    rooms = rooms if isinstance(rooms, dict) else {}
    updates = [
        *(_joined(room, part) for room, part in _parts(rooms, "join")),
        *(RoomUpdate(RoomId(room), "invite", _invite_state(part)) for room, part in _parts(rooms, "invite")),
        *(_left(room, part) for room, part in _parts(rooms, "leave")),
    ]
    return Batch(token=str(response["next_batch"]), rooms=tuple(updates))


def _parts(rooms: Json, membership: str) -> list[tuple[str, Json]]:
    found = rooms.get(membership)
    return [(room, part) for room, part in found.items() if isinstance(part, dict)] if isinstance(found, dict) else []


def _joined(room: str, part: Json) -> RoomUpdate:
    timeline = _list(part, "timeline", "events")
    state = [*_list(part, "state", "events"), *(event for event in timeline if "state_key" in event)]
    about = part.get("timeline")
    about = about if isinstance(about, dict) else {}
    prev_batch = about.get("prev_batch")
    return RoomUpdate(
        room_id=RoomId(room),
        membership="join",
        state=tuple(state),
        timeline=tuple(timeline),
        limited=about.get("limited") is True,
        prev_batch=prev_batch if isinstance(prev_batch, str) else None,
        read_by=tuple(_receipts(part)),
    )


def _receipts(part: Json) -> Iterator[tuple[UserId, EventId]]:
    for receipt in _list(part, "ephemeral", "events"):
        content = receipt.get("content")
        for event, kinds in content.items() if isinstance(content, dict) else ():
            readers = kinds.get("m.read") if isinstance(kinds, dict) else None
            yield from ((UserId(user), EventId(event)) for user in readers or {})


def _left(room: str, part: Json) -> RoomUpdate:
    """What was written until we left still counts; who left it is in the state."""
    return RoomUpdate(
        room_id=RoomId(room),
        membership="leave",
        state=tuple(_joined(room, part).state),
        timeline=tuple(_list(part, "timeline", "events")),
    )


def _invite_state(part: Json) -> tuple[Json, ...]:
    return tuple(_list(part, "invite_state", "events"))
