"""The scenes of the day, in their order. Each does what people do, and waits for what they must then see."""

import io
import re
import wave
from typing import Final

from PIL import Image

from bot.demo.board import room_called, settled_room_list
from bot.demo.peer import Seen
from bot.demo.requests import Json
from bot.demo.stage import Player
from bot.demo.telling import Missed
from bot.demo.workshop import Day


async def _first_contact(day: Day) -> None:
    """The privacy text, a tap that takes the case, title and plate, a note, an answer."""
    await day.scene(
        "07:40",
        "Der erste Kontakt",
        "Anna writes for the first time. She reads who answers and what happens to her data; the team finds a"
        " card in its "
        "inbox and a room of its own for this case. Jan takes it with a tap. Plate and note stay inside.",
    )
    told, anna, jan = day.told, day.cast.anna, day.cast.jan
    question = "Guten Tag, meine Bremse quietscht. Wann kann ich kommen?"
    day.rooms["Anna"] = await anna.peer.start_chat(day.stage.bot.mxid)
    await told.writes(anna, day.rooms["Anna"], question)
    await told.arrives(anna, "Kurz zum Datenschutz")
    inbox = await told.arrives(jan, "Neuer Vorgang 1001")
    card = await told.arrives(jan, "Vorgang 1001\n")
    day.rooms |= {"1001": card.room_id, "inbox": inbox.room_id}
    await told.arrives(jan, question)
    await told.taps(jan, inbox, "👍")
    await told.arrives(jan, "Jan kümmert sich")
    await told.changes(day.cast.eva, inbox, "Jan kümmert sich")
    await day.orders(jan, "1001", "!titel Bremse", "Titel: Bremse")
    await day.is_called(jan, "1001", "🔴 1001 · Bremse")
    await day.orders(jan, "1001", "!kfz MS-AB 123", "Kennzeichen: MS-AB 123")
    await told.changes(jan, card, "Kennzeichen: MS-AB 123")
    await day.orders(jan, "1001", ". Beläge vorn waren im März schon knapp", "🔒 Notiz")
    await day.answers(jan, "1001", anna, "Bringen Sie ihn gern gleich vorbei, bis neun haben wir Luft.")
    await day.is_called(jan, "1001", "🟡 1001 · Bremse")
    told.holds("Neither note nor plate came to Anna.", not _at(anna, "Beläge", "MS-AB"))


async def _photo_and_voice(day: Day) -> None:
    """Files are carried without being opened by the bot."""
    await day.scene(
        "08:05",
        "Ein Foto und eine Sprachnachricht",
        "Both arrive as what they are, end-to-end encrypted like every text.",
    )
    told, eva, bernd, carla = day.told, day.cast.eva, day.cast.bernd, day.cast.carla
    for customer, data, content, number in ((bernd, PHOTO, PHOTO_CONTENT, 1002), (carla, VOICE, VOICE_CONTENT, 1003)):
        chat = day.rooms[customer.name] = await customer.peer.start_chat(day.stage.bot.mxid)
        await told.sends(customer, chat, data, content)
        await told.arrives(customer, "Kurz zum Datenschutz", tell=False)
        card = await day.case(eva, number, content["body"])
        copy = next(seen for seen in eva.peer.seen if seen.room_id == card.room_id and "file" in seen.content)
        told.holds("Eva opens it, byte for byte what was sent.", await eva.peer.open_file(copy) == data)
    told.holds("It is played as a voice message.", "org.matrix.msc3245.voice" in copy.content)
    await day.answers(eva, "1002", bernd, "Danke für das Bild, das lässt sich ausbessern.")
    await day.is_called(eva, "1002", "🟡 1002")


async def _somebody_waits(day: Day) -> None:
    """A quarter of an hour of open time without an answer."""
    await day.scene(
        "08:24",
        "Niemand wird vergessen",
        "Carla has waited for a quarter of an hour, so the desk is called. Jan takes the case and answers.",
    )
    await day.told.arrives(day.cast.jan, "🔔", room=day.rooms["1003"])
    await day.orders(day.cast.jan, "1003", "!ich", "Jan kümmert sich")
    await day.answers(day.cast.jan, "1003", day.cast.carla, "Das klingt nach dem Auspuff. Kommen Sie um zehn vorbei?")
    await day.is_called(day.cast.jan, "1003", "🟡 1003")


