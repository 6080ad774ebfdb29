"""A hundred random acts of two mechanics on a real server: nothing internal reaches the customer, and no answer is missing.

The acts and what they must lead to are those of `tests/leaks.py`, which also run, with crashes, on the fake.
"""

import os
import random
import secrets
from dataclasses import dataclass
from typing import Any

from bot.demo.peer import Peer, Seen
from bot.domain.errors import Refused
from bot.domain.ids import EventId, UserId
from tests.business import Business
from tests.conftest import MakePeer
from tests.flows.shown import Shown, shown_of
from tests.integration.test_conversation import arrived
from tests.leaks import INTERNAL, Draw, Team
from tests.waiting import until

Json = dict[str, Any]
ACTS = 100
UNTAPPED = 10
DECIDED = ("📤 Geht an den Kunden", "🔒 Im Team geblieben")


@dataclass
class RealCase:
    """The room of a case on a real server, with the clients of two mechanics."""

    business: Business
    room: str
    peers: dict[UserId, Peer]

    async def put(self, author: UserId, event_type: str, content: Json) -> EventId:
        return EventId(await self.peers[author].send(self.room, event_type, content))

    async def react(self, author: UserId, target: EventId, key: str) -> EventId | None:
        relation = {"rel_type": "m.annotation", "event_id": target, "key": key}
        try:  # clients do not encrypt reactions
            event = await self.peers[author].send(self.room, "m.reaction", {"m.relates_to": relation}, clear=True)
        except Refused as error:
            if error.code != "M_DUPLICATE_ANNOTATION":
                raise
            return None
        return EventId(event)

    async def delete(self, author: UserId, event: EventId) -> None:
        await self.peers[author].redact(self.room, event)

    async def question(self, asked: EventId) -> EventId:
        def is_it(seen: Seen) -> bool:
            quoted = seen.content.get("m.relates_to", {}).get("m.in_reply_to", {}).get("event_id")
            return self._is_ours(seen) and quoted == asked and seen.body.startswith("🔒 nur")

        return EventId((await self._reader.wait_for(is_it, 60)).event_id)

    async def notice(self) -> EventId:
        return EventId(
            (await self._reader.wait_for(lambda s: self._is_ours(s) and s.msgtype == "m.notice", 60)).event_id
        )

    async def decided(self, asked: EventId) -> None:
        question = await self.question(asked)

        def is_answer(seen: Seen) -> bool:
            relation = seen.content.get("m.relates_to", {})
            new = seen.content.get("m.new_content", {}).get("body", "")
            return bool(relation.get("event_id") == question and new.startswith(DECIDED))

        await self._reader.wait_for(is_answer, 60)

    @property
    def _reader(self) -> Peer:
        return next(iter(self.peers.values()))

    def _is_ours(self, seen: Seen) -> bool:
        return seen.room_id == self.room and seen.sender == self.business.bot.mxid


def shown_to(peer: Peer, room: str) -> list[Shown]:
    """Return what stands on a client's screen now, in one room."""
    here = [seen for seen in peer.seen if seen.room_id == room]
    gone = {seen.content.get("redacts") for seen in here if seen.type == "m.room.redaction"}
    return shown_of(
        [
            {"event_id": s.event_id, "sender": s.sender, "type": s.type, "content": s.content}
            for s in here
            if s.event_id not in gone and isinstance(s.content.get("m.relates_to", {}), dict)
        ]
    )


def words_ever(peer: Peer) -> list[str]:
    """Return all that this client has ever decrypted, wherever it stood and whatever became of it."""
    return [str(seen.content) for seen in peer.seen]


async def test_nothing_internal_reaches_the_customer_and_no_answer_is_missing(
    business: Business, new_peer: MakePeer
) -> None:
    seed = int(os.environ.get("BOTSCHAFT_LEAK_SEED") or secrets.randbits(32))
    print(f"BOTSCHAFT_LEAK_SEED={seed}")
    chance = random.Random(seed)
    await business.again("[cases]\nheld_for_s = 3600\n")  # who does not tap has not decided yet
    anna = await new_peer(await business.account("anna"))
    jan, eva = await new_peer(business.people["jan"]), await new_peer(business.people["eva"])
    chat = await anna.start_chat(business.bot.mxid)
    await anna.text(chat, "Hallo")
    case = (await arrived(jan, business, "Hallo")).room_id
    await arrived(eva, business, "Hallo")
    people = (UserId(jan.user_id), UserId(eva.user_id))
    room = RealCase(business, case, dict(zip(people, (jan, eva), strict=True)))
    team = Team(room, *people)

    for _ in range(ACTS):
        await team.does(chance.choice(Team.ACTS), drawn(chance, people))
    await all_is_quiet(team, anna, business, jan, case)
    team.must_have_kept(shown_to(anna, chat), words_ever(anna))

    await business.again("[cases]\nheld_for_s = 0.5\n")
    before = {id(said) for said in team.said}
    for _ in range(UNTAPPED):
        await team.name_a_colleague(drawn(chance, people))
    untapped = [said for said in team.held if id(said) not in before]
    for said in untapped:
        assert said.asked is not None
        await room.decided(said.asked)
    team.time_is_up(untapped)
    await all_is_quiet(team, anna, business, jan, case)
    team.must_have_kept(shown_to(anna, chat), words_ever(anna))


def drawn(chance: random.Random, people: tuple[UserId, ...]) -> Draw:
    return Draw(
        pick=chance.randrange(10**6),
        author=chance.choice(people),
        form=chance.choice(INTERNAL),
        yes=chance.random() < 0.5,
        also=chance.random() < 0.5,
    )


async def all_is_quiet(team: Team, customer: Peer, business: Business, mechanic: Peer, case: str) -> None:
    """Wait until the customer has an answer that was written after everything else, and all before it."""
    last = f"das Ende nach {len(team.said)}"
    await mechanic.text(case, last)
    await arrived(customer, business, last)
    await until(lambda: not customer.unreadable, timeout_s=30, what="a customer who can read everything")
