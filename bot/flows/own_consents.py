"""What customers see of their own consents: a list with dates and versions, and proof that an entry is on record."""

import hashlib
import hmac
from dataclasses import replace
from typing import Any

from bot.domain import command
from bot.domain.arrival import Item
from bot.domain.command import Wish
from bot.domain.consent import Consent
from bot.domain.ids import CustomerId
from bot.domain.ledger.entries import Entry, LedgerKind
from bot.domain.message import Attachment, Kind, Message, Outgoing
from bot.flows.purposes import title_of
from bot.flows.surroundings import Surroundings
from bot.store import arrivals, consents, ledger
from bot.store.database import Tx

PROVABLE = frozenset(
    {
        *(LedgerKind.GIVEN, LedgerKind.RENEWED, LedgerKind.REFUSED, LedgerKind.WITHDRAWN),
        *(LedgerKind.OBJECTED, LedgerKind.OBJECTION_LIFTED),
    }
)
"""Decisions of a customer, which they can have a proof of."""


async def planned(
    tx: Tx, around: Surroundings, item: Item, person: CustomerId, message: Message
) -> dict[str, Any] | None:
    """Return the plan of a customer's wish to see or prove what they agreed to; None: it is none."""
    wish = command.wished(message.body) if around.privacy and message.kind is Kind.TEXT else None
    if wish is None or wish.wish not in {Wish.CONSENTS, Wish.PROOF}:
        return None
    if not await around.may_answer(tx, item, person, "own_consents"):
        return None
    if wish.wish is Wish.CONSENTS:
        return {"do": "say", "text": await _listed(tx, around, person, wish.language)}
    entry = await _wanted(tx, person, wish.rest)
    if entry is None:
        return {"do": "say", "text": around.texts.render("consent.no_proof", wish.language)}
    proof = await ledger.proof(tx, await around.ledger.signer(tx), entry.position, at=around.now(), opened=True)
    words = around.texts.render("consent.proof", wish.language, fingerprint=entry.fingerprint)
    return {"do": "prove", "proof": proof.text(), "name": f"{entry.fingerprint}.tlog-proof", "text": words}


async def _listed(tx: Tx, around: Surroundings, person: CustomerId, language: str) -> str:
    say = around.texts.render
    lines = [await _line(tx, around, known, language) for known in await consents.of_customer(tx, person)]
    return "\n".join([say("consent.list", language), *(lines or [say("consent.list_empty", language)])])


async def _line(tx: Tx, around: Surroundings, known: Consent, language: str) -> str:
    entry = await ledger.entry(tx, known.entry)
    day = known.since.astimezone(around.rules.zone).strftime("%d.%m.%Y" if language == "de" else "%Y-%m-%d")
    return around.texts.render(
        "consent.line",
        language,
        purpose=title_of(around, known.purpose, language, known.case),
        standing=around.texts.render(f"consent.standing_{known.standing.value}", language),
        date=day,
        version=known.text_version,
        fingerprint=entry.fingerprint if entry else "–",
    )


async def _wanted(tx: Tx, person: CustomerId, fingerprint: str) -> Entry | None:
    """Return the decision that is named, or the newest one."""
    entries = [e for e in await ledger.of_subject(tx, person) if e.fact and e.fact.kind in PROVABLE]
    if fingerprint.strip():
        entries = [entry for entry in entries if entry.fingerprint == fingerprint.strip().upper()]
    return entries[-1] if entries else None


async def say(around: Surroundings, item: Item) -> None:
    """Say what is planned, and finish the item (T2)."""
    assert item.plan is not None
    await around.send(item, "own_consents", item.room_id, Outgoing(item.plan["text"], notice=True))
    await around.finish(item)


async def prove(around: Surroundings, item: Item) -> None:
    """Send the proof as a file, and finish the item (T2). Its name is written down before its bytes go out."""
    assert item.plan is not None
    if "file" not in item.plan:
        plan = item.plan | {"file": await around.messenger.new_file()}
        async with around.database.transaction() as tx:
            await arrivals.add_to_plan(tx, item, plan)
        item = replace(item, plan=plan)
    assert item.plan is not None
    mxc = item.plan["file"]
    proof = item.plan["proof"].encode()
    secret = hmac.new(around.key, f"{item.id}\x00{mxc}".encode(), hashlib.sha256).digest()
    info = {"mimetype": "text/plain", "size": len(proof)}
    named = Attachment({"filename": item.plan["name"], "info": info})
    attachment = await around.messenger.put_file(named, proof, mxc, secret=secret)
    file = Outgoing(item.plan["text"], form=Kind.FILE, attachment=attachment)
    await around.send(item, "proof", item.room_id, file)
    await around.finish(item)
