"""Who makes accounts on the homeserver: its administrator. `bot.matrix.admin`, and the fake of the tests.

Every method may be called again with the same arguments after a crash and has its effect once. Errors are `Transient`
or `Refused`, whose code says why.
"""

from datetime import datetime
from typing import Protocol

from bot.domain.ids import UserId


class Registrar(Protocol):
    """What flows may ask of the server's administrator."""

    async def is_free(self, localpart: str) -> bool:
        """Tell whether an account of this name could be made."""

    async def make_account(self, user: UserId, password: str) -> None:
        """Create an account; if there is one of that name, nothing changes, not even a password changed since."""

    async def takes_registrations(self) -> bool:
        """Tell whether people may make accounts themselves at all."""

    async def make_registration_token(self, token: str, *, expires_at: datetime) -> None:
        """Create a token of our choice that one person may register with, once."""
