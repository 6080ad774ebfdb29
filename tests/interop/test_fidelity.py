"""Everything people send, on a real server, between Element's encryption on one side and nio on the other.

Every assertion is on what the receiving client decrypted; for files on the bytes. Both sides are strict where they
can be. The conversation is one, made once for each pair, because starting a business takes longer than a message.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from bot.demo.peer import Peer
from bot.demo.synapse import LocalSynapse
from tests.business import Account, Business, a_business
from tests.conftest import require
from tests.files import FileClient
from tests.interop.element import ElementPeer
from tests.waiting import PatientPeer

Json = dict[str, Any]
WAIT_S = 40
INFO: Json = {"mimetype": "image/jpeg", "size": 5, "w": 640, "h": 480}
POLL = {
    "question": {"org.matrix.msc1767.text": "Wann?"},
    "answers": [{"id": "a", "org.matrix.msc1767.text": "acht"}, {"id": "b", "org.matrix.msc1767.text": "neun"}],
    "max_selections": 1,
    "kind": "org.matrix.msc3381.poll.disclosed",
}


@dataclass
class Event:
    """One event as a client decrypted it."""

    event_id: str
    sender: str
    type: str
    content: Json
    relation: Json


class Person:
    """One client, whichever it runs on, in one room."""

    room: str = ""

    async def send(self, event_type: str, content: Json) -> str:
        raise NotImplementedError

    async def redact(self, event: str) -> None:
        raise NotImplementedError

    def events(self) -> list[Event]:
        raise NotImplementedError

    def deleted(self) -> set[str]:
        raise NotImplementedError

    async def wait(self, **wanted: Any) -> Event:
        """Wait for the first event whose fields or content are these."""
        async with asyncio.timeout(WAIT_S):
            while True:
                for event in self.events():
                    if all(getattr(event, name, event.content.get(name)) == value for name, value in wanted.items()):
                        return event
                await asyncio.sleep(0.05)

    async def wait_deleted(self, event: str) -> None:
        async with asyncio.timeout(WAIT_S):
            while event not in self.deleted():
                await asyncio.sleep(0.05)


class OnNio(Person):
    def __init__(self, peer: Peer) -> None:
        self.peer = peer

    async def send(self, event_type: str, content: Json) -> str:
        return await self.peer.send(self.room, event_type, content, clear=event_type == "m.reaction")

    async def redact(self, event: str) -> None:
        await self.peer.redact(self.room, event)

    def events(self) -> list[Event]:
        return [
            Event(seen.event_id, seen.sender, seen.type, seen.content, _relation(seen.content, seen.raw["content"]))
            for seen in self.peer.seen
            if seen.room_id == self.room
        ]

    def deleted(self) -> set[str]:
        events = [event for event in self.events() if event.type == "m.room.redaction"]
        return {str(event.content.get("redacts")) for event in events}


class OnElement(Person):
    def __init__(self, peer: ElementPeer) -> None:
        self.peer = peer

    async def send(self, event_type: str, content: Json) -> str:
        return str((await self.peer.command("send", room_id=self.room, type=event_type, content=content))["event_id"])

    async def redact(self, event: str) -> None:
        await self.peer.command("redact", room_id=self.room, event_id=event)

    def events(self) -> list[Event]:
        return [
            Event(
                line["event_id"],
                line["sender"],
                line["type"],
                line["content"],
                _relation(line["content"], line["wire_content"]),
            )
            for line in self.peer.events
            if line["event"] in {"message", "decrypted"} and line["room_id"] == self.room and _is_open(line)
        ]

    def deleted(self) -> set[str]:
        return {line["redacts"] for line in self.peer.events if line["event"] == "redaction"}


def _is_open(line: Json) -> bool:
    return line["type"] != "m.room.encrypted" and not line["decryption_failure"]


def _relation(content: Json, wire: Json) -> Json:
    return content.get("m.relates_to") or wire.get("m.relates_to") or {}


@dataclass
class Talk:
    """A customer and a mechanic in one case, and somebody for files."""

    customer: Person
    mechanic: Person
    files: FileClient
    bot: str


async def _on_element(server: LocalSynapse, account: Account) -> OnElement:
    missing = ElementPeer.missing()
    require(not missing, missing)
    peer = ElementPeer()
    await peer.start()
    await peer.login(server.url, account.localpart, account.password, mode="exclude_insecure")
    return OnElement(peer)


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=["element customer", "element mechanic"])
async def talk(
    request: pytest.FixtureRequest, synapse: LocalSynapse, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Talk]:
    folder = tmp_path_factory.mktemp("talk")
    business = await a_business(synapse, folder)
    anna, jan = await business.account("anna"), await business.account("jan")
    business.members = [jan.mxid]
    await business.start()
    (folder / "peer").mkdir()
    on_element, on_nio = (anna, jan) if request.param == "element customer" else (jan, anna)
    element = await _on_element(synapse, on_element)
    nio = OnNio(
        await PatientPeer.login(synapse.url, on_nio.localpart, on_nio.password, store=folder / "peer", cross_sign=True)
    )
    files = await FileClient.login(synapse, await business.account("files"))
    customer, mechanic = (element, nio) if on_element is anna else (nio, element)
    made = Talk(customer, mechanic, files, business.bot.mxid)
    try:
        await _begin(made, business)
        yield made
    finally:
        await element.peer.stop()
        await nio.peer.close()
        assert await business.stop() == 0
        assert "Traceback" not in business.log()


async def _begin(talk: Talk, business: Business) -> None:
    """The first message opens the case; the mechanic's client joins it by itself."""
    customer, mechanic = talk.customer, talk.mechanic
    if isinstance(customer, OnNio):
        customer.room = await customer.peer.start_chat(business.bot.mxid)
    elif isinstance(customer, OnElement):
        customer.room = str((await customer.peer.command("create_room", invite=[business.bot.mxid]))["room_id"])
        room = customer.room

        def joined(line: Json) -> bool:
            return (line.get("type"), line.get("room_id"), line.get("state_key")) == (
                "m.room.member",
                room,
                business.bot.mxid,
            ) and line["content"].get("membership") == "join"

        await customer.peer.wait_for(joined)
    await customer.send("m.room.message", {"msgtype": "m.text", "body": "der Anfang"})
    if isinstance(mechanic, OnNio):
        mechanic.room = (await mechanic.peer.wait_for(lambda s: s.body == "der Anfang", WAIT_S)).room_id
    elif isinstance(mechanic, OnElement):

        def begins(line: Json) -> bool:
            content = line.get("content")
            return isinstance(content, dict) and content.get("body") == "der Anfang"

        mechanic.room = str((await mechanic.peer.wait_for(begins, WAIT_S))["room_id"])


