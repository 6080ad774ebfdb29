"""A real Synapse on this machine, for the demo and the tests: loopback only, SQLite, a folder of its own.

It ends with us, however we end, and never opens a connection to anything outside this machine.
"""

import asyncio
import ctypes
import hashlib
import hmac
import importlib.util
import json
import secrets
import signal
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import aiohttp

from bot.domain.errors import Fatal

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 15.0
PR_SET_PDEATHSIG = 1

_GENEROUS = {"per_second": 10_000, "burst_count": 10_000}
_LIMITS: dict[str, Any] = {
    "rc_message": _GENEROUS,
    "rc_registration": _GENEROUS,
    "rc_login": {"address": _GENEROUS, "account": _GENEROUS, "failed_attempts": _GENEROUS},
    "rc_admin_redaction": _GENEROUS,
    "rc_joins": {"local": _GENEROUS, "remote": _GENEROUS},
    "rc_joins_per_room": _GENEROUS,
    "rc_invites": {"per_room": _GENEROUS, "per_user": _GENEROUS, "per_issuer": _GENEROUS},
    "rc_room_creation": _GENEROUS,
}


def is_installed() -> bool:
    """Tell whether the package `matrix-synapse` is there."""
    return importlib.util.find_spec("synapse") is not None


def free_port() -> int:
    """Return a port of the loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class LocalSynapse:
    """One homeserver process. Start, stop, kill and restart keep folder, port and data."""

    folder: Path
    server_name: str = "localhost"
    limits: Literal["generous", "default"] = "generous"
    port: int = field(default_factory=free_port)
    _process: asyncio.subprocess.Process | None = None
    _secret: str = field(default_factory=lambda: secrets.token_hex(16))

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            Fatal: it is not installed or does not come up; with the end of its log.
        """
        if not is_installed():
            raise Fatal("The package matrix-synapse is missing. Install the extra: pip install 'botschaft[demo]'.")
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "homeserver.yaml"
        if not config.exists():
            self._configure(config)
        with (self.folder / "output.log").open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "synapse.app.homeserver", "-c", str(config)),
                cwd=self.folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=_end_with_parent if sys.platform == "linux" else None,
                start_new_session=True,
            )
        await self._wait_until_up()

    def _configure(self, config: Path) -> None:
        # Synapse reads YAML, of which JSON is a part.
        (self.folder / "log.yaml").write_text(json.dumps(_logging(self.folder / "homeserver.log")))
        config.write_text(json.dumps(self._settings(), indent=1))

    def _settings(self) -> dict[str, Any]:
        settings: dict[str, Any] = {
            "server_name": self.server_name,
            "public_baseurl": f"{self.url}/",
            "pid_file": str(self.folder / "homeserver.pid"),
            "listeners": [
                {
                    "port": self.port,
                    "bind_addresses": ["127.0.0.1"],
                    "type": "http",
                    "resources": [{"names": ["client"]}],
                }
            ],
            "database": {"name": "sqlite3", "args": {"database": str(self.folder / "homeserver.db")}},
            "log_config": str(self.folder / "log.yaml"),
            "media_store_path": str(self.folder / "media"),
            "signing_key_path": str(self.folder / "signing.key"),
            "macaroon_secret_key": secrets.token_hex(16),
            "form_secret": secrets.token_hex(16),
            "registration_shared_secret": self._secret,
            "enable_registration": False,
            "trusted_key_servers": [],
            "suppress_key_server_warning": True,
            "federation_domain_whitelist": [],
            "report_stats": False,
            "presence": {"enabled": False},
            "url_preview_enabled": False,
            "user_ips_max_age": "1d",
        }
        return settings | (_LIMITS if self.limits == "generous" else {})

    async def _wait_until_up(self) -> None:
        try:
            async with asyncio.timeout(START_TIMEOUT_S), aiohttp.ClientSession() as session:
                while not await self._answers(session):
                    await asyncio.sleep(0.1)
        except TimeoutError as error:
            await self.kill()
            raise Fatal(f"Synapse did not come up in {START_TIMEOUT_S:.0f} seconds:\n{self._log_tail()}") from error

    async def _answers(self, session: aiohttp.ClientSession) -> bool:
        if self._process is None or self._process.returncode is not None:
            raise Fatal(f"Synapse ended by itself:\n{self._log_tail()}")
        try:
            async with session.get(f"{self.url}/_matrix/client/versions") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    def _log_tail(self) -> str:
        output = (self.folder / "output.log").read_text(errors="replace")
        return "\n".join(output.splitlines()[-15:])

    async def stop(self) -> None:
        """End it properly."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """End it as a power cut would."""
        await self._end(signal.SIGKILL)

    async def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        process.send_signal(number)
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def restart(self) -> None:
        """Stop and start again with the same data."""
        await self.stop()
        await self.start()

    async def register(self, user: str, password: str, *, admin: bool = False) -> str:
        """Make an account with the shared secret (Synapse admin API) and return its Matrix user id."""
        path = f"{self.url}/_synapse/admin/v1/register"
        async with aiohttp.ClientSession() as session:
            async with session.get(path) as response:
                nonce = (await response.json())["nonce"]
            words = (nonce, user, password, "admin" if admin else "notadmin")
            mac = hmac.new(self._secret.encode(), "\x00".join(words).encode(), hashlib.sha1).hexdigest()
            body = {"nonce": nonce, "username": user, "password": password, "admin": admin, "mac": mac}
            async with session.post(path, json=body) as response:
                answer = await response.json()
                if response.status != 200:
                    raise Fatal(f"Synapse did not make the account: {answer.get('errcode')}.")
                return str(answer["user_id"])


def _end_with_parent() -> None:
    """Ask the kernel to end this child when its parent ends, even by SIGKILL (prctl(2))."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _logging(file: Path) -> dict[str, Any]:
    handler = {"class": "logging.FileHandler", "filename": str(file), "formatter": "plain"}
    return {
        "version": 1,
        "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
        "handlers": {"file": handler},
        "root": {"level": "WARNING", "handlers": ["file"]},
        "disable_existing_loggers": False,
    }
