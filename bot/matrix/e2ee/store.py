"""nio's key store in one SQLCipher file, with tables of our own beside nio's, and inbound sessions read on demand.

Against matrix-nio 0.26.0:
- its database is plain SQLite with ids in clear, rollback journal, one commit per statement (`_create_database`);
- it loads every inbound session into memory at a start (`load_inbound_group_sessions`);
- it updates a stored session by session id alone, so whoever resends somebody else's session replaces it
  (`save_inbound_group_session`; test_nobody_replaces_a_session_of_somebody_else);
- it pickles the whole account, twice, for each new Olm session, and reads it again for each row that belongs to it:
  most of the time for which the event loop stands still (`save_account`, `_get_account`; `make bench`, key_block_ms);
- at each call it binds all its models to its database, and peewee looks for the relatives of each (`_Cipher`).
"""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from cachetools import LRUCache
from nio.crypto import GroupSessionStore, InboundGroupSession, OlmAccount
from nio.store import Accounts, MegolmInboundSessions, SqliteStore
from peewee import EXCLUDED, Model, OperationalError, PeeweeException
from playhouse.sqlcipher_ext import SqlCipherDatabase
from sqlcipher3 import dbapi2 as sqlcipher

from bot.domain.errors import Fatal, Transient

CACHED_SESSIONS = 5000
_SENT = "sent"
_SETTLED = "settled"

FirstKey = tuple[str, int]
"""The key of a session of ours as it was at its first message, and when it was made (ms)."""

_OWN_TABLES = (
    "CREATE TABLE IF NOT EXISTS own_values (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT",
    "CREATE TABLE IF NOT EXISTS outbound_sessions (session_id TEXT PRIMARY KEY, room_id TEXT NOT NULL,"
    " session_key TEXT NOT NULL, created_at INTEGER NOT NULL) STRICT",
    "CREATE INDEX IF NOT EXISTS outbound_sessions_by_room ON outbound_sessions (room_id)",
    "CREATE TABLE IF NOT EXISTS session_shares (session_id TEXT NOT NULL, user_id TEXT NOT NULL,"
    " device_id TEXT NOT NULL, PRIMARY KEY (session_id, user_id, device_id)) STRICT, WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS backed_up (session_id TEXT PRIMARY KEY, first_index INTEGER NOT NULL) STRICT,"
    " WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS identities (user_id TEXT PRIMARY KEY, pinned TEXT, current TEXT,"
    " signed TEXT NOT NULL, announced TEXT) STRICT, WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS owed_keys (user_id TEXT NOT NULL, device_id TEXT NOT NULL, session_id TEXT NOT NULL,"
    " room_id TEXT NOT NULL, session_key TEXT NOT NULL, since INTEGER NOT NULL,"
    " PRIMARY KEY (user_id, device_id, session_id)) STRICT, WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS withheld (number INTEGER PRIMARY KEY, sender TEXT NOT NULL, session_id TEXT NOT NULL,"
    " code TEXT NOT NULL, UNIQUE (sender, session_id)) STRICT",
    "CREATE TABLE IF NOT EXISTS resting_sessions (room_id TEXT PRIMARY KEY, facts TEXT NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS opened_messages (session_id TEXT NOT NULL, message_index INTEGER NOT NULL,"
    " event_id TEXT NOT NULL, PRIMARY KEY (session_id, message_index)) STRICT, WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS inbound_sessions_by_sender ON megolminboundsessions (sender_key)",
)

_WITHHELD_KEPT = 1000

UNUSED_SESSIONS_KEPT = 5000
"""Of so many sessions one device may give us the key without ever writing a message that we opened by it."""

_NOT_BACKED_UP = "FROM megolminboundsessions WHERE session_id NOT IN (SELECT session_id FROM backed_up)"


@dataclass(frozen=True, slots=True)
class Owed:
    """A key that a device was to get: the session, and its key as it was at the first message that it missed."""

    device: tuple[str, str]
    session_id: str
    room_id: str
    session_key: str
    since: float  # seconds since the epoch


