"""The Matrix server, and the bot's account on it."""

import ipaddress
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from bot.domain.errors import Fatal
from bot.settings.section import Section, UserIdText, private_text_problem


class HomeserverSettings(Section):
    """The Matrix server."""

    allow_insecure_http: bool = False  # before `url`, whose check reads it
    url: str
    request_timeout_s: float = Field(default=30, gt=0, le=600)
    sync_timeout_s: float = Field(default=30, ge=0, le=300)
    admin_token_file: Path | None = None
    admin_token: SecretStr | None = None
    admin_url: str = ""

    @property
    def admin_address(self) -> str:
        """Where the server's admin API is."""
        return self.admin_url or self.url

    def secret_admin_token(self) -> str | None:
        """Return the access token of a server administrator, if there is one.

        Raises:
            Fatal: others may read its file.
        """
        if self.admin_token is not None:
            return self.admin_token.get_secret_value()
        if self.admin_token_file is None or not self.admin_token_file.is_file():
            return None
        problem = self.admin_token_problem()
        if problem:
            raise Fatal(problem)
        return self.admin_token_file.read_text(encoding="utf-8").strip()

    def admin_token_problem(self) -> str:
        """Return what is wrong with the admin token's file, or nothing; there need not be one."""
        file = self.admin_token_file
        if self.admin_token is not None or file is None or not file.is_file():
            return ""
        return private_text_problem(file, "the token of a server administrator")

    @field_validator("url", "admin_url")
    @classmethod
    def _encrypted_or_local(cls, url: str, info: ValidationInfo) -> str:
        if not url and info.field_name == "admin_url":
            return url
        return server_address(url, insecure=bool(info.data.get("allow_insecure_http")))


class BotSettings(Section):
    """The bot's account."""

    user_id: UserIdText
    display_name: str = ""
    password_file: Path | None = None
    password: SecretStr | None = None
    device_name: str = "Botschaft"

    def secret_password(self) -> str | None:
        """Return the password, if there is one; it is needed at the first start only.

        Raises:
            Fatal: others may read its file.
        """
        if self.password is not None:
            return self.password.get_secret_value()
        if self.password_file is None or not self.password_file.is_file():
            return None
        problem = self.password_problem()
        if problem:
            raise Fatal(problem)
        return self.password_file.read_text(encoding="utf-8").strip()

    def has_password_file(self) -> bool:
        """Tell whether there is a file with the password; after the first start there need not be one."""
        return self.password_file is not None and self.password_file.is_file()

    def password_problem(self) -> str:
        """Return what is wrong with the password's file, or nothing."""
        file = self.password_file
        if self.password is not None or file is None:
            return ""
        if not file.is_file():
            return f"{file} is missing. Put the password of the bot's account into it, and run: chmod 600 {file}"
        return private_text_problem(file, "the password of the bot's account")


def server_address(url: str, *, insecure: bool = False) -> str:
    """Return the address of a server if it may be used: https, or http on this very machine (`insecure`: anywhere).

    Raises:
        ValueError: with what was expected.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"https", "http"} or not parts.hostname:
        raise ValueError("expected an address like https://matrix.example.de")
    if parts.scheme == "https" or _is_loopback(parts.hostname) or insecure:
        return url
    raise ValueError(
        "expected https; plain http is for a server on this very machine, or for a network that only "
        "you can read, after allow_insecure_http = true"
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
