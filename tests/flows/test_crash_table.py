"""The crash table: every outside step of every story fails once, before and after it had its effect.

Either the process dies there and starts again on the same file, or the server cannot answer for a moment.
At the end the world must look exactly as if nothing had happened.
"""

import re
from collections.abc import Awaitable, Callable
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any, Literal

import pytest

from bot.domain.arrival import ItemKind
from bot.domain.errors import Transient
from bot.domain.hours import Hours
from bot.domain.ids import DeskId, EventId, RoomId, SessionId, UserId
from bot.domain.message import Untrusted
from bot.domain.purpose import PurposeId
from bot.flows.surroundings import Desk
from bot.store import arrivals, pickups, staff
from tests.flows.consents import writes
from tests.flows.shown import only
from tests.flows.test_block_ahead import read_ahead
from tests.flows.test_verifying import Verifying
from tests.flows.world import ANNA, BERT, CHEF, EVA, JAN, ME, Crash, World, a_world

Story = Callable[[World, RoomId], Awaitable[None]]


async def opening(world: World, chat: RoomId) -> None:
    """A customer's first message opens a case."""
    await world.writes(ANNA, chat, "erste")


async def going_on(world: World, chat: RoomId) -> None:
    """A second message, and a picture that gets an automatic answer."""
    await world.says(ANNA, chat, "erste")
    await world.writes(ANNA, chat, "zweite")
    await world.writes(ANNA, chat, "foto.jpg", msgtype="m.image")


async def being_away(world: World, chat: RoomId) -> None:
    """A customer writes when nobody is there."""
    world.rule(hours=Hours(UTC, {0: ((0, 60),)}))
    await world.writes(ANNA, chat, "noch jemand da?")
    await world.writes(ANNA, chat, "hallo?")


async def asking_the_bot(world: World, chat: RoomId) -> None:
    """A customer asks the bot itself, first with nothing else and then with words for people."""
    await world.writes(ANNA, chat, "!datenschutz")
    await world.writes(ANNA, chat, "!privacy please delete everything")


async def answering(world: World, chat: RoomId) -> None:
    """Staff answer, note and close."""
    await world.says(ANNA, chat, "erste")
    room = (await world.case_room(ANNA)).room_id
    for text in ("Antwort", ". Notiz", "!zu", "doch noch etwas"):
        await world.writes(JAN, room, text)


async def reopening(world: World, chat: RoomId) -> None:
    """A customer writes after the case was closed."""
    await world.says(ANNA, chat, "erste")
    await world.says(JAN, (await world.case_room(ANNA)).room_id, "!zu")
    await world.writes(ANNA, chat, "noch etwas")


async def failing(world: World, chat: RoomId) -> None:
    """Staff send what cannot be carried: a mark and a sentence."""
    await world.says(ANNA, chat, "erste")
    await world.writes(JAN, (await world.case_room(ANNA)).room_id, "plan.pdf", msgtype="m.file")


async def deleting(world: World, chat: RoomId) -> None:
    """A customer deletes a message."""
    event = await world.says(ANNA, chat, "Unsinn")
    redaction = world.server.new_event(chat, ANNA, "m.room.redaction", {"redacts": event})
    await world.take(chat, redaction)


async def greeting(world: World, chat: RoomId) -> None:
    """A new customer starts a chat and writes at once."""
    await world.writes(BERT, await world.comes(BERT), "neu hier")


async def hurrying(world: World, chat: RoomId) -> None:
    """A new customer writes before we greeted them, which waits until their client can know whose device we are."""
    await world.writes(BERT, await world.comes(BERT, unhurried=False), "gleich")


async def offering(world: World, chat: RoomId) -> None:
    """A new customer starts a chat that is not encrypted, and writes in it."""
    await world.writes(BERT, await world.comes(BERT, encrypted=False), "offen")


async def refusing(world: World, chat: RoomId) -> None:
    """Somebody invites the bot into a group."""
    await world.comes(BERT, others=(UserId("@third:elsewhere.example"),))