class InboundSessions(GroupSessionStore):  # type: ignore[misc]
    """Inbound Megolm sessions, looked up by room and session id in the database, kept while they are in use.

    The sender's key is not part of the question: events without `sender_key` are allowed since Matrix 1.3.
    """

    def __init__(self, store: "CipherStore") -> None:
        super().__init__()
        self._store = store
        self._known: LRUCache[str, InboundGroupSession] = LRUCache(CACHED_SESSIONS)

    def find(self, session_id: str) -> InboundGroupSession | None:
        """Return a session by its id, from whichever room. Ids are base64; half a surrogate pair is none."""
        if not session_id.isascii():
            return None
        if session_id not in self._known:
            session = self._store.load_inbound_group_session(session_id)
            if session is None:
                return None
            self._known[session_id] = session
        return self._known[session_id]

    def add(self, session: InboundGroupSession) -> bool:
        """Keep a session that was just made."""
        self._known[session.id] = session
        return True

    def get(self, room_id: str, sender_key: str, session_id: str) -> InboundGroupSession | None:
        """What nio asks."""
        session = self.find(session_id)
        return session if session and (session.room_id, session.sender_key) == (room_id, sender_key) else None


class _Cipher(SqlCipherDatabase):  # type: ignore[misc]
    """nio names all its models whenever it binds them, so none has to be found as the relative of another."""

    def bind_ctx(self, models: Iterable[type[Model]], bind_refs: bool = False, bind_backrefs: bool = False) -> Any:
        """Bind these models alone, whatever is asked."""
        return super().bind_ctx(models, bind_refs=False, bind_backrefs=False)


