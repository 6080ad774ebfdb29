"""Staff verify the bot: it shows its pictures in the admin room, and an admin says whether a colleague sees the same.

Nothing is confirmed by itself: before an admin has compared, the other side gets no MAC and nobody's identity is
signed. What is under way lives in memory; its row in `arrivals` sees to it that no phone waits for ever.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import structlog

from bot.domain.arrival import Item, ItemKind, ItemState, verification_lane
from bot.domain.errors import Refused
from bot.domain.ids import ItemId, RoomId, derived_item_id
from bot.domain.message import Kind, Message, Outgoing
from bot.domain.room import Room
from bot.domain.verification import (
    EMOJIS,
    KEY_MISMATCH,
    LONGEST,
    NOT_ALIKE,
    REFUSED,
    TIMEOUT,
    UNKNOWN,
    Handshake,
    Partner,
    Progress,
    cancellation,
)
from bot.flows.surroundings import Surroundings
from bot.store import arrivals, facts, rooms
from bot.store.database import Tx

log = structlog.get_logger()

Plan = dict[str, Any]
Answer = tuple[Partner, str, Mapping[str, Any]]
UNASKED = frozenset({Kind.NOISE, Kind.DELETION, Kind.REACTION})


async def take(around: Surroundings, item: Item, room: Room | None, handshake: Handshake) -> None:
    """Handle one step that somebody's client says; `room` is None if it came from device to device."""
    if item.plan is None:
        if item.sender in around.rules.staff:
            plan = await _answer_staff(around, handshake)
        else:
            plan = _decline(handshake)
        item = await _commit(around, item, plan, handshake.partner, room)
    await _follow(around, item)


async def take_to_device(around: Surroundings, item: Item) -> None:
    """The same for what came from device to device."""
    handshake = around.messenger.to_device_handshake(item.id, item.body)
    if handshake is None:
        async with around.database.transaction() as tx:
            await arrivals.finish(tx, item)
        return
    await take(around, item, None, handshake)


async def judge(around: Surroundings, item: Item, rest: str, *, alike: bool) -> None:
    """An admin has compared the pictures of an attempt, which they name by its number."""
    if item.plan is None:
        found = await _numbered(around, rest.strip()) if item.sender in around.rules.admins else None
        if found is None:
            plan = _plan(tells=_told("verification.unknown", number=rest.strip()[:20]))
            item = await around.planned(item, plan)
        else:
            partner = _partner(found)
            plan = await (_confirmed if alike else _mistrusted)(around, item, found, partner)
            item = await _commit(around, item, plan, partner)
    await _follow(around, item)


async def give_up(around: Surroundings, item: Item) -> None:
    """An attempt has taken too long, or a restart has forgotten it: the phone must not wait for us."""
    if item.plan is None:
        partner = _partner(item)
        progress = await around.messenger.cancel_verification(partner, TIMEOUT)
        code = TIMEOUT if progress else UNKNOWN
        text = "verification.timeout" if progress else "verification.interrupted"
        tells = _told(text, **_names(item)) if progress is None or progress.was_shown else None
        item = await around.planned(item, _plan([(partner, *cancellation(code))], tells=tells))
    await _follow(around, item)


async def end_forgotten(around: Surroundings) -> None:
    """At a start nothing is known of what was under way: let it end now instead of after its time."""
    async with around.database.transaction() as tx:
        await arrivals.wake_kind(tx, ItemKind.VERIFICATION)


async def say_what_for(around: Surroundings, item: Item, room: Room, message: Message) -> None:
    """A colleague writes in a chat of their own with us, which is for verifying only: say so, once a day."""
    async with around.database.transaction() as tx:
        if room.encrypted and message.kind not in UNASKED:
            name = ("only_verifying", room.room_id, around.now().date().isoformat())
            body = {"text": "verification.only_this", "values": {}}
            await around.add_item(tx, ItemKind.ALARM, name, lane=item.lane, room=room.room_id, body=body)
        await arrivals.finish(tx, item)


def _decline(handshake: Handshake) -> Plan:
    """Who does not work here cannot be verified by us: there is nobody who could compare."""
    if handshake.step not in {"request", "start"} or (handshake.partner.room and handshake.step == "start"):
        return _plan()
    text = "customer.verification" if handshake.partner.room else ""
    return _plan([(handshake.partner, *cancellation(REFUSED))], says=text)


