"""All sections together, and the rules between them."""

from collections import Counter

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from bot.settings.business import (
    BusinessSettings,
    ControllerSettings,
    DeskSettings,
    FederationSettings,
    HostingSettings,
    PrivacySettings,
)
from bot.settings.connection import BotSettings, HomeserverSettings
from bot.settings.conversation import CaseSettings, ConsentSettings, CustomerSettings, DoorSettings
from bot.settings.hours import HoursSettings
from bot.settings.machine import BackupSettings, LogSettings, StaffSettings, StorageSettings, WebSettings
from bot.settings.section import UserIdText

PREFIX = "BOTSCHAFT_"
"""What the names of our environment variables begin with."""


class Settings(BaseSettings):
    """Everything together."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, env_ignore_empty=True
    )

    homeserver: HomeserverSettings
    bot: BotSettings
    business: BusinessSettings
    desks: list[DeskSettings] = Field(min_length=1)
    admins: list[UserIdText] = Field(min_length=1)
    hours: HoursSettings = HoursSettings()
    storage: StorageSettings
    controller: ControllerSettings = ControllerSettings()
    hosting: HostingSettings = HostingSettings()
    federation: FederationSettings = FederationSettings()
    privacy: PrivacySettings = PrivacySettings()
    cases: CaseSettings = CaseSettings()
    customers: CustomerSettings = CustomerSettings()
    consent: ConsentSettings = ConsentSettings()
    staff: StaffSettings = StaffSettings()
    door: DoorSettings = DoorSettings()
    web: WebSettings = WebSettings()
    backup: BackupSettings = BackupSettings()
    log: LogSettings = LogSettings()

    @field_validator("desks")
    @classmethod
    def _distinct(cls, desks: list[DeskSettings]) -> list[DeskSettings]:
        for what in ("id", "name"):
            twice = [name for name, count in Counter(getattr(desk, what) for desk in desks).items() if count > 1]
            if twice:
                raise ValueError(f"each desk needs its own {what}; {', '.join(twice)} stands there more than once")
        return desks

    @field_validator("desks")
    @classmethod
    def _known_deputies(cls, desks: list[DeskSettings]) -> list[DeskSettings]:
        ids = {desk.id for desk in desks}
        for desk in desks:
            if desk.when_closed and desk.when_closed not in ids - {desk.id}:
                raise ValueError(f"when_closed of {desk.id}: expected the id of another desk, or nothing")
        return desks

    @model_validator(mode="after")
    def _consistent(self) -> "Settings":
        never = [desk.id for desk in self.desks if self.hours.hours() and not self.hours.at(desk.hours).hours()]
        if never:
            raise ValueError(
                f"desks: {', '.join(never)} would never open; leave the hours of a day away that are as in [hours]"
            )
        people = {member for desk in self.desks for member in desk.members} | set(self.admins)
        if self.bot.user_id in people:
            raise ValueError("bot.user_id: the bot itself cannot be a member of a desk or an admin")
        if self.controller.is_filled_in and not self.hosting.location.strip():
            raise ValueError("hosting.location: expected the place where the server stands; customers are told it")
        if self.door.gives == "token" and not self.door.web_client:
            raise ValueError(
                'door.web_client: with gives = "token" customers need a page to register at, which is missing here'
            )
        return self
