"""What a client shows of a room: edits applied, deletions gone, reactions at their message, quotations resolved."""

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
    found: dict[str, Shown] = {}
    for event in room.events:
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


def only(room: FakeRoom, body: str) -> Shown:
    """Return the one message with this text; more or fewer is a failure."""
    matching = [message for message in shown(room) if message.body == body]
    assert len(matching) == 1, [message.body for message in shown(room)]
    return matching[0]