async def _answer_staff(around: Surroundings, handshake: Handshake) -> Plan:
    if handshake.step == "request":
        return await _begun(around, handshake)
    partner = handshake.partner
    attempt = await arrivals.get(around.database, _id(around, partner))
    if attempt is None:
        # In a room this is about a request to somebody else, or one that we did not take.
        is_waiting = partner.room is None and handshake.step not in {"cancel", "done"}
        return _plan([(partner, *cancellation(UNKNOWN))] if is_waiting else [])
    if attempt.state not in {ItemState.NEW, ItemState.WAITING}:
        return _plan()  # it has ended
    partner = _partner(attempt)
    progress = await around.messenger.take_handshake(handshake)
    if progress is None:
        return _plan(
            [(partner, *cancellation(UNKNOWN))],
            tells=_told("verification.interrupted", **_names(attempt)),
            ends=[attempt.id],
        )
    return _after(around, attempt, partner, progress)


async def _begun(around: Surroundings, handshake: Handshake) -> Plan:
    if around.now() - handshake.sent_at > LONGEST:
        return _plan()  # the phone has given up by itself
    partner = handshake.partner
    progress = await around.messenger.begin_verification(handshake)
    answers: list[Answer] = [(other, *cancellation(REFUSED)) for other in progress.superseded]
    answers += [(partner, step, content) for step, content in progress.answers]
    says = "verification.unsigned" if progress.cancelled == KEY_MISMATCH and partner.room else ""
    ends = [_id(around, other) for other in progress.superseded]
    return _plan(answers, says=says, ends=ends, opens=not progress.cancelled)


def _after(around: Surroundings, attempt: Item, partner: Partner, progress: Progress) -> Plan:
    """Return the plan for what follows from a step: pictures to show, the end, or only an answer."""
    tells = None
    names = _names(attempt)
    if progress.emojis or progress.numbers:
        tells = _told("verification.compare", pictures=_pictures(around, progress), **names) | {"rings": True}
    elif progress.done:
        tells = _told("verification.confirmed" if progress.vouched_key else "verification.confirmed_own", **names)
    elif progress.cancelled and progress.was_shown:
        strange = progress.cancelled in {NOT_ALIKE, KEY_MISMATCH}
        tells = _told("verification.mismatch" if strange else "verification.cancelled", **names)
    answers = [(partner, step, content) for step, content in progress.answers]
    ends = [attempt.id] if progress.done or progress.cancelled else []
    signs = [partner.user, progress.vouched_key] if progress.vouched_key else None
    return _plan(answers, tells=tells, ends=ends, signs=signs)


async def _confirmed(around: Surroundings, item: Item, attempt: Item, partner: Partner) -> Plan:
    """The pictures are alike. Nobody's word counts for their own identity: then nothing is signed."""
    progress = await around.messenger.confirm_verification(partner, vouched=item.sender != partner.user)
    if progress is None:
        return _plan(tells=_told("verification.unknown", number=_names(attempt)["number"]))
    plan = _after(around, attempt, partner, progress)
    return plan if progress.done else plan | {"tells": _told("verification.half", **_names(attempt))}


async def _mistrusted(around: Surroundings, _: Item, attempt: Item, partner: Partner) -> Plan:
    await around.messenger.cancel_verification(partner, NOT_ALIKE)
    return _plan(
        [(partner, *cancellation(NOT_ALIKE))],
        tells=_told("verification.mismatch", **_names(attempt)),
        ends=[attempt.id],
    )


def _pictures(around: Surroundings, progress: Progress) -> str:
    if progress.emojis:
        return " · ".join(f"{EMOJIS[n][0]} {around.say(f'emoji.{EMOJIS[n][1]}')}" for n in progress.emojis)
    return " – ".join(map(str, progress.numbers))


def _plan(
    answers: Sequence[Answer] = (),
    *,
    says: str = "",
    tells: Plan | None = None,
    signs: list[str] | None = None,
    ends: Sequence[ItemId] = (),
    opens: bool = False,
) -> Plan:
    """`says` goes to who asks, `tells` to the admins; `ends` and `opens` are attempts."""
    return {
        "answers": [[asdict(partner), step, dict(content)] for partner, step, content in answers],
        "says": says,
        "tells": tells,
        "signs": signs,
        "ends": list(ends),
        "opens": opens,
    }


def _told(text: str, /, **values: str) -> Plan:
    return {"text": text, "values": values}


