"""What two mechanics write into the room of a case, in any order, and what of it the customer must see.

The same acts run on the fake, drawn by hypothesis, and on a real homeserver, drawn with a seed. Every text has a word of
its own. This model knows nothing of how the bot decides: only what people were promised.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, ClassVar, Final, Protocol

from bot.domain.ids import EventId, UserId
from bot.matrix.attachments import file_object
from tests.flows.shown import Shown

Json = dict[str, Any]

INTERNAL: Final = (". {}", "!notiz {}", "!Notiz {}", "  . {}", "!notizz {}", "!fretig {}", "!zuu {}", "!{}", "!tag {}")
"""Notes, typos of commands, and commands with words of their own."""
SEND, KEEP = "📤", "🔒"
WORD = re.compile(r"w\.\d+\.w")  # no random id has a dot


class Standing(Enum):
    """What a message is on its author's screen."""

    ANSWER = auto()
    NOTE = auto()
    HELD = auto()
    DELETED = auto()


@dataclass
class Said:
    """One message of a mechanic. `out`: its word that the customer must see now, if any."""

    event: EventId
    author: UserId
    word: str
    standing: Standing
    is_picture: bool = False
    out: str = ""
    asked: EventId | None = None  # what the question about it stands under
    stale: EventId | None = None  # the same of one that counts no more


@dataclass(frozen=True)
class Draw:
    """What chance decided for one act."""

    pick: int
    author: UserId
    form: str
    yes: bool
    also: bool


class CaseRoom(Protocol):
    """Where it is written: a room of the fake, or of a real server."""

    async def put(self, author: UserId, event_type: str, content: Json) -> EventId:
        """Send an event as this person."""

    async def react(self, author: UserId, target: EventId, key: str) -> EventId | None:
        """Tap a sign as this person; None: it stands there already, so that their client takes it away or does nothing."""

    async def delete(self, author: UserId, event: EventId) -> None:
        """Delete an event of this person's."""

    async def question(self, asked: EventId) -> EventId:
        """Return the question of the bot under an event, as soon as it is there."""

    async def notice(self) -> EventId:
        """Return anything that the bot itself said there."""

    async def decided(self, asked: EventId) -> None:
        """Wait until the question under an event is answered."""


