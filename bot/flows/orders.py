"""A command as it was given, and how it is answered: planned with its effects, said as a notice, committed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bot.domain.arrival import Item, staff_lane
from bot.domain.case import Case, Turn
from bot.domain.ids import Lane, RoomId, UserId
from bot.domain.message import Message, Outgoing
from bot.domain.room import Room
from bot.flows import asking_at_close, staffing, states
from bot.flows.surroundings import Surroundings
from bot.store import arrivals, cases, rooms


@dataclass(frozen=True, slots=True)
class Order:
    """A command as it was given: by whom and where (`item`, `room`), in which case, with what behind the word.

    `tapped`: as a sign on a card of the case, which is where it may be given.
    """

    around: Surroundings
    item: Item
    room: Room
    case: Case | None
    rest: str
    message: Message
    tapped: bool = False

    @property
    def in_case(self) -> Case:
        """The case; commands for case rooms are given nowhere else."""
        assert self.case is not None
        return self.case

    @property
    def answered_in(self) -> RoomId:
        """Where the answer goes: what was tapped on an inbox card is said in the room of its case."""
        return (self.tapped and self.in_case.room_id) or self.item.room_id

    def say(self, text: str, /, **values: str) -> str:
        """Return a text in the configured language."""
        return self.around.say(text, **values)

    async def name(self, user: UserId) -> str:
        """Return what a colleague is called."""
        return await self.around.messenger.display_name(self.answered_in, user)


async def answer(order: Order, reply: str, html: str | None = None, **effects: Any) -> None:
    """Plan the reply and what comes of the command, say it, and commit.

    `effects`: the `turn` of the case, what staff say of it (`said`), which cases lose their title (`untitles`), whom it
    `accepts` in a room, whose rooms have to follow (`settles`), and whether the customer may be asked for a consent now
    (`asks`).
    """
    around, case = order.around, order.case
    nothing: dict[str, Any] = {"turn": None, "accepts": [], "said": {}, "settles": [], "asks": False, "untitles": []}
    item = await around.planned(order.item, {**nothing, "reply": reply, "html": html, **effects})
    assert item.plan is not None
    said = Outgoing(item.plan["reply"], html=item.plan["html"], notice=True)
    await around.send(item, "reply", order.answered_in, said)
    lanes: Sequence[Lane] = ()
    async with around.database.transaction() as tx:
        if case and item.plan["said"]:
            await cases.change(tx, case.number, **item.plan["said"])
        if case and item.plan["turn"]:
            lanes = await states.turn(tx, around, case.number, Turn(item.plan["turn"]))
        if case and item.plan.get("asks"):
            lanes = [*lanes, *await asking_at_close.add(tx, around, item, case)]
        for number in item.plan.get("untitles", ()):
            await cases.change(tx, number, label="")
        for accepted_room, user in item.plan["accepts"]:
            await rooms.accept(tx, accepted_room, user)
        await staffing.add_settling(tx, around, around.rules, item.plan["settles"], item.id)
        await arrivals.finish(tx, item)
    around.bookkeeping.lanes_changed([*lanes, *map(staff_lane, item.plan["settles"])])
    around.bookkeeping.room_changed(item.room_id)
    for number in ([case.number] if case else []) + list(item.plan.get("untitles", ())):
        around.bookkeeping.case_changed(number)
