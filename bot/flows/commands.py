"""Commands of staff. Each answers in the room where it was typed, as a notice; nothing here reaches a customer."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Final

from bot.domain import command
from bot.domain.arrival import Item
from bot.domain.case import Case, CaseState, Turn
from bot.domain.command import Call, Command, Takes, Unknown, Verb, Where
from bot.domain.errors import Mistake
from bot.domain.ids import CaseNumber, UserId
from bot.domain.message import Kind, Message, Outgoing
from bot.domain.room import Room, RoomKind
from bot.flows import (
    among_staff,
    asking,
    blocking,
    checkup,
    day_end,
    describing,
    door,
    finding,
    handing,
    helping,
    joining,
    later,
    ready,
    sending,
    staffing,
    stuck,
    taking,
    telling,
    verifying,
)
from bot.flows.orders import Order
from bot.flows.orders import answer as _answer
from bot.flows.surroundings import Surroundings
from bot.store import arrivals, cases, overviews, rooms

MOST_DIGITS = 9
"""Of the number of a case."""

TAKE: Final = command.row_of(Verb.TAKE)
UNANSWERED = frozenset({Kind.NOISE, Kind.POLL_VOTE, Kind.DELETION, Kind.REACTION})


NOT_AGAIN: Final = frozenset({Verb.ALLOW, Verb.TRUST, Verb.STUCK, Verb.ALIKE, Verb.NOT_ALIKE})
"""Given before a restore, these would now be about somebody or something else than then: they are not done again."""


async def run(
    around: Surroundings, item: Item, room: Room, case: Case | None, called: Call | Unknown, message: Message
) -> None:
    """Decide what the command does and says (T1b), say it, and commit its effect (T2)."""
    rest = called.rest if isinstance(called, Call) else ""
    order = Order(around, item, room, case, rest, message)
    if isinstance(called, Unknown):
        await _answer(order, helping.unknown(around, called))
    else:
        await obey(order, called.command)


async def obey(order: Order, row: Command) -> None:
    """Do what a command says, typed or tapped."""
    item = order.item
    try:
        if item.plan and "mistake" in item.plan:  # what was refused stays refused, whatever has changed since
            raise Mistake(item.plan["mistake"], **item.plan.get("values", {}))
        if row.verb in NOT_AGAIN and await order.around.was_sent(item, "reply"):
            await order.around.finish(item)
        elif item.plan is None and not order.tapped and (refusal := _misplaced(order, row)):
            raise Mistake(refusal)
        else:
            if item.plan is None and not order.tapped:
                _check_fits(order, row)
            await RUNS[row.verb](order)
    except Mistake as error:
        await _say_mistake(order.around, item, error)


def _misplaced(order: Order, row: Command) -> str:
    """Return the id of the sentence that says where this command belongs, or nothing if it is given there.

    Who is in a room is the server's word; who is an admin is the configuration's.
    """
    if row.where is Where.CASE and (order.case is None or order.room.kind is not RoomKind.CASE):
        return "command.not_here"
    is_admin = order.item.sender in order.around.rules.admins and order.room.kind is RoomKind.ADMIN
    return "command.admin_only" if row.where is Where.ADMIN and not is_admin else ""


def _check_fits(order: Order, row: Command) -> None:
    """Do nothing by halves: what stands behind the word is what the command takes.

    Raises:
        Mistake: it takes nothing and there is something, or the other way round.
    """
    word = helping.word_of(order.around, row)
    if row.takes is Takes.NOTHING and order.rest:
        raise Mistake("command.takes_nothing", word=word)
    if row.takes is Takes.NEEDED and not order.rest:
        raise Mistake("command.needs", word=word, what=order.say(row.help))


async def _say_mistake(around: Surroundings, item: Item, error: Mistake) -> None:
    """Who gave the command is told, and that is all there is to do: nothing of it waits for anybody."""
    plan = {"mistake": error.text, "values": error.values}
    item = await around.planned(await arrivals.get(around.database, item.id) or item, plan)
    text = around.say(error.text, **error.values)
    if not await around.was_sent(item, "reply"):  # before a restore it was none
        await around.send(item, "mistake", item.room_id, Outgoing(text, notice=True))
    await around.finish(item)


async def _note(order: Order) -> None:
    await _answer(order, order.say("case.note_kept"))


async def _close(order: Order) -> None:
    if order.in_case.state is CaseState.CLOSED:
        await _answer(order, order.say("case.already_closed"))
    else:
        await _answer(order, order.say("case.closed"), turn=Turn.CLOSED, asks=True)


async def _reopen(order: Order) -> None:
    """Open the case of this room again, or from elsewhere the one that is named: staff have left a room put away.

    Raises:
        Mistake: no case is named, or something where nothing needs to be.
    """
    case = order.case
    if order.room.kind is not RoomKind.CASE:
        number = order.rest.removeprefix("#")
        is_number = number.isdecimal() and len(number) <= MOST_DIGITS
        case = await cases.find(order.around.database, CaseNumber(int(number))) if is_number else None
        if case is None or case.room_id is None:
            raise Mistake("case.reopen_which")
    elif order.rest and order.item.plan is None:
        raise Mistake("command.takes_nothing", word=helping.word_of(order.around, command.row_of(Verb.REOPEN)))
    assert case is not None, "the room of a case has one"
    order = replace(order, case=case)
    if case.state is CaseState.CLOSED or order.item.plan:
        await _answer(order, order.say("case.reopened"), turn=Turn.REOPENED)
    else:
        await _answer(order, order.say("case.already_open"))


async def _allow(order: Order) -> None:
    """Let in whoever is new in the customer's room."""
    around = order.around
    room_id = await rooms.customer_room(around.database, order.in_case.customer_id)
    room = await rooms.find(around.database, room_id) if room_id else None
    person = await rooms.user_of(around.database, order.in_case.customer_id)
    new = [user for user in room.present() if user != person and user not in room.accepted] if room else []
    text = around.say("case.allowed" if new else "case.nobody_to_allow")
    await _answer(order, text, accepts=[(room_id, user) for user in new])


