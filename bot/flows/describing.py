"""What staff say of a case: `!titel`, `!kfz`, `!nr`, `!tag`. It stands on the card; the title alone in the room's name.

Names of rooms are not encrypted: a plate never comes into one.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from bot.domain.case import Case
from bot.domain.errors import Mistake
from bot.domain.ids import CaseNumber
from bot.flows.orders import Order, answer
from bot.flows.surroundings import Surroundings
from bot.store import cases

LONGEST: Final = 40
MOST_TAGS: Final = 10
NOTHING: Final = "-"
"""Behind a command: take away what was said."""


def described(around: Surroundings, case: Case) -> Iterator[str]:
    """Return the lines of the card that staff have filled in."""
    tags = " ".join(f"#{tag}" for tag in case.tags)
    for name, value in (
        (around.say_at(case.desk, "describing.title"), case.label),
        (around.say_at(case.desk, "describing.plate"), case.plate),
        (around.say_at(case.desk, "describing.reference"), case.reference),
        (around.say_at(case.desk, "describing.tags"), tags),
    ):
        if value:
            yield f"{name}: {value}"


async def title(order: Order) -> None:
    """`!titel Bremse`: the words behind the number in the room's name.

    Raises:
        Mistake: it holds a plate of this customer.
    """
    value = _value(order.rest)
    theirs = await cases.all_of(order.around.database, order.in_case.customer_id)
    if value and any(holds(value, case.plate) for case in theirs):
        raise Mistake("describing.plate_in_title")
    await _keep(order, "label", order.in_case.label, value, order.say("describing.title"))


async def plate(order: Order) -> None:
    """`!kfz M-AB 123`. A title of this customer's that holds this plate goes, in whichever case."""
    value = _value(order.rest)
    theirs = await cases.all_of(order.around.database, order.in_case.customer_id)
    drops = [case.number for case in theirs if value and holds(case.label, value)]
    plate = value and value.upper()
    await _keep(order, "plate", order.in_case.plate, plate, order.say("describing.plate"), untitles=drops)


async def reference(order: Order) -> None:
    """`!nr 4711`: the number of the order in the workshop's own books."""
    value = _value(order.rest)
    await _keep(order, "reference", order.in_case.reference, value, order.say("describing.reference"))


async def tag(order: Order) -> None:
    """`!tag reifen -hu`: adds one, takes away another.

    Raises:
        Mistake: too many, or too long.
    """
    now = dict.fromkeys(order.in_case.tags)
    for word in order.rest.casefold().split():
        name = word.lstrip("-#")
        if word.startswith("-"):
            now.pop(name, None)
        elif name:
            now[name] = None
    if len(now) > MOST_TAGS or any(len(name) > LONGEST for name in now):
        raise Mistake("describing.tags_too_many", most=str(MOST_TAGS))
    shown = " ".join(f"#{name}" for name in now) or order.say("describing.nothing")
    said = {"tags": " ".join(now)} if tuple(now) != order.in_case.tags else {}
    await answer(order, order.say("describing.is", what=order.say("describing.tags"), value=shown), said=said)


async def _keep(
    order: Order, column: str, before: str, value: str | None, what: str, *, untitles: Sequence[CaseNumber] = ()
) -> None:
    """Say and remember it; None: only say what is there."""
    shown = (before if value is None else value) or order.say("describing.nothing")
    reply = order.say("describing.is", what=what, value=shown)
    if untitles:
        reply += "\n" + order.say("describing.title_dropped")
    await answer(order, reply, said={} if value is None else {column: value}, untitles=untitles)


def _value(rest: str) -> str | None:
    """Return what is to be said; empty: nothing any more; None: nothing was said.

    Raises:
        Mistake: it is too long.
    """
    value = " ".join(rest.split())
    if len(value) > LONGEST:
        raise Mistake("describing.too_long", most=str(LONGEST))
    return "" if value == NOTHING else value or None


def holds(text: str, plate: str) -> bool:
    """Tell whether a plate stands in a text, however it is spaced."""
    return bool(letters(plate)) and letters(plate) in letters(text)


def letters(text: str) -> str:
    """Return letters and digits alone, to compare plates: `M-AB 123` is `mab123`."""
    return "".join(c for c in text.casefold() if c.isalnum())
