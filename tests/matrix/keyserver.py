"""The key endpoints of a homeserver in memory, for many devices: honest, but it can fail or say nothing when told."""

import base64
import copy
import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import vodozemac

from bot.domain.errors import Refused, Transient
from bot.domain.ids import UserId
from bot.matrix.e2ee.keys import Keys
from bot.matrix.e2ee.trust import Policy

Json = dict[str, Any]
DeviceName = tuple[str, str]


@dataclass
class KeyServer:
    """What a homeserver keeps of everybody's keys."""

    devices: dict[str, Json] = field(default_factory=lambda: defaultdict(dict))
    one_time: dict[DeviceName, Json] = field(default_factory=lambda: defaultdict(dict))
    fallback: dict[DeviceName, Json] = field(default_factory=dict)
    identities: dict[str, Json] = field(default_factory=dict)
    inbox: dict[DeviceName, list[Json]] = field(default_factory=lambda: defaultdict(list))
    calls: list[str] = field(default_factory=list)
    account_data: dict[str, Json] = field(default_factory=dict)
    signature_failures: Json = field(default_factory=dict)
    backups: dict[str, Json] = field(default_factory=lambda: defaultdict(dict))
    fail: Callable[[str], Exception | None] = lambda name: None
    lose: Callable[[str], Exception | None] = lambda name: None  # the server does it, but its answer is lost
    claimed: list[tuple[DeviceName, str]] = field(default_factory=list)  # one-time keys, without fallback keys
    handed: list[tuple[str, str, DeviceName]] = field(default_factory=list)  # sender, type and reader of each message

    def copy(self) -> "KeyServer":
        """Return the same server in another world, which answers everything."""
        other = copy.deepcopy(self)
        other.fail = other.lose = lambda name: None
        return other

    def client(self, user: str, device: str) -> "Client":
        """Return the transport of one device."""
        return Client(self, user, device)

    def count(self, name: str) -> int:
        """How often an endpoint was called."""
        return self.calls.count(name)


@dataclass
class Client:
    """Stands in for `Transport`."""

    server: KeyServer
    user: str
    device: str
    access_token: str | None = "token"

    async def call(self, method: str, path: str, body: Json | None = None, **_: Any) -> Any:
        name = "/".join(path.removeprefix("/_matrix/client/v3/").split("/")[:2])
        self.server.calls.append(name)
        error = self.server.fail(name)
        if error:
            raise error
        answer = self._answer(name, method, path, body)
        error = self.server.lose(name)
        if error:
            raise error
        return answer

    def _answer(self, name: str, method: str, path: str, body: Json | None) -> Any:
        if name.startswith(("user/", "room_keys/")):
            return json.loads(json.dumps(self._stored(method, path, json.loads(json.dumps(body or {})))))
        handler = {
            "keys/upload": self._upload,
            "keys/query": self._query,
            "keys/claim": self._claim,
            "keys/device_signing": self._identity,
            "keys/signatures": self._signatures,
        }.get(name, self._send)
        return json.loads(json.dumps(handler(json.loads(json.dumps(body or {})), path)))

    def _stored(self, method: str, path: str, body: Json) -> Json:
        """Account data, and the one key backup of each account."""
        if "/account_data/" in path:
            if method == "PUT":
                self.server.account_data[path] = body
            if path not in self.server.account_data:
                raise Refused("nothing there", code="M_NOT_FOUND", status=404)
            return self.server.account_data[path]
        backup = self.server.backups[self.user]
        match method, path.split("/")[5]:
            case "POST", "version":
                number = str(int(backup.get("version", "0")) + 1)
                backup |= {"version": number, "auth_data": body["auth_data"], "rooms": {}}
                return {"version": number}
            case "GET", "version" if "auth_data" in backup:
                return {"version": backup["version"], "auth_data": backup["auth_data"]}
            case "DELETE", "version":
                backup.pop("auth_data", None)
                return {}
            case "PUT", "keys":
                for room, part in body["rooms"].items():
                    backup["rooms"].setdefault(room, {"sessions": {}})["sessions"] |= part["sessions"]
                return {}
            case "GET", "keys":
                return _of_backup(backup["rooms"], [unquote(piece) for piece in path.split("/")[6:8]])
            case _:
                raise Refused("nothing there", code="M_NOT_FOUND", status=404)

    def _upload(self, body: Json, _: str) -> Json:
        me = (self.user, self.device)
        if "device_keys" in body:
            self.server.devices[self.user][self.device] = body["device_keys"]
        for key_id, key in body.get("one_time_keys", {}).items():
            if self.server.one_time[me].get(key_id, key) != key:
                raise Refused("already exists", code="M_UNKNOWN", status=400)
            self.server.one_time[me][key_id] = key
        for key in body.get("fallback_keys", {}).items():
            self.server.fallback[me] = dict([key])
        return {"one_time_key_counts": {"signed_curve25519": len(self.server.one_time[me])}}

    def _query(self, body: Json, _: str) -> Json:
        answer: Json = {"device_keys": {}, "failures": {}}
        for user in body["device_keys"]:
            answer["device_keys"][user] = self.server.devices[user]
            for usage, key in self.server.identities.get(user, {}).items():
                answer.setdefault(f"{usage}_keys", {})[user] = key
        return answer

    def _claim(self, body: Json, _: str) -> Json:
        found: Json = {}
        for user, devices in body["one_time_keys"].items():
            for device in devices:
                keys = self.server.one_time[user, device]
                if keys:
                    key_id = next(iter(keys))
                    key: Json | None = {key_id: keys.pop(key_id)}
                    self.server.claimed.append(((user, device), key_id))
                else:
                    key = self.server.fallback.get((user, device))
                if key:
                    found.setdefault(user, {})[device] = key
        return {"one_time_keys": found, "failures": {}}

    def _identity(self, body: Json, _: str) -> Json:
        keys = {usage: body[f"{usage}_key"] for usage in ("master", "self_signing", "user_signing")}
        if self.server.identities.get(self.user, keys) != keys and not body.get("auth"):
            raise Refused("needs a password", status=401)
        self.server.identities[self.user] = keys
        return {}

    def _signatures(self, body: Json, _: str) -> Json:
        for user, signed_keys in body.items():
            for name, signed in signed_keys.items():
                known = self.server.devices[user].get(name) or self.server.identities[user]["master"]
                known.setdefault("signatures", {}).setdefault(self.user, {}).update(signed["signatures"][self.user])
        return {"failures": self.server.signature_failures}

    def _send(self, body: Json, path: str) -> Json:
        event_type = path.split("/")[-2]
        for user, devices in body["messages"].items():
            for device, content in devices.items():
                names = self.server.devices[user] if device == "*" else [device]
                for name in names:
                    self.server.handed.append((self.user, event_type, (user, name)))
                    event = {"type": event_type, "sender": self.user, "content": content}
                    self.server.inbox[user, name].append(event)
        return {}


