"""What is waiting or parked, for people: `!haenger` in a room, `botschaft items` in a shell. Retry, or drop."""

from dataclasses import dataclass
from datetime import datetime

from bot.domain.arrival import Item, ItemState
from bot.domain.case import Case
from bot.domain.ids import CaseNumber
from bot.domain.message import Outgoing
from bot.flows.reasons import in_words
from bot.flows.surroundings import Surroundings
from bot.store import arrivals, cases
from bot.store.database import Database

RETRY = frozenset({"nochmal", "retry"})
DROP = frozenset({"weg", "drop"})
MOST_LINES = 20


@dataclass(frozen=True, slots=True)
class Stuck:
    """One line of the list. `label` names the item to people; it holds nothing that a person wrote."""

    label: str
    number: CaseNumber | None
    state: ItemState
    reason: str
    since: datetime
    item: Item


async def listed(database: Database, case: Case | None = None) -> list[Stuck]:
    """Return what waits or is parked, the oldest first; of one case's customer, or of everybody."""
    lane = f"customer:{case.customer_id}" if case else None
    return [
        Stuck(
            label=item.label,
            number=await cases.number_of_lane(database, item.lane),
            state=item.state,
            reason=item.reason,
            since=item.arrived_at,
            item=item,
        )
        for item in await arrivals.stuck(database, lane)
    ]


async def tell(around: Surroundings, item: Item, case: Case | None, rest: str) -> None:
    """Answer `!haenger`, `!haenger nochmal 12` and `!haenger weg 12`."""
    word, _, label = rest.strip().partition(" ")
    found = await listed(around.database, case)
    chosen = next((line for line in found if line.label == label.strip()), None)
    retries, drops = word.casefold() in RETRY, word.casefold() in DROP
    if chosen and (retries or drops):
        reply = around.say("stuck.retried" if retries else "stuck.dropped", label=chosen.label)
    elif word:
        reply = around.say("stuck.unknown", what=rest.strip()[:40])
    else:
        reply = _list(around, found)
    plan = {"reply": reply, "item": chosen.item.id if chosen else None, "drops": drops}
    item = await around.planned(item, plan)
    assert item.plan is not None
    await around.send(item, "reply", item.room_id, Outgoing(item.plan["reply"], notice=True))
    async with around.database.transaction() as tx:
        other = await arrivals.get(tx, item.plan["item"]) if item.plan["item"] else None
        if other and item.plan["drops"]:
            await arrivals.finish(tx, other)
        elif other:
            await arrivals.retry(tx, other, around.now())
        await arrivals.finish(tx, item)
    around.bookkeeping.lanes_changed([other.lane] if other else [])
    around.bookkeeping.room_changed(item.room_id)


def _list(around: Surroundings, found: list[Stuck]) -> str:
    if not found:
        return around.say("stuck.none")
    lines = [
        around.say(
            "stuck.line",
            label=line.label,
            number=str(line.number or "–"),
            state=around.say(f"stuck.{line.state.value}"),
            reason=in_words(around, line.reason) if line.reason else around.say("stuck.again"),
            since=line.since.astimezone(around.rules.zone).strftime("%d.%m. %H:%M"),
        )
        for line in found[:MOST_LINES]
    ]
    more = [f"… {len(found) - MOST_LINES}"] if len(found) > MOST_LINES else []
    return "\n".join([around.say("stuck.intro"), *lines, *more])
