"""A new identity of a customer or a mechanic, on Element's encryption: told to whom it concerns, then it goes on.

The mechanics have verified the bot, and that is lost with their own identity: their client draws the bot red, in the
two strict modes it does not even write to it, until they verify it anew as it asks them to.
"""

import pytest

from tests.interop.element import Line
from tests.interop.talk import MODES, WAIT_S, House, read


@pytest.mark.parametrize("mode", MODES)
async def test_a_customer_gets_a_new_identity(house: House, mode: str) -> None:
    """Their messages are delivered at once, because they may have lost a telephone; staff read one line about it."""
    talk = house.talks[mode]
    await talk.customer.command("replace_identity", password=talk.accounts[0].password)

    await talk.ask()
    await read(talk.mechanic, talk.bot, talk.case, "neue digitale Identität")
    await talk.goes_on()


@pytest.mark.parametrize("mode", MODES)
async def test_a_mechanic_with_a_new_identity_waits_for_an_admin(house: House, mode: str) -> None:
    """Until then they read and write nothing; afterwards also what was written meanwhile."""
    talk, mechanic = house.talks[mode], house.talks[mode].mechanic
    await mechanic.command("replace_identity", password=talk.accounts[1].password)
    await mechanic.command("vouch_for", user_id=talk.bot)

    def announced(line: Line) -> bool:
        return f"!vertrauen {mechanic.user_id}" in str(line.get("content", {}).get("body"))

    admin_room = (await house.admin.wait_for(announced, WAIT_S))["room_id"]
    meanwhile = await talk.writes(talk.customer, talk.chat)
    unheard = await talk.writes(mechanic, talk.case)
    await read(mechanic, talk.bot, talk.case, "Ihre digitale Identität ist eine neue")
    assert not [line for line in mechanic.events if line.get("content", {}).get("body") == meanwhile]

    before = house.events()
    await house.admin.command("text", room_id=admin_room, body=f"!vertrauen {mechanic.user_id}")
    await read(house.admin, talk.bot, admin_room, "wird vertraut", besides=before)
    await read(mechanic, talk.bot, talk.case, meanwhile)
    await talk.goes_on()
    assert not [line for line in talk.customer.events if line.get("content", {}).get("body") == unheard]
