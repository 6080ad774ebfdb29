"""The product with people on Element's encryption, in its strictest mode: only signed devices are heard and believed."""

from typing import Any

import pytest

from tests.business import Business
from tests.conftest import MakePeer
from tests.interop.conftest import MakeElement
from tests.interop.element import NO_SHIELD, ElementPeer, chat_with


async def arrived(peer: ElementPeer, business: Business, text: str) -> Any:
    """Wait until this client has decrypted something of the bot, and return how it would be drawn."""

    def fits(line: dict[str, Any]) -> bool:
        content = line.get("content")
        body = content.get("body") if isinstance(content, dict) else ""
        return line.get("sender") == business.bot.mxid and text in str(body)

    line = await peer.wait_for(fits, 40)
    return await peer.command("decrypt_wait", room_id=line["room_id"], event_id=line["event_id"])


async def test_strict_people_on_both_sides_read_everything_without_a_shield(
    business: Business, element_peer: MakeElement
) -> None:
    anna = await element_peer(await business.account("anna"))
    jan = await element_peer(business.people["jan"])
    chat = await chat_with(anna, business.bot.mxid)
    await anna.command("text", room_id=chat, body="Meine Bremse quietscht")

    seen = [await arrived(anna, business, "Werkstatt Müller")]
    seen.append(await arrived(jan, business, "Neuer Vorgang 1001"))
    seen.append(await arrived(jan, business, "Vorgang 1001\n"))
    question = await arrived(jan, business, "Meine Bremse quietscht")
    await jan.command("text", room_id=question["room_id"], body="Kommen Sie um neun.")
    seen += [question, await arrived(anna, business, "Kommen Sie um neun.")]
    seen.append(await arrived(jan, business, "Der Raum ist offen"))

    assert all(event["encrypted"] for event in seen)
    assert [event["shield"] for event in seen] == [NO_SHIELD] * len(seen)
    assert [event["decryption_failure"] for event in seen] == [None] * len(seen)
    assert all(len(event["wire_content"]["de.botschaft.step"]) == 32 for event in seen)


@pytest.mark.parametrize("mode", ["normal", "error_on_verified_problems"])
async def test_other_modes_read_it_as_well(business: Business, element_peer: MakeElement, mode: str) -> None:
    anna = await element_peer(await business.account("anna"), mode=mode)
    jan = await element_peer(business.people["jan"], mode=mode)
    chat = await chat_with(anna, business.bot.mxid)
    await anna.command("text", room_id=chat, body="Hallo")
    question = await arrived(jan, business, "Hallo")
    await jan.command("text", room_id=question["room_id"], body="Guten Tag")
    answer = await arrived(anna, business, "Guten Tag")

    assert [question["shield"], answer["shield"]] == [NO_SHIELD] * 2


async def test_a_restart_of_the_bot_changes_nothing_for_strict_people(
    business: Business, element_peer: MakeElement, new_peer: MakePeer
) -> None:
    anna = await element_peer(await business.account("anna"))
    jan = await new_peer(business.people["jan"], cross_sign=True)
    chat = await chat_with(anna, business.bot.mxid)
    await anna.command("text", room_id=chat, body="vorher")
    case = (await jan.wait_for(lambda s: s.body == "vorher", 40)).room_id

    await business.kill()
    await anna.command("text", room_id=chat, body="dazwischen")
    await business.start()

    await jan.wait_for(lambda s: s.body == "dazwischen", 40)
    await jan.text(case, "nachher")
    assert (await arrived(anna, business, "nachher"))["shield"] == NO_SHIELD


async def test_somebody_who_is_late_reads_what_came_before(business: Business, element_peer: MakeElement) -> None:
    """Eva's first device comes up long after the case opened."""
    anna = await element_peer(await business.account("anna"))
    chat = await chat_with(anna, business.bot.mxid)
    jan = await element_peer(business.people["jan"])
    await anna.command("text", room_id=chat, body="die erste Nachricht")
    await arrived(jan, business, "die erste Nachricht")

    eva = await element_peer(business.people["eva"])

    seen = [await arrived(eva, business, text) for text in ("Vorgang 1001\n", "die erste Nachricht")]
    assert [event["shield"] for event in seen] == [NO_SHIELD] * 2
