"""A colleague who does not work here any more reads nothing that comes after."""

from tests.business import Business
from tests.conftest import MakePeer
from tests.waiting import until


async def test_a_dismissed_colleague_is_put_out_and_reads_no_more(business: Business, new_peer: MakePeer) -> None:
    anna = await new_peer(await business.account("anna"))
    jan = await new_peer(business.people["jan"], cross_sign=True)
    eva = await new_peer(business.people["eva"], cross_sign=True)
    chat = await anna.start_chat(business.bot.mxid)
    await anna.text(chat, "vorher")
    case = (await jan.wait_for(lambda seen: seen.body == "vorher", 40)).room_id
    await eva.wait_for(lambda seen: seen.body == "vorher", 40)

    await business.stop()
    business.members = [business.people["eva"].mxid]
    await business.start()
    await anna.text(chat, "nachher")
    await eva.wait_for(lambda seen: seen.body == "nachher", 40)

    async def out_of_everything() -> bool:
        return not await jan.rooms()

    await until(out_of_everything, what="a colleague without rooms")
    assert (await eva.state(case, "m.room.member", business.people["jan"].mxid) or {}).get("membership") == "leave"
    assert [seen for seen in jan.seen if seen.body == "nachher"] == []