async def withdrawing(world: World, chat: RoomId) -> None:
    """Staff edit an answer, and another one into a note."""
    await world.says(ANNA, chat, "erste")
    room = (await world.case_room(ANNA)).room_id
    answers = [await world.says(JAN, room, text) for text in ("um acht", "unbedacht", "zu")]
    for answer, text in zip(answers, ("um neun", ". Notiz", "!zu"), strict=True):
        relation = {"rel_type": "m.replace", "event_id": answer}
        new = {"msgtype": "m.text", "body": text}
        await world.writes(JAN, room, f"* {text}", **{"m.new_content": new, "m.relates_to": relation})


async def reacting(world: World, chat: RoomId) -> None:
    """Staff react to a message, and take another reaction back."""
    await world.says(ANNA, chat, "erste")
    room = (await world.case_room(ANNA)).room_id
    copy = only(world.server.rooms[room], "erste").event_id
    keys = [{"m.relates_to": {"rel_type": "m.annotation", "event_id": copy, "key": key}} for key in ("👍", "👎")]
    events = [world.server.new_event(room, JAN, "m.reaction", key) for key in keys]
    await world.take(room, events[0])
    await world.run()
    await world.take(room, events[1])
    await world.take(room, world.server.new_event(room, JAN, "m.room.redaction", {"redacts": events[0]["event_id"]}))


async def carrying_a_file(world: World, chat: RoomId) -> None:
    """A customer sends a file that lies open, and edits a text."""
    first = await world.says(ANNA, chat, "erste")
    world.server.files["mxc://far.example/open"] = b"offen"
    await world.writes(ANNA, chat, "a.txt", msgtype="m.file", url="mxc://far.example/open")
    new = {"m.new_content": {"msgtype": "m.text", "body": "zweite"}}
    await world.writes(ANNA, chat, "* zweite", **new, **{"m.relates_to": {"rel_type": "m.replace", "event_id": first}})


async def losing_a_file(world: World, chat: RoomId) -> None:
    """A customer sends a file that cannot be had, when nobody is there."""
    world.rule(hours=Hours(UTC, {0: ((0, 60),)}))
    await world.writes(ANNA, chat, "weg.txt", msgtype="m.file", url="mxc://far.example/gone")


async def sharing_a_place(world: World, chat: RoomId) -> None:
    """A customer shares live where they are."""
    relation = {"rel_type": "m.reference", "event_id": "$share"}
    for place in ("geo:1,1", "geo:2,2"):
        content = {"m.location": {"uri": place}, "m.relates_to": relation}
        await world.take(chat, world.server.new_event(chat, ANNA, "m.beacon", content))


async def among_cases(world: World, chat: RoomId) -> None:
    await world.says(ANNA, chat, "erste")
    first = (await world.case_room(ANNA)).room_id
    await world.says(JAN, first, "!zu")
    world.later(days=30)
    await world.says(ANNA, chat, "andere Sache")
    await world.says(JAN, first, "!auf")


async def choosing(world: World, chat: RoomId) -> None:
    """Two cases are open; the customer is asked, answers, and staff move the message to the other case."""
    await among_cases(world, chat)
    await world.writes(ANNA, chat, "wozu auch immer")
    await world.writes(ANNA, chat, "1002")


async def wishing_among_cases(world: World, chat: RoomId) -> None:
    """Two cases are open, and what waits for the number is answered by the bot itself."""
    await among_cases(world, chat)
    await world.writes(ANNA, chat, "English")
    await world.writes(ANNA, chat, "1002")


async def moving(world: World, chat: RoomId) -> None:
    """Staff move a message to another case."""
    await choosing(world, chat)
    await world.run()
    room = (await world.case_room(ANNA)).room_id
    copy = only(world.server.rooms[room], "wozu auch immer").event_id
    await world.writes(JAN, room, "!an 1001", **{"m.relates_to": {"m.in_reply_to": {"event_id": copy}}})


async def declining(world: World, chat: RoomId) -> None:
    """A customer's app asks for a verification, which is declined with a sentence."""
    content = {"msgtype": "m.key.verification.request", "to": ME, "from_device": "PHONE", "methods": ["m.sas.v1"]}
    await world.take(chat, world.server.new_event(chat, ANNA, "m.room.message", content))


