"""The verifications under way, in memory: whose they are, and what we know of the keys of who asks.

A restart forgets them; the flows see to it that no phone waits for them then.
"""

from bot.domain.ids import UserId
from bot.domain.verification import KEY_MISMATCH, REFUSED, Handshake, Partner, Progress, cancellation
from bot.matrix.e2ee import signing
from bot.matrix.e2ee.devices import Devices
from bot.matrix.e2ee.machine import Machine
from bot.matrix.e2ee.signing import Signing
from bot.matrix.e2ee.trust import Standing, Trust
from bot.matrix.e2ee.verification import Party, Verification

Name = tuple[str, str, str]


class Verifications:
    """At most one for each person. Signs what people have confirmed."""

    def __init__(self, machine: Machine, devices: Devices, trust: Trust, signing: Signing) -> None:
        self._machine = machine
        self._devices = devices
        self._trust = trust
        self._signing = signing
        self._running: dict[Name, tuple[Partner, Verification]] = {}

    async def begin(self, handshake: Handshake) -> Progress:
        """Take a request of somebody who may ask. Attempts of theirs that are under way end (Matrix 1.18).

        Raises:
            Transient: the server could not be asked for their keys.
        """
        partner = handshake.partner
        await self._devices.query([partner.user])
        us, them = self._us(), self._party(partner)
        if us is None or them is None:
            return Progress((cancellation(KEY_MISMATCH),), cancelled=KEY_MISMATCH)
        superseded = tuple(other for other, _ in self._running.values() if other.user == partner.user)
        for other in superseded:
            self.cancel(other, REFUSED)
        verification = Verification(partner.transaction, us, them)
        progress = verification.begin(handshake.content)
        self._keep(partner, verification)
        return Progress(progress.answers, cancelled=progress.cancelled, superseded=superseded)

    def take(self, handshake: Handshake) -> Progress | None:
        """Take a further step; None: nothing is known of this verification."""
        _, verification = self._running.get(_name(handshake.partner), (None, None))
        if verification is None:
            return None
        progress = verification.take(handshake.step, handshake.content)
        self._keep(handshake.partner, verification)
        return progress

    def confirm(self, partner: Partner, *, vouched: bool) -> Progress | None:
        """A person has compared; None: there is nothing to compare."""
        _, verification = self._running.get(_name(partner), (None, None))
        progress = verification.confirm(vouched=vouched) if verification else None
        if verification:
            self._keep(partner, verification)
        return progress

    def cancel(self, partner: Partner, code: str) -> Progress | None:
        """End one from our side; None: nothing is known of it."""
        _, verification = self._running.pop(_name(partner), (None, None))
        return verification.cancel(code) if verification else None

    async def sign(self, user: UserId, master_key: str) -> bool:
        """Sign an identity with our user-signing key and pin it; False: it is not theirs (any more), or not taken.

        Raises:
            Transient: the server did not answer; what is done may be done again.
        """
        await self._devices.query([user])
        if self._trust.current(user) != master_key or not await self._signing.vouch_for(user, master_key):
            return False
        return self._trust.pin(user, only=master_key)

    def _keep(self, partner: Partner, verification: Verification) -> None:
        known = self._running.pop(_name(partner), (partner, verification))
        if not verification.ended:
            self._running[_name(partner)] = known

    def _us(self) -> Party | None:
        identity = signing.load(self._machine)
        if identity is None:
            return None
        return Party(self._machine.user_id, self._machine.device_id, self._machine.ed25519, identity.public("master"))

    def _party(self, partner: Partner) -> Party | None:
        """Return who asks as we know them: a device that is signed by the identity that they have now, or nobody."""
        master = self._trust.current(partner.user)
        for device in self._devices.active(partner.user):
            if device.id == partner.device and self._trust.standing(partner.user, device) is not Standing.UNSIGNED:
                return Party(partner.user, device.id, device.ed25519, master) if master else None
        return None


def _name(partner: Partner) -> Name:
    return partner.user, partner.room or "", partner.transaction
