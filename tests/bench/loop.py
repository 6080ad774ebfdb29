"""How long keys block the event loop, ours beside plain nio, in one process on one disk, in turns.

`key_block_ms`: one room key that arrives by an Olm prekey message, a hundred in a sync. `share_block_ms`: the longest
time the loop stands still while a session is first shared with sixty devices of twenty users.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog
import vodozemac
from nio import AsyncClient, AsyncClientConfig, MatrixRoom
from nio.crypto import OlmDevice
from nio.crypto.olm_machine import Olm
from nio.responses import KeysClaimResponse, ShareGroupSessionResponse, SyncResponse
from nio.store import SqliteMemoryStore

from bot.domain.ids import RoomId
from tests.matrix.keyserver import KeyServer, Person, person

Json = dict[str, Any]
ROOM = RoomId("!room:x")
BOT = "@bot:x"
KEYS, USERS, DEVICES_EACH = 100, 20, 3


def measure(rounds: int) -> Json:
    """Return the four figures, medians of so many rounds, and their two ratios."""
    with _silent():
        found: Json = {name: statistics.median(times) for name, times in asyncio.run(_rounds(rounds)).items()}
    return found | {
        "key_block_ratio": found["key_block_ms"] / found["key_block_nio_ms"],
        "share_block_ratio": found["share_block_ms"] / found["share_block_nio_ms"],
    }


@contextmanager
def _silent() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.reset_defaults()


async def _rounds(rounds: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="botschaft-loop-") as name:
            figures = {
                "key_block_nio_ms": await _nio_receives(Path(name)),
                "key_block_ms": await _ours_receives(Path(name)),
                "share_block_nio_ms": await _nio_shares(Path(name)),
                "share_block_ms": await _ours_shares(Path(name)),
            }
        for key, value in figures.items():
            found.setdefault(key, []).append(value)
    return found


async def _longest_block(work: Callable[[], Awaitable[Any]]) -> float:
    """Return the longest time, in milliseconds, for which nothing else could run while this did."""
    longest, running = 0.0, True

    async def watch() -> None:
        nonlocal longest
        before = time.perf_counter()
        while running:
            await asyncio.sleep(0)
            now = time.perf_counter()
            longest, before = max(longest, now - before), now

    watcher = asyncio.ensure_future(watch())
    await asyncio.sleep(0)
    await work()
    running = False
    await watcher
    return longest * 1000


class Somebody:
    """A device of somebody, by vodozemac alone: it can be claimed from, and it can send room keys."""

    def __init__(self, user: str, device: str) -> None:
        self.user, self.device = user, device
        self._olm = Olm(user, device, SqliteMemoryStore(user, device))

    @property
    def keys(self) -> Json:
        shared: Json = self._olm.share_keys()
        self._olm.mark_keys_as_published()
        return shared

    def room_key(self, curve25519: str, ed25519: str, one_time_key: str) -> Json:
        """Return a room key in a prekey message, as the server hands it out."""
        session = vodozemac.GroupSession()
        device = OlmDevice(BOT, "BOT", {"ed25519": ed25519, "curve25519": curve25519})
        olm = self._olm.create_session(one_time_key, curve25519)
        content = {"algorithm": "m.megolm.v1.aes-sha2", "room_id": ROOM, "session_id": session.session_id}
        content |= {"session_key": session.session_key.to_base64()}
        sealed = self._olm._olm_encrypt(olm, device, "m.room_key", content)
        return {"type": "m.room.encrypted", "sender": self.user, "content": sealed}


def _room_keys(identity: Json, one_time_keys: list[str]) -> list[Json]:
    senders = [Somebody(f"@u{number}:x", "DEV") for number in range(len(one_time_keys))]
    return [
        sender.room_key(identity["curve25519"], identity["ed25519"], key)
        for sender, key in zip(senders, one_time_keys, strict=True)
    ]


def _plain(folder: Path) -> AsyncClient:
    client = AsyncClient("http://x", BOT, "BOT", store_path=str(folder), config=AsyncClientConfig())
    client.restore_login(BOT, "BOT", "token")
    return client


async def _nio_receives(folder: Path) -> float:
    client = _plain(folder)
    account = client.olm.account
    keys: list[str] = []
    for _ in range(KEYS // 50):
        account.generate_one_time_keys(50)
        keys += account.one_time_keys["curve25519"].values()
        account.mark_keys_as_published()
    client.olm.save_account()
    events = _room_keys(account.identity_keys, keys)
    answer = {"next_batch": "s1", "device_one_time_keys_count": {}, "rooms": {}, "to_device": {"events": events}}
    response = SyncResponse.from_dict(answer)
    started = time.perf_counter()
    await client.receive_response(response)
    took = time.perf_counter() - started
    assert len(list(client.olm.inbound_group_store)) == KEYS
    client.store.database.close()
    return took * 1000 / KEYS


async def _ours_receives(folder: Path) -> float:
    server = KeyServer()
    bot = person(server, folder / "receives.db", BOT, "BOT")
    await bot.keys.start()
    account, keys = bot.keys._machine.account, [k["key"] for k in server.one_time[BOT, "BOT"].values()]
    server.one_time[BOT, "BOT"].clear()
    bot.keys.take_in([], [], [], {"signed_curve25519": 0}, None)
    await bot.keys.upkeep()
    keys += [k["key"] for k in server.one_time[BOT, "BOT"].values()]
    events = _room_keys(dict(account.identity_keys), keys[:KEYS])
    started = time.perf_counter()
    arrived = bot.keys.take_in(events, [], [], {"signed_curve25519": 50}, None)
    took = time.perf_counter() - started
    assert len(arrived.sessions) == KEYS
    bot.keys.close()
    return took * 1000 / KEYS


def _crowd() -> list[Somebody]:
    return [Somebody(f"@u{user}:x", f"D{device}") for user in range(USERS) for device in range(DEVICES_EACH)]


async def _nio_shares(folder: Path) -> float:
    client = _plain(folder / ".")
    room = client.rooms[ROOM] = MatrixRoom(ROOM, BOT, encrypted=True)
    room.members_synced = True
    claims: Json = {}
    for one in _crowd():
        keys, (user, device) = one.keys, (one.user, one.device)
        room.add_member(user, None, None)
        shown = {kind: keys["device_keys"]["keys"][f"{kind}:{device}"] for kind in ("ed25519", "curve25519")}
        client.olm.device_store.add(known := OlmDevice(user, device, shown))
        client.olm.store.save_device_keys({user: {device: known}})
        claims.setdefault(user, {})[device] = dict([next(iter(keys["one_time_keys"].items()))])
    handed: list[int] = []

    async def send(kind: Any, *arguments: Any, response_data: Any = None, **_: Any) -> Any:
        await asyncio.sleep(0)
        if kind is KeysClaimResponse:
            answer = KeysClaimResponse.from_dict({"one_time_keys": claims, "failures": {}}, *(response_data or ()))
        else:
            handed.append(len(response_data[1]))
            answer = ShareGroupSessionResponse(*response_data)
        await client.receive_response(answer)
        return answer

    client._send = send
    took = await _longest_block(lambda: client.share_group_session(ROOM, ignore_unverified_devices=True))
    assert sum(handed) == USERS * DEVICES_EACH
    client.store.database.close()
    return took


async def _ours_shares(folder: Path) -> float:
    server = KeyServer()
    bot = person(server, folder / "shares.db", BOT, "BOT")
    await bot.keys.start()
    for one in _crowd():
        keys = one.keys
        server.devices[one.user][one.device] = keys["device_keys"]
        server.one_time[one.user, one.device] = keys["one_time_keys"]
    users = list(server.devices)
    users.remove(BOT)
    took = await _longest_block(lambda: _first_share(bot, users))
    assert len(server.handed) == USERS * DEVICES_EACH
    bot.keys.close()
    return took


async def _first_share(bot: Person, users: list[str]) -> None:
    plain = bot.client.call

    async def call(*arguments: Any, **options: Any) -> Any:
        await asyncio.sleep(0)  # as any request does
        return await plain(*arguments, **options)

    bot.client.call = call  # type: ignore[method-assign]
    await bot.keys.seal(ROOM, users, "m.room.message", {"body": "hallo"}, full_history=False)  # type: ignore[arg-type]
