-- 0007: what this account had sent after the backup that this database was restored from, by its clear marks.
-- The empty mark stands for events that lost theirs because somebody else deleted them: the last one of each room.

CREATE TABLE marks (
    txn      TEXT NOT NULL,
    room_id  TEXT NOT NULL,
    event_id TEXT NOT NULL,
    sent_at  INTEGER NOT NULL,
    PRIMARY KEY (txn, room_id)
) STRICT, WITHOUT ROWID;
