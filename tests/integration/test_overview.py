"""The pinned overview of an inbox on a real server: readable, edited in place, the same event after a power cut."""

from bot.demo.peer import Peer
from tests.business import Business
from tests.conftest import MakePeer
from tests.integration.test_conversation import arrived
from tests.integration.test_taking import has
from tests.waiting import until


async def pins(peer: Peer, room: str) -> list[str]:
    return list((await peer.state(room, "m.room.pinned_events") or {}).get("pinned", []))


async def test_an_inbox_shows_what_is_open_in_one_pinned_event(business: Business, new_peer: MakePeer) -> None:
    anna, jan = await new_peer(await business.account("anna")), await new_peer(business.people["jan"])
    business.extra = "[cases]\noverview_interval_s = 1\n"
    await business.stop()
    await business.start()
    chat = await anna.start_chat(business.bot.mxid)
    await anna.text(chat, "Die Bremse quietscht")
    case = (await arrived(jan, business, "Die Bremse quietscht")).room_id
    overview = await arrived(jan, business, "📌 Offen bei Annahme")
    assert overview.msgtype == "m.notice"
    assert overview.room_id == (await arrived(jan, business, "Neuer Vorgang 1001")).room_id
    assert "🔴 1001 · wartet seit" in overview.body

    async def is_pinned() -> bool:
        return await pins(jan, overview.room_id) == [overview.event_id]

    await until(is_pinned, timeout_s=40, what="a pin")
    for text in ("!titel Bremse", "!ich"):
        await jan.text(case, text)
    await has(jan, overview, "🔴 1001 · Bremse · 👤 ")
    await jan.text(case, "Bringen Sie ihn um neun")
    await has(jan, overview, "🟡 1001 · Bremse")

    await business.kill()
    await business.start()
    await jan.text(case, "!zu")
    await has(jan, overview, "📌 Bei Annahme ist nichts offen.")
    made = [seen for seen in jan.seen if seen.body.startswith("📌") and "m.relates_to" not in seen.content]
    assert [seen.event_id for seen in made] == [overview.event_id]
    assert await pins(jan, overview.room_id) == [overview.event_id]
    assert not any("📌" in seen.body for seen in anna.seen)
