"""Staff changed by command, on a real server: at once, in every room, and safe from what comes after."""

from pathlib import Path

import pytest_asyncio

from bot.demo.peer import Peer
from tests.business import Business, a_business
from tests.conftest import MakePeer, MakeSynapse
from tests.integration.test_conversation import arrived
from tests.integration.test_staff_join import standing, with_module
from tests.waiting import until


async def orders(chef: Peer, business: Business, text: str) -> None:
    """Command in the admin room."""
    [admin_room] = [room for room in await chef.rooms() if await name_of(chef, room) == "🛠 Leitung"]
    await chef.text(admin_room, text)


async def name_of(peer: Peer, room: str) -> str:
    return str((await peer.state(room, "m.room.name") or {}).get("name"))


async def has_rooms(peer: Peer, *names: str) -> None:
    """Wait until somebody is in rooms with these names, and in no others."""

    async def are_there() -> bool:
        return sorted([await name_of(peer, room) for room in await peer.rooms()]) == sorted(names)

    await until(are_there, timeout_s=30, what=f"the rooms {names}")


async def test_a_newcomer_reads_what_is_open_and_a_leaver_nothing_more(business: Business, new_peer: MakePeer) -> None:
    anna = await new_peer(await business.account("anna"))
    jan = await new_peer(business.people["jan"])
    eva = await new_peer(business.people["eva"])
    chef = await new_peer(business.people["chef"])
    tom = await new_peer(await business.account("tom"))
    chat = await anna.start_chat(business.bot.mxid)
    await anna.text(chat, "Die Bremse quietscht")
    case = (await arrived(jan, business, "Die Bremse quietscht")).room_id

    await orders(chef, business, f"!aufnehmen {tom.user_id}")
    await arrived(tom, business, "Die Bremse quietscht")
    await tom.text(case, "Ich sehe nach")
    await arrived(anna, business, "Ich sehe nach")

    await orders(chef, business, f"!entfernen {jan.user_id}")
    await arrived(chef, business, "gehört nicht mehr zum Team")
    await has_rooms(jan)
    assert await standing(eva, case, jan.user_id) == "leave"
    await anna.text(chat, "Und die Hupe?")
    secret = await arrived(eva, business, "Und die Hupe?")
    # Even with the ciphertext in hand: no key of it was ever given to the leaver.
    assert jan._keys.decrypt(case, secret.raw) is None
    assert tom._keys.decrypt(case, secret.raw) is not None

    await business.stop()
    await business.start()  # with a configuration that still names jan, and not tom
    await arrived(chef, business, f"nennt noch {jan.user_id}")
    await anna.text(chat, "Noch etwas")
    await arrived(tom, business, "Noch etwas")
    assert await jan.rooms() == []


@pytest_asyncio.fixture
async def with_a_module(own_synapse: MakeSynapse, tmp_path: Path) -> Business:
    """A business whose server has the module, which is told by the bot who works here."""
    folder = tmp_path / "bot"
    folder.mkdir()
    file = folder / "staff.txt"
    server = await own_synapse(**with_module(file))
    business = await a_business(server, folder, user="werkstatt")
    business.people = {name: await business.account(name) for name in ("jan", "chef", "tom", "anna")}
    business.members, business.admins = [business.people["jan"].mxid], [business.people["chef"].mxid]
    business.extra = '[staff]\nfile = "staff.txt"\n'
    assert business.canary
    business.canary.besides.add(file)  # made to name them
    return business


async def test_with_the_module_rooms_just_appear_for_staff(with_a_module: Business, new_peer: MakePeer) -> None:
    business = with_a_module
    jan, chef, tom, anna = [
        await new_peer(account, on=business.server, autojoin=False) for account in business.people.values()
    ]
    await business.start()
    try:
        await has_rooms(jan, "Werkstatt Müller", "📥 Eingang Annahme")
        await has_rooms(chef, "Werkstatt Müller", "🛠 Leitung")
        chat = await anna.start_chat(business.bot.mxid)
        await anna.text(chat, "Hallo")
        case = (await arrived(jan, business, "Hallo")).room_id

        await orders(chef, business, f"!aufnehmen {tom.user_id}")
        await arrived(tom, business, "Hallo")
        await tom.text(case, "Guten Tag!")
        await arrived(anna, business, "Guten Tag!")
        await orders(chef, business, f"!entfernen {jan.user_id}")
        await has_rooms(jan)
        assert (business.folder / "staff.txt").read_text().split() == sorted([chef.user_id, tom.user_id])
    finally:
        assert await business.stop() == 0, business.log()
    assert await standing(anna, chat, business.bot.mxid) == "join"


async def test_a_changed_configuration_holds_after_sighup(business: Business, new_peer: MakePeer) -> None:
    anna, tom = await new_peer(await business.account("anna")), await new_peer(await business.account("tom"))
    jan, chef = await new_peer(business.people["jan"]), await new_peer(business.people["chef"])
    chat = await anna.start_chat(business.bot.mxid)
    await anna.text(chat, "Hallo")
    await arrived(jan, business, "Hallo")

    business.members = [business.people["eva"].mxid, tom.user_id]
    business.write()
    business.hang_up()
    await arrived(chef, business, f"desks.annahme.members: +{tom.user_id}, −{jan.user_id}")
    case = (await arrived(tom, business, "Hallo")).room_id
    await has_rooms(jan)
    await tom.text(case, "Guten Tag!")
    await arrived(anna, business, "Guten Tag!")

    business.config.write_text(business.config.read_text() + "[case]\n")
    business.hang_up()
    await arrived(chef, business, "did you mean `cases`?")
    await anna.text(chat, "Noch da?")
    await arrived(tom, business, "Noch da?")
