"""Back after a lost disk: secret storage, key backup, and an old copy of the key store that must not go on."""

import base64
import json
import secrets
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import vodozemac
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.errors import Fatal
from bot.domain.ids import RoomId, UserId
from bot.domain.message import NoKey
from bot.matrix.e2ee import signing
from bot.matrix.e2ee.opening import Opened
from bot.matrix.e2ee.secret_storage import KEY_BYTES, WrongRecoveryKey, as_words, from_words, seal, unseal
from tests.matrix.keyserver import KeyServer, Person, person

BOT, ANNA = UserId("@bot:example.org"), UserId("@anna:example.org")
ROOM = RoomId("!room:example.org")
Meet = Callable[..., Awaitable[Person]]


@pytest_asyncio.fixture
async def meet(tmp_path: Path) -> Any:
    server = KeyServer()
    made: list[Person] = []

    async def start(user: str, device: str = "DEV") -> Person:
        who = person(server, tmp_path / f"{user[1:4]}-{device}-{len(made)}.db", user, device)
        made.append(who)
        await who.keys.start()
        return who

    yield start
    for who in made:
        who.keys.close()


async def write(who: Person, reader: Person, text: str = "Hallo") -> dict[str, Any]:
    content = await who.keys.seal(ROOM, [BOT, ANNA], "m.room.message", {"body": text}, full_history=False)
    reader.take_in()
    return {"type": "m.room.encrypted", "event_id": f"${text}", "sender": who.user, "content": content}


async def backed_up(who: Person) -> None:
    while await who.keys._backup.upload_some():
        pass


@given(st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES), st.integers(0, 47), st.sampled_from("123456789ABCDEFz"))
def test_a_recovery_key_survives_paper_and_one_wrong_letter_is_never_the_key(
    key: bytes, place: int, letter: str
) -> None:
    words = as_words(key)
    assert from_words(f" {words.replace(' ', '')}\n") == key
    letters = list(words.replace(" ", ""))
    place %= len(letters)
    if letters[place] != letter:
        letters[place] = letter
        try:
            assert from_words("".join(letters)) != key  # one slip in 256 passes the check byte; it opens nothing
        except WrongRecoveryKey:
            return


@given(st.binary(max_size=100), st.binary(min_size=32, max_size=32))
def test_a_secret_opens_with_its_key_and_name_only(secret: bytes, key: bytes) -> None:
    sealed = seal(key, "m.name", secret)
    assert unseal(key, "m.name", sealed) == secret
    assert unseal(key, "m.other", sealed) is None
    assert unseal(bytes(32), "m.name", sealed) is None or key == bytes(32)


@given(st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.dictionaries(st.text(), inner)))
def test_anything_else_opens_as_nothing(sealed: Any) -> None:
    assert unseal(bytes(32), "m.name", sealed) is None
    assert unseal(bytes(32), "m.name", {"iv": sealed, "ciphertext": "AAAA", "mac": "AAAA"}) is None


async def test_a_new_disk_has_the_same_identity_and_reads_the_history(meet: Meet) -> None:
    anna, bot = await meet(ANNA), await meet(BOT, "OLD")
    theirs, ours = await write(anna, bot, "theirs"), await write(bot, anna, "ours")
    key = await bot.keys.make_recovery_key()
    await backed_up(bot)
    before, for_latecomers = await bot.keys.status(), bot.keys._store.outbound_of(ROOM)
    bot.client.server.devices[BOT].pop("OLD")

    new = person(bot.client.server, bot.path.with_name("new.db"), BOT, "NEW")
    await new.keys.adopt_secrets(key)
    await new.keys.start()
    assert isinstance(await new.keys.open_event(ROOM, theirs), NoKey)
    assert await new.keys.restore() == 2

    assert isinstance(await new.keys.open_event(ROOM, theirs), Opened)
    opened = await new.keys.open_event(ROOM, ours)
    assert not isinstance(opened, NoKey)
    after = await new.keys.status()
    assert (after.master_key, after.problems, after.not_backed_up) == (before.master_key, [], 0)
    assert new.keys._store.outbound_of(ROOM) == for_latecomers != []
    new.keys.close()


async def test_the_wrong_recovery_key_changes_nothing(meet: Meet) -> None:
    bot = await meet(BOT)
    await bot.keys.make_recovery_key()
    new = person(bot.client.server, bot.path.with_name("new.db"), BOT, "NEW")
    with pytest.raises(WrongRecoveryKey, match="not the one"):
        await new.keys.adopt_secrets(secrets.token_bytes(32))
    assert signing.load(new.keys._machine) is None
    new.keys.close()