async def verifying(world: World, chat: RoomId) -> None:
    """A mechanic and an admin have found the pictures to be alike: it is signed, said to the phone and told."""
    jan = Verifying(world, JAN, world.made("inbox:annahme")[0].room_id)
    await jan.shows()
    await jan.matches()
    await world.writes(CHEF, world.made("admin")[0].room_id, "!stimmt 1")


async def holding(world: World, chat: RoomId) -> None:
    """Staff write what is in doubt; a tap releases one of it, another keeps the rest inside."""
    await world.says(ANNA, chat, "erste")
    room = (await world.case_room(ANNA)).room_id
    held = [await world.says(JAN, room, text) for text in ("@eva kommt zu Ihnen", "@eva, die Beläge?")]
    for event, key in zip(held, ("📤", "🔒"), strict=True):
        relation = {"rel_type": "m.annotation", "event_id": event, "key": key}
        await world.take(room, world.server.new_event(room, JAN, "m.reaction", {"m.relates_to": relation}))


async def overtaking(world: World, chat: RoomId) -> None:
    """An answer is edited into something doubtful, which is held, and then again into plain words, which go out."""
    await world.says(ANNA, chat, "erste")
    room = (await world.case_room(ANNA)).room_id
    answer = await world.says(JAN, room, "um acht")
    for words in ("@eva, um neun?", "um zehn"):
        new = {"msgtype": "m.text", "body": words}
        relation = {"rel_type": "m.replace", "event_id": answer}
        edit = {"m.new_content": new, "m.relates_to": relation}
        write = world.says if words.startswith("@") else world.writes
        await write(JAN, room, f"* {words}", **edit)


async def blocking(world: World, chat: RoomId) -> None:
    """Staff block a customer, list, and let them in again without ringing; what was written meanwhile is gone."""
    await world.says(ANNA, chat, "erste")
    room = (await world.case_room(ANNA)).room_id
    await world.says(JAN, room, "!sperren 7d")
    await world.writes(ANNA, chat, "verloren")
    for text in ("!sperren", "!entsperren", "!stumm 30d", "!sperren bald"):
        await world.writes(JAN, room, text)


async def blocking_a_flood(world: World, chat: RoomId) -> None:
    """The order is read ahead of a flood that waits and of an answer; the answer goes out, the flood nowhere."""
    await world.says(ANNA, chat, "erste")
    room = (await world.case_room(ANNA)).room_id
    for text in ("GRATIS", "noch mehr"):
        await writes(world, ANNA, chat, text)
    for text in ("Bitte lassen Sie das.", "!sperren 7d"):
        await writes(world, JAN, room, text)
    await read_ahead(world)


async def talking(world: World, chat: RoomId) -> None:
    """Staff talk where no customer reads it; that is said once in each room."""
    for mark, who in (("inbox:annahme", JAN), ("admin", CHEF)):
        for text in ("Wer macht das?", "Ich."):
            await world.writes(who, world.made(mark)[0].room_id, text)


async def muting(world: World, chat: RoomId) -> None:
    """What a muted customer writes arrives once."""
    await world.says(ANNA, chat, "erste")
    await world.says(JAN, (await world.case_room(ANNA)).room_id, "!stumm 30d")
    await world.writes(ANNA, chat, "leise")
    await world.writes(JAN, (await world.case_room(ANNA)).room_id, "!sperren 7d")


async def taking(world: World, chat: RoomId) -> None:
    """A colleague takes a case by a tap in the inbox, another by a word; both answer, and one closes it by a tap."""
    await world.says(ANNA, chat, "erste")
    case = await world.case(ANNA)
    assert case.room_id
    for room, target in ((world.made("inbox:annahme")[0].room_id, case.inbox_event), (case.room_id, case.card_event)):
        await world.take(room, tap(world, room, target, "👍"))
    await world.writes(EVA, case.room_id, "!ich")
    await world.writes(JAN, case.room_id, "um acht")
    await world.writes(EVA, case.room_id, "um neun")
    await world.writes(ANNA, chat, "was nun?")
    await world.take(case.room_id, tap(world, case.room_id, case.card_event, "✅"))


