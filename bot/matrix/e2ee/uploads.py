"""Our own keys on the server: device keys, one-time keys, a fallback key. Saved before every upload.

Against matrix-nio 0.26.0: a count of 0 or none counts as no news, so the device is deaf for ever once its keys are
used up (base_client.py:845; test_a_count_of_zero_or_none_refills); new keys are uploaded before they are saved, and
a crash in between blocks every later upload (test_keys_are_saved_before_they_are_uploaded); no fallback key exists.

Keys whose upload was not answered may be on the server, and somebody may have claimed one since: sent again, it would
be given to a second person, whose messages nobody could open. They are kept, but others are uploaded in their place.
"""

import json
import time
from collections.abc import Callable
from typing import Any

from bot.domain.errors import Fatal, Refused
from bot.matrix.e2ee.machine import MEGOLM, OLM, Machine
from bot.matrix.transport import Transport

Json = dict[str, Any]

FALLBACK_KEPT_S = 7 * 24 * 3600
MOST_UNANSWERED = 5
"""So often in a row new keys are made for an upload without an answer; then the last ones are sent again.

The account holds 5000 private keys and drops the oldest beyond, and it is written down whole with every change.
"""

_FALLBACK_MADE = "fallback_made_at"
_FALLBACK_SENT = "fallback_sent"
_UNANSWERED = "uploads_unanswered"


class Uploads:
    """Keeps the server stocked."""

    def __init__(self, machine: Machine, transport: Transport, clock: Callable[[], float] = time.time) -> None:
        self._machine = machine
        self._transport = transport
        self._clock = clock
        self._count: int | None = None
        self._fallback_unused = True

    def heed(self, counts: Json | None, unused_fallback_types: list[Any] | None) -> None:
        """Take what a sync says. A missing count is zero (Matrix 1.17); a missing list says nothing."""
        count = counts.get("signed_curve25519") if isinstance(counts, dict) else 0
        self._count = max(0, count) if isinstance(count, int) and not isinstance(count, bool) else 0
        if isinstance(unused_fallback_types, list):
            self._fallback_unused = "signed_curve25519" in unused_fallback_types

    async def refill(self) -> None:
        """Upload what is missing on the server, if anything is.

        Raises:
            Fatal: the server knows newer keys than this key store.
        """
        body = self._prepared()
        if not body:
            return
        try:
            answer = await self._transport.call("POST", "/_matrix/client/v3/keys/upload", body, repeats=False)
        except Refused as error:
            raise Fatal(
                "The server has other keys of this device than this key store: an old copy was restored. "
                "Run `botschaft device status`."
            ) from error
        with self._machine.store.one_commit():
            self._machine.account.shared = True
            self._machine.mark_keys_as_published()
            self._machine.save_account()
            self._machine.store.remove_value(_UNANSWERED)
            self._machine.store.remove_value(_FALLBACK_SENT)
        self.heed(answer.get("one_time_key_counts"), None)

    def _prepared(self) -> Json:
        """Make the keys, save them, and return the body of the upload; empty if the server has enough."""
        account, store = self._machine.account, self._machine.store
        body: Json = {}
        with store.one_commit():
            unanswered = int(store.value(_UNANSWERED) or 0)
            if 0 < unanswered < MOST_UNANSWERED:
                account.mark_keys_as_published()
            if not account.shared:
                body["device_keys"] = self._device_keys()
            missing = self._missing()
            if missing > 0:
                made = len(account.one_time_keys["curve25519"])
                account.generate_one_time_keys(max(0, missing - made))
                body["one_time_keys"] = self._signed(account.one_time_keys["curve25519"])
            if self._wants_fallback():
                body["fallback_keys"] = self._fallback()
            if body:
                store.set_value(_UNANSWERED, str(unanswered + 1))
                self._machine.save_account()
        return body

    def _missing(self) -> int:
        if self._machine.account.shared and self._count is None:
            return 0
        return int(self._machine.account.max_one_time_keys) - (self._count or 0)

    def _wants_fallback(self) -> bool:
        made_at = self._machine.store.value(_FALLBACK_MADE)
        if made_at is None or self._machine.store.value(_FALLBACK_SENT):
            return True
        return not self._fallback_unused and self._clock() - float(made_at) > FALLBACK_KEPT_S

    def _fallback(self) -> Json:
        """Return the fallback key that is to be uploaded. It serves any number of people, so it may be sent again."""
        store, raw = self._machine.store, self._machine.account._account
        self._fallback_unused = True
        sent = store.value(_FALLBACK_SENT)
        if sent is None:
            raw.generate_fallback_key()
            sent = json.dumps({key_id: key.to_base64() for key_id, key in raw.fallback_key.items()})
            store.set_value(_FALLBACK_MADE, str(self._clock()))
            store.set_value(_FALLBACK_SENT, sent)
        return self._signed(json.loads(sent), extra={"fallback": True})

    def _signed(self, keys: dict[str, str], extra: Json | None = None) -> Json:
        signed: Json = {}
        for key_id, key in keys.items():
            payload: Json = {"key": key} | (extra or {})
            payload["signatures"] = self._signature(payload)
            signed[f"signed_curve25519:{key_id}"] = payload
        return signed

    def _device_keys(self) -> Json:
        name = self._machine.device_id
        keys: Json = {
            "algorithms": [OLM, MEGOLM],
            "device_id": name,
            "user_id": self._machine.user_id,
            "keys": {f"curve25519:{name}": self._machine.curve25519, f"ed25519:{name}": self._machine.ed25519},
        }
        return keys | {"signatures": self._signature(keys)}

    def _signature(self, payload: Json) -> Json:
        return {self._machine.user_id: {f"ed25519:{self._machine.device_id}": self._machine.sign_json(payload)}}
