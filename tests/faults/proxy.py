"""A bad network between the bot and its homeserver: a proxy that loses, delays, refuses and garbles as it is told."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp import web

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-encoding", "content-length", "host"}


class Fault(StrEnum):
    """What happens to one request."""

    CUT_BEFORE = "the connection ends before the server saw the request"
    CUT_AFTER = "the connection ends after the server acted"
    SLOW = "the answer takes its time"
    HANG = "no answer ever comes"
    LIMITED = "429 with the header Retry-After"
    LIMITED_BY_BODY = "429 with retry_after_ms"
    LIMITED_SILENTLY = "429 without a word"
    TROUBLE = "502 with a page for people"
    GARBAGE = "200 after the server acted, and no JSON"
    KEPT_BACK = "200, but the server sees it only when the test lets it go, or never"


Choice = Callable[[web.Request], Fault | None]
Change = Callable[[web.Request, bytes], bytes]
"""Returns what the server gets to see of a body."""


def at_random(faults: list[Fault], share: float, seed: int) -> Choice:
    """Let this share of all requests meet one of these faults."""
    numbers = random.Random(seed)

    def choose(request: web.Request) -> Fault | None:
        return numbers.choice(faults) if numbers.random() < share else None

    return choose


class Proxy:
    """Listens on a free port and passes everything to one server. `happened` counts the faults."""

    def __init__(self, target: str) -> None:
        self._target = target
        self.choose: Choice = lambda request: None
        self.change: Change = lambda request, body: body
        self.happened: Counter[Fault] = Counter()
        self._hanging = asyncio.Event()
        self._kept: list[web.Request] = []
        self.url = ""

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(auto_decompress=True, connector=aiohttp.TCPConnector(limit=0))
        app = web.Application(client_max_size=2**26)
        app.router.add_route("*", "/{path:.*}", self._pass)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hanging.set()
        await self._runner.cleanup()
        await self._http.close()

    async def let_go(self) -> None:
        """Send on, in order, what was kept back."""
        kept, self._kept = self._kept, []
        for request in kept:
            await self._forward(request)

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        if self._hanging.is_set():
            return self._cut(request)
        fault = self.choose(request)
        if fault:
            self.happened[fault] += 1
        match fault:
            case None:
                return await self._forward(request)
            case Fault.SLOW:
                await asyncio.sleep(random.uniform(0.1, 1.5))
                return await self._forward(request)
            case Fault.CUT_AFTER:
                await self._forward(request)
                return self._cut(request)
            case Fault.GARBAGE:
                await self._forward(request)
                return web.Response(text="<html>It works!</html>", content_type="text/html")
            case Fault.KEPT_BACK:
                await request.read()  # which keeps the body for later
                self._kept.append(request)
                return web.json_response({})
            case Fault.HANG:
                await self._hanging.wait()
                return self._cut(request)
            case Fault.CUT_BEFORE:
                return self._cut(request)
            case _:
                return _refusal(fault)

    async def _forward(self, request: web.Request) -> web.Response:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP}
        async with self._http.request(
            request.method,
            self._target + request.raw_path,
            data=self.change(request, await request.read()),
            headers=headers,
            allow_redirects=False,
        ) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP}
            return web.Response(status=answer.status, body=await answer.read(), headers=kept)

    @staticmethod
    def _cut(request: web.Request) -> web.Response:
        if request.transport is not None:
            request.transport.abort()
        return web.Response()


def _refusal(fault: Fault) -> web.Response:
    if fault is Fault.TROUBLE:
        return web.Response(status=502, text="<html>Bad Gateway</html>", content_type="text/html")
    body: dict[str, object] = {"errcode": "M_LIMIT_EXCEEDED", "error": "slower"}
    if fault is Fault.LIMITED_BY_BODY:
        body["retry_after_ms"] = 120
    headers = {"Retry-After": "1"} if fault is Fault.LIMITED else {}
    return web.json_response(body, status=429, headers=headers)
