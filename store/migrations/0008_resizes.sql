-- JSON of a process's figures before and with a deployment that changes them; those before come back if it fails. NULL for
-- one that changes none.
ALTER TABLE deployments ADD COLUMN resized TEXT;
