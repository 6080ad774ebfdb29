"""What one more message in an open case costs. Whoever adds to it sees it here, and decides."""

from collections import Counter
from typing import Any

import aiosqlite
import pytest

from bot.domain.arrival import customer_lane
from bot.flows.dispatch import Dispatch
from bot.store import arrivals
from bot.store.database import Tx
from tests.flows.world import ANNA, JAN, World


async def cost(world: World, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Handle what waits in Anna's lane; return the requests, the ways to a database thread, and the statements.

    No statement may read a whole table: while it did, nothing else would run.
    """
    count: Counter[str] = Counter()
    said: dict[str, int] = {}

    def watch(kind: Any, name: str, what: str) -> None:
        method = getattr(kind, name)

        def counted(*arguments: Any) -> Any:
            count[what] += 1
            if name in {"run", "all"}:
                said[arguments[1]] = len(arguments) - 2
            return method(*arguments)

        monkeypatch.setattr(kind, name, counted)

    item = await arrivals.next_of(world.database, customer_lane((await world.case(ANNA)).customer_id))
    assert item is not None
    before = len(world.server.calls)
    for name in ("execute", "execute_fetchall", "executemany", "commit"):
        watch(aiosqlite.Connection, name, "ways")
    for name in ("run", "run_many", "all"):
        watch(Tx, name, "statements")
    await Dispatch(world.around).handle(item)
    monkeypatch.undo()
    count["requests"] = len(world.server.calls) - before
    for sql, values in said.items():
        steps = [row[3] for row in await world.database.all(f"EXPLAIN QUERY PLAN {sql}", *[None] * values)]
        assert not [step for step in steps if step.startswith("SCAN")], sql
    return count


async def test_a_customers_message_is_one_request_and_two_commits(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "Die Bremse quietscht")
    await world.writes(ANNA, chat, "Auch beim Anfahren")

    spent = await cost(world, monkeypatch)

    assert (await world.case_room(ANNA)).texts()[-1] == "Auch beim Anfahren"
    assert spent["requests"] == 1
    assert spent["ways"] == 4, "each commit begins and ends in the writer's thread, and nothing else is waited for"
    assert spent["statements"] <= 14


async def test_an_answer_is_one_request_and_two_commits(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "Die Bremse quietscht")
    case = (await world.case_room(ANNA)).room_id
    await world.says(JAN, case, "Bringen Sie ihn um neun")
    await world.writes(JAN, case, "Oder um zehn")

    spent = await cost(world, monkeypatch)

    assert world.server.rooms[chat].texts()[-1] == "Oder um zehn"
    assert spent["requests"] == 1
    assert spent["ways"] == 4
    assert spent["statements"] <= 11
