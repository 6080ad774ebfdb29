"""Matrix events to `domain.Message`. Everything here comes from strangers: it is made safe once, here."""

import json
import re
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import unquote

from bot.domain import command
from bot.domain.ids import EventId, RoomId, UserId
from bot.domain.message import WITH_FILE, Attachment, Kind, Message
from bot.matrix.attachments import attachment_of, place_of
from bot.matrix.harmless import clean_html, harmless, reaction_key
from bot.matrix.polls import poll_of, vote_of

_USER_LINK = re.compile(r"https://matrix\.to/#/(@[^\"'?/ ]+)")
MAX_BODY_BYTES = 32_000
MAX_BOTH_BYTES = 40_000
"""An event may have 64 KiB, and ciphertext is a third larger than what is in it. Text that is longer is refused with
a sentence; HTML that does not fit beside its text is left out. Counted as JSON in UTF-8, as it is encrypted."""

Json = dict[str, Any]

_MSGTYPES: Final = {
    "m.text": Kind.TEXT,
    "m.notice": Kind.NOTICE,
    "m.emote": Kind.EMOTE,
    "m.image": Kind.IMAGE,
    "m.file": Kind.FILE,
    "m.audio": Kind.AUDIO,
    "m.video": Kind.VIDEO,
    "m.location": Kind.LOCATION,
    "m.key.verification.request": Kind.NOISE,
}
_BEACONS: Final = frozenset({"m.beacon", "org.matrix.msc3672.beacon"})
"""Positions of a live share (MSC3489, MSC3672)."""
_PLACES: Final = ("m.location", "org.matrix.msc3488.location")
_POLLS: Final = {"start": Kind.POLL, "response": Kind.POLL_VOTE, "end": Kind.POLL_END}
_TYPES: Final = {
    "m.sticker": Kind.STICKER,
    "m.reaction": Kind.REACTION,
    "m.room.redaction": Kind.DELETION,
    **dict.fromkeys(_BEACONS, Kind.LOCATION),
    "m.call.invite": Kind.CALL,
    "m.rtc.notification": Kind.CALL,
    "org.matrix.msc4075.rtc.notification": Kind.CALL,
    **{f"{prefix}.{name}": kind for name, kind in _POLLS.items() for prefix in ("m.poll", "org.matrix.msc3381.poll")},
}
_NOISE: Final = ("m.key.verification.", "m.call.", "org.matrix.call.", "m.rtc.", "org.matrix.msc4075.")
_WORDY: Final = frozenset({Kind.TEXT, Kind.NOTICE, Kind.EMOTE, Kind.LOCATION, Kind.OTHER})


def message_of(room: RoomId, event: Json, event_type: str, content: Json, *, encrypted: bool) -> Message:
    """Build the message that an event carries. `event_type` and `content` are the decrypted ones if it was so."""
    is_beacon = event_type in _BEACONS
    content = _as_place(content) if is_beacon else content
    relation = _relation(event, content)
    kind = _kind(event_type, content, relation)
    shown = _new_content(content) if kind is Kind.EDIT else content
    form = _kind(event_type, shown, {}) if kind is Kind.EDIT else kind
    attachment = _attachment(shown, form)
    poll = poll_of(shown) if form is Kind.POLL else None
    lacks_file = attachment is None and (form in WITH_FILE or is_beacon)
    if lacks_file or (form is Kind.POLL and poll is None):
        form = Kind.OTHER
    replies_to = _reply(relation) if kind is not Kind.EDIT else None
    body = _body(shown, form, relation, replies=replies_to is not None)
    oversized = _size(body) > MAX_BODY_BYTES
    return Message(
        event_id=EventId(event["event_id"]),
        room_id=room,
        sender=UserId(event["sender"]),
        sent_at=_sent_at(event),
        kind=kind if kind is Kind.EDIT else form,
        body=body[:MAX_BODY_BYTES] if oversized else body,
        html=None if oversized or not body else _html(shown, room_left=MAX_BOTH_BYTES - _size(body)),
        form=form,
        target=_target(event, content, relation, kind),
        replies_to=replies_to,
        thread=_thread(relation),
        mentions=_mentions(shown),
        attachment=attachment,
        poll=poll,
        vote=vote_of(content) if kind is Kind.POLL_VOTE else (),
        share=_share(relation) if is_beacon else None,
        encrypted=encrypted,
        oversized=oversized,
    )


def _relation(event: Json, content: Json) -> Json:
    """Relations stand in clear on the wire, and in many clients also inside."""
    wire = event.get("content")
    relation = content.get("m.relates_to") or (wire.get("m.relates_to") if isinstance(wire, dict) else None)
    return relation if isinstance(relation, dict) else {}


def _kind(event_type: str, content: Json, relation: Json) -> Kind:
    if relation.get("rel_type") == "m.replace" and event_type in {"m.room.message", *_TYPES}:
        return Kind.EDIT
    if event_type == "m.room.message":
        return _MSGTYPES.get(str(content.get("msgtype")), Kind.OTHER)
    if event_type.startswith(_NOISE) and event_type not in _TYPES:
        return Kind.NOISE
    return _TYPES.get(event_type, Kind.OTHER)


