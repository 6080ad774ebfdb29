"""People on the encryption that Element runs. Skipped loudly without Node and matrix-js-sdk; fails in CI."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio

from bot.demo.synapse import LocalSynapse
from tests.business import Account
from tests.conftest import MakeUser, require
from tests.interop.element import ElementPeer
from tests.interop.talk import House, a_house

MakeElement = Callable[..., Awaitable[ElementPeer]]


@pytest_asyncio.fixture(loop_scope="session")
async def element_peer(synapse: LocalSynapse, new_user: MakeUser) -> AsyncIterator[MakeElement]:
    """Log people in: `await element_peer()`, `await element_peer(account, mode="normal", cross_sign=False)`.

    Without a mode it is the strict one, `exclude_insecure`; without an account it makes one on the shared homeserver.
    """
    missing = ElementPeer.missing()
    require(not missing, missing)
    peers: list[ElementPeer] = []

    async def make(
        account: Account | None = None,
        *,
        on: LocalSynapse | None = None,
        mode: str = "exclude_insecure",
        **choices: Any,
    ) -> ElementPeer:
        server = on or synapse
        account = account or await new_user("element", on=server)
        peer = ElementPeer()
        peers.append(peer)
        await peer.start()
        await peer.login(server.url, account.localpart, account.password, mode=mode, **choices)
        return peer

    yield make
    for peer in peers:
        await peer.stop()


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def house(synapse: LocalSynapse, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """A bot and a pair of people in each mode for all tests of keys; each leaves it so that all can go on."""
    async with a_house(synapse, tmp_path_factory.mktemp("bot")) as made:
        yield made
