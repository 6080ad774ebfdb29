"""How customers are met: cases, limits, consents, and what new customers are given."""

from itertools import pairwise
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationInfo, field_validator

from bot.settings.section import Section, UserIdText, shaped


class CaseSettings(Section):
    """Cases."""

    first_number: int = Field(default=1001, ge=1)
    reopen_days: float = Field(default=14, ge=0)
    rename_interval_s: float = Field(default=30, ge=0)
    overview_interval_s: float = Field(default=30, ge=0)
    ask_for_desk: Literal["no", "number", "poll"] = "no"
    read_marks: bool = False
    held_for_s: float = Field(default=60, gt=0)
    escalation_minutes: list[Annotated[float, Field(gt=0)]] = Field(default=[15, 30, 60], max_length=3)
    close_after_days: float = Field(default=0, ge=0)
    archive_after_days: float = Field(default=30, ge=0)

    @field_validator("escalation_minutes")
    @classmethod
    def _longer_each_time(cls, minutes: list[float]) -> list[float]:
        if any(after <= before for before, after in pairwise(minutes)):
            raise ValueError("expected up to three numbers of minutes, each larger than the one before")
        return minutes


class CustomerSettings(Section):
    """Limits for people we do not know."""

    ignored: list[UserIdText] = []
    burst: int = Field(default=400, ge=1)
    messages_per_minute: int = Field(default=60, ge=1)
    strangers_per_hour: int = Field(default=60, ge=1)
    automatic_answers_per_hour: int = Field(default=10, ge=0)
    unreadable_notice_after_s: float = Field(default=60, ge=0)
    unsigned_devices: Literal["deliver", "refuse"] = "deliver"
    largest_open_file_mib: int = Field(default=20, ge=0, le=200)


class ConsentSettings(Section):
    """Questions for consent, and what is sent to those who agreed."""

    news_interval_s: float = Field(default=3, ge=0)
    ask_at_close: tuple[str, ...] = ()


class DoorSettings(Section):
    """What new customers are given."""

    gives: Literal["account", "token"] = "account"
    server: Annotated[str, shaped(r"[A-Za-z0-9.\-\[\]:]*", "the name of a server, like example.de, or nothing")] = ""
    app_link: str = "https://mobile.element.io/element/"
    web_client: str = ""
    token_days: float = Field(default=14, gt=0, le=365)
    slip_hours: float = Field(default=24, gt=0, le=24 * 14)
    per_hour: int = Field(default=10, ge=1)

    @field_validator("app_link", "web_client")
    @classmethod
    def _page(cls, url: str, info: ValidationInfo) -> str:
        if not url and info.field_name == "web_client":
            return url
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("expected an address like https://chat.example.de, without ? and #")
        return url
