"""Keys for life, on Element's encryption: restarts and new devices of everybody, in each mode a client may be in.

What concerns the one bot happens once, with all modes side by side; what concerns a client once for each mode.
"""

import asyncio

import pytest

from tests.integration.test_lost_keys import everything_is_backed_up, recover, recovery_key
from tests.interop.talk import MODES, House, Json, Talk, read


async def test_the_bot_is_started_anew(house: House) -> None:
    await house.business.kill()

    async def write_meanwhile(talk: Talk) -> tuple[str, str]:
        question = await talk.writes(talk.customer, talk.chat)
        return question, await talk.writes(talk.mechanic, talk.case)

    texts = await house.every(write_meanwhile)
    await house.business.start()

    for talk, (question, answer) in zip(house.all, texts, strict=True):
        await read(talk.mechanic, talk.bot, talk.case, question)
        await read(talk.customer, talk.bot, talk.chat, answer)
    await house.every(Talk.goes_on)


@pytest.mark.parametrize("mode", MODES)
async def test_both_people_start_their_clients_anew(house: House, mode: str) -> None:
    talk = house.talks[mode]
    await talk.mechanic.command("rest")
    question = await talk.writes(talk.customer, talk.chat)
    await talk.mechanic.command("restart")
    await read(talk.mechanic, talk.bot, talk.case, question)

    await talk.customer.command("rest")
    answer = await talk.writes(talk.mechanic, talk.case)
    await talk.customer.command("restart")
    await read(talk.customer, talk.bot, talk.chat, answer)
    await talk.goes_on()


@pytest.mark.parametrize("mode", MODES)
async def test_both_people_take_a_second_device(house: House, mode: str) -> None:
    """Signed by the identity that the bot knows; nobody is told anything and both devices read on."""
    talk = house.talks[mode]
    secrets = await asyncio.gather(talk.customer.command("secrets"), talk.mechanic.command("secrets"))
    tablet, phone = await asyncio.gather(
        *(house.login(a, mode=mode, secrets=s) for a, s in zip(talk.accounts, secrets, strict=True))
    )

    await talk.ask(talk.customer, phone, talk.mechanic)
    await talk.answer(talk.mechanic, tablet, talk.customer)
    await talk.ask(tablet, phone, talk.mechanic)
    await talk.answer(phone, tablet, talk.customer)
    await talk.is_clean()


async def test_the_bot_takes_a_new_device(house: House) -> None:
    """Mechanics have verified the bot: with another identity the two strict modes would refuse to write to it.

    What people write while it is away with a session that it has never seen goes to its old device alone, and that key
    is lost for good: they are told.
    """
    business = house.business
    words = await recovery_key(business)
    await house.every(Talk.goes_on)
    earlier = await house.every(Talk.ask)
    await everything_is_backed_up(business)
    before = await house.admin.command("opinion", user_id=business.bot.mxid)
    await business.stop()
    seen = house.events()
    known = await house.every(lambda talk: talk.writes(talk.customer, talk.chat))
    await house.every(lambda talk: talk.writes_anew(talk.customer, talk.chat))

    code, complaint, _ = await recover(business, words)
    assert code == 0, complaint
    await business.start()

    for talk, text in zip(house.all, known, strict=True):
        await read(talk.mechanic, talk.bot, talk.case, text)
    await house.every(Talk.goes_on)
    for talk in house.all:
        for peer, verified in ((talk.customer, False), (talk.mechanic, True)):
            now = await peer.command("opinion", user_id=talk.bot)
            assert (now["known"], now["verified"], now["needs_approval"]) == (True, verified, False)
            assert list(now["devices"].values()) == [True]
            assert now["devices"].keys().isdisjoint(before["devices"])
    await somebody_new_reads(house, earlier)
    for talk in house.all:
        await read(talk.customer, talk.bot, talk.chat, "technisch nicht lesen", besides=seen)
        await read(talk.mechanic, talk.bot, talk.case, "noch nicht entschlüsseln kann", besides=seen)


async def somebody_new_reads(house: House, earlier: list[Json]) -> None:
    """A mechanic who logs in for the first time is given by the new device what the old one had written."""
    eva = await house.login(house.late, mode="exclude_insecure")
    for talk, event in zip(house.all, earlier, strict=True):
        await read(eva, talk.bot, talk.case, event["content"]["body"])
