"""A real homeserver for this machine only: Synapse in a process and a folder of its own.

For the demo and for tests. It listens on loopback, federates with nobody, asks nobody outside for anything,
and ends when the process that started it ends, however that happens. Never for real customers.
"""

import asyncio
import atexit
import base64
import hashlib
import hmac
import importlib.metadata
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import aiohttp

from bot.domain.errors import Fatal, Refused

Limits = Literal["generous", "default"]

START_WITHIN_S = 90.0
ANSWER_WITHIN_S = 2.0
STOP_WITHIN_S = 15.0
PORT_ATTEMPTS = 5
POLL_EVERY_S = 0.05
LOG_TAIL_LINES = 25
# What Python needs. Our secrets are none of its business, and a proxy would be a way out of this machine.
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "LD_LIBRARY_PATH", "SSL_CERT_FILE")
# Served in /.well-known, so that an answer on our port is known to be ours and not a stranger's.
INSTANCE_KEY = "de.botschaft.instance"

# The child holds the read end of a pipe that nobody writes to. It reads the end of it in the moment our process is
# gone, even after SIGKILL; that works on every system and, unlike PR_SET_PDEATHSIG, does not watch a single thread.
CHILD = """
import os, runpy, threading

def leave_with_parent():
    while os.read(0, 1):
        pass
    os._exit(0)

threading.Thread(target=leave_with_parent, daemon=True).start()
runpy.run_module("synapse.app.homeserver", run_name="__main__", alter_sys=True)
"""


