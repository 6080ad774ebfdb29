"""The one door from flows to Matrix. Two implementations: `bot.matrix.messenger` and the fake of the tests.

Every method may be called again with the same arguments after a crash and has its effect once. Errors are
`Transient` (try again), `Refused` (the server says no) or `Fatal` (stop); nothing else comes out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from bot.domain.ids import EventId, ItemId, RoomId, TxnId, UserId
from bot.domain.message import Attachment, Outgoing, Reading
from bot.domain.verification import Handshake, Partner, Progress

STEP = "de.botschaft.step"
"""The clear mark beside the ciphertext of everything we send."""
GONE = "de.botschaft.gone"
"""In the deletion of an event of ours: the mark that the event had. A deleted event has lost it."""


@dataclass(frozen=True, slots=True)
class RoomSpec:
    """A room to be created. `alias` is the random local part that makes creation happen once."""

    alias: str
    name: str
    invite: tuple[UserId, ...]
    encrypted: bool = True
    space: bool = False
    direct: bool = False
    parent: RoomId | None = None
    topic: str = ""
    mark: str = ""  # stands in the create event as `de.botschaft.room`
    staff: bool = True  # history for whoever is invited later; False for a customer's room


@dataclass(frozen=True, slots=True)
class Page:
    """Events of a room, newest first, and where to go on (None: nothing older)."""

    events: tuple[dict[str, Any], ...]
    older: str | None


class Messenger(Protocol):
    """What flows may ask of Matrix."""

    async def read(self, room: RoomId, event: dict[str, Any]) -> Reading:
        """Turn a stored raw event into what was written, or say why it cannot be read now."""

    async def send(self, room: RoomId, message: Outgoing, *, txn: TxnId) -> EventId:
        """Send encrypted to everybody joined or invited; the same `txn` gives the same event for 24 hours.

        Raises:
            Refused: the room is not encrypted, or the server says no.
        """

    async def send_plain(self, room: RoomId, message: Outgoing, *, txn: TxnId) -> EventId:
        """Send one of our own fixed sentences into a room that is not encrypted, and only there."""

    async def find_mark(self, room: RoomId, txn: TxnId, *, since: datetime) -> EventId | None:
        """Look in the room for our event that carries `txn` in clear, back to `since`. None: it is not there.

        Raises:
            Refused: the room could not be read back that far, so nobody can tell.
        """

    async def react(self, room: RoomId, event: EventId, key: str, *, txn: TxnId) -> EventId:
        """React once; who reacts the same again gets the event that is there."""

    async def redact(self, room: RoomId, event: EventId, *, txn: TxnId) -> None:
        """Delete one of our own events; already deleted is fine."""

    async def event(self, room: RoomId, event: EventId) -> dict[str, Any]:
        """Fetch one event of a room, raw.

        Raises:
            Refused: there is none, or we may not see it.
        """

    async def referring(self, room: RoomId, event: EventId) -> Sequence[dict[str, Any]]:
        """Return the raw events that refer to an event (`m.reference`), oldest first."""

    async def new_file(self) -> str:
        """Have the server name a file (mxc) that we shall upload, before there is anything in it."""

    async def seal_file(self, attachment: Attachment, mxc: str, *, secret: bytes, largest: int) -> Attachment:
        """Fetch a file that lies open on the server, encrypt it with `secret` and upload it as `mxc`, once.

        Raises:
            Refused: it is larger than `largest` bytes, or it is not there.
        """

    async def put_file(self, attachment: Attachment, data: bytes, mxc: str, *, secret: bytes) -> Attachment:
        """Encrypt a file of our own with `secret` and upload it as `mxc`, once; return what names it.

        Raises:
            Refused: the server does not take it.
        """

    async def create_room(self, spec: RoomSpec) -> RoomId:
        """Create the room once (see `RoomSpec.alias`) and complete: encryption, powers, invitations."""

    async def drop_alias(self, alias: str) -> None:
        """Delete the alias that made a creation repeatable; absent is fine."""

    async def invite(self, room: RoomId, user: UserId) -> None:
        """Invite; already invited or joined is fine."""

    async def remove(self, room: RoomId, user: UserId) -> None:
        """Put somebody out of a room of ours; already out is fine.

        Raises:
            Refused: we have no power there.
        """

    async def join(self, room: RoomId) -> None:
        """Accept an invitation; already joined is fine."""

    async def leave(self, room: RoomId) -> None:
        """Leave or decline; already gone is fine."""

    async def set_state(self, room: RoomId, event_type: str, state_key: str, content: dict[str, Any]) -> None:
        """Put one state event; the same content again is a no-op on the server."""

    async def state(self, room: RoomId, event_type: str, state_key: str) -> dict[str, Any] | None:
        """Return the content of one state event as the server has it now; None: there is none.

        Raises:
            Refused: we may not see it.
        """

    async def mark_read(self, room: RoomId, event: EventId) -> None:
        """Move the bot's read receipt."""

    async def share_history(self, room: RoomId, user: UserId) -> None:
        """Give the devices of a staff member the keys of what the bot wrote in this room."""

    async def look_for_key(self, room: RoomId, event: dict[str, Any]) -> bool:
        """Look for the key of an event in our backup (True: it is here now), and ask the sender's devices for it."""

    async def confirm_identity(self, user: UserId) -> bool:
        """Believe the identity that somebody has now; False if they have none."""

    async def begin_verification(self, request: Handshake) -> Progress:
        """Take the request of somebody who may verify us. What follows lives in memory: a restart forgets it."""

    async def take_handshake(self, handshake: Handshake) -> Progress | None:
        """Take a further step of a verification; None: nothing is known of it (any more)."""

    async def confirm_verification(self, partner: Partner, *, vouched: bool) -> Progress | None:
        """A person says that the pictures are the same; None: there is nothing to compare.

        `vouched`: it is somebody else than the one who is verified.
        """

    async def cancel_verification(self, partner: Partner, code: str) -> Progress | None:
        """End a verification from our side; None: nothing is known of it."""

    async def send_handshake(
        self, partner: Partner, step: str, content: Mapping[str, Any], *, txn: TxnId, to_all: bool
    ) -> None:
        """Say a step of a verification, encrypted where the room is; `to_all`: also to devices that are not believed.

        Raises:
            Refused: the server says no, or nobody could read it.
        """

    def to_device_handshake(self, item: ItemId, event: dict[str, Any]) -> Handshake | None:
        """Read a step that came from device to device; None: it is none."""

    async def sign_identity(self, user: UserId, master_key: str) -> bool:
        """Sign and believe an identity that people have compared; False: it is not the one they have, or not taken."""

    async def page_back(self, room: RoomId, start: str | None, *, limit: int) -> Page:
        """Read older events of a room, from `start` (a pagination token; None: from now)."""

    async def display_name(self, room: RoomId, user: UserId) -> str:
        """Return a safe name: the one in the room, the account's if they are not in it, else the id."""

    async def members(self, room: RoomId) -> Sequence[UserId]:
        """Return who is joined or invited, as far as known, without us."""
