-- 0005: what was changed by command in who works here; it goes before the configuration until that says the same.

CREATE TABLE staff_changes (
    user_id    TEXT NOT NULL,
    desk       TEXT NOT NULL, -- taken in at this desk; empty: removed from everywhere, before any of the others
    changed_at INTEGER NOT NULL,
    PRIMARY KEY (user_id, desk)
) STRICT, WITHOUT ROWID;