class LocalSynapse:
    """One homeserver. Port, accounts and rooms outlast `stop`, `kill` and `restart`; `close` ends it for good."""

    def __init__(
        self,
        *,
        server_name: str = "localhost",
        limits: Limits = "generous",
        folder: Path | None = None,
        settings: Mapping[str, Any] | None = None,
        module_path: Path | None = None,
    ) -> None:
        """Choose what to start. A given `folder` is kept, otherwise a temporary one lives until `close`.

        `settings` are added to the configuration of the homeserver, for example its `modules`; `module_path` is a
        folder in which it finds them.
        """
        self.server_name = server_name
        self.limits = limits
        self.port = 0
        self._temporary = folder is None
        self.folder = folder or Path(tempfile.mkdtemp(prefix="botschaft-synapse-"))
        self.folder.mkdir(parents=True, exist_ok=True)
        self._settings = dict(settings or {})
        self._module_path = module_path
        self._secret = secrets.token_urlsafe(32)
        self._instance = secrets.token_urlsafe(16)
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self._discard)

    @property
    def url(self) -> str:
        """Where clients find it. The port is known after the first `start`."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def process_id(self) -> int | None:
        """The id of the running process."""
        return self._process.pid if self._is_running() and self._process else None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Start and return when it answers. Raises Fatal, with the end of its log, if it does not."""
        if self._is_running():
            return
        _refuse_without_package()
        try:
            await self._start_on_a_port()
        except BaseException:
            await self.kill()
            raise

    async def stop(self) -> None:
        """End it in good order; its folder stays."""
        if self._process is None:
            return
        self._process.terminate()
        if not await self._ended_within(STOP_WITHIN_S):
            self._process.kill()
        await self._reap()

    async def kill(self) -> None:
        """End it the way a power cut does; its folder stays."""
        if self._process is None:
            return
        self._process.kill()
        await self._reap()

    async def restart(self) -> None:
        """Stop, if it runs, and start again on the same port with the same accounts and rooms."""
        await self.stop()
        await self.start()

    async def close(self) -> None:
        """End it and remove its temporary folder."""
        await self.stop()
        atexit.unregister(self._discard)
        self._remove_folder()

    async def register(self, user: str, password: str, *, admin: bool = False) -> str:
        """Create an account and return its Matrix id. Raises Refused, for example if it exists."""
        path = f"{self.url}/_synapse/admin/v1/register"
        async with aiohttp.ClientSession() as http:
            async with http.get(path) as response:
                nonce = (await response.json())["nonce"]
            request = {
                "nonce": nonce,
                "username": user,
                "password": password,
                "admin": admin,
                "mac": self._registration_mac(nonce, user, password, admin),
            }
            async with http.post(path, json=request) as response:
                answer = await response.json()
        if response.status != 200:
            text = f"The homeserver did not create {user}: {answer.get('error')}"
            raise Refused(text, code=str(answer.get("errcode", "")), status=response.status)
        return str(answer["user_id"])

    def log_tail(self, lines: int = LOG_TAIL_LINES) -> str:
        """Return the last lines it logged."""
        if not self._log_path.exists():
            return ""
        return "\n".join(self._log_path.read_text(errors="replace").splitlines()[-lines:])

    @property
    def _log_path(self) -> Path:
        return self.folder / "homeserver.log"

    async def _start_on_a_port(self) -> None:
        """Try ports until one is ours: between choosing and listening another program may take it.

        After the first start the port is a promise to clients and never changes again.
        """
        if self.port:
            await self._start_once()
            return
        for attempt in range(1, PORT_ATTEMPTS + 1):
            self.port = _free_port()
            try:
                await self._start_once()
                return
            except Fatal:
                taken = "already in use" in self.log_tail()
                self.port = 0
                await self.kill()
                if not taken or attempt == PORT_ATTEMPTS:
                    raise

    async def _start_once(self) -> None:
        self._write_configuration()
        self._launch()
        deadline = time.monotonic() + START_WITHIN_S
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_WITHIN_S)) as http:
            while not await self._answers(http):
                if not self._is_running():
                    raise Fatal(f"The homeserver ended while it started. The end of its log:\n{self.log_tail()}")
                if time.monotonic() > deadline:
                    raise Fatal(
                        f"The homeserver did not answer within {START_WITHIN_S:.0f} s. "
                        f"The end of its log:\n{self.log_tail()}"
                    )
                await asyncio.sleep(POLL_EVERY_S)

    def _launch(self) -> None:
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - nothing in this command comes from outside
                [sys.executable, "-P", "-c", CHILD, "-c", "homeserver.yaml"],
                cwd=self.folder,
                env=self._environment(),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C in the terminal reaches us, and we end it in order.
            )

    def _environment(self) -> dict[str, str]:
        inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
        if self._module_path is None:
            return inherited
        paths = [str(self._module_path), *filter(None, [inherited.get("PYTHONPATH")])]
        return inherited | {"PYTHONPATH": os.pathsep.join(paths)}

    async def _answers(self, http: aiohttp.ClientSession) -> bool:
        """Tell whether it is this homeserver, and no other program, that answers on our port."""
        try:
            async with http.get(f"{self.url}/.well-known/matrix/client") as response:
                if response.status != 200:
                    return False
                answer = json.loads(await response.read())
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return False
        return isinstance(answer, dict) and answer.get(INSTANCE_KEY) == self._instance

    def _is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    async def _ended_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self._is_running():
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(POLL_EVERY_S)
        return True

    async def _reap(self) -> None:
        """Wait for the process that was told to end, so that neither it nor its pipe is left."""
        if self._process is None:
            return
        await asyncio.to_thread(self._process.wait)
        self._forget_process()

    def _forget_process(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
        self._process = None

    def _discard(self) -> None:
        """Leave nothing behind when the interpreter ends without `close`."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._forget_process()
        self._remove_folder()

    def _remove_folder(self) -> None:
        if self._temporary and self.folder.exists():
            shutil.rmtree(self.folder)

    def _registration_mac(self, nonce: str, user: str, password: str, admin: bool) -> str:
        """Return the proof that we know the shared secret (Synapse's "Shared-Secret Registration")."""
        text = "\0".join((nonce, user, password, "admin" if admin else "notadmin"))
        return hmac.new(self._secret.encode(), text.encode(), hashlib.sha1).hexdigest()

    def _write_configuration(self) -> None:
        """Write what Synapse reads. JSON is YAML."""
        configuration = {**_configuration(self), **_rate_limits(self.limits), **self._settings}
        for name in ("registration_shared_secret", "macaroon_secret_key", "form_secret"):
            configuration[name] = self._secret
        configuration["extra_well_known_client_content"] = {INSTANCE_KEY: self._instance}
        _write_private(self.folder / "homeserver.yaml", json.dumps(configuration, indent=1))
        _write_private(self.folder / "log.yaml", json.dumps(_logging(self._log_path), indent=1))
        key = self.folder / "signing.key"
        if not key.exists():
            _write_private(key, f"ed25519 a_local {_unpadded(secrets.token_bytes(32))}\n")


def _refuse_without_package() -> None:
    try:
        importlib.metadata.version("matrix-synapse")
    except importlib.metadata.PackageNotFoundError:
        raise Fatal(
            "A homeserver for this machine needs the package matrix-synapse, which is not installed. "
            f"Install it with: {sys.executable} -m pip install matrix-synapse"
        ) from None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


def _unpadded(key: bytes) -> str:
    return base64.b64encode(key).decode().rstrip("=")


def _configuration(server: LocalSynapse) -> dict[str, Any]:
    folder = server.folder
    return {
        "server_name": server.server_name,
        "public_baseurl": server.url,
        "pid_file": str(folder / "homeserver.pid"),
        "listeners": [
            {
                "port": server.port,
                "bind_addresses": ["127.0.0.1"],
                "type": "http",
                "tls": False,
                "resources": [{"names": ["client"], "compress": False}],
            }
        ],
        "database": {"name": "sqlite3", "args": {"database": str(folder / "homeserver.db")}},
        "media_store_path": str(folder / "media"),
        "log_config": str(folder / "log.yaml"),
        "signing_key_path": str(folder / "signing.key"),
        "enable_registration": False,
        "bcrypt_rounds": 4,  # The passwords of people who do not exist; hashing at full cost takes a quarter second.
        "encryption_enabled_by_default_for_room_type": "off",
        "presence": {"enabled": False},
        # From here on: what keeps it from talking to anybody outside this machine.
        "federation_domain_whitelist": [],
        "trusted_key_servers": [],
        "suppress_key_server_warning": True,
        "url_preview_enabled": False,
        "report_stats": False,
        "enable_metrics": False,
    }


def _logging(path: Path) -> dict[str, Any]:
    return {
        "version": 1,
        "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
        "handlers": {"file": {"class": "logging.FileHandler", "filename": str(path), "formatter": "line"}},
        "root": {"level": "WARNING", "handlers": ["file"]},
        "disable_existing_loggers": False,
    }


def _rate_limits(limits: Limits) -> dict[str, Any]:
    """Return the limits. Logins are never limited: everybody here comes from the same address."""
    far = {"per_second": 100_000, "burst_count": 100_000}
    login = {"rc_login": {"address": far, "account": far, "failed_attempts": far}, "rc_registration": far}
    if limits == "default":
        return login
    return {
        **login,
        "rc_message": far,
        "rc_admin_redaction": far,
        "rc_joins": {"local": far, "remote": far},
        "rc_joins_per_room": far,
        "rc_invites": {"per_room": far, "per_user": far, "per_issuer": far},
        "rc_third_party_invite": far,
        "rc_3pid_validation": far,
        "rc_registration_token_validity": far,
        "rc_key_requests": far,
        "rc_media_create": far,
        "rc_presence": {"per_user": far},
        "rc_delayed_event_mgmt": far,
        "rc_room_creation": far,
        "rc_reports": far,
        "rc_user_directory": far,
        "rc_profile": far,
    }
