"""A backup is restored over a bot that had gone on for a hundred messages: nothing is sent twice, nothing is swallowed."""

import asyncio
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

from bot import backup
from bot.demo.peer import Peer, Seen
from bot.flows.messenger import STEP
from bot.matrix.transport import quote
from tests.business import Business
from tests.conftest import MakePeer
from tests.integration.test_lost_keys import Outcome, botschaft, everything_is_backed_up, recovery_key
from tests.waiting import until

Json = dict[str, Any]
EACH_WAY = 50


def key_of(business: Business) -> Path:
    """Return the file of the private key of backups; the first time the pair is made, and the configuration written."""
    file = business.folder / "away.key"
    if not file.exists():
        business.extra += f'\n[backup]\nrecipient = "{backup.write_new_key(file)}"\n'
        business.write()
    return file


async def taken(business: Business) -> Path:
    """Take a backup while the bot runs, and carry it away."""
    key_of(business)
    code, complaint, said = await botschaft(business, "backup")
    assert code == 0, complaint
    assert "sealed and whole" in said
    file = max((business.folder / "backups").glob("*.age"))
    return Path(shutil.move(file, business.folder / "carried-away.age"))


async def restored(business: Business, file: Path, words: str) -> Outcome:
    paper = business.folder / "recovery.key"
    paper.write_text(words)
    options = ("--private-key", str(key_of(business)), "--accept", "--yes", "--key-file", str(paper))
    return await botschaft(business, "restore", str(file), *options)


def lose_the_disk(business: Business) -> None:
    shutil.rmtree(business.data)
    (business.folder / "master.secret").unlink()


async def steps(peer: Peer, room: str, bot: str) -> Counter[str]:
    """Return the marks of everything that the bot sent in a room, from the server."""
    path = f"/_matrix/client/v3/rooms/{quote(room)}/messages?dir=b&limit=1000"
    events = (await peer.call("GET", path))["chunk"]
    return Counter(e["content"][STEP] for e in events if e["sender"] == bot and STEP in e["content"])


def from_bot(peer: Peer, business: Business) -> Counter[str]:
    """Count what the bot said, but for the list of what is open, which always says what holds."""
    return Counter(s.body for s in peer.seen if s.sender == business.bot.mxid and s.body and "📌" not in s.body)


async def test_a_backup_over_a_bot_that_had_gone_on(business: Business, new_peer: MakePeer) -> None:
    bot = business.bot.mxid
    assert await business.stop() == 0
    business.controller = ""  # no entries: a ledger older than its anchor stops the start, which is a story of its own
    await business.start()
    anna = await new_peer(await business.account("anna"), cross_sign=True)
    bert = await new_peer(await business.account("bert"), cross_sign=True)
    jan = await new_peer(business.people["jan"], cross_sign=True)
    chef = await new_peer(business.people["chef"], cross_sign=True)
    words = await recovery_key(business)
    chat = await anna.start_chat(bot)
    await anna.text(chat, "vor der Sicherung")
    case = (await jan.wait_for(lambda s: s.body == "vor der Sicherung", 40)).room_id
    file = await taken(business)

    new_chat, new_case = await a_lively_day(business, anna, bert, jan, chat, case)
    await everything_is_backed_up(business)
    places = {anna: (chat,), bert: (new_chat,), jan: (case, new_case)}
    before = {room: await steps(peer, room, bot) for peer, rooms in places.items() for room in rooms}
    rooms = {peer: set(await peer.rooms()) for peer in (anna, bert, jan)}
    said = {peer: from_bot(peer, business) for peer in (anna, bert, jan)}
    await business.kill()
    lose_the_disk(business)
    for peer, room in ((anna, chat), (bert, new_chat), (jan, case), (jan, new_case)):
        await peer.text(room, f"in der Pause in {room}")

    code, complaint, told = await restored(business, file, words)
    assert code == 0, complaint
    assert "1 old devices removed" in told
    await business.start()

    for where, peer, room in (
        (chat, jan, case),
        (new_chat, jan, new_case),
        (case, anna, chat),
        (new_case, bert, new_chat),
    ):
        assert (await said_by_the_bot(peer, business, f"in der Pause in {where}")).room_id == room
    await chef.wait_for(lambda s: s.sender == bot and "💾" in s.body, 60)
    await goes_on(anna, jan, chat, case)
    await goes_on(bert, jan, new_chat, new_case)
    for peer, there in places.items():
        assert set(await peer.rooms()) == rooms[peer]
        news = from_bot(peer, business) - said[peer]
        assert all(body.startswith(("in der Pause", "weiter")) for body in news), news
        for room in there:
            now = await steps(peer, room, bot)
            assert set(now.values()) == {1}
            assert before[room] <= now
            assert (now - before[room]).total() == 2
    code, complaint, told = await botschaft(business, "items")
    assert "nothing is stuck" in told, told
    assert (await botschaft(business, "device", "status"))[0] == 0


def said_by_the_bot(peer: Peer, business: Business, body: str) -> Awaitable[Seen]:
    return peer.wait_for(lambda s: s.sender == business.bot.mxid and s.body == body, 90)