async def handing_on(world: World, chat: RoomId) -> None:
    """A case goes to a colleague of another desk and then to that desk, who take it."""
    [desk] = world.rules.desks
    world.rule(desks=(desk, Desk(DeskId("werkstatt"), "Werkstatt", (EVA, NEW))))
    await world.set_up()
    await world.says(ANNA, chat, "erste")
    room = (await world.case_room(ANNA)).room_id
    await world.says(JAN, room, "um acht")
    for text in ("!kfz M-AB 123", f"!an {NEW}", "!an Werkstatt"):
        await world.writes(JAN, room, text)
    await world.writes(EVA, room, "!verlauf")


async def saying_for_whom(world: World, chat: RoomId) -> None:
    """A customer is asked for whom their first message is, and answers; before that staff kept a note."""
    [desk] = world.rules.desks
    world.rule(desks=(desk, Desk(DeskId("werkstatt"), "Werkstatt", (EVA, NEW))), ask_for_desk="number")
    await world.set_up()
    await world.says(ANNA, chat, "erste")
    await world.says(JAN, (await world.case_room(ANNA)).room_id, ". kennt man")
    await world.writes(ANNA, chat, "2")


async def asking_for_whom(world: World, chat: RoomId) -> None:
    """The same as a poll, with a vote; another customer is only asked."""
    [desk] = world.rules.desks
    world.rule(desks=(desk, Desk(DeskId("werkstatt"), "Werkstatt", (EVA, NEW))), ask_for_desk="poll")
    await world.set_up()
    await world.says(ANNA, chat, "erste")
    poll = next(e for e in world.server.rooms[chat].events if e["type"] == "org.matrix.msc3381.poll.start")
    vote: dict[str, Any] = {"org.matrix.msc3381.poll.response": {"answers": ["2"]}}
    vote["m.relates_to"] = {"rel_type": "m.reference", "event_id": poll["event_id"]}
    await world.take(chat, world.server.new_event(chat, ANNA, "org.matrix.msc3381.poll.response", vote))
    await world.run()
    await world.writes(BERT, await world.comes(BERT), "neu hier")


async def joining(world: World, chat: RoomId) -> None:
    """Two cases turn out to be one; the customer writes on."""
    await choosing(world, chat)
    await world.run()
    await world.writes(JAN, (await world.case_room(ANNA)).room_id, "!verbinden 1001")
    await world.writes(ANNA, chat, "und weiter")


def tap(world: World, room: RoomId, target: EventId | None, key: str) -> dict[str, object]:
    relation = {"rel_type": "m.annotation", "event_id": target, "key": key}
    return world.server.new_event(room, JAN, "m.reaction", {"m.relates_to": relation})


async def hiring(world: World, chat: RoomId) -> None:
    """An admin takes somebody in while a case is open."""
    await world.says(ANNA, chat, "erste")
    await world.writes(CHEF, world.made("admin")[0].room_id, f"!aufnehmen {NEW}")


async def dismissing(world: World, chat: RoomId) -> None:
    """An admin removes somebody while a case is open."""
    await world.says(ANNA, chat, "erste")
    await world.writes(CHEF, world.made("admin")[0].room_id, f"!entfernen {JAN}")


async def letting_in(world: World, chat: RoomId) -> None:
    """A mechanic asks for an account for a new customer; it must be made once, and be the one that the room shows."""
    await world.writes(JAN, world.made("inbox:annahme")[0].room_id, "!neukunde")


async def giving_a_code(world: World, chat: RoomId) -> None:
    """The same with a code."""
    await world.writes(JAN, world.made("inbox:annahme")[0].room_id, "!neukunde code")


async def taking_back(world: World, chat: RoomId) -> None:
    """A slip has stood in the room for its time."""
    await world.says(JAN, world.made("inbox:annahme")[0].room_id, "!neukunde")
    world.later(hours=25)
    async with world.database.transaction() as tx:
        await arrivals.wake_due(tx, world.now())


