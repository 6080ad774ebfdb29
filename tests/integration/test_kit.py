"""A real Synapse behind a real Caddy, both with the kit's own files; only addresses and the database are others."""

import asyncio
import json
import os
import secrets
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest
import pytest_asyncio

from bot.demo import synapse as launcher
from bot.demo.synapse import INSTANCE_KEY, LocalSynapse
from bot.kit.answers import answers_from
from bot.kit.writing import write
from tests.conftest import _require_synapse, require
from tests.waiting import until

yaml = pytest.importorskip("yaml")

DOMAIN = "werk.example"


class KitSynapse(LocalSynapse):
    """Synapse with the kit's configuration, on SQLite and a free port."""

    def __init__(self, kit: Path, folder: Path) -> None:
        super().__init__(server_name=DOMAIN, folder=folder, module_path=kit / "synapse/modules")
        self._kit = kit
        self._secret = (kit / "synapse/registration.secret").read_text().strip()

    @property
    def _log_path(self) -> Path:
        return self._kit / "synapse.log"

    def _write_configuration(self) -> None:
        configuration: dict[str, Any] = yaml.safe_load((self._kit / "synapse/homeserver.yaml").read_text())
        configuration["listeners"][0]["port"] = self.port
        configuration["database"] = {"name": "sqlite3", "args": {"database": str(self.folder / "homeserver.db")}}
        configuration["pid_file"] = str(self.folder / "homeserver.pid")
        configuration["extra_well_known_client_content"] = {INSTANCE_KEY: self._instance}
        (self.folder / "homeserver.yaml").write_text(json.dumps(configuration))


class Answer(NamedTuple):
    """What a server said."""

    status: int
    body: Any
    headers: dict[str, str]


class House(NamedTuple):
    """The kit and its homeserver."""

    kit: Path
    server: LocalSynapse

    async def ask(self, method: str, path: str, body: Any = None, *, token: str = "", **more: Any) -> Answer:
        """Ask Synapse itself, as somebody on this machine can."""
        return await asked(method, self.server.url + path, body, token=token, **more)

    async def token(self, name: str, *, admin: bool = False) -> str:
        """Make an account and log it in."""
        password = secrets.token_urlsafe(12)
        await self.server.register(name, password, admin=admin)
        login = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": name}, "password": password}
        return str((await self.ask("POST", "/_matrix/client/v3/login", login)).body["access_token"])


async def asked(method: str, url: str, body: Any = None, *, token: str = "", **more: Any) -> Answer:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    headers |= more.pop("headers", {})
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as http,
        http.request(method, url, json=body, headers=headers, **more) as response,
    ):
        text = await response.text()
        content = json.loads(text) if "json" in response.content_type and text else text
        return Answer(response.status, content, dict(response.headers))


def kit_in(folder: Path, **more: Any) -> Path:
    given = {"user": f"@werkstatt:{DOMAIN}", "member": [f"@jan:{DOMAIN}"], "admin": [f"@chefin:{DOMAIN}"]}
    answers = answers_from({"kit": "systemd", "business": "Werk", "mail": f"chefin@{DOMAIN}"} | given | more)
    list(write(answers, folder))
    return folder


