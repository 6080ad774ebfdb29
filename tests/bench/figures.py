"""The figures themselves. Each is measured beside its floor, in turns, because a machine's speed drifts."""

import asyncio
import itertools
import secrets
import statistics
import time
from dataclasses import dataclass, field

from bot.demo.peer import Peer, Seen
from tests.bench.stage import WAIT_S, Bare, Shop, Stage, fill_key_store, memory_mib, processor_s
from tests.waiting import until


@dataclass
class Hops:
    """Times of single messages, in seconds: between the two events on the server, and from sending to reading."""

    server: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)

    def add(self, started: float, sent: Seen, copy: Seen) -> None:
        self.whole.append(time.monotonic() - started)
        self.server.append((stamp(copy) - stamp(sent)) / 1000)


def stamp(seen: Seen) -> int:
    """Return when the server took an event, in milliseconds."""
    return int(seen.raw["origin_server_ts"])


def percentile(values: list[float], share: float) -> float:
    """Return the value below which this share of the values lies."""
    return sorted(values)[min(len(values) - 1, round(share * (len(values) - 1)))]


async def hops(shop: Shop, bare: Bare, stage: Stage, count: int) -> tuple[Hops, Hops, Hops]:
    """One message a second, in turns: to staff, back to the customer, and through the bare client."""
    anna, jan = shop.customers[0], shop.jan
    chat, case = shop.chats[0], shop.cases[0]
    source = await _two_rooms(anna, jan, bare)
    there, back, floor = Hops(), Hops(), Hops()
    for _ in range(count):
        await _one(there, anna, chat, jan, shop.bot)
        await _one(floor, anna, source, jan, bare.user)
        await _one(back, jan, case, anna, shop.bot)
    return there, back, floor


async def _two_rooms(anna: Peer, jan: Peer, bare: Bare) -> str:
    """Anna and the bare client in one room, the bare client and Jan in another, as the bot has it; returns Anna's."""
    source, target = await anna.start_chat(bare.user), await jan.start_chat(bare.user)
    await until(lambda: _is_in(anna, source, bare.user), timeout_s=WAIT_S)
    await until(lambda: _is_in(jan, target, bare.user), timeout_s=WAIT_S)
    await bare.tell(do="echo", source=source, target=target)
    for _ in range(2):
        await _one(Hops(), anna, source, jan, bare.user)
    return source


async def _is_in(peer: Peer, room: str, user: str) -> bool:
    member = await peer.state(room, "m.room.member", user)
    return bool(member and member.get("membership") == "join")


async def _one(found: Hops, writer: Peer, room: str, reader: Peer, carrier: str) -> Seen:
    """Send something, wait until it was carried and read, and return the copy."""
    body, started = secrets.token_hex(8), time.monotonic()
    event = await writer.text(room, body)
    copy = await reader.wait_for(lambda s: s.body == body and s.sender == carrier, WAIT_S)
    found.add(started, await writer.wait_for(lambda s: s.event_id == event, WAIT_S), copy)
    await asyncio.sleep(max(0.0, 0.5 - (time.monotonic() - started)))
    return copy


@dataclass
class Burst:
    """What became of many messages at once."""

    rate: float
    lost: int
    doubled: int
    disorder: int
    cpu_ms: float = 0.0


async def _write_all(shop: Shop, name: str, each: int) -> None:
    async def write(number: int) -> None:
        for n in range(each):
            await shop.customers[number].text(shop.chats[number], f"{name} {number} {n}")

    await asyncio.gather(*(write(number) for number in range(len(shop.customers))))


async def _arrived(shop: Shop, name: str, each: int) -> Burst:
    total = each * len(shop.customers)
    await until(lambda: len(shop.copies(f"{name} ")) >= total, timeout_s=WAIT_S * 2, what="all copies")
    copies = shop.copies(f"{name} ")
    bodies = [s.body for s in copies]
    stamps = [stamp(s) for s in copies]
    seconds = (max(stamps) - min(stamps)) / 1000
    disorder = 0
    for number in range(len(shop.customers)):
        numbers = [int(b.split()[2]) for b in bodies if b.split()[1] == str(number)]
        disorder += sum(1 for before, after in itertools.pairwise(numbers) if after < before)
    return Burst((len(copies) - 1) / seconds, total - len(set(bodies)), len(bodies) - len(set(bodies)), disorder)


