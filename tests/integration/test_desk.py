"""Every command of staff on a real server, typed in German and in English, and every sign that can be tapped.

Asserted is what a colleague reads of the bot's answer, and all that the customer reads: nothing else may reach them.
"""

import re
from dataclasses import dataclass

import pytest

from bot.demo.peer import Peer, Seen
from tests.business import Business
from tests.conftest import MakePeer
from tests.integration.test_conversation import arrived, name_of
from tests.integration.test_taking import has, sign
from tests.waiting import until

SHOWN_AT_ONCE = "[cases]\nrename_interval_s = 0\n"

TYPED = {
    "de": (
        ("!ich", "kümmert sich um diesen Vorgang"),
        ("!Titel Bremse", "Titel: Bremse"),
        ("!kfz M-AB 123", "Kennzeichen: M-AB 123"),
        ("!nr 4711", "Auftragsnummer: 4711"),
        ("!tag reifen -hu", "Schlagwörter: #reifen"),
        ("!wer", "Hier im Raum: "),
        ("!heute", "🔴 1001 · Bremse · M-AB 123 · 4711 · #reifen · 👤 "),
        ("!suche mab123", "🔴 1001 · Bremse · M-AB 123 · 4711 · #reifen · 👤 "),
        ("!abgeben", "kümmert sich nicht mehr darum"),
        ("!an @{eva}", "kümmert sich ab jetzt um diesen Vorgang"),
        ("!notiz Bremsscheiben bestellen", "🔒 Notiz"),
        (". Bremsbeläge auch", "🔒 Notiz"),
        ("!verlauf 5", "Kunde: Die Bremse quietscht"),
        ("!haenger", "Es wartet nichts und hängt nichts."),
        ("!erlauben", "niemand Neues"),
        ("!fragen neuigkeiten", "Nicht gefragt: Der Kunde ist zum ersten Mal da"),
        ("!umfrage Wie war es?", "Nicht gesendet: Der Kunde hat dem nicht zugestimmt"),
        ("!widerruf unsinn", "Wozu? Möglich sind: "),
        ("!stumm 2h", "🔕 Stumm bis "),
        ("!sperren 7d", "🚫 Gesperrt bis "),
        ("!entsperren", "Nicht mehr gesperrt"),
        ("!verbinden 1001", "Nicht verbunden: „1001“"),
        ("!später 2h", "⏰ Zurückgestellt bis "),
        ("!feierabend", "⏰ 1001 · Bremse"),
        ("!hilfe", "!zu / !close"),
        ("!neukunde", "nicht im Raum eines Vorgangs"),
        ("!arzt", "Das geht nur in der 🛠 Leitung"),
        ("!fretig", "Meinten Sie „!fertig“?"),
    ),
    "en": (
        ("!take", "looks after this case"),
        ("!title brakes", "Title: brakes"),
        ("!plate M-AB 123", "Plate: M-AB 123"),
        ("!ref 4711", "Order number: 4711"),
        ("!tag tyres", "Tags: #tyres"),
        ("!who", "In this room: "),
        ("!today", "🔴 1001 · brakes · M-AB 123 · 4711 · #tyres · 👤 "),
        ("!find mab123", "🔴 1001 · brakes · M-AB 123 · 4711 · #tyres · 👤 "),
        ("!release", "does not look after it any more"),
        ("!assign @{eva}", "looks after this case from now on"),
        ("!move @{eva}", "looks after this case from now on"),
        ("!note order brake discs", "🔒 Note."),
        (". and pads", "🔒 Note."),
        ("!history 5", "Customer: Die Bremse quietscht"),
        ("!stuck", "Nothing waits and nothing is stuck"),
        ("!allow", "Nobody new is in the customer's chat"),
        ("!ask news", "Not asked: The customer is here for the first time"),
        ("!survey How was it?", "Not sent: The customer did not agree to that"),
        ("!withdraw nonsense", "About what? Possible: "),
        ("!mute 2h", "🔕 Muted until "),
        ("!block 7d", "🚫 Blocked until "),
        ("!unblock", "No longer blocked"),
        ("!merge 1001", "Not joined: “1001”"),
        ("!later 2h", "⏰ Put off until "),
        ("!snooze 3h", "⏰ Put off until "),
        ("!endofday", "⏰ 1001 · brakes"),
        ("!help", "!zu / !close"),
        ("!newcustomer", "not in the room of a case"),
        ("!doctor", "This works only in 🛠 Management"),
        ("!raedy", 'Did you mean "!ready"?'),
    ),
}
"""What a mechanic types in the room of a case on one day, and what the bot answers there. None of it is for the customer."""