async def _held_back(day: Day) -> None:
    """The leak guard: what may be meant for a colleague waits for a tap."""
    await day.scene(
        "08:40",
        "Was vielleicht nur fürs Team ist",
        "Eva types in the room of Bernd's case. What names a colleague is held until she taps, internal or "
        "send; a command with "
        "a typo goes nowhere.",
    )
    told, eva, bernd = day.told, day.cast.eva, day.cast.bernd
    held = await day.orders(eva, "1002", "@tom, haben wir die Felge noch am Lager?", "🔒 nur fürs Team")
    await told.taps(eva, held, "🔒")
    await told.changes(eva, held, "Im Team geblieben")
    await day.orders(eva, "1002", "!fertg", "Meinten Sie „!fertig“?")
    await day.orders(eva, "1002", ". Im Einkauf 180 €, mehr als 250 € nicht nehmen", "🔒 Notiz")
    held = await day.orders(eva, "1002", "Unser Kollege @tom ruft Sie heute noch an.", "🔒 nur fürs Team")
    await told.taps(eva, held, "📤")
    await told.changes(eva, held, "Geht an den Kunden")
    await told.arrives(bernd, "Unser Kollege")
    told.holds("Bernd has read nothing of the rest.", not _at(bernd, "Lager", "fertg", "Einkauf"))


async def _handed_over(day: Day) -> None:
    """To another desk, by hand and by a keyword."""
    await day.scene(
        "09:00",
        "An die Werkstatt",
        "Eva hands the case to the other desk. Tom was not in the room when the photo came and can open it "
        "all the same; what "
        "colleagues had written is said again for him. A new customer who writes of tyres (Reifen) comes to "
        "this desk at once.",
    )
    told, eva, tom, gerd = day.told, day.cast.eva, day.cast.tom, day.cast.gerd
    case = day.rooms["1002"]
    await told.writes(eva, case, "!an Werkstatt")
    await told.arrives(tom, "Vorgang 1002: Der Raum ist offen")
    copy = await told.arrives(tom, PHOTO_CONTENT["body"], room=case)
    await told.arrives(tom, "📜", room=case)
    told.holds("Tom opens the photo that came before him.", await tom.peer.open_file(copy) == PHOTO)
    told.holds("Eva is out of the room: she does not work there.", case not in await eva.peer.rooms())
    await day.opens(gerd, "Reifen für meinen Passat, was kosten die?", 1004, tom)
    await day.answers(tom, "1004", gerd, "Ich frage beim Händler nach und melde mich.")
    await day.orders(tom, "1004", "!spaeter 2h", "⏰ Zurückgestellt bis")
    await day.is_called(tom, "1004", "⏰ 1004")


async def _ready(day: Day) -> None:
    """Ready to be collected, handed over by code, closed; and the first question of consent, which is a yes."""
    await day.scene("09:45", "Fertig", "The customer is told, with a pick-up code that only she sees.")
    told, eva, fatma = day.told, day.cast.eva, day.cast.fatma
    await day.opens(fatma, "Guten Morgen, ist mein Golf schon fertig?", 1005, eva)
    await day.orders(eva, "1005", "!fertig Ihr Golf steht vorn auf dem Hof.", "🟢 Der Kunde weiß")
    code = await told.arrives(fatma, "Ihr Abholcode")
    await day.is_called(eva, "1005", "🟢 1005")

    await day.scene(
        "10:30",
        "Abholung, und eine Frage",
        "Fatma is at the counter. The first code has a typo. Her case is closed; only now, never at first "
        "contact, she may be "
        "asked whether she wants news. Her yes is on record with the exact words that she was shown.",
    )
    digits = "".join(re.findall(r"Abholcode: (\d+)", code.body))
    await day.orders(eva, "1005", f"!abholung {_other_than(digits)}", "Dieser Code ist falsch")
    await day.orders(eva, "1005", f"!abholung {digits}", "🤝 Der Code stimmt")
    await day.orders(eva, "1005", "!zu", "Vorgang geschlossen")
    await day.is_called(eva, "1005", "✅ 1005")
    await day.orders(eva, "1005", "!fragen neuigkeiten", "❓ Gefragt")
    question = await told.arrives(fatma, "Tippen Sie unten auf Ja oder Nein")
    await told.polls(fatma, question)
    await told.writes(fatma, day.rooms["Fatma"], "Ja", replies_to=question)
    await told.arrives(fatma, "Prüfzeichen")
    await told.arrives(eva, "✅ Der Kunde hat zugestimmt")


async def _rings(day: Day) -> None:
    """What was put off comes back by itself."""
    await day.scene("11:10", "Es klingelt", "What Tom put off two hours ago comes back by itself.")
    await day.told.arrives(day.cast.tom, "war bis jetzt zurückgestellt", room=day.rooms["1004"])
    await day.answers(
        day.cast.tom, "1004", day.cast.gerd, "Der Satz kostet 420 €, montiert. Passt Ihnen Freitag um neun?"
    )
    await day.is_called(day.cast.tom, "1004", "🟡 1004")


