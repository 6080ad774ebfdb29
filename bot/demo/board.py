"""The board as a mechanic has it on the phone: the list of rooms that the server gives to an app."""

import asyncio
import json
import re
from urllib.parse import quote

from bot.demo.stage import BUSINESS, Player
from bot.demo.telling import LOOK_EVERY_S, WAIT_S, Missed

Row = tuple[str, str, str, str]
"""What a room is called, ✓ if it is in the Space, how many unread messages, how many mentions."""


async def settled_room_list(player: Player) -> list[Row]:
    """Return the rooms of somebody once each of them is in the Space. Raises Missed if one does not come there.

    Synapse 1.163 gives the same answer to the same first sync for two minutes, so it is asked for only once.
    """
    space = await room_called(player, BUSINESS)
    try:
        async with asyncio.timeout(WAIT_S):
            for room in set(await player.peer.rooms()) - {space}:
                while not await player.peer.state(space, "m.space.child", room):  # noqa: ASYNC110 - what the server holds has no event to wait for
                    await asyncio.sleep(LOOK_EVERY_S)
    except TimeoutError:
        raise Missed(f"every room in the Space, for {player.name}") from None
    return await room_list(player)


async def room_list(player: Player) -> list[Row]:
    """Return name, whether in the Space, unread messages and mentions of each room, as a fresh login gets them."""
    only = quote(json.dumps({"room": {"timeline": {"limit": 1}}}))
    joined = (await player.peer.call("GET", f"/_matrix/client/v3/sync?filter={only}"))["rooms"]["join"]
    states = {room_id: room["state"]["events"] + room["timeline"]["events"] for room_id, room in joined.items()}
    children = {
        event["state_key"]
        for events in states.values()
        for event in events
        if event["type"] == "m.space.child" and event["content"]
    }
    rows = []
    for room_id, room in joined.items():
        # A new name may be the one event of the timeline; the state before it holds the name that was.
        names = [event["content"]["name"] for event in states[room_id] if event["type"] == "m.room.name"]
        name = names[-1] if names else ""
        unread = str(room["unread_notifications"]["notification_count"])
        mentions = str(_mentions(player, room_id))
        rows.append((name, "✓" if room_id in children else "", unread, mentions))
    return sorted(rows, key=lambda row: ("".join(re.findall(r"\d+", row[0])), row[0]))


def _mentions(player: Player, room_id: str) -> int:
    """Count the messages since somebody's own last one that name them."""
    count = 0
    for seen in player.peer.seen:
        if seen.room_id == room_id:
            user = player.person.mxid
            count = (
                0 if seen.sender == user else count + (user in seen.content.get("m.mentions", {}).get("user_ids", []))
            )
    return count


async def room_called(player: Player, name: str) -> str:
    """Return the room of this name that somebody is in. Raises Missed if there is none."""
    for room in await player.peer.rooms():
        if (await player.peer.state(room, "m.room.name") or {}).get("name") == name:
            return room
    raise Missed(f"the room {name}, for {player.name}")
