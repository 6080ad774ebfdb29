"""What customers can ask the bot itself: who we are, and what happens with their data. Answered in the word's language.

Where nothing is filled in there is no answer, and their question goes to people like any other message.
"""

from bot.domain import command
from bot.domain.arrival import Item
from bot.domain.command import Wish, Wished
from bot.domain.message import Kind, Message, Outgoing
from bot.flows.surroundings import Surroundings

TEXTS = {Wish.PRIVACY: "privacy_overview", Wish.IMPRINT: "imprint"}


def wished(around: Surroundings, message: Message) -> Wished | None:
    """Return what this message asks the bot for, if we have an answer."""
    wish = command.wished(message.body) if around.privacy and message.kind is Kind.TEXT else None
    return wish if wish and wish.wish in TEXTS else None


def answer_to(around: Surroundings, message: Message) -> str:
    """Return the answer to a wish, or nothing."""
    wish = wished(around, message)
    if wish is None or around.privacy is None:
        return ""
    return around.privacy.text(TEXTS[wish.wish], wish.language).filled()


async def inform(around: Surroundings, item: Item) -> None:
    """Answer a message that is nothing but a wish, as planned; nobody else has to read it."""
    assert item.plan is not None
    await around.send(item, "informing", item.room_id, Outgoing(item.plan["says"], notice=True))
    await around.finish(item)
