"""`!neukunde`: who may, what is made, what the slip shows, and that no secret stays anywhere."""

import re
from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest
import zxingcpp
from nio.crypto.attachments import decrypt_attachment
from PIL import Image

from bot.domain.door import Gift
from bot.domain.ids import RoomId, UserId
from bot.store import arrivals
from tests.flows.fake import Crash, FakeRoom
from tests.flows.world import ANNA, CHEF, EVA, JAN, RULES, World

ACCOUNT = re.compile(r"@kunde-[2-9a-z]{8}:example\.org")
SECRET = re.compile(r"(?<![-\w])[2-9a-z]{4}(?:-[2-9a-z]{4}){2,3}(?![-\w])")


def inbox(world: World) -> FakeRoom:
    return world.made("inbox:annahme")[0]


def of_bot(room: FakeRoom) -> list[dict[str, Any]]:
    """Return what the bot says in a room; of what it deleted nothing stands there."""
    return [
        event["content"]
        for event in room.events
        if event["sender"] == RULES.me and event["content"] and event["type"] != "m.room.redaction"
    ]


async def answered(world: World, room: FakeRoom, words: str, sender: UserId = JAN) -> list[dict[str, Any]]:
    """Write a command and return what the bot said to it."""
    before = len(room.events)
    await world.says(sender, room.room_id, words)
    return [e["content"] for e in room.events[before:] if e["sender"] == RULES.me and e["content"]]


def links_of(world: World, slip: dict[str, Any]) -> set[str]:
    """Decrypt a slip as a client does, and read its codes with a decoder of others."""
    file = slip["file"]
    data = decrypt_attachment(world.server.files[file["url"]], file["key"]["k"], file["hashes"]["sha256"], file["iv"])
    with Image.open(BytesIO(data)) as picture:
        assert (picture.width, picture.height) == (slip["info"]["w"], slip["info"]["h"])
        return {found.text for found in zxingcpp.read_barcodes(picture)}


@pytest.mark.parametrize(("sender", "mark"), [(JAN, "inbox:annahme"), (CHEF, "admin")])
async def test_staff_get_an_account_and_its_slip(world: World, sender: UserId, mark: str) -> None:
    slip, text = await answered(world, world.made(mark)[0], "!neukunde", sender)

    ((account, password),) = world.server.accounts.items()
    assert ACCOUNT.fullmatch(account)
    assert SECRET.fullmatch(password)
    assert account in text["body"]
    assert password in text["body"]
    assert text["msgtype"] == "m.notice"
    assert (slip["msgtype"], slip["body"]) == ("m.image", "Zugangszettel.png")
    assert links_of(world, slip) == {
        "matrix:u/werkstatt:example.org?action=chat",
        f"https://mobile.element.io/element/?account_provider=example.org&login_hint=mxid:{account}",
    }


async def test_a_token_is_good_for_one_account_and_some_days(world: World) -> None:
    slip, text = await answered(world, inbox(world), "!neukunde code en")

    ((token, expires_at),) = world.server.registration_tokens.items()
    assert expires_at - world.now() == RULES.door.token_lasts
    assert token in text["body"]
    assert "https://chat.example.org/#/register" in text["body"]
    assert "16.03.2026" not in text["body"]  # the slip is in English
    assert "16 March 2026" in text["body"]
    assert world.server.accounts == {}
    assert "https://mobile.element.io/element/?account_provider=example.org" in links_of(world, slip)


async def test_without_an_administrator_the_slip_has_lines_to_write_on(world: World) -> None:
    world.has_registrar = False
    await world.restart()

    slip, text = await answered(world, inbox(world), "!newcustomer")

    assert "admin_token_file" in text["body"]
    assert (world.server.accounts, world.server.registration_tokens) == ({}, {})
    assert "https://mobile.element.io/element/?account_provider=example.org" in links_of(world, slip)
    assert await arrivals.next_due(world.database) is None, "there is no secret that would have to go"


@pytest.mark.parametrize("words", ["!neukunde Meier", "!neukunde konto fr", "!neukunde konto\nfür Frau Meier"])
async def test_names_are_not_taken(world: World, words: str) -> None:
    (text,) = await answered(world, inbox(world), words)

    assert "nichts angelegt" in text["body"]
    assert "Meier" not in text["body"]
    assert world.server.accounts == {}


async def test_in_the_room_of_a_case_nothing_is_made(world: World) -> None:
    chat = await world.chat(ANNA)
    await world.says(ANNA, chat, "Hallo")

    (text,) = await answered(world, await world.case_room(ANNA), "!neukunde")

    assert "nur im Eingang" in text["body"]
    assert world.server.accounts == {}
    assert not any("neukunde" in told for told in world.server.rooms[chat].texts()[1:])


async def test_who_does_not_work_here_gets_nothing(world: World) -> None:
    stranger = UserId("@once-staff:example.org")
    inbox(world).members[stranger] = "join"

    assert await answered(world, inbox(world), "!neukunde", stranger) == []
    assert world.server.accounts == {}


async def test_only_so_many_in_an_hour_whoever_asks(world: World) -> None:
    for sender in (JAN, EVA, JAN):
        await answered(world, inbox(world), "!neukunde", sender)

    (text,) = await answered(world, world.made("admin")[0], "!neukunde", CHEF)
    assert "door.per_hour" in text["body"]
    assert len(world.server.accounts) == 3

    world.later(minutes=61)
    assert len(await answered(world, inbox(world), "!neukunde", EVA)) == 2
    assert len(world.server.accounts) == 4


