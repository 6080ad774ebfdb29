"""Making the copy of a message, for both directions: its text, its file, its place, quoted and replaced as planned."""

import hashlib
import hmac
from datetime import timedelta

import structlog

from bot.domain.arrival import Item
from bot.domain.errors import BotschaftError, Refused, Transient
from bot.domain.ids import CaseNumber, EventId, RoomId, UserId
from bot.domain.message import Attachment, Kind, Message, NoKey, Outgoing
from bot.domain.poll import Poll, Vote, tally
from bot.flows.blocking import is_quiet
from bot.flows.surroundings import Surroundings
from bot.store import arrivals, links
from bot.store.database import Database, Tx
from bot.store.links import Link, Place, Relation

CARRIED = frozenset(Kind) - {Kind.CALL, Kind.OTHER, Kind.NOISE}
"""Kinds whose content arrives on the other side; of others only a line that says what it was."""

FILE_PATIENCE = timedelta(minutes=10)
"""How long a file on somebody else's server is asked for before its lane goes on without it."""

log = structlog.get_logger()


class FileNotCarried(BotschaftError):
    """A file that lay open on a server is too large, or cannot be had. The message has to be said in words."""


async def is_more_of_a_share(reader: Database | Tx, message: Message) -> bool:
    """Tell whether this is a later position of a live share, whose first one has gone over: it goes nowhere."""
    return message.share is not None and await links.began(reader, message.room_id, message.share) is not None


async def copy(
    around: Surroundings,
    item: Item,
    room: RoomId,
    message: Message,
    *,
    text: str | None = None,
    mark: str = "",
    replaces: EventId | None = None,
    replies_to: EventId | None = None,
) -> tuple[EventId, tuple[str, ...]]:
    """Send the copy; returns its event and the files it names. `text` replaces the body, `mark` stands above it.

    Raises:
        FileNotCarried: it has a file that we cannot bring over.
    """
    body, html = (message.body, message.html) if text is None else (text, None)
    if message.poll:
        body = await poll_text(around, room, message.poll)
    attachment = message.attachment
    before = await around.was_sent(item, "relay")
    if before and before[0] == room:
        await _say_what_begins(around, item, room, message, before[1])
        return before[1], await _files_of(around, room, before[1], attachment)
    if attachment and attachment.open_mxc:
        attachment = await _sealed(around, item, attachment)
    if mark:
        body, html = f"{mark}\n{body}".strip(), f"{mark}<br>{html}" if html else None
    outgoing = Outgoing(
        body,
        html=html,
        notice=message.form is Kind.NOTICE or (is_quiet(item) and attachment is None),
        form=Kind.TEXT if message.form is Kind.LOCATION and attachment is None else message.form,
        attachment=attachment,
        replaces=replaces,
        replies_to=replies_to,
        mentions=mentioned(item),
    )
    event = await around.send(item, "relay", room, outgoing)
    await _say_what_begins(around, item, room, message, event)
    return event, attachment.mxcs if attachment else ()


async def _say_what_begins(around: Surroundings, item: Item, room: RoomId, message: Message, copy: EventId) -> None:
    """Say under the first position of a live share that it is one: most apps draw a map and leave out its words."""
    if message.share:
        begins = Outgoing(await around.say_in(room, "case.share_begins"), notice=True, replies_to=copy)
        await around.send(item, "share_begins", room, begins)


async def _files_of(
    around: Surroundings, room: RoomId, copy: EventId, attachment: Attachment | None
) -> tuple[str, ...]:
    """Return the files of a copy that was sent before a restore; one that we encrypted has another name than theirs."""
    if attachment is None or not attachment.open_mxc:
        return attachment.mxcs if attachment else ()
    reading = await around.messenger.read(room, await around.messenger.event(room, copy))
    if isinstance(reading, Message) and reading.attachment:
        return reading.attachment.mxcs
    log.warning("file_not_indexed")  # it was sent by a device that is gone; the file stays, encrypted, on the server
    return ()


