-- How often an index of what is desired has crashed in a row, and its last crash. Goes with the desired LRP: another
-- release begins anew. Written once for each crash; a repeated report of the same instance changes nothing.
CREATE TABLE crash_counts (
    process TEXT NOT NULL REFERENCES desired_lrps (process) ON DELETE CASCADE,
    instance_index BIGINT NOT NULL CHECK (instance_index >= 0),
    version TEXT NOT NULL,
    instance TEXT NOT NULL,
    crash_count BIGINT NOT NULL CHECK (crash_count > 0),
    -- When the instance ended, as its cell says.
    at_us BIGINT NOT NULL,
    -- Sealed: the last lines of an app may hold anything.
    exit BLOB NOT NULL,
    PRIMARY KEY (process, instance_index)
);
