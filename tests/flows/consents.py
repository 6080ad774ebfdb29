"""What the tests about consent share: encrypted events with their relation in clear, a customer who was asked, one who agreed."""

from collections.abc import Sequence
from typing import Any

from bot.domain.consent import Consent, Standing
from bot.domain.ids import CustomerId, EventId, RoomId, UserId
from bot.domain.ledger.entries import Entry, LedgerKind
from bot.domain.purpose import PurposeId
from bot.store import arrivals, consents, ledger, rooms
from tests.flows.shown import shown
from tests.flows.world import ANNA, CHEF, JAN, ME, World

NEWS, SURVEY = PurposeId("marketing_news"), PurposeId("feedback_survey")
POLL = "org.matrix.msc3381.poll"
Json = dict[str, Any]


def reply_to(event: str) -> Json:
    return {"m.relates_to": {"m.in_reply_to": {"event_id": event}}}


def encrypted(world: World, sender: UserId, room: RoomId, event_type: str, content: Json, *, session: str = "") -> Json:
    """An event as it comes over the wire: the relation in clear, the rest not."""
    outside: Json = {"inside": {"type": event_type, "content": content}, "session": session}
    if "m.relates_to" in content:
        outside["m.relates_to"] = content["m.relates_to"]
    return world.server.new_event(room, sender, "m.room.encrypted", outside)


async def writes(
    world: World, sender: UserId, room: RoomId, body: str, *, session: str = "", **content: Any
) -> EventId:
    """Somebody writes encrypted; the bot has not worked yet."""
    said = {"msgtype": "m.text", "body": body, **content}
    event = encrypted(world, sender, room, "m.room.message", said, session=session)
    await world.take(room, event)
    return EventId(event["event_id"])


async def says(world: World, sender: UserId, room: RoomId, body: str, **content: Any) -> EventId:
    event = await writes(world, sender, room, body, **content)
    await world.run()
    return event


async def votes(world: World, sender: UserId, room: RoomId, poll: str, *choice: str, session: str = "") -> EventId:
    """Somebody votes, encrypted, and the bot works."""
    relation = {"rel_type": "m.reference", "event_id": poll}
    content: Json = {f"{POLL}.response": {"answers": list(choice)}, "m.relates_to": relation}
    event = encrypted(world, sender, room, f"{POLL}.response", content, session=session)
    await world.take(room, event)
    await world.run()
    return EventId(event["event_id"])


async def deletes(world: World, sender: UserId, room: RoomId, target: str) -> None:
    world.server.clear(room, EventId(target))
    await world.take(room, world.server.new_event(room, sender, "m.room.redaction", {"redacts": target}))
    await world.run()


async def edits(world: World, sender: UserId, room: RoomId, target: str, body: str) -> None:
    relation = {"rel_type": "m.replace", "event_id": target}
    new = {"msgtype": "m.text", "body": body}
    await says(world, sender, room, f"* {body}", **{"m.new_content": new, "m.relates_to": relation})


async def second_session(world: World, customer: UserId = ANNA) -> RoomId:
    """A customer whose first case was closed, so that they may be asked."""
    chat = await world.chat(customer)
    await says(world, customer, chat, "Was kostet ein Ölwechsel?")
    await world.says(JAN, (await world.case_room(customer)).room_id, "!zu")
    return chat


async def asked(world: World, word: str = "neuigkeiten", customer: UserId = ANNA) -> tuple[RoomId, str, str]:
    """A customer who was asked; returns the chat and the events of text and poll."""
    chat = await second_session(world, customer)
    text, poll = await ask(world, chat, word, customer)
    return chat, text, poll


async def ask(world: World, chat: RoomId, word: str = "neuigkeiten", customer: UserId = ANNA) -> tuple[str, str]:
    await world.says(JAN, (await world.case_room(customer)).room_id, f"!fragen {word}")
    poll = next(e for e in reversed(world.server.rooms[chat].events) if e["type"] == f"{POLL}.start")
    return poll["content"]["m.relates_to"]["m.in_reply_to"]["event_id"], poll["event_id"]


async def agreed(world: World, word: str = "neuigkeiten", customer: UserId = ANNA) -> tuple[RoomId, EventId]:
    """A customer who said yes; returns the chat and the yes."""
    chat, text, _ = await asked(world, word, customer)
    return chat, await says(world, customer, chat, "ja", **reply_to(text))


async def customer(world: World, user: UserId = ANNA) -> CustomerId:
    found = await rooms.of_user(world.database, user)
    assert found
    return found


async def known(world: World, purpose: PurposeId = NEWS, user: UserId = ANNA) -> Consent | None:
    return await consents.find(world.database, await customer(world, user), purpose)


async def standing(world: World, purpose: PurposeId = NEWS, user: UserId = ANNA) -> Standing:
    found = await known(world, purpose, user)
    return found.standing if found else Standing.NONE


async def entries(world: World, *kinds: LedgerKind, user: UserId = ANNA) -> list[Entry]:
    of_them = await ledger.of_subject(world.database, await customer(world, user))
    return [entry for entry in of_them if entry.fact and (not kinds or entry.fact.kind in kinds)]


def ours(world: World, room: RoomId) -> list[str]:
    """What the bot has said in a room, as it stands there."""
    return [message.body for message in shown(world.server.rooms[room]) if message.sender == ME]


async def counted(world: World, words: str, user: UserId = ANNA) -> list[bool]:
    """For each time that staff got these words of a customer: whether nothing beside them says that they are no yes."""
    texts = (await world.case_room(user)).texts()
    return ["Zählt nicht als Zustimmung" not in text for text in texts if text.splitlines()[-1] == words]


def types(world: World, room: RoomId) -> Sequence[str]:
    return [event["type"] for event in world.server.rooms[room].events if event["sender"] == ME]


async def all_due(world: World) -> None:
    """Let what is due within the next minute be done."""
    world.later(minutes=1)
    async with world.database.transaction() as tx:
        await arrivals.wake_due(tx, world.now())
    await world.run()


async def news(world: World, text: str) -> None:
    """An admin has news sent; nothing of it has gone out yet."""
    world.around.ledger.agrees = True
    await world.says(CHEF, world.made("admin")[0].room_id, f"!info {text}")
