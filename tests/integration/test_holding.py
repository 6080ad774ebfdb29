"""What may be meant for colleagues waits for a tap, on a real server; and opening hours from a real configuration."""

from typing import Any

from bot.demo.peer import Peer, Seen
from tests.business import Business
from tests.conftest import MakePeer
from tests.integration.test_conversation import arrived
from tests.waiting import until

EVERY_DAY_CLOSED = '[hours]\nmonday = ["00:00-24:00"]\nclosed = ["2020-01-01/2090-01-01"]\n'


def reply(body: str, to: str) -> dict[str, Any]:
    return {"msgtype": "m.text", "body": body, "m.relates_to": {"m.in_reply_to": {"event_id": to}}}


async def question(peer: Peer, business: Business, number: int) -> Seen:
    """Wait for the n-th question about what may go out."""

    def found() -> list[Seen]:
        return [s for s in peer.seen if s.sender == business.bot.mxid and s.body.startswith("🔒 nur fürs Team")]

    await until(lambda: len(found()) >= number, timeout_s=40, what="the question")
    return found()[number - 1]


async def test_only_a_tap_lets_out_what_may_be_meant_for_colleagues(business: Business, new_peer: MakePeer) -> None:
    anna, jan = await new_peer(await business.account("anna")), await new_peer(business.people["jan"])
    await anna.text(await anna.start_chat(business.bot.mxid), "Hallo")
    case = (await arrived(jan, business, "Hallo")).room_id
    note = await jan.text(case, ". sind die Beläge da?")
    await jan.send(case, "m.room.message", reply("ja, im Regal", note))
    await jan.send(case, "m.room.message", reply("ja, kommen Sie um neun", note))
    kept, sent = await question(jan, business, 1), await question(jan, business, 2)
    assert kept.encrypted

    await jan.react(case, kept.event_id, "🔒")
    await jan.react(case, sent.event_id, "📤\ufe0f")
    await arrived(anna, business, "ja, kommen Sie um neun")
    await arrived(jan, business, "🔒 Im Team geblieben")
    await arrived(jan, business, "📤 Geht an den Kunden")
    await jan.text(case, "das Ende")
    await arrived(anna, business, "das Ende")

    assert not any("Regal" in seen.body or "Beläge" in seen.body for seen in anna.seen)


async def test_who_writes_when_nobody_is_there_hears_so_once(business: Business, new_peer: MakePeer) -> None:
    business.extra = EVERY_DAY_CLOSED
    await business.stop()
    await business.start()
    anna, jan = await new_peer(await business.account("anna")), await new_peer(business.people["jan"])
    chat = await anna.start_chat(business.bot.mxid)
    for text in ("Hallo", "Ist jemand da?"):
        await anna.text(chat, text)
        await arrived(jan, business, text)
    await arrived(anna, business, "Gerade ist bei uns niemand da")
    await jan.text((await arrived(jan, business, "Hallo")).room_id, "doch, ich")
    await arrived(anna, business, "doch, ich")

    assert len([seen for seen in anna.seen if seen.body.startswith("Gerade ist bei uns niemand da")]) == 1