async def test_what_the_server_adds_to_the_backup_is_not_believed(meet: Meet) -> None:
    """Whoever runs the server knows the public key: without a proof it could speak in anybody's name."""
    bot = await meet(BOT)
    key = await bot.keys.make_recovery_key()
    backup = bot.client.server.backups[BOT]
    session = vodozemac.GroupSession()
    exported = vodozemac.InboundGroupSession(session.session_key).export_at(0)
    assert exported is not None
    clear: dict[str, Any] = {
        "algorithm": "m.megolm.v1.aes-sha2",
        "sender_key": base64.b64encode(bytes(32)).decode().rstrip("="),
        "sender_claimed_keys": {"ed25519": base64.b64encode(bytes(32)).decode().rstrip("=")},
        "forwarding_curve25519_key_chain": [],
        "session_key": exported.to_base64(),
    }
    public = vodozemac.Curve25519PublicKey.from_base64(backup["auth_data"]["public_key"])
    sealed = vodozemac.PkEncryption.from_key(public).encrypt(json.dumps(clear).encode())
    parts = {"ephemeral": sealed.ephemeral_key, "ciphertext": sealed.ciphertext, "mac": sealed.mac}
    data = {name: signing.unpadded(value) for name, value in parts.items()}
    entry = {"first_message_index": 0, "forwarded_count": 0, "is_verified": True, "session_data": data}
    backup["rooms"] = {ROOM: {"sessions": {session.session_id: entry, "junk": {"session_data": 7}, "none": None}}}

    new = person(bot.client.server, bot.path.with_name("new.db"), BOT, "NEW")
    await new.keys.adopt_secrets(key)
    assert await new.keys.restore() == 0
    new.keys.close()


async def test_an_entry_of_another_room_is_not_believed(meet: Meet) -> None:
    anna, bot = await meet(ANNA), await meet(BOT)
    await write(anna, bot)
    await backed_up(bot)
    backup = bot.client.server.backups[BOT]
    backup["rooms"] = {"!other:example.org": backup["rooms"][ROOM]}
    assert await bot.keys.restore() == 0


async def test_a_better_session_is_backed_up_again(meet: Meet) -> None:
    anna, bot = await meet(ANNA), await meet(BOT)
    await write(anna, bot)
    await backed_up(bot)
    session_id = next(iter(bot.client.server.backups[BOT]["rooms"][ROOM]["sessions"]))
    session = bot.keys._machine.inbound_group_store.find(session_id)
    assert session is not None
    with bot.keys._store.one_commit():
        bot.keys._machine.save_inbound_group_session(session)
    assert bot.keys._backup.missing() == 1


async def test_a_foreign_backup_stops_ours_and_is_left_alone(meet: Meet) -> None:
    anna, bot = await meet(ANNA), await meet(BOT)
    foreign = {"version": "9", "auth_data": {"public_key": "foreign"}, "rooms": {}}
    bot.client.server.backups[BOT].update(foreign)
    await write(anna, bot)
    await bot.keys.start()
    assert bot.keys.backup_is_foreign
    assert bot.keys._backup.missing() == 1
    assert bot.client.server.backups[BOT] == foreign


async def test_a_deleted_backup_is_made_again_and_filled(meet: Meet) -> None:
    anna, bot = await meet(ANNA), await meet(BOT)
    await write(anna, bot)
    await backed_up(bot)
    bot.client.server.backups[BOT].pop("auth_data")
    await bot.keys.start()
    assert bot.keys._backup.missing() == 1
    await backed_up(bot)
    assert bot.client.server.backups[BOT]["version"] == "2"
    assert bot.client.server.backups[BOT]["rooms"][ROOM]


async def test_an_old_copy_of_the_key_store_never_sends(meet: Meet) -> None:
    """The copy opens, its keys are right, the server has all one-time keys: only the count tells that it is old."""
    anna, bot = await meet(ANNA), await meet(BOT)
    await write(bot, anna, "one")
    bot.keys.close()
    shutil.copy(bot.path, bot.path.with_name("old.db"))
    bot.keys = person(bot.client.server, bot.path, BOT, "DEV").keys
    await write(bot, anna, "two")
    await bot.keys._watermark.show()

    old = person(bot.client.server, bot.path.with_name("old.db"), BOT, "DEV")
    uploads = bot.client.server.count("keys/upload")
    with pytest.raises(Fatal, match="old copy"):
        await old.keys.start()
    assert bot.client.server.count("keys/upload") == uploads
    old.keys.close()


async def test_a_new_identity_replaces_a_lost_one(meet: Meet) -> None:
    bot = await meet(BOT)
    before = (await bot.keys.status()).master_key
    await bot.keys.replace_identity("password")
    await bot.keys.start()
    await bot.keys.make_recovery_key()
    after = await bot.keys.status()
    assert after.master_key != before
    assert not after.problems