async def _trust(order: Order) -> None:
    """An admin confirms that a colleague's new identity is really theirs; nobody confirms their own."""
    around, user = order.around, UserId(order.rest.strip())
    item = await around.planned(order.item, {"trusts": user})
    text = "admin.trust_unknown"
    if user in around.rules.staff and user != item.sender:
        text = "admin.trusted" if await around.messenger.confirm_identity(user) else "admin.trust_no_identity"
    shown = user if user in around.rules.staff else "?"
    await around.send(item, "reply", item.room_id, Outgoing(around.say(text, user=shown), notice=True))
    async with around.database.transaction() as tx:
        await arrivals.finish(tx, item)


RUNS: Final[Mapping[Verb, Callable[[Order], Awaitable[None]]]] = {
    Verb.HELP: lambda o: _answer(o, helping.text(o.around, o.rest)),
    Verb.NOTE: _note,
    Verb.TAKE: taking.take,
    Verb.RELEASE: taking.release,
    Verb.WHO: taking.who,
    Verb.TITLE: describing.title,
    Verb.PLATE: describing.plate,
    Verb.REFERENCE: describing.reference,
    Verb.TAG: describing.tag,
    Verb.CLOSE: _close,
    Verb.REOPEN: _reopen,
    Verb.ALLOW: _allow,
    Verb.TRUST: _trust,
    Verb.READY: lambda o: ready.make_ready(o.around, o.item, o.in_case, o.rest),
    Verb.PICKUP: lambda o: ready.hand_over(o.around, o.item, o.in_case, o.rest),
    Verb.LATER: lambda o: later.put_off(o.around, o.item, o.in_case, o.rest),
    Verb.DAY_END: lambda o: day_end.walk(o.around, o.item),
    Verb.BLOCK: lambda o: blocking.block(o.around, o.item, o.case, o.rest),
    Verb.MUTE: lambda o: blocking.mute(o.around, o.item, o.in_case, o.rest),
    Verb.UNBLOCK: lambda o: blocking.unblock(o.around, o.item, o.case, o.rest),
    Verb.MOVE: handing.hand,
    Verb.HISTORY: telling.history,
    Verb.JOIN: joining.join,
    Verb.SEARCH: finding.search,
    Verb.TODAY: finding.today,
    Verb.STUCK: lambda o: stuck.tell(o.around, o.item, o.case, o.rest),
    Verb.ALIKE: lambda o: verifying.judge(o.around, o.item, o.rest, alike=True),
    Verb.NOT_ALIKE: lambda o: verifying.judge(o.around, o.item, o.rest, alike=False),
    Verb.HIRE: lambda o: staffing.hire(o.around, o.item, o.rest),
    Verb.DISMISS: lambda o: staffing.dismiss(o.around, o.item, o.rest),
    Verb.DOCTOR: lambda o: checkup.tell(o.around, o.item),
    Verb.ASK: lambda o: asking.ask(o.around, o.item, o.in_case, o.rest),
    Verb.WITHDRAW: lambda o: sending.record_withdrawal(o.around, o.item, o.in_case, o.rest),
    Verb.SURVEY: lambda o: sending.survey(o.around, o.item, o.in_case, o.rest),
    Verb.NEWS: lambda o: sending.news(o.around, o.item, o.rest),
    Verb.NEW_CUSTOMER: lambda o: door.new_customer(o.around, o.item, o.room, o.rest),
}
"""What each command does. It is given where the table of commands says, by whom it says."""


async def run_outside_cases(around: Surroundings, item: Item, room: Room, message: Message) -> None:
    """In the inbox and the admin room staff talk among themselves; only commands are answered, and a tap on a card."""
    if taken := await taking.tapped_in_inbox(around, item, room, message):
        if not await taking.move_to_customer(taken):
            await obey(taken, TAKE)
        return
    # Clients never encrypt reactions, so they prove nothing: what stands in one is no command.
    called = command.parse(message.words) if message.encrypted and message.kind not in UNANSWERED else None
    is_note = isinstance(called, Call) and called.command.verb is Verb.NOTE
    # What was begun is ended, also if who ordered it has left since: what is half made would stay as it is.
    if called is not None and not is_note and (item.sender in around.rules.staff or item.plan is not None):
        await run(around, item, room, None, called, message)
        return
    if room.kind is RoomKind.INBOX and room.desk is None and called is None and message.kind not in UNANSWERED:
        raise Mistake("case.forgotten")
    async with around.database.transaction() as tx:
        if called is None:
            await among_staff.remind(tx, around, item, message)
        deleted = message.target if message.kind is Kind.DELETION else None
        was_overview = deleted and await overviews.forget(tx, deleted, around.now())
        await arrivals.finish(tx, item)
    if was_overview:
        around.bookkeeping.overviews_changed()
