"""A business on a real homeserver: accounts, a configuration, and the bot as a process of its own."""

import asyncio
import os
import re
import secrets
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

import aiohttp

from bot.demo.synapse import LocalSynapse
from bot.settings import Settings, load_settings
from tests.canary import Canary, overhear
from tests.waiting import until

NOBODY = "@nobody-here:localhost"
CONTROLLER = """
[controller]
name = "Werkstatt Müller GmbH"
address = "Musterstraße 1, 12345 Musterstadt"
contact = "Telefon 01234 567890, post@werkstatt.example"
authority = "Landesbeauftragte für den Datenschutz, Prinzenstraße 5, Musterstadt"
privacy_url = "https://werkstatt.example/datenschutz"
imprint = "Geschäftsführung: Eva Müller"
[hosting]
location = "Musterstadt"
"""
SHOWS_METRICS: Final = sys.platform == "linux"  # where each bot can have an address of its own, and no port is a race


class Account(NamedTuple):
    """Somebody who can log in."""

    mxid: str
    localpart: str
    password: str


@dataclass
class Business:
    """The files of one bot, and its process, which logs at DEBUG.

    Whenever it stops, nothing of what people in the test are called and said may stand in its log, metrics and files.
    """

    server: LocalSynapse
    folder: Path
    bot: Account
    members: list[str] = field(default_factory=list)
    admins: list[str] = field(default_factory=list)
    extra: str = ""
    language: str = "de"
    controller: str = CONTROLLER
    url: str = ""  # where the bot finds its server, if not directly
    homeserver: str = ""  # further settings of that section
    process: asyncio.subprocess.Process | None = None
    people: dict[str, Account] = field(default_factory=dict)
    canary: Canary | None = field(default_factory=Canary)  # None: as in production, nobody watches
    listen: str = field(default_factory=lambda: f"127.{'.'.join(map(str, secrets.token_bytes(3)))}:9464")

    def __post_init__(self) -> None:
        overhear(self.bot)

    async def account(self, prefix: str) -> Account:
        """Make an account with a random name."""
        user, password = f"{prefix}-{secrets.token_hex(4)}", secrets.token_urlsafe(12)
        made = Account(await self.server.register(user, password), user, password)
        overhear(made)
        return made

    @property
    def config(self) -> Path:
        return self.folder / "botschaft.toml"

    @property
    def log_file(self) -> Path:
        return self.folder / "bot.log"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def write(self) -> None:
        """Write the configuration as it is now."""
        members = ", ".join(f'"{member}"' for member in self.members or [NOBODY])
        admins = ", ".join(f'"{admin}"' for admin in self.admins or [NOBODY])
        self.config.write_text(
            f'admins = [{admins}]\n[homeserver]\nurl = "{self.url or self.server.url}"\n'
            f"{self.homeserver or 'sync_timeout_s = 10'}\n"
            f'[bot]\nuser_id = "{self.bot.mxid}"\npassword_file = "bot.password"\n'
            f'[business]\nname = "Werkstatt Müller"\nlanguage = "{self.language}"\n'
            f"{self.controller}"
            f'[storage]\nfolder = "data"\nmaster_secret_file = "master.secret"\n'
            f"{self._watched()}"
            f'[[desks]]\nid = "annahme"\nname = "Annahme"\nmembers = [{members}]\n{self.extra}'
        )

    def _watched(self) -> str:
        """Return the sections that let everything come out which may, unless the test has its own."""
        sections = {"[log]": 'level = "debug"'} | ({"[web]": f'listen = "{self.listen}"'} if SHOWS_METRICS else {})
        return "".join(f"{name}\n{line}\n" for name, line in sections.items() if self.canary and name not in self.extra)

    def settings(self) -> Settings:
        self.write()
        return load_settings(self.config)

    async def start(self) -> None:
        """Start the bot and wait until it has heard from the server."""
        self.write()
        if self.canary:
            self.canary.besides |= {file for file in self.folder.iterdir() if file not in {self.data, self.log_file}}
        heartbeat = self.data / "heartbeat"
        heartbeat.unlink(missing_ok=True)
        with self.log_file.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "bot", "run", "--config", str(self.config)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | {"PYTHONWARNINGS": "error"},
            )
        await until(lambda: heartbeat.exists() or self._ended(), timeout_s=60)
        assert not self._ended(), self.log()

    def _ended(self) -> bool:
        return self.process is not None and self.process.returncode is not None

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End the bot and return its exit code."""
        process, self.process = self.process, None
        assert process is not None
        shown = await self.metrics() if self.canary and process.returncode is None else b""
        if process.returncode is None:
            process.send_signal(number)
        code = await asyncio.wait_for(process.wait(), 30)
        if self.canary:
            found = self.canary.found_in("metrics", shown) + self.canary.found_below(self.folder)
            assert found == [], "\n".join(found)
        return code

    async def metrics(self) -> bytes:
        """Return what the bot shows of itself, nothing if it does not or has just ended."""
        listen = re.search(r'^listen = "(.+)"$', self.config.read_text(), re.MULTILINE)
        if listen is None:
            return b""
        try:
            async with aiohttp.ClientSession() as http, http.get(f"http://{listen[1]}/metrics") as answer:
                return await answer.read()
        except aiohttp.ClientError:
            return b""

    def hang_up(self) -> None:
        """Tell the running bot that its configuration changed."""
        assert self.process is not None
        self.process.send_signal(signal.SIGHUP)

    async def again(self, extra: str = "") -> None:
        """Stop the bot and start it with further settings."""
        assert await self.stop() == 0, self.log()
        self.extra = extra
        await self.start()

    async def kill(self) -> None:
        """End the bot as a power cut would."""
        await self.stop(signal.SIGKILL)

    def log(self) -> str:
        return self.log_file.read_text() if self.log_file.exists() else ""


async def a_business(server: LocalSynapse, folder: Path, *, user: str = "") -> Business:
    """Make the bot's account, with a random name unless told otherwise, and the secrets of its folder."""
    user, password = user or f"werkstatt-{secrets.token_hex(4)}", secrets.token_urlsafe(12)
    mxid = await server.register(user, password)
    for name, content in (("master.secret", secrets.token_hex(32)), ("bot.password", password)):
        file = folder / name
        file.write_text(content)
        file.chmod(0o600)
    return Business(server, folder, Account(mxid, user, password))
