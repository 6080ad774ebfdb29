"""The whole product on a real homeserver: the bot as a process, people with clients of their own.

Every assertion is on what the receiving client decrypted.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest_asyncio

from bot.demo.peer import Peer, Seen
from bot.demo.synapse import LocalSynapse
from tests.business import Account, Business, a_business
from tests.waiting import until

LogIn = Callable[[Account], Awaitable[Peer]]


@pytest_asyncio.fixture
async def log_in(synapse: LocalSynapse, tmp_path: Path) -> AsyncIterator[LogIn]:
    """Log somebody in with a client of their own."""
    peers: list[Peer] = []

    async def make(account: Account) -> Peer:
        store = tmp_path / f"client{len(peers)}"
        store.mkdir()
        peers.append(await Peer.login(synapse.url, account.user, account.password, store=store))
        return peers[-1]

    yield make
    for peer in peers:
        await peer.close()


@pytest_asyncio.fixture
async def business(synapse: LocalSynapse, tmp_path: Path) -> AsyncIterator[Business]:
    """A bot that serves, with two mechanics and an admin."""
    folder = tmp_path / "bot"
    folder.mkdir()
    made = await a_business(synapse, folder)
    made.people = {name: await made.account(name) for name in ("jan", "eva", "chef")}
    made.members = [made.people["jan"].mxid, made.people["eva"].mxid]
    made.admins = [made.people["chef"].mxid]
    await made.start()
    yield made
    assert await made.stop() == 0, made.log()
    assert "Traceback" not in made.log()


async def arrived(peer: Peer, business: Business, text: str) -> Seen:
    """Wait until a client has decrypted something of the bot."""
    return await peer.wait_for(lambda s: s.sender == business.bot.mxid and text in s.body and s.encrypted, 40)


async def name_of(peer: Peer, room: str) -> str:
    state = await peer.state(room, "m.room.name")
    return str(state["name"]) if state else ""


async def test_a_message_goes_to_staff_and_the_answer_comes_back(business: Business, log_in: LogIn) -> None:
    anna, jan = await log_in(await business.account("anna")), await log_in(business.people["jan"])
    chat = await anna.start_chat(business.bot.mxid)
    question = await anna.text(chat, "Meine Bremse quietscht", html="Meine <b>Bremse</b> quietscht<script>x</script>")

    await arrived(anna, business, "Werkstatt Müller")
    await arrived(jan, business, "Neuer Vorgang 1001")
    seen = await arrived(jan, business, "Meine Bremse quietscht")
    assert seen.msgtype == "m.text"
    assert seen.content["formatted_body"] == "Meine <b>Bremse</b> quietscht"
    assert await name_of(jan, seen.room_id) == "🔴 1001"
    await jan.text(seen.room_id, "Kommen Sie um neun.")
    answer = await arrived(anna, business, "Kommen Sie um neun.")

    assert answer.room_id == chat
    await until(lambda: anna.receipts.get(chat, {}).get(business.bot.mxid) == question, timeout_s=20)
    pinned = await jan.state(seen.room_id, "m.room.pinned_events")
    card = next(s for s in jan.seen if s.body.startswith("Vorgang 1001\n"))
    assert pinned == {"pinned": [card.event_id]}
    assert card.msgtype == "m.notice"


async def test_two_customers_do_not_see_each_other(business: Business, log_in: LogIn) -> None:
    anna, bert = await log_in(await business.account("anna")), await log_in(await business.account("bert"))
    jan = await log_in(business.people["jan"])
    for peer, text in ((anna, "von Anna"), (bert, "von Bert")):
        await peer.text(await peer.start_chat(business.bot.mxid), text)
    case = (await arrived(jan, business, "von Anna")).room_id
    assert (await arrived(jan, business, "von Bert")).room_id != case
    await jan.text(case, "nur für Anna")
    await arrived(anna, business, "nur für Anna")

    assert not any("Anna" in seen.body for seen in bert.seen)
    assert set(await bert.rooms()) & set(await anna.rooms()) == set()


async def test_who_joins_later_reads_card_and_first_message(business: Business, log_in: LogIn) -> None:
    """Eva was invited when the case opened and had no device then; she logs in much later."""
    anna = await log_in(await business.account("anna"))
    jan = await log_in(business.people["jan"])
    await anna.text(await anna.start_chat(business.bot.mxid), "die erste Nachricht")
    await arrived(jan, business, "die erste Nachricht")

    eva = await log_in(business.people["eva"])

    await arrived(eva, business, "Vorgang 1001\n")
    await arrived(eva, business, "die erste Nachricht")


async def test_notes_and_commands_never_reach_the_customer(business: Business, log_in: LogIn) -> None:
    anna, jan = await log_in(await business.account("anna")), await log_in(business.people["jan"])
    await anna.text(await anna.start_chat(business.bot.mxid), "Hallo")
    case = (await arrived(jan, business, "Hallo")).room_id
    for text in (". geheime Notiz", "!notiz geheim", "!geheim", "!hilfe"):
        await jan.text(case, text)
    await jan.text(case, "das Ende")
    await arrived(anna, business, "das Ende")

    assert not any("geheim" in seen.body for seen in anna.seen)
    assert "!notiz" in (await arrived(jan, business, "!zu / !close")).body


async def test_closing_and_reopening_show_in_the_name(business: Business, log_in: LogIn) -> None:
    business.extra = "[cases]\nrename_interval_s = 0\n"
    await business.stop()
    await business.start()
    anna, jan = await log_in(await business.account("anna")), await log_in(business.people["jan"])
    chat = await anna.start_chat(business.bot.mxid)
    await anna.text(chat, "Hallo")
    case = (await arrived(jan, business, "Hallo")).room_id

    async def shows(sign: str) -> bool:
        return (await name_of(jan, case)).startswith(sign)

    await jan.text(case, "Antwort")
    await until(lambda: shows("🟡"))
    await jan.text(case, "!zu")
    await until(lambda: shows("✅"))
    await anna.text(chat, "noch etwas")
    await arrived(jan, business, "noch etwas")
    await until(lambda: shows("🔴"))


async def test_a_second_start_creates_nothing_new(business: Business, log_in: LogIn) -> None:
    anna, jan = await log_in(await business.account("anna")), await log_in(business.people["jan"])
    chat = await anna.start_chat(business.bot.mxid)
    await anna.text(chat, "vorher")
    case = (await arrived(jan, business, "vorher")).room_id
    before = set(await jan.rooms())
    devices = await anna.call("POST", "/_matrix/client/v3/keys/query", {"device_keys": {business.bot.mxid: []}})

    await business.stop()
    await business.start()
    await anna.text(chat, "nachher")

    assert (await arrived(jan, business, "nachher")).room_id == case
    assert set(await jan.rooms()) == before
    again = await anna.call("POST", "/_matrix/client/v3/keys/query", {"device_keys": {business.bot.mxid: []}})
    assert again["device_keys"] == devices["device_keys"]
    assert again["master_keys"] == devices["master_keys"]


async def test_an_unencrypted_chat_gets_an_encrypted_one_offered(business: Business, log_in: LogIn) -> None:
    anna, jan = await log_in(await business.account("anna")), await log_in(business.people["jan"])
    plain = await anna.start_chat(business.bot.mxid, encrypted=False)
    await anna.wait_for(lambda s: s.room_id == plain and "nicht verschlüsselt" in s.body, 30)
    offered = await until(lambda: _other_room(anna, plain), timeout_s=30)
    await anna.text(offered, "jetzt verschlüsselt")

    assert (await arrived(jan, business, "jetzt verschlüsselt")).encrypted


async def _other_room(peer: Peer, known: str) -> str | None:
    return next((room for room in await peer.rooms() if room != known), None)
