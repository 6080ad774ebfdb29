"""Many customers write at once, somebody of the staff reads: what must hold afterwards, whatever happened between."""

import asyncio
import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bot.demo.peer import Peer
from bot.domain.secrets import Purpose, derive
from bot.resources import resource_dir
from bot.store.database import Database
from tests.business import Business
from tests.waiting import PatientPeer, until

MESSAGE = re.compile(r"c(\d+) n(\d+)")


@dataclass
class Crowd:
    """Customers, their chats, and one mechanic who reads everything."""

    business: Business
    folder: Path
    reader: Peer
    customers: list[Peer] = field(default_factory=list)
    chats: list[str] = field(default_factory=list)
    sent: dict[int, int] = field(default_factory=lambda: defaultdict(int))

    @classmethod
    async def gather(cls, business: Business, folder: Path, size: int) -> "Crowd":
        """Log everybody in; the bot need not run yet."""
        jan = await business.account("jan")
        business.members = [jan.mxid]
        business.extra = "[cases]\nrename_interval_s = 5\n[customers]\nburst = 10000\n"
        crowd = cls(business, folder, await cls._log_in(business, folder / "jan", jan.localpart, jan.password))
        for number in range(size):
            account = await business.account(f"kunde{number}")
            peer = await cls._log_in(business, folder / f"kunde{number}", account.localpart, account.password)
            crowd.customers.append(peer)
        return crowd

    @staticmethod
    async def _log_in(business: Business, store: Path, user: str, password: str) -> Peer:
        store.mkdir()
        return await PatientPeer.login(business.server.url, user, password, store=store)

    async def write(self, number: int, count: int, may_go: Callable[[int], bool] = lambda n: True) -> None:
        """One customer opens a chat and writes `count` messages, each when it may go."""
        peer = self.customers[number]
        await until(lambda: may_go(0), timeout_s=300)
        chat = await peer.start_chat(self.business.bot.mxid)
        for n in range(count):
            await until(partial(may_go, n), timeout_s=300)
            await peer.text(chat, f"c{number} n{n}")
            self.sent[number] = n + 1

    def has_sent(self, count: int) -> bool:
        """Tell whether so many messages have left."""
        return sum(self.sent.values()) >= count

    def received(self) -> dict[int, list[tuple[str, int]]]:
        """What the reader decrypted, by customer, in the server's order: room and number of each message."""
        found: dict[int, list[tuple[str, int]]] = defaultdict(list)
        for seen in self.reader.seen:
            match = MESSAGE.fullmatch(seen.body)
            if match and seen.sender == self.business.bot.mxid:
                found[int(match[1])].append((seen.room_id, int(match[2])))
        return found

    async def everything_arrives(self, timeout_s: float = 180) -> None:
        """Wait for the last message, then demand: nothing lost, doubled or out of order, one room for a case."""
        total = sum(self.sent.values())
        await until(lambda: sum(map(len, self.received().values())) >= total, timeout_s=timeout_s, what="all messages")
        for number, messages in self.received().items():
            assert [n for _, n in messages] == list(range(self.sent[number])), f"customer {number}"
            assert len({room for room, _ in messages}) == 1, f"customer {number} has two rooms"
        assert not self.reader.unreadable
        await self._one_room_for_each_case()

    async def _one_room_for_each_case(self) -> None:
        marks = [await self._mark(room) for room in await self.reader.rooms()]
        cases = [mark for mark in marks if mark.startswith("case:")]
        assert len(cases) == len(set(cases)) == len(self.sent)

    async def _mark(self, room: str) -> str:
        create = await self.reader.state(room, "m.room.create")
        return str((create or {}).get("de.botschaft.room", ""))

    async def close(self) -> None:
        await asyncio.gather(*(peer.close() for peer in [*self.customers, self.reader]))


async def under_way(business: Business) -> int:
    """Count, in the database of a bot that is dead, the items between their first step and their T2."""
    database = await opened(business)
    row = await database.one("SELECT count(*) FROM arrivals WHERE plan IS NOT NULL AND state = 'new'")
    await database.close()
    assert row is not None
    return int(row[0])


async def opened(business: Business) -> Database:
    """Open the database of a bot that does not run."""
    master = business.settings().storage.master_secret()
    path = business.data / "botschaft.db"
    return await Database.open(path, key=derive(master, Purpose.DATABASE), migrations=resource_dir("migrations"))


async def comes_to_rest(business: Business) -> None:
    """Wait, while the bot runs, until no item is open; then stop it."""
    await until(partial(_nothing_open, business), timeout_s=60, what="no open item")
    assert await business.stop() == 0, business.log()


async def _nothing_open(business: Business) -> bool:
    database = await opened(business)
    rows = await database.all("SELECT kind, state, reason FROM arrivals WHERE state != 'done'")
    await database.close()
    return not rows