AT_THE_END = {
    "de": (("!zu", "Vorgang geschlossen"), ("!auf", "Vorgang wieder geöffnet")),
    "en": (("!close", "Case closed"), ("!reopen", "Case open again")),
}

IN_THE_OFFICE = {
    "de": (
        ("!info Die Winterreifen sind da", "Geht nacheinander an alle, die zugestimmt haben (0)"),
        ("!vertrauen @{chef}:localhost", "oder Sie wollten sich selbst bestätigen"),
        ("!stimmt 99", "„99“ ist keine Nummer"),
        ("!falsch 99", "„99“ ist keine Nummer"),
        ("!aufnehmen @{eva}:anderswo.example", "Konto auf einem fremden Server"),
        ("!entfernen @niemand:localhost", "gehört nicht zum Team"),
        ("!neukunde für Herrn Meier", "es ist nichts angelegt"),
        ("!auf 1001", "Der Vorgang ist schon offen"),
        ("!sperren", "Zurzeit ist niemand gesperrt"),
        ("!arzt", "🩺"),
        ("!hilfe arzt", "!arzt / !doctor"),
    ),
    "en": (
        ("!news Winter tyres are here", "Goes to all who agreed (0)"),
        ("!trust @{chef}:localhost", "or you wanted to confirm yourself"),
        ("!match 99", '"99" is no number'),
        ("!mismatch 99", '"99" is no number'),
        ("!add @{eva}:elsewhere.example", "account on another server"),
        ("!remove @nobody:localhost", "does not belong to the team"),
        ("!newcustomer for Mr Miller", "nothing was made"),
        ("!reopen 1001", "The case is open already"),
        ("!block", "Nobody is blocked"),
        ("!doctor", "🩺"),
        ("!help doctor", "!arzt / !doctor"),
    ),
}
"""What an admin types in the admin room, with the answers that change nothing."""


@dataclass
class Talk:
    """Somebody types in a room of staff, and a reader decrypts there what the bot answers."""

    business: Business
    room: str
    typist: Peer
    reader: Peer

    async def type(self, text: str, answer: str) -> Seen:
        """Return the answer: a notice that had not been there before."""
        people = {name: account.localpart for name, account in self.business.people.items()}
        known = {seen.event_id for seen in self.reader.seen}

        def is_answer(seen: Seen) -> bool:
            is_new = seen.room_id == self.room and seen.event_id not in known
            return is_new and seen.sender == self.business.bot.mxid and answer in seen.body

        await self.typist.text(self.room, text.format(**people))
        said = await self.reader.wait_for(is_answer, 40)
        assert said.encrypted
        assert said.msgtype == "m.notice"
        return said


def read_by(customer: Peer, business: Business) -> list[str]:
    """Return all that the bot wrote into this customer's rooms, after the privacy text."""
    first, *rest = [s.body for s in customer.seen if s.sender == business.bot.mxid and s.type == "m.room.message"]
    assert "Werkstatt Müller GmbH" in first
    return rest


def code_in(seen: Seen) -> str:
    found = re.search(r"\b(\d{4})\. ", seen.body)
    assert found, seen.body
    return found.group(1)