@pytest.fixture(scope="module")
def _nobody() -> Any:
    """Leave the files with whoever runs this: the accounts of the services need not exist here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: 1000)
        yield


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def house(_nobody: None, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    _require_synapse()
    kit = kit_in(tmp_path_factory.mktemp("kit"))
    async with KitSynapse(kit, tmp_path_factory.mktemp("synapse")) as server:
        yield House(kit, server)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def chefin(house: House) -> str:
    """The access token of an admin of the server."""
    return await house.token("chefin", admin=True)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def door(house: House) -> AsyncIterator[str]:
    """Caddy with the kit's file: its names on one free port, without TLS, because no authority certifies names here."""
    require(shutil.which("caddy") is not None, "caddy")
    port = launcher._free_port()
    text = (house.kit / "Caddyfile").read_text().replace("127.0.0.1:8008", f"127.0.0.1:{house.server.port}")
    for name in (DOMAIN, f"matrix.{DOMAIN}", f"chat.{DOMAIN}"):
        text = text.replace(f"\n{name} {{", f"\nhttp://{name}:{port} {{")
    file = house.kit / "Caddyfile.test"
    file.write_text(text)
    caddy = await asyncio.create_subprocess_exec(
        *("caddy", "run", "--config", str(file), "--adapter", "caddyfile"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        env={"PATH": os.environ["PATH"], "HOME": str(house.kit)},
    )
    await until(lambda: _listens(port), what="Caddy")
    yield f"http://127.0.0.1:{port}"
    caddy.terminate()
    await caddy.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


REGISTER = "/_matrix/client/v3/register"


async def test_without_a_token_nobody_gets_an_account(house: House) -> None:
    opened = await house.ask("POST", REGISTER, {})
    assert opened.status == 401
    flows = [flow["stages"] for flow in opened.body["flows"]]
    assert flows
    assert all("m.login.registration_token" in stages for stages in flows)

    session = opened.body["session"]
    for auth in (
        {"type": "m.login.dummy", "session": session},
        {"type": "m.login.registration_token", "token": "guessed", "session": session},
    ):
        refused = await house.ask("POST", REGISTER, {"username": "k-1", "password": "long enough 1", "auth": auth})
        assert refused.status == 401
        assert "access_token" not in refused.body
    assert (await house.ask("POST", f"{REGISTER}?kind=guest", {})).status == 403


async def test_with_a_token_somebody_does_once(house: House, chefin: str) -> None:
    made = await house.ask("POST", "/_synapse/admin/v1/registration_tokens/new", {"uses_allowed": 1}, token=chefin)
    assert made.status == 200

    async def register(name: str) -> int:
        body: dict[str, Any] = {"username": name, "password": "long enough 1"}
        session = (await house.ask("POST", REGISTER, body)).body["session"]
        for auth in ({"type": "m.login.registration_token", "token": made.body["token"]}, {"type": "m.login.dummy"}):
            answer = await house.ask("POST", REGISTER, body | {"auth": auth | {"session": session}})
        return answer.status

    assert [await register("k-8f3a"), await register("k-77b2")] == [200, 401]


async def test_a_short_password_is_refused(house: House) -> None:
    answer = await house.ask("POST", REGISTER, {"username": "kurz", "password": "kurz"})
    assert (answer.status, answer.body["errcode"]) == (400, "M_PASSWORD_TOO_SHORT")


async def test_every_room_is_encrypted_whoever_makes_it(house: House) -> None:
    token = await house.token("raum")
    for preset in ("private_chat", "trusted_private_chat", "public_chat"):
        room = (await house.ask("POST", "/_matrix/client/v3/createRoom", {"preset": preset}, token=token)).body[
            "room_id"
        ]
        state = await house.ask("GET", f"/_matrix/client/v3/rooms/{room}/state/m.room.encryption", token=token)
        assert (state.status, state.body["algorithm"]) == (200, "m.megolm.v1.aes-sha2")


async def test_federation_is_not_there(house: House) -> None:
    token = await house.token("nah")
    for path in ("/_matrix/federation/v1/version", "/_matrix/key/v2/server"):
        assert (await house.ask("GET", path)).status == 404
    room = (await house.ask("POST", "/_matrix/client/v3/createRoom", {}, token=token)).body["room_id"]
    invited = await house.ask(
        "POST", f"/_matrix/client/v3/rooms/{room}/invite", {"user_id": "@fern:elsewhere.example"}, token=token
    )
    assert (invited.status, invited.body["errcode"]) == (403, "M_FORBIDDEN")
    asked = await house.ask("GET", "/_matrix/client/v3/profile/@fern:elsewhere.example", token=token)
    assert asked.status in {403, 404}


async def test_nothing_is_fetched_listed_or_shown_to_strangers(house: House) -> None:
    token = await house.token("neugier")
    await house.token("anna")
    preview = "/_matrix/client/v1/media/preview_url?url=http%3A%2F%2Fexample.com"
    assert (await house.ask("GET", preview, token=token)).status == 404
    assert (await house.ask("GET", f"/_matrix/client/v3/profile/@anna:{DOMAIN}")).status == 401
    assert (await house.ask("GET", f"/_matrix/client/v3/profile/@anna:{DOMAIN}", token=token)).status == 200
    found = await house.ask("POST", "/_matrix/client/v3/user_directory/search", {"search_term": "anna"}, token=token)
    assert found.body["results"] == []
    assert (await house.ask("GET", "/_matrix/client/v3/publicRooms")).status in {401, 403}
    assert (await house.ask("GET", "/_matrix/client/v3/publicRooms", token=token)).body["chunk"] == []
    limits = await house.ask("GET", "/_matrix/client/v1/media/config", token=token)
    assert limits.body["m.upload.size"] == 50 * 1024 * 1024
    third = await house.ask("GET", "/_matrix/client/v3/capabilities", token=token)
    assert third.body["capabilities"]["m.3pid_changes"]["enabled"] is False


async def test_staff_join_what_the_bot_invites_them_to_and_nobody_else_does(house: House) -> None:
    bot, jan, anna = await house.token("werkstatt"), await house.token("jan"), await house.token("kundin")
    (house.kit / "staff/staff.txt").write_text(f"@jan:{DOMAIN}\n")
    invited = [f"@jan:{DOMAIN}", f"@kundin:{DOMAIN}"]
    room = (await house.ask("POST", "/_matrix/client/v3/createRoom", {"invite": invited}, token=bot)).body["room_id"]

    async def joined(token: str) -> bool:
        return room in (await house.ask("GET", "/_matrix/client/v3/joined_rooms", token=token)).body["joined_rooms"]

    await until(lambda: joined(jan), what="the mechanic in the room")
    assert not await joined(anna)


async def test_the_bots_limit_on_messages_can_be_lifted_as_the_guide_says(house: House, chefin: str) -> None:
    token = await house.token("fleissig")
    room = (await house.ask("POST", "/_matrix/client/v3/createRoom", {}, token=token)).body["room_id"]

    async def slowed(part: str) -> bool:
        """Send 30 messages and tell whether the server said "too many"."""
        return 429 in [
            (
                await house.ask(
                    "PUT",
                    f"/_matrix/client/v3/rooms/{room}/send/m.room.message/{part}-{number}",
                    {"msgtype": "m.text", "body": "x"},
                    token=token,
                )
            ).status
            for number in range(30)
        ]

    before = await slowed("before")
    override = f"/_synapse/admin/v1/users/@fleissig:{DOMAIN}/override_ratelimit"
    await house.ask("POST", override, {"messages_per_second": 0, "burst_count": 0}, token=chefin)
    after = await slowed("after")

    assert (before, after) == (True, False)


async def test_the_door_lets_apps_through_and_nobody_to_the_admin_apis(house: House, door: str, chefin: str) -> None:
    async def through(path: str, host: str = f"matrix.{DOMAIN}") -> Answer:
        return await asked("GET", door + path, token=chefin, headers={"Host": host})

    versions = await through("/_matrix/client/versions")
    assert versions.status == 200
    assert versions.headers["Strict-Transport-Security"] == "max-age=31536000"
    assert "Server" not in versions.headers
    for path in (
        "/_synapse/admin/v1/server_version",
        "/_synapse/admin/v2/users",
        f"/_matrix/client/v3/admin/whois/@chefin:{DOMAIN}",
        "/_matrix/federation/v1/version",
        "/_matrix/key/v2/server",
        "/_matrix/client/../../_synapse/admin/v2/users",
        "/_matrix/client/%2e%2e/%2e%2e/_synapse/admin/v2/users",
        "//_synapse/admin/v2/users",
        "/",
    ):
        answer = await asked("GET", _raw(door, path), token=chefin, headers={"Host": f"matrix.{DOMAIN}"})
        assert answer.status == 404, path
        assert "users" not in str(answer.body), path


def _raw(door: str, path: str) -> Any:
    """Return an address whose path goes out as it is written."""
    yarl = pytest.importorskip("yarl")
    return yarl.URL(door + path, encoded=True)


async def test_the_door_says_where_the_server_is(house: House, door: str) -> None:
    for host in (DOMAIN, f"matrix.{DOMAIN}"):
        found = await asked("GET", f"{door}/.well-known/matrix/client", headers={"Host": host})
        assert found.status == 200
        assert found.body == {"m.homeserver": {"base_url": f"https://matrix.{DOMAIN}"}}
        assert found.headers["Access-Control-Allow-Origin"] == "*"
        assert (await asked("GET", f"{door}/.well-known/matrix/server", headers={"Host": host})).status == 404
    config = await asked("GET", f"{door}/config.json", headers={"Host": f"chat.{DOMAIN}"})
    assert config.body["default_server_config"]["m.homeserver"]["server_name"] == DOMAIN
    assert config.headers["Content-Security-Policy"] == "frame-ancestors 'self'"


async def test_the_door_shows_the_privacy_page(house: House, door: str) -> None:
    (house.kit / "privacy/datenschutz.html").write_text("<title>Datenschutz</title>")
    for path, status in (("datenschutz.html", 200), ("../bot/master.secret", 404), ("%2e%2e/bot/master.secret", 404)):
        answer = await asked("GET", _raw(door, f"/privacy/{path}"), headers={"Host": f"matrix.{DOMAIN}"})
        assert answer.status == status, path


async def test_the_log_names_nobody(house: House) -> None:
    """After an ordinary talk; it runs last in this file, so that everything above has had its chance to be logged."""
    token = await house.token("geheimnis")
    room = (await house.ask("POST", "/_matrix/client/v3/createRoom", {}, token=token)).body["room_id"]
    await house.ask(
        "PUT",
        f"/_matrix/client/v3/rooms/{room}/send/m.room.message/1",
        {"msgtype": "m.text", "body": "Bremse"},
        token=token,
    )
    assert (await house.ask("GET", "/_matrix/client/v3/sync", token=token)).status == 200

    log = house.server.log_tail(100_000)

    for word in ("geheimnis", room, "Bremse", "anna", "k-8f3a"):
        assert word not in log
