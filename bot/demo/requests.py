"""Requests of somebody else's Matrix client: plain, each answer or a failure that says whether it may be repeated."""

import asyncio
from typing import Any
from urllib.parse import quote

import aiohttp

from bot.domain.errors import Refused, Transient

Json = dict[str, Any]

CLIENT = "/_matrix/client/v3"
REQUEST_WITHIN_S = 30.0
INSIST_FOR_S = 90.0
RETRY_AFTER_S = 0.2


class Http:
    """Requests to one homeserver. Every failure is Transient or Refused."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._headers: dict[str, str] = {}
        self._session = aiohttp.ClientSession()

    def authorize(self, token: str) -> None:
        """Use this access token from now on."""
        self._headers = {"Authorization": f"Bearer {token}"}

    async def once(
        self, method: str, path: str, body: Json | None = None, *, within_s: float = REQUEST_WITHIN_S
    ) -> Json:
        """Make one request. Raises Transient or Refused."""
        timeout = aiohttp.ClientTimeout(total=within_s)
        request = self._session.request(method, self.url + path, json=body, headers=self._headers, timeout=timeout)
        try:
            async with request as response:
                status, answer = response.status, await response.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, ValueError) as trouble:
            raise Transient(f"{method} {path.partition('?')[0]}: {trouble!r}") from trouble
        if status < 400:
            return answer if isinstance(answer, dict) else {"": answer}
        if not isinstance(answer, dict):
            answer = {}
        what = f"{method} {path.partition('?')[0]}: {status} {answer.get('errcode')} {answer.get('error')}"
        if status == 429 or status >= 500:
            raise Transient(what, retry_after_s=answer.get("retry_after_ms", 0) / 1000 or None)
        raise Refused(what, code=str(answer.get("errcode", "")), status=status)

    async def upload(self, data: bytes) -> str:
        """Put bytes on the server and return their mxc address. Raises like aiohttp."""
        async with self._session.post(f"{self.url}/_matrix/media/v3/upload", data=data, headers=self._headers) as got:
            got.raise_for_status()
            return str((await got.json())["content_uri"])

    async def download(self, mxc: str) -> bytes:
        """Return the bytes behind an mxc address. Raises like aiohttp."""
        path = f"/_matrix/client/v1/media/download/{mxc.removeprefix('mxc://')}"
        async with self._session.get(self.url + path, headers=self._headers) as got:
            got.raise_for_status()
            return await got.read()

    async def insist(self, method: str, path: str, body: Json | None = None) -> Json:
        """Make a request that may be repeated until it is answered, for a minute and a half. Raises like `once`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + INSIST_FOR_S
        while True:
            try:
                return await self.once(method, path, body)
            except Transient as trouble:
                pause = trouble.retry_after_s or RETRY_AFTER_S
                if loop.time() + pause > deadline:
                    raise
                await asyncio.sleep(pause)

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()


def quoted(part: str) -> str:
    """Return a part of a path."""
    return quote(part, safe="")
