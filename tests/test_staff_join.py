"""The module for staff by itself: what it reads, where it runs, and that what failed is tried again."""

import os
import warnings
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the homeserver's own libraries
        from botschaft_staff_join import StaffJoin
        from synapse.module_api.errors import ConfigError, SynapseError
except ModuleNotFoundError:
    if os.environ.get("CI"):
        raise
    pytest.skip("NOT TESTED: matrix-synapse is missing on this machine", allow_module_level=True)

BOT, JAN, EVA = "@werkstatt:here.example", "@jan:here.example", "@eva:here.example"


class Api:
    """As much of Synapse's module API as the module uses."""

    def __init__(self, worker: str | None = None) -> None:
        self.worker_name = worker
        self.callbacks: dict[str, Any] = {}
        self.background: list[Awaitable[Any]] = []
        self.regular: list[Callable[[], Awaitable[None]]] = []
        self.invitations: list[tuple[str, str]] = []
        self.joined: list[tuple[str, str]] = []
        self.trouble: dict[str, Exception] = {}
        self.account = SimpleNamespace(is_deactivated=False, locked=False, suspended=False)

    def is_mine(self, user: str) -> bool:
        return user.endswith(":here.example")

    def register_third_party_rules_callbacks(self, **callbacks: Any) -> None:
        self.callbacks |= callbacks

    def delayed_background_call(self, msec: float, f: Any, desc: str) -> None:
        self.regular.append(f)

    def looping_background_call(self, f: Any, msec: float, desc: str, run_on_all_instances: bool) -> None:
        assert run_on_all_instances  # else it would run nowhere when it is told to run on a worker
        self.regular.append(f)

    def run_as_background_process(self, desc: str, func: Any, *args: Any) -> None:
        self.background.append(func(*args))

    async def get_userinfo_by_id(self, user: str) -> Any:
        return self.account

    async def run_db_interaction(self, desc: str, func: Any) -> Any:
        class Cursor(list[tuple[str]]):
            def execute(cursor, sql: str, values: tuple[str, str]) -> None:  # noqa: N805
                user, bot = values
                assert bot == BOT
                cursor[:] = [(room,) for who, room in self.invitations if who == user]

        return func(Cursor())

    async def update_room_membership(self, *, sender: str, target: str, room_id: str, new_membership: str) -> None:
        assert (sender, new_membership) == (target, "join")
        if room_id in self.trouble:
            raise self.trouble.pop(room_id)
        self.invitations.remove((target, room_id))
        self.joined.append((target, room_id))

    async def invites(self, user: str, room: str, *, by: str = BOT, membership: str = "invite") -> None:
        """An event happens, and everything that follows from it at once."""
        self.invitations.append((user, room))
        event = SimpleNamespace(
            type="m.room.member", membership=membership, sender=by, state_key=user, room_id=room, is_state=lambda: True
        )
        if "on_new_event" in self.callbacks:
            await self.callbacks["on_new_event"](event, {})
        while self.background:
            await self.background.pop()


def loaded(api: Api, **config: Any) -> None:
    StaffJoin(StaffJoin.parse_config({"bot": BOT} | config), api)


async def test_what_failed_is_tried_again_and_holds_up_nothing_else() -> None:
    api = Api()
    loaded(api, staff=[JAN, EVA])
    api.trouble = {"!1": SynapseError(500, "no"), "!2": RuntimeError("database")}
    for room in ("!1", "!2", "!3"):
        await api.invites(JAN, room)
    assert api.joined == [(JAN, "!3")]
    await api.regular[-1]()
    assert sorted(api.joined) == [(JAN, "!1"), (JAN, "!2"), (JAN, "!3")]


async def test_whom_the_server_slows_down_waits_and_others_do_not() -> None:
    api = Api()
    loaded(api, staff=[EVA, JAN])
    api.invitations = [(EVA, "!1"), (EVA, "!2"), (JAN, "!3")]
    api.trouble = {"!1": SynapseError(429, "slow down")}
    await api.regular[0]()
    assert api.joined == [(JAN, "!3")]
    await api.regular[0]()
    assert sorted(api.joined) == [(EVA, "!1"), (EVA, "!2"), (JAN, "!3")]


@pytest.mark.parametrize("fault", ["is_deactivated", "locked", "suspended"])
async def test_an_account_that_is_closed_is_joined_to_nothing(fault: str) -> None:
    api = Api()
    loaded(api, staff=[JAN])
    setattr(api.account, fault, True)
    await api.invites(JAN, "!1")
    await api.regular[0]()
    assert api.joined == []


async def test_only_invitations_by_the_bot_for_accounts_of_this_server_count() -> None:
    api = Api()
    loaded(api, staff=[JAN, BOT, "@jan:far.example"])
    await api.invites(JAN, "!1", by=EVA)
    await api.invites(JAN, "!2", membership="leave")
    await api.invites(BOT, "!3")
    await api.invites("@jan:far.example", "!4")
    await api.invites(EVA, "!5")
    assert api.joined == []
    await api.invites(JAN, "!6")
    assert api.joined == [(JAN, "!6")]


@pytest.mark.parametrize(("chosen", "here", "acts"), [(None, None, True), (None, "w1", False), ("w1", "w1", True)])
async def test_one_process_acts(chosen: str | None, here: str | None, acts: bool) -> None:
    api = Api(here)
    loaded(api, staff=[JAN], worker_to_run_on=chosen)
    await api.invites(JAN, "!1")
    assert (bool(api.joined), bool(api.regular)) == (acts, acts)


async def test_a_list_that_cannot_be_read_is_empty(tmp_path: Path) -> None:
    api, file = Api(), tmp_path / "staff.txt"
    loaded(api, staff_file=str(file))
    await api.invites(JAN, "!1")
    file.write_bytes(b"\xff\xfe")
    await api.invites(JAN, "!2")
    assert api.joined == []
    file.write_text(f"  {JAN}  # reception\nnot an account\n")
    await api.invites(JAN, "!3")
    assert api.joined == [(JAN, "!3")]


@pytest.mark.parametrize(
    "config",
    [
        *({}, {"staff": []}, {"bot": "werkstatt", "staff": [JAN]}, {"staff": JAN}, {"staff_file": 1}),
        {"staff": [JAN], "stuff": True},
    ],
)
def test_a_wrong_configuration_stops_the_server_with_a_sentence(config: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="StaffJoin"):
        StaffJoin.parse_config({"bot": BOT} | config)
