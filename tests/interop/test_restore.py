"""After a restore people whose clients are at their strictest go on in the same rooms without a word of warning."""

import asyncio
import re

from tests.business import Business
from tests.integration.test_lost_keys import botschaft, everything_is_backed_up, recovery_key
from tests.integration.test_restore import lose_the_disk, restored, taken
from tests.interop.conftest import MakeElement
from tests.interop.talk import Talk


async def test_strict_people_go_on_with_a_restored_bot(business: Business, element_peer: MakeElement) -> None:
    bot = business.bot.mxid
    accounts = (await business.account("anna"), business.people["jan"])
    anna, jan = await asyncio.gather(*(element_peer(account, keeps=True) for account in accounts))
    talk = Talk("exclude_insecure", bot, anna, jan, accounts)
    await talk.begin()
    await anna.command("vouch_for", user_id=bot)
    words = await recovery_key(business)
    await talk.goes_on()
    file = await taken(business)
    for _ in range(3):
        await talk.goes_on()
    await everything_is_backed_up(business)
    await business.kill()
    lose_the_disk(business)
    meanwhile = await talk.writes(anna, talk.chat)

    code, complaint, _ = await restored(business, file, words)
    assert code == 0, complaint
    found = re.search(r"Device: +(\w+)", (await botschaft(business, "device", "status"))[2])
    assert found
    await business.start()

    line = await jan.wait_for(lambda line: line.get("content", {}).get("body") == meanwhile, 60)
    assert line["room_id"] == talk.case
    await talk.goes_on()
    await asyncio.gather(*(peer.command("restart") for peer in (anna, jan)))
    await talk.goes_on()
    await talk.is_clean()
    for peer in (anna, jan):
        opinion = await peer.command("opinion", user_id=bot)
        assert opinion == {"known": True, "verified": True, "needs_approval": False, "devices": {found[1]: True}}
