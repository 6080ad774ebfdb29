-- 0017: new customers may be asked for whom their case is, once; the answer moves it if nobody has begun.

CREATE TABLE desk_questions (
    case_number INTEGER PRIMARY KEY REFERENCES cases (number),
    desk        TEXT NOT NULL,              -- where the case was then
    desks       TEXT NOT NULL,              -- what could be chosen, as JSON, in the order of the numbers
    poll_event  TEXT,                       -- if it was a poll
    answered    INTEGER NOT NULL DEFAULT 0
) STRICT;
