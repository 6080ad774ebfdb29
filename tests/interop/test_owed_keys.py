"""A device whose one-time keys are used up while it is away, on Element's encryption: what it missed reaches it later.

Clients have a fallback key for that, unless they are old or it was lost; here the server never gets to see it. In the
laxer modes nothing would be different, because keys are claimed before anybody's trust is asked: the strictest is run.
"""

import asyncio
import json

from aiohttp import web

from tests.interop.element import ElementPeer
from tests.interop.talk import House, read

CLAIM = "/_matrix/client/v3/keys/claim"


def without_fallback_key(request: web.Request, body: bytes) -> bytes:
    if not request.path.endswith("/keys/upload"):
        return body
    keys = json.loads(body)
    keys.pop("fallback_keys", None)
    return json.dumps(keys).encode()


async def use_up_keys(somebody: ElementPeer, of: ElementPeer) -> None:
    """Claim one key after the other, as anybody may, until there is none."""
    body = {"one_time_keys": {of.user_id: {of.device_id: "signed_curve25519"}}}
    while (await somebody.command("raw", method="POST", path=CLAIM, body=body))["body"]["one_time_keys"]:
        pass


async def test_a_device_that_had_no_key_left_reads_what_it_missed(house: House) -> None:
    """The bot meets both devices for the first time when they are away already. Hearing from them it tries again."""
    talk = house.talks["exclude_insecure"]
    secrets = await asyncio.gather(talk.customer.command("secrets"), talk.mechanic.command("secrets"))
    await house.business.stop()
    house.people_road.change = without_fallback_key
    tablet, phone = await asyncio.gather(
        *(house.login(a, mode=talk.mode, secrets=s) for a, s in zip(talk.accounts, secrets, strict=True))
    )
    for device in (tablet, phone):
        await device.command("rest")
        await use_up_keys(house.admin, device)
    await house.business.start()
    question, answer = await talk.ask(), await talk.answer()

    house.people_road.change = lambda request, body: body
    await asyncio.gather(tablet.command("restart"), phone.command("restart"))

    await talk.ask(tablet, phone, talk.mechanic)
    await talk.answer(phone, tablet, talk.customer)
    await read(phone, talk.bot, talk.case, question["content"]["body"])
    await read(tablet, talk.bot, talk.chat, answer["content"]["body"])
    await talk.is_clean()