@dataclass
class Way:
    """One direction of a talk."""

    writer: Person
    reader: Person
    files: FileClient
    bot: str

    async def send(self, content: Json, event_type: str = "m.room.message") -> str:
        return await self.writer.send(event_type, content)

    async def text(self, **more: Any) -> tuple[str, Event]:
        """Send a text of its own; returns it, and its copy."""
        body = secrets.token_hex(6)
        event = await self.send({"msgtype": "m.text", "body": body, **more})
        return event, await self.arrived(body=body)

    async def arrived(self, **wanted: Any) -> Event:
        return await self.reader.wait(sender=self.bot, **wanted)

    async def theirs(self) -> tuple[str, Event]:
        """Let the other side send a text; returns it, and its copy on this side."""
        body = secrets.token_hex(6)
        event = await self.reader.send("m.room.message", {"msgtype": "m.text", "body": body})
        return event, await self.writer.wait(sender=self.bot, body=body)


@pytest.fixture(params=["customer to staff", "staff to customer"])
def way(request: pytest.FixtureRequest, talk: Talk) -> Way:
    people = (talk.customer, talk.mechanic)
    writer, reader = people if request.param == "customer to staff" else people[::-1]
    return Way(writer, reader, talk.files, talk.bot)


@pytest.mark.parametrize("msgtype", ["m.text", "m.notice", "m.emote"])
async def test_words(way: Way, msgtype: str) -> None:
    html = {"format": "org.matrix.custom.html", "formatted_body": "<b>wichtig</b>"}
    _, copy = await way.text(msgtype=msgtype, **html)
    assert (copy.content["msgtype"], copy.content["formatted_body"]) == (msgtype, "<b>wichtig</b>")


