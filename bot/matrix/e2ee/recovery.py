"""What outlives a lost disk: identity and backup key, sealed on the server with the recovery key."""

from bot.domain.errors import Fatal
from bot.matrix.e2ee import secret_storage, signing
from bot.matrix.e2ee.backup import Backup
from bot.matrix.e2ee.machine import Machine
from bot.matrix.e2ee.secret_storage import SecretStorage
from bot.matrix.e2ee.signing import USAGES

_BACKUP = "m.megolm_backup.v1"
SECRETS = (*(f"m.cross_signing.{usage}" for usage in USAGES), _BACKUP)
"""What the recovery key opens, by its names in secret storage."""


class Recovery:
    """Puts our secrets into secret storage, and takes them out again."""

    def __init__(self, machine: Machine, storage: SecretStorage, backup: Backup) -> None:
        self._machine = machine
        self._storage = storage
        self._backup = backup

    async def has_key(self) -> bool:
        """Tell whether the account has secret storage."""
        return await self._storage.default_key() is not None

    async def make_key(self) -> bytes:
        """Seal our secrets on the server with a new recovery key and return it; nothing else keeps it.

        Raises:
            Fatal: there is nothing to seal yet, or the server lost it.
        """
        identity, backup_key = signing.load(self._machine), self._backup.key
        if identity is None or backup_key is None:
            raise Fatal("The bot has no identity yet. Start it once with `botschaft run`.")
        seeds = {f"m.cross_signing.{usage}": identity.seed(usage) for usage in USAGES}
        return await self._storage.create(seeds | {_BACKUP: backup_key})

    async def adopt(self, recovery_key: bytes) -> None:
        """Take identity and backup key out of secret storage into this key store.

        Raises:
            Fatal: this key does not open all of them.
        """
        found = await opened_secrets(self._storage, recovery_key)
        signing.adopt(self._machine, {usage: found[f"m.cross_signing.{usage}"] for usage in USAGES})
        self._backup.adopt(found[_BACKUP])


async def opened_secrets(storage: SecretStorage, recovery_key: bytes) -> dict[str, bytes]:
    """Open everything that a recovery needs.

    Raises:
        WrongRecoveryKey: not the key of this account.
        Fatal: something is missing there.
    """
    found = await storage.open(recovery_key, SECRETS)
    missing = [name for name in SECRETS if len(found.get(name, b"")) != secret_storage.KEY_BYTES]
    if missing:
        raise Fatal(f"The account's secret storage lacks {', '.join(missing)}. Nothing was changed.")
    return found
