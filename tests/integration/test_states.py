"""What becomes of a case, on a real server: what each side sees and how the room is called."""

import re

from bot.demo.peer import Peer
from tests.business import Business
from tests.conftest import MakePeer
from tests.integration.test_conversation import arrived, name_of
from tests.waiting import until


async def with_settings(business: Business, cases: str, more: str = "") -> None:
    await business.stop()
    business.extra = f"[cases]\nrename_interval_s = 0\n{cases}\n{more}"
    await business.start()


async def is_called(peer: Peer, room: str, name: str) -> None:
    async def has_name() -> bool:
        return await name_of(peer, room) == name

    await until(has_name, timeout_s=30, what=f"a room called {name}")


async def test_ready_handed_over_put_off_and_closed_show_in_the_name(business: Business, new_peer: MakePeer) -> None:
    await with_settings(business, "")
    anna, jan = await new_peer(await business.account("anna")), await new_peer(business.people["jan"])
    chef = await new_peer(business.people["chef"])
    chat = await anna.start_chat(business.bot.mxid)
    await anna.text(chat, "Ist mein Wagen fertig?")
    case = (await arrived(jan, business, "Ist mein Wagen fertig?")).room_id
    await is_called(jan, case, "🔴 1001")

    await jan.text(case, "!fertig Ihr Golf steht vorn")
    told = await arrived(anna, business, "Ihr Golf steht vorn")
    found = re.search(r"Abholcode: (\d{4})\.", told.body)
    assert found
    code = found.group(1)
    assert told.msgtype == "m.text"
    await arrived(jan, business, "Der Kunde weiß, dass er abholen kann")
    await is_called(jan, case, "🟢 1001")
    assert not any(code in seen.body for seen in jan.seen), "whoever wants to collect has to show it"

    wrong = f"{(int(code) + 1) % 10_000:04}"
    for left in ("2", "1"):
        await jan.text(case, f"!abholung {wrong}")
        await arrived(jan, business, f"die noch bleiben: {left}")
    await jan.text(case, f"!abholung {wrong}")
    assert (await arrived(jan, business, "🚨 3 falsche Codes")).msgtype == "m.text"
    await arrived(chef, business, "🚨 Im Vorgang 1001")
    await jan.text(case, f"!abholung {code}")
    await arrived(jan, business, "gilt nicht mehr, es waren zu viele")

    await jan.text(case, "!fertig")
    told = await arrived(anna, business, "Es ist fertig und kann abgeholt werden.")
    await jan.text(case, f"!abholung {told.body.partition('Abholcode: ')[2][:4]}")
    await arrived(jan, business, f"übergeben von {business.people['jan'].localpart}")
    await is_called(jan, case, "🟡 1001")

    await jan.text(case, "!später morgen")
    await arrived(jan, business, "⏰ Zurückgestellt bis")
    await is_called(jan, case, "⏰ 1001")
    await jan.text(case, "!feierabend")
    assert "⏰ 1001 · seit 0 Min. zurückgestellt" in (await arrived(jan, business, "🌙 Noch offen: 1.")).body
    await anna.text(chat, "Noch etwas")
    await arrived(jan, business, "Noch etwas")
    await is_called(jan, case, "🔴 1001")
    await jan.text(case, "!zu")
    await is_called(jan, case, "✅ 1001")
    assert not any(
        text in seen.body for seen in anna.seen for text in ("!fertig", "!abholung", "falsch", "Zurückgestellt")
    )


async def test_who_waits_is_called_by_name_and_at_last_everybody(business: Business, new_peer: MakePeer) -> None:
    always = "".join(f'{day} = ["00:00-24:00"]\n' for day in ("monday", "tuesday", "wednesday", "thursday", "friday"))
    hours = f'[hours]\n{always}saturday = ["00:00-24:00"]\nsunday = ["00:00-24:00"]\n'
    await with_settings(business, "escalation_minutes = [0.02, 0.03, 0.04]", hours)
    anna, jan = await new_peer(await business.account("anna")), await new_peer(business.people["jan"])
    await anna.text(await anna.start_chat(business.bot.mxid), "Hallo")

    call = await arrived(jan, business, "Der Kunde wartet seit")
    assert sorted(call.content["m.mentions"]["user_ids"]) == sorted([jan.user_id, business.people["eva"].mxid])
    assert call.msgtype == "m.text"
    last = await arrived(jan, business, "@room: Im Vorgang 1001 wartet der Kunde")
    assert last.content["m.mentions"] == {"room": True}
    assert last.room_id != call.room_id


async def test_a_room_is_put_away_and_comes_back_with_what_was_written(business: Business, new_peer: MakePeer) -> None:
    await with_settings(business, "archive_after_days = 0.00001")
    anna, jan = await new_peer(await business.account("anna")), await new_peer(business.people["jan"])
    chat = await anna.start_chat(business.bot.mxid)
    await anna.text(chat, "Meine Bremse quietscht")
    case = (await arrived(jan, business, "Meine Bremse quietscht")).room_id
    await jan.text(case, "Morgen um acht")
    await jan.text(case, ". Beläge bestellen")
    await arrived(anna, business, "Morgen um acht")
    await jan.text(case, "!zu")

    async def is_gone() -> bool:
        return case not in await jan.rooms()

    await until(is_gone, timeout_s=30, what="the room out of the list")
    eva = await new_peer(business.people["eva"])  # who was never in it before
    await anna.text(chat, "Und die Hupe?")

    await arrived(jan, business, "Und die Hupe?")
    await arrived(eva, business, "Und die Hupe?")
    await arrived(eva, business, "Meine Bremse quietscht")
    recap = await arrived(eva, business, "📜 Was das Team hier zuletzt geschrieben hatte")
    assert [line.rpartition(": ")[2] for line in recap.body.splitlines()[1:]] == [
        "Morgen um acht",
        ". Beläge bestellen",
    ]
    await jan.text(case, "Die sehen wir uns an")
    await arrived(anna, business, "Die sehen wir uns an")
    assert not any("Beläge" in seen.body for seen in anna.seen)
