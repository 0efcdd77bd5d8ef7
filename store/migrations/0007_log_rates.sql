-- Bytes of output per second beyond which an instance's lines are dropped; NULL for no limit.
ALTER TABLE processes ADD COLUMN log_rate BIGINT CHECK (log_rate >= 0);
