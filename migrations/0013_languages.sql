-- 0013: in which language a customer is written to; none: in the configured one.

ALTER TABLE customers ADD COLUMN language TEXT;
