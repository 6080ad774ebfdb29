"""What a client shows of a room: edits applied, deletions gone, reactions at their message, quotations resolved."""

import difflib
import re
from dataclasses import dataclass, field
from typing import Any

from tests.flows.fake import FakeRoom

Json = dict[str, Any]


@dataclass
class Shown:
    """One message as it stands on the screen."""

    event_id: str
    sender: str
    content: Json
    type: str = "m.room.message"
    quotes: str = ""  # the event it quotes
    edited: bool = False
    reactions: set[tuple[str, str]] = field(default_factory=set)

    @property
    def body(self) -> str:
        return str(self.content.get("body", ""))


def shown(room: FakeRoom) -> list[Shown]:
    """Return what stands in a room, in its order."""
    return shown_of(room.events)


def shown_of(events: list[Json]) -> list[Shown]:
    """Return what these events, in clear, show."""
    found: dict[str, Shown] = {}
    for event in events:
        content, relation = event["content"], _relation(event["content"])
        target = found.get(str(relation.get("event_id")))
        if event["type"] == "m.reaction" and target and content:
            target.reactions.add((event["sender"], relation["key"]))
        elif relation.get("rel_type") == "m.replace":
            if target and target.sender == event["sender"]:
                target.content, target.edited = content["m.new_content"], True
        elif event["type"] in {"m.room.message", "m.sticker"} and content:
            quotes = str(relation.get("m.in_reply_to", {}).get("event_id", ""))
            found[event["event_id"]] = Shown(event["event_id"], event["sender"], content, event["type"], quotes)
    return list(found.values())


def _relation(content: Json) -> Json:
    relation = content.get("m.relates_to")
    return relation if isinstance(relation, dict) else {}


TOKEN = re.compile(r"k\d+")


def token(message: Shown) -> str:
    """The word by which a message is known in both rooms, whatever becomes of its text."""
    found = TOKEN.search(message.body)
    return found[0] if found else ""


@dataclass(frozen=True)
class Conversation:
    """What a customer's room and a case room show of each other. Messages whose key came late stand at another place."""

    customer: str
    staff: frozenset[str]
    bot: str
    late: frozenset[str] = frozenset()

    def must_agree(self, chat: list[Shown], case: list[Shown]) -> None:
        """Demand that both rooms show the same words, forms, quotations and reactions, in the same order."""
        chat, case = [m for m in chat if token(m)], [m for m in case if token(m)]
        self._same_words([m for m in chat if m.sender == self.customer], [m for m in case if m.sender == self.bot])
        answers = [m for m in case if m.sender in self.staff and not m.body.startswith(". ")]
        self._same_words(answers, [m for m in chat if m.sender == self.bot])
        self._same_quotations(chat, case)
        self._same_reactions(chat, case, {self.customer})
        self._same_reactions(case, chat, set(self.staff))

    def _same_words(self, written: list[Shown], copied: list[Shown]) -> None:
        in_time = [f"{m.body} ({form(m)})" for m in written if token(m) not in self.late]
        there = [f"{m.body} ({form(m)})" for m in copied if token(m) not in self.late]
        assert there == in_time, "\n".join(difflib.unified_diff(in_time, there, "written", "copied", n=1, lineterm=""))
        late = {token(m): m.body for m in written if token(m) in self.late}
        arrived = [m for m in copied if token(m) in self.late]
        assert sorted(token(m) for m in arrived) == sorted(late)
        assert all(m.body.endswith(late[token(m)]) for m in arrived)

    @staticmethod
    def _same_quotations(chat: list[Shown], case: list[Shown]) -> None:
        names = {m.event_id: token(m) for m in [*chat, *case]}
        there = {token(m): names.get(m.quotes) for m in case}
        for message in chat:
            quoted, other = names.get(message.quotes), there.get(token(message))
            if quoted and other:
                assert quoted == other

    def _same_reactions(self, here: list[Shown], there: list[Shown], people: set[str]) -> None:
        names = {token(m): m for m in there}
        for message in here:
            copy = names.get(token(message))
            if copy is None or token(message) in self.late:
                continue
            wanted = {key.replace("\ufe0f", "") for who, key in message.reactions if who in people}
            got = {key.replace("\ufe0f", "") for who, key in copy.reactions if who == self.bot}
            assert got == wanted, (message, copy)


def form(message: Shown) -> str:
    """The kind of a message as it is drawn."""
    return str(message.content.get("msgtype", message.type))


def only(room: FakeRoom, body: str) -> Shown:
    """Return the one message with this text; more or fewer is a failure."""
    matching = [message for message in shown(room) if message.body == body]
    assert len(matching) == 1, [message.body for message in shown(room)]
    return matching[0]
