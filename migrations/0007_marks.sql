-- 0007: what this account had sent after the backup that this database was restored from, by its clear marks.

CREATE TABLE marks (
    txn      TEXT NOT NULL,
    room_id  TEXT NOT NULL,
    event_id TEXT NOT NULL,
    PRIMARY KEY (txn, room_id)
) STRICT, WITHOUT ROWID;
