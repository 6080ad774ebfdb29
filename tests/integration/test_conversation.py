"""The whole product on a real homeserver: the bot as a process, people with clients of their own.

Every assertion is on what the receiving client decrypted.
"""

from bot.demo.peer import Peer, Seen
from tests.business import Business
from tests.conftest import MakePeer
from tests.waiting import until


async def arrived(peer: Peer, business: Business, text: str) -> Seen:
    """Wait until a client has decrypted something of the bot."""
    return await peer.wait_for(lambda s: s.sender == business.bot.mxid and text in s.body and s.encrypted, 40)


async def name_of(peer: Peer, room: str) -> str:
    state = await peer.state(room, "m.room.name")
    return str(state["name"]) if state else ""


async def test_a_message_goes_to_staff_and_the_answer_comes_back(business: Business, new_peer: MakePeer) -> None:
    anna, jan = await new_peer(await business.account("anna")), await new_peer(business.people["jan"])
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


async def test_two_customers_do_not_see_each_other(business: Business, new_peer: MakePeer) -> None:
    anna, bert = await new_peer(await business.account("anna")), await new_peer(await business.account("bert"))
    jan = await new_peer(business.people["jan"])
    for peer, text in ((anna, "von Anna"), (bert, "von Bert")):
        await peer.text(await peer.start_chat(business.bot.mxid), text)
    case = (await arrived(jan, business, "von Anna")).room_id
    assert (await arrived(jan, business, "von Bert")).room_id != case
    await jan.text(case, "nur für Anna")
    await arrived(anna, business, "nur für Anna")

    assert not any("Anna" in seen.body for seen in bert.seen)
    assert set(await bert.rooms()) & set(await anna.rooms()) == set()


async def test_who_joins_later_reads_card_and_first_message(business: Business, new_peer: MakePeer) -> None:
    """Eva was invited when the case opened and had no device then; she logs in much later."""
    anna = await new_peer(await business.account("anna"))
    jan = await new_peer(business.people["jan"])
    await anna.text(await anna.start_chat(business.bot.mxid), "die erste Nachricht")
    await arrived(jan, business, "die erste Nachricht")

    eva = await new_peer(business.people["eva"])

    await arrived(eva, business, "Vorgang 1001\n")
    await arrived(eva, business, "die erste Nachricht")


async def test_notes_and_commands_never_reach_the_customer(business: Business, new_peer: MakePeer) -> None:
    anna, jan = await new_peer(await business.account("anna")), await new_peer(business.people["jan"])
    await anna.text(await anna.start_chat(business.bot.mxid), "Hallo")
    case = (await arrived(jan, business, "Hallo")).room_id
    for text in (". geheime Notiz", "!notiz geheim", "!geheim", "!hilfe"):
        await jan.text(case, text)
    await jan.text(case, "das Ende")
    await arrived(anna, business, "das Ende")

    assert not any("geheim" in seen.body for seen in anna.seen)
    assert "!notiz" in (await arrived(jan, business, "!zu / !close")).body


async def test_closing_and_reopening_show_in_the_name(business: Business, new_peer: MakePeer) -> None:
    business.extra = "[cases]\nrename_interval_s = 0\n"
    await business.stop()
    await business.start()
    anna, jan = await new_peer(await business.account("anna")), await new_peer(business.people["jan"])
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


async def test_a_second_start_creates_nothing_new(business: Business, new_peer: MakePeer) -> None:
    anna, jan = await new_peer(await business.account("anna")), await new_peer(business.people["jan"])
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


async def test_an_unencrypted_chat_gets_an_encrypted_one_offered(business: Business, new_peer: MakePeer) -> None:
    anna, jan = await new_peer(await business.account("anna")), await new_peer(business.people["jan"])
    plain = await anna.start_chat(business.bot.mxid, encrypted=False)
    await anna.wait_for(lambda s: s.room_id == plain and "nicht verschlüsselt" in s.body, 30)
    offered = str(await until(lambda: _other_room(anna, plain), timeout_s=30))
    await anna.text(offered, "jetzt verschlüsselt")

    assert (await arrived(jan, business, "jetzt verschlüsselt")).encrypted


async def _other_room(peer: Peer, known: str) -> str | None:
    return next((room for room in await peer.rooms() if room != known), None)


async def test_the_longest_text_is_carried_in_both_directions(business: Business, new_peer: MakePeer) -> None:
    """Full of umlauts and line breaks, as large as we promise: it must fit into one event on the other side."""
    anna, jan = await new_peer(await business.account("anna")), await new_peer(business.people["jan"])
    longest = "Zeile\n" * 4_500
    chat = await anna.start_chat(business.bot.mxid)
    await anna.text(chat, longest, html="<b>x</b>" * 100)
    seen = await jan.wait_for(lambda s: s.body == longest, 40)
    await jan.text(seen.room_id, longest)
    assert (await anna.wait_for(lambda s: s.body == longest and s.sender == business.bot.mxid, 40)).encrypted