@dataclass
class CipherStore(SqliteStore):  # type: ignore[misc]
    """The key store of one device. The file is ciphertext as a whole."""

    database_key: bytes = b""
    on_rollback: Callable[[], None] = field(default=lambda: None, repr=False)
    _collects: bool = field(default=False, init=False, repr=False)  # a commit of ours is under way
    _changed_account: OlmAccount | None = field(default=None, init=False, repr=False)
    _unsettled: bool = field(default=False, init=False, repr=False)
    _account_row: Accounts | None = field(default=None, init=False, repr=False)

    def _create_database(self) -> SqlCipherDatabase:
        return _Cipher(
            self.database_path,
            passphrase=f"x'{self.database_key.hex()}'",
            pragmas={"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "secure_delete": 1},
        )

    def __post_init__(self) -> None:
        try:
            super().__post_init__()
            for table in _OWN_TABLES:
                self.database.execute_sql(table)
        except (PeeweeException, sqlcipher.Error) as error:
            if not self.database.is_closed():
                self.database.close()
            if isinstance(error, OperationalError | sqlcipher.OperationalError):
                raise Fatal(
                    f"{self.database_path} cannot be written: the disk is full, read-only or in trouble, or another "
                    "user owns the file. Nothing was changed. `botschaft doctor` says more."
                ) from error
            raise Fatal(
                "The key store cannot be opened with this master secret. Nothing was changed. Put back the master "
                "secret that belongs to this folder."
            ) from error

    @contextmanager
    def one_commit(self) -> Iterator[None]:
        """Everything inside is one commit. Inside another one it is part of that.

        After a rollback whoever holds what was read from here must read it again: `on_rollback` is called.
        """
        is_outermost = not self.database.in_transaction()
        try:
            with self.database.atomic():
                self._collects = True
                yield
                if is_outermost:
                    self._collects = False
                    self._write_account()
        except BaseException as error:
            if is_outermost:
                self._collects, self._changed_account = False, None
                self.on_rollback()
            if isinstance(error, PeeweeException | sqlcipher.Error):
                raise Transient(f"the key store could not be written ({type(error).__name__})") from error
            raise

    @contextmanager
    def commit_soon(self) -> Iterator[None]:
        """One commit that does not wait for the disk. It outlives the process, and after `settle` a power cut as well.

        Never for a ratchet: one that goes back uses the same keys twice.
        """
        assert not self.database.in_transaction(), "how long a commit waits is settled before it begins"
        self.database.execute_sql("PRAGMA synchronous = NORMAL")
        try:
            with self.one_commit():
                yield
        finally:
            self.database.execute_sql("PRAGMA synchronous = FULL")
        self._unsettled = True

    def settle(self) -> None:
        """Wait until the disk has what was committed without waiting. A full commit syncs what stands before it."""
        if self._unsettled:
            with self.one_commit():
                self.set_value(_SETTLED, "")
            self._unsettled = False

    def save_account(self, account: OlmAccount) -> None:
        """Write the account, at the end of the commit that is under way: a sync may use up a hundred of its keys."""
        self._changed_account = account
        if not self._collects:
            self._write_account()

    def _write_account(self) -> None:
        account, self._changed_account = self._changed_account, None
        if account is None:
            return
        with self.database.bind_ctx(self.models):
            Accounts.insert(
                user_id=self.user_id,
                device_id=self.device_id,
                shared=account.shared,
                account=account.pickle(self.pickle_key),
            ).on_conflict(
                conflict_target=[Accounts.user_id, Accounts.device_id],
                update={Accounts.account: EXCLUDED.account, Accounts.shared: EXCLUDED.shared},
            ).execute()

    def load_account(self) -> Any:
        """Read the account; None before there is one."""
        self._account_row = None
        return super().load_account()

    def _get_account(self) -> Accounts | None:
        """What nio asks for each row that belongs to the account, for its id alone: it is read once."""
        if self._account_row is None:
            self._account_row = super()._get_account()
        return self._account_row

    def load_inbound_group_sessions(self) -> InboundSessions:
        """Load nothing; sessions are read when they are asked for."""
        return InboundSessions(self)

    def load_inbound_group_session(self, session_id: str) -> InboundGroupSession | None:
        """Read one inbound session."""
        with self.database.bind_ctx(self.models):
            row = MegolmInboundSessions.get_or_none(MegolmInboundSessions.session_id == session_id)
            if row is None:
                return None
            return InboundGroupSession.from_pickle(
                row.session, row.fp_key, row.sender_key, row.room_id, self.pickle_key
            )

    def save_inbound_group_session(self, session: InboundGroupSession) -> None:
        """Write one inbound session; the caller has made sure that it may replace what is there."""
        with self.database.bind_ctx(self.models):
            MegolmInboundSessions.replace(
                sender_key=session.sender_key,
                account=self._get_account(),
                fp_key=session.ed25519,
                room_id=session.room_id,
                session=session.pickle(self.pickle_key),
                session_id=session.id,
            ).execute()
            # What was backed up before knew less of it.
            self.database.execute_sql("DELETE FROM backed_up WHERE session_id = ?", (session.id,))

    def has_too_many_unused(self, sender_key: str) -> bool:
        """Tell whether a device has given us keys of so many sessions in vain that it gets no more room here."""
        row = self.database.execute_sql(
            "SELECT count(*) FROM (SELECT 1 FROM megolminboundsessions WHERE sender_key = ? AND session_id NOT IN"
            " (SELECT session_id FROM opened_messages) LIMIT ?)",
            (sender_key, UNUSED_SESSIONS_KEPT),
        ).fetchone()
        return int(row[0]) >= UNUSED_SESSIONS_KEPT

    def first_event(self, session_id: str, index: int, event_id: str) -> str:
        """Return the event by which a message of a session was opened first; it is this one if there was none.

        Kept as long as the session: whoever runs the server can show an old ciphertext again at any time.
        """
        message = (session_id, index)
        added = self.database.execute_sql(
            "INSERT OR IGNORE INTO opened_messages VALUES (?, ?, ?)", (*message, event_id)
        )
        if added.rowcount:
            return event_id
        row = self.database.execute_sql(
            "SELECT event_id FROM opened_messages WHERE session_id = ? AND message_index = ?", message
        ).fetchone()
        return str(row[0])

    def not_backed_up(self, limit: int) -> list[str]:
        """Return ids of sessions that the backup lacks."""
        rows: Any = self.database.execute_sql(f"SELECT session_id {_NOT_BACKED_UP} LIMIT ?", (limit,))
        return [str(row[0]) for row in rows.fetchall()]

    def count_not_backed_up(self) -> int:
        """Count the sessions that the backup lacks."""
        return int(self.database.execute_sql(f"SELECT count(*) {_NOT_BACKED_UP}").fetchone()[0])

    def add_backed_up(self, sessions: list[tuple[str, int]]) -> None:
        """The backup holds these sessions from these indexes on, unless a better one has come meanwhile."""
        for session_id, index in sessions:
            known = self.load_inbound_group_session(session_id)
            if known is not None and known.first_known_index >= index:
                self.database.execute_sql("INSERT OR REPLACE INTO backed_up VALUES (?, ?)", (session_id, index))

    def forget_backed_up(self) -> None:
        """The backup is a new, empty one."""
        self.database.execute_sql("DELETE FROM backed_up")

    def value(self, name: str) -> str | None:
        """Read one of our own values."""
        row = self.database.execute_sql("SELECT value FROM own_values WHERE name = ?", (name,)).fetchone()
        return str(row[0]) if row else None

    def set_value(self, name: str, value: str) -> None:
        """Write one of our own values."""
        self.database.execute_sql("INSERT OR REPLACE INTO own_values VALUES (?, ?)", (name, value))

    def remove_value(self, name: str) -> None:
        """Forget one of our own values."""
        self.database.execute_sql("DELETE FROM own_values WHERE name = ?", (name,))

    def identity_of(self, user: str) -> tuple[str | None, str | None, dict[str, str]] | None:
        """Return pinned and current master key of a user, and the devices that the current one has signed."""
        row = self.database.execute_sql(
            "SELECT pinned, current, signed FROM identities WHERE user_id = ?", (user,)
        ).fetchone()
        return (row[0], row[1], json.loads(row[2])) if row else None

    def save_identity(self, user: str, pinned: str | None, current: str | None, signed: dict[str, str]) -> None:
        """Write what is known of a user; the first identity needs no announcement."""
        self.database.execute_sql(
            "INSERT INTO identities VALUES (?1, ?2, ?3, ?4, ?2) ON CONFLICT (user_id) DO UPDATE SET"
            " pinned = excluded.pinned, current = excluded.current, signed = excluded.signed,"
            " announced = coalesce(announced, excluded.pinned)",
            (user, pinned, current, json.dumps(signed)),
        )

    def changed_identities(self) -> list[tuple[str, str]]:
        """Return users and their new master keys that nobody was told of yet."""
        rows: Any = self.database.execute_sql(
            "SELECT user_id, current FROM identities WHERE current IS NOT NULL AND current != announced"
        )
        return [(str(user), str(current)) for user, current in rows.fetchall()]

    def identity_announced(self, user: str, current: str) -> None:
        """People were told of this master key."""
        self.database.execute_sql("UPDATE identities SET announced = ? WHERE user_id = ?", (current, user))

    def sent(self) -> int:
        """Return how many times this device has sent keys; see `watermark`."""
        return int(self.value(_SENT) or 0)

    def count_sent(self) -> None:
        """Keys are about to be sent; part of the commit that moves the ratchets."""
        self.set_value(_SENT, str(self.sent() + 1))

    def lay_down(self, room_id: str, facts: str) -> None:
        """Keep a session of ours until the next start."""
        self.database.execute_sql("INSERT OR REPLACE INTO resting_sessions VALUES (?, ?)", (room_id, facts))

    def take_up(self) -> list[tuple[str, str]]:
        """Return the sessions that were laid down, by their rooms; they stand here no longer."""
        rows: Any = self.database.execute_sql("SELECT room_id, facts FROM resting_sessions").fetchall()
        self.database.execute_sql("DELETE FROM resting_sessions")
        return [(str(room_id), str(facts)) for room_id, facts in rows]

    def keep_outbound(self, session_id: str, room_id: str, session_key: str, created_ms: int) -> None:
        """Keep the key of a session of ours as it was at its first message, for who is invited later."""
        self.database.execute_sql(
            "INSERT INTO outbound_sessions VALUES (?, ?, ?, ?)", (session_id, room_id, session_key, created_ms)
        )

    def outbound(self, session_id: str) -> FirstKey | None:
        """Return the first key of a session; None if it is not ours."""
        row = self.database.execute_sql(
            "SELECT session_key, created_at FROM outbound_sessions WHERE session_id = ?", (session_id,)
        ).fetchone()
        return (str(row[0]), int(row[1])) if row else None

    def outbound_of(self, room_id: str) -> list[tuple[str, str]]:
        """Return id and first key of all sessions of ours in a room, oldest first."""
        rows: Any = self.database.execute_sql(
            "SELECT session_id, session_key FROM outbound_sessions WHERE room_id = ? ORDER BY created_at", (room_id,)
        ).fetchall()
        return [(str(session), str(key)) for session, key in rows]

    def add_shares(self, session_id: str, devices: list[tuple[str, str]]) -> None:
        """These devices have the key of this session; nothing of it is owed to them any more."""
        for user, device in devices:
            self.database.execute_sql(
                "INSERT OR IGNORE INTO session_shares VALUES (?, ?, ?)", (session_id, user, device)
            )
            self.database.execute_sql(
                "DELETE FROM owed_keys WHERE user_id = ? AND device_id = ? AND session_id = ?",
                (user, device, session_id),
            )

    def add_owed(self, owed: Owed) -> None:
        """Write down a debt; an older one of the same session knows more and stays."""
        self.database.execute_sql(
            "INSERT OR IGNORE INTO owed_keys VALUES (?, ?, ?, ?, ?, ?)",
            (*owed.device, owed.session_id, owed.room_id, owed.session_key, round(owed.since)),
        )

    def owed(self) -> list[Owed]:
        """Return all debts, the oldest first."""
        rows: Any = self.database.execute_sql(
            "SELECT user_id, device_id, session_id, room_id, session_key, since FROM owed_keys ORDER BY since"
        ).fetchall()
        return [Owed((row[0], row[1]), row[2], row[3], row[4], float(row[5])) for row in rows]

    def forget_owed(self, owed: Owed) -> None:
        """Nobody may be given this any more."""
        self.database.execute_sql(
            "DELETE FROM owed_keys WHERE user_id = ? AND device_id = ? AND session_id = ?",
            (*owed.device, owed.session_id),
        )

    def add_withheld(self, sender: str, session_id: str, code: str) -> None:
        """Somebody says why they gave us no key (`session_id` empty: any); only the newest are kept."""
        self.database.execute_sql(
            "INSERT OR REPLACE INTO withheld (sender, session_id, code) VALUES (?, ?, ?)", (sender, session_id, code)
        )
        self.database.execute_sql(
            "DELETE FROM withheld WHERE number <= (SELECT max(number) FROM withheld) - ?", (_WITHHELD_KEPT,)
        )

    def withheld(self, sender: str, session_id: str) -> str:
        """Return the code that a sender gave for a session, or for all; empty if they said nothing."""
        row = self.database.execute_sql(
            "SELECT code FROM withheld WHERE sender = ? AND session_id IN (?, '') ORDER BY session_id DESC LIMIT 1",
            (sender, session_id),
        ).fetchone()
        return str(row[0]) if row else ""

    def forget_withheld(self, sender: str) -> None:
        """A key came from this sender: that there was no channel to us is over."""
        self.database.execute_sql("DELETE FROM withheld WHERE sender = ? AND session_id = ''", (sender,))

    def shares_of(self, session_id: str, user: str) -> set[str]:
        """Return the devices of a user that have the key of a session."""
        rows: Any = self.database.execute_sql(
            "SELECT device_id FROM session_shares WHERE session_id = ? AND user_id = ?", (session_id, user)
        ).fetchall()
        return {str(row[0]) for row in rows}
