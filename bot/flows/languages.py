"""In which language a customer is written to: the configured one, that of their first message, or the one they ask for.

What staff write is theirs and is never translated.
"""

from typing import Any

from bot.domain import language
from bot.domain.ids import CustomerId
from bot.domain.message import Kind, Message
from bot.flows.surroundings import Surroundings
from bot.store import cases, rooms
from bot.store.database import Tx


async def settle(tx: Tx, around: Surroundings, person: CustomerId, message: Message) -> None:
    """Go by the first message of somebody who has not been answered yet (part of T1b)."""
    written = language.written_in(message.words) if message.kind is Kind.TEXT else None
    if written is None or await cases.latest_of(tx, person) or written == await around.language_of(tx, person):
        return
    await rooms.set_language(tx, person, written)


async def wished(tx: Tx, around: Surroundings, person: CustomerId, message: Message) -> dict[str, Any] | None:
    """Return the plan of a message that is nothing but the name of a language (part of T1b); None: it is not."""
    wanted = language.wanted_in(message.body) if message.kind is Kind.TEXT else None
    if wanted is None or wanted == await around.language_of(tx, person):
        return None
    await rooms.set_language(tx, person, wanted)
    said = around.texts.render("customer.language", wanted)
    return {"do": "say", "text": said} if message.body.strip().startswith("!") else {"also": said}