def _new_content(content: Json) -> Json:
    new = content.get("m.new_content")
    return new if isinstance(new, dict) else content


def _target(event: Json, content: Json, relation: Json, kind: Kind) -> EventId | None:
    if kind is Kind.DELETION:
        target = event.get("redacts") or content.get("redacts")
    elif kind in {Kind.EDIT, Kind.REACTION, Kind.POLL_VOTE, Kind.POLL_END}:
        target = relation.get("event_id")
    else:
        return None
    return EventId(target) if isinstance(target, str) else None


def _reply(relation: Json) -> EventId | None:
    """What is quoted; in a thread only if a person quoted it, not as a fallback for clients without threads."""
    if relation.get("rel_type") == "m.thread" and relation.get("is_falling_back") is not False:
        return None
    quoted = relation.get("m.in_reply_to")
    target = quoted.get("event_id") if isinstance(quoted, dict) else None
    return EventId(target) if isinstance(target, str) else None


def _thread(relation: Json) -> tuple[EventId, ...]:
    """Return what a message in a thread stands under, on screens that show threads: there nobody quotes anything."""
    if relation.get("rel_type") != "m.thread":
        return ()
    last = relation.get("m.in_reply_to")
    named = (relation.get("event_id"), last.get("event_id") if isinstance(last, dict) else None)
    return tuple(dict.fromkeys(EventId(event) for event in named if isinstance(event, str)))


def _as_place(beacon: Json) -> Json:
    """Return a position of a live share in the form of a place that is sent once."""
    place: Json = next((beacon[name] for name in _PLACES if isinstance(beacon.get(name), dict)), {})
    relation = beacon.get("m.relates_to")
    return {"body": place.get("description"), "geo_uri": place.get("uri"), "m.relates_to": relation}


def _share(relation: Json) -> EventId | None:
    """Return what a position belongs to: the event with which its author began to share where they are."""
    target = relation.get("event_id") if relation.get("rel_type") == "m.reference" else None
    return EventId(target) if isinstance(target, str) else None


def _mentions(content: Json) -> frozenset[UserId]:
    """Return whom a message is to alert (spec 1.7), or links to, as clients did it before."""
    meant = content.get("m.mentions")
    users = meant.get("user_ids") if isinstance(meant, dict) else None
    named = {user for user in users if isinstance(user, str)} if isinstance(users, list) else set()
    html = content.get("formatted_body")
    linked = _USER_LINK.findall(unquote(html[:MAX_BODY_BYTES])) if isinstance(html, str) else []
    return frozenset(UserId(user) for user in (*named, *linked))


def _attachment(content: Json, form: Kind) -> Attachment | None:
    if form in WITH_FILE:
        return attachment_of(content, form)
    return place_of(content) if form is Kind.LOCATION else None


def _body(content: Json, form: Kind, relation: Json, *, replies: bool) -> str:
    if form is Kind.REACTION:
        return reaction_key(relation.get("key"))
    if form in WITH_FILE:
        return harmless(_caption(content))
    body = content.get("body")
    if form not in _WORDY or not isinstance(body, str):
        return ""
    return harmless(_without_reply_fallback(body) if replies else body)


def _caption(content: Json) -> str:
    """The body of a file is its caption only if it is not the file's name (spec 1.10), or if it begins like a note."""
    body, name = content.get("body"), content.get("filename")
    if not isinstance(body, str) or body == name:
        return ""
    return body if isinstance(name, str) or command.parse(body) else ""


def _without_reply_fallback(text: str) -> str:
    """Drop the quoted lines that older clients put before a reply."""
    lines = text.split("\n")
    if not lines[0].startswith("> "):
        return text
    rest = next((i for i, line in enumerate(lines) if not line.startswith(">")), len(lines))
    return "\n".join(lines[rest:]).lstrip("\n")


def _size(text: str) -> int:
    return len(json.dumps(text, ensure_ascii=False).encode())


def _html(content: Json, *, room_left: int) -> str | None:
    html = content.get("formatted_body")
    if content.get("format") != "org.matrix.custom.html" or not isinstance(html, str):
        return None
    clean = clean_html(_without_reply_block(html)) if len(html) <= MAX_BODY_BYTES else ""
    return clean if clean and _size(clean) <= room_left else None


def _without_reply_block(html: str) -> str:
    """Drop the quotation that older clients put before a reply."""
    begin, end = html.find("<mx-reply>"), html.find("</mx-reply>")
    return html[:begin] + html[end + len("</mx-reply>") :] if 0 <= begin < end else html


def _sent_at(event: Json) -> datetime:
    stamp = event.get("origin_server_ts")
    usable = isinstance(stamp, int) and not isinstance(stamp, bool) and 0 <= stamp < 4_000_000_000_000
    return datetime.fromtimestamp(stamp / 1000 if usable and isinstance(stamp, int) else 0, UTC)
