"""Creating rooms exactly once: a random alias is the only thing on a Matrix server that exists only once.

An alias may resolve to half a room, because createRoom is not atomic (Synapse 1.163.2): it is waited for,
completed, or dropped and made again under the same alias.
"""

import asyncio
from dataclasses import replace
from typing import Any

import structlog

from bot.domain.errors import Refused, Transient
from bot.domain.ids import RoomId, UserId
from bot.flows.messenger import RoomSpec
from bot.matrix.pace import Limit, Pace
from bot.matrix.transport import Transport, quote

ROOM_VERSION = "12"
HALF_BUILT_PATIENCE_S = 10.0
POLL_S = 0.25

log = structlog.get_logger()
Json = dict[str, Any]


def creation(spec: RoomSpec) -> Json:
    """Return the body of createRoom. Nothing is left to a preset: each rule stands here."""
    state = [
        _state("m.room.join_rules", {"join_rule": "invite"}),
        _state("m.room.guest_access", {"guest_access": "forbidden"}),
        _state("m.room.history_visibility", {"history_visibility": "shared"}),
        # An own empty canonical alias keeps the server from showing our random one as the room's address.
        _state("m.room.canonical_alias", {}),
    ]
    if spec.encrypted:
        state.append(_state("m.room.encryption", {"algorithm": "m.megolm.v1.aes-sha2"}))
    if spec.parent:
        state.append({"type": "m.space.parent", "state_key": spec.parent, "content": {"canonical": True}})
    body: Json = {
        "room_alias_name": spec.alias,
        "room_version": ROOM_VERSION,
        "preset": "private_chat",
        "visibility": "private",
        "name": spec.name,
        "invite": list(spec.invite),
        "is_direct": spec.direct,
        "initial_state": state,
        "creation_content": {"de.botschaft.room": spec.mark} | ({"type": "m.space"} if spec.space else {}),
        "power_level_content_override": _powers(space=spec.space),
    }
    if spec.topic:
        body["topic"] = spec.topic
    return body


def _state(event_type: str, content: Json) -> Json:
    return {"type": event_type, "state_key": "", "content": content}


def _powers(*, space: bool) -> Json:
    """Room version 12: the creator stands above all levels and must not be listed; above 100 only the creator."""
    creator_only = {
        *("m.room.encryption", "m.room.history_visibility", "m.room.power_levels", "m.room.server_acl"),
        *("m.room.tombstone", "m.room.guest_access", "m.room.join_rules", "m.room.canonical_alias"),
    }
    return {
        "users": {},
        "users_default": 0,
        "events_default": 100 if space else 0,
        "state_default": 100,
        "invite": 100,
        "kick": 100,
        "ban": 100,
        "redact": 100,
        "notifications": {"room": 100},
        "events": dict.fromkeys(creator_only, 150) | {"m.room.pinned_events": 100, "m.room.name": 100},
    }


