"""The door on a real homeserver: staff ask, a customer signs in with what the slip says, and a shell does the same."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from io import BytesIO
from pathlib import Path

import pypdfium2
import pytest_asyncio
import zxingcpp
from PIL import Image

from bot.demo.peer import Peer, Seen
from bot.demo.synapse import LocalSynapse
from tests.business import Account, Business, a_business
from tests.conftest import MakePeer, MakeSynapse, MakeUser
from tests.files import FileClient
from tests.integration.test_admin import BY_TOKEN, logged_in, registered
from tests.integration.test_conversation import arrived
from tests.waiting import until

ACCOUNT = re.compile(r"@(?:kunde|customer)-[2-9a-z]{8}:localhost")
PASSWORD = re.compile(r"\b[2-9a-z]{4}(?:-[2-9a-z]{4}){3}\b")
TOKEN = re.compile(r"\b[2-9a-z]{4}(?:-[2-9a-z]{4}){2}\b")

MakeBusiness = Callable[..., Awaitable[Business]]


@pytest_asyncio.fixture
async def a_door(tmp_path: Path, new_user: MakeUser) -> AsyncIterator[MakeBusiness]:
    """Make a business whose bot has the token of its server's administrator: `await a_door(server, "slip_hours = 1")`."""
    made: list[Business] = []

    async def make(server: LocalSynapse, extra: str = "") -> Business:
        business = await a_business(server, tmp_path)
        business.people = {name: await business.account(name) for name in ("jan", "chef")}
        business.members, business.admins = [business.people["jan"].mxid], [business.people["chef"].mxid]
        token = tmp_path / "admin.token"
        token.write_text(await logged_in(server, await new_user("root", admin=True, on=server)))
        token.chmod(0o600)
        business.homeserver = 'sync_timeout_s = 10\nadmin_token_file = "admin.token"'
        business.extra = f'[door]\nweb_client = "https://chat.example.de"\n{extra}\n'
        business.write()
        made.append(business)
        return business

    yield make
    for business in made:
        if business.process:
            assert await business.stop() == 0, business.log()
        assert "Traceback" not in business.log(), business.log()


async def room_named(peer: Peer, start: str) -> str:
    """Wait until somebody is in a room whose name begins so."""

    async def found() -> str:
        for room in await peer.rooms():
            state = await peer.state(room, "m.room.name")
            if state and str(state["name"]).startswith(start):
                return room
        return ""

    return await until(found, timeout_s=30)


async def slip_and_words(peer: Peer, business: Business, room: str) -> tuple[Seen, Seen]:
    """Wait for a slip in a room and the words below it."""
    slip = await peer.wait_for(lambda s: s.msgtype == "m.image" and s.sender == business.bot.mxid, 40)
    words = await peer.wait_for(lambda s: s.body[:1] in {"🪪", "🎟"} and s.room_id == slip.room_id == room, 40)
    assert slip.encrypted
    assert words.encrypted
    return slip, words


async def links_of(server: LocalSynapse, reader: Account, slip: Seen) -> set[str]:
    files = await FileClient.login(server, reader)
    with Image.open(BytesIO(await files.open(slip.content["file"]))) as picture:
        return {found.text for found in zxingcpp.read_barcodes(picture)}


async def test_a_mechanic_lets_somebody_in_who_then_writes(
    synapse: LocalSynapse, a_door: MakeBusiness, new_peer: MakePeer
) -> None:
    business = await a_door(synapse)
    await business.start()
    jan = await new_peer(business.people["jan"])
    inbox = await room_named(jan, "📥")

    await jan.text(inbox, "!neukunde")
    slip, words = await slip_and_words(jan, business, inbox)

    account, password = ACCOUNT.findall(words.body)[0], PASSWORD.findall(words.body)[0]
    assert await links_of(synapse, business.people["jan"], slip) == {
        f"matrix:u/{business.bot.mxid[1:]}?action=chat",
        f"https://mobile.element.io/element/?account_provider=localhost&login_hint=mxid:{account}",
    }
    customer = await new_peer(Account(account, account[1:].partition(":")[0], password))
    chat = await customer.start_chat(business.bot.mxid)
    await customer.text(chat, "Da bin ich, mit neuem Konto.")
    case = (await arrived(jan, business, "Da bin ich, mit neuem Konto.")).room_id
    await jan.text(case, "Willkommen.")
    await arrived(customer, business, "Willkommen.")
    assert password not in business.log()
    assert account not in business.log()