async def _sealed(around: Surroundings, item: Item, attachment: Attachment) -> Attachment:
    """Bring an open file over encrypted. Its new name is written down before there is anything in it."""
    assert item.plan is not None
    assert item.planned_at is not None
    mxc = item.plan.get("file")
    try:
        if mxc is None:
            mxc = await around.messenger.new_file()
            async with around.database.transaction() as tx:
                await arrivals.add_to_plan(tx, item, {**item.plan, "file": mxc})
        secret = hmac.new(around.key, f"{item.id}\x00{mxc}".encode(), hashlib.sha256).digest()
        largest = around.rules.largest_open_file
        return await around.messenger.seal_file(attachment, mxc, secret=secret, largest=largest)
    except Transient:
        if around.now() - item.planned_at < FILE_PATIENCE:
            raise
        raise FileNotCarried("the file's server does not answer") from None
    except Refused as error:
        log.info("file_refused", code=error.code, status=error.status)
        raise FileNotCarried("the file cannot be had") from error


def mentioned(item: Item) -> tuple[UserId, ...]:
    """Return whom the copy is meant for by name, as planned."""
    return tuple(UserId(user) for user in (item.plan or {}).get("mentions", ()))


async def poll_text(around: Surroundings, room: RoomId, poll: Poll) -> str:
    """Return a poll as text for a room, with numbers that one can answer with."""
    lines = [f"{number}. {text}" for number, (_, text) in enumerate(poll.answers, start=1)]
    return "\n".join([await around.say_in(room, "poll.question", question=poll.question), *lines])


async def poll_result(around: Surroundings, item: Item, room: RoomId, message: Message) -> str | None:
    """Return the result, for a room, of a poll that its author has ended; None if there is no such poll.

    Raises:
        Transient: the server did not answer, or the poll's key has not come.
    """
    if message.target is None:
        return None
    try:
        start = await around.messenger.event(item.room_id, message.target)
        votes = await around.messenger.referring(item.room_id, message.target)
    except Refused:
        return None
    poll = await around.messenger.read(item.room_id, start)
    if not isinstance(poll, Message) or poll.poll is None or poll.sender != message.sender:
        return None
    cast: list[Vote] = []
    for raw in votes:
        vote = await around.messenger.read(item.room_id, raw)
        if isinstance(vote, NoKey):
            log.info("vote_without_key")
        elif isinstance(vote, Message) and vote.kind is Kind.POLL_VOTE and vote.target == message.target:
            cast.append(Vote(vote.sender, vote.sent_at, vote.vote))
    lines = [f"{text}: {count}" for text, count in tally(poll.poll, cast, message.sent_at)]
    return "\n".join([await around.say_in(room, "poll.result", question=poll.poll.question), *lines])


async def late_mark(around: Surroundings, item: Item, room: RoomId, message: Message) -> str:
    """Return the line that stands above the copy, in a room, of a message whose key came late, else nothing."""
    if not (item.plan and item.plan.get("late")):
        return ""
    time = message.sent_at.astimezone(around.rules.zone).strftime("%d.%m.%Y %H:%M")
    return await around.say_in(room, "case.late", time=time)


async def record(
    tx: Tx, item: Item, number: CaseNumber, target: Place, message: Message, mxcs: tuple[str, ...]
) -> None:
    """Remember, as part of T2, what came of a message: its link, and every file that both sides name."""
    assert item.plan is not None
    source = (item.room_id, item.event_id)
    about = EventId(item.plan["about"]) if item.plan.get("about") else None
    if message.kind is Kind.EDIT and about is not None:
        await links.add(tx, Link(source, target, number, Relation.EDIT, about))
        if not item.plan.get("replaces"):
            # The text that it changes never arrived: from now on this is it, and the old one must not come after it.
            await links.add(tx, Link((item.room_id, about), target, number))
            await arrivals.withdraw(tx, about, item.sender)
    else:
        await links.add(tx, Link(source, target, number, about=message.share))
    own = message.attachment.mxcs if message.attachment else ()
    await links.add_files(tx, number, source, own)
    await links.add_files(tx, number, target, mxcs)
