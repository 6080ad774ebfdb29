"""What the scenes of the day share: who plays, the rooms, and a clock that can be set forward."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from bot.demo.page import Page
from bot.demo.peer import Seen
from bot.demo.stage import Player, Stage
from bot.demo.telling import Telling

ZONE: Final = ZoneInfo("Europe/Berlin")
BEGINNING: Final = datetime(2026, 5, 13, 7, 30, tzinfo=ZONE)
"""The Wednesday before Ascension Day. It lies in the past: so the real time of the homeserver is later, and the
bot, which does not believe stamps from the future, takes its own clock for when something was written."""

HOURS: Final = """
[hours]
monday = ["07:30-12:00", "13:00-17:00"]
tuesday = ["07:30-12:00", "13:00-17:00"]
wednesday = ["07:30-12:00", "13:00-17:00"]
thursday = ["07:30-12:00", "13:00-17:00"]
friday = ["07:30-13:00"]
holidays = "DE-NW"
time_zone = "Europe/Berlin"
"""


class Clock:
    """Goes as fast as the real one, and can be set forward."""

    def __init__(self) -> None:
        self._shift = BEGINNING.astimezone(UTC) - datetime.now(UTC)

    def now(self) -> datetime:
        """Return the pretended time, in UTC."""
        return datetime.now(UTC) + self._shift

    def set_forward(self, at: str) -> None:
        """Let it be this time of the day, like "12:20"; never earlier than it is."""
        hour, minute = map(int, at.split(":"))
        ahead = BEGINNING.replace(hour=hour, minute=minute).astimezone(UTC) - self.now()
        self._shift += max(ahead, timedelta(0))


@dataclass(frozen=True, slots=True)
class Cast:
    """Who plays: first the team, then the customers."""

    eva: Player
    jan: Player
    tom: Player
    anna: Player
    bernd: Player
    carla: Player
    deniz: Player
    emil: Player
    fatma: Player
    gerd: Player
    hanna: Player


@dataclass(slots=True)
class Day:
    """What the scenes share: who plays, the clock, and the rooms found so far, by what they are called here."""

    stage: Stage
    cast: Cast
    clock: Clock
    page: Page
    told: Telling
    rooms: dict[str, str] = field(default_factory=dict)

    async def scene(self, at: str, title: str, about: str) -> None:
        """Begin a scene, at a pretended time; what was done in the last one has the time of that."""
        await self.told.comes_to_rest()
        self.clock.set_forward(at)
        self.page.scene(at, title, about)

    async def opens(self, customer: Player, text: str, number: int, mechanic: Player) -> Seen:
        """Let a new customer write for the first time; returns the card of the case. Tells no privacy text."""
        chat = await customer.peer.start_chat(self.stage.bot.mxid)
        self.rooms[customer.name] = chat
        await self.told.writes(customer, chat, text)
        await self.told.arrives(customer, "Kurz zum Datenschutz", tell=False)
        return await self.case(mechanic, number, text)

    async def case(self, mechanic: Player, number: int, text: str) -> Seen:
        """Wait for a new case and its first message; returns its card."""
        await self.told.arrives(mechanic, f"Neuer Vorgang {number}")
        card = await self.told.arrives(mechanic, f"Vorgang {number}\n", tell=False)
        self.rooms[str(number)] = card.room_id
        await self.told.arrives(mechanic, text, room=card.room_id)
        return card

    async def orders(self, mechanic: Player, room: str, text: str, reply: str) -> Seen:
        """Let a mechanic give a command, and wait for the bot's word to it."""
        await self.told.writes(mechanic, self.rooms[room], text)
        return await self.told.arrives(mechanic, reply, room=self.rooms[room])

    async def answers(self, mechanic: Player, room: str, customer: Player, text: str) -> None:
        """Let a mechanic answer, and wait for it at the customer's."""
        await self.told.writes(mechanic, self.rooms[room], text)
        await self.told.arrives(customer, text)

    async def asks(self, customer: Player, text: str, mechanic: Player) -> Seen:
        """Let a customer write again, and wait for it at a mechanic's."""
        await self.told.writes(customer, self.rooms[customer.name], text)
        return await self.told.arrives(mechanic, text)

    async def is_called(self, mechanic: Player, number: str, name: str) -> None:
        """Wait until the room of a case is called so."""
        await self.told.is_called(mechanic, self.rooms[number], name)
