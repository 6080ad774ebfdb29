"""Nothing fails without somebody hearing of it, and nothing is said that is not so."""

from typing import Any

import pytest

from bot.domain.errors import Refused
from bot.domain.ids import RoomId, SessionId, UserId
from bot.flows import identities, stuck
from bot.flows.intake import RoomUpdate
from bot.flows.reasons import in_words
from bot.store import arrivals
from tests.flows.test_verifying import admin_room, in_inbox, orders
from tests.flows.world import ANNA, BERT, JAN, ME, World

Json = dict[str, Any]


def member(user: UserId, membership: str, number: int) -> Json:
    content = {"membership": membership}
    names = {"type": "m.room.member", "state_key": user, "sender": user, "event_id": f"$member{number}"}
    return names | {"content": content}


async def wakes(world: World, seconds: float) -> None:
    world.later(seconds=seconds)
    async with world.database.transaction() as tx:
        await arrivals.wake_due(tx, world.now())
    await world.run()


@pytest.mark.parametrize("deleted", [True, False])
async def test_every_unreadable_message_has_its_sign_and_the_session_its_sentences(world: World, deleted: bool) -> None:
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "Hallo")
    world.server.missing_keys.add(SessionId("lost"))
    first = await world.writes(ANNA, chat, "eins", session="lost")
    await wakes(world, 11)
    if deleted:
        await world.take(chat, world.server.new_event(chat, ANNA, "m.room.redaction", {"redacts": first}))
    await wakes(world, 61)
    second = await world.writes(ANNA, chat, "zwei", session="lost")
    await wakes(world, 11)
    await wakes(world, 61)
    signs = [e["content"]["m.relates_to"] for e in world.server.rooms[chat].events if e["type"] == "m.reaction"]
    assert [sign["event_id"] for sign in signs] == ([second] if deleted else [first, second])
    assert len([text for text in world.server.rooms[chat].texts() if "nicht lesen" in text]) == 1
    assert len([text for text in admin_room(world).texts() if "keinen Grund genannt" in text]) == 1


async def test_the_admins_hear_of_what_cannot_be_said_where_it_failed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "Hallo")
    case = (await world.case_room(ANNA)).room_id
    before, put = len(admin_room(world).texts()), world.server._put

    def silent(room: RoomId, *rest: Any) -> Any:
        if room == case:
            raise Refused("may not speak", code="M_FORBIDDEN", status=403)
        return put(room, *rest)

    monkeypatch.setattr(world.server, "_put", silent)
    await world.says(BERT, case, "von einem Fremden")
    assert len(admin_room(world).texts()) == before + 1


async def test_staff_hear_of_every_new_identity_also_of_a_customer_who_left(world: World) -> None:
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "Hallo")
    case = await world.case_room(ANNA)
    await world.take_in(RoomUpdate(chat, "leave", (member(ME, "leave", 1),)))
    await world.run()
    for key in ("B", "B", "A", "B", "A"):
        assert await identities.announce_change(world.around, ANNA, key)
        await world.run()
    assert len([text for text in case.texts() if text.startswith("🔑")]) == 4
    assert await identities.announce_change(world.around, BERT, "B")


async def test_nothing_counts_as_verified_that_the_phone_was_not_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    jan = await in_inbox(world)
    await jan.shows()
    await jan.matches()

    async def refuse(*_: Any, **__: Any) -> None:
        raise Refused("no", code="M_FORBIDDEN", status=403)

    monkeypatch.setattr(world.server, "send_handshake", refuse)
    said = await orders(world, "!stimmt 1")
    assert "nicht Bescheid geben" in said
    assert "✅" not in said


@pytest.mark.parametrize("blocked", [True, False])
async def test_an_invitation_that_is_spoken_of_is_made(
    world: World, monkeypatch: pytest.MonkeyPatch, blocked: bool
) -> None:
    chat = await world.chat(ANNA, encrypted=False)
    invite = world.server.invite
    invited: list[UserId] = []

    async def noted(room: RoomId, user: UserId) -> None:
        invited.append(user)
        if blocked:
            raise Refused("blocked", code="M_FORBIDDEN", status=403)
        await invite(room, user)

    monkeypatch.setattr(world.server, "invite", noted)
    world.later(hours=2)
    await world.says(ANNA, chat, "Hallo?")
    assert invited == [ANNA]
    assert ("keine Einladungen" in world.server.rooms[chat].texts()[-1]) == blocked


async def test_who_has_left_again_gets_no_keys(world: World) -> None:
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "Hallo")
    case = (await world.case_room(ANNA)).room_id
    for number, membership in enumerate(("join", "leave")):
        event = member(JAN, membership, number)
        await world.take_in(RoomUpdate(case, "join", (event,), (event,)))
    await wakes(world, 4)
    assert (case, JAN) not in world.server.shared


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("no_key", "Schlüssel"),
        ("forged_not_encrypted", "unverschlüsselt"),
        ("forged_owner", "untergeschoben"),
        ("M_FORBIDDEN", "(M_FORBIDDEN)"),
        ("refused", "abgelehnt"),
        ("KeyError", "Fehler im Programm (KeyError)"),
        ("Mistake", "weiß Bescheid"),
    ],
)
async def test_reasons_are_words(world: World, reason: str, words: str) -> None:
    assert words in in_words(world.around, reason)


async def test_the_admins_hear_which_item_it_is_and_what_can_be_done(world: World) -> None:
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "Hallo")
    event = world.server.new_event(chat, ANNA, "m.room.message", {})
    event["content"] = "nothing"
    await world.take(chat, event)
    await world.run()
    label = (await stuck.listed(world.database))[0].label
    assert f"„!haenger weg {label}“" in admin_room(world).texts()[-1]
