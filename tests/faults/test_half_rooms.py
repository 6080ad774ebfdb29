"""The homeserver dies in the middle of createRoom. Afterwards there is one room of that alias, and it is whole."""

import asyncio
from pathlib import Path

import pytest

from bot.domain.errors import Transient
from bot.domain.ids import RoomId, UserId
from bot.flows.messenger import RoomSpec
from bot.matrix.pace import Pace
from bot.matrix.rooms import RoomMaker
from bot.matrix.transport import Transport, quote
from tests.business import Account
from tests.conftest import MakeSynapse, MakeUser

DELAYS_MS = [5, 20, 40, 60, 80, 100, 150, 200, 250, 300]


async def _logged_in(url: str, account: Account) -> Transport:
    transport = Transport(url)
    body = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": account.localpart},
        "password": account.password,
    }
    answer = await transport.call("POST", "/_matrix/client/v3/login", body, token=False)
    transport.access_token = answer["access_token"]
    return transport


async def _made(maker: RoomMaker, spec: RoomSpec) -> RoomId:
    """Ask until it is there, as a held lane does."""
    while True:
        try:
            return await maker.create(spec)
        except Transient as error:
            await asyncio.sleep(min(error.retry_after_s or 0.2, 0.2))


async def test_a_room_is_whole_wherever_the_server_died(
    own_synapse: MakeSynapse, new_user: MakeUser, tmp_path: Path
) -> None:
    server = await own_synapse()
    bot, guests = await new_user("bot", on=server), [await new_user("guest", on=server) for _ in range(3)]
    transport = await _logged_in(server.url, bot)
    maker = RoomMaker(transport, UserId(bot.mxid), Pace())
    dropped = 0
    for number, delay_ms in enumerate(DELAYS_MS):
        invited = tuple(UserId(guest.mxid) for guest in guests)
        spec = RoomSpec(alias=f"half{number}", name=f"🔴 {number}", invite=invited, mark=f"case:{number}")
        creating = asyncio.ensure_future(maker.create(spec))
        await asyncio.sleep(delay_ms / 1000)
        await server.kill()
        first = (await asyncio.gather(creating, return_exceptions=True))[0]
        await server.start()

        room = await _made(maker, spec)

        dropped += not isinstance(first, BaseException) and first != room
        state = await transport.call("GET", f"/_matrix/client/v3/rooms/{quote(room)}/state", expects=list)
        found = {(event["type"], event["state_key"]): event["content"] for event in state}
        assert found["m.room.name", ""] == {"name": f"🔴 {number}"}
        assert ("m.room.encryption", "") in found
        assert found["m.room.join_rules", ""] == {"join_rule": "invite"}
        assert found["m.room.guest_access", ""] == {"guest_access": "forbidden"}
        assert all(found["m.room.member", guest]["membership"] == "invite" for guest in invited)
        assert await maker.resolve(spec.alias) == room
        assert await maker.create(spec) == room
    await transport.close()


async def test_five_at_once_are_one_room(own_synapse: MakeSynapse, new_user: MakeUser) -> None:
    server = await own_synapse()
    bot, guest = await new_user("bot", on=server), await new_user("guest", on=server)
    transport = await _logged_in(server.url, bot)
    makers = [RoomMaker(transport, UserId(bot.mxid), Pace()) for _ in range(5)]
    spec = RoomSpec(alias="race", name="🔴 1", invite=(UserId(guest.mxid),))
    made = await asyncio.gather(*(_made(maker, spec) for maker in makers))
    await transport.close()
    assert len(set(made)) == 1


@pytest.mark.parametrize("alias", ["a" * 32])
async def test_an_alias_says_nothing_and_is_gone_afterwards(
    own_synapse: MakeSynapse, new_user: MakeUser, alias: str
) -> None:
    server = await own_synapse()
    bot = await new_user("bot", on=server)
    transport = await _logged_in(server.url, bot)
    maker = RoomMaker(transport, UserId(bot.mxid), Pace())
    room = await maker.create(RoomSpec(alias=alias, name="🔴 1", invite=()))
    shown = await transport.call("GET", f"/_matrix/client/v3/rooms/{quote(room)}/state/m.room.canonical_alias/")
    await maker.drop_alias(alias)
    assert shown == {}
    assert await maker.resolve(alias) is None
    await transport.close()
