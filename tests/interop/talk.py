"""A bot with a customer and a mechanic on Element's encryption in each of its three modes, each pair in its own case.

What every test of keys asks in the end: each message of the bot is read by its strictest reader without a shield,
its mark stands in clear beside the ciphertext, and nothing is unreadable.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bot.demo.synapse import LocalSynapse
from tests.business import Account, Business, a_business
from tests.conftest import require
from tests.faults.proxy import Proxy
from tests.interop.element import NO_SHIELD, ElementPeer, chat_with

Json = dict[str, Any]

MODES = ("normal", "error_on_verified_problems", "exclude_insecure")
"""How strict a client is. The last two refuse to write to somebody they verified who has a new identity."""

WAIT_S = 60.0
_numbers = itertools.count(1)


async def read(peer: ElementPeer, sender: str, room: str, text: str, *, besides: Collection[str] = ()) -> Json:
    """Wait until a client has decrypted something, and return it; it must be drawn without a shield.

    `besides`: ids of events that do not count, because they were there before.
    """

    def fits(line: Json) -> bool:
        body = line["content"].get("body") if isinstance(line.get("content"), dict) else ""
        is_it = (line.get("sender"), line.get("room_id")) == (sender, room) and text in str(body)
        return is_it and line["event_id"] not in besides

    line = await peer.wait_for(fits, WAIT_S)
    event: Json = await peer.command("decrypt_wait", room_id=room, event_id=line["event_id"])
    assert_is_clean(event)
    return event


def assert_is_clean(event: Json) -> None:
    """This event of the bot is encrypted, readable, without a shield, and bears its mark beside the ciphertext."""
    shown = {name: event[name] for name in ("encrypted", "decryption_failure", "shield")}
    assert shown == {"encrypted": True, "decryption_failure": None, "shield": NO_SHIELD}, event
    assert len(event["wire_content"]["de.botschaft.step"]) == 32, event


@dataclass
class Talk:
    """One customer and one mechanic in one mode. The mechanic has verified the bot, the customer has not."""

    mode: str
    bot: str
    customer: ElementPeer
    mechanic: ElementPeer
    accounts: tuple[Account, Account]
    chat: str = ""
    case: str = ""

    async def begin(self) -> None:
        """Let the customer write for the first time and the mechanic answer."""
        self.chat = await chat_with(self.customer, self.bot)
        text = await self.writes(self.customer, self.chat)

        def fits(line: Json) -> bool:
            return line.get("sender") == self.bot and bool(line["content"].get("body") == text)

        self.case = (await self.mechanic.wait_for(fits, WAIT_S))["room_id"]
        await self.answer()
        await self.mechanic.command("vouch_for", user_id=self.bot)

    async def writes(self, peer: ElementPeer, room: str) -> str:
        """Let somebody write something that was never written before; returns it."""
        text = f"Nachricht {next(_numbers)} ({self.mode})"
        await peer.command("text", room_id=room, body=text)
        return text

    async def writes_anew(self, peer: ElementPeer, room: str) -> str:
        """Let somebody write with a session whose key nobody has yet."""
        await peer.command("new_session", room_id=room)
        return await self.writes(peer, room)

    async def ask(self, customer: ElementPeer | None = None, *readers: ElementPeer) -> Json:
        """Let the customer write; all readers, else the mechanic, must read it. Returns it as the first one does."""
        text = await self.writes(customer or self.customer, self.chat)
        return await self._read_by(readers or (self.mechanic,), self.case, text)

    async def answer(self, mechanic: ElementPeer | None = None, *readers: ElementPeer) -> Json:
        """Let the mechanic write; all readers, else the customer, must read it. Returns it as the first one does."""
        text = await self.writes(mechanic or self.mechanic, self.case)
        return await self._read_by(readers or (self.customer,), self.chat, text)

    async def goes_on(self) -> None:
        """One message each way, and nothing that came before is red or unreadable."""
        await self.ask()
        await self.answer()
        await self.is_clean()

    async def is_clean(self) -> None:
        """Everything both have in these rooms can be read, and what the bot wrote has no shield."""
        for peer, room in ((self.customer, self.chat), (self.mechanic, self.case)):
            for event in await peer.command("timeline", room_id=room, limit=500):
                assert event["type"] != "m.room.encrypted", event
                assert event["decryption_failure"] is None, event
                if event["sender"] == self.bot and event["wire_type"] == "m.room.encrypted":
                    assert_is_clean(event)

    async def _read_by(self, readers: tuple[ElementPeer, ...], room: str, text: str) -> Json:
        return (await asyncio.gather(*(read(reader, self.bot, room, text) for reader in readers)))[0]


@dataclass
class House:
    """The bot, an admin, one talk for each mode, and two ways to the server: the bot's and that of everybody else."""

    business: Business
    open: AsyncExitStack
    bot_road: Proxy
    people_road: Proxy
    late: Account  # of a mechanic who has not logged in yet
    admin: ElementPeer = field(default_factory=ElementPeer)
    talks: dict[str, Talk] = field(default_factory=dict)

    @property
    def all(self) -> list[Talk]:
        return list(self.talks.values())

    async def every(self, act: Callable[[Talk], Any]) -> list[Any]:
        """Do something in all talks at once."""
        return await asyncio.gather(*map(act, self.all))

    def events(self) -> set[str]:
        """Return the ids of everything that these people have seen until now."""
        people = [self.admin, *(peer for talk in self.all for peer in (talk.customer, talk.mechanic))]
        return {line["event_id"] for peer in people for line in peer.events if "event_id" in line}

    async def login(self, account: Account, **choices: Any) -> ElementPeer:
        """Log somebody in until the tests of this house end."""
        peer = ElementPeer()
        self.open.push_async_callback(peer.stop)
        await peer.start()
        await peer.login(self.people_road.url, account.localpart, account.password, keeps=True, **choices)
        return peer


@asynccontextmanager
async def a_house(server: LocalSynapse, folder: Path) -> AsyncIterator[House]:
    """Start a bot with a pair of people in each mode and have each pair exchange a first message."""
    missing = ElementPeer.missing()
    require(not missing, missing)
    business = await a_business(server, folder)
    business.extra = "[customers]\nunreadable_notice_after_s = 1\n"
    mechanics = [await business.account("jan") for _ in MODES]
    customers = [await business.account("anna") for _ in MODES]
    late, chef = await business.account("eva"), await business.account("chef")
    business.members, business.admins = [account.mxid for account in (*mechanics, late)], [chef.mxid]
    async with AsyncExitStack() as stack:
        bot_road, people_road = [await stack.enter_async_context(Proxy(server.url)) for _ in range(2)]
        business.url = bot_road.url
        house = House(business, stack, bot_road, people_road, late)
        stack.push_async_callback(_ends_cleanly, business)
        logins = [
            house.login(account, mode=mode)
            for mode, pair in zip(MODES, zip(customers, mechanics, strict=True), strict=True)
            for account in pair
        ]
        people = asyncio.gather(house.login(chef, mode="exclude_insecure"), *logins)
        (house.admin, *peers), _ = await asyncio.gather(people, business.start())
        for number, mode in enumerate(MODES):
            customer, mechanic = peers[2 * number : 2 * number + 2]
            accounts = (customers[number], mechanics[number])
            house.talks[mode] = Talk(mode, business.bot.mxid, customer, mechanic, accounts)
        await house.every(Talk.begin)
        yield house


async def _ends_cleanly(business: Business) -> None:
    if business.process:
        assert await business.stop() == 0, business.log()
    assert "Traceback" not in business.log(), business.log()
