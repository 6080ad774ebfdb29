"""Detects an old copy of the key store: a count of what we sent stands in the store and, seconds later, on the server.

An Olm ratchet that goes on from an old copy uses the same keys twice, and peers can no longer decrypt. The store alone
cannot know that it is old; the account data of our own account can tell it.
"""

import asyncio
from contextlib import suppress

import structlog

from bot.domain.errors import Fatal, Refused, Transient
from bot.matrix.e2ee.machine import Machine
from bot.matrix.e2ee.secret_storage import SecretStorage

log = structlog.get_logger()

NAME = "de.botschaft.key_store"
EVERY_S = 2.0
LAST_WORD_S = 2.0


class Watermark:
    """How far this device has gone, as the server remembers it."""

    def __init__(self, machine: Machine, account_data: SecretStorage) -> None:
        self._machine = machine
        self._account_data = account_data
        self._shown = -1

    async def check(self) -> None:
        """Compare before anything is sent.

        Raises:
            Fatal: the server remembers more than this key store: it is an old copy.
        """
        shown = await self._account_data.read(NAME)
        if shown.get("device_id") != self._machine.device_id:
            return
        count = shown.get("sent")
        self._shown = count if isinstance(count, int) else -1
        if self._shown > self._machine.store.sent():
            raise Fatal(
                "This key store is an old copy: the bot has sent messages since it was made. Going on with it would "
                "make messages unreadable, so nothing was sent. Run `botschaft device recover`."
            )

    async def run(self) -> None:
        """Keep the server's count up to date, until cancelled; then say it once more, if the server answers at once."""
        try:
            while True:
                await self._try_to_show()
                await asyncio.sleep(EVERY_S)
        finally:
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_WORD_S):
                    await self._try_to_show()

    async def _try_to_show(self) -> None:
        try:
            await self.show()
        except (Transient, Refused) as error:
            log.info("watermark_waits", reason=str(error))

    async def show(self) -> None:
        """Tell the server how far we are, if that has changed."""
        sent = self._machine.store.sent()
        if sent != self._shown:
            await self._account_data.write(NAME, {"device_id": self._machine.device_id, "sent": sent})
            self._shown = sent
