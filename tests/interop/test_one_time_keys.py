"""The bot's one-time keys are claimed by many at once, and run out while it is away: nobody is left without a way in."""

import asyncio
from typing import Any

from tests.interop.element import ElementPeer, chat_with
from tests.interop.talk import MODES, House, Talk, read

CLAIM = "/_matrix/client/v3/keys/claim"
NEW_PEOPLE = (*MODES, "exclude_insecure")
MORE_THAN_THERE_ARE = 55


async def claim(somebody: ElementPeer, bot: str, device: str) -> dict[str, Any]:
    """Take one of the bot's keys, as a client does before it writes; whoever asks may do so."""
    body = {"one_time_keys": {bot: {device: "signed_curve25519"}}}
    answer = await somebody.command("raw", method="POST", path=CLAIM, body=body)
    key: dict[str, Any] = answer["body"]["one_time_keys"][bot][device]
    return key


def is_fallback(key: dict[str, Any]) -> bool:
    return any(part.get("fallback") for part in key.values())


async def new_people(house: House) -> list[ElementPeer]:
    """Log four customers in, each of whom has yet to write for the first time."""
    accounts = [await house.business.account("bert") for _ in NEW_PEOPLE]
    return await asyncio.gather(*(house.login(a, mode=m) for a, m in zip(accounts, NEW_PEOPLE, strict=True)))


async def write_first(house: House, people: list[ElementPeer]) -> list[tuple[str, str]]:
    """Let all of them start a chat and write at the same time; returns room and text of each."""

    async def write(peer: ElementPeer) -> tuple[str, str]:
        chat = await chat_with(peer, house.business.bot.mxid)
        text = f"Guten Tag von {peer.user_id}"
        await peer.command("text", room_id=chat, body=text)
        return chat, text

    return await asyncio.gather(*map(write, people))


async def assert_answered(house: House, peer: ElementPeer, chat: str, text: str) -> None:
    """A mechanic reads it in the case it opened, answers, and the customer reads that."""
    bot, mechanic = house.business.bot.mxid, house.talks["exclude_insecure"].mechanic
    line = await mechanic.wait_for(lambda line: text in str(line.get("content", {}).get("body")), 60)
    await read(mechanic, bot, line["room_id"], text)
    await mechanic.command("text", room_id=line["room_id"], body=f"Antwort auf {text}")
    await read(peer, bot, chat, f"Antwort auf {text}")


async def device_of_the_bot(house: House) -> str:
    (device,) = (await house.admin.command("opinion", user_id=house.business.bot.mxid))["devices"]
    return str(device)


async def test_four_people_write_for_the_first_time_at_once(house: House) -> None:
    """Each gets a key of their own."""
    bot, device = house.business.bot.mxid, await device_of_the_bot(house)
    claimed = await asyncio.gather(*(claim(house.admin, bot, device) for _ in NEW_PEOPLE))
    assert len({name for key in claimed for name in key}) == len(NEW_PEOPLE)
    assert not any(map(is_fallback, claimed))

    people = await new_people(house)
    first = await write_first(house, people)
    await asyncio.gather(*(assert_answered(house, peer, *said) for peer, said in zip(people, first, strict=True)))


async def test_all_keys_are_gone_while_the_bot_is_away(house: House) -> None:
    """The last key is for everybody. When the bot is back, the server is stocked again."""
    bot, device = house.business.bot.mxid, await device_of_the_bot(house)
    people = await new_people(house)
    await house.business.stop()
    claimed = [await claim(house.admin, bot, device) for _ in range(MORE_THAN_THERE_ARE)]
    assert is_fallback(claimed[-1])
    assert claimed[-1] == claimed[-2]
    first = await write_first(house, people)

    await house.business.start()

    await asyncio.gather(*(assert_answered(house, peer, *said) for peer, said in zip(people, first, strict=True)))
    await house.every(Talk.goes_on)
    assert not is_fallback(await claim(house.admin, bot, device))
