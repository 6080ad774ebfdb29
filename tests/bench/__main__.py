"""`make bench`: measure, compare with the targets, print a table, write build/bench.json."""

import argparse
import asyncio
import importlib.metadata
import json
import logging
import os
import platform
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.bench import figures, ledgers, loop
from tests.bench.stage import Stage

out = Console(highlight=False)
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    customers: int = 20
    each: int = 25
    hops: int = 30
    rooms: int = 200
    sessions: int = 20_000
    runs: int = 3
    openings: int = 5
    appends: int = 1000
    entries: int = 100_000


QUICK = Size(customers=4, each=5, hops=4, rooms=12, sessions=500, runs=1, openings=2, appends=50, entries=2000)


async def measure(size: Size) -> Json:
    """Measure everything on one homeserver, and first of all what needs none."""
    blocks = await asyncio.to_thread(loop.measure, size.runs)
    out.print("the blocks of the loop are measured")
    kept = await asyncio.to_thread(ledgers.measure, size.runs, appends=size.appends, entries=size.entries)
    out.print("the ledger is measured")
    async with Stage() as stage:
        shop = await stage.shop("shop")
        bare = await stage.bare(await shop.business.account("bare"))
        await stage.add_customers(shop, size.customers, stay=True)
        out.print("customers are there")
        there, back, floor = await figures.hops(shop, bare, stage, size.hops)
        out.print("hops are measured")
        drains = await figures.drain(shop, bare, size.each, size.runs)
        out.print("the backlog is measured")
        burst = await figures.live(shop, size.each)
        openings = await figures.openings(stage, shop, size.openings)
        out.print("the burst and openings are measured")
        newcomers = await stage.shop("newcomers", "[cases]\nreopen_days = 0\n")
        first, next_case = await figures.first_contacts(stage, newcomers, size.openings)
        out.print("first contacts are measured")
        small = await stage.shop("small")
        await stage.add_customers(small, min(10, size.rooms), stay=True)
        large = await stage.shop("large")
        await stage.add_customers(large, 1, stay=True)
        await stage.add_customers(large, size.rooms - 1, stay=False)
        out.print(f"{size.rooms} customers have come")
        few, many = await figures.starts(small, large, size.runs)
        rss = await figures.memory(large, size.sessions)
    bursts = [burst, *(drained for drained, _ in drains)]
    floor_p50 = figures.median(floor.server)
    hop_p50 = figures.median(there.server + back.server)
    return {
        "hop_p50_ratio": hop_p50 / floor_p50,
        "hop_p50_ms": hop_p50 * 1000,
        "hop_p95_ms": figures.percentile(there.server + back.server, 0.95) * 1000,
        "hop_there_p50_ms": figures.median(there.server) * 1000,
        "hop_back_p50_ms": figures.median(back.server) * 1000,
        "floor_p50_ms": floor_p50 * 1000,
        "floor_p95_ms": figures.percentile(floor.server, 0.95) * 1000,
        "whole_p50_ms": figures.median(there.whole + back.whole) * 1000,
        "whole_floor_p50_ms": figures.median(floor.whole) * 1000,
        "drain_ratio": figures.median([burst.rate / bare_rate for burst, bare_rate in drains]),
        "drain_rate": figures.median([burst.rate for burst, _ in drains]),
        "drain_bare_rate": figures.median([bare_rate for _, bare_rate in drains]),
        "live_rate": burst.rate,
        "lost": sum(each.lost for each in bursts),
        "doubled": sum(each.doubled for each in bursts),
        "disorder": sum(each.disorder for each in bursts),
        "cpu_ms_per_message": burst.cpu_ms,
        "case_open_s": figures.median(openings),
        "first_contact_s": figures.median(first.server),
        "next_case_s": figures.median(next_case.server),
        "first_contact_added_s": figures.median(
            [contact - later for contact, later in zip(first.server, next_case.server, strict=True)]
        ),
        "start_s_10": figures.median(few),
        f"start_s_{size.rooms}": figures.median(many),
        "start_ratio_200_to_10": figures.median(many) / figures.median(few),
        "rss_mib": rss,
        **blocks,
        **kept,
    }


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: the figure, its target, and what the closest peer showed."""

    name: str
    key: str
    target: float | None
    most: bool
    peer: str


ROWS = (
    Row("hop p50, × floor", "hop_p50_ratio", 1.3, True, "2-3"),
    Row("drain, × bare sender", "drain_ratio", 0.8, False, "–"),
    Row("out of order", "disorder", 0, True, "29-62 of 500"),
    Row("lost", "lost", 0, True, "0; 50 of 100 after a stop"),
    Row("doubled", "doubled", 0, True, "0"),
    Row("start, 200 ÷ 10 customers", "start_ratio_200_to_10", 1.5, True, "1.4"),
    Row("CPU ms a message", "cpu_ms_per_message", 15, True, "9-10"),
    Row("RSS MiB", "rss_mib", 150, True, "18-30"),
    Row("loop blocked a room key, × plain nio", "key_block_ratio", 0.25, True, "–"),
    Row("loop blocked by a first share, × plain nio", "share_block_ratio", 0.25, True, "–"),
    Row("loop blocked a room key, ms", "key_block_ms", None, True, "–"),
    Row("loop blocked by a first share, ms", "share_block_ms", None, True, "–"),
    Row("opening a case, s", "case_open_s", None, True, "0.6-1.2"),
    Row("added by a first contact, s", "first_contact_added_s", None, True, "–"),
    Row("hop p50, ms", "hop_p50_ms", None, True, "117-166"),
    Row("live burst, messages/s", "live_rate", None, False, "10.8-12.4"),
    Row("ledger, appends/s with their fsync", "ledger_appends_per_s", None, False, "–"),
    Row("ledger, verifying 100,000 entries, s", "ledger_verify_100k_s", None, True, "–"),
)


def table(found: Json) -> Table:
    """Return the table: figure, value, target, peer."""
    shown = Table("figure", "here", "target", "", "Honoroit, elsewhere measured")
    for row in ROWS:
        value = found[row.key]
        met = row.target is None or (value <= row.target if row.most else value >= row.target)
        limit = "–" if row.target is None else f"{'≤' if row.most else '≥'} {row.target:g}"
        shown.add_row(row.name, f"{value:.2f}", limit, "" if row.target is None else "✓" if met else "✗", row.peer)
    return shown


def machine() -> Json:
    """Describe where it was measured."""
    load = os.getloadavg()
    return {
        "processors": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "synapse": importlib.metadata.version("matrix-synapse"),
        "load_1_min": round(load[0], 2),
    }


async def _until_signal(size: Size) -> Json:
    task = asyncio.ensure_future(measure(size))
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await task


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rooms", type=int, default=200, help="customers of the large business (200)")
    parser.add_argument("--quick", action="store_true", help="small numbers, to see that it runs")
    choices = parser.parse_args()
    logging.disable()  # stock nio tells what every test of it shows
    size = QUICK if choices.quick else Size(rooms=choices.rooms)
    try:
        found = asyncio.run(_until_signal(size))
    except asyncio.CancelledError:
        raise SystemExit(130) from None
    file = Path("build/bench.json")
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(found | {"machine": machine()}, indent=2) + "\n")
    out.print(table(found))
    out.print(f"More in {file}.")


if __name__ == "__main__":
    main()
