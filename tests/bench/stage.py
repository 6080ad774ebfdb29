"""Everything the figures stand on: a homeserver, businesses with their customers, a mechanic who reads, a bare client."""

import asyncio
import json
import os
import sys
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import vodozemac
from nio.crypto import InboundGroupSession

from bot.demo.peer import Peer, Seen
from bot.demo.synapse import LocalSynapse
from bot.domain.secrets import Purpose, derive
from bot.matrix.e2ee.store import CipherStore
from bot.store import facts
from tests.business import Account, Business, a_business
from tests.faults.crowd import opened

Json = dict[str, Any]
WAIT_S = 120.0
AT_ONCE = 4


class Bare:
    """The bare client's process."""

    def __init__(self, process: asyncio.subprocess.Process, user: str) -> None:
        self._process = process
        self.user = user

    @classmethod
    async def start(cls, url: str, account: Account, store: Path) -> "Bare":
        store.mkdir()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.bench.bare", url, account.localpart, account.password, str(store)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        bare = cls(process, account.mxid)
        await bare.hear()
        return bare

    async def hear(self) -> Json:
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), WAIT_S)
        return dict(json.loads(line))

    async def tell(self, **command: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        await self._process.stdin.drain()

    async def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        await asyncio.wait_for(self._process.wait(), 30)


@dataclass
class Shop:
    """One business with customers whose cases are open, and a mechanic who reads them all."""

    business: Business
    jan: Peer
    customers: list[Peer] = field(default_factory=list)
    chats: list[str] = field(default_factory=list)
    cases: dict[int, str] = field(default_factory=dict)

    @property
    def bot(self) -> str:
        return self.business.bot.mxid

    async def copy(self, body: str, within_s: float = WAIT_S) -> Seen:
        """Wait until the mechanic has decrypted the bot's copy of a text."""
        return await self.jan.wait_for(lambda s: s.body == body and s.sender == self.bot, within_s)

    def copies(self, prefix: str) -> list[Seen]:
        """Return what the mechanic has decrypted of the bot's, with texts that begin so, in the server's order."""
        return [s for s in self.jan.seen if s.sender == self.bot and s.body.startswith(prefix)]


class Stage:
    """Opens and closes everything, also when it is interrupted."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()
        self.folder: Path
        self.server: LocalSynapse

    async def __aenter__(self) -> Self:
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="botschaft-bench-")))
        self.server = await self._stack.enter_async_context(LocalSynapse())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def peer(self, account: Account) -> Peer:
        """Log somebody in until the end."""
        peer = await self._login(account)
        self._stack.push_async_callback(peer.close)
        return peer

    async def _login(self, account: Account) -> Peer:
        store = self.folder / account.localpart
        store.mkdir()
        return await Peer.login(self.server.url, account.localpart, account.password, store=store)

    async def bare(self, account: Account) -> Bare:
        bare = await Bare.start(self.server.url, account, self.folder / f"bare-{account.localpart}")
        self._stack.push_async_callback(bare.close)
        return bare

    async def shop(self, name: str, settings: str = "") -> Shop:
        """Make a business that serves, with one mechanic and these further sections of its configuration."""
        folder = self.folder / name
        folder.mkdir()
        business = await a_business(self.server, folder)
        business.extra = f"[customers]\nburst = 100000\nstrangers_per_hour = 100000\n{settings}"
        business.canary = None  # it would be measured, too
        jan = await business.account("jan")
        business.members = [jan.mxid]
        await business.start()
        self._stack.push_async_callback(_stopped, business)
        return Shop(business, await self.peer(jan))

    async def add_customers(self, shop: Shop, count: int, *, stay: bool) -> None:
        """Let customers come, each with a first message; who does not stay logs out of our sight, not of the server."""
        slots = asyncio.Semaphore(AT_ONCE)

        async def come(number: int) -> None:
            async with slots:
                account = await shop.business.account("kunde")
                peer = await (self.peer(account) if stay else self._login(account))
                chat = await peer.start_chat(shop.bot)
                body = f"erste {account.localpart}"
                await peer.text(chat, body)
                seen = await shop.copy(body)
                if stay:
                    shop.cases[len(shop.customers)] = seen.room_id
                    shop.customers.append(peer)
                    shop.chats.append(chat)
                else:
                    await peer.close()

        await asyncio.gather(*(come(number) for number in range(count)))


async def _stopped(business: Business) -> None:
    if business.process:
        await business.stop()


async def fill_key_store(shop: Shop, sessions: int) -> None:
    """Put inbound sessions of strangers into the key store of a bot that does not run."""
    database = await opened(shop.business)
    device = await facts.get(database, facts.DEVICE_ID)
    await database.close()
    master = shop.business.settings().storage.master_secret()
    store = CipherStore(
        shop.bot,
        str(device),
        str(shop.business.data),
        derive(master, Purpose.PICKLE).hex(),
        "keys.db",
        database_key=derive(master, Purpose.KEY_STORE),
    )
    with store.one_commit():
        for number in range(sessions):
            outbound = vodozemac.GroupSession()
            session = InboundGroupSession(
                outbound.session_key.to_base64(), "A" * 43, "B" * 43, f"!room{number % 400}:localhost"
            )
            store.save_inbound_group_session(session)
    store.database.close()


def memory_mib(process_id: int) -> float:
    """Return the resident memory of a process."""
    pages = int(Path(f"/proc/{process_id}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def processor_s(process_id: int) -> float:
    """Return the processor time that a process has used, user and system."""
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
