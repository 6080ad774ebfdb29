"""What strangers write is made safe once, and becomes a message whatever it is."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.ids import EventId, RoomId
from bot.domain.message import Kind, Message, Outgoing
from bot.matrix.content import message_of
from bot.matrix.harmless import clean_html, harmless, harmless_name
from bot.matrix.outgoing import event_of

Json = dict[str, Any]
EVENT: Json = {"event_id": "$1", "sender": "@anna:x", "origin_server_ts": 1_700_000_000_000}
KEY = {"kty": "oct", "alg": "A256CTR", "ext": True, "k": "A" * 43, "key_ops": ["encrypt", "decrypt"]}
FILE: Json = {"v": "v2", "url": "mxc://x/abc", "key": KEY, "iv": "A" * 22, "hashes": {"sha256": "A" * 43}}
POLL: Json = {"question": {"body": "Wann?"}, "answers": [{"id": "a", "org.matrix.msc1767.text": "acht"}]}


def read(event_type: str, content: Json, **event: Any) -> Message:
    return message_of(RoomId("!r"), EVENT | {"content": content} | event, event_type, content, encrypted=True)


def text(body: str, **more: Any) -> Json:
    return {"msgtype": "m.text", "body": body} | more


@pytest.mark.parametrize(
    ("event_type", "content", "kind"),
    [
        ("m.room.message", text("a"), Kind.TEXT),
        ("m.room.message", {"msgtype": "m.notice", "body": "a"}, Kind.NOTICE),
        ("m.room.message", {"msgtype": "m.emote", "body": "a"}, Kind.EMOTE),
        ("m.room.message", {"msgtype": "m.image", "body": "a", "file": FILE}, Kind.IMAGE),
        ("m.room.message", {"msgtype": "m.file", "body": "a", "file": FILE}, Kind.FILE),
        ("m.room.message", {"msgtype": "m.audio", "body": "a", "file": FILE}, Kind.AUDIO),
        ("m.room.message", {"msgtype": "m.video", "body": "a", "file": FILE}, Kind.VIDEO),
        ("m.room.message", {"msgtype": "m.location", "body": "a"}, Kind.LOCATION),
        ("m.room.message", {"msgtype": "de.example"}, Kind.OTHER),
        ("m.room.message", {}, Kind.OTHER),
        ("m.sticker", {"body": "a", "url": "mxc://x/abc"}, Kind.STICKER),
        ("org.matrix.msc3381.poll.start", {"org.matrix.msc3381.poll.start": POLL}, Kind.POLL),
        ("m.poll.start", {"m.poll.start": POLL}, Kind.POLL),
        ("org.matrix.msc3381.poll.response", {}, Kind.POLL_VOTE),
        ("org.matrix.msc3381.poll.end", {}, Kind.POLL_END),
        ("m.call.invite", {}, Kind.CALL),
        ("m.call.candidates", {}, Kind.NOISE),
        ("m.key.verification.start", {}, Kind.NOISE),
        ("m.room.message", {"msgtype": "m.image", "body": "a"}, Kind.OTHER),
        ("m.sticker", {"body": "a"}, Kind.OTHER),
        ("org.matrix.msc3381.poll.start", {}, Kind.OTHER),
        ("de.example", {}, Kind.OTHER),
    ],
)
def test_every_kind_has_a_word(event_type: str, content: Json, kind: Kind) -> None:
    assert read(event_type, content).kind is kind


BEACON = "org.matrix.msc3672.beacon"


def beacon(place: object, *, share: object = "$share") -> Json:
    relation = {"rel_type": "m.reference", "event_id": share}
    return {"org.matrix.msc3488.location": place, "m.relates_to": relation, "org.matrix.msc3488.ts": 1}


@pytest.mark.parametrize(("event_type", "name"), [(BEACON, "org.matrix.msc3488.location"), ("m.beacon", "m.location")])
def test_a_position_of_a_live_share_is_a_place(event_type: str, name: str) -> None:
    place = {"uri": "geo:48.13712345678901,11.57;u=14.796392", "description": "@room hier", "evil": "x"}
    message = read(event_type, {name: place, "m.relates_to": beacon({})["m.relates_to"], "file": FILE})

    assert (message.kind, message.share, message.target) == (Kind.LOCATION, "$share", None)
    assert message.body == "@\u200broom hier"
    assert message.attachment
    assert message.attachment.content == {"geo_uri": "geo:48.13712345678901,11.57;u=14.796392"}


@pytest.mark.parametrize("place", [None, 7, [], {}, {"uri": 7, "description": []}, {"uri": "geo:evil"}, {"uri": None}])
def test_a_position_that_names_no_place_is_none(place: object) -> None:
    message = read(BEACON, beacon(place))
    assert (message.kind, message.share, message.attachment) == (Kind.OTHER, "$share", None)


@pytest.mark.parametrize("share", [None, 7, {}, ["$share"]])
def test_a_position_of_no_share_has_none(share: object) -> None:
    assert read(BEACON, beacon({"uri": "geo:1,1"}, share=share)).share is None
    assert read(BEACON, {"org.matrix.msc3488.location": {"uri": "geo:1,1"}, "m.relates_to": "x"}).share is None


def test_an_edit_carries_the_new_text_and_what_it_is_about() -> None:
    relation = {"rel_type": "m.replace", "event_id": "$0"}
    message = read("m.room.message", text("* neu", **{"m.new_content": text("neu"), "m.relates_to": relation}))
    assert (message.kind, message.body, message.target) == (Kind.EDIT, "neu", "$0")


def test_a_relation_in_clear_beside_the_ciphertext_counts() -> None:
    relation = {"rel_type": "m.replace", "event_id": "$0"}
    outer = EVENT | {"content": {"m.relates_to": relation}}
    message = message_of(RoomId("!r"), outer, "m.room.message", {"m.new_content": text("neu")}, encrypted=True)
    assert (message.kind, message.body) == (Kind.EDIT, "neu")


def test_a_deletion_names_its_target_in_old_and_new_rooms() -> None:
    assert read("m.room.redaction", {}, redacts="$0").target == "$0"
    assert read("m.room.redaction", {"redacts": "$0"}).target == "$0"


def test_a_reply_fallback_is_removed_so_that_a_command_below_it_is_seen() -> None:
    relation = {"m.relates_to": {"m.in_reply_to": {"event_id": "$0"}}}
    html = "<mx-reply><blockquote>alt</blockquote></mx-reply><b>neu</b>"
    content = text("> <@x:y> alt\n> mehr\n\n!notiz geheim", format="org.matrix.custom.html", formatted_body=html)
    message = read("m.room.message", content | relation)
    assert message.body == "!notiz geheim"
    assert message.html == "<b>neu</b>"


def test_too_long_is_said_not_cut_in_silence() -> None:
    assert read("m.room.message", text("ü" * 16_001)).oversized
    assert read("m.room.message", text("\n" * 16_001)).oversized
    assert not read("m.room.message", text("ü" * 15_990)).oversized


def test_html_that_does_not_fit_beside_its_text_is_left_out() -> None:
    html = {"format": "org.matrix.custom.html", "formatted_body": "<b>x</b>" * 2_000}
    assert read("m.room.message", text("x", **html)).html is not None
    assert read("m.room.message", text("ü" * 15_000, **html)).html is None


@pytest.mark.parametrize(
    ("given_html", "clean"),
    [
        ("<b>x</b><script>alert(1)</script>", "<b>x</b>"),
        ('<img src="https://evil.example/x">x', "x"),
        ('<b onclick="x()" style="x">y</b>', "<b>y</b>"),
        ('<a href="javascript:x()">y</a>', '<a rel="noopener noreferrer">y</a>'),
        ('<a href="https://matrix.to/#/@jan:x">Jan</a>', '<a rel="noopener noreferrer">Jan</a>'),
        ('<a href="matrix:u/jan:x">Jan</a>', '<a rel="noopener noreferrer">Jan</a>'),
        ("@room <i>hört</i>", "@\u200broom <i>hört</i>"),
        ("<ul><li>a</li></ul>", "<ul><li>a</li></ul>"),
    ],
)
def test_html_is_reduced_to_formatting(given_html: str, clean: str) -> None:
    assert clean_html(given_html) == clean


@given(st.text(alphabet=st.characters(exclude_categories=[])))
def test_text_and_names_are_always_harmless(value: str) -> None:
    for safe in (harmless(value), harmless_name(value, "@anna:x"), clean_html(value)):
        assert not set("\u202e\u2066\u200f\x00\x1b") & set(safe)
        assert "@room " not in safe + " "
    name = harmless_name(value, "@anna:x")
    assert 0 < len(name) <= 61
    assert "\n" not in name


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
keys = ["msgtype", "body", "format", "formatted_body", "m.relates_to", "m.new_content", "redacts", "file", "info"]
contents = st.dictionaries(st.sampled_from(keys) | st.text(max_size=5), json, max_size=5)
types = st.sampled_from(["m.room.message", "m.reaction", "m.room.redaction", "m.sticker"]) | st.text(max_size=8)


@given(types, contents, json)
def test_anything_becomes_a_message(event_type: str, content: Json, stamp: Any) -> None:
    event = EVENT | {"origin_server_ts": stamp, "content": content}
    message = message_of(RoomId("!r"), event, event_type, content, encrypted=True)
    assert message.kind in Kind


def test_what_we_send_means_nobody_by_name() -> None:
    assert event_of(Outgoing("x"))[1]["m.mentions"] == {}
    assert event_of(Outgoing("x", notice=True))[1]["msgtype"] == "m.notice"


def test_our_edit_carries_old_and_new_form() -> None:
    _, content = event_of(Outgoing("neu", html="<b>neu</b>", replaces=EventId("$0")))
    assert content["body"] == "* neu"
    assert len(event_of(Outgoing("x" * 30_000, replaces=EventId("$0")))[1]["body"]) < 400
    assert content["m.new_content"]["formatted_body"] == "<b>neu</b>"
    assert content["m.relates_to"] == {"rel_type": "m.replace", "event_id": "$0"}
