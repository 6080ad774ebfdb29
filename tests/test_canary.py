"""The canary itself: it hears what people say, and finds it wherever a bot might leave it."""

import asyncio
import json
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from bot.demo.synapse import LocalSynapse
from tests.business import Account, Business
from tests.canary import SHORTEST, Canary, overhear

ANNA = Account("@anna-1a2b3c4d:localhost", "anna-1a2b3c4d", "a password of hers")
ROOM = "!dGhpc2lzYXJvb20:localhost"
ROOM_12 = "!4WnSvYn0qjLJyLqKkTzZ0m2r5x8w9dC3b1N7vQeFhJs"
BODY = "Größere Inspektion, bitte bis Freitag\n\nUnd die Bremse quietscht"
SAID = (*ANNA, ROOM, ROOM_12, {"content": {"m.new_content": {"body": BODY}, "msgtype": "m.some.kind"}})


@pytest.fixture
def business(tmp_path: Path) -> Business:
    """A business of files alone, in which somebody has said something."""
    made = Business(
        LocalSynapse(folder=tmp_path / "server"), tmp_path / "bot", Account("@bot:localhost", "bot", "secret")
    )
    made.data.mkdir(parents=True)
    made.log_file.write_text("serving\n")
    (made.data / "botschaft.db").write_bytes(bytes(range(256)))
    made.write()
    overhear(*SAID)
    return made


async def stopped(business: Business) -> None:
    """Stop it, with a process that does nothing."""
    assert business.canary
    business.canary.besides.add(business.config)
    business.process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "input()", stdin=asyncio.subprocess.PIPE
    )
    await business.stop()


async def test_what_is_clean_is_left_alone(business: Business) -> None:
    business.members = [ANNA.mxid]
    business.write()  # of which the admin knows
    await stopped(business)


@pytest.mark.parametrize(
    "leak",
    [
        *(*ANNA, ROOM, ROOM_12, "dGhpc2lzYXJvb20", BODY.splitlines()[0], "Und die Bremse quietscht"),
        *(json.dumps(BODY), quote(ANNA.mxid, safe=""), quote(ROOM, safe=""), "Größere Inspektion, bitte…"),
        *(r"Gr\u00f6\u00dfere Inspektion, bitte bis Freitag", "syt_YW5uYQ_abcdefghijklmnopqrst_0A1b2C"),
    ],
)
async def test_a_leak_into_the_log_is_found(business: Business, leak: str) -> None:
    business.log_file.write_text(f'{{"event": "item_parked", "reason": "before {leak} after"}}\n')
    with pytest.raises(AssertionError, match=r"bot\.log: "):
        await stopped(business)


async def test_a_leak_into_any_file_is_found_whoever_wrote_it(business: Business) -> None:
    (business.data / "deep").mkdir()
    (business.data / "deep" / "left.tmp").write_bytes(b"\x00\xff" + BODY.encode() + b"\x00")
    with pytest.raises(AssertionError, match=r"data/deep/left\.tmp: Und die Bremse quietscht"):
        await stopped(business)


async def test_a_database_in_clear_is_found_whatever_is_in_it(business: Business) -> None:
    with closing(sqlite3.connect(business.data / "keys.db")) as database:
        database.execute("CREATE TABLE harmless (number INTEGER)")
        database.commit()
    with pytest.raises(AssertionError, match=r"data/keys\.db: a database that is not encrypted"):
        await stopped(business)


async def test_a_leak_into_the_metrics_is_found(business: Business) -> None:
    async def metrics(request: web.Request) -> web.Response:
        return web.Response(text=f'botschaft_items{{room="{ROOM}"}} 1.0')

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    business.extra = f'[web]\nlisten = "127.0.0.1:{runner.addresses[0][1]}"\n'
    business.write()
    try:
        with pytest.raises(AssertionError, match="metrics: dGhpc2lzYXJvb20"):
            await stopped(business)
    finally:
        await runner.cleanup()


def test_it_hears_only_what_was_said_since_it_was_there() -> None:
    overhear("Das war vorher gesagt")
    canary = Canary()
    overhear("Das wurde nachher gesagt, und nicht vorher")
    assert canary.words == {b"Das wurde nachher gesagt", b"Das%20wurde%20nachher%20gesagt"}
    assert canary.has_heard("Das wurde nachher gesagt")
    assert not canary.has_heard("Das wurde nachher gesagt", "Das war vorher gesagt")


@given(st.binary(max_size=40), st.binary(min_size=SHORTEST // 2, max_size=40), st.binary(max_size=40))
def test_a_word_is_found_wherever_it_stands(before: bytes, word: bytes, after: bytes) -> None:
    canary = Canary()
    canary.words = {word.hex().encode()}
    assert canary.found_in("here", before + word.hex().encode() + after) == [f"here: {word.hex()}"]


def test_short_words_and_words_of_the_protocol_are_not_listened_for() -> None:
    canary = Canary()
    overhear("!zu", "Danke!", {"type": "m.room.message", "algorithm": "m.megolm.v1.aes-sha2", "body": "!freigeben"})
    assert canary.words == {b"!freigeben", b"%21freigeben"}
