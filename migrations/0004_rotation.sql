-- 0004: after how many messages, or how long, a room wants a new session.

ALTER TABLE rooms ADD COLUMN rotation_messages INTEGER NOT NULL DEFAULT 100;
ALTER TABLE rooms ADD COLUMN rotation_ms INTEGER NOT NULL DEFAULT 604800000;