async def goes_on(customer: Peer, mechanic: Peer, chat: str, case: str) -> None:
    """Both sides write on and see each other."""
    await customer.text(chat, f"weiter {chat}")
    assert (await mechanic.wait_for(lambda s: s.room_id == case and s.body == f"weiter {chat}", 40)).encrypted
    await mechanic.text(case, f"weiter {case}")
    await customer.wait_for(lambda s: s.room_id == chat and s.body == f"weiter {case}", 40)


async def a_lively_day(business: Business, anna: Peer, bert: Peer, jan: Peer, chat: str, case: str) -> tuple[str, str]:
    """A hundred messages, a new customer, edits, reactions, deletions, notes: all of it after the backup."""
    bot = business.bot.mxid

    def seen(peer: Peer, body: str) -> Awaitable[Seen]:
        return said_by_the_bot(peer, business, body)

    for number in range(EACH_WAY):
        await anna.text(chat, f"Anna {number}")
        await jan.text(case, f"Jan {number}")
    await asyncio.gather(seen(jan, f"Anna {EACH_WAY - 1}"), seen(anna, f"Jan {EACH_WAY - 1}"))
    new_chat = await bert.start_chat(bot)
    first = await bert.text(new_chat, "Bert ist neu")
    new_case = (await seen(jan, "Bert ist neu")).room_id
    await jan.text(new_case, "Hallo Bert")
    hello = await seen(bert, "Hallo Bert")
    await bert.react(new_chat, hello.event_id, "👍")
    new = {"msgtype": "m.text", "body": "Bert ist ganz neu"}
    about = {"rel_type": "m.replace", "event_id": first}
    await bert.send(new_chat, "m.room.message", {**new, "body": "* x", "m.new_content": new, "m.relates_to": about})
    slip = await bert.text(new_chat, "ein Versehen")
    await seen(jan, "ein Versehen")
    await bert.redact(new_chat, slip)
    wrong = await jan.text(case, "das war nicht für Anna")
    await seen(anna, "das war nicht für Anna")
    note = {"msgtype": "m.text", "body": "!notiz das war nicht für Anna"}
    about = {"rel_type": "m.replace", "event_id": wrong}
    await jan.send(case, "m.room.message", {**note, "m.new_content": note, "m.relates_to": about})
    await jan.text(new_case, "!zu")
    await jan.wait_for(lambda s: s.room_id == new_case and "geschlossen" in s.body, 40)
    await bert.text(new_chat, "noch eine Frage")
    await seen(jan, "noch eine Frage")

    async def quiet() -> bool:
        return "nothing is stuck" in (await botschaft(business, "items"))[2]

    await until(quiet, timeout_s=40, what="nothing under way")
    return new_chat, new_case


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from bot import backup, identity
from bot.envelope import read_private_key
from bot.settings import load_settings
stage, config, file, key, words = sys.argv[1:]
def die(*given): os.kill(os.getpid(), signal.SIGKILL)
if stage.startswith("_"):
    setattr(identity, stage[1:], die)
def progress(now, share):
    if f"{now} {share:.1f}".startswith(stage):
        die()
settings, key = load_settings(Path(config)), read_private_key(Path(key))
asyncio.run(backup.accept(settings, Path(file), key, words, progress))
"""
STAGES = (
    *("opening 0.0", "opening 1.0", "checking", "setting aside", "putting the database", "becoming", "_new_device"),
    *("_SecretStorage", "__set_aside", "_remove_other_devices"),
)


async def test_a_restore_that_power_cuts_interrupt_is_simply_run_again(business: Business, new_peer: MakePeer) -> None:
    anna = await new_peer(await business.account("anna"), cross_sign=True)
    jan = await new_peer(business.people["jan"], cross_sign=True)
    words = await recovery_key(business)
    chat = await anna.start_chat(business.bot.mxid)
    await anna.text(chat, "eins")
    case = (await said_by_the_bot(jan, business, "eins")).room_id
    file = await taken(business)
    await anna.text(chat, "zwei")
    await said_by_the_bot(jan, business, "zwei")
    await everything_is_backed_up(business)

    code, complaint, _ = await restored(business, file, words)
    assert code == 1
    assert "already running" in complaint
    await business.kill()
    code, complaint, _ = await restored(business, file, words[:-2])
    assert code == 1
    assert (business.data / "keys.db").exists()
    lose_the_disk(business)
    for stage in STAGES:
        options = (stage, business.config, file, key_of(business), words)
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", KILLED, *options)
        assert await asyncio.wait_for(process.wait(), 60) == -signal.SIGKILL, stage
    code, complaint, _ = await restored(business, file, words)
    assert code == 0, complaint
    await business.start()
    await goes_on(anna, jan, chat, case)
    assert from_bot(jan, business)["eins"] == from_bot(jan, business)["zwei"] == 1
    assert (await botschaft(business, "device", "status"))[:2] == (0, "")
    assert not list(business.data.glob("scratch-*"))