@pytest.mark.parametrize("msgtype", ["m.image", "m.video", "m.file", "m.audio"])
async def test_encrypted_files_arrive_byte_for_byte(way: Way, msgtype: str) -> None:
    data, name = secrets.token_bytes(5000), f"{secrets.token_hex(6)}.bin"
    file = await way.files.upload_encrypted(data)
    small = await way.files.upload_encrypted(b"klein")
    info = INFO | {"thumbnail_file": small, "thumbnail_info": {"w": 10, "h": 10}}
    voice: Json = {"org.matrix.msc3245.voice": {}, "org.matrix.msc1767.audio": {"duration": 7, "waveform": [1, 2]}}
    await way.send(
        {"msgtype": msgtype, "body": name, "file": file, "info": info} | (voice if msgtype == "m.audio" else {})
    )
    copy = (await way.arrived(filename=name)).content
    assert await way.files.open(copy["file"]) == data
    assert await way.files.open(copy["info"]["thumbnail_file"]) == b"klein"
    assert (copy["msgtype"], copy["info"]["w"], copy["file"]["url"]) == (msgtype, 640, file["url"])
    if msgtype == "m.audio":
        assert {name: copy[name] for name in voice} == voice


async def test_a_caption(way: Way) -> None:
    caption = secrets.token_hex(6)
    file = await way.files.upload_encrypted(b"bild")
    await way.send({"msgtype": "m.image", "body": caption, "filename": "bremse.jpg", "file": file, "info": INFO})
    assert (await way.arrived(body=caption)).content["filename"] == "bremse.jpg"


async def test_a_sticker(way: Way) -> None:
    name = secrets.token_hex(6)
    file = await way.files.upload_encrypted(b"sticker")
    await way.send({"body": name, "file": file, "info": INFO}, "m.sticker")
    copy = await way.arrived(body=name)
    assert copy.type == "m.sticker"
    assert await way.files.open(copy.content["file"]) == b"sticker"


async def test_an_open_file_arrives_encrypted_with_the_same_bytes(way: Way) -> None:
    data, name = secrets.token_bytes(70_000), f"{secrets.token_hex(6)}.pdf"
    await way.send({"msgtype": "m.file", "body": name, "url": await way.files.upload(data), "info": {"size": 3}})
    copy = (await way.arrived(filename=name)).content
    assert await way.files.open(copy["file"]) == data
    assert await way.files.download(copy["file"]["url"]) != data
    assert "url" not in copy


async def test_a_place(way: Way) -> None:
    body = secrets.token_hex(6)
    await way.send({"msgtype": "m.location", "body": body, "geo_uri": "geo:48.1,11.5"})
    copy = (await way.arrived(body=body)).content
    assert (copy["msgtype"], copy["geo_uri"]) == ("m.location", "geo:48.1,11.5")


async def test_a_poll_and_its_result(way: Way) -> None:
    question = secrets.token_hex(6)
    poll = POLL | {"question": {"org.matrix.msc1767.text": question}}
    start = await way.send(
        {"org.matrix.msc3381.poll.start": poll, "org.matrix.msc1767.text": "?"}, "org.matrix.msc3381.poll.start"
    )
    asked = await way.arrived(body=f"📊 Umfrage: {question}\n1. acht\n2. neun")
    about = {"m.relates_to": {"rel_type": "m.reference", "event_id": start}}
    for answer in ("a", "b"):
        vote = {"org.matrix.msc3381.poll.response": {"answers": [answer]}}
        await way.send(vote | about, "org.matrix.msc3381.poll.response")
    await way.send({"org.matrix.msc3381.poll.end": {}, "body": "Ende"} | about, "org.matrix.msc3381.poll.end")
    result = await way.arrived(body=f"📊 Ergebnis der Umfrage: {question}\nacht: 0\nneun: 1")
    assert result.relation["m.in_reply_to"]["event_id"] == asked.event_id


