"""Somebody to examine: a configuration in a folder, and a server that answers what a test wants."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from bot.app import rules_of
from bot.doctor.patient import Patient
from bot.matrix.transport import Transport
from bot.settings import Settings, load_settings
from bot.store.database import Clock, utc_now

ME = "@werk:example.org"
JAN, CHEF = "@jan:example.org", "@chef:example.org"


def settings(folder: Path, url: str = "http://127.0.0.1:9") -> Settings:
    """Write a configuration and its secret."""
    secret = folder / "master.secret"
    secret.write_text("a" * 64)
    secret.chmod(0o600)
    (folder / "data").mkdir(exist_ok=True)
    config = folder / "botschaft.toml"
    config.write_text(
        f'admins = ["{CHEF}"]\n[homeserver]\nurl = "{url}"\n[bot]\nuser_id = "{ME}"\n[business]\nname = "Werk"\n'
        '[storage]\nfolder = "data"\nmaster_secret_file = "master.secret"\n'
        f'[[desks]]\nid = "annahme"\nname = "Annahme"\nmembers = ["{JAN}"]\n'
    )
    return load_settings(config)


@asynccontextmanager
async def patient(
    folder: Path, answers: Mapping[str, tuple[int, Any]] | None = None, *, now: Clock = utc_now, date: bool = True
) -> AsyncIterator[Patient]:
    """Examine a bot whose server gives these answers, by method and path; anything else is 404."""

    async def answer(request: web.Request) -> web.Response:
        status, body = (answers or {}).get(f"{request.method} {request.path}", (404, {"errcode": "M_UNRECOGNIZED"}))
        response = web.json_response(body, status=status)
        if not date:
            response.headers["Date"] = "yesterday"
        return response

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as server:
        chosen = settings(folder, f"http://127.0.0.1:{server.port}")
        transport = Transport(chosen.homeserver.url)
        transport.access_token = "token"
        try:
            yield Patient(chosen, rules_of(chosen), transport, now)
        finally:
            await transport.close()
