-- 0015: the one event in each inbox that lists what is open at its desk. What it says is nowhere stored.

CREATE TABLE overviews (
    desk     TEXT PRIMARY KEY,
    copies   INTEGER NOT NULL DEFAULT 1, -- how many there have been: one that was deleted is made anew
    begun_at INTEGER NOT NULL,           -- when the newest of them was decided
    event_id TEXT,
    said     TEXT NOT NULL,              -- a keyed hash of what it says, or was about to say
    revision INTEGER NOT NULL DEFAULT 0, -- how often that has changed
    shown    INTEGER NOT NULL DEFAULT -1, -- which of these changes it shows; -1: nobody knows
    pinned   INTEGER NOT NULL DEFAULT 0  -- 1: it is, as far as we know; -1: the server says no
) STRICT;
