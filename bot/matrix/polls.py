"""Polls as events (MSC3381, its stable and its unstable spelling), read into values."""

from typing import Any

from bot.domain.poll import Poll
from bot.matrix.harmless import harmless

Json = dict[str, Any]

MOST_ANSWERS = 20
LONGEST_ANSWER = 340
_PREFIXES = ("org.matrix.msc3381.poll.", "m.poll.")


def poll_of(content: Json) -> Poll | None:
    """Return the poll that an event starts, or None if it is malformed."""
    start = _part(content, "start")
    answers = start.get("answers")
    question = _text(start.get("question"))
    if not question or not isinstance(answers, list):
        return None
    read = [_answer(answer) for answer in answers[:MOST_ANSWERS]]
    known = tuple(answer for answer in read if answer)
    most = start.get("max_selections", 1)
    return Poll(question, known, most if isinstance(most, int) and most > 0 else 1) if known else None


def vote_of(content: Json) -> tuple[str, ...]:
    """Return the ids of the answers that somebody chose."""
    answers = _part(content, "response").get("answers")
    if not isinstance(answers, list):
        answers = content.get("m.selections")
    return tuple(a for a in answers[:MOST_ANSWERS] if isinstance(a, str)) if isinstance(answers, list) else ()


def _part(content: Json, name: str) -> Json:
    found = next((content[key] for key in (prefix + name for prefix in _PREFIXES) if key in content), None)
    if found is None and name == "start":
        found = content.get("m.poll")
    return found if isinstance(found, dict) else {}


def _answer(answer: object) -> tuple[str, str] | None:
    if not isinstance(answer, dict):
        return None
    name = answer.get("id", answer.get("m.id"))
    text = _text(answer)
    return (name, text) if isinstance(name, str) and text else None


def _text(value: object) -> str:
    """Return the text of an extensible part (MSC1767) on one line."""
    if not isinstance(value, dict):
        return ""
    text = value.get("org.matrix.msc1767.text", value.get("body", value.get("m.text")))
    if isinstance(text, list):
        text = next((part.get("body") for part in text if isinstance(part, dict)), "")
    return " ".join(harmless(text).split())[:LONGEST_ANSWER] if isinstance(text, str) else ""