async def asking_for_consent(world: World, chat: RoomId) -> None:
    """Staff have a customer asked: the text, and the poll that replies to it."""
    await world.says(ANNA, chat, "erste")
    room = (await world.case_room(ANNA)).room_id
    await world.says(JAN, room, "!zu")
    await world.writes(JAN, room, "!fragen neuigkeiten")


async def asking_at_close(world: World, chat: RoomId) -> None:
    """Staff close a case, and the customer is asked one question by itself."""
    world.rule(ask_at_close=(PurposeId("marketing_news"),))
    await world.says(ANNA, chat, "erste")
    await world.writes(JAN, (await world.case_room(ANNA)).room_id, "!zu")


async def asking_about_one_case(world: World, chat: RoomId) -> None:
    """Staff have a customer asked whether something may be passed on, and the case is closed before the answer."""
    await world.says(ANNA, chat, "erste")
    await world.says(JAN, (await world.case_room(ANNA)).room_id, "!zu")
    world.later(days=30)
    await world.says(ANNA, chat, "zweite")
    room = (await world.case_room(ANNA)).room_id
    await world.writes(JAN, room, "!fragen weitergabe die Bilder; die Versicherung; sie bezahlen kann")
    await world.writes(JAN, room, "!zu")


async def agreeing(world: World, chat: RoomId) -> None:
    """A customer votes yes, sees what they agreed to, and wants the proof."""
    await asking_for_consent(world, chat)
    await world.run()
    poll = next(e for e in world.server.rooms[chat].events if e["type"] == "org.matrix.msc3381.poll.start")
    vote: dict[str, Any] = {"org.matrix.msc3381.poll.response": {"answers": ["yes"]}}
    vote["m.relates_to"] = {"rel_type": "m.reference", "event_id": poll["event_id"]}
    await world.take(chat, world.server.new_event(chat, ANNA, "org.matrix.msc3381.poll.response", vote))
    await world.writes(ANNA, chat, "!einwilligungen")
    await world.writes(ANNA, chat, "!beleg")


async def agreeing_to_nothing(world: World, chat: RoomId) -> None:
    """A customer who was asked just writes yes, which counts as nothing, and writes it again."""
    await asking_for_consent(world, chat)
    await world.run()
    await world.writes(ANNA, chat, "Ja")
    await world.writes(ANNA, chat, "Ja!")


async def sending_news(world: World, chat: RoomId) -> None:
    """An admin sends news to the one who agreed, and staff ask for something that nobody agreed to."""
    await agreeing(world, chat)
    await world.run()
    world.agrees = world.around.ledger.agrees = True
    await world.says(CHEF, world.made("admin")[0].room_id, "!info Die Winterreifen sind da")
    await world.writes(JAN, (await world.case_room(ANNA)).room_id, "!umfrage Wie war es?")
    world.later(seconds=5)
    async with world.database.transaction() as tx:
        await arrivals.wake_due(tx, world.now())


async def making_ready(world: World, chat: RoomId) -> None:
    """Staff say that it is ready; the customer must get one code, and the table must hold that one."""
    await world.says(ANNA, chat, "erste")
    await world.writes(JAN, (await world.case_room(ANNA)).room_id, "!fertig")


async def handing_over(world: World, chat: RoomId) -> None:
    """Three wrong codes, one after the other."""
    await making_ready(world, chat)
    await world.run()
    code = await code_of(world)
    for by in (1, 2, 3):
        wrong = f"{(int(code) + by) % 10_000:04}"
        await world.writes(JAN, (await world.case_room(ANNA)).room_id, f"!abholung {wrong}")


async def collecting(world: World, chat: RoomId) -> None:
    """The customer shows the right code."""
    await making_ready(world, chat)
    await world.run()
    await world.writes(JAN, (await world.case_room(ANNA)).room_id, f"!abholung {await code_of(world)}")


async def code_of(world: World) -> str:
    pickup = await pickups.of_case(world.database, (await world.case(ANNA)).number)
    assert pickup
    return pickup.code


