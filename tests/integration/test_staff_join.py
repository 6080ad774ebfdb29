"""The Synapse module for staff: what the bot invites listed staff to is joined, and nothing else ever is."""

from pathlib import Path
from typing import Any

from bot.demo.peer import Peer
from bot.demo.synapse import LocalSynapse
from tests.business import Account
from tests.conftest import MakePeer, MakeSynapse
from tests.waiting import until

CLIENT = "/_matrix/client/v3"
MODULE_PATH = Path(__file__).parents[2] / "deploy" / "staff_join"
BOT = "@werkstatt:localhost"


def with_module(file: Path) -> dict[str, Any]:
    """What a homeserver needs to load the module."""
    config = {"bot": BOT, "staff_file": str(file)}
    return {
        "settings": {"modules": [{"module": "botschaft_staff_join.StaffJoin", "config": config}]},
        "module_path": MODULE_PATH,
    }


async def people(server: LocalSynapse, new_peer: MakePeer, *names: str) -> list[Peer]:
    """Log people in who accept nothing by themselves."""
    accounts = [Account(await server.register(name, "secret"), name, "secret") for name in names]
    return [await new_peer(account, on=server, autojoin=False, cross_sign=False) for account in accounts]


async def room_of(owner: Peer, *invited: str) -> str:
    request = {"preset": "private_chat", "invite": list(invited), "is_direct": True}
    return str((await owner.call("POST", f"{CLIENT}/createRoom", request))["room_id"])


async def standing(owner: Peer, room: str, user: str) -> str:
    return str((await owner.state(room, "m.room.member", user) or {}).get("membership"))


async def joined(owner: Peer, room: str, user: str) -> None:
    async def is_in() -> bool:
        return await standing(owner, room, user) == "join"

    await until(is_in, what=f"{user} in the room")


async def test_listed_staff_are_in_the_rooms_of_the_bot_and_nobody_else_is_anywhere(
    own_synapse: MakeSynapse, new_peer: MakePeer, tmp_path: Path
) -> None:
    file = tmp_path / "staff.txt"
    file.write_text(f"# staff\n@jan:localhost\n@far:elsewhere.example\n{BOT}\n")
    server = await own_synapse(**with_module(file))
    bot, jan, anna = await people(server, new_peer, "werkstatt", "jan", "anna")

    by_customer = await room_of(anna, jan.user_id, BOT)
    with_customer = await room_of(bot, anna.user_id)
    with_staff = await room_of(bot, jan.user_id, anna.user_id)
    await joined(bot, with_staff, jan.user_id)

    file.write_text(f"{jan.user_id}\n@eva:localhost\n")
    [eva] = await people(server, new_peer, "eva")
    await bot.call("POST", f"{CLIENT}/rooms/{with_staff}/invite", {"user_id": eva.user_id})
    await joined(bot, with_staff, eva.user_id)

    file.unlink()
    nobody_listed = await room_of(bot, jan.user_id)
    file.write_text(f"{eva.user_id}\n")
    listed_again = await room_of(bot, eva.user_id)
    await joined(bot, listed_again, eva.user_id)
    assert await standing(bot, with_customer, anna.user_id) == "invite"
    assert await standing(bot, with_staff, anna.user_id) == "invite"
    assert await standing(bot, nobody_listed, jan.user_id) == "invite"
    assert await standing(anna, by_customer, jan.user_id) == "invite"
    assert await standing(anna, by_customer, BOT) == "invite"


async def test_invitations_from_before_a_start_are_accepted_and_those_of_others_are_not(
    own_synapse: MakeSynapse, new_peer: MakePeer, tmp_path: Path
) -> None:
    file = tmp_path / "staff.txt"
    server = await own_synapse(**with_module(file))
    bot, jan, eva, anna = await people(server, new_peer, "werkstatt", "jan", "eva", "anna")
    rooms = [await room_of(bot, jan.user_id, eva.user_id, anna.user_id) for _ in range(3)]
    by_customer = await room_of(anna, jan.user_id, BOT)
    assert await standing(bot, rooms[0], jan.user_id) == "invite"

    await server.stop()
    file.write_text(f"{jan.user_id}\n")
    await server.start()

    for room in rooms:
        await joined(bot, room, jan.user_id)
        assert await standing(bot, room, eva.user_id) == "invite"
        assert await standing(bot, room, anna.user_id) == "invite"
    assert await standing(anna, by_customer, jan.user_id) == "invite"
    assert await standing(anna, by_customer, BOT) == "invite"
