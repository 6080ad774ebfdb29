"""The anchor: how far the ledger went, kept in the admin room. Whoever puts back an older database is found out by it.

It is a state event of our own type, its state key the name of the log: one request reads it, no key is needed. It
holds a signed checkpoint and nothing about anybody.
"""

from contextlib import suppress
from typing import Any

import structlog

from bot.domain.errors import Fatal, Refused, Transient
from bot.domain.ids import RoomId
from bot.domain.ledger.entries import Entry, LedgerKind, Value
from bot.domain.ledger.notes import Checkpoint, NotOurs, Signer
from bot.flows.surroundings import Surroundings
from bot.store import facts, ledger, rooms
from bot.store.database import Database, Tx

ANCHOR = "de.botschaft.ledger"

SMALLER = (
    "The ledger here has {here} entries, its anchor in the admin room says {there}: this database is older than what "
    "was on record already, or entries were removed. Nothing was sent. {next}"
)
FORKED = (
    "The ledger here is not the one that its anchor in the admin room speaks of: among the first {there} entries "
    "something else stood when it was signed. Nothing was sent. {next}"
)
NEXT = (
    "Put back the newest backup of botschaft.db. If there is none, look at `botschaft ledger verify`; "
    "`botschaft ledger accept-loss` then goes on with what stands here, and writes that into the ledger."
)

log = structlog.get_logger()


class Unreadable(Exception):
    """Nobody can tell what the anchor says."""


async def check(around: Surroundings) -> None:
    """The rule of a start: compare the ledger with its anchor. Unreadable is not fatal, but then it does not agree.

    Raises:
        Fatal: the ledger is smaller than the anchor, or another one.
    """
    around.ledger.agrees = False
    try:
        await _compare(around)
    except (Unreadable, Transient, Refused) as error:
        log.warning("anchor_unreadable", reason=type(error).__name__)
    else:
        around.ledger.agrees = True


async def _compare(around: Surroundings) -> None:
    signer = await around.ledger.signer(around.database)
    anchored = await read(around, signer)
    if anchored is None:
        if await was_written(around.database, signer):
            raise Unreadable
        return
    here = await ledger.size(around.database)
    if here < anchored.size:
        raise Fatal(SMALLER.format(here=here, there=anchored.size, next=NEXT))
    if await ledger.root(around.database, anchored.size) != anchored.root:
        raise Fatal(FORKED.format(there=anchored.size, next=NEXT))


async def was_written(reader: Database | Tx, signer: Signer) -> bool:
    """Tell whether we wrote an anchor under this name, as far as the database knows."""
    return (await facts.get(reader, facts.LEDGER_ANCHORED) or "").startswith(f"{signer.origin} ")


async def read(around: Surroundings, signer: Signer) -> Checkpoint | None:
    """Return what the anchor of a log says; None: there never was one.

    Raises:
        Unreadable: something stands there that is none, or of another log.
    """
    room = await rooms.place(around.database, "admin")
    content = await around.messenger.state(room, ANCHOR, signer.origin) if room else None
    return None if content is None else opened(content, signer)


def opened(content: dict[str, Any], signer: Signer) -> Checkpoint:
    """Read the content of an anchor.

    Raises:
        Unreadable: see `read`.
    """
    try:
        anchored = signer.verifier.opened(str(content.get("checkpoint")))
    except NotOurs as error:
        raise Unreadable from error
    if anchored.origin != signer.origin:
        raise Unreadable
    return anchored


async def keep_up(around: Surroundings) -> bool:
    """Write the anchor if the ledger grew; if it could not be read so far, try that again. False: it does not agree.

    Raises:
        Fatal: as `check`.
        Transient: the server cannot now.
    """
    if not around.ledger.agrees:
        await check(around)
    try:
        await anchor(around)
    except Refused as error:
        log.warning("anchor_refused", code=error.code, status=error.status)
        return False
    return around.ledger.agrees


async def anchor(around: Surroundings) -> None:
    """Let the anchor say how far the ledger goes now. One that does not agree is evidence, and left as it is."""
    room = await rooms.place(around.database, "admin")
    if room and around.ledger.agrees and not await _is_anchored(around, around.database):
        await _write(around, room)


async def _is_anchored(around: Surroundings, reader: Database | Tx) -> bool:
    signer, size = await around.ledger.signer(reader), await ledger.size(reader)
    return size == 0 or await facts.get(reader, facts.LEDGER_ANCHORED) == f"{signer.origin} {size}"


async def _write(around: Surroundings, room: RoomId) -> None:
    async with around.database.transaction() as tx:
        signed = await ledger.checkpoint(tx, await around.ledger.signer(tx), at=around.now())
    await around.messenger.set_state(room, ANCHOR, signed.origin, {"checkpoint": signed.note})
    async with around.database.transaction() as tx:
        await facts.put(tx, facts.LEDGER_ANCHORED, f"{signed.origin} {signed.size}")


async def accept_loss(around: Surroundings) -> Entry:
    """Go on with what stands here, under the next name: no name ever stands for two histories. It goes on record.

    Raises:
        Fatal: there is nothing to accept.
        Transient: the server does not answer.
    """
    signer = await around.ledger.signer(around.database)
    try:
        await _compare(around)
    except Unreadable:
        known = None
    except Fatal:
        known = await read(around, signer)
    else:
        raise Fatal("The ledger agrees with its anchor: there is no loss to accept. Nothing was changed.")
    epoch = await _free_epoch(around)
    async with around.database.transaction() as tx:
        lost: dict[str, Value] = {"log": signer.origin, "size": await ledger.size(tx)}
        if known:
            lost |= {"anchored_size": known.size, "anchored_root": known.root.hex()}
        await facts.put(tx, facts.LEDGER_EPOCH, str(epoch))
        entry = await ledger.append(tx, LedgerKind.RESTORED, lost, subject=None, at=around.now())
    around.ledger.agrees = True
    with suppress(Transient, Refused):  # the next start writes it
        await anchor(around)
    return entry


async def _free_epoch(around: Surroundings) -> int:
    room = await rooms.place(around.database, "admin")
    assert room, "what does not agree was read there"
    epoch = await ledger.epoch(around.database) + 1
    while await around.messenger.state(room, ANCHOR, around.ledger.origin(epoch)) is not None:
        epoch += 1
    return epoch
