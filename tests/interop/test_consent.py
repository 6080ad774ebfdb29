"""Decisions in chat on a real server, with people on the encryption that Element runs: votes, replies, deletions, proofs."""

from dataclasses import dataclass
from typing import Any

from bot import app
from bot.domain.ids import UserId
from bot.domain.ledger.entries import LedgerKind
from bot.store import consents, ledger, rooms
from tests.business import Account, Business
from tests.interop.conftest import MakeElement
from tests.interop.element import NO_SHIELD, ElementPeer, chat_with

Json = dict[str, Any]
POLL = "org.matrix.msc3381.poll"
WAIT_S = 60.0
SECRET_WORDS = "Zylinderkopfdichtung"


class Seen:
    """What one person has seen of the bot, one thing after the other."""

    def __init__(self, peer: ElementPeer, bot: str) -> None:
        self.peer, self.bot = peer, bot
        self.read: set[str] = set()

    async def next(self, text: str, *, kind: str = "m.room.message", room: str = "") -> Json:
        """Wait for the next event of the bot with these words; it is drawn without a shield."""

        def fits(line: Json) -> bool:
            content = line.get("content")
            is_new = line.get("sender") == self.bot and line["event_id"] not in self.read and isinstance(content, dict)
            return is_new and line.get("type") == kind and room in {"", line["room_id"]} and text in str(content)

        line = await self.peer.wait_for(fits, WAIT_S)
        self.read.add(line["event_id"])
        event: Json = await self.peer.command("decrypt_wait", room_id=line["room_id"], event_id=line["event_id"])
        assert event["shield"] == NO_SHIELD, event
        return event


async def vote(peer: ElementPeer, room: str, poll: str, answer: str) -> str:
    relation = {"rel_type": "m.reference", "event_id": poll}
    content = {f"{POLL}.response": {"answers": [answer]}, "m.relates_to": relation}
    sent = await peer.command("send", room_id=room, type=f"{POLL}.response", content=content)
    return str(sent["event_id"])


async def standings(business: Business, user: str) -> tuple[dict[str, str], list[LedgerKind]]:
    """What the bot's database says about somebody, and what its ledger does."""
    async with app.stored(business.settings()) as database:
        customer = await rooms.of_user(database, UserId(user))
        assert customer
        known = {
            str(consent.purpose): consent.standing.value for consent in await consents.of_customer(database, customer)
        }
        facts = [entry.fact.kind for entry in await ledger.of_subject(database, customer) if entry.fact]
        assert await consents.differing(database) == []
        return known, facts


@dataclass
class Day:
    """The people of one day, and their rooms."""

    anna: ElementPeer
    jan: ElementPeer
    chef: ElementPeer
    customer: Seen
    mechanic: Seen
    admin: Seen
    chat: str = ""
    case: str = ""
    office: str = ""


async def test_ac_01_02_03_04_07_13_a_day_of_decisions(business: Business, element_peer: MakeElement) -> None:
    assert await business.stop() == 0
    business.extra = "[consent]\nnews_interval_s = 0\n"
    await business.start()
    accounts = [await business.account("anna"), business.people["jan"], business.people["chef"]]
    anna, jan, chef = [await element_peer(account) for account in accounts]
    bot = business.bot.mxid
    day = Day(anna, jan, chef, Seen(anna, bot), Seen(jan, bot), Seen(chef, bot))

    await the_first_contact(day, bot)
    yes = await a_vote(day)
    await news_and_proof(day)
    await taking_back_by_deleting(day, yes)
    await again_and_stop(day)

    assert await business.stop() == 0, business.log()
    known, facts = await standings(business, accounts[0].mxid)
    assert known == {"marketing_news": "withdrawn"}
    assert facts == [
        *(LedgerKind.NOTICE_SHOWN, LedgerKind.REQUESTED, LedgerKind.GIVEN, LedgerKind.USED, LedgerKind.WITHDRAWN),
        *(LedgerKind.REQUESTED, LedgerKind.RENEWED, LedgerKind.WITHDRAWN),
    ]
    it_was_listened_for(business, [account.mxid for account in accounts], [day.chat, day.case, day.office])


async def the_first_contact(day: Day, bot: str) -> None:
    anna, customer = day.anna, day.customer
    chat = day.chat = await chat_with(anna, bot)
    await anna.command("text", room_id=chat, body=f"{SECRET_WORDS}, was kostet das?")
    notice = await customer.next("Kurz zum Datenschutz", room=chat)
    day.case = (await day.mechanic.next(SECRET_WORDS))["room_id"]
    assert "Werkstatt Müller GmbH" in notice["content"]["body"]
    ours = [line for line in anna.events if line.get("sender") == bot and line.get("type") == "m.room.message"]
    assert ours[0]["event_id"] == notice["event_id"]


