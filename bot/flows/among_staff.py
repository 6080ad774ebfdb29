"""Words in the inbox and the admin room reach nobody outside. Once a day that is said there."""

from bot.domain.arrival import Item
from bot.domain.message import Kind, Message
from bot.flows.surroundings import Surroundings
from bot.flows.warning import add_alarm
from bot.store.database import Tx


async def remind(tx: Tx, around: Surroundings, item: Item, message: Message) -> None:
    """Part of T2 of what was written there: say that only the team reads it, unless that was said today."""
    if message.kind is not Kind.TEXT or item.sender not in around.rules.staff:
        return
    # The day is the message's own, so that after a restore it is the same one again.
    name = f"{item.room_id} {item.sent_at.date().isoformat()}"
    await add_alarm(tx, around, item.room_id, "command.nobody_outside", {}, name=name)
