"""Staff prove who they are with signed devices; a new identity waits for an admin; a customer's is told to staff."""

from bot.demo.peer import Peer
from tests.business import Business
from tests.conftest import MakePeer


async def asked_in(peer: Peer, text: str) -> str:
    """Return the room in which this text arrives."""
    return (await peer.wait_for(lambda s: text in s.body, 40)).room_id


async def test_an_unsigned_device_of_staff_is_told_what_to_do_and_gets_nothing_else(
    business: Business, new_peer: MakePeer
) -> None:
    anna, eva = await new_peer(), await new_peer(business.people["eva"])
    jan = await new_peer(business.people["jan"], cross_sign=False)
    chat = await anna.start_chat(business.bot.mxid)
    await anna.text(chat, "Mein Kennzeichen ist geheim")
    case = await asked_in(eva, "Mein Kennzeichen")
    await asked_in(jan, "Dieses Gerät ist nicht bestätigt")
    await jan.text(case, "Kommen Sie vorbei")
    refused = await jan.wait_for(lambda s: s.room_id == case and "Nicht gesendet" in s.body, 40)
    assert refused.encrypted
    assert not [s for s in jan.seen if "Kennzeichen" in s.body]
    assert not [s for s in anna.seen if "Kommen Sie" in s.body]

    await jan.sign()
    await asked_in(jan, "Mein Kennzeichen")
    await jan.text(case, "Jetzt aber")
    await asked_in(anna, "Jetzt aber")


async def test_a_new_identity_of_staff_waits_for_an_admin(business: Business, new_peer: MakePeer) -> None:
    anna, chef = await new_peer(), await new_peer(business.people["chef"])
    jan = await new_peer(business.people["jan"])
    chat = await anna.start_chat(business.bot.mxid)
    await anna.text(chat, "eins")
    case = await asked_in(jan, "eins")
    await jan.text(case, "vorher")
    await asked_in(anna, "vorher")

    await jan.reset_identity(business.people["jan"].password)
    await jan.text(case, "!zu")
    admin_room = await asked_in(chef, f"!vertrauen {jan.user_id}")
    assert (await jan.wait_for(lambda s: "Ihre digitale Identität ist eine neue" in s.body, 40)).room_id == case
    await anna.text(chat, "zwei")

    await chef.text(admin_room, f"!vertrauen {chef.user_id}")
    await asked_in(chef, "Nicht getan")
    await chef.text(admin_room, f"!vertrauen {jan.user_id}")
    await asked_in(chef, "wird vertraut")
    await asked_in(jan, "zwei")
    await jan.text(case, "nachher")
    await asked_in(anna, "nachher")


async def test_staff_hear_of_a_customers_new_identity_and_unsigned_device(
    business: Business, new_peer: MakePeer
) -> None:
    account = await business.account("anna")
    anna, jan = await new_peer(account, cross_sign=False), await new_peer(business.people["jan"])
    chat = await anna.start_chat(business.bot.mxid)
    await anna.text(chat, "eins")
    first = await jan.wait_for(lambda s: "eins" in s.body, 40)
    assert "nicht bestätigt" in first.body
    await anna.text(chat, "zwei")
    assert (await jan.wait_for(lambda s: "zwei" in s.body, 40)).body == "zwei"
    await anna.sign()
    await anna.text(chat, "drei")
    await asked_in(jan, "drei")
    await anna.reset_identity(account.password)
    await anna.text(chat, "vier")
    assert await asked_in(jan, "neue digitale Identität") == first.room_id
    assert (await jan.wait_for(lambda s: "vier" in s.body, 40)).body == "vier"


async def test_a_business_may_refuse_unsigned_customers(business: Business, new_peer: MakePeer) -> None:
    await business.stop()
    business.extra = '[customers]\nunsigned_devices = "refuse"\n'
    await business.start()
    anna, jan = await new_peer(cross_sign=False), await new_peer(business.people["jan"])
    chat = await anna.start_chat(business.bot.mxid)
    await anna.text(chat, "unsigniert")
    await asked_in(anna, "nicht zugestellt, weil dieses Gerät nicht bestätigt ist")
    await anna.text(chat, "STOPP")
    await asked_in(anna, "Ihr Widerruf gilt ab sofort. Die Nachricht selbst wurde aber nicht zugestellt")
    await anna.sign()
    await anna.text(chat, "signiert")
    await asked_in(jan, "signiert")
    assert not [s for s in jan.seen if s.body in {"unsigniert", "STOPP"}]
