"""Hostile JSON: something sound with one or two places in it replaced, removed or doubled."""

import json
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

Json = dict[str, Any]
Path = tuple[str | int, ...]


def _deep(depth: int) -> Any:
    value: Any = {}
    for _ in range(depth):
        value = {"a": value}
    return value


POOL: list[Any] = [
    *(None, True, False, 0, -1, 7, 2**63, 2**80, 1.5, float("inf"), float("nan")),
    *("", "x", "\x00", "\ud800", "ab\ud83d", "💥", "A" * 43, "A" * 44, "A" * 42 + "=", "A" * 70_000, "AAAA", "!!!"),
    *("@eve:x", "@bot:x", "@anna:x", "!room:x", "DEV", "m.room_key", "m.room.member", "m.megolm.v1.aes-sha2"),
    *([], {}, [[]], [None], ["x"], {"a": {}}, {"": ""}, {"signed_curve25519": 5}, {"@anna:x": {"DEV": {}}}),
    *(_deep(60), _deep(400), [{}] * 300),
]
GONE = object()
MUTANTS = [*POOL, GONE]

places = st.tuples(st.integers(0, 10_000), st.integers(0, len(MUTANTS) - 1))
"""Where something is changed (counted over all places), and into what."""

changes = st.lists(places, min_size=1, max_size=2)


def plans(templates: int, *, size: int) -> st.SearchStrategy[list[tuple[int, list[tuple[int, int]]]]]:
    """Build so many changed copies of numbered templates at a time."""
    return st.lists(st.tuples(st.integers(0, templates - 1), changes), min_size=size, max_size=size)


def changed(sound: Any, plan: list[tuple[int, int]]) -> Any:
    """Return a copy with these changes."""
    value = _fresh(sound)
    for place, mutant in plan:
        paths = list(_paths(value))
        path = paths[place % len(paths)]
        if not path:
            value = None if MUTANTS[mutant] is GONE else _fresh(MUTANTS[mutant])
        else:
            _put(value, path, MUTANTS[mutant])
    return value


def _fresh(value: Any) -> Any:
    """Return a copy, however deep: a later change must not reach into the pool."""
    return json.loads(json.dumps(value))


def _put(value: Any, path: Path, mutant: Any) -> None:
    for name in path[:-1]:
        value = value[name]
    if mutant is GONE:
        del value[path[-1]]
    else:
        value[path[-1]] = _fresh(mutant)


def _paths(value: Any, path: Path = (), depth: int = 12) -> Iterator[Path]:
    yield path
    if depth:
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for name, inner in items:
            yield from _paths(inner, (*path, name), depth - 1)
