"""Names of things. A RoomId is not an EventId, and a type checker says so.

The transaction id of an outside step is derived here, and only here: it must be the same value whenever
the same item runs again.
"""

import hashlib
import hmac
import re
from typing import NewType

UserId = NewType("UserId", str)
RoomId = NewType("RoomId", str)
EventId = NewType("EventId", str)
CustomerId = NewType("CustomerId", str)
DeskId = NewType("DeskId", str)
CaseNumber = NewType("CaseNumber", int)
ItemId = NewType("ItemId", str)
Lane = NewType("Lane", str)
SessionId = NewType("SessionId", str)
TxnId = NewType("TxnId", str)

_USER_ID = re.compile(r"@[a-z0-9._=/+\-]+:[A-Za-z0-9.\-\[\]:]+")


def is_user_id(text: str) -> bool:
    """Tell whether this is a Matrix user id as it is written since 2018: small letters before the server's name."""
    return _USER_ID.fullmatch(text) is not None


def txn_id(key: bytes, item: ItemId, step: str, ordinal: int = 0) -> TxnId:
    """Return the transaction id of one step of one item: 32 hex digits, the same at every run.

    Keyed, because the value also stands in clear beside the ciphertext of the event (`de.botschaft.step`)
    and must say nothing about the item to anybody else.
    """
    text = f"{item}\x00{step}\x00{ordinal}".encode()
    return TxnId(hmac.new(key, text, hashlib.sha256).hexdigest()[:32])


def derived_item_id(key: bytes, *parts: str) -> ItemId:
    """Return the id of an item that has no event id of its own (an invite, a join): an HMAC of what names it."""
    text = "\x00".join(parts).encode()
    return ItemId("~" + hmac.new(key, text, hashlib.sha256).hexdigest()[:32])
