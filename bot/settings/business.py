"""Who the customers write to, what the law wants them to be told about it, and who answers."""

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from bot.settings.hours import WeekSettings
from bot.settings.section import Section, UserIdText, shaped


class BusinessSettings(Section):
    """Who the customers write to."""

    name: str = Field(min_length=1, max_length=80)
    language: Literal["de", "en"] = "de"
    tone: Literal["sie", "du"] = "sie"


class ControllerSettings(Section):
    """Who is responsible for personal data (Art. 4(7) GDPR). All empty: not filled in yet."""

    name: str = ""
    address: str = ""
    contact: str = ""
    authority: str = ""
    privacy_url: str = ""
    officer: str = ""
    imprint: str = ""

    @property
    def is_filled_in(self) -> bool:
        """Tell whether privacy texts can be made from it."""
        return not self.missing()

    def missing(self) -> list[str]:
        """Return what must be there and is not."""
        needed = ("name", "address", "contact", "authority", "privacy_url")
        return [name for name in needed if not getattr(self, name).strip()]

    @field_validator("privacy_url")
    @classmethod
    def _anybody_can_open_it(cls, url: str) -> str:
        parts = urlsplit(url)
        if url and (parts.scheme != "https" or not parts.hostname):
            raise ValueError("expected an address like https://www.example.de/datenschutz")
        return url

    @model_validator(mode="after")
    def _whole_or_not_at_all(self) -> "ControllerSettings":
        missing = self.missing()
        if missing and any((self.name, self.address, self.contact, self.authority, self.privacy_url)):
            raise ValueError(f"{', '.join(missing)} must be filled in, too: customers are told all of it or nothing")
        return self


class HostingSettings(Section):
    """Where the server stands and who runs it."""

    location: str = ""
    processor: str = ""
    contract: str = ""
    outside_eu: str = ""

    @model_validator(mode="after")
    def _bound_by_contract(self) -> "HostingSettings":
        if self.processor.strip() and not self.contract.strip():
            raise ValueError(
                "a contract is missing: whoever runs the server for you needs one under Art. 28 GDPR; "
                "put its reference into hosting.contract"
            )
        return self


class FederationSettings(Section):
    """How far the server talks with others."""

    mode: Literal["closed", "listed", "open"] = "closed"


class PrivacySettings(Section):
    """Purposes and privacy texts."""

    folder: Path | None = None
    edition: int = Field(default=1, ge=1)

    @field_validator("folder", mode="before")
    @classmethod
    def _nothing_is_no_folder(cls, folder: object) -> object:
        return None if folder == "" else folder


class DeskSettings(Section):
    """One team."""

    id: Annotated[str, shaped(r"[a-z0-9-]{1,40}", "small letters, digits and hyphens, 40 at most")]
    name: str = Field(min_length=1, max_length=60)
    members: list[UserIdText] = Field(min_length=1)
    keywords: list[Annotated[str, Field(min_length=2, max_length=60)]] = []
    when_closed: str = ""
    language: Literal["", "de", "en"] = ""
    hours: WeekSettings | None = None