@pytest.mark.parametrize("language", ["de", "en"])
async def test_what_is_typed_at_a_desk_is_answered_there_and_stays_there(
    business: Business, new_peer: MakePeer, language: str
) -> None:
    business.language = language
    await business.again(SHOWN_AT_ONCE)
    anna, jan = await new_peer(await business.account("anna")), await new_peer(business.people["jan"])
    eva, chef = await new_peer(business.people["eva"]), await new_peer(business.people["chef"])
    chat = await anna.start_chat(business.bot.mxid)
    await anna.text(chat, "Die Bremse quietscht")
    case = (await arrived(jan, business, "Die Bremse quietscht")).room_id
    await arrived(eva, business, "Die Bremse quietscht")
    card = await jan.wait_for(lambda s: s.room_id == case and s.body.split("\n")[0].endswith(" 1001"), 40)

    desk = Talk(business, case, jan, eva)
    for text, answer in TYPED[language]:
        await desk.type(text, answer)
    await has(eva, card, "M-AB 123")
    await has(eva, card, "4711")
    await jan.text(case, "Bis gleich")
    await arrived(anna, business, "Bis gleich")

    ready = {"de": ("!fertig Ihr Golf steht vorn", "Der Kunde weiß"), "en": ("!ready Your Golf is here", "knows that")}
    await desk.type(*ready[language])
    told = await arrived(anna, business, "Golf")
    code = code_in(told)
    handed = {"de": (f"!abholung {code}", "Der Code stimmt"), "en": (f"!pickup {code}", "The code is right")}
    await desk.type(*handed[language])
    for text, answer in AT_THE_END[language]:
        await desk.type(text, answer)

    office = Talk(business, await room_of(chef, "🛠"), chef, chef)
    for text, answer in IN_THE_OFFICE[language]:
        await office.type(text, answer)
    inbox = Talk(business, await room_of(jan, "📥"), jan, eva)
    await inbox.type(*{"de": ("!heute", "🔴 1001"), "en": ("!today", "🔴 1001")}[language])
    await jan.text(case, "Gute Fahrt")
    await arrived(anna, business, "Gute Fahrt")

    assert read_by(anna, business) == ["Bis gleich", told.body, "Gute Fahrt"]
    told_staff = [seen.body for seen in [*eva.seen, *chef.seen] if seen.sender == business.bot.mxid]
    assert not any(code in body for body in told_staff), "whoever wants to collect has to show it"
    assert not any("Bremse" in seen.body for seen in chef.seen), "who works at no desk is in no room of a case"


async def room_of(peer: Peer, sign: str) -> str:
    """Return the room of a colleague whose name begins with a sign."""

    async def found() -> str:
        names = {room: await name_of(peer, room) for room in await peer.rooms()}
        return next((room for room, name in names.items() if name.startswith(sign)), "")

    return await until(found, timeout_s=30, what=f"a room called {sign} …")


async def test_two_cases_of_one_customer_are_joined_and_parted(business: Business, new_peer: MakePeer) -> None:
    await business.again(SHOWN_AT_ONCE + "reopen_days = 0\n")
    anna, jan = await new_peer(await business.account("anna")), await new_peer(business.people["jan"])
    chat = await anna.start_chat(business.bot.mxid)
    await anna.text(chat, "Die Bremse quietscht")
    old = Talk(business, (await arrived(jan, business, "Die Bremse quietscht")).room_id, jan, jan)
    await old.type("!zu", "Vorgang geschlossen")
    await anna.text(chat, "Sie quietscht immer noch")
    new = Talk(business, (await arrived(jan, business, "Sie quietscht immer noch")).room_id, jan, jan)
    assert new.room != old.room

    pointer = await new.type("!verbinden 1001", "geht im Vorgang 1001 weiter")
    assert old.room in pointer.content["formatted_body"]
    back = await jan.wait_for(lambda s: s.room_id == old.room and "Der Vorgang 1002 desselben Kunden" in s.body, 40)
    assert back.encrypted
    await is_called(jan, old.room, "🔴 1001")
    await is_called(jan, new.room, "✅ 1002")
    await anna.text(chat, "Haben Sie morgen Zeit?")
    assert (await arrived(jan, business, "Haben Sie morgen Zeit?")).room_id == old.room
    await jan.text(new.room, "ins falsche Zimmer")
    await arrived(jan, business, "Nicht gesendet: Dieser Vorgang geht im Vorgang 1001 weiter")
    await new.type("!auf", "Vorgang wieder geöffnet")
    await jan.text(new.room, "Morgen um neun")
    await arrived(anna, business, "Morgen um neun")

    assert read_by(anna, business) == ["Morgen um neun"]


