"""A customer's message goes into their case room; the first one opens a case.

1. decide where it goes and commit that (T1b)  2. open the case if need be  3. relay  4. commit its effects (T2)
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, Final, assert_never

from bot.domain.arrival import Item, ItemKind, room_lane
from bot.domain.case import AUTOMATIC, Ask, Case, CaseState, Continue, Leave, Open, Turn, place
from bot.domain.errors import Refused
from bot.domain.ids import CaseNumber, CustomerId, DeskId, EventId, Lane
from bot.domain.message import WITH_FILE, Kind, Message, Outgoing
from bot.domain.room import Room
from bot.flows import (
    asking,
    away,
    blocking,
    choosing,
    copying,
    deciding,
    first_contact,
    following,
    informing,
    languages,
    opening,
    own_consents,
    reaching,
    states,
    which_desk,
    withdrawing,
)
from bot.flows.copying import CARRIED, FileNotCarried
from bot.flows.intake import customer_of
from bot.flows.posing import title
from bot.flows.surroundings import Surroundings
from bot.store import arrivals, cases, desk_questions, links, questions, rooms
from bot.store.database import Tx

WORDLESS = frozenset({"nothing", "react", "delete"})
"""What is done without a word to anybody, so that nobody needs to be shown anything first."""
SILENT = frozenset({Kind.NOISE, Kind.POLL_VOTE})
"""What no person wrote for the other side to read. Votes are counted when their poll ends."""


async def relay(around: Surroundings, item: Item, room: Room, message: Message) -> None:
    """Handle one message that was written in a customer room."""
    if item.plan is None:
        customer = customer_of(room)
        async with around.database.transaction() as tx:
            guest = item.sender != await rooms.user_of(tx, customer)
            if guest and item.sender not in room.accepted and not await around.was_sent(item, "relay", tx):
                raise Refused("somebody wrote whom staff have not agreed to", code="third_person")
            if not guest:
                await reaching.go_on_in(tx, room, customer)
            person = await _person(tx, around, item, customer) if guest else customer
            plan, lanes = await _decided(tx, around, item, customer, person, message)
            quiet = await blocking.is_muted(tx, around, customer)
            item = await around.plan(tx, item, plan | {"guest": guest, "quiet": quiet})
        around.bookkeeping.lanes_changed(lanes)
    item = await first_contact.show_first(around, item)
    assert item.plan is not None
    if item.plan["do"] == "carry":
        await _carry(around, item, message)
    else:
        await DOES.get(item.plan["do"], Surroundings.finish)(around, item)


DOES: Final[Mapping[str, Callable[[Surroundings, Item], Awaitable[None]]]] = {
    "inform": informing.inform,
    "react": following.react,
    "delete": following.delete,
    "ask": choosing.ask,
    "choose": choosing.choose,
    "to_desk": which_desk.take,
    "conclude": deciding.conclude,
    "question": asking.pose_wished,
    "let_ask": asking.say_may_ask,
    "say": own_consents.say,
    "prove": own_consents.prove,
}
"""Who does what needs nothing but its plan."""


async def _decided(
    tx: Tx, around: Surroundings, item: Item, customer: CustomerId, person: CustomerId, message: Message
) -> tuple[dict[str, Any], list[Lane]]:
    """T1b: what is done with it, and the lanes in which more follows. What is taken back is so from now on."""
    if item.sender not in around.rules.staff:
        await languages.settle(tx, around, person, message)
    lanes = await withdrawing.take(tx, around, item, person, message)
    extra = None if lanes is not None else await _asked_of_us(tx, around, item, person, message)
    decided = extra is not None and "do" in extra
    plan = (extra or {}) if decided else await _handled(tx, around, item, customer, message) | (extra or {})
    if plan["do"] not in WORDLESS:
        plan = plan | await first_contact.planned(tx, around, item, person)
    return plan, lanes or []


async def _person(tx: Tx, around: Surroundings, item: Item, customer: CustomerId) -> CustomerId:
    """Return which guest wrote it: what they agree to is theirs alone, whosever room it is."""
    if around.privacy is None or item.sender in around.rules.staff:
        return customer
    return await rooms.make_customer(tx, item.sender, around.now())


async def _asked_of_us(
    tx: Tx, around: Surroundings, item: Item, person: CustomerId, message: Message
) -> dict[str, Any] | None:
    answered = await deciding.decided(tx, around, item, person, message)
    answered = answered or await languages.wished(tx, around, person, message)
    return answered or await own_consents.planned(tx, around, item, person, message)


async def _handled(tx: Tx, around: Surroundings, item: Item, customer: CustomerId, message: Message) -> dict[str, Any]:
    """Return what is done with a message that is for people."""
    if message.kind in SILENT:
        return await which_desk.answered(tx, around, item, customer, message) or {"do": "nothing"}
    if message.kind is Kind.DELETION:
        return await following.plan_deletion(tx, item, message.target)
    if message.kind is Kind.REACTION:
        reaction = await following.plan_reaction(tx, item, message)
        if reaction:
            return reaction
    for_the_bot = await _meant_for_the_bot(tx, around, item, customer, message)
    if for_the_bot:
        return for_the_bot
    plan = await _placed(tx, around, item, customer, message)
    if plan["do"] != "carry":
        return plan
    case = await cases.get(tx, plan["case"])
    plan |= await _about(tx, item, case, message)
    if message.unsigned_device and plan["do"] == "carry":
        plan["flags"] = await cases.flag_device(tx, plan["case"], message.unsigned_device)
    if await around.was_sent(item, "relay", tx):
        await _repeat_nothing(tx, around, item, case)
    elif message.kind not in AUTOMATIC:
        holder = around.rules.holder(case)
        plan["mentions"] = [holder] if holder and message.kind is not Kind.EDIT else []
        plan |= await _answered(tx, around, item, case, message, plan)
    return plan


async def _answered(
    tx: Tx, around: Surroundings, item: Item, case: Case, message: Message, plan: dict[str, Any]
) -> dict[str, Any]:
    """What the bot itself says to the customer beside relaying."""
    if _automatic_text(around, message, around.rules.language):
        return {"answers": await around.may_answer(tx, item, case.customer_id, "automatic")}
    if plan["do"] == "carry" and not plan["late"]:
        return {"away": await away.sentence(tx, around, item, case)}
    return {}


async def _repeat_nothing(tx: Tx, around: Surroundings, item: Item, case: Case) -> None:
    """Relayed before a restore: what it was answered with then counts, and who is there now says nothing about then."""
    for step, name in (("automatic", "automatic"), ("away", f"away {case.number}")):
        if await around.was_sent(item, step, tx):
            await cases.add_automatic(tx, case.customer_id, item.id, name, around.now())


async def _meant_for_the_bot(
    tx: Tx, around: Surroundings, item: Item, customer: CustomerId, message: Message
) -> dict[str, Any] | None:
    """Return what is done with what nobody but the bot has to read."""
    if await copying.is_more_of_a_share(tx, message):
        return {"do": "nothing"}
    chosen = await choosing.answered(tx, item, message)
    if chosen:
        return {"do": "choose", "case": chosen}
    to_desk = await which_desk.answered(tx, around, item, customer, message)
    if to_desk:
        return to_desk
    wish = informing.wished(around, message)
    if wish and not wish.rest and await around.may_answer(tx, item, customer, "informing"):
        return {"do": "inform", "says": informing.answer_to(around, message)}
    return None


async def _placed(tx: Tx, around: Surroundings, item: Item, customer: CustomerId, message: Message) -> dict[str, Any]:
    """Find the case; a new one gets its number and alias here."""
    about = message.target or message.replies_to
    link = await links.of_event(tx, await links.original(tx, about)) if about else None
    plan = {"do": "carry", "late": item.reason == "no_key", "reopens": False, "answers": False}
    for step in ("relay", "case_card"):
        before = await around.was_sent(item, step, tx)
        there = await rooms.find(tx, before[0]) if before else None
        if there and there.case_number is not None:
            # It was decided before a restore; what has changed since must not decide otherwise.
            reopened = await around.was_sent(item, "reopened", tx)
            return plan | {"case": there.case_number, "reopens": reopened is not None}
    decision = place(
        await cases.all_of(tx, customer),
        message.kind,
        item.arrived_at,
        around.rules.reopen_window,
        quoted=link.number if link else None,
        was_asked=item.reason == choosing.REASON,
    )
    match decision:
        case Leave():
            return {"do": "nothing"}
        case Ask(numbers):
            asks = not await choosing.is_asking(tx, item)
            return {"do": "ask", "cases": list(numbers), "says": asks}
        case Continue(number, reopens):
            return plan | {"case": number, "reopens": reopens}
        case Open(previous):
            last = (await cases.get(tx, previous)).desk if previous else None
            rules = around.rules
            told, first = rules.desk_for(message.words, last), rules.first_case_number
            desk = rules.deputy_of(told or rules.desks[0].id, item.arrived_at)
            number = await cases.plan_new(tx, customer, desk, previous=previous, now=item.arrived_at, first=first)
            if told is None and not plan["late"]:
                plan |= await which_desk.planned(tx, around, item, await cases.get(tx, number))
            return plan | {"case": number}
        case _ as never:
            assert_never(never)


async def _about(tx: Tx, item: Item, case: Case, message: Message) -> dict[str, Any]:
    """What the copy replaces or quotes in the case room. Only its author edits a message."""
    about = message.target or message.replies_to
    if about is None or case.room_id is None:
        return {"about": about}
    first = await links.original(tx, about)
    counterpart = await links.counterpart(tx, first, case.room_id)
    if message.kind is not Kind.EDIT:
        return {"quotes": counterpart, "about": first}
    before = await arrivals.get(tx, first)
    if before and (not before.is_from(item.sender) or before.reason == arrivals.DELETED):
        return {"do": "nothing"}
    link = await links.of_event(tx, first)
    if link and link.target[1] == first:
        return {}  # it claims to change a message of ours; only the words count
    return {"replaces": counterpart, "about": first}


async def _carry(around: Surroundings, item: Item, message: Message) -> None:
    assert item.plan is not None
    case = await cases.get(around.database, CaseNumber(item.plan["case"]))
    opens = case.room_id is None or case.card_event is None or case.state is CaseState.OPENING
    if opens:
        case = await opening.open_case(around, item, case)
    assert case.room_id is not None
    try:
        copy, mxcs = await _copy(around, item, case, message)
    except FileNotCarried:
        item = await _without_file(around, item, case)
        copy, mxcs = await _say_not_carried(around, item, case), ()
    assert item.plan is not None
    await _say_beside(around, item, case, message)
    poll = await which_desk.ask(around, item)
    if item.plan["reopens"]:
        notice = Outgoing(around.say_at(case.desk, "case.reopened_by_customer"), notice=True)
        await around.send(item, "reopened", case.room_id, notice)
    lanes = [room_lane(case.room_id)] if opens else []
    async with around.database.transaction() as tx:
        await copying.record(tx, item, case.number, (case.room_id, copy), message, mxcs)
        if poll:
            await desk_questions.set_poll(tx, case.number, poll)
        if opens:
            await _add_announcement(tx, around, item, case)
        if opens and not item.plan.get("asks_desk"):
            await desk_questions.close(tx, case.number)  # whoever was to ask is parked: nobody was asked
        if opens or message.kind not in AUTOMATIC:
            lanes += await states.turn(tx, around, case.number, Turn.CUSTOMER_WROTE)
        await arrivals.finish(tx, item)
    around.bookkeeping.lanes_changed(lanes)
    around.bookkeeping.room_changed(item.room_id)
    around.bookkeeping.case_changed(case.number)


async def _say_beside(around: Surroundings, item: Item, case: Case, message: Message) -> None:
    """Say to the customer what was planned beside relaying their message."""
    assert item.plan is not None
    if item.plan["answers"]:
        said = _automatic_text(around, message, await around.language_of(around.database, case.customer_id))
        await around.send(item, "automatic", item.room_id, Outgoing(said, notice=True))
    for step in ("away", "also"):
        if item.plan.get(step):
            await around.send(item, step, item.room_id, Outgoing(item.plan[step], notice=True))


async def _add_announcement(tx: Tx, around: Surroundings, item: Item, case: Case) -> None:
    """Pin, Space and inbox come after the message, in a lane of their own, so that they keep nobody waiting."""
    assert case.room_id is not None
    name, body = ("opened", str(case.number)), {"case": case.number}
    await around.add_item(tx, ItemKind.OPENED, name, lane=room_lane(case.room_id), room=case.room_id, body=body)


async def _copy(around: Surroundings, item: Item, case: Case, message: Message) -> tuple[EventId, tuple[str, ...]]:
    """Put the message into the case room; returns its copy and the files that it names.

    Raises:
        FileNotCarried: it has a file that we cannot bring over.
    """
    assert item.plan is not None
    assert case.room_id is not None
    plan, room, desk = item.plan, case.room_id, case.desk
    replaces = EventId(plan["replaces"]) if plan.get("replaces") else None
    quotes = EventId(plan["quotes"]) if plan.get("quotes") else None
    flag = around.say_at(desk, "case.unsigned_device") if plan.get("flags") else ""
    unnoticed = around.say_at(desk, "case.unnoticed") if plan.get("unnoticed") else ""
    marks = (
        flag,
        unnoticed,
        await _uncounted_mark(around, item, desk),
        await _guest_mark(around, item, desk),
        await copying.late_mark(around, item, room, message),
    )
    mark = "\n".join(filter(None, marks))
    text = await _said(around, item, case, message, replaces)
    if message.kind not in CARRIED or message.oversized:
        outgoing = Outgoing(
            f"{mark}\n{text}".strip(),
            notice=blocking.is_quiet(item),
            replies_to=quotes,
            mentions=copying.mentioned(item),
        )
        return await around.send(item, "relay", room, outgoing), ()
    if plan.get("not_carried"):
        raise FileNotCarried("this was decided before")
    return await copying.copy(around, item, room, message, text=text, mark=mark, replaces=replaces, replies_to=quotes)


async def _without_file(around: Surroundings, item: Item, case: Case) -> Item:
    """Its file cannot be brought over, which is written down: nobody is told that the message has arrived."""
    assert item.plan is not None
    plan = {**item.plan, "not_carried": True, "away": ""}
    async with around.database.transaction() as tx:
        await arrivals.add_to_plan(tx, item, plan)
        await away.take_back(tx, item, case)
    return replace(item, plan=plan)


async def _say_not_carried(around: Surroundings, item: Item, case: Case) -> EventId:
    """Say to both sides that a file did not arrive; returns what stands for it in the case room."""
    assert item.plan is not None
    assert case.room_id is not None
    line = Outgoing(
        around.say_at(case.desk, "case.file_not_carried"),
        notice=blocking.is_quiet(item),
        replies_to=EventId(item.plan["quotes"]) if item.plan.get("quotes") else None,
        mentions=copying.mentioned(item),
    )
    copy = await around.send(item, "relay", case.room_id, line)
    said = await around.say_in(item.room_id, "customer.file_not_carried")
    await around.send(item, "file_not_carried", item.room_id, Outgoing(said, notice=True))
    return copy


async def _uncounted_mark(around: Surroundings, item: Item, desk: DeskId) -> str:
    """Return the line for staff that a customer's words look like a yes to an open question, and are none."""
    if not (item.plan and item.plan.get("uncounted")):
        return ""
    question = await questions.get(around.database, item.plan["uncounted"])
    return around.say_at(desk, "case.uncounted", purpose=title(around, question))


