-- A change of release under way: what is to run, and what to go back to.
CREATE TABLE deployments (
    guid TEXT PRIMARY KEY,
    app TEXT NOT NULL REFERENCES apps (guid) ON DELETE CASCADE,
    state TEXT NOT NULL CHECK (state IN ('ACTIVE', 'DEPLOYED', 'CANCELED', 'SUPERSEDED', 'FAILED')),
    strategy TEXT NOT NULL,
    droplet TEXT NOT NULL,
    revision BIGINT NOT NULL,
    previous_revision BIGINT NOT NULL,
    -- The desired LRPs before it, sealed; they are desired again when it fails.
    previous BLOB NOT NULL,
    error TEXT,
    deadline_us BIGINT NOT NULL,
    created_us BIGINT NOT NULL,
    updated_us BIGINT NOT NULL
);
CREATE INDEX deployments_app ON deployments (app, created_us);
CREATE UNIQUE INDEX deployments_active ON deployments (app) WHERE state = 'ACTIVE';
