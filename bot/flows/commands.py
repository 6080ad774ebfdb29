"""Commands of staff. Each answers in the room where it was typed, as a notice; nothing here reaches a customer."""

from typing import assert_never

from bot.domain import command
from bot.domain.arrival import Item
from bot.domain.case import Case, CaseState
from bot.domain.command import COMMANDS, Call, Unknown, Verb, Where
from bot.domain.errors import Mistake
from bot.domain.ids import UserId
from bot.domain.message import Kind, Message, Outgoing
from bot.domain.room import Room, RoomKind
from bot.flows import door, moving, staffing, stuck, verifying
from bot.flows.surroundings import Surroundings
from bot.store import arrivals, cases, rooms

UNANSWERED = frozenset({Kind.NOISE, Kind.POLL_VOTE, Kind.DELETION, Kind.REACTION})


async def run(
    around: Surroundings, item: Item, room: Room, case: Case | None, called: Call | Unknown, message: Message
) -> None:
    """Decide what the command does and says (T1b), say it, and commit its effect (T2)."""
    try:
        await _run(around, item, room, case, called, message)
    except Mistake as error:
        await _say_mistake(around, item, error)


async def _say_mistake(around: Surroundings, item: Item, error: Mistake) -> None:
    """Who gave the command is told, and that is all there is to do: nothing of it waits for anybody."""
    item = await around.planned(await arrivals.get(around.database, item.id) or item, {"mistake": error.text})
    text = around.say(error.text, **error.values)
    if not await around.was_sent(item, "reply"):  # before a restore it was none
        await around.send(item, "mistake", item.room_id, Outgoing(text, notice=True))
    async with around.database.transaction() as tx:
        await arrivals.finish(tx, item)
    around.bookkeeping.room_changed(item.room_id)


async def _run(
    around: Surroundings, item: Item, room: Room, case: Case | None, called: Call | Unknown, message: Message
) -> None:
    verb = called.command.verb if isinstance(called, Call) else None
    if isinstance(called, Call) and called.command.where is Where.ADMIN and item.sender not in around.rules.admins:
        # Who is in the room is the server's word; who is an admin is the configuration's.
        await _run_simple(around, item, room, case, called)
        return
    if isinstance(called, Call) and verb is Verb.MOVE and case:
        await moving.move(around, item, case, called.rest, message)
    elif isinstance(called, Call) and verb is Verb.NEW_CUSTOMER:
        await door.new_customer(around, item, room, called.rest)
    elif isinstance(called, Call) and verb is Verb.STUCK:
        await stuck.tell(around, item, case, called.rest)
    elif isinstance(called, Call) and verb is Verb.TRUST and room.kind is RoomKind.ADMIN:
        await _trust(around, item, UserId(called.rest.strip()))
    elif isinstance(called, Call) and verb in {Verb.ALIKE, Verb.NOT_ALIKE} and room.kind is RoomKind.ADMIN:
        await verifying.judge(around, item, called.rest, alike=verb is Verb.ALIKE)
    elif isinstance(called, Call) and verb is Verb.HIRE and room.kind is RoomKind.ADMIN:
        await staffing.hire(around, item, called.rest)
    elif isinstance(called, Call) and verb is Verb.DISMISS and room.kind is RoomKind.ADMIN:
        await staffing.dismiss(around, item, called.rest)
    else:
        await _run_simple(around, item, room, case, called)


async def _trust(around: Surroundings, item: Item, user: UserId) -> None:
    """An admin confirms that a colleague's new identity is really theirs; nobody confirms their own."""
    item = await around.planned(item, {"trusts": user})
    text = "admin.trust_unknown"
    # What was confirmed before a restore was the identity of that time, which may not be the one of now.
    if user in around.rules.staff and user != item.sender and not await around.was_sent(item, "reply"):
        text = "admin.trusted" if await around.messenger.confirm_identity(user) else "admin.trust_no_identity"
    shown = user if user in around.rules.staff else "?"
    await around.send(item, "reply", item.room_id, Outgoing(around.say(text, user=shown), notice=True))
    async with around.database.transaction() as tx:
        await arrivals.finish(tx, item)


