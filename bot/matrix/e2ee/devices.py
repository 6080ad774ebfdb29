"""Whose devices are whose: `/keys/query`, read device by device, so that one bad device never hides the others.

Against matrix-nio 0.26.0: one device without `keys` fails the whole answer (responses.py), changes are heeded only
for users of rooms that nio holds in memory (base_client.py:848), and a foreign device that bears our own device id
is skipped (olm_machine.py:977; test_a_device_with_our_own_device_id_gets_keys).
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any

import structlog
from nio.crypto import OlmDevice

from bot.matrix.e2ee.machine import Machine
from bot.matrix.e2ee.trust import Trust
from bot.matrix.transport import Transport

log = structlog.get_logger()
Json = dict[str, Any]

USERS_PER_REQUEST = 250
ASK_AGAIN_AFTER_S = 60.0
"""An unknown device of a sender makes us ask once in this time, so that strangers cannot keep us asking.

So does a list that the server could not give us: their own server was away, and asking may take ten seconds.
"""


class Devices:
    """The device lists we follow."""

    def __init__(self, machine: Machine, transport: Transport, trust: Trust) -> None:
        self._machine = machine
        self._trust = trust
        self.on_identities: Callable[[Iterable[str]], None] = lambda users: None
        self._transport = transport
        self._stale: set[str] = set()
        self._asked_at: dict[str, float] = {}
        self._unanswered_at: dict[str, float] = {}
        self._next: tuple[set[str], asyncio.Task[None]] | None = None
        self._one_at_a_time = asyncio.Lock()

    def mark_changed(self, users: Iterable[str]) -> None:
        """The server said that these lists changed, or that it no longer tells us about them."""
        changed = set(users)
        self._stale |= changed
        for user in changed & self._unanswered_at.keys():
            del self._unanswered_at[user]  # their server is back

    def stale(self, users: Iterable[str]) -> set[str]:
        """Return those whose list changed since we last asked, without those it was in vain for a moment ago."""
        return {user for user in self._stale & set(users) if not _is_recent(self._unanswered_at.get(user))}

    def active(self, user: str) -> list[OlmDevice]:
        """Return the devices of a user that exist now, without the one we are."""
        if user == self._machine.user_id or user not in self._machine.device_store.users:
            return []
        return [device for device in self._machine.device_store[user].values() if not device.deleted]

    async def query(self, users: Iterable[str]) -> None:
        """Ask the server for the devices of these users and store what is sound.

        Questions that come while one is under way go together in the next: after a start every room has one.

        Raises:
            Transient: the server did not answer; nothing counts as asked.
        """
        asked = set(users)
        if not asked:
            return
        if self._next is None:
            self._next = (set(), asyncio.ensure_future(self._ask_next()))
            self._next[1].add_done_callback(lambda task: task.cancelled() or task.exception())
        waiting, answered = self._next
        waiting.update(asked)
        await asyncio.shield(answered)

    async def _ask_next(self) -> None:
        async with self._one_at_a_time:
            assert self._next is not None
            (users, _), self._next = self._next, None
            await self._ask(users)

    async def _ask(self, users: set[str]) -> None:
        asked = sorted(users)
        for begin in range(0, len(asked), USERS_PER_REQUEST):
            part = asked[begin : begin + USERS_PER_REQUEST]
            # A change that is announced while we wait makes the list stale again.
            self._stale.difference_update(part)
            try:
                body = {"device_keys": {user: [] for user in part}, "timeout": 10_000}
                answer = await self._transport.call("POST", "/_matrix/client/v3/keys/query", body)
                self._store(part, answer)
                self._note_unanswered(part, answer)
            except BaseException:
                self._stale.update(part)
                raise

    def _note_unanswered(self, users: list[str], answer: Json) -> None:
        """Whose list is not in the answer (their server is among its `failures`) is still to be asked for.

        Else a device that was removed meanwhile would go on getting keys, and a new one would get none.
        """
        found, now = _device_lists(answer), time.monotonic()
        for user in users:
            if user in found:
                self._unanswered_at.pop(user, None)
            else:
                self._stale.add(user)
                self._unanswered_at[user] = now

    async def query_stale(self) -> None:
        """Ask for every list that changed, so that a new identity is noticed before somebody is written to."""
        await self.query(self.stale(self._stale))

    async def query_sender(self, user: str) -> bool:
        """Ask again about a sender whose device we do not know; False if we asked a moment ago."""
        if not self.stale([user]) and _is_recent(self._asked_at.get(user)):
            return False
        self._asked_at[user] = time.monotonic()
        await self.query([user])
        return True

    def _store(self, users: list[str], answer: Json) -> None:
        found = _device_lists(answer)
        changed = {user: self._devices(user, found[user]) for user in users if user in found}
        with self._machine.store.one_commit():
            if any(changed.values()):
                self._machine.store.save_device_keys(changed)
            learned = [user for user in users if user in found and self._trust.learn(user, answer)]
        if learned:
            self.on_identities(learned)

    def _devices(self, user: str, devices: Json) -> dict[str, OlmDevice]:
        """Bring one user's devices up to date in memory; return those that differ from what is stored."""
        changed: dict[str, OlmDevice] = {}
        sound = {name: keys for name, payload in devices.items() if (keys := self._keys(user, name, payload))}
        known = self._machine.device_store[user]
        for name, keys in sound.items():
            if self._machine.key_owners.get(keys["curve25519"], (user, name)) != (user, name):
                # Olm sessions are filed under this key alone: one begun with the other device's one-time key would
                # be used for the device that showed the key first, which could then read nothing.
                log.warning("device_with_key_of_another")
            elif name not in known:
                changed[name] = OlmDevice(user, name, keys)
            elif known[name].ed25519 != keys["ed25519"]:
                # The same device never gets another fingerprint; a server that says so is refused (e2ee, CVE class).
                log.warning("device_with_other_fingerprint")
            elif known[name].deleted or known[name].curve25519 != keys["curve25519"]:
                known[name].deleted = False
                known[name].curve25519 = keys["curve25519"]
                changed[name] = known[name]
        for name in set(known) - set(devices):
            if not known[name].deleted:
                known[name].deleted = True
                changed[name] = known[name]
        for device in changed.values():
            known[device.id] = device
            self._machine.key_owners.setdefault(device.curve25519, (user, device.id))
        return changed

    def _keys(self, user: str, name: str, payload: Any) -> dict[str, str] | None:
        """Return the keys of a device that is signed by itself and says what the server says."""
        if not isinstance(payload, dict) or payload.get("user_id") != user or payload.get("device_id") != name:
            return None
        keys = payload.get("keys")
        if not isinstance(keys, dict):
            return None
        ed25519, curve25519 = keys.get(f"ed25519:{name}"), keys.get(f"curve25519:{name}")
        if not isinstance(ed25519, str) or not isinstance(curve25519, str):
            return None
        found = {"ed25519": ed25519, "curve25519": curve25519}
        try:
            return found if self._machine.verify_json(payload, found["ed25519"], user, name) else None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None


def _device_lists(answer: Json) -> dict[str, Json]:
    """Return the lists that an answer holds. Who has no devices has an empty one."""
    found = answer.get("device_keys")
    found = found if isinstance(found, dict) else {}
    return {user: devices for user, devices in found.items() if isinstance(devices, dict)}


def _is_recent(asked_at: float | None) -> bool:
    return asked_at is not None and time.monotonic() - asked_at < ASK_AGAIN_AFTER_S
