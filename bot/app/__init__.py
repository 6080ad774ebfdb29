"""The composition root: the only place that knows everybody. Opens, wires, runs, and closes in the right order."""

from bot.app.opening import OnWait, Parts, admin_of, alone, opened, persistently, stored
from bot.app.serving import Reload
from bot.app.staff_list import list_staff
from bot.app.starting import changed_texts, run, start_keys
from bot.app.values import door_of, loaded_privacy, login_of, operator_of, read_privacy, rules_of

__all__ = [
    "OnWait",
    "Parts",
    "Reload",
    "admin_of",
    "alone",
    "changed_texts",
    "door_of",
    "list_staff",
    "loaded_privacy",
    "login_of",
    "opened",
    "operator_of",
    "persistently",
    "read_privacy",
    "rules_of",
    "run",
    "start_keys",
    "stored",
]
