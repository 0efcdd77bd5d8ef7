-- Which droplets need a layer: its blob goes with the last of them.
CREATE TABLE droplet_layers (
    droplet TEXT NOT NULL REFERENCES droplets (guid) ON DELETE CASCADE,
    digest TEXT NOT NULL,
    -- Of the packed form, which is what lies on the disk.
    bytes BIGINT NOT NULL,
    PRIMARY KEY (droplet, digest)
);
CREATE INDEX droplet_layers_digest ON droplet_layers (digest);
INSERT INTO droplet_layers (droplet, digest, bytes)
SELECT droplets.guid, json_extract(layer.value, '$.diff_id'), json_extract(layer.value, '$.compressed_size')
FROM droplets, json_each(droplets.image, '$.layers') AS layer
WHERE true
ON CONFLICT DO NOTHING;

-- A droplet that was released once goes with the last of its releases; one that never was is waited for.
ALTER TABLE droplets ADD COLUMN released BIGINT NOT NULL DEFAULT 0;
UPDATE droplets SET released = 1 WHERE guid IN (SELECT droplet FROM revisions);
CREATE INDEX revisions_droplet ON revisions (droplet);

-- When a client was last told that files of this package need not be sent again: it may rely on that for a while.
ALTER TABLE packages ADD COLUMN matched_us BIGINT NOT NULL DEFAULT 0;
CREATE INDEX packages_digest ON packages (digest);
CREATE INDEX builds_package ON builds (package);
CREATE INDEX events_created ON events (created_us);

-- The last words of builds and apps may hold secrets and are sealed from now on. What lies unsealed is dropped.
ALTER TABLE builds DROP COLUMN failure;
ALTER TABLE builds ADD COLUMN failure BLOB;
ALTER TABLE deployments DROP COLUMN error;
ALTER TABLE deployments ADD COLUMN error BLOB;
ALTER TABLE events DROP COLUMN data;
ALTER TABLE events ADD COLUMN data BLOB;