async def test_a_survey_needs_a_yes_and_a_withdrawal_by_word_of_mouth_ends_it(
    business: Business, new_peer: MakePeer
) -> None:
    anna, jan = await new_peer(await business.account("anna")), await new_peer(business.people["jan"])
    chat = await anna.start_chat(business.bot.mxid)
    await anna.text(chat, "Danke für alles")
    desk = Talk(business, (await arrived(jan, business, "Danke für alles")).room_id, jan, jan)
    await desk.type("!zu", "Vorgang geschlossen")
    await desk.type("!fragen umfragen", "❓ Gefragt: ")
    question = await arrived(anna, business, "wie zufrieden Sie waren")
    relation = {"m.in_reply_to": {"event_id": question.event_id}}
    await anna.send(chat, "m.room.message", {"msgtype": "m.text", "body": "Ja", "m.relates_to": relation})
    await arrived(jan, business, "✅ Der Kunde hat zugestimmt: ")

    await desk.type("!umfrage Wie war es bei uns?", "📨 Gesendet")
    await arrived(anna, business, "Wie war es bei uns?")
    await desk.type("!widerruf umfragen", "🚫 Festgehalten")
    await arrived(anna, business, "Ihr Widerruf gilt ab sofort")
    await desk.type("!umfrage Und diesmal?", "Nicht gesendet")
    await jan.text(desk.room, "Bis bald")
    await arrived(anna, business, "Bis bald")

    read = read_by(anna, business)
    assert sum("Wie war es bei uns?" in body for body in read) == 1
    assert not any(words in body for body in read for words in ("!umfrage", "diesmal", "Festgehalten", "Gefragt"))


async def test_every_sign_on_a_card_does_what_its_command_does(business: Business, new_peer: MakePeer) -> None:
    await business.again(SHOWN_AT_ONCE)
    anna, jan = await new_peer(await business.account("anna")), await new_peer(business.people["jan"])
    eva, chat = await new_peer(business.people["eva"]), await anna.start_chat(business.bot.mxid)
    await anna.text(chat, "Ist er fertig?")
    case = (await arrived(jan, business, "Ist er fertig?")).room_id
    card, inbox_card = (
        await arrived(eva, business, "Vorgang 1001\n"),
        await arrived(eva, business, "Neuer Vorgang 1001"),
    )
    for key in ("👍", "🟢", "⏰", "✅"):
        await sign(jan, business, card, key)

    await jan.react(case, card.event_id, "👍\ufe0f")
    assert (await arrived(eva, business, "kümmert sich um diesen Vorgang")).room_id == case
    await has(eva, inbox_card, "kümmert sich")
    await jan.react(case, card.event_id, "⏰")
    await arrived(eva, business, "⏰ Zurückgestellt bis ")
    await is_called(eva, case, "⏰ 1001")
    await jan.react(case, card.event_id, "🟢")
    await arrived(eva, business, "🟢 Der Kunde weiß, dass er abholen kann")
    told = await arrived(anna, business, "Es ist fertig und kann abgeholt werden.")
    await is_called(eva, case, "🟢 1001")
    await jan.react(case, card.event_id, "✅")
    await arrived(eva, business, "✅ Vorgang geschlossen")
    await is_called(eva, case, "✅ 1001")
    await jan.text(case, "Gute Fahrt")
    await arrived(anna, business, "Gute Fahrt")

    assert read_by(anna, business) == [told.body, "Gute Fahrt"]
    shown_to_anna = [s for s in anna.seen if s.type == "m.reaction" and s.sender == business.bot.mxid]
    assert shown_to_anna == [], "signs on cards are nothing that anybody answers the customer"


async def is_called(peer: Peer, room: str, name: str) -> None:
    async def has_name() -> bool:
        return await name_of(peer, room) == name

    await until(has_name, timeout_s=40, what=f"a room called {name}")