async def putting_off(world: World, chat: RoomId) -> None:
    """Staff put a case off."""
    await world.says(ANNA, chat, "erste")
    await world.writes(JAN, (await world.case_room(ANNA)).room_id, "!spaeter 2h")


async def ringing(world: World, chat: RoomId) -> None:
    """What a case was put off for has come."""
    await putting_off(world, chat)
    await world.run()
    await fall_due(world, hours=3)


async def escalating(world: World, chat: RoomId) -> None:
    """A customer has waited so long that everybody is called."""
    levels = (timedelta(minutes=15), timedelta(minutes=30), timedelta(minutes=60))
    world.rule(hours=Hours(UTC, dict.fromkeys(range(7), ((0, 1440),))), escalation=levels)
    await world.says(ANNA, chat, "erste")
    for _ in range(2):
        await world.passes(minutes=16)
    await fall_due(world, minutes=30)


async def falling_silent(world: World, chat: RoomId) -> None:
    """A customer has said nothing for long."""
    world.rule(close_after=timedelta(days=14))
    await world.says(ANNA, chat, "erste")
    await world.says(JAN, (await world.case_room(ANNA)).room_id, "Antwort")
    await fall_due(world, days=15)


async def putting_away(world: World, chat: RoomId) -> None:
    """A case has been closed for long."""
    world.rule(archive_after=timedelta(days=30))
    await answering(world, chat)
    await world.run()
    await world.says(JAN, (await world.case_room(ANNA)).room_id, "!zu")
    await fall_due(world, days=31)


async def coming_back(world: World, chat: RoomId) -> None:
    """A customer replies to something in a case whose room was put away."""
    await putting_away(world, chat)
    await world.run()
    assert (await world.case(ANNA)).archived_at
    event = world.server.rooms[chat].events[-1]["event_id"]
    await world.writes(ANNA, chat, "noch etwas", **{"m.relates_to": {"m.in_reply_to": {"event_id": event}}})


async def fall_due(world: World, **delta: float) -> None:
    world.later(**delta)
    async with world.database.transaction() as tx:
        await arrivals.wake_due(tx, world.now())


async def stopping(world: World, chat: RoomId) -> None:
    """A customer who agreed writes STOPP."""
    await agreeing(world, chat)
    await world.run()
    await world.writes(ANNA, chat, "STOPP")


async def letting_ask_again(world: World, chat: RoomId) -> None:
    """After STOPP a customer lets the team ask again what only they can ask."""
    await world.says(ANNA, chat, "erste")
    await world.says(ANNA, chat, "STOPP")
    await writes(world, ANNA, chat, "!ja weitergabe")


async def stopping_before_anything(world: World, chat: RoomId) -> None:
    """STOPP is the first thing that somebody writes."""
    await world.writes(BERT, await world.comes(BERT), "STOPP")


async def stopping_in_doubt(world: World, chat: RoomId) -> None:
    """The same from a device that is not believed: it is not relayed, and holds."""
    await agreeing(world, chat)
    await world.run()
    world.server.doubted[SessionId("new phone")] = Untrusted
    await writes(world, ANNA, chat, "STOPP", session="new phone")


async def choosing_a_language(world: World, chat: RoomId) -> None:
    """A customer wants to be written to in another language."""
    await world.writes(ANNA, chat, "English")
    await world.writes(ANNA, chat, "!deutsch")


STORIES = [
    choosing_a_language,
    wishing_among_cases,
    asking_about_one_case,
    asking_at_close,
    agreeing_to_nothing,
    letting_ask_again,
    *(asking_for_consent, agreeing, sending_news, stopping, stopping_before_anything, stopping_in_doubt),
    *(greeting, hurrying, offering, refusing, withdrawing, opening, going_on, being_away, asking_the_bot, answering),
    reopening,
    *(
        failing,
        deleting,
        reacting,
        carrying_a_file,
        losing_a_file,
        sharing_a_place,
        choosing,
        moving,
        declining,
        verifying,
        holding,
        overtaking,
        taking,
        handing_on,
        saying_for_whom,
        asking_for_whom,
        joining,
        hiring,
        dismissing,
    ),
    *(letting_in, giving_a_code, taking_back, blocking, blocking_a_flood, muting, talking),
    *(
        making_ready,
        handing_over,
        collecting,
        putting_off,
        ringing,
        escalating,
        falling_silent,
        putting_away,
        coming_back,
    ),
]
NEW = UserId("@new:example.org")
MOST_STEPS = 40


