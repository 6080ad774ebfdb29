-- 0009: who was shown what, who agreed to what, what was asked, what may be sent, and whom nothing may be sent to.

CREATE TABLE notices (
    customer_id TEXT NOT NULL REFERENCES customers (id),
    text_id     TEXT NOT NULL,
    sha256      TEXT NOT NULL CHECK (length(sha256) = 64),
    wording     INTEGER NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('shown', 'failed')),
    event_id    TEXT,
    at          INTEGER NOT NULL,
    PRIMARY KEY (customer_id, sha256)
) STRICT, WITHOUT ROWID;

CREATE TABLE questions (
    id          INTEGER PRIMARY KEY,
    item_id     TEXT NOT NULL UNIQUE,
    customer_id TEXT NOT NULL REFERENCES customers (id),
    purpose     TEXT NOT NULL,
    case_number INTEGER NOT NULL REFERENCES cases (number),
    room_id     TEXT NOT NULL,
    sha256      TEXT NOT NULL CHECK (length(sha256) = 64),
    version     TEXT NOT NULL,
    language    TEXT NOT NULL,
    text_event  TEXT UNIQUE,
    poll_event  TEXT UNIQUE,
    state       TEXT NOT NULL CHECK (state IN ('open', 'decided', 'outdated')),
    unclear     INTEGER NOT NULL DEFAULT 0,
    asked_at    INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX questions_one_at_a_time ON questions (customer_id) WHERE state = 'open';

-- What follows from the ledger, kept so that it need not be read each time. Position: of the entry that made it so.
CREATE TABLE consents (
    customer_id    TEXT NOT NULL REFERENCES customers (id),
    purpose        TEXT NOT NULL,
    standing       TEXT NOT NULL,
    since          INTEGER NOT NULL,
    position       INTEGER NOT NULL REFERENCES ledger (position),
    text_sha256    TEXT NOT NULL,
    text_version   TEXT NOT NULL,
    language       TEXT NOT NULL,
    purpose_sha256 TEXT NOT NULL,
    decision_event TEXT,
    arrived_seq    INTEGER NOT NULL,
    arrived_sub    INTEGER NOT NULL,
    used_at        INTEGER,
    PRIMARY KEY (customer_id, purpose)
) STRICT, WITHOUT ROWID;

CREATE INDEX consents_by_decision ON consents (decision_event) WHERE decision_event IS NOT NULL;
CREATE INDEX consents_given ON consents (purpose) WHERE standing = 'given';

-- What was taken back, by what, and where that stood in the order of arrivals. No purpose: everything.
CREATE TABLE withdrawals (
    item_id     TEXT PRIMARY KEY,
    customer_id TEXT NOT NULL REFERENCES customers (id),
    purpose     TEXT,
    seq         INTEGER NOT NULL,
    sub         INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX withdrawals_by_customer ON withdrawals (customer_id, seq, sub);

CREATE TABLE permits (
    item_id     TEXT PRIMARY KEY,
    customer_id TEXT NOT NULL REFERENCES customers (id),
    purpose     TEXT NOT NULL,
    campaign    TEXT NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('open', 'started', 'used', 'cancelled')),
    position    INTEGER NOT NULL REFERENCES ledger (position),
    event_id    TEXT UNIQUE,
    at          INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX permits_by_customer ON permits (customer_id, purpose, state);

-- Survives the erasure of a customer: keyed hashes of accounts, no reference to anybody. The newest row counts.
CREATE TABLE suppression (
    mark   BLOB NOT NULL CHECK (length(mark) = 32),
    scope  TEXT NOT NULL,
    blocks INTEGER NOT NULL,
    number INTEGER NOT NULL,
    reason TEXT NOT NULL,
    day    TEXT NOT NULL,
    PRIMARY KEY (mark, scope)
) STRICT, WITHOUT ROWID;

ALTER TABLE customers ADD COLUMN under_age INTEGER NOT NULL DEFAULT 0;
