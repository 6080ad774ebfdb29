"""The one device we are, as the server shows it, beside what this key store holds."""

from dataclasses import dataclass, field
from typing import Any

from bot.domain.errors import Fatal
from bot.matrix.e2ee import signing
from bot.matrix.e2ee.backup import Backup
from bot.matrix.e2ee.machine import Machine
from bot.matrix.e2ee.recovery import Recovery
from bot.matrix.e2ee.signing import Signing
from bot.matrix.e2ee.store import CipherStore

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """What `botschaft device status` shows. `faults` are sentences, by one word each."""

    device_id: str
    fingerprint: str
    master_key: str | None
    not_backed_up: int  # sessions
    recoverable: bool  # there is a recovery key
    faults: dict[str, str] = field(default_factory=dict)
    others: tuple[str, ...] = ()  # further devices of the account
    backup_version: str | None = None  # of the account's key backup
    backup_is_ours: bool = False

    @property
    def problems(self) -> list[str]:
        """The sentences, one in each line."""
        return [line for fault in self.faults.values() for line in fault.splitlines()]


class OwnDevice:
    """Looks at our device on the server; changes nothing there."""

    def __init__(
        self, store: CipherStore, machine: Machine, signer: Signing, backup: Backup, recovery: Recovery
    ) -> None:
        self._store = store
        self._machine = machine
        self._signing = signer
        self._backup = backup
        self._recovery = recovery

    async def check(self) -> None:
        """Compare the keys of this store with those that the server shows.

        Raises:
            Fatal: they are others, or the device was removed there; which command to run.
        """
        shown = (await self._signing.shown()).device
        account = self._machine.account
        if not shown:
            if account.shared:
                raise Fatal("The bot's device was removed on the server. Run `botschaft device status`.")
            return
        if not self._is_ours(shown):
            raise Fatal(
                "The server knows this device with other keys than this key store: the key store was lost or replaced "
                "while the access token stayed. Run `botschaft device status`; put the old key store back."
            )
        if not account.shared:
            # We died between the upload and writing that down: the keys are the ones we saved before.
            with self._store.one_commit():
                account.shared = True
                self._machine.save_account()

    def _is_ours(self, shown: Json) -> bool:
        name = self._machine.device_id
        keys = shown.get("keys")
        ours = {f"curve25519:{name}": self._machine.curve25519, f"ed25519:{name}": self._machine.ed25519}
        return keys == ours

    async def status(self) -> DeviceStatus:
        """Compare what the server shows with what we hold."""
        shown = await self._signing.shown()
        identity = signing.load(self._machine)
        faults: dict[str, str] = {}
        if not shown.device:
            faults["unknown"] = "The server does not know this device (yet)."
        elif not self._is_ours(shown.device):
            faults["other_keys"] = "The server knows this device with other keys than this key store."
        if identity is None:
            faults["no_identity"] = "This key store holds no cross-signing identity."
        elif shown.device and (wrong := self._signing.faults(shown, identity)):
            faults["unsigned"] = "\n".join(f"Missing or wrong on the server: {what}." for what in wrong)
        others = tuple(name if name.isalnum() else "?" for name in shown.others[:5])
        if others:
            faults["other_devices"] = (
                f"Other devices are logged in to the bot's account ({', '.join(others)}). They are given no keys, but "
                "whoever owns them knows the password: log them out and change it."
            )
        version, is_ours = await self._backup.look_at()
        return DeviceStatus(
            device_id=self._machine.device_id,
            fingerprint=self._machine.ed25519,
            master_key=shown.master,
            not_backed_up=self._backup.missing(),
            recoverable=await self._recovery.has_key(),
            faults=faults,
            others=others,
            backup_version=version,
            backup_is_ours=is_ours,
        )