def picture(world: World, story: Story) -> dict[str, object]:
    """What stands in the rooms of the server: what people see. Marks and numbers of events do not count."""
    return {
        f"{room.mark or 'chat'}": (
            in_order([without_secrets(without_pictures(text)) for text in room.texts()], story),
            sum(1 for event in room.events if event["type"] == "m.reaction"),
            [event["type"] for event in room.events if event["type"].startswith("m.key.verification.")],
            sorted(kind for kind, _ in room.state),
            sorted(user for user, membership in room.members.items() if membership in {"join", "invite"}),
        )
        for room in world.server.rooms.values()
    }


def without_secrets(text: str) -> str:
    """What a new customer is given is something else each time."""
    text = re.sub(r"Abholcode: \d{4}", "Abholcode: …", re.sub(r"!abholung \d{4}", "!abholung …", text))
    return re.sub(r"[2-9a-z]{4}(-[2-9a-z]{4}){2,3}|kunde-[2-9a-z]{8}|\d\d\.\d\d\.\d{4}", "…", text)


def given_once(world: World) -> dict[str, object]:
    """What was made for new customers: so many, and whether the room shows just that."""
    said = " ".join(text for room in world.server.rooms.values() for text in room.texts())
    made = [(user, secret) for user, secret in world.server.accounts.items()]
    return {
        "accounts": len(made),
        "shown": [user in said and secret in said for user, secret in made],
        "tokens": [token in said for token in world.server.registration_tokens],
    }


ABOUT_PEOPLE = "subject IS NOT NULL ORDER BY kind"
"""What a start publishes is there or not, depending on whether there was one."""
FINGERPRINT = re.compile(r"\b[A-Z2-7]{4}-[A-Z2-7]{4}-[A-Z2-7]{4}\b")


def in_order(texts: list[str], story: Story) -> list[str]:
    """What comes from two lanes stands in either order."""
    return sorted(texts) if story in {sending_news, stopping, stopping_before_anything, stopping_in_doubt} else texts


async def codes_shown(world: World) -> list[bool]:
    """Whether the code in the table is the one that the customer was told."""
    said = " ".join(text for room in world.server.rooms.values() for text in room.texts())
    return [f"Abholcode: {row[0]}." in said for row in await world.database.all("SELECT code FROM pickups")]


def without_pictures(text: str) -> str:
    """The pictures of a verification are other ones each time, and so are the salts of the ledger."""
    text = FINGERPRINT.sub("(fingerprint)", text)
    return text.splitlines()[0] if text.startswith("🔐 Nr.") else text


async def facts(world: World) -> dict[str, object]:
    """What stands in our tables."""
    return {
        "items": await arrivals.counts(world.database),
        "cases": [
            tuple(r) for r in await world.database.all("SELECT number, state, previous, desk, holder, plate FROM cases")
        ],
        "links": len(await world.database.all("SELECT 1 FROM copy_links")),
        "signed": world.server.signed,
        "staff": world.around.rules.staff,
        "changes": await staff.changes(world.database),
        "blocks": [tuple(row)[1:] for row in await world.database.all("SELECT * FROM blocks")],
        "given": given_once(world),
        "consents": [tuple(r) for r in await world.database.all("SELECT purpose, standing FROM consents")],
        "permits": [tuple(r) for r in await world.database.all("SELECT purpose, state FROM permits")],
        "ledger": [r[0] for r in await world.database.all(f"SELECT kind FROM ledger_contents WHERE {ABOUT_PEOPLE}")],
        "suppressed": len(await world.database.all("SELECT 1 FROM suppression")),
        "pickups": [tuple(r) for r in await world.database.all("SELECT wrong, done_at IS NULL FROM pickups")],
        "codes": await codes_shown(world),
        "automatic": len(await world.database.all("SELECT 1 FROM automatic_answers")),
    }


