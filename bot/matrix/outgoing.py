"""`domain.Outgoing` to Matrix events. An empty `m.mentions` says that nobody is meant by name (MSC3952)."""

from typing import Any, Final

from bot.domain.message import Kind, Outgoing

EDIT_FALLBACK_CHARACTERS = 300
"""An edit carries its text twice; what clients without edits are shown may be shorter."""

_POLL: Final = "org.matrix.msc3381.poll"
_TEXT: Final = "org.matrix.msc1767.text"

Json = dict[str, Any]

_MSGTYPES: Final = {
    Kind.EMOTE: "m.emote",
    Kind.IMAGE: "m.image",
    Kind.FILE: "m.file",
    Kind.AUDIO: "m.audio",
    Kind.VIDEO: "m.video",
    Kind.LOCATION: "m.location",
}


def event_of(message: Outgoing) -> tuple[str, Json]:
    """Return type and content of the event that says this."""
    if message.poll or message.ends:
        return _of_poll(message)
    if message.form is Kind.STICKER and message.replaces is None and message.attachment and not message.body:
        content = dict(message.attachment.content)
        content["body"] = content.pop("filename")
        return "m.sticker", content | _reply(message)
    content = _plain(message)
    if message.replaces is None:
        return "m.room.message", content | _reply(message)
    edit = {"msgtype": content["msgtype"], "body": f"* {content['body'][:EDIT_FALLBACK_CHARACTERS]}", "m.mentions": {}}
    edit["m.new_content"] = content
    edit |= {name: content[name] for name in ("file", "info", "filename", "geo_uri") if name in content}
    return "m.room.message", edit | relation_of(message)


def relation_of(message: Outgoing) -> Json:
    """Return the relation of the event; it stands in clear beside the ciphertext, as the specification wants it."""
    if message.replaces is not None:
        return {"m.relates_to": {"rel_type": "m.replace", "event_id": message.replaces}}
    if message.ends is not None:
        return {"m.relates_to": {"rel_type": "m.reference", "event_id": message.ends}}
    return _reply(message)


def _reply(message: Outgoing) -> Json:
    return {"m.relates_to": {"m.in_reply_to": {"event_id": message.replies_to}}} if message.replies_to else {}


def _plain(message: Outgoing) -> Json:
    form = Kind.IMAGE if message.form is Kind.STICKER else message.form
    msgtype = "m.notice" if message.notice else _MSGTYPES.get(form, "m.text")
    mentions: Json = {"user_ids": list(message.mentions)} if message.mentions else {}
    if message.everybody:
        mentions["room"] = True
    content: Json = {"msgtype": msgtype, "body": message.body, "m.mentions": mentions}
    if message.attachment:
        content |= message.attachment.content
        content["body"] = message.body or message.attachment.file_name
    if message.html is not None:
        content |= {"format": "org.matrix.custom.html", "formatted_body": message.html}
    return content


def _of_poll(message: Outgoing) -> tuple[str, Json]:
    """Return a poll, or its end, as clients write them (MSC3381, the unstable spelling that all of them read)."""
    text = {_TEXT: message.body}
    if message.poll is None:
        return f"{_POLL}.end", {f"{_POLL}.end": {}} | text | relation_of(message)
    start = {
        "question": {_TEXT: message.poll.question, "body": message.poll.question, "msgtype": "m.text"},
        "kind": f"{_POLL}.disclosed",
        "max_selections": message.poll.most,
        "answers": [{"id": name, _TEXT: said} for name, said in message.poll.answers],
    }
    return f"{_POLL}.start", {f"{_POLL}.start": start} | text | relation_of(message)