async def drain(shop: Shop, bare: Bare, each: int, runs: int) -> list[tuple[Burst, float]]:
    """Many messages wait when the bot starts; beside it, before and after, a bare sender into rooms with the same people."""
    rooms = [await shop.jan.start_chat(bare.user) for _ in shop.customers]
    for room in rooms:
        await until(lambda r=room: _is_in(shop.jan, r, bare.user), timeout_s=WAIT_S)  # type: ignore[misc]
    await _bare_rate(shop, bare, rooms, 2)  # the sessions are made
    found, before = [], await _bare_rate(shop, bare, rooms, each)
    for _ in range(runs):
        name = f"drain{secrets.token_hex(3)}"
        await shop.business.stop()
        await _write_all(shop, name, each)
        await shop.business.start()
        burst = await _arrived(shop, name, each)
        after = await _bare_rate(shop, bare, rooms, each)
        found.append((burst, (before + after) / 2))
        before = after
    return found


async def _bare_rate(shop: Shop, bare: Bare, rooms: list[str], each: int) -> float:
    """Return the rate by the server's clock, as for the bot."""
    known = {s.event_id for s in shop.jan.seen}

    def new() -> list[Seen]:
        return [
            s for s in shop.jan.seen if s.sender == bare.user and s.body.startswith("bare ") and s.event_id not in known
        ]

    await bare.tell(do="send", rooms=rooms, each=each)
    await bare.hear()
    await until(lambda: len(new()) >= each * len(rooms), timeout_s=WAIT_S * 2, what="all bare messages")
    stamps = [stamp(s) for s in new()]
    return (len(stamps) - 1) / ((max(stamps) - min(stamps)) / 1000)


async def live(shop: Shop, each: int) -> Burst:
    """All customers write at once while the bot runs."""
    assert shop.business.process is not None
    name, process_id = f"live{secrets.token_hex(3)}", shop.business.process.pid
    used = processor_s(process_id)
    await _write_all(shop, name, each)
    burst = await _arrived(shop, name, each)
    burst.cpu_ms = (processor_s(process_id) - used) * 1000 / (each * len(shop.customers))
    return burst


async def starts(small: Shop, large: Shop, runs: int) -> tuple[list[float], list[float]]:
    """From the start of the process to a message sent at that moment, read; small and large in turns."""
    found: tuple[list[float], list[float]] = ([], [])
    for _ in range(runs):
        for shop, times in zip((small, large), found, strict=True):
            await shop.business.stop()
            started, body = time.monotonic(), secrets.token_hex(8)
            starting = asyncio.ensure_future(shop.business.start())
            await shop.customers[0].text(shop.chats[0], body)
            await shop.copy(body)
            times.append(time.monotonic() - started)
            await starting
    return found


async def openings(stage: Stage, shop: Shop, count: int) -> list[float]:
    """A new customer's first message in a chat that exists, until the mechanic has read it."""
    times: list[float] = []
    for _ in range(count):
        peer = await stage.peer(await shop.business.account("neu"))
        chat = await peer.start_chat(shop.bot)
        await peer.wait_for(lambda s, c=chat: s.room_id == c and s.sender == shop.bot and s.encrypted, WAIT_S)  # type: ignore[misc]
        body, started = secrets.token_hex(8), time.monotonic()
        await peer.text(chat, body)
        await shop.copy(body)
        times.append(time.monotonic() - started)
    return times


async def first_contacts(stage: Stage, shop: Shop, count: int) -> tuple[Hops, Hops]:
    """A stranger opens a chat and writes at once; when that case is closed, the same person's next one opens.

    The first waits for us to join and for the server to have taken the privacy text; both wait for a new case's room.
    """
    first, next_one = Hops(), Hops()
    for _ in range(count):
        peer = await stage.peer(await shop.business.account("neu"))
        chat = await peer.start_chat(shop.bot)
        case = (await _one(first, peer, chat, shop.jan, shop.bot)).room_id
        await shop.jan.text(case, "!zu")
        await shop.jan.wait_for(lambda s, c=case: s.room_id == c and "geschlossen" in s.body, WAIT_S)  # type: ignore[misc]
        assert (await _one(next_one, peer, chat, shop.jan, shop.bot)).room_id != case
    return first, next_one


async def memory(shop: Shop, sessions: int) -> float:
    """Resident memory of the bot, in MiB, with so many sessions in its key store, after it has relayed a message."""
    await shop.business.stop()
    await fill_key_store(shop, sessions)
    await shop.business.start()
    body = secrets.token_hex(8)
    await shop.customers[0].text(shop.chats[0], body)
    await shop.copy(body)
    assert shop.business.process is not None
    return memory_mib(shop.business.process.pid)


def median(values: list[float]) -> float:
    """Return the median, 0 of nothing."""
    return statistics.median(values) if values else 0.0
