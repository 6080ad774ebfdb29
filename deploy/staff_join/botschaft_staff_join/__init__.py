"""Staff join the rooms that the business's bot invites them to. Nobody else is ever joined to anything.

Synapse's own `auto_accept_invites` knows no such filter: it would also join the bot, and customers to the bot's rooms.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from synapse.module_api import EventBase, ModuleApi
from synapse.module_api.errors import ConfigError, SynapseError

logger = logging.getLogger(__name__)

LOOK_EVERY_MS: Final = 30_000
"""How often invitations are looked for that could not be accepted when they came."""
FIRST_LOOK_MS: Final = 1_000
KEYS: Final = frozenset({"bot", "staff", "staff_file", "worker_to_run_on"})

PENDING: Final = """
    SELECT current.room_id FROM local_current_membership AS current
    JOIN room_memberships AS invitation ON invitation.event_id = current.event_id
    WHERE current.user_id = ? AND current.membership = 'invite' AND invitation.sender = ?
"""
"""The rooms that somebody of this server is invited to by somebody (tables of Synapse 1.163.2)."""


@dataclass(frozen=True)
class Config:
    """What stands in homeserver.yaml. `worker_to_run_on` None is the main process."""

    bot: str
    staff: frozenset[str]
    staff_file: Path | None
    worker_to_run_on: str | None


class StaffJoin:
    """Accepts invitations of the bot for listed accounts of this server."""

    def __init__(self, config: Config, api: ModuleApi) -> None:
        self._config = config
        self._api = api
        self._list = _List(config.staff_file)
        if config.worker_to_run_on != api.worker_name:
            return  # every process loads every module; one of them acts
        api.register_third_party_rules_callbacks(on_new_event=self.on_new_event)
        api.delayed_background_call(FIRST_LOOK_MS, self.accept_pending, desc="staff_join_first")
        api.looping_background_call(
            self.accept_pending, LOOK_EVERY_MS, desc="staff_join_pending", run_on_all_instances=True
        )

    @staticmethod
    def parse_config(config: dict[str, Any]) -> Config:
        """Read the module's section of homeserver.yaml.

        Raises:
            ConfigError: Synapse does not start, and says why.
        """
        if unknown := set(config) - KEYS:
            raise ConfigError(f"StaffJoin: unknown keys {', '.join(sorted(unknown))}")
        bot, staff, file = config.get("bot"), config.get("staff", []), config.get("staff_file")
        if not isinstance(bot, str) or not bot.startswith("@") or ":" not in bot:
            raise ConfigError("StaffJoin: bot must be a user id like @werkstatt:example.de")
        if not isinstance(staff, list) or not all(isinstance(user, str) for user in staff):
            raise ConfigError("StaffJoin: staff must be a list of user ids")
        if file is not None and not isinstance(file, str):
            raise ConfigError("StaffJoin: staff_file must be a path")
        if not staff and not file:
            raise ConfigError("StaffJoin: either staff_file or staff must be given")
        return Config(bot, frozenset(staff), Path(file) if file else None, config.get("worker_to_run_on"))

    async def on_new_event(self, event: EventBase, *_: Any) -> None:
        """Accept this event, if it is an invitation that is ours to accept. Never holds up the request that made it."""
        if event.type != "m.room.member" or not event.is_state() or event.membership != "invite":
            return
        if event.sender == self._config.bot and event.state_key in self._staff():
            self._api.run_as_background_process("staff_join", self._join, event.state_key, event.room_id)

    async def accept_pending(self) -> None:
        """Accept what could not be accepted when it came: after a start, a failure, or a change of the list."""
        for user in sorted(self._staff()):
            for room_id in await self._invited_to(user):
                if not await self._join(user, room_id):
                    break  # the limit holds for all rooms of this account

    def _staff(self) -> frozenset[str]:
        """Return who is joined: never the bot, and nobody of another server."""
        listed = self._config.staff | self._list.read()
        return frozenset(user for user in listed if user != self._config.bot and self._api.is_mine(user))

    async def _invited_to(self, user: str) -> Sequence[str]:
        def look(database: Any) -> list[str]:
            database.execute(PENDING, (user, self._config.bot))
            return [room_id for (room_id,) in database]

        found: list[str] = await self._api.run_db_interaction("staff_join_pending", look)
        return found

    async def _join(self, user: str, room_id: str) -> bool:
        """Join once; joined already is fine. What fails is left to `accept_pending`. False: this account must wait."""
        account = await self._api.get_userinfo_by_id(user)
        if account is None or account.is_deactivated or account.locked or account.suspended:
            return False
        try:
            await self._api.update_room_membership(sender=user, target=user, room_id=room_id, new_membership="join")
        except SynapseError as error:
            logger.info("An invitation of staff could not be accepted now: %s", error.code)
            return bool(error.code != HTTPStatus.TOO_MANY_REQUESTS)
        except Exception as error:  # noqa: BLE001 - trouble with one room must not keep anybody out of the others
            logger.warning("An invitation of staff could not be accepted now: %s", type(error).__name__)
        return True


class _List:
    """The file with the list, read again whenever it is another one than before."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._users: frozenset[str] = frozenset()

    def read(self) -> frozenset[str]:
        """Return who stands in the file; nobody, as long as it cannot be read."""
        if self._path is None:
            return frozenset()
        try:
            status = self._path.stat()
            seen = (status.st_mtime_ns, status.st_ino, status.st_size)
            if seen != self._seen:
                self._users = _users_in(self._path.read_text(encoding="utf-8"))
                self._seen = seen
        except (OSError, UnicodeDecodeError) as error:
            logger.warning("The list of staff cannot be read (%s); nobody is joined.", type(error).__name__)
            self._seen, self._users = None, frozenset()
        return self._users


def _users_in(text: str) -> frozenset[str]:
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return frozenset(line for line in lines if line.startswith("@") and ":" in line)
