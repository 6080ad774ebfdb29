"""`!arzt` in the admin room: everything is looked at once, and each finding is said in a sentence."""

from collections.abc import Callable, Iterable, Iterator

from bot.domain.arrival import Item
from bot.domain.finding import Finding, Grade
from bot.domain.message import Outgoing
from bot.flows.surroundings import Surroundings

Say = Callable[..., str]


async def tell(around: Surroundings, item: Item) -> None:
    """Look, write down what is said (T1b), and say it."""
    if item.plan is None:
        item = await around.planned(item, {"reply": said(await around.examine(), around.say)})
    assert item.plan is not None
    await around.send(item, "reply", item.room_id, Outgoing(item.plan["reply"], notice=True))
    await around.finish(item)


def said(findings: Iterable[Finding], say: Say) -> str:
    """Return all findings as one text, what matters most first."""
    rows = list(in_words(findings, say))
    return "\n".join([summary(findings, say), *(f"{sign} {area}: {text}" for sign, area, text in rows)])


def in_words(findings: Iterable[Finding], say: Say) -> Iterator[tuple[str, str, str]]:
    """Return sign, area and sentences of each finding, what matters most first."""
    for finding in sorted(findings, key=lambda finding: finding.grade):
        yield finding.grade.sign, say(f"doctor.area.{finding.area}"), say(finding.text, **finding.values)


def summary(findings: Iterable[Finding], say: Say) -> str:
    """Return all of it in one sentence."""
    grades = [finding.grade for finding in findings]
    if Grade.BAD in grades:
        return say("doctor.to_do", count=str(grades.count(Grade.BAD)))
    return say("doctor.half_blind" if Grade.BLIND in grades else "doctor.all_well")
