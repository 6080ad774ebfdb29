"""What the admin API says no to has one code each, stops nobody, and repeats no secret."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bot.domain.errors import Refused, Transient
from bot.domain.ids import UserId
from bot.matrix.admin import UNLIMITED, Admin, Registration, Why

TOKEN = "syt_secret"
ANNA = UserId("@anna:example.de")
TOMORROW = datetime.now(UTC) + timedelta(days=1)

Answer = Callable[[web.Request], web.Response]


@asynccontextmanager
async def an_admin(answer: Answer) -> AsyncIterator[Admin]:
    """Talk to a server that answers so."""

    async def handle(request: web.Request) -> web.Response:
        return answer(request)

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handle)
    server = TestServer(app)
    await server.start_server()
    admin = Admin(str(server.make_url("/")), TOKEN, timeout_s=60)
    try:
        yield admin
    finally:
        await admin.close()
        await server.close()


def no(status: int, code: str = "") -> web.Response:
    return web.json_response({"errcode": code, "error": f"no {TOKEN}"}, status=status)


QUESTIONS: dict[str, Callable[[Admin], Awaitable[object]]] = {
    "check": Admin.check,
    "token": lambda admin: admin.make_registration_token("abc", expires_at=TOMORROW),
    "account": lambda admin: admin.make_account(ANNA, "one-time"),
    "free": lambda admin: admin.is_free("anna"),
    "limit": lambda admin: admin.rate_limit(ANNA),
    "set limit": lambda admin: admin.set_rate_limit(ANNA, UNLIMITED),
    "remove": lambda admin: admin.remove_registration_token("abc"),
}


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (lambda: no(401, "M_UNKNOWN_TOKEN"), Why.TOKEN_INVALID),
        (lambda: no(403, "M_FORBIDDEN"), Why.NOT_ADMIN),
        (lambda: no(404, "M_UNRECOGNIZED"), Why.NOT_SYNAPSE),
        (lambda: web.Response(status=404, text="<html>nginx"), Why.NOT_SYNAPSE),
        (lambda: web.Response(status=302, headers={"Location": "https://elsewhere.example/"}), Why.NOT_SYNAPSE),
        (lambda: no(405, "M_UNRECOGNIZED"), Why.NOT_SYNAPSE),
    ],
)
async def test_every_refusal_has_its_code(question: str, answer: Callable[[], web.Response], why: Why) -> None:
    async with an_admin(lambda request: answer()) as admin:
        with pytest.raises(Refused) as caught:
            await QUESTIONS[question](admin)
    assert caught.value.code == why
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("question", QUESTIONS)
async def test_a_server_in_trouble_is_asked_again_later(question: str) -> None:
    async with an_admin(lambda request: web.Response(status=502, text="bad gateway")) as admin:
        with pytest.raises(Transient):
            await QUESTIONS[question](admin)


async def test_accounts_that_another_service_makes_are_told_apart_from_a_wrong_administrator() -> None:
    def answer(request: web.Request) -> web.Response:
        if request.method == "PUT":
            return no(403, "M_FORBIDDEN")
        return web.json_response({"user_id": "@root:example.de", "admin": True, "available": True})

    async with an_admin(answer) as admin:
        with pytest.raises(Refused) as caught:
            await admin.make_account(ANNA, "one-time")
    assert caught.value.code == Why.ELSEWHERE


async def test_neither_version_nor_registration_shows_the_token() -> None:
    seen: list[str | None] = []

    def answer(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        return web.json_response({"server_version": "1.163.2", "valid": False})

    async with an_admin(answer) as admin:
        assert await admin.version() == "1.163.2"
        assert await admin.registration() is Registration.OPEN
    assert seen == [None, None]
