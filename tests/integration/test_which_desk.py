"""For whom a message is, on a real server: a tap moves the case, and each desk speaks its language, in its own hours."""

from bot.demo.peer import Seen
from tests.business import Business
from tests.conftest import MakePeer
from tests.integration.test_conversation import arrived
from tests.integration.test_staff_join import standing

POLL = "org.matrix.msc3381.poll"


async def test_a_customer_is_asked_and_a_vote_moves_the_case(business: Business, new_peer: MakePeer) -> None:
    anna, tom = await new_peer(await business.account("anna")), await new_peer(await business.account("tom"))
    jan = await new_peer(business.people["jan"])
    business.extra = (
        f'[[desks]]\nid = "werkstatt"\nname = "Werkstatt"\nmembers = ["{tom.user_id}"]\nlanguage = "en"\n'
        '[cases]\nask_for_desk = "poll"\n'
    )
    await business.stop()
    await business.start()
    chat = await anna.start_chat(business.bot.mxid)
    await anna.text(chat, "Es klappert etwas")
    case = (await arrived(jan, business, "Es klappert etwas")).room_id
    await arrived(jan, business, "Zuständig: noch niemand")

    def is_poll(seen: Seen) -> bool:
        return seen.type == f"{POLL}.start" and seen.sender == business.bot.mxid and seen.encrypted

    poll = await anna.wait_for(is_poll, 40)
    [first, second] = poll.content[f"{POLL}.start"]["answers"]
    assert [answer["org.matrix.msc1767.text"] for answer in (first, second)] == ["1 · Annahme", "2 · Werkstatt"]
    relation = {"rel_type": "m.reference", "event_id": poll.event_id}
    vote = {f"{POLL}.response": {"answers": [second["id"]]}, "m.relates_to": relation}
    await anna.send(chat, f"{POLL}.response", vote)

    await arrived(anna, business, "Danke, unser Team weiß Bescheid: Werkstatt.")
    await arrived(tom, business, "New case 1001")
    assert (await arrived(tom, business, "Es klappert etwas")).room_id == case
    assert "chose: Werkstatt" in (await arrived(tom, business, "whom it is for")).body
    assert await standing(tom, case, jan.user_id) == "leave"
    await tom.text(case, "!who")
    await arrived(tom, business, "Nobody")
    await tom.text(case, "Bitte bringen Sie ihn vorbei")
    await arrived(anna, business, "Bitte bringen Sie ihn vorbei")
    assert not any("whom it is for" in seen.body or "Nobody" in seen.body for seen in anna.seen)
