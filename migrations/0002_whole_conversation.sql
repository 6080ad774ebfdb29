-- 0002: edits, reactions and moved messages walk along copy links; every file has an index; several cases at a time.

ALTER TABLE copy_links ADD COLUMN relation TEXT NOT NULL DEFAULT 'copy'
    CHECK (relation IN ('copy', 'edit', 'reaction'));
-- The original that an edit changes.
ALTER TABLE copy_links ADD COLUMN about TEXT;
CREATE INDEX copy_links_by_about ON copy_links (about) WHERE about IS NOT NULL;

-- The server lists no files of encrypted rooms; whoever must delete them looks here.
CREATE TABLE files (
    mxc         TEXT NOT NULL,
    room_id     TEXT NOT NULL,
    event_id    TEXT NOT NULL,
    case_number INTEGER NOT NULL REFERENCES cases (number),
    PRIMARY KEY (mxc, event_id)
) STRICT, WITHOUT ROWID;

-- When staff last wrote in a case, or somebody chose it.
ALTER TABLE cases ADD COLUMN touched_at INTEGER;

-- Further people in a customer's room whom staff have agreed to.
ALTER TABLE members ADD COLUMN accepted INTEGER NOT NULL DEFAULT 0;

ALTER TABLE rooms ADD COLUMN predecessor TEXT NOT NULL DEFAULT '';
