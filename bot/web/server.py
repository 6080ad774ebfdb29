"""Health and metrics over HTTP, for whoever watches the bot. Counts only: no name, no room, no text, no id.

It answers three paths, takes no input, and its address is a setting that is empty by default.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from bot.domain.errors import Fatal


@dataclass(frozen=True, slots=True)
class Figure:
    """One number with a name. `counts`: it only grows while the process lives (its name gets `_total`)."""

    name: str
    meaning: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)
    counts: bool = False


@dataclass(frozen=True, slots=True)
class Watched:
    """What the server asks when it is asked."""

    figures: Callable[[], Awaitable[Iterable[Figure]]]
    is_well: Callable[[], bool]
    readiness: Callable[[], Awaitable[Mapping[str, bool]]]  # what must be true before anybody is served


class _Collector(Collector):
    def __init__(self, figures: Iterable[Figure]) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        for figure in self._figures:
            if figure.name not in families:
                family = CounterMetricFamily if figure.counts else GaugeMetricFamily
                families[figure.name] = family(figure.name, figure.meaning)
            name = f"{figure.name}_total" if figure.counts else figure.name
            families[figure.name].add_sample(name, dict(figure.labels), figure.value)
        return iter(families.values())


def exposition(figures: Iterable[Figure]) -> bytes:
    """Return the figures in the text format of Prometheus."""
    registry = CollectorRegistry()
    registry.register(_Collector(figures))
    return generate_latest(registry)


@asynccontextmanager
async def serving(listen: str, watched: Watched) -> AsyncIterator[int]:
    """Serve on `address:port` while inside; yields the port (useful if 0 was asked for).

    Raises:
        Fatal: nobody can listen there.
    """
    app = web.Application(client_max_size=1024)

    async def health(request: web.Request) -> web.Response:
        well = watched.is_well()
        return web.json_response({"ok": well}, status=200 if well else 503)

    async def ready(request: web.Request) -> web.Response:
        parts = await watched.readiness()
        ready = all(parts.values())
        return web.json_response({"ok": ready} | dict(parts), status=200 if ready else 503)

    async def metrics(request: web.Request) -> web.Response:
        headers = {"Content-Type": CONTENT_TYPE_LATEST}
        return web.Response(body=exposition(await watched.figures()), headers=headers)

    app.router.add_get("/health", health)
    app.router.add_get("/ready", ready)
    app.router.add_get("/metrics", metrics)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await _listen(runner, listen)
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, listen: str) -> None:
    host, _, port = listen.rpartition(":")
    try:
        await web.TCPSite(runner, host.strip("[]"), int(port)).start()
    except OSError as error:
        raise Fatal(f"web.listen: the bot cannot listen on {listen} ({error.strerror or 'not possible'}).") from error