class Team:
    """Two mechanics in one case room, and what they have written."""

    def __init__(self, room: CaseRoom, *people: UserId) -> None:
        self.room = room
        self.people = people
        self.said: list[Said] = []
        self.allowed: set[str] = set()  # words that the customer was meant to see at some time
        self.words = 0

    ACTS: ClassVar = (
        *("answer", "note", "name_a_colleague", "reply", "reply_to_a_notice", "edit", "edit_into_a_note"),
        *("edit_and_name_a_colleague", "think_again", "tap", "tap_in_vain", "delete"),
    )

    async def does(self, act: str, by: Draw) -> None:
        """Do one of the acts, as chance decided."""
        await getattr(self, act)(by)

    async def answer(self, by: Draw) -> None:
        """Somebody just types, or sends a picture with words."""
        await self._write(by, "{} bitte", Standing.ANSWER)

    async def note(self, by: Draw) -> None:
        """A note, a command or a typo of one; as the words of a picture as well."""
        await self._write(by, by.form, Standing.NOTE)

    async def name_a_colleague(self, by: Draw) -> None:
        """By their name in the text, or as clients mention people."""
        await self._write(by, self._named(by), Standing.HELD, **self._mentioned(by))

    async def reply(self, by: Draw) -> None:
        """To what the customer has, or to what they have not."""
        quoted = self._pick(by.pick, Standing.ANSWER, Standing.NOTE, Standing.HELD)
        if quoted:
            standing = Standing.ANSWER if quoted.out else Standing.HELD
            await self._write(by, "{} dazu", standing, **_reply_to(quoted.event))

    async def reply_to_a_notice(self, by: Draw) -> None:
        """To something that the bot itself said."""
        await self._write(by, "{} dazu", Standing.HELD, **_reply_to(await self.room.notice()))

    async def edit(self, by: Draw) -> None:
        """Into plain words: of what the customer has it changes that; of all else it is asked about."""
        said = self._pick(by.pick, Standing.ANSWER, Standing.NOTE, Standing.HELD)
        if said:
            event = await self._change(said, "{} geändert")
            if said.out:
                self._goes_out(said)
            else:
                self._is_held(said, event)

    async def edit_into_a_note(self, by: Draw) -> None:
        """What the customer had of it disappears."""
        said = self._pick(by.pick, Standing.ANSWER, Standing.NOTE, Standing.HELD)
        if said:
            await self._change(said, by.form)
            said.out = ""
            self._is_over(said, Standing.NOTE)

    async def edit_and_name_a_colleague(self, by: Draw) -> None:
        """What the customer had of it stays as it was, until somebody taps."""
        said = self._pick(by.pick, Standing.ANSWER, Standing.NOTE, Standing.HELD)
        if said:
            self._is_held(said, await self._change(said, f"@{_name(self._other(said.author))} {{}}"))

    async def think_again(self, by: Draw) -> None:
        """A doubtful edit, and at once a plain one of the same message."""
        await self.edit_and_name_a_colleague(by)
        await self.edit(by)

    async def tap(self, by: Draw) -> None:
        """On the question or on the message; the first tap counts, a second one comes too late."""
        said = self._pick(by.pick, Standing.HELD)
        if said is None or said.asked is None:
            return
        target, asked = said.event, said.asked
        if by.also:
            target = await self.room.question(asked)
        tapped = await self._react(by.author, target, SEND if by.yes else KEEP)
        if tapped is None:
            return
        self._settle(said, sends=by.yes)
        if by.pick % 3 == 0:
            await self._react(self._other(by.author), target, KEEP if by.yes else SEND)
        if by.pick % 4 == 0:
            await self.room.decided(asked)
            await self.room.delete(by.author, tapped)

    async def tap_in_vain(self, by: Draw) -> None:
        """A sign on what is not held, or on a question that counts no more, decides nothing."""
        # What was deleted before the bot looked at it was never asked about.
        asked = [said for said in self.said if said.stale and said.standing in {Standing.ANSWER, Standing.NOTE}]
        said = asked[-1] if by.also and asked else self._pick(by.pick, Standing.ANSWER, Standing.NOTE)
        if said:
            target = await self.room.question(said.stale) if by.also and said.stale else said.event
            tapped = await self._react(by.author, target, SEND if by.yes else KEEP)
            if tapped and by.pick % 2:
                await self.room.delete(by.author, tapped)

    async def delete(self, by: Draw) -> None:
        """Its author takes a message back."""
        said = self._pick(by.pick, Standing.ANSWER, Standing.NOTE, Standing.HELD)
        if said:
            await self.room.delete(said.author, said.event)
            said.out = ""
            self._is_over(said, Standing.DELETED)

    def time_is_up(self, held: Iterable[Said] | None = None) -> None:
        """Nobody has tapped in time: all that is held stays inside."""
        for said in self.held if held is None else held:
            self._settle(said, sends=False)

    @property
    def held(self) -> list[Said]:
        return [said for said in self.said if said.standing is Standing.HELD]

    def must_have_kept(self, shown: Iterable[Shown], ever: Iterable[str]) -> None:
        """Demand that the customer sees all that is for them, and never saw a word that is not."""
        messages = list(shown)
        seen = WORD.findall(" ".join(message.body for message in messages))
        leaked = set(WORD.findall(" ".join(ever))) - self.allowed
        assert leaked == set(), [said for said in self.said if said.word in leaked] or leaked
        assert sorted(seen) == sorted(said.out for said in self.said if said.out)
        signs = {key.replace("\ufe0f", "") for message in messages for _, key in message.reactions}
        assert not signs & {SEND, KEEP}, "what the team taps is nobody else's business"

    # ------------------------------------------------------------------------------------------------------ parts

    def _word(self) -> str:
        self.words += 1
        return f"w.{self.words}.w"

    def _pick(self, pick: int, *standings: Standing) -> Said | None:
        """Return one of the newest: people act on what they have just written."""
        found = [said for said in self.said if said.standing in standings][-4:]
        return found[pick % len(found)] if found else None

    def _other(self, person: UserId) -> UserId:
        return next(other for other in self.people if other != person)

    def _named(self, by: Draw) -> str:
        return "{} schaust du?" if by.yes else f"@{_name(self._other(by.author))} {{}} schaust du?"

    def _mentioned(self, by: Draw) -> Json:
        return {"m.mentions": {"user_ids": [self._other(by.author)]}} if by.yes else {}

    async def _write(self, by: Draw, form: str, standing: Standing, **content: Any) -> None:
        word = self._word()
        written = _content(form.format(word), is_picture=by.also)
        event = await self.room.put(by.author, "m.room.message", written | content)
        self.said.append(said := Said(event, by.author, word, standing, is_picture=by.also))
        if standing is Standing.ANSWER:
            self._goes_out(said)
        elif standing is Standing.HELD:
            said.asked = event

    async def _change(self, said: Said, form: str) -> EventId:
        said.word = self._word()
        new = _content(form.format(said.word), is_picture=said.is_picture)
        relation = {"rel_type": "m.replace", "event_id": said.event}
        content = new | {"body": f"* {new['body']}", "m.new_content": new, "m.relates_to": relation}
        return await self.room.put(said.author, "m.room.message", content)

    async def _react(self, author: UserId, target: EventId, key: str) -> EventId | None:
        return await self.room.react(author, target, key)

    def _goes_out(self, said: Said) -> None:
        said.out = said.word
        self._is_over(said, Standing.ANSWER)
        self.allowed.add(said.word)

    @staticmethod
    def _is_held(said: Said, event: EventId) -> None:
        """One message has one question: it stands under what was first asked about."""
        said.asked = said.asked if said.standing is Standing.HELD else event
        said.standing = Standing.HELD

    @staticmethod
    def _is_over(said: Said, standing: Standing) -> None:
        """Whatever was asked about it counts no more."""
        said.standing, said.asked, said.stale = standing, None, said.asked or said.stale

    def _settle(self, said: Said, *, sends: bool) -> None:
        if sends:
            self._goes_out(said)
        else:
            self._is_over(said, Standing.ANSWER if said.out else Standing.NOTE)


def _content(body: str, *, is_picture: bool) -> Json:
    if not is_picture:
        return {"msgtype": "m.text", "body": body}
    file = file_object("mxc://localhost/picture", key="A" * 43, iv="A" * 22, sha256="A" * 43)
    return {"msgtype": "m.image", "filename": "a.jpg", "file": file, "body": body}


def _reply_to(event: EventId) -> Json:
    return {"m.relates_to": {"m.in_reply_to": {"event_id": event}}}


def _name(user: UserId) -> str:
    return user[1:].partition(":")[0]
