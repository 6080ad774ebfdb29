"""What every Registrar promises, asked of the fake and of Synapse's administrator. So the fake cannot lie."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

from bot.demo.synapse import LocalSynapse
from bot.domain.errors import Refused
from bot.domain.ids import UserId
from bot.flows.registrar import Registrar
from bot.matrix.admin import Admin
from tests.business import Account
from tests.conftest import MakeUser
from tests.flows.fake import FakeMessenger
from tests.integration.test_admin import logged_in


@dataclass
class Side:
    """One implementation under test, and one that asks with a token that nobody knows."""

    registrar: Registrar
    stranger: Registrar
    server: str
    opens: Callable[[UserId, str], Awaitable[bool]]


async def _fake() -> AsyncIterator[Side]:
    fake, stranger = (FakeMessenger(UserId("@bot:example.org"), lambda: datetime.now(UTC)) for _ in "12")
    fake.registration_open = False
    stranger.registrar_says = "token_invalid"

    async def opens(user: UserId, password: str) -> bool:
        return fake.accounts.get(user) == password

    yield Side(fake, stranger, "example.org", opens)


async def _real(synapse: LocalSynapse, new_user: MakeUser) -> AsyncIterator[Side]:
    admin = Admin(synapse.url, await logged_in(synapse, await new_user("root", admin=True)))
    stranger = Admin(synapse.url, "syt_made_up")

    async def opens(user: UserId, password: str) -> bool:
        try:
            return bool(await logged_in(synapse, Account(user, user[1:].partition(":")[0], password)))
        except Refused:
            return False

    yield Side(admin, stranger, synapse.server_name, opens)
    await admin.close()
    await stranger.close()


@pytest_asyncio.fixture(params=["fake", "real"], loop_scope="session")
async def side(request: pytest.FixtureRequest, synapse: LocalSynapse, new_user: MakeUser) -> AsyncIterator[Side]:
    """Each test runs against both."""
    async for made in _fake() if request.param == "fake" else _real(synapse, new_user):
        yield made


async def test_a_name_is_free_until_it_is_given_and_giving_it_again_is_fine(side: Side) -> None:
    name = f"kunde-{secrets.token_hex(5)}"
    user = UserId(f"@{name}:{side.server}")
    assert await side.registrar.is_free(name)

    await side.registrar.make_account(user, "xkd7-2mfq-9rtw-hb3c")
    await side.registrar.make_account(user, "another-one")

    assert not await side.registrar.is_free(name)
    assert await side.opens(user, "xkd7-2mfq-9rtw-hb3c")
    assert not await side.opens(user, "another-one"), "its owner may have changed it since"


async def test_a_token_is_made_and_making_it_again_is_fine(side: Side) -> None:
    token, tomorrow = secrets.token_hex(6), datetime.now(UTC) + timedelta(days=1)
    await side.registrar.make_registration_token(token, expires_at=tomorrow)
    await side.registrar.make_registration_token(token, expires_at=tomorrow)


async def test_a_closed_server_says_so(side: Side) -> None:
    assert await side.registrar.takes_registrations() is False


async def test_who_is_not_known_is_refused(side: Side) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    for asked in (
        side.stranger.is_free("kunde"),
        side.stranger.make_account(UserId(f"@kunde:{side.server}"), "x"),
        side.stranger.make_registration_token("x", expires_at=tomorrow),
    ):
        with pytest.raises(Refused) as caught:
            await asked
        assert caught.value.code == "token_invalid"
