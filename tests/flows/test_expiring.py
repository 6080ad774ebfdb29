"""Consents end by themselves when nobody relied on them for long, or at an age; silently, on record, with all permits."""

from dataclasses import replace
from datetime import timedelta

from bot.domain.consent import Standing
from bot.domain.ids import ItemId
from bot.domain.ledger.entries import LedgerKind
from bot.domain.purpose import Period, Unit
from bot.flows.expiring import LASTS
from bot.store import consents, permits
from tests.flows.consents import (
    NEWS,
    SURVEY,
    agreed,
    all_due,
    ask,
    entries,
    known,
    news,
    ours,
    reply_to,
    says,
    standing,
)
from tests.flows.world import ANNA, JAN, World

TWO_YEARS = 731  # days, from March 2026


async def reason(world: World) -> str:
    (expired,) = await entries(world, LedgerKind.EXPIRED)
    assert expired.fact
    return str(expired.fact.details["reason"])


async def test_a_consent_that_nobody_relied_on_ends_silently(world: World) -> None:
    chat, _ = await agreed(world)
    before = ours(world, chat)
    await world.passes(days=TWO_YEARS - 1)
    assert await standing(world) is Standing.GIVEN
    await world.passes(days=1, hours=15)

    assert await standing(world) is Standing.EXPIRED
    assert await reason(world) == "unused"
    assert ours(world, chat) == before
    assert await consents.differing(world.database) == []
    await says(world, ANNA, chat, "!einwilligungen")
    assert "abgelaufen" in ours(world, chat)[-1]


async def test_each_use_begins_the_time_anew(world: World) -> None:
    chat, _ = await agreed(world)
    await world.passes(days=400)
    await news(world, "Winterreifen")
    await all_due(world)
    await world.passes(days=TWO_YEARS - 400 + 1)
    assert await standing(world) is Standing.GIVEN
    await world.passes(days=400)

    assert await standing(world) is Standing.EXPIRED
    assert sum("Winterreifen" in text for text in ours(world, chat)) == 1


async def test_what_was_going_to_be_sent_is_not(world: World) -> None:
    chat, _ = await agreed(world)
    consent = await known(world)
    assert consent
    async with world.database.transaction() as tx:
        await permits.grant(tx, ItemId("planned"), consent.customer, NEWS, "spring", consent.entry, world.now())
    world.later(days=TWO_YEARS, hours=14, minutes=58)
    await news(world, "Winterreifen")
    await world.passes(minutes=5)

    assert await standing(world) is Standing.EXPIRED
    assert not any("Winterreifen" in text for text in ours(world, chat))
    states = await world.database.all("SELECT state FROM permits")
    assert {row[0] for row in states} == {"cancelled"}


async def test_a_consent_may_have_an_age_at_which_it_ends_though_it_is_used(world: World) -> None:
    assert world.privacy
    survey = world.privacy.purposes[SURVEY]
    aged = replace(survey, keeps=(*survey.keeps, Period(LASTS, 12, Unit.MONTHS)))
    world.privacy = replace(world.privacy, purposes=world.privacy.purposes | {SURVEY: aged})  # type: ignore[operator]
    await world.restart()
    world.around.ledger.agrees = True
    _, _ = await agreed(world, "umfragen")
    await world.passes(days=360)
    await world.says(JAN, (await world.case_room(ANNA)).room_id, "!umfrage Wie war es?")
    await world.passes(days=7)

    assert await standing(world, SURVEY) is Standing.EXPIRED
    assert await reason(world) == "lasts"


async def test_a_shorter_time_holds_from_the_next_start_on(world: World) -> None:
    await agreed(world)
    assert world.privacy
    purpose = world.privacy.purposes[NEWS]
    keeps = tuple(replace(p, count=3) if p.id == "unused" else p for p in purpose.keeps)
    shorter = replace(purpose, keeps=keeps)
    world.privacy = replace(world.privacy, purposes=world.privacy.purposes | {NEWS: shorter})  # type: ignore[operator]
    world.later(days=100)
    await world.restart()
    await all_due(world)

    assert await standing(world) is Standing.EXPIRED


async def test_an_older_clock_does_not_end_a_newer_yes(world: World) -> None:
    chat, _ = await agreed(world)
    await world.passes(days=600)
    await says(world, ANNA, chat, "stopp")
    await says(world, ANNA, chat, "!ja neuigkeiten")
    await says(world, ANNA, chat, "!ja neuigkeiten")
    await world.passes(days=TWO_YEARS - 600 + 1)

    assert await standing(world) is Standing.GIVEN
    assert await entries(world, LedgerKind.EXPIRED) == []


async def test_what_is_over_may_be_asked_for_again_and_is_renewed(world: World) -> None:
    chat, _ = await agreed(world)
    await world.passes(days=TWO_YEARS + 1)
    await says(world, ANNA, chat, "nach langer Zeit")
    await world.says(JAN, (await world.case_room(ANNA)).room_id, "!zu")
    text, _ = await ask(world, chat)
    await says(world, ANNA, chat, "ja", **reply_to(text))

    assert await standing(world) is Standing.GIVEN
    assert len(await entries(world, LedgerKind.RENEWED)) == 1
    renewed = await known(world)
    assert renewed
    assert renewed.since > world.now() - timedelta(minutes=1)