async def _run_simple(around: Surroundings, item: Item, room: Room, case: Case | None, called: Call | Unknown) -> None:
    state = _next_state(case, called)
    # Whom an order from before a restore let in cannot be told any more: nobody, until staff say so again.
    accepts = [] if await around.was_sent(item, "reply") else await _newly_accepted(around, case, called)
    plan = {
        "state": state.value if state else None,
        "accepts": accepts,
        "reply": _reply(around, room, case, called, accepts=bool(accepts)),
    }
    item = await around.planned(item, plan)
    assert item.plan is not None
    await around.send(item, "reply", item.room_id, Outgoing(item.plan["reply"], notice=True))
    async with around.database.transaction() as tx:
        if case and item.plan["state"]:
            await cases.set_state(tx, case.number, CaseState(item.plan["state"]), around.now())
        for accepted_room, user in item.plan["accepts"]:
            await rooms.accept(tx, accepted_room, user)
        await arrivals.finish(tx, item)
    around.bookkeeping.room_changed(item.room_id)
    if case:
        around.bookkeeping.case_changed(case.number)


async def run_outside_cases(around: Surroundings, item: Item, room: Room, message: Message) -> None:
    """In the inbox and the admin room staff talk among themselves; only commands are answered."""
    # Clients never encrypt reactions, so they prove nothing: what stands in one is no command.
    called = command.parse(message.words) if message.encrypted and message.kind not in UNANSWERED else None
    is_note = isinstance(called, Call) and called.command.verb is Verb.NOTE
    if called is not None and not is_note and item.sender in around.rules.staff:
        await run(around, item, room, None, called, message)
        return
    if room.kind is RoomKind.INBOX and room.desk is None and called is None and message.kind not in UNANSWERED:
        raise Mistake("case.forgotten")
    async with around.database.transaction() as tx:
        await arrivals.finish(tx, item)


async def _newly_accepted(around: Surroundings, case: Case | None, called: Call | Unknown) -> list[tuple[str, str]]:
    """Return who in the customer's room is let in by this command, as (room, user)."""
    if case is None or isinstance(called, Unknown) or called.command.verb is not Verb.ALLOW:
        return []
    room_id = await rooms.customer_room(around.database, case.customer_id)
    room = await rooms.find(around.database, room_id) if room_id else None
    person = await rooms.user_of(around.database, case.customer_id)
    if room is None:
        return []
    return [(room.room_id, user) for user in room.present() if user != person and user not in room.accepted]


def _next_state(case: Case | None, called: Call | Unknown) -> CaseState | None:
    if case is None or isinstance(called, Unknown):
        return None
    if called.command.verb is Verb.CLOSE and case.state is not CaseState.CLOSED:
        return CaseState.CLOSED
    if called.command.verb is Verb.REOPEN and case.state is CaseState.CLOSED:
        return CaseState.OWED
    return None


def _reply(around: Surroundings, room: Room, case: Case | None, called: Call | Unknown, *, accepts: bool) -> str:
    if isinstance(called, Unknown):
        return _unknown(around, called)
    if called.command.where is Where.CASE and (case is None or room.kind is not RoomKind.CASE):
        return around.say("command.not_here")
    closed = case is not None and case.state is CaseState.CLOSED
    match called.command.verb:
        case Verb.HELP:
            return help_text(around)
        case Verb.NOTE:
            return around.say("case.note_kept")
        case Verb.CLOSE:
            return around.say("case.already_closed" if closed else "case.closed")
        case Verb.REOPEN:
            return around.say("case.reopened" if closed else "case.already_open")
        case Verb.TRUST | Verb.ALIKE | Verb.NOT_ALIKE | Verb.HIRE | Verb.DISMISS:
            return around.say("command.admin_only")
        case Verb.ALLOW:
            return around.say("case.allowed" if accepts else "case.nobody_to_allow")
        case Verb.MOVE | Verb.STUCK | Verb.NEW_CUSTOMER:
            raise AssertionError("these have flows of their own")
        case _ as never:
            assert_never(never)


def _unknown(around: Surroundings, called: Unknown) -> str:
    if called.suggestion:
        return around.say("command.unknown", word=called.word, suggestion=called.suggestion)
    return around.say("command.unknown_plain", word=called.word)


def help_text(around: Surroundings) -> str:
    """Return the help, made from the table of commands."""
    lines = [around.say("command.help_intro")]
    for row in COMMANDS:
        words = " / ".join(f"!{word}" for word in row.words)
        lines.append(around.say("command.help_line", words=words, what=around.say(row.help)))
    return "\n".join(lines)
