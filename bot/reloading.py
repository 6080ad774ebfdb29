"""A running bot reads its configuration again: what holds at once, what needs a restart, and how both are said.

What is wrong changes nothing. No secret is shown, neither in the admin room nor in the log.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from pydantic import BaseModel

from bot import logs
from bot.domain.errors import Fatal
from bot.domain.texts import Texts, TextsDiffer
from bot.flows import staffing, strangers
from bot.flows.surroundings import Rules, Surroundings
from bot.settings import DeskSettings, Settings

log = structlog.get_logger()

READ_AT_A_START = frozenset({"bot.user_id", "cases.read_marks"})
"""What stands in the rules, but is also used where nobody looks again: the account, and the filter of every sync."""
FOLLOWED = frozenset({"log.level", "log.format", "business.tone"})
"""What holds at once though it stands in no rule."""
MOST_LINES = 40


@dataclass(frozen=True, slots=True)
class Difference:
    """One value that is another one now, as it is shown."""

    key: str
    change: str
    at_once: bool


@dataclass(frozen=True, slots=True)
class Sources:
    """Where a running bot finds what the admin changed. `load` raises Fatal, `texts` raises TextsDiffer."""

    load: Callable[[], Settings]
    texts: Callable[[Settings], Texts]
    rules_of: Callable[[Settings], Rules]


class Reloading:
    """Remembers what holds, and takes over what changed."""

    def __init__(self, around: Surroundings, settings: Settings, sources: Sources) -> None:
        self._around = around
        self._settings = settings
        self._sources = sources

    async def reload(self) -> None:
        """Read everything again and say in the admin room what came of it.

        Raises:
            Transient: the disk is in trouble; nothing was taken over.
        """
        try:
            fresh = self._sources.load()
            texts = self._sources.texts(fresh)
            holds, found = taken_over(self._settings, fresh, self._sources.rules_of)
            if texts != self._around.texts:
                found.append(Difference("config/texts", "✎", at_once=True))
            text, values = self._report(found)
            await staffing.take_over(self._around, self._sources.rules_of(holds), texts, text, values)
            await strangers.deal_anew(self._around)
        except (Fatal, TextsDiffer) as error:
            await self._refuse(str(error))
            return
        if holds.log != self._settings.log:
            logs.configure(holds.log.level, holds.log.format)
        self._settings = holds
        log.info("reloaded", count=len(found))

    def _report(self, found: list[Difference]) -> tuple[str, Mapping[str, str]]:
        if not found:
            return "admin.reload_same", {}
        say = self._around.say
        lines = [
            say("admin.reload_line" if line.at_once else "admin.reload_line_later", key=line.key, change=line.change)
            for line in found
        ]
        return "admin.reloaded", {"lines": _shortened(lines)}

    async def _refuse(self, problems: str) -> None:
        for problem in problems.splitlines():
            log.warning("reload_refused", reason=problem)
        await staffing.tell_admins(
            self._around, "admin.reload_refused", {"problems": _shortened(problems.splitlines())}
        )


def _shortened(lines: list[str]) -> str:
    return "\n".join(lines if len(lines) <= MOST_LINES else [*lines[:MOST_LINES], "…"])


def taken_over(
    running: Settings, fresh: Settings, rules_of: Callable[[Settings], Rules]
) -> tuple[Settings, list[Difference]]:
    """Return what holds from now on, and all that differs. What needs a restart stays as it is running.

    A value holds at once if it makes other rules: every flow asks the rules each time, and nothing else at all.
    """
    holds, found, wanted = running, [], rules_of(fresh)
    for section, key, before, after in _differing(running, fresh):
        tried = _with(holds, section, key, after)
        name = f"{section}.{key}" if key else section
        # Some values matter only beside others, like holidays where there are hours: both ways of looking count.
        is_in_rules = rules_of(tried) != rules_of(holds) or rules_of(_with(fresh, section, key, before)) != wanted
        at_once = name not in READ_AT_A_START and (name in FOLLOWED or is_in_rules)
        found.append(Difference(name, _shown(before, after), at_once))
        holds = tried if at_once else holds
    return _with_desks(holds, fresh, found), found


def _differing(running: Settings, fresh: Settings) -> Iterable[tuple[str, str, Any, Any]]:
    """Return section, key (empty for what stands alone), and both values; desks are looked at one by one."""
    for section in Settings.model_fields:
        before, after = getattr(running, section), getattr(fresh, section)
        if section == "desks" or before == after:
            continue
        if not isinstance(before, BaseModel):
            yield section, "", before, after
            continue
        for key in type(before).model_fields:
            if getattr(before, key) != getattr(after, key):
                yield section, key, getattr(before, key), getattr(after, key)


def _with(settings: Settings, section: str, key: str, value: Any) -> Settings:
    changed = getattr(settings, section).model_copy(update={key: value}) if key else value
    return settings.model_copy(update={section: changed})


def _with_desks(holds: Settings, fresh: Settings, found: list[Difference]) -> Settings:
    """Take over who sits at each desk. Which desks there are, and their order, needs a restart: it makes rooms."""
    known = {desk.id: desk for desk in fresh.desks}
    desks = [known.get(desk.id, desk) for desk in holds.desks]
    for before, after in zip(holds.desks, desks, strict=True):
        found += _desk_differences(before, after)
    ids_before, ids_after = [desk.id for desk in holds.desks], [desk.id for desk in fresh.desks]
    if ids_before != ids_after:
        found.append(Difference("desks", f"{', '.join(ids_before)} → {', '.join(ids_after)}", at_once=False))
    return holds.model_copy(update={"desks": desks})


def _desk_differences(before: DeskSettings, after: DeskSettings) -> Iterable[Difference]:
    for key in DeskSettings.model_fields:
        values = getattr(before, key), getattr(after, key)
        if values[0] != values[1]:
            yield Difference(f"desks.{before.id}.{key}", _shown(*values), at_once=True)


def _shown(before: Any, after: Any) -> str:
    """Show a change. Secrets show themselves as stars."""
    if isinstance(before, list) and isinstance(after, list):
        came, gone = [f"+{x}" for x in after if x not in before], [f"−{x}" for x in before if x not in after]
        return ", ".join([*came, *gone]) or "↕"
    return f"{before} → {after}"
