"""Everything people send, in both directions: nobody notices that there is a program in between."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from bot.domain.ids import EventId, RoomId, SessionId, UserId
from bot.matrix.files import seal
from bot.store import arrivals
from tests.flows.fake import FakeRoom
from tests.flows.shown import Shown, only, shown
from tests.flows.world import ANNA, JAN, ME, World

Json = dict[str, Any]
KEY = {"kty": "oct", "alg": "A256CTR", "ext": True, "k": "A" * 43, "key_ops": ["encrypt", "decrypt"]}
FILE: Json = {"v": "v2", "url": "mxc://x/abc", "key": KEY, "iv": "A" * 22, "hashes": {"sha256": "A" * 43}}
THUMBNAIL = FILE | {"url": "mxc://x/small"}
INFO: Json = {"mimetype": "image/jpeg", "size": 12345, "w": 640, "h": 480}
WAVE: Json = {"duration": 1200, "waveform": [0, 512, 1024]}
POLL: Json = {
    "question": {"org.matrix.msc1767.text": "Wann?"},
    "answers": [{"id": "a", "org.matrix.msc1767.text": "acht"}, {"id": "b", "org.matrix.msc1767.text": "neun"}],
    "max_selections": 1,
}


@dataclass
class Way:
    """One direction: who writes where, and where the other side reads."""

    world: World
    writer: UserId
    here: RoomId
    there: RoomId
    reader: UserId

    async def send(
        self, body: str = "", also: Json | None = None, *, event_type: str = "m.room.message", **content: Any
    ) -> EventId:
        event = {"msgtype": "m.text", "body": body, **content} if event_type == "m.room.message" else content
        event |= ({"body": body} if body else {}) | (also or {})
        return await self._put(self.writer, self.here, event_type, event)

    async def react(self, relation: Json) -> EventId:
        return await self._put(self.writer, self.here, "m.reaction", {"m.relates_to": relation})

    async def answer(self, body: str, **content: Any) -> EventId:
        """The other side writes."""
        return await self._put(
            self.reader, self.there, "m.room.message", {"msgtype": "m.text", "body": body, **content}
        )

    async def _put(self, sender: UserId, room: RoomId, event_type: str, content: Json) -> EventId:
        event = self.world.server.new_event(room, sender, event_type, content)
        await self.world.take(room, event)
        await self.world.run()
        return EventId(event["event_id"])

    async def delete(self, event: EventId) -> None:
        self.world.server.clear(self.here, event)
        redaction = self.world.server.new_event(self.here, self.writer, "m.room.redaction", {"redacts": event})
        await self.world.take(self.here, redaction)
        await self.world.run()

    def arrived(self, body: str) -> Shown:
        return only(self.target, body)

    @property
    def target(self) -> FakeRoom:
        return self.world.server.rooms[self.there]

    @property
    def last(self) -> Json:
        return dict(self.target.events[-1]["content"])


@pytest_asyncio.fixture(params=["customer to staff", "staff to customer"])
async def way(request: pytest.FixtureRequest, world: World) -> AsyncIterator[Way]:
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "Hallo")
    case = (await world.case_room(ANNA)).room_id
    await world.says(JAN, case, "Guten Tag")
    if request.param == "customer to staff":
        yield Way(world, ANNA, chat, case, JAN)
    else:
        yield Way(world, JAN, case, chat, ANNA)


@pytest.mark.parametrize("msgtype", ["m.text", "m.notice", "m.emote"])
async def test_words_keep_their_kind(way: Way, msgtype: str) -> None:
    html = {"format": "org.matrix.custom.html", "formatted_body": "<b>neu</b>"}
    await way.send("neu", html, msgtype=msgtype)
    copy = way.arrived("neu").content
    assert (copy["msgtype"], copy["formatted_body"], copy["m.mentions"]) == (msgtype, "<b>neu</b>", {})


@pytest.mark.parametrize("msgtype", ["m.image", "m.video", "m.file", "m.audio"])
async def test_encrypted_files_travel_with_their_key_and_known_fields_only(way: Way, msgtype: str) -> None:
    info = INFO | {"thumbnail_file": THUMBNAIL, "thumbnail_info": {"w": 1, "evil": 2}, "evil": "x"}
    await way.send("bremse.jpg", msgtype=msgtype, file=FILE | {"evil": 1}, info=info, evil="x")
    copy = way.last
    assert copy["file"] == FILE
    assert copy["info"] == INFO | {"thumbnail_file": THUMBNAIL, "thumbnail_info": {"w": 1}}
    assert (copy["msgtype"], copy["body"], copy["filename"]) == (msgtype, "bremse.jpg", "bremse.jpg")
    assert "evil" not in copy
    assert not set(way.world.server.calls) & {"new_file", "seal_file"}


async def test_voice_messages_stay_voice_messages(way: Way) -> None:
    voice = {"org.matrix.msc3245.voice": {}, "org.matrix.msc1767.audio": WAVE}
    await way.send("Sprachnachricht.ogg", voice, msgtype="m.audio", file=FILE)
    assert {name: way.last[name] for name in voice} == voice


async def test_captions_stand_under_their_file(way: Way) -> None:
    html = {"format": "org.matrix.custom.html", "formatted_body": "<i>so</i> sieht es aus"}
    await way.send("so sieht es aus", html, msgtype="m.image", filename="../../bremse.jpg", file=FILE)
    copy = way.arrived("so sieht es aus").content
    assert (copy["filename"], copy["formatted_body"]) == ("bremse.jpg", "<i>so</i> sieht es aus")


async def test_stickers_arrive_as_stickers(way: Way) -> None:
    await way.send(event_type="m.sticker", body="winkt", file=FILE, info=INFO)
    assert way.target.events[-1]["type"] == "m.sticker"
    assert (way.last["body"], way.last["file"], way.last["info"]) == ("winkt", FILE, INFO)


async def test_places_arrive_as_places(way: Way) -> None:
    await way.send("Ich bin hier", msgtype="m.location", geo_uri="geo:48.137,11.575;u=20")
    copy = way.arrived("Ich bin hier").content
    assert (copy["msgtype"], copy["geo_uri"]) == ("m.location", "geo:48.137,11.575;u=20")


async def share(way: Way, place: str, began: str = "$share") -> EventId:
    """Somebody shares live where they are, and is there now."""
    relation = {"rel_type": "m.reference", "event_id": began}
    located = {"uri": f"geo:{place}"} if place else {}
    content: Json = {"org.matrix.msc3488.location": located, "m.relates_to": relation}
    return await way.send("", content, event_type="org.matrix.msc3672.beacon")


def places(way: Way) -> list[str]:
    return [event["content"]["geo_uri"] for event in way.target.events if "geo_uri" in event["content"]]


async def test_of_a_live_location_the_beginning_arrives_and_nothing_more(way: Way) -> None:
    first = await share(way, "48.1,11.5")
    after = [len(room.events) for room in (way.target, way.world.server.rooms[way.here])]
    assert places(way) == ["geo:48.1,11.5"]
    assert "Live-Standort" in way.last["body"]
    assert way.last["msgtype"] == "m.notice"

    for place in ("48.2,11.6", "48.3,11.7", ""):
        await share(way, place)
    there, here = (len(room.events) for room in (way.target, way.world.server.rooms[way.here]))
    assert [there, here - 3] == after, "nothing was said of later positions to anybody"
    assert set(await arrivals.counts(way.world.database)) == {"done"}

    await share(way, "48.4,11.8", began="$another")
    assert places(way) == ["geo:48.1,11.5", "geo:48.4,11.8"]
    assert first


async def test_who_deletes_a_live_location_deletes_the_place_that_arrived(way: Way) -> None:
    await share(way, "48.1,11.5")
    await way.delete(EventId("$share"))
    assert places(way) == []


async def test_a_live_location_that_names_no_place_is_told_once(world: World) -> None:
    chat = await world.chat(ANNA)
    way = Way(world, ANNA, chat, chat, JAN)
    await world.says(ANNA, chat, "Hallo")
    before = len(world.server.rooms[chat].texts())
    for _ in range(3):
        await share(way, "")
    said = [text for text in (await world.case_room(ANNA)).texts() if text.startswith("📎")]
    assert len(said) == 1
    assert len(world.server.rooms[chat].texts()) == before + 1


async def test_an_open_file_arrives_encrypted(way: Way) -> None:
    data = b"nicht verschluesselt"
    way.world.server.files["mxc://far.example/open"] = data
    await way.send("open.txt", msgtype="m.file", url="mxc://far.example/open")
    file = way.last["file"]
    assert "url" not in way.last
    assert way.world.server.files[file["url"]] != data
    assert file["url"] != "mxc://far.example/open"


async def test_a_file_that_cannot_be_had_is_said_to_its_sender(way: Way) -> None:
    before = len(shown(way.world.server.rooms[way.here]))
    await way.send("weg.txt", msgtype="m.file", url="mxc://far.example/gone")
    said = shown(way.world.server.rooms[way.here])[before + 1 :]
    assert any("Datei" in message.body for message in said)
    await way.send("es geht weiter")
    way.arrived("es geht weiter")


async def test_a_poll_becomes_text_and_its_end_the_result(way: Way) -> None:
    start = await way.send("", {"org.matrix.msc3381.poll.start": POLL}, event_type="org.matrix.msc3381.poll.start")
    question = only(way.target, "📊 Umfrage: Wann?\n1. acht\n2. neun")
    about = {"m.relates_to": {"rel_type": "m.reference", "event_id": start}}
    vote = about | {"org.matrix.msc3381.poll.response": {"answers": ["b"]}}
    await way.send("", vote, event_type="org.matrix.msc3381.poll.response")
    way.world.later(seconds=1)
    await way.send("", about, event_type="org.matrix.msc3381.poll.end")
    result = way.arrived("📊 Ergebnis der Umfrage: Wann?\nacht: 0\nneun: 1")
    assert result.quotes == question.event_id


async def test_a_reply_quotes_the_copy(way: Way) -> None:
    own = await way.send("eins")
    await way.send("zwei", {"m.relates_to": {"m.in_reply_to": {"event_id": own}}})
    assert way.arrived("zwei").quotes == way.arrived("eins").event_id


async def test_a_reply_to_the_other_side_quotes_the_original(way: Way) -> None:
    theirs = await way.answer("Frage?")
    copy = only(way.world.server.rooms[way.here], "Frage?")
    await way.send("> <@x:y> Frage?\n\nAntwort", {"m.relates_to": {"m.in_reply_to": {"event_id": copy.event_id}}})
    assert way.arrived("Antwort").quotes == theirs


async def test_in_a_thread_only_a_true_quotation_counts(way: Way) -> None:
    own = await way.send("eins")
    thread: Json = {"rel_type": "m.thread", "event_id": own, "m.in_reply_to": {"event_id": own}}
    await way.send("zwei", {"m.relates_to": thread | {"is_falling_back": True}})
    await way.send("drei", {"m.relates_to": thread | {"is_falling_back": False}})
    assert way.arrived("zwei").quotes == ""
    assert way.arrived("drei").quotes == way.arrived("eins").event_id


def edit_of(event: str, body: str, **content: Any) -> Json:
    new = {"msgtype": "m.text", "body": body, **content}
    return {"m.new_content": new, "m.relates_to": {"rel_type": "m.replace", "event_id": event}}


async def test_edits_are_edits_also_of_an_edit(way: Way) -> None:
    own = await way.send("eins")
    edit = await way.send("* zwei", edit_of(own, "zwei"))
    await way.send("* drei", edit_of(edit, "drei"))
    copy = way.arrived("drei")
    assert copy.edited
    assert [m.body for m in shown(way.target) if m.body in {"eins", "zwei"}] == []


async def test_the_caption_of_a_file_is_edited(way: Way) -> None:
    own = await way.send("alt", msgtype="m.image", filename="a.jpg", file=FILE)
    await way.send("* neu", edit_of(own, "neu", msgtype="m.image", filename="a.jpg", file=FILE))
    assert way.arrived("neu").content["file"] == FILE


async def test_what_its_author_deletes_is_deleted_with_all_its_edits(way: Way) -> None:
    own = await way.send("eins")
    await way.send("* zwei", edit_of(own, "zwei"))
    await way.delete(own)
    assert not any("eins" in str(e["content"]) or "zwei" in str(e["content"]) for e in way.target.events)


async def test_a_deleted_edit_brings_the_text_before_it_back(way: Way) -> None:
    own = await way.send("eins")
    edit = await way.send("* zwei", edit_of(own, "zwei"))
    await way.delete(edit)
    way.arrived("eins")


async def test_what_a_moderator_removes_stays_on_the_other_side(way: Way) -> None:
    theirs = await way.answer("bleibt")
    copy = only(way.world.server.rooms[way.here], "bleibt")
    await way.delete(EventId(copy.event_id))
    assert only(way.target, "bleibt").event_id == theirs


@pytest.mark.parametrize(("given_key", "key"), [("👍", "👍"), ("👍\ufe0f", "👍"), ("❤", "❤\ufe0f"), ("✅\ufe0f", "✅")])
async def test_a_reaction_stands_at_the_right_message_and_goes_again(way: Way, given_key: str, key: str) -> None:
    theirs = await way.answer("Passt das?")
    copy = only(way.world.server.rooms[way.here], "Passt das?")
    relation = {"rel_type": "m.annotation", "event_id": copy.event_id, "key": given_key}
    reaction = await way.react(relation)
    assert only(way.target, "Passt das?").reactions == {(ME, key)}
    assert only(way.target, "Passt das?").event_id == theirs
    await way.delete(reaction)
    assert only(way.target, "Passt das?").reactions == set()


async def test_our_sign_of_failure_is_never_relayed_as_a_reaction(way: Way) -> None:
    await way.answer("Passt das?")
    copy = only(way.world.server.rooms[way.here], "Passt das?")
    await way.react({"rel_type": "m.annotation", "event_id": copy.event_id, "key": "⚠"})
    assert only(way.target, "Passt das?").reactions == set()


async def test_what_is_deleted_before_it_is_relayed_is_never_seen(way: Way) -> None:
    event = way.world.server.new_event(way.here, way.writer, "m.room.message", {"msgtype": "m.text", "body": "weg"})
    redaction = way.world.server.new_event(way.here, way.writer, "m.room.redaction", {"redacts": event["event_id"]})
    await way.world.take(way.here, event)
    await way.world.take(way.here, redaction)
    await way.world.run()
    assert not any(e["content"].get("body") == "weg" for e in way.target.events)
    assert not await arrivals.stuck(way.world.database)


async def test_an_edit_of_what_was_deleted_brings_nothing_back(way: Way) -> None:
    own = await way.send("eins")
    await way.delete(own)
    await way.send("* zwei", edit_of(own, "zwei"))
    assert not any("zwei" in str(e["content"]) for e in way.target.events)
    assert not await arrivals.stuck(way.world.database)


async def test_an_edit_whose_original_cannot_be_read_stands_for_it(way: Way) -> None:
    """The key of the original comes later: the old text must not come after the new one."""
    way.world.server.missing_keys.add(SessionId("s1"))
    own = await way.world.writes(way.writer, way.here, "alt", session="s1")
    way.world.later(seconds=11)
    await way.world.run()
    await way.send("* neu", edit_of(own, "neu"))
    way.world.server.missing_keys.clear()
    async with way.world.database.transaction() as tx:
        await arrivals.wake_sessions(tx, [SessionId("s1")])
    await way.world.run()
    bodies = [m.body for m in shown(way.target)]
    assert not any(body.endswith("alt") for body in bodies)
    await way.send("* neuer", edit_of(own, "neuer"))
    assert sum(m.body.endswith("neuer") for m in shown(way.target)) == 1


async def test_two_people_react_alike_and_one_takes_it_back(world: World) -> None:
    from tests.flows.world import EVA

    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "Hallo")
    case = (await world.case_room(ANNA)).room_id
    copy = only(world.server.rooms[case], "Hallo").event_id
    relation = {"m.relates_to": {"rel_type": "m.annotation", "event_id": copy, "key": "👍"}}
    reactions = [world.server.new_event(case, who, "m.reaction", relation) for who in (JAN, EVA)]
    for reaction in reactions:
        await world.take(case, reaction)
    await world.run()
    assert only(world.server.rooms[chat], "Hallo").reactions == {(ME, "👍")}
    for who, reaction, left in ((JAN, reactions[0], {(ME, "👍")}), (EVA, reactions[1], set())):
        redaction = world.server.new_event(case, who, "m.room.redaction", {"redacts": reaction["event_id"]})
        await world.take(case, redaction)
        await world.run()
        assert only(world.server.rooms[chat], "Hallo").reactions == left


@pytest.mark.parametrize(
    "content",
    [
        {"msgtype": "m.image", "filename": "a.jpg", "file": FILE, "body": ". nur für uns"},
        {"msgtype": "m.image", "file": FILE, "body": "!geheim.jpg"},
        {"msgtype": "m.image", "file": FILE, "body": ". nur für uns"},
        {"msgtype": "m.emote", "body": ". nur für uns"},
        {"msgtype": "m.notice", "body": "!nur für uns"},
        {"msgtype": "m.location", "geo_uri": "geo:1,1", "body": ". nur für uns"},
        {
            "msgtype": "m.text",
            "body": "> <@x:y> Zitat\n\n. nur für uns",
            "m.relates_to": {"m.in_reply_to": {"event_id": "$x"}},
        },
    ],
)
async def test_notes_never_leave_in_whatever_form(world: World, content: Json) -> None:
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "Hallo")
    case = (await world.case_room(ANNA)).room_id
    before = len(world.server.rooms[chat].events)
    event = world.server.new_event(case, JAN, "m.room.message", content)
    await world.take(case, event)
    await world.run()
    assert len(world.server.rooms[chat].events) == before


@pytest.mark.parametrize("question", [". Wer übernimmt?", "@eva oder ich?"])
async def test_the_result_of_a_poll_among_colleagues_stays_inside(world: World, question: str) -> None:
    """A note, or held and kept: what it came to is not the customer's either."""
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "Hallo")
    case = (await world.case_room(ANNA)).room_id
    before = len(world.server.rooms[chat].events)
    poll = {"org.matrix.msc3381.poll.start": POLL | {"question": {"org.matrix.msc1767.text": question}}}
    start = world.server.new_event(case, JAN, "org.matrix.msc3381.poll.start", poll)
    await world.take(case, start)
    await world.passes(minutes=2)
    about = {"m.relates_to": {"rel_type": "m.reference", "event_id": start["event_id"]}}
    await world.take(case, world.server.new_event(case, JAN, "org.matrix.msc3381.poll.end", about))
    await world.run()
    assert len(world.server.rooms[chat].events) == before


def test_the_same_secret_gives_the_same_file() -> None:
    assert seal(b"x" * 100, b"s") == seal(b"x" * 100, b"s")
    assert seal(b"x" * 100, b"s").data != seal(b"x" * 100, b"t").data
