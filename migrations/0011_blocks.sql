-- 0010: customers from whom nothing is taken in for a time, or for whom no phone rings. Who decided it is not kept.

CREATE TABLE blocks (
    customer_id TEXT PRIMARY KEY REFERENCES customers (id),
    kind        TEXT NOT NULL CHECK (kind IN ('block', 'mute')),
    until       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
