"""A blocked customer is not heard, then heard again, and a muted one rings nowhere: on a real server, between clients."""

import re

from tests.business import Business
from tests.conftest import MakePeer
from tests.integration.test_conversation import arrived


async def test_who_is_blocked_is_not_heard_until_the_block_ends(business: Business, new_peer: MakePeer) -> None:
    anna, jan = await new_peer(await business.account("anna")), await new_peer(business.people["jan"])
    bert = await new_peer(await business.account("bert"))
    chat = await anna.start_chat(business.bot.mxid)
    await anna.text(chat, "vorher")
    case = (await arrived(jan, business, "vorher")).room_id
    await jan.text(case, "!sperren 7d")
    assert (await arrived(jan, business, "Gesperrt bis")).msgtype == "m.notice"

    await anna.text(chat, "verlorenes Wort")
    # Whoever writes later and is heard shows that the bot has had what came before.
    await bert.text(await bert.start_chat(business.bot.mxid), "von Bert")
    await arrived(jan, business, "von Bert")
    await jan.text(case, "Ihre Antwort")
    await arrived(anna, business, "Ihre Antwort")
    await jan.text(case, "!entsperren")
    await arrived(jan, business, "Nicht mehr gesperrt")
    await anna.text(chat, "wieder da")
    await arrived(jan, business, "wieder da")
    await jan.text(case, "!stumm 2h")
    await arrived(jan, business, "Stumm bis")
    await anna.text(chat, "ganz leise")

    assert (await arrived(jan, business, "ganz leise")).msgtype == "m.notice"
    assert not [seen for seen in jan.seen if "verlorenes Wort" in seen.body]
    assert not [seen for seen in anna.seen if "sperr" in seen.body.casefold() or "stumm" in seen.body.casefold()]


async def test_a_flood_does_not_hold_up_the_order_against_it(business: Business, new_peer: MakePeer) -> None:
    await business.again("[customers]\nburst = 3\nmessages_per_minute = 1\n")
    anna, jan = await new_peer(await business.account("anna")), await new_peer(business.people["jan"])
    chat = await anna.start_chat(business.bot.mxid)
    await anna.text(chat, "vorher")
    case = (await arrived(jan, business, "vorher")).room_id
    await jan.text(case, "Ja bitte?")
    await arrived(anna, business, "Ja bitte?")
    for number in range(12):
        await anna.text(chat, f"GRATIS {number}")
    await arrived(jan, business, "GRATIS 1")  # the burst is over, the next would come in a minute, the last in ten

    await jan.text(case, "!sperren 7d")
    reply = await arrived(jan, business, "Gesperrt bis")

    bert = await new_peer(await business.account("bert"))
    await bert.text(await bert.start_chat(business.bot.mxid), "von Bert")
    await arrived(jan, business, "von Bert")
    copies = [seen.body for seen in jan.seen if seen.body.startswith("GRATIS")]
    assert len(copies) < 6
    assert re.findall(r"Nachrichten: (\d+)", reply.body) == [str(12 - len(copies))]
    assert [seen.body for seen in anna.seen if seen.sender == business.bot.mxid][-1] == "Ja bitte?"
