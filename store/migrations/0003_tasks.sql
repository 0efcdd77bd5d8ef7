-- One-off tasks of apps.
CREATE TABLE tasks (
    guid TEXT PRIMARY KEY,
    app TEXT NOT NULL REFERENCES apps (guid) ON DELETE CASCADE,
    -- Counts up within an app and is never used again: the newest task of an app is always kept.
    sequence BIGINT NOT NULL,
    name TEXT NOT NULL,
    -- Sealed, since people write secrets into commands.
    command BLOB NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('PENDING', 'RUNNING', 'CANCELING', 'SUCCEEDED', 'FAILED')),
    failure TEXT,
    droplet TEXT NOT NULL,
    stack TEXT NOT NULL,
    -- What its container is made from, sealed; gone once it has ended.
    plan BLOB,
    memory_mb BIGINT NOT NULL CHECK (memory_mb > 0),
    disk_mb BIGINT NOT NULL CHECK (disk_mb > 0),
    metadata TEXT NOT NULL,
    -- Where it was sent. Committed before the order leaves.
    placed_cell TEXT,
    placed_incarnation TEXT,
    placed_epoch BIGINT,
    created_by TEXT NOT NULL,
    created_us BIGINT NOT NULL,
    updated_us BIGINT NOT NULL,
    CONSTRAINT task_sequence UNIQUE (app, sequence)
);
CREATE INDEX tasks_created ON tasks (created_us);
CREATE INDEX tasks_open ON tasks (state) WHERE state IN ('PENDING', 'RUNNING', 'CANCELING');
