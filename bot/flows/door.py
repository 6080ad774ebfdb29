"""`!neukunde`: staff let a new customer in. Made once: an account or a token, and the slip that shows it.

Name and secret are chosen in T1b, before the server is asked, so that a re-run asks for the same. They stand in the
plan, which is erased in T2, and in the room, where they are deleted when the slip has had its time. Nowhere else.
"""

import asyncio
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import structlog

from bot.domain.arrival import Item, ItemKind
from bot.domain.door import Gift, Ticket, new_name, new_password, new_token
from bot.domain.errors import Mistake, Refused
from bot.domain.ids import EventId, UserId
from bot.domain.message import Attachment, Kind, Outgoing
from bot.domain.room import Room, RoomKind
from bot.flows.registrar import Registrar
from bot.flows.surroundings import Surroundings
from bot.store import arrivals, facts
from bot.store.database import Tx

GIFTS: Final = {"konto": Gift.ACCOUNT, "account": Gift.ACCOUNT, "code": Gift.TOKEN, "token": Gift.TOKEN}
LANGUAGES: Final = {"de": "de", "deutsch": "de", "german": "de", "en": "en", "englisch": "en", "english": "en"}
REFUSALS: Final[Mapping[str, str]] = {
    "token_invalid": "door.token_invalid",
    "not_admin": "door.not_admin",
    "not_synapse": "door.not_synapse",
    "accounts_elsewhere": "door.elsewhere",
}
"""What to say for the codes of `Registrar`; for any other one `door.refused`."""
NAME_ATTEMPTS: Final = 5

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Wish:
    """What was asked for."""

    gift: Gift
    language: str


async def new_customer(around: Surroundings, item: Item, room: Room, rest: str) -> None:
    """Make it, show it, and see to it that it does not stay in the room.

    Raises:
        Mistake: with what to tell who asked.
    """
    if room.kind not in {RoomKind.INBOX, RoomKind.ADMIN}:
        raise Mistake("door.not_here")  # what stands in the room of a case is about somebody else
    if item.plan is None:
        if shown := await _shown_before_a_restore(around, item):
            await _leave_it_at_that(around, item, shown)
            return
        item = await _decide(around, item, _understood(around, rest))
    assert item.plan is not None
    ticket = _ticket(around, item.plan)
    # Raises if a restore left it undecidable whether this was answered: before anything is made, not after.
    await around.already_there(item, item.room_id, around.txn(item, "reply"))
    await _make(around, item.plan, ticket)
    shown = [event] if (event := await _show_slip(around, item, ticket)) else []
    text = "\n".join([_told(around, ticket), *([] if shown else [around.say("door.no_slip")])])
    shown.append(await around.send(item, "reply", item.room_id, Outgoing(text, notice=True)))
    async with around.database.transaction() as tx:
        if ticket.secret:
            await _let_go_later(tx, around, item, shown)
        await arrivals.finish(tx, item)
    around.bookkeeping.room_changed(item.room_id)


async def _shown_before_a_restore(around: Surroundings, item: Item) -> list[EventId]:
    """Return what the room was told before a restore: it was made then, and its secret is not known any more."""
    places = [await around.was_sent(item, step) for step in ("slip", "reply")]
    return [place[1] for place in places if place]


async def _leave_it_at_that(around: Surroundings, item: Item, shown: list[EventId]) -> None:
    async with around.database.transaction() as tx:
        await _let_go_later(tx, around, item, shown)
        await arrivals.finish(tx, item)
    around.bookkeeping.room_changed(item.room_id)


def _understood(around: Surroundings, rest: str) -> _Wish:
    """Read the words behind the command, in any order."""
    words = rest.casefold().split()
    if not set(words) <= GIFTS.keys() | LANGUAGES.keys():
        raise Mistake("door.usage")
    gifts = [GIFTS[word] for word in words if word in GIFTS]
    languages = [LANGUAGES[word] for word in words if word in LANGUAGES]
    return _Wish((gifts or [around.rules.door.gives])[0], (languages or [around.rules.language])[0])


async def _decide(around: Surroundings, item: Item, wish: _Wish) -> Item:
    """Choose name and secret (T1b). Nothing has been asked for yet that would have to be undone."""
    gift = wish.gift if around.registrar else Gift.NOTHING
    plan: dict[str, Any] = {"gift": gift, "language": wish.language, "account": "", "secret": "", "until": 0}
    match gift:
        case Gift.ACCOUNT:
            assert around.registrar is not None
            plan["account"] = await _new_account(around, around.registrar)
            plan["secret"] = new_password(secrets.choice)
        case Gift.TOKEN:
            assert around.registrar is not None
            await _may_register(around, around.registrar)
            plan["secret"] = new_token(secrets.choice)
            plan["until"] = round((around.now() + around.rules.door.token_lasts).timestamp() * 1000)
    async with around.database.transaction() as tx:
        await _count(tx, around)
        return await around.plan(tx, item, plan)


async def _new_account(around: Surroundings, registrar: Registrar) -> UserId:
    try:
        account = await free_name(registrar, around.say("door.name_prefix"), around.rules.me)
    except Refused as error:
        raise _mistake(error) from error
    if account is None:
        raise Mistake("door.refused")
    return account


async def free_name(registrar: Registrar, prefix: str, beside: UserId) -> UserId | None:
    """Return a random user id on somebody's server that nobody has: creating it would else take over an account.

    Raises:
        Transient, Refused: as `Registrar`.
    """
    server = beside.partition(":")[2]
    for _ in range(NAME_ATTEMPTS):
        name = new_name(prefix, secrets.choice)
        if await registrar.is_free(name):
            return UserId(f"@{name}:{server}")
    return None


