"""What the running bot shows of itself. That nothing personal is among it is seen whenever a business stops."""

import aiohttp

from tests.business import Business
from tests.conftest import MakePeer
from tests.waiting import until


async def test_health_and_figures_of_a_running_bot(business: Business, new_peer: MakePeer) -> None:
    anna = await new_peer(await business.account("anna"))
    jan = await new_peer(business.people["jan"], cross_sign=True)
    chat = await anna.start_chat(business.bot.mxid)
    await anna.text(chat, "Guten Tag")
    await jan.wait_for(lambda seen: seen.body == "Guten Tag", 40)

    async with aiohttp.ClientSession() as http:
        async with http.get(f"http://{business.listen}/health") as answer:
            assert answer.status == 200
        async with http.get(f"http://{business.listen}/ready") as answer:
            assert (answer.status, await answer.json()) == (
                200,
                {"ok": True, "keys": True, "rooms": True, "server": True},
            )
    shown = (await business.metrics()).decode()

    assert 'botschaft_items{state="parked"} 0.0' in shown
    assert "botschaft_last_sync_age_seconds" in shown
    assert "botschaft_ready 1.0" in shown


async def test_the_canary_hears_what_real_people_say_and_see(business: Business, new_peer: MakePeer) -> None:
    assert business.canary
    anna, jan = await new_peer(await business.account("anna")), await new_peer(business.people["jan"])
    chat = await anna.start_chat(business.bot.mxid)
    event = await anna.text(chat, "Was sie verschlüsselt schreibt")
    copy = await jan.wait_for(lambda seen: seen.body == "Was sie verschlüsselt schreibt", 40)
    clear = await anna.send(chat, "m.room.message", {"msgtype": "m.text", "body": "Was in Klartext steht"}, clear=True)
    await until(lambda: clear in {seen.event_id for seen in anna.seen})

    token = anna._http._headers["Authorization"].removeprefix("Bearer ")
    said = ("Was in Klartext steht", "Was sie verschlüsselt schreibt")
    ids = (anna.user_id, jan.user_id, business.bot.mxid, chat, copy.room_id, event, clear, copy.event_id)
    assert business.canary.has_heard(*said, *ids, token)
