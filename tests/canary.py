"""The canary: nothing that people in a test are called, say or see may stand in what a bot leaves behind.

Each business has one. From the moment it is made it hears what everybody logged in by a test says and sees; when the
bot stops, its log, its metrics and every file of its folder are searched for all of that.
"""

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote
from weakref import WeakSet

import pytest

from bot.demo.peer import Peer, Seen

Json = dict[str, Any]

SHORTEST: Final = 8
"""Bytes. Shorter words are found by chance in ciphertext, and in our own words ("Hallo")."""
STARTS_WITH: Final = 24
"""Characters of a line that are listened for: a leak may be cut short."""
BLOCK: Final = 4
"""Bytes. Whatever is twice as long covers one whole block of a file, wherever it stands."""
SPOKEN: Final = frozenset({"body", "formatted_body", "displayname", "name", "topic", "reason", "filename", "user"})
"""Names, wherever in JSON, whose values are a person's words."""
IDS: Final = frozenset({"user_id", "room_id", "event_id", "sender", "state_key", "redacts", "password"})
PLAIN_DATABASE: Final = b"SQLite format 3\0"
TOKEN: Final = re.compile(rb"\b(?:syt|mct|mat)_[A-Za-z0-9+/=_-]{20,}")
_ID: Final = re.compile(r"[@!$#]([^\s:@]+):\S+|[!$]([A-Za-z0-9_-]{30,})|mxc://[^/\s]+/(\S+)")

_listening: "WeakSet[Canary]" = WeakSet()
_elsewhere: set[Path] = set()


def overhear(*said: Any) -> None:
    """Let all canaries know what somebody is called, says or sees: strings, or JSON in which they are looked for."""
    words = {word for value in said for text in _spoken(value) for word in _words(text)}
    for canary in _listening:
        canary.words |= words


@contextmanager
def overhearing(peers: type[Peer]) -> Iterator[None]:
    """Overhear everybody of a class of clients: their logins, what they send, and what the server shows them.

    What others say is heard from them; what a bot says in its own words to an admin may stand in its log as well.
    """
    login, send, call, read = peers.login.__func__, peers.send, peers.call, peers._read  # type: ignore[attr-defined]

    async def logs_in(cls: type[Peer], /, url: str, user: str, password: str, *, store: Path, **choices: Any) -> Peer:
        _elsewhere.add(store)
        peer: Peer = await login(cls, url, user, password, store=store, **choices)
        overhear(peer.user_id, user, password, peer._http._headers["Authorization"].removeprefix("Bearer "))
        return peer

    async def sends(peer: Peer, room_id: str, event_type: str, content: Json, **choices: Any) -> str:
        overhear(room_id, content)
        return await send(peer, room_id, event_type, content, **choices)

    async def calls(peer: Peer, method: str, path: str, body: Json | None = None) -> Json:
        answer = await call(peer, method, path, body)
        overhear(body, answer)
        return answer

    def reads(peer: Peer, room_id: str, raw: Json) -> Seen | None:
        overhear(room_id, raw)
        return read(peer, room_id, raw)

    with pytest.MonkeyPatch.context() as patch:
        for name, ours in (("login", classmethod(logs_in)), ("send", sends), ("call", calls), ("_read", reads)):
            patch.setattr(peers, name, ours)
        yield


class Canary:
    """The words heard since it was made. In `besides`, the admin's own files, they may stand."""

    def __init__(self) -> None:
        self.words: set[bytes] = set()
        self.besides: set[Path] = set()
        _listening.add(self)

    def has_heard(self, *said: str) -> bool:
        """Tell whether all of this is listened for."""
        return all(word in self.words for text in said for word in _words(text))

    def found_in(self, where: str, data: bytes) -> list[str]:
        """Return what must not stand there, each with its place."""
        blocks = _blocks(data)
        found = [word.decode() for word in sorted(self.words) if _may_be_among(blocks, word) and word in data]
        found += [f"a token: {token.decode()}" for token in TOKEN.findall(data)]
        found += ["a database that is not encrypted"] if data.startswith(PLAIN_DATABASE) else []
        return [f"{where}: {what}" for what in found]

    def found_below(self, folder: Path) -> list[str]:
        """Search every file below a folder."""
        files = sorted(file for file in folder.rglob("*") if file.is_file() and not self._is_elsewhere(file))
        return [line for file in files for line in self.found_in(str(file.relative_to(folder)), file.read_bytes())]

    def _is_elsewhere(self, file: Path) -> bool:
        return any(file.is_relative_to(other) for other in self.besides | _elsewhere)


def _blocks(data: bytes) -> set[int]:
    """Return every block of a file, as a number; looking each word up here first is a hundred times faster."""
    return set(memoryview(data)[: len(data) // BLOCK * BLOCK].cast("I"))


def _may_be_among(blocks: set[int], word: bytes) -> bool:
    """Tell whether a word can stand there: one of its first blocks would be a block of the file."""
    return any(int.from_bytes(word[at : at + BLOCK], sys.byteorder) in blocks for at in range(BLOCK))


def _spoken(value: Any, name: str = "body") -> Iterator[str]:
    """Yield every string of a structure that is somebody's."""
    match value:
        case str() if name in SPOKEN or name in IDS or _ID.fullmatch(value):
            yield value
        case dict():
            for key, inner in value.items():
                yield from _spoken(inner, key)
        case list() | tuple():
            for inner in value:
                yield from _spoken(inner, name)


def _words(text: str) -> Iterator[bytes]:
    """Yield what to look for: how the lines of a text begin and what is inside an id, each as it may be written."""
    for line in filter(None, map(str.strip, text.splitlines())):
        parts = {part for found in _ID.finditer(line) for part in found.groups() if part and len(part) >= SHORTEST}
        for part in parts if _ID.fullmatch(line) and parts else {*parts, line[:STARTS_WITH]}:
            for written in {part, json.dumps(part)[1:-1], quote(part, safe="")}:
                if len(part.encode()) >= SHORTEST:
                    yield written.encode()
