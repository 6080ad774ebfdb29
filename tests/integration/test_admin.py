"""The admin API of a real Synapse: what is made once is there once, and everybody else is told no."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from bot.demo.synapse import LocalSynapse
from bot.domain.errors import Refused
from bot.domain.ids import UserId
from bot.matrix.admin import UNLIMITED, Admin, RateLimit, Registration, Why
from bot.matrix.transport import Transport
from tests.business import Account
from tests.conftest import MakeSynapse, MakeUser
from tests.waiting import until

BY_TOKEN = {"enable_registration": True, "registration_requires_token": True}


async def logged_in(server: LocalSynapse, account: Account) -> str:
    """Return an access token."""
    transport = Transport(server.url)
    body = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": account.localpart},
        "password": account.password,
    }
    try:
        return str((await transport.call("POST", "/_matrix/client/v3/login", body))["access_token"])
    finally:
        await transport.close()


async def registered(server: LocalSynapse, token: str) -> int:
    """Register like a client that was given a registration token; return the status of the last answer."""
    path = f"{server.url}/_matrix/client/v3/register"
    body: dict[str, Any] = {"username": f"new-{secrets.token_hex(4)}", "password": secrets.token_urlsafe(12)}
    async with aiohttp.ClientSession() as http:
        async with http.post(path, json=body) as response:
            session = (await response.json())["session"]
        auth = {"type": "m.login.registration_token", "token": token, "session": session}
        async with http.post(path, json=body | {"auth": auth}) as response:
            if response.status != 401 or "m.login.registration_token" not in (await response.json()).get(
                "completed", []
            ):
                return response.status
        async with http.post(path, json=body | {"auth": {"type": "m.login.dummy", "session": session}}) as response:
            return response.status


@pytest_asyncio.fixture(loop_scope="session")
async def admin(synapse: LocalSynapse, new_user: MakeUser) -> AsyncIterator[Admin]:
    """The administrator of the server that all tests share."""
    made = Admin(synapse.url, await logged_in(synapse, await new_user("root", admin=True)))
    yield made
    await made.close()


@asynccontextmanager
async def the_admin_of(server: LocalSynapse, new_user: MakeUser) -> AsyncIterator[Admin]:
    made = Admin(server.url, await logged_in(server, await new_user("root", admin=True, on=server)))
    try:
        yield made
    finally:
        await made.close()


async def test_an_administrator_is_known_and_nobody_else_is(
    synapse: LocalSynapse, admin: Admin, new_user: MakeUser
) -> None:
    assert (await admin.version()).startswith("1.")
    assert (await admin.check()).startswith("@root-")
    nobody = Admin(synapse.url, await logged_in(synapse, await new_user()))
    stranger = Admin(synapse.url, "syt_made_up")
    try:
        for somebody, why in ((nobody, Why.NOT_ADMIN), (stranger, Why.TOKEN_INVALID)):
            with pytest.raises(Refused) as caught:
                await somebody.check()
            assert caught.value.code == why
    finally:
        await nobody.close()
        await stranger.close()


async def test_a_registration_token_lets_in_one_person_once(own_synapse: MakeSynapse, new_user: MakeUser) -> None:
    server = await own_synapse(settings=BY_TOKEN)
    token = f"kunde-{secrets.token_hex(6)}"
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    async with the_admin_of(server, new_user) as admin:
        assert await admin.registration() is Registration.OPEN
        await admin.make_registration_token(token, expires_at=tomorrow)
        await admin.make_registration_token(token, expires_at=tomorrow)  # as after a crash

        assert await registered(server, token) == 200
        assert await registered(server, token) == 401
        await admin.make_registration_token(token, expires_at=tomorrow)
        assert await registered(server, token) == 401, "made again it must not be good again"
        assert await registered(server, "made-up") == 401


async def test_a_token_that_is_out_of_date_or_taken_back_lets_nobody_in(
    own_synapse: MakeSynapse, new_user: MakeUser
) -> None:
    server = await own_synapse(settings=BY_TOKEN)
    async with the_admin_of(server, new_user) as admin:
        with pytest.raises(Refused) as caught:
            await admin.make_registration_token("late", expires_at=datetime.now(UTC) - timedelta(seconds=1))
        assert caught.value.code == Why.EXPIRED
        assert await registered(server, "late") == 401

        await admin.make_registration_token("short", expires_at=datetime.now(UTC) + timedelta(seconds=1.5))
        await until(lambda: _is_over(server, "short"), timeout_s=10)
        assert await registered(server, "short") == 401

        await admin.make_registration_token("back", expires_at=datetime.now(UTC) + timedelta(days=1))
        await admin.remove_registration_token("back")
        await admin.remove_registration_token("back")
        assert await registered(server, "back") == 401


async def _is_over(server: LocalSynapse, token: str) -> bool:
    path = f"{server.url}/_matrix/client/v1/register/m.login.registration_token/validity"
    async with aiohttp.ClientSession() as http, http.get(path, params={"token": token}) as response:
        return not (await response.json())["valid"]


async def test_a_server_that_takes_no_registrations_says_so(admin: Admin) -> None:
    assert await admin.registration() is Registration.CLOSED


async def test_an_account_is_made_once_and_nobody_is_logged_out_by_a_second_time(
    synapse: LocalSynapse, admin: Admin
) -> None:
    name, password = f"gast-{secrets.token_hex(5)}", secrets.token_urlsafe(12)
    user = UserId(f"@{name}:{synapse.server_name}")
    assert await admin.is_free(name)

    await admin.make_account(user, password)
    token = await logged_in(synapse, Account(user, name, password))
    await admin.make_account(user, password)

    assert not await admin.is_free(name)
    transport = Transport(synapse.url)
    transport.access_token = token
    try:
        assert (await transport.call("GET", "/_matrix/client/v3/account/whoami"))["user_id"] == user
    finally:
        await transport.close()
    with pytest.raises(Refused) as caught:
        await _check_as(synapse, token)
    assert caught.value.code == Why.NOT_ADMIN


async def _check_as(server: LocalSynapse, token: str) -> None:
    somebody = Admin(server.url, token)
    try:
        await somebody.check()
    finally:
        await somebody.close()


async def test_a_rate_limit_of_one_account(admin: Admin, new_user: MakeUser) -> None:
    user = UserId((await new_user()).mxid)
    assert await admin.rate_limit(user) is None

    await admin.set_rate_limit(user, RateLimit(5, 50))
    assert await admin.rate_limit(user) == RateLimit(5, 50)
    await admin.set_rate_limit(user, UNLIMITED)
    assert await admin.rate_limit(user) == UNLIMITED

    for stranger in ("@nobody-of-that-name:localhost", "@anna:elsewhere.example"):
        with pytest.raises(Refused) as caught:
            await admin.rate_limit(UserId(stranger))
        assert caught.value.code == Why.UNKNOWN_USER
