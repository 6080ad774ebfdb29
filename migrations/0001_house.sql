-- 0001: arrivals, rooms, customers, cases and copy links; the whole first version.

CREATE TABLE facts (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

CREATE TABLE counters (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT;

CREATE TABLE customers (
    id            TEXT PRIMARY KEY,
    user_id       TEXT NOT NULL UNIQUE,
    room_id       TEXT,
    greeted_room  TEXT,
    first_seen_at INTEGER NOT NULL
) STRICT;

CREATE TABLE rooms (
    room_id     TEXT PRIMARY KEY,
    kind        TEXT NOT NULL CHECK (kind IN ('unknown', 'customer', 'case', 'inbox', 'admin', 'space')),
    customer_id TEXT REFERENCES customers (id),
    case_number INTEGER,
    desk        TEXT,
    ours        INTEGER NOT NULL,
    space       INTEGER NOT NULL,
    encrypted   INTEGER NOT NULL,
    version     TEXT NOT NULL,
    replaced_by TEXT NOT NULL,
    membership  TEXT NOT NULL,
    last_event  TEXT,
    read_up_to  TEXT
) STRICT;

CREATE TRIGGER rooms_stay_encrypted BEFORE UPDATE OF encrypted ON rooms
WHEN OLD.encrypted = 1 AND NEW.encrypted = 0
BEGIN
    SELECT RAISE(ABORT, 'a room that was encrypted stays encrypted');
END;

CREATE TABLE members (
    room_id    TEXT NOT NULL,
    user_id    TEXT NOT NULL,
    membership TEXT NOT NULL,
    PRIMARY KEY (room_id, user_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE places (
    name    TEXT PRIMARY KEY,
    alias   TEXT NOT NULL,
    room_id TEXT
) STRICT;

CREATE TABLE arrivals (
    seq        INTEGER NOT NULL,
    sub        INTEGER NOT NULL,
    id         TEXT NOT NULL UNIQUE,
    lane       TEXT NOT NULL,
    room_id    TEXT NOT NULL,
    kind       TEXT NOT NULL,
    state      TEXT NOT NULL CHECK (state IN ('new', 'waiting', 'parked', 'done')),
    sender     TEXT NOT NULL,
    sent_at    INTEGER NOT NULL,
    arrived_at INTEGER NOT NULL,
    body       TEXT,
    plan       TEXT,
    planned_at INTEGER,
    attempts   INTEGER NOT NULL DEFAULT 0,
    reason     TEXT NOT NULL DEFAULT '',
    session_id TEXT,
    retry_at   INTEGER,
    PRIMARY KEY (seq, sub)
) STRICT;

CREATE INDEX arrivals_by_lane ON arrivals (lane, seq, sub) WHERE state = 'new';
CREATE INDEX arrivals_by_session ON arrivals (session_id) WHERE state = 'waiting';
CREATE INDEX arrivals_by_time ON arrivals (retry_at) WHERE state = 'waiting';
CREATE INDEX arrivals_by_room ON arrivals (room_id, seq, sub) WHERE kind = 'event';

CREATE TABLE cases (
    number      INTEGER PRIMARY KEY,
    customer_id TEXT NOT NULL REFERENCES customers (id),
    desk        TEXT NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('opening', 'owed', 'answered', 'closed')),
    alias       TEXT NOT NULL UNIQUE,
    room_id     TEXT UNIQUE,
    label       TEXT NOT NULL DEFAULT '',
    previous    INTEGER REFERENCES cases (number),
    card_event  TEXT,
    inbox_event TEXT,
    opened_at   INTEGER NOT NULL,
    closed_at   INTEGER,
    shown_name  TEXT NOT NULL DEFAULT '',
    renamed_at  INTEGER
) STRICT;

CREATE INDEX cases_by_customer ON cases (customer_id, number);

CREATE TABLE copy_links (
    source_room  TEXT NOT NULL,
    source_event TEXT NOT NULL,
    target_room  TEXT NOT NULL,
    target_event TEXT NOT NULL,
    case_number  INTEGER NOT NULL REFERENCES cases (number),
    PRIMARY KEY (source_event, target_event)
) STRICT, WITHOUT ROWID;

CREATE INDEX copy_links_by_target ON copy_links (target_event);

CREATE TABLE automatic_answers (
    customer_id TEXT NOT NULL REFERENCES customers (id),
    item_id     TEXT NOT NULL,
    step        TEXT NOT NULL,
    planned_at  INTEGER NOT NULL,
    PRIMARY KEY (item_id, step)
) STRICT, WITHOUT ROWID;

CREATE INDEX automatic_answers_by_customer ON automatic_answers (customer_id, planned_at);
