"""Keys that come late, on Element's encryption: both sides are told in a sentence, and the message is not lost.

What clients send to devices goes through a proxy that says yes and keeps it back. Nothing here depends on the mode
of a client: a key is handed out before the proxy sees it. All three run side by side, because each waits its time.
"""

from functools import partial

from aiohttp import web

from tests.faults.proxy import Fault
from tests.interop.element import ElementPeer, Line
from tests.interop.talk import WAIT_S, House, read


def to_devices(request: web.Request) -> Fault | None:
    """Keep back everything that one device sends to another."""
    return Fault.KEPT_BACK if "/sendToDevice/" in request.path else None


def nothing(request: web.Request) -> Fault | None:
    return None


def how_often(peer: ElementPeer, room: str, text: str, besides: set[str]) -> int:
    """Count the events in which this client has read something."""
    found = {
        line["event_id"] for line in peer.events if line.get("room_id") == room and text in str(line.get("content"))
    }
    return len(found - besides)


async def test_keys_come_after_people_were_told(house: House) -> None:
    """Of a mechanic's message the customer hears when it can be read; before, they would not know what of."""
    before = house.events()
    house.people_road.choose = to_devices
    questions = await house.every(lambda talk: talk.writes_anew(talk.customer, talk.chat))
    answers = await house.every(lambda talk: talk.writes_anew(talk.mechanic, talk.case))
    for talk in house.all:
        await read(talk.customer, talk.bot, talk.chat, "technisch nicht lesen", besides=before)
        await read(talk.mechanic, talk.bot, talk.case, "noch nicht entschlüsseln kann", besides=before)
        await read(talk.mechanic, talk.bot, talk.case, "Diese Nachricht kann ich nicht entschlüsseln", besides=before)

    house.people_road.choose = nothing
    await house.people_road.let_go()

    for talk, question, answer in zip(house.all, questions, answers, strict=True):
        late = await read(talk.mechanic, talk.bot, talk.case, question)
        assert late["content"]["body"].startswith("⏱ Geschrieben am ")
        late = await read(talk.customer, talk.bot, talk.chat, answer)
        assert late["content"]["body"].startswith("⏱ Geschrieben am ")
        await talk.goes_on()
        assert how_often(talk.customer, talk.chat, "technisch nicht lesen", before) == 1
        assert how_often(talk.mechanic, talk.case, "entschlüsseln", before) == 2


async def test_a_key_that_was_lost_for_good_is_asked_for(house: House) -> None:
    """The client whose key was lost on the way hands it out again."""
    house.people_road.choose = to_devices
    questions = await house.every(lambda talk: talk.writes_anew(talk.customer, talk.chat))
    house.people_road.choose = nothing

    for talk, question in zip(house.all, questions, strict=True):
        await read(talk.mechanic, talk.bot, talk.case, question)
        await talk.goes_on()


async def test_a_key_of_the_bot_comes_late(house: House) -> None:
    """Nobody can be told: for the bot the server has taken it. What counts is that it opens what is there."""
    await house.business.kill()
    await house.business.start()  # whose sessions are new ones
    house.bot_road.choose = to_devices
    question = await house.every(lambda talk: talk.writes(talk.customer, talk.chat))
    for talk in house.all:
        await talk.mechanic.wait_for(partial(is_unreadable, talk.case), WAIT_S)

    house.bot_road.choose = nothing
    await house.bot_road.let_go()

    for talk, text in zip(house.all, question, strict=True):
        await read(talk.mechanic, talk.bot, talk.case, text)
        await talk.goes_on()


def is_unreadable(room: str, line: Line) -> bool:
    return line.get("room_id") == room and line.get("decryption_failure") is not None
