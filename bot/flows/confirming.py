"""Once something was taken back, both sides are told: the customer once, without a question, and staff."""

from bot.domain.arrival import Item
from bot.domain.consent import ANY_CASE
from bot.domain.errors import Refused
from bot.domain.ids import CaseNumber, CustomerId, RoomId
from bot.domain.message import Outgoing
from bot.domain.purpose import PurposeId
from bot.flows import first_contact
from bot.flows.purposes import title_of
from bot.flows.surroundings import Surroundings
from bot.flows.worker import Hold
from bot.store import cases, consents, rooms


async def confirm(around: Surroundings, item: Item) -> None:
    """Tell the customer once what was taken back, or staff that it was. No question, no are-you-sure."""
    person = CustomerId(item.body["person"])
    is_for_customer = item.body["to"] == "customer"
    shows_itself = item.body.get("in_doubt", False)  # the message that else brings the privacy text is refused
    if is_for_customer and not shows_itself:
        await _wait_for_notice(around, person)
    if item.plan is None:
        room = await _room_of(around, item, person) if is_for_customer else None
        async with around.database.transaction() as tx:
            case = await cases.current_of(tx, person)
            plan = {"room": room, "staff": case.room_id if case else None, "text": _confirmation(around, item)}
            notice = is_for_customer and room and shows_itself
            plan |= await first_contact.planned(tx, around, item, person) if notice else {}
            item = await around.plan(tx, item, plan)
    if is_for_customer:
        await first_contact.show(around, item)
        await _tell_customer(around, item)
    else:
        await _tell_staff(around, item, "case.withdrawn")
    await around.finish(item)


async def _wait_for_notice(around: Surroundings, person: CustomerId) -> None:
    """The first event of ours that somebody sees is the privacy text, also when their first word is STOPP."""
    due = await first_contact.due(around.database, around, person)
    if due and not await consents.notice_failed(around.database, person):
        raise Hold("the privacy text comes first", retry_after_s=1.0)


async def _tell_customer(around: Surroundings, item: Item) -> None:
    assert item.plan is not None
    if item.plan["room"] is None:
        await _tell_staff(around, item, "case.withdrawal_not_confirmed")
        return
    try:
        text = Outgoing(item.plan["text"], notice=True)
        await around.send(item, "confirmation", RoomId(item.plan["room"]), text)
    except Refused:
        await _tell_staff(around, item, "case.withdrawal_not_confirmed")


async def _tell_staff(around: Surroundings, item: Item, text: str) -> None:
    assert item.plan is not None
    if item.plan["staff"]:
        titles = ", ".join(_titles(around, item, around.rules.language)) or "–"
        values = {"purposes": titles, "stopped": str(item.body["stopped"])} if text == "case.withdrawn" else {}
        room = await rooms.find(around.database, RoomId(item.plan["staff"]))
        desk = room.desk if room else None
        said = around.say_at(desk, text, **values)
        if values and item.body.get("in_doubt"):
            said += "\n" + around.say_at(desk, "case.withdrawn_in_doubt")
        await around.send(item, text, RoomId(item.plan["staff"]), Outgoing(said, notice=True))


async def _room_of(around: Surroundings, item: Item, person: CustomerId) -> RoomId | None:
    """Return where the customer is told: where they wrote, or in their customer room, if it is encrypted."""
    for room_id in (await rooms.customer_room(around.database, person), item.room_id):
        room = await rooms.find(around.database, room_id) if room_id else None
        user = await rooms.user_of(around.database, person)
        if room and room.membership == "join" and room.encrypted and user in room.present():
            return room.room_id
    return None


def _confirmation(around: Surroundings, item: Item) -> str:
    assert around.privacy is not None
    language = item.body["language"]
    if not item.body["purposes"]:
        return around.privacy.text("consent_none", language).filled()
    titles = _titles(around, item, language)
    until = around.privacy.periods["evidence"].ends(item.arrived_at.date())
    text = around.privacy.text("consent_withdrawn", language).filled(
        purpose=", ".join(titles),
        date=shown_time(around, item, language),
        count=str(item.body["stopped"]),
        evidence_until=until.strftime("%d.%m.%Y" if language == "de" else "%Y-%m-%d"),
    )
    if not item.body["begun"]:
        return text
    return text + "\n" + around.texts.render("consent.under_way", language, count=str(item.body["begun"]))


def _titles(around: Surroundings, item: Item, language: str) -> list[str]:
    numbers = item.body.get("cases") or [ANY_CASE] * len(item.body["purposes"])
    matters = zip(item.body["purposes"], numbers, strict=True)
    return [title_of(around, PurposeId(purpose), language, CaseNumber(number)) for purpose, number in matters]


def shown_time(around: Surroundings, item: Item, language: str) -> str:
    """Return when an item arrived, for people: in the time zone of the business."""
    moment = item.arrived_at.astimezone(around.rules.zone)
    return moment.strftime("%d.%m.%Y, %H:%M" if language == "de" else "%Y-%m-%d, %H:%M")