async def _nuisance(day: Day) -> None:
    """Blocked: not stored, not announced, and told nothing."""
    await day.scene(
        "11:40",
        "Ein Störenfried",
        "Emil is blocked for a week. He is told nothing, and what he writes is not even stored; others are "
        "heard as always.",
    )
    told, eva, emil, carla = day.told, day.cast.eva, day.cast.emil, day.cast.carla
    await day.opens(emil, "GRATIS Sportwetten, nur heute!!!", 1006, eva)
    await day.orders(eva, "1006", "!sperren 7d", "🚫 Gesperrt bis")
    await day.orders(eva, "1006", "!zu", "Vorgang geschlossen")
    await day.is_called(eva, "1006", "✅ 1006")
    await told.writes(emil, day.rooms["Emil"], "LETZTE CHANCE!!!", in_vain=True)
    await day.asks(carla, "War da, danke! Was mache ich bis zum Termin?", day.cast.jan)
    team = (eva, day.cast.jan, day.cast.tom)
    told.holds("Nobody of the team has seen Emil's second message.", not any(_at(one, "LETZTE") for one in team))


async def _leaves(day: Day) -> None:
    """A colleague who leaves is out of everything at once; new keys; the cases go to others."""
    await day.scene(
        "11:50",
        "Jan geht",
        "It is Jan's last day. Eva removes him in the admin room (Leitung): at once he is in no room any "
        "more, and what is written "
        "from now on has keys that he never gets. Eva takes one of his cases, the other goes to Tom.",
    )
    told, eva, jan, tom = day.told, day.cast.eva, day.cast.jan, day.cast.tom
    day.rooms["admin"] = await room_called(eva, "🛠 Leitung")
    before = _last_session(eva, day.rooms["1001"], day.stage.bot.mxid)
    await day.orders(eva, "admin", f"!entfernen {jan.person.mxid}", "🚪")
    told.holds("Jan is in no room any more.", not await jan.peer.rooms())
    await day.orders(eva, "1001", "!wer", "kümmert sich noch niemand")
    await day.orders(eva, "1001", "!ich", "Eva kümmert sich")
    await day.orders(eva, "1003", "!an @tom", "kümmert sich ab jetzt")
    await told.arrives(tom, "War da, danke!", room=day.rooms["1003"])
    await day.answers(tom, "1003", day.cast.carla, "Fahren Sie ruhig weiter, nur nicht auf die Autobahn.")
    asked = await day.asks(day.cast.anna, "Wird meiner heute noch fertig?", eva)
    told.holds("New keys: none of those that Jan has opens it.", asked.raw["content"]["session_id"] != before)
    told.holds("Jan has not seen it.", not _at(jan, "Wird meiner heute"))
    await day.answers(eva, "1001", day.cast.anna, "Ja, ab 16 Uhr.")


async def _lunch(day: Day) -> None:
    """One automatic sentence while nobody is there; afterwards people answer."""
    await day.scene(
        "12:20",
        "Mittagspause",
        "Deniz is told once, not at every message, when somebody reads it. Everybody else is left in peace.",
    )
    told, eva, deniz = day.told, day.cast.eva, day.cast.deniz
    await day.opens(deniz, "Kann ich heute noch zum Ölwechsel kommen?", 1007, eva)
    await told.arrives(deniz, "Gerade ist bei uns niemand da")
    await day.asks(deniz, "Es ist ein Corsa.", eva)

    await day.scene("13:01", "Wieder da", "People answer.")
    await day.answers(eva, "1007", deniz, "Ja, kommen Sie um drei.")
    await day.asks(deniz, "Super, bis dann!", eva)
    await day.answers(eva, "1007", deniz, "Bis dann!")
    told.holds("Deniz was told only once.", len(_at(deniz, "Gerade ist bei uns niemand da")) == 1)


async def _news(day: Day) -> None:
    """News to who agreed; a STOPP that holds at once."""
    await day.scene(
        "15:00",
        "Neuigkeiten, und STOPP",
        "News goes to those who agreed, and to nobody else. One word ends it, from the same moment on.",
    )
    told, eva, fatma = day.told, day.cast.eva, day.cast.fatma
    await day.orders(eva, "admin", "!info Im Juni: Klima-Check für 49 €.", "zugestimmt haben (1)")
    await told.arrives(fatma, "Klima-Check")
    await told.writes(fatma, day.rooms["Fatma"], "STOPP")
    await told.arrives(fatma, "Ihr Widerruf gilt ab sofort")
    await told.arrives(eva, "🚫 Der Kunde will keine Nachrichten mehr")
    await day.orders(eva, "admin", "!info Und im Juli: Urlaubs-Check.", "zugestimmt haben (0)")
    await day.orders(eva, "1005", "!zu", "geschlossen")


