-- 0016: who has ever been answered by a person of ours is no stranger.

ALTER TABLE customers ADD COLUMN answered INTEGER NOT NULL DEFAULT 0;

UPDATE customers SET answered = 1 WHERE id IN (
    SELECT cases.customer_id FROM cases
    JOIN copy_links ON copy_links.case_number = cases.number AND copy_links.source_room = cases.room_id
);