async def a_vote(day: Day) -> str:
    anna, jan, customer, mechanic, chat, case = day.anna, day.jan, day.customer, day.mechanic, day.chat, day.case
    await jan.command("text", room_id=case, body="!fragen neuigkeiten")
    await mechanic.next("zum ersten Mal da", room=case)
    await jan.command("text", room_id=case, body="!zu")
    await mechanic.next("geschlossen", room=case)
    await jan.command("text", room_id=case, body="!fragen neuigkeiten")
    question = await customer.next("Eine Frage von Werkstatt Müller GmbH", room=chat)
    poll = await customer.next("Angebote und Neuigkeiten", kind=f"{POLL}.start", room=chat)
    replied_to = (poll["content"].get("m.relates_to") or poll["wire_content"]["m.relates_to"])["m.in_reply_to"]
    assert replied_to["event_id"] == question["event_id"]

    await anna.command("text", room_id=chat, body="Ja")
    await customer.next("nicht sicher als Zustimmung", room=chat)
    await mechanic.next("Zählt nicht als Zustimmung zu „Angebote und Neuigkeiten“", room=case)
    await anna.command("text", room_id=chat, body="ok", reply_to=question["event_id"])
    await mechanic.next("Zählt nicht als Zustimmung zu „Angebote und Neuigkeiten“", room=case)
    yes = await vote(anna, chat, poll["event_id"], "yes")
    given = await customer.next("Danke. Gespeichert", room=chat)
    await customer.next("", kind=f"{POLL}.end", room=chat)
    assert "Prüfzeichen" in given["content"]["body"]
    await mechanic.next("hat zugestimmt", room=case)

    return yes


async def news_and_proof(day: Day) -> None:
    anna, chef, customer, admin, chat = day.anna, day.chef, day.customer, day.admin, day.chat
    leitung = await chef.wait_for(
        lambda line: line.get("type") == "m.room.name" and line["content"].get("name") == "🛠 Leitung", WAIT_S
    )
    day.office = leitung["room_id"]
    await chef.command("text", room_id=leitung["room_id"], body="!info Die Winterreifen sind da")
    await admin.next("zugestimmt haben (1)", room=leitung["room_id"])
    await customer.next("Die Winterreifen sind da", room=chat)

    await anna.command("text", room_id=chat, body="!beleg")
    proof = await customer.next(".tlog-proof", room=chat)
    assert proof["content"]["msgtype"] == "m.file"
    assert proof["content"]["file"]["url"].startswith("mxc://")


async def taking_back_by_deleting(day: Day, yes: str) -> None:
    anna, chef, customer, mechanic, chat = day.anna, day.chef, day.customer, day.mechanic, day.chat
    await anna.command("redact", room_id=chat, event_id=yes)
    await customer.next("Ihr Widerruf gilt ab sofort", room=chat)
    await mechanic.next("Widerrufen: Angebote und Neuigkeiten", room=day.case)
    await chef.command("text", room_id=day.office, body="!info Noch mehr Reifen")
    await day.admin.next("zugestimmt haben (0)", room=day.office)


async def again_and_stop(day: Day) -> None:
    anna, customer, chat = day.anna, day.customer, day.chat
    await anna.command("text", room_id=chat, body="!ja neuigkeiten")
    again = await customer.next("Eine Frage von Werkstatt Müller GmbH", room=chat)
    await anna.command("text", room_id=chat, body="Ja", reply_to=again["event_id"])
    await customer.next("Danke. Gespeichert", room=chat)
    await anna.command("text", room_id=chat, body="STOPP")
    await customer.next("Ihr Widerruf gilt ab sofort", room=chat)
    await day.mechanic.next("STOPP", room=day.case)


def it_was_listened_for(business: Business, users: list[str], room_ids: list[str]) -> None:
    """That nothing of this stands in the log, the metrics and the files was seen when the bot stopped."""
    assert business.canary
    words = [*users, *room_ids, f"{SECRET_WORDS}, was kostet das?", "!info Die Winterreifen sind da"]
    words += [business.bot.mxid, business.bot.password, *(user[1:].partition(":")[0] for user in users)]
    assert business.canary.has_heard(*words)
    assert business.settings().log.level == "debug"
    assert "serving" in business.log()


# ----------------------------------------------------------------------------------- each for themselves, and who may