async def test_something_unknown_is_named(way: Way) -> None:
    before = len(way.writer.events())
    await way.send({"msgtype": "de.example.unknown", "body": "unbekannt"})
    async with asyncio.timeout(WAIT_S):
        while not any("nicht" in str(e.content.get("body")) for e in way.writer.events()[before:]):
            await asyncio.sleep(0.05)


async def test_a_reply_to_the_other_side_and_to_oneself(way: Way) -> None:
    original, copy = await way.theirs()
    _, answer = await way.text(**{"m.relates_to": {"m.in_reply_to": {"event_id": copy.event_id}}})
    assert answer.relation["m.in_reply_to"]["event_id"] == original
    own, own_copy = await way.text()
    _, second = await way.text(**{"m.relates_to": {"m.in_reply_to": {"event_id": own}}})
    assert second.relation["m.in_reply_to"]["event_id"] == own_copy.event_id


async def test_an_edit_and_its_deletion(way: Way) -> None:
    own, copy = await way.text()
    new = secrets.token_hex(6)
    relation = {"rel_type": "m.replace", "event_id": own}
    content = {"msgtype": "m.text", "body": f"* {new}", "m.new_content": {"msgtype": "m.text", "body": new}}
    await way.send(content | {"m.relates_to": relation})
    async with asyncio.timeout(WAIT_S):
        while not (edits := [e for e in way.reader.events() if e.relation.get("event_id") == copy.event_id]):
            await asyncio.sleep(0.05)
    assert edits[0].content["m.new_content"]["body"] == new
    assert edits[0].relation == {"rel_type": "m.replace", "event_id": copy.event_id}
    await way.writer.redact(own)
    await way.reader.wait_deleted(copy.event_id)
    await way.reader.wait_deleted(edits[0].event_id)


async def test_a_reaction_comes_and_goes(way: Way) -> None:
    original, copy = await way.theirs()
    relation = {"rel_type": "m.annotation", "event_id": copy.event_id, "key": "👍️"}
    reaction = await way.send({"m.relates_to": relation}, "m.reaction")
    wanted = {"rel_type": "m.annotation", "event_id": original, "key": "👍"}
    async with asyncio.timeout(WAIT_S):
        while not (found := [e for e in way.reader.events() if e.relation == wanted]):
            await asyncio.sleep(0.05)
    await way.writer.redact(reaction)
    await way.reader.wait_deleted(found[0].event_id)


async def test_quick_successions_end_right(way: Way) -> None:
    """Sent without waiting for anything: a text, two edits of it, another text that is deleted at once, and a last one."""
    body = secrets.token_hex(6)
    own = await way.send({"msgtype": "m.text", "body": body})
    for version in ("zwei", "drei"):
        new = {"msgtype": "m.text", "body": f"{body} {version}"}
        relation = {"rel_type": "m.replace", "event_id": own}
        await way.send({**new, "m.new_content": new, "m.relates_to": relation})
    gone = await way.send({"msgtype": "m.text", "body": f"weg {body}"})
    await way.writer.redact(gone)
    await way.send({"msgtype": "m.text", "body": f"ende {body}"})
    await way.arrived(body=f"ende {body}")
    copy = await way.arrived(body=body)
    versions = [
        e.content["m.new_content"]["body"] for e in way.reader.events() if e.relation.get("event_id") == copy.event_id
    ]
    assert versions == [f"{body} zwei", f"{body} drei"]
    left = [e for e in way.reader.events() if e.content.get("body") == f"weg {body}"]
    assert all(e.event_id in way.reader.deleted() for e in left)