async def test_a_code_lets_in_one_person_once(
    own_synapse: MakeSynapse, a_door: MakeBusiness, new_peer: MakePeer
) -> None:
    server = await own_synapse(settings=BY_TOKEN)
    business = await a_door(server)
    await business.start()
    chef = await new_peer(business.people["chef"], on=server)
    leadership = await room_named(chef, "🛠")

    await chef.text(leadership, "!newcustomer token en")
    slip, words = await slip_and_words(chef, business, leadership)

    (token,) = set(TOKEN.findall(words.body))
    assert "https://mobile.element.io/element/?account_provider=localhost" in await links_of(
        server, business.people["chef"], slip
    )
    assert await registered(server, token) == 200
    assert await registered(server, token) == 401


async def test_a_slip_leaves_the_room_when_it_has_had_its_time(
    synapse: LocalSynapse, a_door: MakeBusiness, new_peer: MakePeer
) -> None:
    business = await a_door(synapse, "slip_hours = 0.0005")
    await business.start()
    jan = await new_peer(business.people["jan"])
    inbox = await room_named(jan, "📥")

    await jan.text(inbox, "!neukunde")
    for seen in await slip_and_words(jan, business, inbox):

        async def is_gone(event: str = seen.event_id) -> bool:
            found = await jan.call("GET", f"/_matrix/client/v3/rooms/{inbox}/event/{event}")
            return not found["content"]

        await until(is_gone, timeout_s=30)


async def botschaft(business: Business, *words: str) -> tuple[int, str]:
    """Run a command of the shell; return its code and everything it printed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bot", *words, "--config", str(business.config)),
        cwd=business.folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=os.environ | {"PYTHONWARNINGS": "error", "COLUMNS": "200"},
    )
    printed, _ = await process.communicate()
    return process.returncode or 0, printed.decode()


async def test_a_shell_makes_an_account_that_works(
    synapse: LocalSynapse, a_door: MakeBusiness, new_peer: MakePeer
) -> None:
    business = await a_door(synapse)

    code, printed = await botschaft(business, "customer", "new", "--lang", "de", "--lang", "en")

    assert code == 0, printed
    account, password = ACCOUNT.findall(printed)[0], PASSWORD.findall(printed)[0]
    document = pypdfium2.PdfDocument(business.folder / "access-slip.pdf")
    try:
        assert len(document) == 2
        found = zxingcpp.read_barcodes(document[1].render(scale=3).to_pil())
        assert any(account in code.text for code in found)
    finally:
        document.close()
    peer = await new_peer(Account(account, account[1:].partition(":")[0], password))
    assert peer.user_id == account


async def test_a_shell_makes_a_token_where_registration_is_open_and_says_so_where_not(
    synapse: LocalSynapse, own_synapse: MakeSynapse, a_door: MakeBusiness
) -> None:
    closed = await a_door(synapse)
    code, printed = await botschaft(closed, "customer", "new", "--token")
    assert code == 1
    assert "enable_registration: true" in printed
    assert not (closed.folder / "access-slip.pdf").exists()

    server = await own_synapse(settings=BY_TOKEN)
    business = await a_door(server)
    code, printed = await botschaft(business, "customer", "new", "--token", "--out", "code.png")
    assert code == 0, printed
    (token,) = set(TOKEN.findall(printed))
    assert await registered(server, token) == 200
    assert await registered(server, token) == 401


async def test_a_token_of_nobody_in_particular_is_told_apart(
    synapse: LocalSynapse, a_door: MakeBusiness, new_user: MakeUser
) -> None:
    business = await a_door(synapse)
    for token, sentence in (
        (await logged_in(synapse, await new_user()), "is no server administrator"),
        ("syt_made_up", "does not know the token"),
    ):
        (business.folder / "admin.token").write_text(token)
        code, printed = await botschaft(business, "customer", "new")
        assert code == 1
        assert sentence in " ".join(printed.split())
        assert token not in printed
