-- 0014: handled items name nobody, and who is in a room no more is not remembered.

-- `author_mark` is a function of the program: whoever knows an author can recognize them, nobody can list theirs.
UPDATE arrivals SET sender = author_mark(id, sender),
    lane = CASE WHEN instr(lane, ':@') THEN substr(lane, 1, instr(lane, ':@')) ELSE lane END
WHERE state = 'done';

DELETE FROM members WHERE membership NOT IN ('join', 'invite');

DELETE FROM facts WHERE name = 'staff_told';