async def _evening(day: Day) -> None:
    """What is open, at a desk and at one's own desks."""
    await day.scene("16:45", "Was noch offen ist", "Eva looks at her desk, Tom at all that he would leave behind.")
    day.rooms["inbox of Tom"] = await room_called(day.cast.tom, "📥 Eingang Werkstatt")
    await day.orders(day.cast.eva, "inbox", "!heute", "📋 Offen")
    await day.orders(day.cast.tom, "inbox of Tom", "!feierabend", "🌙 Noch offen")
    await day.orders(day.cast.tom, "1002", "!spaeter fr 9:00", "⏰ Zurückgestellt bis Freitag, 15. Mai")
    await day.is_called(day.cast.tom, "1002", "⏰ 1002")
    await day.orders(day.cast.eva, "1001", "!fertig Sie bremst wieder.", "🟢 Der Kunde weiß")
    await day.told.arrives(day.cast.anna, "Ihr Abholcode")
    await day.is_called(day.cast.eva, "1001", "🟢 1001 · Bremse")


async def _holiday_eve(day: Day) -> None:
    """Tomorrow is a holiday, and the automatic sentence knows it."""
    await day.scene(
        "17:20",
        "Am Abend vor dem Feiertag",
        "Tomorrow is Ascension Day (Christi Himmelfahrt), so the next opening is on Friday.",
    )
    await day.opens(day.cast.hanna, "Mein Auto springt nicht an. Ist morgen jemand da?", 1008, day.cast.eva)
    await day.told.arrives(day.cast.hanna, "am Freitag, 15. Mai, ab 07:30 Uhr")
    team = (day.cast.eva, day.cast.jan, day.cast.tom)
    said = [seen for player in (*team, day.cast.anna, day.cast.hanna) for seen in player.peer.seen]
    clear = [seen for seen in said if seen.sender == day.stage.bot.mxid and seen.msgtype and not seen.encrypted]
    day.told.holds("All that the bot said this day was encrypted.", not clear)


async def _room_lists(day: Day) -> None:
    """The board, as two mechanics have it on their phones."""
    for player, signs in ((day.cast.eva, "🔴🟡🟢✅"), (day.cast.tom, "🟡⏰")):
        rows = await settled_room_list(player)
        names = " ".join(row[0] for row in rows)
        if not all(sign in names for sign in signs):
            raise Missed(f"each of {signs} in the list of rooms, for {player.name}")
        day.page.table(
            f"Die Raumliste von {player.name}",
            "As the server gives it to the app: names, what is in the Space, and how many messages came since this "
            "person last wrote or tapped there. Whom a message mentions is encrypted, so that is counted by the app.",
            ("room", "in the Space", "unread", "mentions"),
            rows,
        )


SCENES: Final = (
    _first_contact,
    _photo_and_voice,
    _somebody_waits,
    _held_back,
    _handed_over,
    _ready,
    _rings,
    _nuisance,
    _leaves,
    _lunch,
    _news,
    _evening,
    _holiday_eve,
    _room_lists,
)


def _last_session(player: Player, room: str, sender: str) -> str:
    """Return the session of the last message of somebody in a room."""
    seen = [seen for seen in player.peer.seen if (seen.room_id, seen.sender) == (room, sender) and seen.encrypted]
    return str(seen[-1].raw["content"]["session_id"])


def _at(player: Player, *texts: str) -> list[Seen]:
    """Return what somebody else wrote to this person that holds one of these texts."""
    theirs = [seen for seen in player.peer.seen if seen.sender != player.person.mxid]
    return [seen for seen in theirs if any(text in seen.body for text in texts)]


def _other_than(code: str) -> str:
    return code[:-1] + str((int(code[-1]) + 1) % 10)


def _photo() -> bytes:
    file = io.BytesIO()
    Image.radial_gradient("L").save(file, "PNG")
    return file.getvalue()


def _voice() -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(1)
        sound.setframerate(8000)
        sound.writeframes(bytes(128 + (step % 80 > 40) * 20 for step in range(8000)))
    return file.getvalue()


PHOTO: Final = _photo()
PHOTO_CONTENT: Final[Json] = {
    "msgtype": "m.image",
    "body": "Kratzer in der Felge. Geht das weg?",
    "filename": "felge.png",
    "info": {"mimetype": "image/png", "size": len(PHOTO), "w": 256, "h": 256},
}
VOICE: Final = _voice()
VOICE_CONTENT: Final[Json] = {
    "msgtype": "m.audio",
    "body": "Sprachnachricht.wav",
    "info": {"mimetype": "audio/wav", "size": len(VOICE), "duration": 1000},
    "org.matrix.msc1767.audio": {"duration": 1000, "waveform": [0, 512, 1024, 512]},
    "org.matrix.msc3245.voice": {},
}
