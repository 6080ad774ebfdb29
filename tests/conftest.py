"""Fixtures of every layer: a real homeserver, people on it, and homeservers that a test may break."""

import importlib.metadata
import logging
import os
import secrets
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import structlog
from hypothesis import HealthCheck, settings

from bot.demo.peer import Peer
from bot.demo.synapse import LocalSynapse
from tests.business import Account, Business, a_business
from tests.canary import overhear, overhearing
from tests.waiting import PatientPeer

settings.register_profile("untimed", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")  # no test asserts speed

MEMORY = Path("/dev/shm")
ROOM_NEEDED = 4 * 1024**3

LONGEST = (
    *("test_crash_table.py", "test_anything.py", "test_model.py", "test_key_crashes.py", "test_fuzz.py"),
    *("test_leak.py", "test_fidelity.py"),
)

MakeUser = Callable[..., Awaitable[Account]]
MakePeer = Callable[..., Awaitable[Peer]]
MakeSynapse = Callable[..., Awaitable[LocalSynapse]]


def pytest_configure() -> None:
    """Put what tests write into memory, where there is enough: hundreds of thousands of commits wait for no disk.

    Whoever wants it on a disk sets TMPDIR. Processes of tests, and those of pytest-xdist, find it there.
    """
    if "TMPDIR" not in os.environ and MEMORY.is_dir() and os.access(MEMORY, os.W_OK):
        facts = os.statvfs(MEMORY)
        if facts.f_bavail * facts.f_frsize >= ROOM_NEEDED and not facts.f_flag & os.ST_NOEXEC:
            os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Tests of a real homeserver wait for other processes half of their time, so there are more of them than cores."""
    return max(1, (os.cpu_count() or 1) * 3 // 2)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that none of them is what everybody waits for in the end."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """Put back what configuring the logs changes for the whole process."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    logging.captureWarnings(False)
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


@pytest.fixture(autouse=True, scope="session")
def _everybody_is_overheard() -> Iterator[None]:
    with overhearing(Peer):
        yield


def require(present: bool, what: str) -> None:
    """Skip a test that needs `what`, loudly; in CI its absence is a failure, because nobody reads skips there."""
    if present:
        return
    if os.environ.get("CI"):
        pytest.fail(f"{what} is missing, and CI must not skip this test")
    pytest.skip(f"NOT TESTED: {what} is missing on this machine")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def synapse() -> AsyncIterator[LocalSynapse]:
    """The homeserver all tests share. Its limits are far away; use accounts and rooms of your own."""
    _require_synapse()
    async with LocalSynapse() as server:
        yield server


@pytest_asyncio.fixture(loop_scope="session")
async def own_synapse() -> AsyncIterator[MakeSynapse]:
    """Make homeservers for one test, started, which it may stop, kill and restart. Takes what LocalSynapse takes."""
    _require_synapse()
    servers: list[LocalSynapse] = []

    async def make(**choices: Any) -> LocalSynapse:
        server = LocalSynapse(**choices)
        servers.append(server)
        await server.start()
        return server

    yield make
    for server in servers:
        await server.close()


@pytest.fixture
def new_user(request: pytest.FixtureRequest) -> MakeUser:
    """Create accounts with random names: `await new_user()`, `await new_user("kunde", admin=True, on=server)`.

    Without `on` they live on the shared homeserver; the test must have asked for the fixture `synapse` itself.
    """

    async def make(prefix: str = "user", *, admin: bool = False, on: LocalSynapse | None = None) -> Account:
        server = on or request.getfixturevalue("synapse")
        localpart = f"{prefix}-{secrets.token_hex(4)}"
        password = secrets.token_urlsafe(12)
        made = Account(await server.register(localpart, password, admin=admin), localpart, password)
        overhear(made)
        return made

    return make


@pytest_asyncio.fixture(loop_scope="session")
async def new_peer(request: pytest.FixtureRequest, new_user: MakeUser, tmp_path: Path) -> AsyncIterator[MakePeer]:
    """Log people in: `await new_peer()`, `await new_peer(account, on=server, cross_sign=True)`.

    Without an account it makes one. All are logged in until the test ends.
    """
    peers: list[Peer] = []

    async def make(account: Account | None = None, *, on: LocalSynapse | None = None, **choices: Any) -> Peer:
        server = on or request.getfixturevalue("synapse")
        account = account or await new_user(on=server)
        store = tmp_path / f"peer-{len(peers)}"
        peers.append(await PatientPeer.login(server.url, account.localpart, account.password, store=store, **choices))
        return peers[-1]

    yield make
    for peer in peers:
        await peer.close()


def _require_synapse() -> None:
    try:
        importlib.metadata.version("matrix-synapse")
    except importlib.metadata.PackageNotFoundError:
        require(False, "matrix-synapse")


@pytest_asyncio.fixture
async def business(synapse: LocalSynapse, tmp_path: Path) -> AsyncIterator[Business]:
    """A bot that serves, with two mechanics and an admin; it must end cleanly."""
    folder = tmp_path / "bot"
    folder.mkdir()
    made = await a_business(synapse, folder)
    made.people = {name: await made.account(name) for name in ("jan", "eva", "chef")}
    made.members = [made.people["jan"].mxid, made.people["eva"].mxid]
    made.admins = [made.people["chef"].mxid]
    await made.start()
    yield made
    if made.process:
        assert await made.stop() == 0, made.log()
    assert "Traceback" not in made.log(), made.log()