async def _commit(around: Surroundings, item: Item, plan: Plan, partner: Partner, room: Room | None = None) -> Item:
    """T1b, with the beginning and the end of attempts. If it fails, memory is ahead of it, so memory forgets."""
    try:
        async with around.database.transaction() as tx:
            if plan["says"] and item.sender not in around.rules.staff:
                customer = room.customer_id if room else None
                says = customer and await around.may_answer(tx, item, customer, "verification")
                plan = plan | {"says": plan["says"] if says else ""}
            item = await around.plan(tx, item, plan)
            for attempt in [await arrivals.get(tx, name) for name in plan["ends"]]:
                if attempt:
                    await arrivals.finish(tx, attempt)
            if plan["opens"]:
                await _open(tx, around, partner)
    except BaseException:
        await around.messenger.cancel_verification(partner, UNKNOWN)
        raise
    return item


async def _open(tx: Tx, around: Surroundings, partner: Partner) -> None:
    number = await facts.next_number(tx, "verification")
    lane, room = verification_lane(partner.user), partner.room or RoomId("")
    body, due_at = {"number": str(number), "partner": asdict(partner)}, around.now() + LONGEST
    await around.add_item(tx, ItemKind.VERIFICATION, _name(partner), lane=lane, room=room, body=body, due_at=due_at)


async def _follow(around: Surroundings, item: Item) -> None:
    """Do what was planned: sign, answer the client, say it to people (T2)."""
    assert item.plan is not None
    plan = item.plan
    if plan["signs"] and not await around.messenger.sign_identity(*plan["signs"]):
        # The identity changed while people compared, or the server did not take the signature: it is not right.
        partner = plan["answers"][-1][0]
        tells = _told("verification.not_signed", **plan["tells"]["values"])
        plan = plan | {"answers": [[partner, *cancellation(KEY_MISMATCH)]], "tells": tells}
    reached = await _answer(around, item, plan["answers"])
    if plan["tells"] and not reached:
        names = {name: plan["tells"]["values"][name] for name in ("user", "number")}
        plan = plan | {"tells": _told("verification.not_reached", **names)}
    if plan["says"]:
        await _say(around, item, plan["says"])
    admin_room = await rooms.place(around.database, "admin")
    if plan["tells"] and admin_room:
        text = around.say(plan["tells"]["text"], **plan["tells"]["values"])
        await around.send(item, "reply", admin_room, Outgoing(text, notice=not plan["tells"].get("rings")))
    async with around.database.transaction() as tx:
        await arrivals.finish(tx, item)
    if item.room_id:
        around.bookkeeping.room_changed(item.room_id)


async def _answer(around: Surroundings, item: Item, answers: list[list[Any]]) -> bool:
    """Answer their client. False: it was not told a step without which nothing can go on there."""
    reached = True
    for ordinal, (partner, step, content) in enumerate(answers):
        try:
            await around.send_handshake(item, ordinal, Partner(**partner), step, content)
        except Refused as error:
            # Their client cannot be told; it gives up by itself. That we gave up stays true all the same.
            log.info("handshake_refused", code=error.code, status=error.status)
            reached = reached and step == "cancel"
    return reached


async def _say(around: Surroundings, item: Item, text: str) -> None:
    room = await rooms.find(around.database, item.room_id)
    assert room is not None, "T1 stores the room with its first item"
    to_staff = item.sender in around.rules.staff
    sentence = Outgoing(await around.say_in(room.room_id, text), to_all=to_staff)
    if room.encrypted:
        await around.send(item, "sentence", room.room_id, sentence)
    else:
        await around.send_plain(item, "sentence", room.room_id, sentence)


async def _numbered(around: Surroundings, number: str) -> Item | None:
    """Return the attempt under way that has this number."""
    running = await arrivals.open_of(around.database, ItemKind.VERIFICATION)
    return next((attempt for attempt in running if attempt.body["number"] == number), None)


def _name(partner: Partner) -> tuple[str, ...]:
    return ("verification", partner.user, partner.room or "", partner.transaction)


def _id(around: Surroundings, partner: Partner) -> ItemId:
    return derived_item_id(around.key, *_name(partner))


def _partner(attempt: Item) -> Partner:
    return Partner(**attempt.body["partner"])


def _names(attempt: Item) -> dict[str, str]:
    return {"user": attempt.body["partner"]["user"], "number": attempt.body["number"]}