async def looked_around(world: World) -> None:
    """The seconds are over that a new chat is left alone; nothing else that waits falls due."""
    async with world.database.transaction() as tx:
        await arrivals.wake_kind(tx, ItemKind.JOINED)
    await world.run()


async def smooth(folder: Path, story: Story) -> tuple[dict[str, object], dict[str, object], int]:
    """How it ends when nothing fails, and how many outside steps it takes."""
    async with a_world(folder) as world:
        chat = await world.chat(ANNA)
        await story(world, chat)
        before = len(world.server.calls)
        await world.run()
        steps = len(world.server.calls) - before
        await looked_around(world)
        return picture(world, story), await facts(world), steps


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
@pytest.mark.parametrize("how", ["before", "after"])
async def test_the_process_dies_at_every_step(tmp_path: Path, story: Story, how: Literal["before", "after"]) -> None:
    (tmp_path / "smooth").mkdir()
    seen, known, steps = await smooth(tmp_path / "smooth", story)
    assert 0 < steps < MOST_STEPS

    for at in range(1, steps + 1):
        (tmp_path / f"{at}").mkdir()
        async with a_world(tmp_path / f"{at}") as world:
            chat = await world.chat(ANNA)
            await story(world, chat)
            world.server.fail_at(at, how, Crash())
            with pytest.raises(Crash):
                await world.run()
            await world.restart()
            await world.run()
            await looked_around(world)
            assert picture(world, story) == seen, f"step {at} {how}"
            assert await facts(world) == known, f"step {at} {how}"


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
@pytest.mark.parametrize("how", ["before", "after"])
async def test_the_server_cannot_answer_at_every_step(
    tmp_path: Path, story: Story, how: Literal["before", "after"]
) -> None:
    (tmp_path / "smooth").mkdir()
    seen, known, steps = await smooth(tmp_path / "smooth", story)

    for at in range(1, steps + 1):
        (tmp_path / f"{at}").mkdir()
        async with a_world(tmp_path / f"{at}") as world:
            chat = await world.chat(ANNA)
            await story(world, chat)
            world.server.fail_at(at, how, Transient("not now", retry_after_s=0.001))
            await world.run()
            await looked_around(world)
            assert picture(world, story) == seen, f"step {at} {how}"
            assert await facts(world) == known, f"step {at} {how}"


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
@pytest.mark.parametrize("how", ["before", "after"])
async def test_a_day_later_the_marks_in_the_room_decide(
    tmp_path: Path, story: Story, how: Literal["before", "after"]
) -> None:
    """The process dies, stays down for a day, and the server has forgotten every transaction id."""
    (tmp_path / "smooth").mkdir()
    seen, known, steps = await smooth(tmp_path / "smooth", story)

    for at in range(1, steps + 1):
        (tmp_path / f"{at}").mkdir()
        async with a_world(tmp_path / f"{at}") as world:
            chat = await world.chat(ANNA)
            await story(world, chat)
            world.server.fail_at(at, how, Crash())
            with pytest.raises(Crash):
                await world.run()
            world.later(hours=25)
            world.server.forget_transactions()
            await world.restart()
            await world.run()
            await looked_around(world)
            assert picture(world, story) == seen, f"step {at} {how}"
            assert await facts(world) == known, f"step {at} {how}"


async def test_the_process_dies_in_every_step_of_setting_up_the_house(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        steps = len(world.server.calls)
        rooms = sorted(room.mark for room in world.server.rooms.values())
    for at in range(1, steps + 1):
        for how in ("before", "after"):
            folder = tmp_path / f"{at}{how}"
            folder.mkdir()
            async with a_world(folder, set_up=False) as world:
                world.server.fail_at(at, "before" if how == "before" else "after", Crash())
                with pytest.raises(Crash):
                    await world.set_up()
                await world.restart()
                await world.set_up()
                assert sorted(room.mark for room in world.server.rooms.values()) == rooms
                assert not world.server.aliases
