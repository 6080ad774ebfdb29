-- 0008: the ledger. The tree holds commitments and is for ever; contents stand beside it and can be erased.

CREATE TABLE ledger (
    position   INTEGER PRIMARY KEY,
    commitment BLOB NOT NULL CHECK (length(commitment) = 32)
) STRICT;

CREATE TRIGGER ledger_has_no_gap BEFORE INSERT ON ledger
WHEN NEW.position IS NOT (SELECT coalesce(max(position) + 1, 0) FROM ledger)
BEGIN
    SELECT RAISE(ABORT, 'the ledger has no gaps and nothing in it is replaced');
END;

CREATE TRIGGER ledger_is_not_changed BEFORE UPDATE ON ledger
BEGIN
    SELECT RAISE(ABORT, 'the ledger is not changed');
END;

CREATE TRIGGER ledger_is_not_shortened BEFORE DELETE ON ledger
BEGIN
    SELECT RAISE(ABORT, 'nothing is deleted from the ledger');
END;

-- Perfect nodes of the tree: (level, position) stands over 2^level entries. Level 0 are the leaf hashes.
CREATE TABLE ledger_nodes (
    level    INTEGER NOT NULL,
    position INTEGER NOT NULL,
    hash     BLOB NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (level, position)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER ledger_nodes_are_not_replaced BEFORE INSERT ON ledger_nodes
WHEN EXISTS (SELECT 1 FROM ledger_nodes WHERE level = NEW.level AND position = NEW.position)
BEGIN
    SELECT RAISE(ABORT, 'a node of the ledger is not replaced');
END;

CREATE TRIGGER ledger_nodes_are_not_changed BEFORE UPDATE ON ledger_nodes
BEGIN
    SELECT RAISE(ABORT, 'a node of the ledger is not changed');
END;

CREATE TRIGGER ledger_nodes_are_not_deleted BEFORE DELETE ON ledger_nodes
BEGIN
    SELECT RAISE(ABORT, 'a node of the ledger is not deleted');
END;

-- The salt is what ties a content to its commitment; without it nobody can tell what was committed to.
CREATE TABLE ledger_contents (
    position  INTEGER PRIMARY KEY REFERENCES ledger (position),
    subject   TEXT,
    kind      TEXT,
    salt      BLOB CHECK (salt IS NULL OR length(salt) = 32),
    payload   BLOB,
    erased_by INTEGER REFERENCES ledger (position)
) STRICT;

CREATE INDEX ledger_contents_by_subject ON ledger_contents (subject, position) WHERE subject IS NOT NULL;
CREATE INDEX ledger_contents_by_kind ON ledger_contents (kind, position) WHERE kind IS NOT NULL;

CREATE TRIGGER ledger_contents_are_not_replaced BEFORE INSERT ON ledger_contents
WHEN NEW.payload IS NULL OR EXISTS (SELECT 1 FROM ledger_contents WHERE position = NEW.position)
BEGIN
    SELECT RAISE(ABORT, 'the content of an entry is not replaced');
END;

-- The one change there is: a later entry says that this one was erased, and nothing of it stays.
CREATE TRIGGER ledger_contents_are_only_erased BEFORE UPDATE ON ledger_contents
WHEN NOT (
    OLD.payload IS NOT NULL AND OLD.kind IS NOT 'erased' AND NEW.position = OLD.position
    AND coalesce(NEW.subject, NEW.kind, NEW.salt, NEW.payload) IS NULL AND NEW.erased_by > OLD.position
    AND EXISTS (SELECT 1 FROM ledger_contents WHERE position = NEW.erased_by AND kind = 'erased')
)
BEGIN
    SELECT RAISE(ABORT, 'the content of an entry can only be erased, by an entry that says so');
END;

CREATE TRIGGER ledger_contents_are_not_deleted BEFORE DELETE ON ledger_contents
BEGIN
    SELECT RAISE(ABORT, 'the content of an entry is erased, not deleted');
END;

CREATE TABLE ledger_checkpoints (
    origin  TEXT NOT NULL,
    size    INTEGER NOT NULL,
    note    BLOB NOT NULL,
    made_at INTEGER NOT NULL,
    PRIMARY KEY (origin, size)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER ledger_checkpoints_are_not_replaced BEFORE INSERT ON ledger_checkpoints
WHEN EXISTS (SELECT 1 FROM ledger_checkpoints WHERE origin = NEW.origin AND size = NEW.size)
BEGIN
    SELECT RAISE(ABORT, 'a checkpoint is not replaced');
END;

CREATE TRIGGER ledger_checkpoints_are_not_changed BEFORE UPDATE ON ledger_checkpoints
BEGIN
    SELECT RAISE(ABORT, 'a checkpoint is not changed');
END;

CREATE TRIGGER ledger_checkpoints_are_not_deleted BEFORE DELETE ON ledger_checkpoints
BEGIN
    SELECT RAISE(ABORT, 'a checkpoint is not deleted');
END;
