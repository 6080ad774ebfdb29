-- Every privacy text that customers may have been shown, word for word. What stands here is evidence and never changes.

CREATE TABLE privacy_texts (
    id TEXT NOT NULL,
    version TEXT NOT NULL,
    language TEXT NOT NULL,
    sha256 TEXT NOT NULL CHECK (length(sha256) = 64),
    text TEXT NOT NULL,
    first_used INTEGER NOT NULL,
    PRIMARY KEY (id, version, language)
) STRICT, WITHOUT ROWID;

CREATE INDEX privacy_texts_by_hash ON privacy_texts (sha256);

CREATE TRIGGER privacy_texts_stay_as_they_are BEFORE UPDATE ON privacy_texts
BEGIN SELECT RAISE(ABORT, 'a privacy text never changes'); END;

CREATE TRIGGER privacy_texts_stay BEFORE DELETE ON privacy_texts
BEGIN SELECT RAISE(ABORT, 'a privacy text is evidence'); END;

CREATE TRIGGER privacy_texts_are_not_replaced BEFORE INSERT ON privacy_texts
WHEN EXISTS (SELECT 1 FROM privacy_texts WHERE id = NEW.id AND version = NEW.version AND language = NEW.language)
BEGIN SELECT RAISE(ABORT, 'a privacy text never changes'); END;
