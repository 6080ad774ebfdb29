"""`m.room_key.withheld`: why somebody did not give us a key, and why we give none (Matrix 1.18).

matrix-nio 0.26.0 hands these events on unread and never sends one.
Everybody may claim anything in them, so they explain and never decide. `m.no_olm` names no session.
"""

from collections.abc import Mapping
from typing import Any, Final

from bot.matrix.e2ee.store import CipherStore

Json = dict[str, Any]

MEGOLM: Final = "m.megolm.v1.aes-sha2"
REASONS: Final[Mapping[str, str]] = {
    "m.unverified": "This device is not verified by its owner.",
    "m.no_olm": "No secure channel to this device could be set up yet.",
    "m.blacklisted": "",
    "m.unauthorised": "",
    "m.unavailable": "",
}
"""The codes of the specification; the sentence is the one that we send, where we send the code."""
OTHER: Final = "other"


def refusal(code: str, sender_key: str, *, room_id: str = "", session_id: str = "") -> Json:
    """Return what one device is told."""
    content: Json = {"algorithm": MEGOLM, "code": code, "reason": REASONS[code], "sender_key": sender_key}
    return content | ({"room_id": room_id, "session_id": session_id} if session_id else {})


def take(store: CipherStore, event: Json) -> str | None:
    """Remember what a to-device event says; returns its code, None if it says nothing. The caller commits."""
    sender, content = event.get("sender"), event.get("content")
    if not isinstance(sender, str) or not sender.isascii() or not isinstance(content, dict):
        return None
    told = content.get("code")
    code = told if isinstance(told, str) and told in REASONS else OTHER
    session = "" if code == "m.no_olm" else content.get("session_id", "")
    if isinstance(session, str) and session.isascii():
        store.add_withheld(sender, session, code)
    return code
