"""Taking and handing over on a real server: by one tap, to another desk, and who comes reads what was written."""

from bot.demo.peer import Peer, Seen
from tests.business import Business
from tests.conftest import MakePeer
from tests.integration.test_conversation import arrived, name_of
from tests.integration.test_staff_join import standing
from tests.waiting import until


async def has(peer: Peer, event: Seen, text: str) -> None:
    """Wait until an event was edited to say this."""

    def is_edited(seen: Seen) -> bool:
        relation = seen.content.get("m.relates_to", {})
        is_about = relation.get("rel_type") == "m.replace" and relation.get("event_id") == event.event_id
        return is_about and text in seen.content["m.new_content"]["body"]

    await peer.wait_for(is_edited, 40)


async def sign(peer: Peer, business: Business, card: Seen, key: str) -> None:
    """Wait until a sign of the bot stands under a card."""

    def is_there(seen: Seen) -> bool:
        relation = seen.content.get("m.relates_to", {})
        is_ours = seen.type == "m.reaction" and seen.sender == business.bot.mxid
        return is_ours and (relation.get("event_id"), relation.get("key")) == (card.event_id, key)

    await peer.wait_for(is_there, 40)


async def test_a_case_is_taken_by_a_tap_and_goes_to_another_desk(business: Business, new_peer: MakePeer) -> None:
    anna, tom = await new_peer(await business.account("anna")), await new_peer(await business.account("tom"))
    jan, eva = await new_peer(business.people["jan"]), await new_peer(business.people["eva"])
    business.extra = f'[[desks]]\nid = "werkstatt"\nname = "Werkstatt"\nmembers = ["{tom.user_id}"]\n'
    await business.stop()
    await business.start()
    chat = await anna.start_chat(business.bot.mxid)
    await anna.text(chat, "Die Bremse quietscht")
    case = (await arrived(jan, business, "Die Bremse quietscht")).room_id
    card = await arrived(jan, business, "Vorgang 1001\n")
    inbox_card = await arrived(jan, business, "Neuer Vorgang 1001")

    for under, key in ((inbox_card, "👍"), (card, "👍"), (card, "✅")):
        await sign(jan, business, under, key)
    # Element sends the variation selector.
    await jan.react(inbox_card.room_id, inbox_card.event_id, "👍\ufe0f")
    taken = await arrived(eva, business, "kümmert sich um diesen Vorgang")
    assert taken.room_id == case
    assert taken.msgtype == "m.notice"
    await has(eva, inbox_card, "kümmert sich")
    await has(eva, card, "Zuständig: ")
    await anna.text(chat, "Und die Hupe")
    horn = await arrived(eva, business, "Und die Hupe")
    assert horn.content["m.mentions"] == {"user_ids": [jan.user_id]}
    await jan.text(case, "Bringen Sie ihn um neun")
    await arrived(anna, business, "Bringen Sie ihn um neun")
    await eva.text(case, "Oder um zehn")
    await arrived(eva, business, "weniger als einer Minute")

    for text in ("!kfz M-AB 123", "!titel Bremse"):
        await jan.text(case, text)
    await has(jan, card, "Kennzeichen: M-AB 123")
    await jan.text(case, "!an Werkstatt")
    moved = await arrived(tom, business, "Vorgang 1001: Der Raum ist offen")
    await sign(tom, business, moved, "👍")
    for text in ("Die Bremse quietscht", "Und die Hupe"):
        assert (await arrived(tom, business, text)).room_id == case
    recap = await arrived(tom, business, "📜 Was das Team hier zuletzt geschrieben hatte")
    assert "Bringen Sie ihn um neun" in recap.body
    assert "Oder um zehn" in recap.body
    assert "!kfz" not in recap.body
    for gone in (jan, eva):
        assert await standing(tom, case, gone.user_id) == "leave"

    await tom.react(case, card.event_id, "👍")
    await has(tom, moved, "kümmert sich")
    await tom.text(case, "Hier ist die Werkstatt")
    await arrived(anna, business, "Hier ist die Werkstatt")
    await anna.text(chat, "Prima")
    secret = await arrived(tom, business, "Prima")
    assert jan._keys.decrypt(case, secret.raw) is None
    await tom.text(case, "!verlauf")
    history = await arrived(tom, business, "Zuletzt hier geschrieben")
    for text in ("Kunde: Die Bremse quietscht", "Bringen Sie ihn um neun", "Hier ist die Werkstatt", "Kunde: Prima"):
        assert text in history.body
    assert not any("kümmert" in seen.body or "Kennzeichen" in seen.body for seen in anna.seen)

    await tom.react(case, card.event_id, "✅")

    async def is_closed() -> bool:
        return await name_of(tom, case) == "✅ 1001 · Bremse"

    await until(is_closed, timeout_s=60, what="the name of a closed case")