async def _may_register(around: Surroundings, registrar: Registrar) -> None:
    if not around.rules.door.house.web_client:
        raise Mistake("door.no_page")
    try:
        is_open = await registrar.takes_registrations()
    except Refused as error:
        raise _mistake(error) from error
    if not is_open:
        raise Mistake("door.closed")


async def _count(tx: Tx, around: Surroundings) -> None:
    """Let only so many be made in an hour, whoever asks: an account that was taken over must not make hundreds."""
    now = around.now()
    since = (now - timedelta(hours=1)).timestamp()
    made = [at for at in json.loads(await facts.get(tx, facts.SLIPS) or "[]") if at > since]
    if len(made) >= around.rules.door.per_hour:
        raise Mistake("door.too_many")
    await facts.put(tx, facts.SLIPS, json.dumps([*made, now.timestamp()]))


def _ticket(around: Surroundings, plan: Mapping[str, Any]) -> Ticket:
    zone, seconds = around.rules.door.zone, plan["until"] / 1000
    until = day(datetime.fromtimestamp(seconds, zone), plan["language"]) if seconds else ""
    return Ticket(Gift(plan["gift"]), UserId(plan["account"]), plan["secret"], until)


def day(when: datetime, language: str) -> str:
    """Write a day as people do."""
    return when.strftime("%d.%m.%Y" if language == "de" else "%d %B %Y")


async def _make(around: Surroundings, plan: Mapping[str, Any], ticket: Ticket) -> None:
    """Ask the server. The same again has no effect, so this may have happened before."""
    if ticket.gift is Gift.NOTHING:
        return
    if around.registrar is None:
        raise Mistake("door.token_invalid")  # its file was taken away since the plan
    try:
        if ticket.gift is Gift.ACCOUNT:
            await around.registrar.make_account(UserId(ticket.account), ticket.secret)
        else:
            expires_at = datetime.fromtimestamp(plan["until"] / 1000, UTC)
            await around.registrar.make_registration_token(ticket.secret, expires_at=expires_at)
    except Refused as error:
        raise _mistake(error) from error


def _mistake(error: Refused) -> Mistake:
    log.warning("door_refused", code=error.code, status=error.status)
    return Mistake(REFUSALS.get(error.code, "door.refused"))


async def _show_slip(around: Surroundings, item: Item, ticket: Ticket) -> EventId | None:
    """Put the slip into the room, encrypted. None: the server does not take the file; the words have to do."""
    assert item.plan is not None
    # Only who shows one pays for it: fonts and printers take 30 MiB and a quarter of a second.
    from bot.paper.printers import as_png, pixels  # noqa: PLC0415
    from bot.paper.sheets import slip  # noqa: PLC0415

    sheet = slip(around.rules.door.house, ticket, around.texts, item.plan["language"])
    picture = await asyncio.to_thread(as_png, sheet)
    name = around.say("door.file_name") + ".png"
    width, height = pixels(picture)
    info = {"mimetype": "image/png", "size": len(picture), "w": width, "h": height}
    attachment = Attachment({"filename": name, "info": info})
    try:
        mxc = item.plan.get("file")
        if mxc is None:
            mxc = await around.messenger.new_file()
            async with around.database.transaction() as tx:
                await arrivals.add_to_plan(tx, item, {**item.plan, "file": mxc})
        # Bound to what is inside, so that another version of us never uses one key stream for two pictures.
        of = f"{item.id}\x00{mxc}\x00{hashlib.sha256(picture).hexdigest()}"
        secret = hmac.new(around.key, of.encode(), hashlib.sha256).digest()
        attachment = await around.messenger.put_file(attachment, picture, mxc, secret=secret)
    except Refused as error:
        log.warning("slip_not_uploaded", code=error.code, status=error.status)
        return None
    return await around.send(item, "slip", item.room_id, Outgoing("", form=Kind.IMAGE, attachment=attachment))


def _told(around: Surroundings, ticket: Ticket) -> str:
    door = around.rules.door
    hours = f"{door.slip_lasts / timedelta(hours=1):g}"
    match ticket.gift:
        case Gift.ACCOUNT:
            return around.say("door.account", account=ticket.account, secret=ticket.secret, hours=hours)
        case Gift.TOKEN:
            page, date = door.house.register_page, ticket.valid_until
            return around.say("door.token", secret=ticket.secret, page=page, date=date, hours=hours)
        case Gift.NOTHING:
            return around.say("door.nothing")


async def _let_go_later(tx: Tx, around: Surroundings, item: Item, events: list[EventId]) -> None:
    name, body, due_at = ("slip", item.id), {"events": list(events)}, around.now() + around.rules.door.slip_lasts
    await around.add_item(tx, ItemKind.SLIP, name, lane=item.lane, room=item.room_id, body=body, due_at=due_at)


async def take_back(around: Surroundings, item: Item) -> None:
    """Delete a slip and its words from the room: by now the customer has them, or nobody should."""
    item = await around.planned(item, {"deletes": item.body["events"]})
    assert item.plan is not None
    for ordinal, event in enumerate(item.plan["deletes"]):
        try:
            await around.messenger.redact(item.room_id, EventId(event), txn=around.txn(item, "delete", ordinal))
        except Refused as error:
            if error.status != 404:
                raise
            # The server itself has forgotten the message: there is nothing left to delete.
    async with around.database.transaction() as tx:
        await arrivals.finish(tx, item)