async def test_the_limit_outlasts_a_restart(world: World) -> None:
    for _ in range(3):
        await answered(world, inbox(world), "!neukunde")
    await world.restart()

    assert len(await answered(world, inbox(world), "!neukunde")) == 1
    assert len(world.server.accounts) == 3


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("token_invalid", "kennt meine Berechtigung"),
        ("not_admin", "kein Server-Administrator"),
        ("not_synapse", "keine Verwaltungs-Schnittstelle"),
        ("accounts_elsewhere", "anderer Dienst"),
        ("M_UNKNOWN", "abgelehnt"),
    ],
)
@pytest.mark.parametrize("words", ["!neukunde", "!neukunde code"])
async def test_what_the_server_refuses_is_said_in_words(world: World, code: str, sentence: str, words: str) -> None:
    world.server.registrar_says = code

    (text,) = await answered(world, inbox(world), words)

    assert sentence in text["body"]
    assert (await arrivals.counts(world.database)).keys() == {"done"}
    assert (world.server.accounts, world.server.registration_tokens) == ({}, {})


async def test_a_server_closed_to_registrations_makes_no_token(world: World) -> None:
    world.server.registration_open = False

    (text,) = await answered(world, inbox(world), "!neukunde code")

    assert "enable_registration" in text["body"]
    assert world.server.registration_tokens == {}
    assert len(await answered(world, inbox(world), "!neukunde konto")) == 2


async def test_a_token_needs_a_page_to_register_at(world: World) -> None:
    house = replace(RULES.door.house, web_client="")
    door = replace(RULES.door, house=house, gives=Gift.TOKEN)
    world.around = replace(world.around, rules=replace(RULES, door=door))

    (text,) = await answered(world, inbox(world), "!neukunde")

    assert "door.web_client" in text["body"]
    assert world.server.registration_tokens == {}


async def test_a_name_that_somebody_has_is_not_taken_over(world: World) -> None:
    world.server.taken_names = 3
    await answered(world, inbox(world), "!neukunde")
    assert len(world.server.accounts) == 1
    assert world.server.calls.count("is_free") == 4

    world.server.taken_names = 1000
    (text,) = await answered(world, inbox(world), "!neukunde")
    assert "abgelehnt" in text["body"]
    assert len(world.server.accounts) == 1


async def test_a_server_that_takes_no_file_leaves_the_words(world: World) -> None:
    world.server.refuses_files = True

    (text,) = await answered(world, inbox(world), "!neukunde")

    ((account, password),) = world.server.accounts.items()
    assert account in text["body"]
    assert password in text["body"]
    assert "abschreiben" in text["body"]


async def test_no_secret_stays_in_tables_or_rooms(world: World) -> None:
    room = inbox(world)
    before = await arrivals.next_due(world.database)
    await answered(world, room, "!neukunde")
    await answered(world, room, "!neukunde code")
    secrets = [*world.server.accounts.values(), *world.server.registration_tokens]
    names = list(world.server.accounts)

    dump = await everything(world)
    assert before is None
    assert not [text for text in (*secrets, *names) if text in dump]

    world.later(hours=23)
    await due(world)
    assert any(secrets[0] in str(content) for content in of_bot(room))
    world.later(hours=2)
    await due(world)
    assert of_bot(room) == []
    assert (await arrivals.counts(world.database)).keys() == {"done"}


async def due(world: World) -> None:
    async with world.database.transaction() as tx:
        await arrivals.wake_due(tx, world.now())
    await world.run()


async def everything(world: World) -> str:
    """Return all that stands in our tables."""
    tables = [row[0] for row in await world.database.all("SELECT name FROM sqlite_master WHERE type = 'table'")]
    rows = [await world.database.all(f"SELECT * FROM {table}") for table in tables]
    return str([tuple(row) for table in rows for row in table])


async def test_a_customer_whose_account_we_made_is_a_customer_like_any_other(world: World) -> None:
    await answered(world, inbox(world), "!neukunde")
    ((account, _),) = world.server.accounts.items()

    chat: RoomId = await world.chat(account)
    await world.says(account, chat, "Da bin ich.")

    assert "Da bin ich." in (await world.case_room(account)).texts()


async def test_a_slip_that_the_server_forgot_is_gone_already(world: World) -> None:
    room = inbox(world)
    await answered(world, room, "!neukunde")
    room.events.clear()

    world.later(hours=25)
    await due(world)

    assert (await arrivals.counts(world.database)).keys() == {"done"}


@pytest.mark.parametrize("at", range(1, 7))
async def test_what_was_made_for_somebody_who_has_left_since_does_not_stay_in_the_room(world: World, at: int) -> None:
    room = inbox(world)
    await world.writes(JAN, room.room_id, "!neukunde")
    world.server.fail_at(at, "before", Crash())
    with pytest.raises(Crash):
        await world.run()
    world.server.failure = None
    world.rule(desks=(replace(RULES.desks[0], members=(EVA,)),))
    await world.restart()
    await world.run()

    assert sum("kunde-" in str(content) for content in of_bot(room)) == len(world.server.accounts)
    world.later(hours=25)
    await due(world)
    assert of_bot(room) == []
    assert (await arrivals.counts(world.database)).keys() == {"done"}
