"""Every outcome of a request is a value or one of our four failures, and none of them tells a secret."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from bot.domain.errors import Fatal, Refused, Transient
from bot.matrix.transport import NoAnswerInTime, Transport, quote

Serve = Callable[[web.Response | Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[Transport]]


@pytest_asyncio.fixture
async def serve() -> AsyncIterator[Serve]:
    """Answer every request in one way."""
    opened: list[TestServer | Transport] = []

    async def make(answer: web.Response | Callable[[web.Request], Awaitable[web.StreamResponse]]) -> Transport:
        async def handle(request: web.Request) -> web.StreamResponse:
            if not isinstance(answer, web.Response):
                return await answer(request)
            return web.Response(status=answer.status, body=answer.body, headers=answer.headers)

        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", handle)
        server = TestServer(app)
        await server.start_server()
        transport = Transport(str(server.make_url("/")), timeout_s=60)
        transport.access_token = "syt_secret"
        opened.extend([transport, server])
        return transport

    yield make
    for one in opened:
        await one.close()


def refusal(status: int, code: str, **more: object) -> web.Response:
    return web.json_response({"errcode": code, "error": "@anna:x says syt_secret"} | more, status=status)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (refusal(403, "M_FORBIDDEN"), Refused),
        (refusal(404, "M_NOT_FOUND"), Refused),
        (refusal(401, "M_UNKNOWN_TOKEN"), Fatal),
        (refusal(401, "M_FORBIDDEN"), Refused),
        (refusal(500, "M_UNKNOWN"), Transient),
        (web.Response(status=502, text="<html>"), Transient),
        (web.Response(status=200, text="not json"), Transient),
        (web.Response(status=200, text="[" * 100_000), Transient),
        (web.Response(status=200, text="[{}]"), Transient),
        (web.Response(status=200, text="null"), Transient),
        (web.Response(status=302, headers={"Location": "https://evil.example/"}), Refused),
    ],
)
async def test_outcomes(serve: Serve, answer: web.Response, kind: type[Exception]) -> None:
    transport = await serve(answer)
    with pytest.raises(kind) as caught:
        await transport.call("GET", "/x")
    assert "anna" not in str(caught.value)
    assert "syt" not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        (web.Response(status=429, headers={"Retry-After": "7"}, text="{}"), 7.0),
        (refusal(429, "M_LIMIT_EXCEEDED", retry_after_ms=1500), 1.5),
        (refusal(429, "M_LIMIT_EXCEEDED", retry_after_ms=-5), 0.1),
        (web.Response(status=429, text="slow down"), 1.0),
    ],
)
async def test_how_long_to_wait(serve: Serve, answer: web.Response, seconds: float) -> None:
    transport = await serve(answer)
    with pytest.raises(Transient) as caught:
        await transport.call("GET", "/x")
    assert caught.value.retry_after_s == seconds


async def test_nobody_there_is_transient() -> None:
    transport = Transport("http://127.0.0.1:9", timeout_s=1)
    with pytest.raises(Transient):
        await transport.call("GET", "/x")
    await transport.close()


async def test_halves_of_characters_come_in_as_a_mark(serve: Serve) -> None:
    transport = await serve(web.Response(text='{"a": "\\ud83d x", "b": "\\ud83d\\ude00", "\\uD800": 1}'))
    assert await transport.call("GET", "/x") == {"a": "\ufffd x", "b": "\U0001f600", "\ufffd": 1}


@pytest.mark.parametrize(
    ("answers", "requests"),
    [
        ([500, 200], 2),
        ([500, 502, 200], 3),
        ([502, 502, 502, 200], 3),
        ([429, 200], 1),
        ([403, 200], 1),
    ],
)
async def test_a_request_in_trouble_is_made_again_at_once_but_not_for_ever(
    serve: Serve, answers: list[int], requests: int
) -> None:
    asked = 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.json_response({"ok": True}, status=answers[asked - 1])

    transport = await serve(answer)
    if answers[requests - 1] == 200:
        assert await transport.call("PUT", "/x", {}) == {"ok": True}
    else:
        with pytest.raises((Transient, Refused)):
            await transport.call("PUT", "/x", {})
    assert asked == requests


async def test_what_means_something_else_the_second_time_is_made_once(serve: Serve) -> None:
    asked = 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.Response(status=502)

    transport = await serve(answer)
    with pytest.raises(Transient):
        await transport.call("POST", "/_matrix/client/v3/keys/upload", {}, repeats=False)
    assert asked == 1


async def test_a_server_that_is_silent_is_not_asked_twice(serve: Serve) -> None:
    asked, over = 0, asyncio.Event()

    async def late(request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        await over.wait()
        return web.Response()

    transport = await serve(late)
    with pytest.raises(NoAnswerInTime):
        await transport.call("GET", "/x", timeout_s=1)
    over.set()
    assert asked == 1


async def test_the_token_stands_in_the_header_alone(serve: Serve) -> None:
    async def echo(request: web.Request) -> web.Response:
        return web.json_response({"path": request.path_qs, "header": request.headers.get("Authorization")})

    transport = await serve(echo)
    answer = await transport.call("GET", f"/{quote('!r/../x?y#z')}", query={"a": "b"})
    assert answer["header"] == "Bearer syt_secret"
    assert "syt" not in answer["path"]
    assert (await transport.call("GET", "/x", token=False))["header"] is None
