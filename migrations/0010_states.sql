-- 0010: five states of a case that people see, since when each of them, and what a car is handed over for.

-- The list of states stood in a CHECK of the column; a new column replaces it.
ALTER TABLE cases ADD COLUMN standing TEXT NOT NULL DEFAULT 'opening'
    CHECK (standing IN ('opening', 'owed', 'answered', 'ready', 'later', 'closed'));
UPDATE cases SET standing = state;
ALTER TABLE cases DROP COLUMN state;
ALTER TABLE cases RENAME COLUMN standing TO state;

-- To which state a case goes back when its time has come; set while it is 'later'.
ALTER TABLE cases ADD COLUMN resumes TEXT CHECK (resumes IN ('owed', 'answered', 'ready'));
-- For cases from before, now: nobody is reminded of years at once.
ALTER TABLE cases ADD COLUMN state_since INTEGER NOT NULL DEFAULT 0;
UPDATE cases SET state_since = CAST(strftime('%s', 'now') AS INTEGER) * 1000;
-- When its room left the Space and staff left its room.
ALTER TABLE cases ADD COLUMN archived_at INTEGER;

-- The code with which a customer collects what is ready. A new one replaces the old one.
CREATE TABLE pickups (
    case_number INTEGER PRIMARY KEY REFERENCES cases (number),
    code        TEXT NOT NULL,
    wrong       INTEGER NOT NULL DEFAULT 0, -- codes that were not the right one
    done_at     INTEGER
) STRICT;
