"""HTTP to the homeserver: one method, and every outcome is a value or one of our four failures.

Nothing that could name a person, a room or a secret gets into an error or a log. A request that met trouble at once
is made again at once, twice: whoever needs several requests would else begin anew with the first one at each trouble.
Everything longer is waited out by whoever asked.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote as _quote

import aiohttp

from bot.domain.errors import Fatal, Refused, Transient
from bot.matrix import strange_json
from bot.matrix.pace import SlowDown

Json = dict[str, Any]

FILE_TIMEOUT_S = 120.0
PAUSES_S = (0.05, 0.25)
"""Before the second and the third try."""


def quote(piece: str) -> str:
    """Make one piece of a path safe."""
    return _quote(piece, safe="")


class NoAnswerInTime(Transient):
    """The server did not answer; asking again at once would double the wait."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered, whatever it was. `date` is its clock, to the second."""

    status: int
    json: Any
    date: datetime | None


class Transport:
    """A connection pool to one homeserver, with the access token of one device."""

    def __init__(self, url: str, *, timeout_s: float = 30.0) -> None:
        self._url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None
        self.access_token: str | None = None

    async def call(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        *,
        query: dict[str, str] | None = None,
        timeout_s: float | None = None,
        token: bool = True,
        expects: type = dict,
        repeats: bool = True,
    ) -> Any:
        """Make a request, up to three times, and return its JSON, which is an object everywhere but in one place.

        `repeats` is False for the few requests that mean something else the second time.

        Raises:
            Transient: no connection, no answer in time, 5xx, 429, or an answer that is not such JSON.
            Refused: the server says no (4xx).
            Fatal: the access token is no longer valid.
        """
        headers = {"Authorization": f"Bearer {self.access_token}"} if token and self.access_token else {}
        seconds = timeout_s or self._timeout_s
        for pause_s in PAUSES_S if repeats else ():
            try:
                return await self._once(method, path, body, query, headers, seconds, expects)
            except (SlowDown, NoAnswerInTime):
                raise
            except Transient:
                await asyncio.sleep(pause_s)
        return await self._once(method, path, body, query, headers, seconds, expects)

    async def look(self, method: str, path: str, body: Json | None = None, *, token: bool = True) -> Answer:
        """Ask once, for the answer itself: a refusal is one, too.

        Raises:
            Transient: no connection, no answer in time, or 429.
        """
        headers = {"Authorization": f"Bearer {self.access_token}"} if token and self.access_token else {}
        timeout = aiohttp.ClientTimeout(total=self._timeout_s)
        try:
            async with self._opened().request(
                method, self._url + path, json=body, headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                text, date = await response.text(), response.headers.get("Date")
        except (aiohttp.ClientError, TimeoutError, OSError, UnicodeDecodeError) as error:
            raise Transient(f"no answer from the server ({type(error).__name__})") from None
        try:
            answer = strange_json.loads(text)
        except (ValueError, RecursionError):
            answer = None
        if response.status == 429:
            raise SlowDown("the server asks us to slow down", retry_after_s=1.0)
        return Answer(response.status, answer, _moment(date))

    async def _once(
        self,
        method: str,
        path: str,
        body: Json | None,
        query: dict[str, str] | None,
        headers: dict[str, str],
        seconds: float,
        expects: type,
    ) -> Any:
        try:
            async with self._opened().request(
                method,
                self._url + path,
                json=body,
                params=query,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=seconds),
                allow_redirects=False,
            ) as response:
                text = await response.text()
                answer = _result(response.status, response.headers.get("Retry-After"), text)
        except TimeoutError as error:
            raise NoAnswerInTime(f"no answer from the server ({type(error).__name__})") from None
        except (aiohttp.ClientError, OSError, UnicodeDecodeError) as error:
            raise Transient(f"no answer from the server ({type(error).__name__})") from None
        if not isinstance(answer, expects):
            raise Transient("the server is in trouble (an answer of another kind)")
        return answer

    async def download(self, path: str, *, largest: int) -> bytes:
        """GET a file.

        Raises:
            Transient, Fatal: as `call`.
            Refused: as `call`, and with code `too_large` if it has more than `largest` bytes.
        """
        headers = {"Authorization": f"Bearer {self.access_token}"}
        timeout = aiohttp.ClientTimeout(total=FILE_TIMEOUT_S)
        try:
            async with self._opened().get(
                self._url + path, headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                if response.status != 200:
                    _result(response.status, response.headers.get("Retry-After"), await response.text())
                data = await response.content.read(largest + 1)
                while len(data) <= largest and (more := await response.content.read(largest + 1 - len(data))):
                    data += more
        except (aiohttp.ClientError, TimeoutError, OSError, UnicodeDecodeError) as error:
            raise Transient(f"no answer from the server ({type(error).__name__})") from None
        if len(data) > largest:
            raise Refused("the file is larger than we carry", code="too_large")
        return data

    async def upload(self, path: str, data: bytes) -> None:
        """PUT a file of nameless bytes. Raises as `call`."""
        headers = {"Authorization": f"Bearer {self.access_token}", "Content-Type": "application/octet-stream"}
        timeout = aiohttp.ClientTimeout(total=FILE_TIMEOUT_S)
        try:
            async with self._opened().put(
                self._url + path, data=data, headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                _result(response.status, response.headers.get("Retry-After"), await response.text())
        except (aiohttp.ClientError, TimeoutError, OSError, UnicodeDecodeError) as error:
            raise Transient(f"no answer from the server ({type(error).__name__})") from None

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=32)
            self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        return self._session

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            # aiohttp closes its sockets in the next turns of the loop.
            await asyncio.sleep(0)


def _result(status: int, retry_after: str | None, text: str) -> Any:
    try:
        answer = strange_json.loads(text)
    except (ValueError, RecursionError):
        answer = None
    known = answer if isinstance(answer, dict) else {}
    code = str(known.get("errcode", ""))
    if status == 429:
        raise SlowDown("the server asks us to slow down", retry_after_s=_seconds(retry_after, known))
    if status >= 500 or status == 408 or (status < 300 and answer is None):
        raise Transient(f"the server is in trouble ({status})")
    if status == 401 and code in {"M_UNKNOWN_TOKEN", "M_MISSING_TOKEN"}:
        raise Fatal(
            "The server no longer accepts the bot's access token: its device was logged out or removed there. "
            "docs/lost-keys.md says what is left to do."
        )
    if status >= 300:
        raise Refused(f"the server refused ({status})", code=code, status=status)
    return answer


def _moment(header: str | None) -> datetime | None:
    """Read a date of RFC 9110, section 5.6.7."""
    try:
        return parsedate_to_datetime(header) if header else None
    except ValueError:
        return None


def _seconds(header: str | None, answer: Json) -> float:
    """Return how long to wait: the header (RFC 9110) or, from older servers, the field of the answer."""
    if header and header.strip().isdigit():
        return max(0.1, float(header))
    milliseconds = answer.get("retry_after_ms")
    return max(0.1, milliseconds / 1000) if isinstance(milliseconds, int | float) else 1.0
