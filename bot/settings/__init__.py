"""What the admin decides: environment over the TOML file over defaults. Unknown keys and secrets in TOML are refused.

All problems come at once, each with the place to look and what was expected.
"""

from bot.settings.business import DeskSettings
from bot.settings.connection import server_address
from bot.settings.hours import DAYS, public_holidays
from bot.settings.judging import Problem, SettingsProblems
from bot.settings.loading import load_settings, settings_from
from bot.settings.machine import StorageSettings
from bot.settings.section import UserIdText
from bot.settings.texts import load_texts
from bot.settings.whole import Settings

__all__ = [
    "DAYS",
    "DeskSettings",
    "Problem",
    "Settings",
    "SettingsProblems",
    "StorageSettings",
    "UserIdText",
    "load_settings",
    "load_texts",
    "public_holidays",
    "server_address",
    "settings_from",
]
