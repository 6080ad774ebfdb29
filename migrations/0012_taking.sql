-- 0012: who looks after a case, and what staff say of it. Nobody is remembered but the holder of now.

ALTER TABLE cases ADD COLUMN holder TEXT;
ALTER TABLE cases ADD COLUMN plate TEXT NOT NULL DEFAULT '';
ALTER TABLE cases ADD COLUMN reference TEXT NOT NULL DEFAULT '';
-- Words, separated by single spaces.
ALTER TABLE cases ADD COLUMN tags TEXT NOT NULL DEFAULT '';

-- The other case of the same customer in which this closed one goes on.
ALTER TABLE cases ADD COLUMN merged_into INTEGER REFERENCES cases (number);

-- How often what stands on the cards of a case has changed, and which of these changes they show.
ALTER TABLE cases ADD COLUMN card_revision INTEGER NOT NULL DEFAULT 0;
ALTER TABLE cases ADD COLUMN card_shown INTEGER NOT NULL DEFAULT 0;

CREATE INDEX cases_by_inbox_card ON cases (inbox_event) WHERE inbox_event IS NOT NULL;
