"""`!arzt`: said once in the admin room, by admins only, and a crash in between examines nobody twice."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from bot.domain.finding import Finding, bad, well
from bot.domain.ids import RoomId
from tests.flows.world import ANNA, CHEF, JAN, Crash, World


async def examined(world: World) -> list[int]:
    """Let there be something to find; returns how often was looked."""
    looks: list[int] = []

    async def examine() -> Sequence[Finding]:
        looks.append(1)
        return [well("clock"), bad("items", "parked", count="2")]

    world.around = replace(world.around, examine=examine)
    return looks


def admin_room(world: World) -> RoomId:
    return world.made("admin")[0].room_id


@pytest.mark.parametrize("word", ["!arzt", "!doctor", "!Arzt"])
async def test_an_admin_is_told_what_was_found(world: World, word: str) -> None:
    looks = await examined(world)
    await world.says(CHEF, admin_room(world), word)

    answer = world.made("admin")[0].texts()[-1]
    assert answer.splitlines()[0] == "🩺 Zu tun: 1."
    assert "✗ Nachrichten: 2 Nachrichten hängen" in answer
    assert "✓ Uhr: Die Uhr geht wie die des Servers." in answer
    assert len(looks) == 1


async def test_nobody_else_and_nowhere_else(world: World) -> None:
    looks = await examined(world)
    await world.says(JAN, admin_room(world), "!arzt")
    await world.says(CHEF, world.made("inbox:annahme")[0].room_id, "!arzt")
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "!arzt")

    assert looks == []
    assert [t for t in world.made("admin")[0].texts() if "🩺" in t] == []
    assert "!arzt" in (await world.case_room(ANNA)).texts(), "of a customer it is a message like any other"


@pytest.mark.parametrize("how", ["before", "after"])
async def test_a_crash_changes_nothing_of_what_is_said(world: World, how: str) -> None:
    looks = await examined(world)
    await world.writes(CHEF, admin_room(world), "!arzt")
    world.server.fail_at(1, how, Crash())  # type: ignore[arg-type]
    with pytest.raises(Crash):
        await world.run()
    await world.restart()
    again = await examined(world)
    await world.run()

    assert [t for t in world.made("admin")[0].texts() if "🩺" in t] != []
    assert len([t for t in world.made("admin")[0].texts() if "🩺" in t]) == 1
    assert (len(looks), again) == (1, [])
