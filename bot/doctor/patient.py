"""What is examined. Without database or keys (they could not be opened) only what needs none of them can be."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from bot.domain.errors import Transient
from bot.flows.surroundings import Rules
from bot.matrix.e2ee.keys import Keys
from bot.matrix.transport import Transport
from bot.settings import Settings
from bot.store.database import Database


@dataclass(frozen=True, slots=True)
class Patient:
    """One bot, as far as it could be opened."""

    settings: Settings
    rules: Rules
    transport: Transport
    now: Callable[[], datetime]
    opened_database: Database | None = None
    opened_keys: Keys | None = None

    @property
    def account(self) -> Transport:
        """The server, as the bot's account sees it.

        Raises:
            Transient: we are not logged in.
        """
        if self.transport.access_token is None:
            raise Transient("the bot's account could not be used")
        return self.transport

    @property
    def database(self) -> Database:
        """The database.

        Raises:
            Transient: it could not be opened.
        """
        if self.opened_database is None:
            raise Transient("the database could not be opened")
        return self.opened_database

    @property
    def keys(self) -> Keys:
        """The keys.

        Raises:
            Transient: they could not be opened.
        """
        if self.opened_keys is None:
            raise Transient("the keys could not be opened")
        return self.opened_keys
