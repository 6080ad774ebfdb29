"""Matrix events to `domain.Handshake` and back: the steps of a verification, in a room or from device to device.

In a room they come encrypted or, from Element Web (matrix-js-sdk 43), in clear. What comes in clear is nothing but a
step: it never becomes a message of anybody.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from bot.domain.ids import EventId, ItemId, RoomId, UserId
from bot.domain.message import Kind, Message
from bot.domain.verification import Handshake, Partner

Json = dict[str, Any]

PREFIX: Final = "m.key.verification."
REQUEST: Final = "m.key.verification.request"


def is_handshake(event_type: str, content: Mapping[str, Any]) -> bool:
    """Tell whether an event belongs to a verification."""
    in_message = event_type == "m.room.message" and content.get("msgtype") == REQUEST
    return in_message or event_type.startswith(PREFIX)


def handshake_of(
    room: RoomId, event: Json, event_type: str, content: Json, *, me: UserId, device: str = ""
) -> Handshake | Message:
    """Return the step that an event of a room is; what is malformed, or meant for others, is noise.

    `device`: the one that is proved to have written it, if it came encrypted.
    """
    event_id, sender = EventId(event["event_id"]), UserId(event["sender"])
    sent_at = _time(event.get("origin_server_ts"))
    noise = Message(event_id, room, sender, sent_at, Kind.NOISE)
    claimed = content.get("from_device")
    if device and claimed not in {None, device}:
        return noise
    if event_type == "m.room.message":
        if content.get("to") != me or not isinstance(claimed, str) or "m.relates_to" in content:
            return noise
        return Handshake(event_id, Partner(sender, claimed, event_id, room), "request", content, sent_at)
    relation = content.get("m.relates_to") or event["content"].get("m.relates_to")
    if not isinstance(relation, dict) or relation.get("rel_type") != "m.reference":
        return noise
    request = relation.get("event_id")
    if not isinstance(request, str) or event_type == REQUEST:
        return noise
    # The relation stands in clear beside the ciphertext, but it is part of what `start` promises.
    content = {**content, "m.relates_to": relation}
    partner = Partner(sender, claimed if isinstance(claimed, str) else device, request, room)
    return Handshake(event_id, partner, event_type.removeprefix(PREFIX), content, sent_at)


def to_device_handshake(item: ItemId, event: Json) -> Handshake | None:
    """Return the step that a to-device event is; None: it is malformed."""
    content, sender = event.get("content"), event.get("sender")
    if not isinstance(content, dict) or not isinstance(sender, str):
        return None
    transaction, device = content.get("transaction_id"), content.get("from_device", "")
    if not isinstance(transaction, str) or not isinstance(device, str):
        return None
    step = str(event.get("type")).removeprefix(PREFIX)
    partner = Partner(UserId(sender), device, transaction)
    return Handshake(EventId(item), partner, step, content, _time(content.get("timestamp")))


def event_of_step(partner: Partner, step: str, content: Mapping[str, Any]) -> tuple[str, Json]:
    """Return type and content of the event that says this step in a room, or to a device."""
    if partner.room is None:
        return PREFIX + step, {**content, "transaction_id": partner.transaction}
    return PREFIX + step, {**content, "m.relates_to": relation_to(partner)}


def relation_to(partner: Partner) -> Json:
    """Return the relation that binds a step to its request."""
    return {"rel_type": "m.reference", "event_id": partner.transaction}


def _time(stamp: object) -> datetime:
    usable = isinstance(stamp, int) and not isinstance(stamp, bool) and 0 <= stamp < 4_000_000_000_000
    return datetime.fromtimestamp(stamp / 1000 if usable and isinstance(stamp, int) else 0, UTC)
