-- 0018: consents about one case only, like sharing pictures with one insurer. Case 0: about none in particular.

CREATE TABLE consents_of_now (
    customer_id    TEXT NOT NULL REFERENCES customers (id),
    purpose        TEXT NOT NULL,
    case_number    INTEGER NOT NULL DEFAULT 0,
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
    PRIMARY KEY (customer_id, purpose, case_number)
) STRICT, WITHOUT ROWID;

INSERT INTO consents_of_now SELECT customer_id, purpose, 0, standing, since, position, text_sha256, text_version,
    language, purpose_sha256, decision_event, arrived_seq, arrived_sub, used_at FROM consents;
DROP TABLE consents;
ALTER TABLE consents_of_now RENAME TO consents;

CREATE INDEX consents_by_decision ON consents (decision_event) WHERE decision_event IS NOT NULL;
CREATE INDEX consents_given ON consents (purpose) WHERE standing = 'given';

-- What staff filled into a question about one case, by name, as JSON: what, recipient, reason. Else empty.
ALTER TABLE questions ADD COLUMN named TEXT NOT NULL DEFAULT '{}';