def _of_backup(rooms: Json, named: list[str]) -> Json:
    """Return the whole backup, or the one session that room and session id name."""
    if not named:
        return {"rooms": rooms}
    try:
        return dict(rooms[named[0]]["sessions"][named[1]])
    except KeyError:
        raise Refused("nothing there", code="M_NOT_FOUND", status=404) from None


@dataclass
class Person:
    """One device with the guard around it."""

    keys: Keys
    client: Client
    path: Path
    policy: Policy | None = None

    @property
    def user(self) -> UserId:
        return UserId(self.client.user)

    def take_in(self, *more: Json) -> Any:
        """Take in everything that waits at the server, and more."""
        waiting = self.client.server.inbox.pop((self.client.user, self.client.device), [])
        return self.keys.take_in([*more, *waiting], [], [], {"signed_curve25519": 50}, ["signed_curve25519"])

    def reopened(self) -> "Person":
        """The same device after a power cut."""
        self.keys.close()
        return person(self.client.server, self.path, self.client.user, self.client.device, self.policy)


def person(server: KeyServer, path: Path, user: str, device: str, policy: Policy | None = None) -> Person:
    """Open or create the key store of a device."""
    client = server.client(user, device)
    keys = Keys.open(
        path,
        database_key=b"d" * 32,
        pickle_key=b"p" * 32,
        user_id=UserId(user),
        device_id=device,
        transport=client,  # type: ignore[arg-type]
        policy=policy,
    )
    return Person(keys, client, path, policy)


def broken(name: str, times: int = 10**6) -> Callable[[str], Exception | None]:
    """Let an endpoint fail so many times."""
    left = [times]

    def fail(called: str) -> Exception | None:
        if called != name or left[0] <= 0:
            return None
        left[0] -= 1
        return Transient("no answer")

    return fail


def olm_poison(sender: str, victim_key: str) -> dict[str, Json]:
    """To-device events by which anybody who knows a device stops plain matrix-nio 0.26.0 (research: trap 2)."""
    stranger = vodozemac.Account()
    own_key = stranger.curve25519_key.to_base64()
    other = vodozemac.Account()
    other.generate_one_time_keys(1)
    key = next(iter(other.one_time_keys.values()))
    session = stranger.create_outbound_session(vodozemac.Curve25519PublicKey.from_base64(victim_key), key)
    unknown_key = base64.b64encode(session.encrypt(b"{}").to_parts()[1]).decode().rstrip("=")

    def event(ciphertext: Any, sender_key: Any = own_key) -> Json:
        content = {"algorithm": "m.olm.v1.curve25519-aes-sha2", "sender_key": sender_key, "ciphertext": ciphertext}
        return {"type": "m.room.encrypted", "sender": sender, "content": content}

    return {
        "prekey, not base64": event({victim_key: {"type": 0, "body": "!!!"}}),
        "normal, not base64": event({victim_key: {"type": 1, "body": "!!!"}}),
        "prekey, wrong version": event({victim_key: {"type": 0, "body": base64.b64encode(b"\x09abc").decode()}}),
        "normal, wrong version": event({victim_key: {"type": 1, "body": base64.b64encode(b"\x09abc").decode()}}),
        "no type": event({victim_key: {"body": "AAAA"}}),
        "strange type": event({victim_key: {"type": 7, "body": "AAAA"}}),
        "bad sender key": event({victim_key: {"type": 0, "body": unknown_key}}, sender_key="nonsense"),
        "sender key of another kind": event({victim_key: {"type": 0, "body": unknown_key}}, sender_key=5),
        "unknown one-time key": event({victim_key: {"type": 0, "body": unknown_key}}),
        "ciphertext is a list": event([1]),
        "no content": {"type": "m.room.encrypted", "sender": sender},
        "no sender": {"type": "m.room.encrypted", "content": {}},
        "withheld nonsense": {"type": "m.room_key.withheld", "sender": sender, "content": {"code": 7}},
        "request": {"type": "m.room_key_request", "sender": sender, "content": {}},
        "verification": {"type": "m.key.verification.start", "sender": sender, "content": {}},
    }