async def test_ac_06_16_22_23_each_decides_for_themselves_and_only_who_may(
    business: Business, element_peer: MakeElement
) -> None:
    """What another server would send cannot be had with one server; that a closed one declines it is in tests/flows."""
    assert await business.stop() == 0
    business.extra = "[consent]\nnews_interval_s = 0\n"
    await business.start()
    accounts = [await business.account("anna"), await business.account("bert")]
    people = (*accounts, business.people["jan"], business.people["chef"])
    anna, bert, jan, chef = [await element_peer(account) for account in people]
    bot = business.bot.mxid
    day = Day(anna, jan, chef, Seen(anna, bot), Seen(jan, bot), Seen(chef, bot))

    question = await agreeing_to_news(day, bot)
    await somebody_else_says_stop(day, bert)
    assert await business.stop() == 0, business.log()
    assert (await standings(business, accounts[0].mxid))[0] == {"marketing_news": "given"}
    known, facts = await standings(business, accounts[1].mxid)
    assert (known, sorted(facts)) == ({}, [LedgerKind.NOTICE_SHOWN, LedgerKind.OBJECTED])
    assert not [line for line in anna.events if "Winterreifen" in str(line.get("content")) and line["sender"] == bot]

    await forgotten(business, accounts[0])
    await business.start()
    await an_old_question_is_none(day, question)
    await a_new_yes_and_too_young(day)
    assert await business.stop() == 0, business.log()
    known, facts = await standings(business, accounts[0].mxid)  # the table follows from the ledger: it compares both
    assert known == {"marketing_news": "invalidated"}
    assert facts[-1] is LedgerKind.INVALIDATED
    assert facts.count(LedgerKind.GIVEN) + facts.count(LedgerKind.RENEWED) == 2


async def agreeing_to_news(day: Day, bot: str) -> str:
    """The first session, and a yes after it; returns the question."""
    anna, jan, customer, mechanic = day.anna, day.jan, day.customer, day.mechanic
    chat = day.chat = await chat_with(anna, bot)
    await anna.command("text", room_id=chat, body="Was kostet ein Ölwechsel?")
    case = day.case = (await mechanic.next("Was kostet ein Ölwechsel?"))["room_id"]
    await jan.command("text", room_id=case, body="!zu")
    await mechanic.next("geschlossen", room=case)
    await jan.command("text", room_id=case, body="!fragen neuigkeiten")
    question = await customer.next("Eine Frage von Werkstatt Müller GmbH", room=chat)
    poll = await customer.next("Angebote und Neuigkeiten", kind=f"{POLL}.start", room=chat)
    await vote(anna, chat, poll["event_id"], "yes")
    await customer.next("Danke. Gespeichert", room=chat)
    return str(question["event_id"])


async def somebody_else_says_stop(day: Day, bert: ElementPeer) -> None:
    """A second person is in the room: nothing is sent there without their yes, and their STOPP is theirs alone."""
    path = f"/_matrix/client/v3/rooms/{day.chat}/invite"
    user = (await bert.command("raw", path="/_matrix/client/v3/account/whoami"))["body"]["user_id"]
    invited = await day.anna.command("raw", method="POST", path=path, body={"user_id": user})
    assert invited["status"] == 200, invited
    await day.mechanic.next("noch jemand anderes", room=day.case)
    await day.jan.command("text", room_id=day.case, body="!erlauben")
    await day.mechanic.next("darf mitlesen", room=day.case)
    office = await day.chef.wait_for(
        lambda line: line.get("type") == "m.room.name" and line["content"].get("name") == "🛠 Leitung", WAIT_S
    )
    await day.chef.command("text", room_id=office["room_id"], body="!info Die Winterreifen sind da")
    await day.admin.next("zugestimmt haben (1)", room=office["room_id"])
    await bert.command("text", room_id=day.chat, body="STOPP")
    await day.customer.next("in nichts eingewilligt", room=day.chat)


async def forgotten(business: Business, account: Account) -> None:
    """What an erasure does to somebody's consents."""
    async with app.stored(business.settings()) as database, database.transaction() as tx:
        customer = await rooms.of_user(tx, UserId(account.mxid))
        assert customer
        await consents.forget(tx, customer)


async def an_old_question_is_none(day: Day, question: str) -> None:
    """Whoever was erased cannot agree to what they were asked before; that they want nothing is heard."""
    await day.anna.command("text", room_id=day.chat, body="JA", reply_to=question)
    await day.mechanic.next("JA'", room=day.case)
    await day.anna.command("text", room_id=day.chat, body="STOPP")
    await day.customer.next("in nichts eingewilligt", room=day.chat)
    await day.jan.command("text", room_id=day.case, body="!zu")
    await day.mechanic.next("Vorgang geschlossen", room=day.case)


async def a_new_yes_and_too_young(day: Day) -> None:
    """A new act counts, until the person says that they are too young for it."""
    anna, customer, mechanic, chat = day.anna, day.customer, day.mechanic, day.chat
    await anna.command("text", room_id=chat, body="!ja neuigkeiten")
    again = await customer.next("Angebote und Neuigkeiten", kind=f"{POLL}.start", room=chat)
    await vote(anna, chat, again["event_id"], "yes")
    await customer.next("Danke. Gespeichert", room=chat)
    await anna.command("text", room_id=chat, body="Ich bin 14.")
    await customer.next("Wenn Sie noch keine 16 sind", room=chat)
    await mechanic.next("Ich bin 14.", room=day.case)
    await day.jan.command("text", room_id=day.case, body="!fragen umfragen")
    await mechanic.next("noch zu jung", room=day.case)
