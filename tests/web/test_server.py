"""What is shown over HTTP: three paths, counts, and nothing personal."""

import socket

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from bot.domain.errors import Fatal
from bot.web.server import Figure, Watched, exposition, serving

FIGURES = [
    Figure("botschaft_items", "Items", 3, {"state": "new"}),
    Figure("botschaft_items", "Items", 1, {"state": "parked"}),
    Figure("botschaft_keys_withheld", "Keys", 2, {"code": "m.no_olm"}, counts=True),
]


async def some() -> list[Figure]:
    return FIGURES


async def prepared() -> dict[str, bool]:
    return {"keys": True, "server": True}


def test_figures_are_what_prometheus_reads() -> None:
    read = {family.name: family for family in text_string_to_metric_families(exposition(FIGURES).decode())}
    assert [(s.labels, s.value) for s in read["botschaft_items"].samples] == [
        ({"state": "new"}, 3.0),
        ({"state": "parked"}, 1.0),
    ]
    assert read["botschaft_keys_withheld"].type == "counter"
    assert [s.name for s in read["botschaft_keys_withheld"].samples] == ["botschaft_keys_withheld_total"]


async def test_health_is_what_the_bot_says_of_itself() -> None:
    well = True
    async with serving("127.0.0.1:0", Watched(some, lambda: well, prepared)) as port, aiohttp.ClientSession() as http:
        base = f"http://127.0.0.1:{port}"
        async with http.get(f"{base}/health") as answer:
            assert (answer.status, await answer.json()) == (200, {"ok": True})
        well = False
        async with http.get(f"{base}/health") as answer:
            assert (answer.status, await answer.json()) == (503, {"ok": False})
        async with http.get(f"{base}/metrics") as answer:
            assert answer.status == 200
            assert 'botschaft_items{state="parked"} 1.0' in await answer.text()


async def test_who_is_not_ready_says_what_is_missing() -> None:
    parts = {"keys": True, "server": False}

    async def readiness() -> dict[str, bool]:
        return parts

    async with serving("127.0.0.1:0", Watched(some, lambda: True, readiness)) as port, aiohttp.ClientSession() as http:
        address = f"http://127.0.0.1:{port}/ready"
        async with http.get(address) as answer:
            assert (answer.status, await answer.json()) == (503, {"ok": False, "keys": True, "server": False})
        parts["server"] = True
        async with http.get(address) as answer:
            assert (answer.status, await answer.json()) == (200, {"ok": True, "keys": True, "server": True})


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/"), ("POST", "/metrics"), ("GET", "/metrics/../x"), ("PUT", "/health")]
)
async def test_nothing_else_is_answered(method: str, path: str) -> None:
    async with (
        serving("127.0.0.1:0", Watched(some, lambda: True, prepared)) as port,
        aiohttp.ClientSession() as http,
        http.request(method, f"http://127.0.0.1:{port}{path}", data=b"x" * 10_000) as answer,
    ):
        assert answer.status in {404, 405}


async def test_a_taken_address_is_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(Fatal, match="cannot listen on"):
            async with serving(listen, Watched(some, lambda: True, prepared)):
                raise AssertionError
