"""A working day in a workshop, on a real homeserver: eight customers, three mechanics, two desks, the eve of a holiday.

The bot is the one that runs in production, but its clock is pretended, because nobody waits nine hours. The homeserver
and the clients keep the real time. What is told is what the clients decrypted; the first thing missed ends the day.
"""

import json
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import fields
from pathlib import Path
from typing import Final

from rich.markup import escape

from bot.demo.board import room_called
from bot.demo.page import Page
from bot.demo.scenes import SCENES
from bot.demo.stage import Stage, client, desk, new_person, out, serving, set_up, stay, write_configuration
from bot.demo.synapse import LocalSynapse
from bot.demo.telling import Missed, Telling
from bot.demo.workshop import HOURS, ZONE, Cast, Clock, Day

ABOUT: Final = """\
Eight customers, three mechanics, two desks, a lunch break, the eve of a public holiday, and a mechanic who
leaves at noon. `botschaft demo --day` plays this day on your machine, with a real Matrix server, real
encryption and a client of its own for each person; what stands below is what these clients decrypted, word for
word. The bot speaks German here; English is one line in its configuration.

Two clocks: the times of the scenes are pretended. The bot is started with a clock that is set forward between
them, and believes that it is Wednesday, 13 May 2026; the next day is Ascension Day. Server and clients keep the
real time, which therefore stands in the lines of a recap.

Left is the room (💬 is a customer's own chat, the rest are rooms of the team), then who writes there, then what.
In the room of a case it is the bot that says what the customer wrote.
"""


async def run(*, once: bool, file: Path | None = None) -> bool:
    """Play the day and, unless `once`, stay until cancelled. Return whether all of it came; then `file` gets it."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="botschaft-demo-") as folder:
        async with LocalSynapse() as server, _on_stage(await set_up(server, Path(folder))) as day:
            missed = await _play(day)
            if missed:
                out.print(f"[red]✗ did not show up:[/red] {escape(missed)}")
            else:
                out.print(f"[green]✓[/green] All of it showed up, in {time.monotonic() - began:.0f} seconds.")
                if file:
                    file.write_text(day.page.text(), encoding="utf-8")
            if not once:
                await _stay(day)
    return not missed


@asynccontextmanager
async def _on_stage(stage: Stage) -> AsyncIterator[Day]:
    """Log everybody in, and start the bot with the pretended clock."""
    async with AsyncExitStack() as clients:
        people = [await new_person(stage.server, part.name.capitalize()) for part in fields(Cast)]
        cast = Cast(*[await clients.enter_async_context(client(stage, person)) for person in people])
        clock, page = Clock(), Page("A working day", ABOUT)
        configuration = write_configuration(
            stage,
            admins=json.dumps([cast.eva.person.mxid]),
            more=HOURS
            + desk("Annahme", [cast.eva.person, cast.jan.person])
            + desk("Werkstatt", [cast.tom.person, cast.jan.person], ["reifen"]),
        )
        async with serving(stage, configuration, clock.now):
            yield Day(stage, cast, clock, page, Telling(stage, page.line))


async def _play(day: Day) -> str:
    """Play all scenes; return what was missed, if anything was."""
    try:
        for scene in SCENES:
            await scene(day)
    except Missed as error:
        return str(error)
    finally:
        day.page.end()
    return ""


async def _stay(day: Day) -> None:
    """A fresh mechanic is taken into the team, as one would do it there, and whoever wants plays on."""
    eva = day.cast.eva
    room = day.rooms.get("admin") or await room_called(eva, "🛠 Leitung")
    await eva.peer.text(room, f"!aufnehmen {day.stage.fresh_mechanic.mxid} Annahme")
    out.print(f"The bot's clock is still pretended: for it, it is {day.clock.now().astimezone(ZONE):%d.%m.%Y, %H:%M}.")
    await stay(day.stage)
