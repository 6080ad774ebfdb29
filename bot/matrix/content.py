"""Matrix JSON to and from `domain.message`. Everything here comes from strangers: it is made safe once, here.

HTML is reduced to a small allow-list, mentions lose their power, control and bidi characters lose theirs.
"""

import json
import re
import unicodedata
from datetime import UTC, datetime
from typing import Any, Final

import nh3

from bot.domain.ids import EventId, RoomId, UserId
from bot.domain.message import Kind, Message, Outgoing

STEP = "de.botschaft.step"
"""The clear mark beside the ciphertext of everything we send."""

MAX_BODY_BYTES = 32_000
MAX_BOTH_BYTES = 40_000
"""An event may have 64 KiB, and ciphertext is a third larger than what is in it. Text that is longer is refused with
a sentence; HTML that does not fit beside its text is left out. Counted as JSON in UTF-8, as it is encrypted."""

EDIT_FALLBACK_CHARACTERS = 300
"""An edit carries its text twice; what clients without edits are shown may be shorter."""

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
}
_TYPES: Final = {
    "m.sticker": Kind.STICKER,
    "m.reaction": Kind.REACTION,
    "m.room.redaction": Kind.DELETION,
    "m.poll.start": Kind.POLL,
    "org.matrix.msc3381.poll.start": Kind.POLL,
}
_TAGS: Final = {
    *("b", "strong", "i", "em", "u", "del", "s", "code", "pre", "blockquote", "p", "br", "hr", "ul", "ol", "li"),
    *("h1", "h2", "h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td", "span", "a"),
}
_ATTRIBUTES: Final = {"a": {"href"}, "ol": {"start"}}
_BIDI: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_ROOM_MENTION: Final = re.compile(r"@room\b", re.IGNORECASE)
_USER_LINK: Final = re.compile(r"(?:https://matrix\.to/#/|matrix:)", re.IGNORECASE)


def message_of(room: RoomId, event: Json, kind_of_event: str, content: Json, *, encrypted: bool) -> Message:
    """Build the message that an event carries. `kind_of_event` and `content` are the decrypted ones if it was so."""
    kind, body_content, target = _kind(event, kind_of_event, content)
    body = _text(body_content, kind)
    oversized = _size(body) > MAX_BODY_BYTES
    html = None if oversized else _html(body_content, room_left=MAX_BOTH_BYTES - _size(body))
    return Message(
        event_id=EventId(event["event_id"]),
        room_id=room,
        sender=UserId(event["sender"]),
        sent_at=_sent_at(event),
        kind=kind,
        body=body[:MAX_BODY_BYTES] if oversized else body,
        html=html,
        target=target,
        encrypted=encrypted,
        oversized=oversized,
    )


def _kind(event: Json, event_type: str, content: Json) -> tuple[Kind, Json, EventId | None]:
    relation = content.get("m.relates_to") or event.get("content", {}).get("m.relates_to")
    relation = relation if isinstance(relation, dict) else {}
    target = relation.get("event_id")
    target = EventId(target) if isinstance(target, str) else None
    if event_type == "m.room.message" and relation.get("rel_type") == "m.replace":
        new = content.get("m.new_content")
        return Kind.EDIT, new if isinstance(new, dict) else content, target
    if event_type == "m.room.message":
        return _MSGTYPES.get(str(content.get("msgtype")), Kind.OTHER), content, None
    kind = _TYPES.get(event_type, Kind.OTHER)
    if kind is Kind.DELETION:
        redacts = event.get("redacts") or content.get("redacts")
        return kind, content, EventId(redacts) if isinstance(redacts, str) else None
    if kind is Kind.REACTION:
        return kind, {"body": str(relation.get("key", ""))[:64].replace("\ufe0f", "")}, target
    return kind, content, target


def _text(content: Json, kind: Kind) -> str:
    body = content.get("body")
    text = body if isinstance(body, str) else ""
    if kind is Kind.TEXT and "m.in_reply_to" in str(content.get("m.relates_to", "")):
        text = _without_reply_fallback(text)
    return harmless(text)


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


def clean_html(html: str) -> str:
    """Reduce HTML to harmless formatting; links to people and rooms lose their target, `@room` its power."""
    clean = nh3.clean(
        html.encode(errors="ignore").decode(),  # halves of surrogate pairs are no text
        tags=set(_TAGS),
        attributes=dict(_ATTRIBUTES),
        url_schemes={"http", "https", "mailto", "tel"},
        attribute_filter=_no_user_links,
        link_rel="noopener noreferrer",
    )
    return harmless(clean)


def _no_user_links(tag: str, attribute: str, value: str) -> str | None:
    return None if (tag, attribute) == ("a", "href") and _USER_LINK.match(value.strip()) else value


def harmless(text: str) -> str:
    """Return text without control and direction characters, and with `@room` spelled so that it wakes nobody."""
    kept = "".join(c for c in text if c in "\n\t" or (c not in _BIDI and unicodedata.category(c) not in {"Cc", "Cs"}))
    return _ROOM_MENTION.sub("@\u200broom", kept)


def harmless_name(name: object, fallback: str) -> str:
    """Return a display name of at most 60 characters on one line, or the fallback."""
    if not isinstance(name, str):
        return fallback
    spaced = "".join(" " if unicodedata.category(c) in {"Cc", "Zl", "Zp"} else c for c in name)
    kept = "".join(c for c in spaced if unicodedata.category(c) not in {"Cf", "Cs", "Co", "Cn"})
    kept = " ".join(kept.split())[:60].strip()
    return _ROOM_MENTION.sub("@\u200broom", kept) or fallback


def content_of(message: Outgoing) -> Json:
    """Build the content of what we send. An empty `m.mentions` says that nobody is meant by name (MSC3952)."""
    content = _plain_content(message)
    if message.replaces is None:
        return content
    edit = {"msgtype": content["msgtype"], "body": f"* {message.body[:EDIT_FALLBACK_CHARACTERS]}", "m.mentions": {}}
    edit["m.new_content"] = content
    edit["m.relates_to"] = {"rel_type": "m.replace", "event_id": message.replaces}
    return edit


def _plain_content(message: Outgoing) -> Json:
    content: Json = {"msgtype": "m.notice" if message.notice else "m.text", "body": message.body, "m.mentions": {}}
    if message.html is not None:
        content |= {"format": "org.matrix.custom.html", "formatted_body": message.html}
    return content


def _sent_at(event: Json) -> datetime:
    stamp = event.get("origin_server_ts")
    usable = isinstance(stamp, int) and not isinstance(stamp, bool) and 0 <= stamp < 4_000_000_000_000
    return datetime.fromtimestamp(stamp / 1000 if usable and isinstance(stamp, int) else 0, UTC)
