"""More strangers than are let in, on a real server: who waits can write already, and nothing of it is lost."""

from tests.business import Business
from tests.conftest import MakePeer
from tests.integration.test_conversation import arrived


async def test_who_has_to_wait_outside_is_read_in_full_later(business: Business, new_peer: MakePeer) -> None:
    await business.again("[customers]\nstrangers_per_hour = 1\n")
    anna, bert = await new_peer(await business.account("anna")), await new_peer(await business.account("bert"))
    jan, chef = await new_peer(business.people["jan"]), await new_peer(business.people["chef"])
    bot = business.bot.mxid
    chat = await anna.start_chat(bot)
    await anna.text(chat, "Hallo")
    case = (await arrived(jan, business, "Hallo")).room_id
    await jan.text(case, "Guten Tag")
    await arrived(anna, business, "Guten Tag")

    outside = await bert.start_chat(bot)
    for text in ("Ich warte", "immer noch"):
        await bert.text(outside, text)
    told = await chef.wait_for(lambda s: s.sender == bot and "Unbekannte auf einmal: 1 warten" in s.body, 120)
    assert told.msgtype == "m.notice"
    assert told.encrypted
    await anna.text(chat, "Ich bin bekannt")
    assert (await arrived(jan, business, "Ich bin bekannt")).room_id == case
    member = await bert.state(outside, "m.room.member", bot)
    assert member
    assert member["membership"] == "invite"
    assert not any("warte" in seen.body for seen in jan.seen)

    await business.again("[customers]\nstrangers_per_hour = 100\n")
    waited = await arrived(jan, business, "Ich warte")
    assert (await arrived(jan, business, "immer noch")).room_id == waited.room_id != case
    await jan.text(waited.room_id, "Danke für Ihre Geduld")
    await arrived(bert, business, "Danke für Ihre Geduld")
    assert not any("Unbekannte" in seen.body for seen in [*anna.seen, *bert.seen, *jan.seen])
