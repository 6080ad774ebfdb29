"""Who works here, as it was changed by command."""

from dataclasses import dataclass

from bot.domain.ids import DeskId, UserId


@dataclass(frozen=True, slots=True)
class Change:
    """Taken in at a desk, or (None) removed from everywhere. Of one person's changes the removal comes first."""

    user: UserId
    desk: DeskId | None
