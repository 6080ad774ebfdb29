"""What the running bot shows of itself, and that nothing personal is among it."""

import socket

import aiohttp

from tests.business import Business
from tests.conftest import MakePeer


async def test_health_and_figures_of_a_running_bot(business: Business, new_peer: MakePeer) -> None:
    await business.stop()
    with socket.create_server(("127.0.0.1", 0)) as found:
        listen = f"127.0.0.1:{found.getsockname()[1]}"
    business.extra = f'[web]\nlisten = "{listen}"\n'
    await business.start()
    anna = await new_peer(await business.account("anna"))
    jan = await new_peer(business.people["jan"], cross_sign=True)
    chat = await anna.start_chat(business.bot.mxid)
    await anna.text(chat, "Guten Tag")
    await jan.wait_for(lambda seen: seen.body == "Guten Tag", 40)

    async with aiohttp.ClientSession() as http:
        async with http.get(f"http://{listen}/health") as answer:
            assert answer.status == 200
        async with http.get(f"http://{listen}/ready") as answer:
            assert (answer.status, await answer.json()) == (
                200,
                {"ok": True, "keys": True, "rooms": True, "server": True},
            )
        async with http.get(f"http://{listen}/metrics") as answer:
            shown = await answer.text()

    assert 'botschaft_items{state="parked"} 0.0' in shown
    assert "botschaft_last_sync_age_seconds" in shown
    assert "botschaft_ready 1.0" in shown
    assert not [secret for secret in (anna.user_id, chat, "werkstatt", "Guten") if secret in shown]
