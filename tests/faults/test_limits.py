"""A server that slows us down: everything arrives in order, what people wait for first, and the admins are told."""

from pathlib import Path

from tests.business import a_business
from tests.conftest import MakePeer, MakeSynapse
from tests.faults.crowd import Crowd, comes_to_rest

LIMITS = {
    "rc_message": {"per_second": 4, "burst_count": 10},
    "rc_room_creation": {"per_second": 0.5, "burst_count": 4},
}


async def test_everything_drains_in_order_under_limits(
    own_synapse: MakeSynapse, new_peer: MakePeer, tmp_path: Path
) -> None:
    server = await own_synapse(limits="default", settings=LIMITS)
    (tmp_path / "bot").mkdir()
    business = await a_business(server, tmp_path / "bot")
    boss = await business.account("chef")
    business.admins = [boss.mxid]
    crowd = await Crowd.gather(business, tmp_path, size=3)
    chef = await new_peer(boss, on=server)
    await business.start()

    for number in range(3):
        await crowd.write(number, 6)
    await crowd.everything_arrives(timeout_s=120)

    told = await chef.wait_for(lambda s: "override_ratelimit" in s.body, 60)
    assert told.msgtype == "m.notice"
    await comes_to_rest(business)
    assert "slowed_down" in business.log()
    assert "item_parked" not in business.log()
    await crowd.close()
