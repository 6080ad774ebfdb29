"""A day in the life of a key store, on the key server in memory: the bot, a customer with devices, staff, an outsider.

Each step may be tried again after a failure, as the lanes of the product do. `holds` says what must be true after
anything that may happen on that day: everybody can still write and read, no one-time key serves two people, and who is
no member is handed nothing.
"""

import copy
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bot.domain.ids import RoomId, UserId
from bot.domain.message import NoKey
from bot.matrix.e2ee.opening import Opened
from tests.matrix.keyserver import DeviceName, KeyServer, Person, person

ROOM = RoomId("!room:x")
ANNA, BOT, JAN, EVE = UserId("@anna:x"), UserId("@bot:x"), UserId("@jan:x"), UserId("@eve:x")
Json = dict[str, Any]
Step = Callable[[], Awaitable[object]]

SECRET_TYPES = frozenset({"m.room.encrypted", "m.room_key"})


@dataclass
class World:
    """Everybody, and what has been said so far."""

    folder: Path
    server: KeyServer = field(default_factory=KeyServer)
    people: dict[DeviceName, Person] = field(default_factory=dict)
    members: set[UserId] = field(default_factory=lambda: {ANNA})
    from_peers: list[Json] = field(default_factory=list)
    from_bot: list[tuple[Json, list[DeviceName]]] = field(default_factory=list)  # and who must be able to read it
    batch: list[Json] = field(default_factory=list)  # what the last sync of the bot brought
    changed: list[str] = field(default_factory=list)  # whose device lists the next sync names

    @property
    def bot(self) -> Person:
        return self.people[BOT, "BOT"]

    def open(self, user: UserId, device: str) -> Person:
        """Open the key store of a device."""
        path = self.folder / f"{user[1:-2]}-{device}.db"
        self.people[user, device] = person(self.server, path, user, device)
        return self.people[user, device]

    async def come(self, user: UserId, device: str) -> None:
        """A device appears on the server; the first of a user signs itself."""
        known = self.people.get((user, device)) or self.open(user, device)
        await (known.keys._uploads.refill() if self.server.identities.get(user) else known.keys.start())
        self.changed.append(user)

    async def sync(self) -> None:
        """The bot's sync: keys, then the token moves, then upkeep. The server forgets what a moved token covers."""
        me = (BOT, "BOT")
        inbox = self.server.inbox[me]
        self.batch = list(inbox)
        counts = {"signed_curve25519": len(self.server.one_time[me])}
        unused = ["signed_curve25519"] if counts["signed_curve25519"] else []
        self.bot.keys.take_in(self.batch, list(self.changed), [], counts, unused)
        del inbox[: len(self.batch)]
        self.changed.clear()
        await self.bot.keys.upkeep()

    async def peer_writes(self, user: UserId, device: str, *, anew: bool = False) -> None:
        """Somebody writes into the room."""
        who = self.people[user, device]
        who.take_in()
        if anew:
            who.keys.rotate(ROOM)
        readers = [BOT, *(member for member in self.members if member != user)]
        event_id = f"$p{len(self.from_peers)}-{device}"
        content = {"msgtype": "m.text", "body": event_id}
        sealed = await who.keys.seal(ROOM, readers, "m.room.message", content, full_history=False)
        self.from_peers.append({"type": "m.room.encrypted", "event_id": event_id, "sender": user, "content": sealed})

    async def bot_writes(self) -> None:
        """The bot writes into the room: every device of every member that exists now must be able to read it."""
        number = len(self.from_bot)
        content = {"msgtype": "m.text", "body": f"b{number}"}
        sealed = await self.bot.keys.seal(ROOM, self.members, "m.room.message", content, full_history=True)
        event = {"type": "m.room.encrypted", "event_id": f"$b{number}", "sender": BOT, "content": sealed}
        there: list[DeviceName] = [(user, name) for user in self.members for name in self.server.devices[user]]
        self.from_bot.append((event, there))

    async def share_history(self) -> None:
        """Staff are invited and given what the bot wrote before; nothing is taken from them afterwards."""
        self.members.add(JAN)
        await self.bot.keys.share_history(ROOM, JAN)

    async def leave(self, user: UserId, device: str) -> None:
        """A device goes."""
        self.server.devices[user].pop(device, None)
        self.changed.append(user)

    async def exhaust(self) -> None:
        """Strangers claim every one-time key of the bot."""
        self.server.one_time[BOT, "BOT"].clear()

    def steps(self) -> list[tuple[str, Step]]:
        """The day, in order."""
        keys = self.bot.keys
        return [
            ("the bot starts", keys.start),
            ("peers come", self._peers_come),
            ("a customer writes", lambda: self.peer_writes(ANNA, "PHONE")),
            ("a sync brings prekey messages", self.sync),
            ("the first share", self.bot_writes),
            ("a second device writes", lambda: self.peer_writes(ANNA, "LAPTOP")),
            ("a sync", self.sync),
            ("the backup", keys._backup.upload_some),
            ("the watermark", keys._watermark.show),
            ("a warm message", self.bot_writes),
            ("a device appears", lambda: self.come(ANNA, "TABLET")),
            ("a sync names the list", self.sync),
            ("the new device is given the key", self.bot_writes),
            ("a device goes", lambda: self.leave(ANNA, "TABLET")),
            ("a sync names the list again", self.sync),
            ("the session changes", self.bot_writes),
            ("one-time keys run out", self.exhaust),
            ("a stranger to the bot writes by the fallback key", lambda: self.peer_writes(JAN, "DESK")),
            ("a sync replenishes", self.sync),
            ("history is shared", self.share_history),
            ("a customer rotates", lambda: self.peer_writes(ANNA, "PHONE", anew=True)),
            ("a sync after it", self.sync),
            ("the bot rotates", self._rotate),
            ("the last word", self.bot_writes),
            ("the watermark again", keys._watermark.show),
        ]

    async def _peers_come(self) -> None:
        for user, device in ((ANNA, "PHONE"), (ANNA, "LAPTOP"), (JAN, "DESK"), (EVE, "SPY")):
            await self.come(user, device)

    async def _rotate(self) -> None:
        self.bot.keys.rotate(ROOM)

    async def holds(self) -> None:
        """What must be true now, and stay so while everybody goes on."""
        await self._read_everything()
        for user, device in self.people:
            if user in {ANNA, JAN} and device in self.server.devices[user]:
                await self.peer_writes(UserId(user), device, anew=True)
        await self.come(UserId("@new:x"), "NEW")  # claims a key: uploads are not wedged
        await self.peer_writes(UserId("@new:x"), "NEW")
        await self.exhaust_one()
        await self.sync()
        await self.bot_writes()
        await self._read_everything()
        await self.sync()
        self.check_server()

    async def exhaust_one(self) -> None:
        """Let the server have too few keys, so that the bot uploads again."""
        keys = self.server.one_time[BOT, "BOT"]
        if keys:
            self.server.claimed.append(((BOT, "BOT"), key_id := next(iter(keys))))
            del keys[key_id]

    async def _read_everything(self) -> None:
        for event in self.from_peers:
            opened = await self.bot.keys.open_event(ROOM, event)
            assert isinstance(opened, Opened), f"the bot cannot read {event['event_id']}: {opened}"
        for event, readers in self.from_bot:
            for name in readers:
                self.people[name].take_in()
                opened = await self.people[name].keys.open_event(ROOM, event)
                assert isinstance(opened, Opened), f"{name} cannot read {event['event_id']}: {opened}"
        for name, one in self.people.items():
            if name[0] == EVE:
                one.take_in()
                for event, _ in self.from_bot:
                    assert isinstance(await one.keys.open_event(ROOM, event), NoKey)

    def check_server(self) -> None:
        """No one-time key is or was handed out twice, the pool is full, and only members were sent secrets."""
        claimed = [key_id for name, key_id in self.server.claimed if name == (BOT, "BOT")]
        assert len(claimed) == len(set(claimed)), "a one-time key was used twice"
        again = set(claimed) & set(self.server.one_time[BOT, "BOT"])
        assert not again, f"one-time keys that were claimed are offered again: {again}"
        assert len(self.server.one_time[BOT, "BOT"]) >= 50
        for sender, event_type, (user, _) in self.server.handed:
            if sender == BOT and event_type in SECRET_TYPES:
                assert user in {ANNA, JAN, "@new:x"}, f"a key went to {user}"

    def copied(self, folder: Path) -> "World":
        """Return what a kill -9 at this moment leaves: the files byte by byte, the server, and what everybody said.

        Nothing is opened yet; see `opened`.
        """
        folder.mkdir()
        for one in self.people.values():
            for path in one.path.parent.glob(f"{one.path.name}*"):
                shutil.copyfile(path, folder / path.name)
        other = World(folder, self.server.copy(), dict.fromkeys(self.people), set(self.members))  # type: ignore[arg-type]
        other.from_peers, other.from_bot = list(self.from_peers), list(self.from_bot)
        other.batch, other.changed = copy.deepcopy(self.batch), list(self.changed)
        return other

    def opened(self) -> None:
        """Open all key stores of a copy. The bot is sent its last sync once more: its token may not have moved."""
        for user, device in self.people:
            self.open(UserId(user), device)
        waiting = self.server.inbox[BOT, "BOT"]
        waiting[:0] = [event for event in self.batch if event not in waiting]

    def close(self) -> None:
        for one in self.people.values():
            one.keys.close()


async def live(world: World) -> AsyncIterator[tuple[str, Step]]:
    """Yield each step of a whole day, whose bot is opened at its beginning."""
    world.open(BOT, "BOT")
    for name, step in world.steps():
        yield name, step