async def _guest_mark(around: Surroundings, item: Item, desk: DeskId) -> str:
    if not (item.plan and item.plan["guest"]):
        return ""
    return around.say_at(desk, "case.guest", name=await around.messenger.display_name(item.room_id, item.sender))


async def _said(around: Surroundings, item: Item, case: Case, message: Message, replaces: EventId | None) -> str | None:
    """Return the words that stand in for a message which cannot be copied as it is; None: it can."""
    assert case.room_id is not None
    desk = case.desk
    if message.oversized:
        return around.say_at(desk, "case.too_large_from_customer")
    match message.kind:
        case Kind.CALL:
            return around.say_at(desk, "case.call")
        case Kind.OTHER:
            line = around.say_at(desk, "case.unsupported_from_customer", kind=around.say_at(desk, "kind.other"))
            return f"{line}\n{message.body}" if message.body else line
        case Kind.REACTION:
            return around.say_at(desk, "case.reaction", key=message.body)
        case Kind.POLL_END:
            return await copying.poll_result(around, item, case.room_id, message) or around.say_at(desk, "poll.ended")
        case Kind.EDIT if replaces is None and message.form not in WITH_FILE:
            return around.say_at(desk, "case.edited", text=message.body)
        case _:
            return None


def _automatic_text(around: Surroundings, message: Message, language: str) -> str:
    """Return the sentence a customer gets: what they asked the bot for, or why we could not carry what they sent."""
    say = around.texts.render
    if message.kind is Kind.CALL:
        return say("customer.call", language)
    if message.kind not in CARRIED:
        return say("customer.unsupported", language, kind=say("kind.other", language))
    return say("customer.too_large", language) if message.oversized else informing.answer_to(around, message)
