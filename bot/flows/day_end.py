"""`!feierabend`: what is still open where somebody works, and what can be done with it before they go."""

from datetime import timedelta
from html import escape

from bot.domain.arrival import Item
from bot.domain.case import Case
from bot.domain.ids import DeskId
from bot.domain.message import Outgoing
from bot.flows.staffing import answering_for
from bot.flows.surroundings import Surroundings
from bot.store import cases

MOST_LINES = 20


async def walk(around: Surroundings, item: Item) -> None:
    """List the open cases of the sender's desks, and what they look after, the oldest state first, each with a link."""
    desks = await answering_for(around, _desks(around, item))
    found = [] if item.plan else await cases.open_of(around.database, item.sender, desks)
    text, html = _listed(around, found) if found else (around.say("day_end.none"), None)
    item = await around.planned(item, {"reply": text, "html": html})
    assert item.plan is not None
    reply = Outgoing(item.plan["reply"], html=item.plan["html"], notice=True)
    await around.send(item, "reply", item.room_id, reply)
    await around.finish(item)


def _desks(around: Surroundings, item: Item) -> list[DeskId]:
    """Where somebody works; who works at no desk, as an admin may, looks after all of them."""
    desks = around.rules.desks
    return [desk.id for desk in desks if item.sender in desk.members] or [desk.id for desk in desks]


def _listed(around: Surroundings, found: list[Case]) -> tuple[str, str]:
    shown = found[:MOST_LINES]
    ages = [_age(around, case) for case in shown]
    end = [f"… {len(found) - MOST_LINES}"] if len(found) > MOST_LINES else []
    end.append(around.say("day_end.outro"))
    intro = around.say("day_end.intro", count=str(len(found)))
    via = around.rules.me.partition(":")[2]
    links = [f'<a href="https://matrix.to/#/{case.room_id}?via={via}">{escape(case.name)}</a>' for case in shown]
    lines = [f"{case.name} · {age}" for case, age in zip(shown, ages, strict=True)]
    linked = [f"{link} · {escape(age)}" for link, age in zip(links, ages, strict=True)]
    text = "\n".join([intro, *lines, *end])
    return text, "<br>".join([escape(intro), *linked, *map(escape, end)])


def _age(around: Surroundings, case: Case) -> str:
    """Say in words what a case waits for, and since when."""
    passed = around.now() - (case.since or case.opened_at)
    days, hours, minutes = passed.days, passed // timedelta(hours=1), passed // timedelta(minutes=1)
    name, count = ("days", days) if days else ("hours", hours) if hours else ("minutes", minutes)
    return around.say(f"day_end.{case.state}", since=around.say(f"day_end.{name}", count=str(count)))