class RoomMaker:
    """Makes rooms, at most two at a time, because a server takes one after the other anyway."""

    def __init__(self, transport: Transport, me: UserId, pace: Pace) -> None:
        self._pace = pace
        self._transport = transport
        self._server = me.partition(":")[2]
        self._me = me
        self._slots = asyncio.Semaphore(2)

    async def create(self, spec: RoomSpec) -> RoomId:
        """Return the room of this alias, complete; create it if there is none.

        Raises:
            Transient: ask again; the next call goes on where this one stopped.
            Refused: the server does not allow it.
        """
        if self._slots.locked():
            # Who waits must not stand in the way of messages for which no room has to be made.
            raise Transient("two rooms are being made already", retry_after_s=0.2)
        async with self._slots:
            try:
                return await self._create(spec)
            except Refused as refusal:
                # 400 M_ROOM_IN_USE or 409 M_UNKNOWN, depending on a race inside Synapse: the alias decides.
                room = await self.resolve(spec.alias)
                if room is None and refusal.status == 403 and spec.invite:
                    return await self._create_and_invite(spec)
                if room is None:
                    raise
                if refusal.status == 403:
                    # Nobody else is building it: the server stopped at somebody who may not be invited.
                    return await self._repair(spec, room, await self._state_of(room))
            return await self._completed(spec, room)

    async def _create(self, spec: RoomSpec) -> RoomId:
        body = creation(spec)
        answer = await self._pace.run(
            Limit.ROOMS, lambda: self._transport.call("POST", "/_matrix/client/v3/createRoom", body)
        )
        return RoomId(answer["room_id"])

    async def _create_and_invite(self, spec: RoomSpec) -> RoomId:
        """One person who may not be invited (`M_INVITE_BLOCKED`, MSC4155) must not keep the others from a room."""
        room = await self._create(replace(spec, invite=()))
        for user in spec.invite:
            await self._invite(room, user)
        return room

    async def _invite(self, room: RoomId, user: UserId) -> None:
        try:
            await self._transport.call("POST", f"/_matrix/client/v3/rooms/{quote(room)}/invite", {"user_id": user})
        except Refused as error:
            log.warning("invite_refused", code=error.code, status=error.status)

    async def resolve(self, alias: str) -> RoomId | None:
        """Return the room an alias points to."""
        try:
            answer = await self._transport.call("GET", self._directory(alias))
        except Refused as error:
            if error.status == 404:
                return None
            raise
        return RoomId(answer["room_id"])

    async def drop_alias(self, alias: str) -> None:
        """Delete an alias; absent is fine."""
        try:
            await self._transport.call("DELETE", self._directory(alias))
        except Refused as error:
            if error.status != 404:
                raise

    def _directory(self, alias: str) -> str:
        return f"/_matrix/client/v3/directory/room/{quote(f'#{alias}:{self._server}')}"

    async def _completed(self, spec: RoomSpec, room: RoomId) -> RoomId:
        """Wait for a room that is being built; complete it, or drop it so that the next call makes it anew."""
        state: list[Json] = []
        try:
            async with asyncio.timeout(HALF_BUILT_PATIENCE_S):
                while not _is_complete(state, spec):
                    state = await self._state_of(room)
                    await asyncio.sleep(0 if _is_complete(state, spec) else POLL_S)
        except TimeoutError:
            return await self._repair(spec, room, state)
        return room

    async def _state_of(self, room: RoomId) -> list[Json]:
        try:
            answer: list[Json] = await self._transport.call(
                "GET", f"/_matrix/client/v3/rooms/{quote(room)}/state", expects=list
            )
        except Refused:
            return []  # the alias is there before the room is (403)
        return answer

    async def _repair(self, spec: RoomSpec, room: RoomId, state: list[Json]) -> RoomId:
        if not _is_sound(state, spec):
            log.warning("half_room_dropped", count=len(state))
            await self.drop_alias(spec.alias)
            await self._leave(room)
            raise Transient("half a room was dropped and will be made again", retry_after_s=0.1)
        for user in _missing(state, spec):
            await self._invite(room, user)
        return room

    async def _leave(self, room: RoomId) -> None:
        """Nobody shall wait in half a room; one without events cannot be left (403)."""
        try:
            await self._transport.call("POST", f"/_matrix/client/v3/rooms/{quote(room)}/leave", {})
        except Refused as error:
            log.info("half_room_not_left", status=error.status)


def _types(state: list[Json]) -> set[str]:
    return {str(event.get("type")) for event in state}


def _is_sound(state: list[Json], spec: RoomSpec) -> bool:
    """Tell whether the room has its powers and its encryption: what is missing then are names and invitations."""
    needed = {"m.room.create", "m.room.power_levels", "m.room.name", "m.room.join_rules", "m.room.guest_access"}
    return (needed | ({"m.room.encryption"} if spec.encrypted else set())) <= _types(state)


def _missing(state: list[Json], spec: RoomSpec) -> list[UserId]:
    there = {event.get("state_key") for event in state if event.get("type") == "m.room.member"}
    return [user for user in spec.invite if user not in there]


def _is_complete(state: list[Json], spec: RoomSpec) -> bool:
    return bool(state) and _is_sound(state, spec) and not _missing(state, spec)
