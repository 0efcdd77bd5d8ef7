-- Deployments that pause on their way, and how many instances at a time make room.
ALTER TABLE deployments ADD COLUMN max_in_flight BIGINT NOT NULL DEFAULT 1;
-- The droplet that the app gets back when somebody cancels.
ALTER TABLE deployments ADD COLUMN previous_droplet TEXT;
-- JSON of the steps and where it is; NULL for one that does not pause.
ALTER TABLE deployments ADD COLUMN canary TEXT;
-- Whether older versions make room one healthy instance after the other also without a deployment under way, as when one
-- was taken back.
ALTER TABLE desired_lrps ADD COLUMN rolls BIGINT NOT NULL DEFAULT 0;

-- Variables that the operator gives every app: `running` to instances, `staging` to builds. Sealed.
CREATE TABLE environment_groups (
    name TEXT PRIMARY KEY CHECK (name IN ('running', 'staging')),
    env BLOB NOT NULL,
    updated_us BIGINT NOT NULL
);
