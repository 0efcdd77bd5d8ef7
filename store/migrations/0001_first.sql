-- ids are GUID texts, times integer microseconds since the Unix epoch, booleans 0/1.
CREATE TABLE settings (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE users (
    guid TEXT PRIMARY KEY,
    username TEXT NOT NULL UNIQUE,
    password_hash TEXT NOT NULL,
    created_us BIGINT NOT NULL
);

CREATE TABLE organizations (
    guid TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    created_us BIGINT NOT NULL,
    updated_us BIGINT NOT NULL
);

CREATE TABLE spaces (
    guid TEXT PRIMARY KEY,
    org TEXT NOT NULL REFERENCES organizations (guid),
    name TEXT NOT NULL,
    created_us BIGINT NOT NULL,
    updated_us BIGINT NOT NULL,
    CONSTRAINT space_name UNIQUE (org, name)
);

CREATE TABLE domains (
    guid TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    created_us BIGINT NOT NULL
);

CREATE TABLE apps (
    guid TEXT PRIMARY KEY,
    space TEXT NOT NULL REFERENCES spaces (guid),
    name TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('STOPPED', 'STARTED')),
    buildpacks TEXT NOT NULL,
    stack TEXT,
    current_droplet TEXT,
    env BLOB NOT NULL,
    metadata TEXT NOT NULL,
    created_us BIGINT NOT NULL,
    updated_us BIGINT NOT NULL,
    CONSTRAINT app_name UNIQUE (space, name)
);

CREATE TABLE processes (
    guid TEXT PRIMARY KEY,
    app TEXT NOT NULL REFERENCES apps (guid) ON DELETE CASCADE,
    type TEXT NOT NULL,
    command TEXT,
    instances BIGINT NOT NULL CHECK (instances >= 0),
    memory_mb BIGINT NOT NULL CHECK (memory_mb > 0),
    disk_mb BIGINT NOT NULL CHECK (disk_mb > 0),
    health TEXT NOT NULL,
    created_us BIGINT NOT NULL,
    updated_us BIGINT NOT NULL,
    CONSTRAINT process_type UNIQUE (app, type)
);

-- What should run now: the snapshot that instances are made from, also after a crash or a reboot.
CREATE TABLE desired_lrps (
    process TEXT PRIMARY KEY REFERENCES processes (guid) ON DELETE CASCADE,
    app TEXT NOT NULL REFERENCES apps (guid) ON DELETE CASCADE,
    version TEXT NOT NULL,
    revision BIGINT NOT NULL,
    instances BIGINT NOT NULL CHECK (instances >= 0),
    spec BLOB NOT NULL,
    updated_us BIGINT NOT NULL
);
CREATE INDEX desired_lrps_app ON desired_lrps (app);

CREATE TABLE packages (
    guid TEXT PRIMARY KEY,
    app TEXT NOT NULL REFERENCES apps (guid) ON DELETE CASCADE,
    state TEXT NOT NULL CHECK (state IN ('AWAITING_UPLOAD', 'READY', 'FAILED')),
    error TEXT,
    digest TEXT,
    size BIGINT,
    created_us BIGINT NOT NULL,
    updated_us BIGINT NOT NULL
);
CREATE INDEX packages_app ON packages (app, created_us);

-- Which package blob holds a file that was uploaded in a space; answers resource matching, never across spaces.
CREATE TABLE resources (
    space TEXT NOT NULL REFERENCES spaces (guid) ON DELETE CASCADE,
    sha1 TEXT NOT NULL,
    size BIGINT NOT NULL,
    package_digest TEXT NOT NULL,
    path TEXT NOT NULL,
    mode BIGINT NOT NULL,
    PRIMARY KEY (space, sha1, size)
);
CREATE INDEX resources_package ON resources (package_digest);

CREATE TABLE builds (
    guid TEXT PRIMARY KEY,
    app TEXT NOT NULL REFERENCES apps (guid) ON DELETE CASCADE,
    package TEXT NOT NULL REFERENCES packages (guid) ON DELETE CASCADE,
    state TEXT NOT NULL CHECK (state IN ('STAGING', 'STAGED', 'FAILED')),
    buildpacks TEXT NOT NULL,
    failure TEXT,
    droplet TEXT,
    task TEXT NOT NULL UNIQUE,
    memory_mb BIGINT NOT NULL,
    disk_mb BIGINT NOT NULL,
    placed_cell TEXT,
    placed_incarnation TEXT,
    placed_epoch BIGINT,
    created_by TEXT NOT NULL,
    created_us BIGINT NOT NULL,
    updated_us BIGINT NOT NULL
);
CREATE INDEX builds_app ON builds (app, created_us);
CREATE INDEX builds_staging ON builds (state) WHERE state = 'STAGING';

CREATE TABLE droplets (
    guid TEXT PRIMARY KEY,
    app TEXT NOT NULL REFERENCES apps (guid) ON DELETE CASCADE,
    package TEXT NOT NULL,
    image TEXT NOT NULL,
    created_us BIGINT NOT NULL
);
CREATE INDEX droplets_app ON droplets (app, created_us);

CREATE TABLE revisions (
    guid TEXT PRIMARY KEY,
    app TEXT NOT NULL REFERENCES apps (guid) ON DELETE CASCADE,
    version BIGINT NOT NULL,
    droplet TEXT NOT NULL,
    -- What made this release: droplet, env with bindings, processes. Sealed.
    snapshot BLOB NOT NULL,
    -- Keyed hash of the snapshot: a start that changes nothing makes no new release.
    fingerprint TEXT NOT NULL,
    description TEXT NOT NULL,
    created_us BIGINT NOT NULL,
    CONSTRAINT revision_version UNIQUE (app, version)
);

CREATE TABLE routes (
    guid TEXT PRIMARY KEY,
    space TEXT NOT NULL REFERENCES spaces (guid),
    domain TEXT NOT NULL REFERENCES domains (guid),
    host TEXT NOT NULL,
    path TEXT NOT NULL,
    created_us BIGINT NOT NULL,
    updated_us BIGINT NOT NULL,
    CONSTRAINT route_address UNIQUE (domain, host, path)
);
CREATE INDEX routes_space ON routes (space);

CREATE TABLE destinations (
    guid TEXT PRIMARY KEY,
    route TEXT NOT NULL REFERENCES routes (guid) ON DELETE CASCADE,
    app TEXT NOT NULL REFERENCES apps (guid) ON DELETE CASCADE,
    process_type TEXT NOT NULL,
    created_us BIGINT NOT NULL,
    CONSTRAINT destination_target UNIQUE (route, app, process_type)
);
CREATE INDEX destinations_app ON destinations (app);

CREATE TABLE service_instances (
    guid TEXT PRIMARY KEY,
    space TEXT NOT NULL REFERENCES spaces (guid),
    name TEXT NOT NULL,
    credentials BLOB NOT NULL,
    tags TEXT NOT NULL,
    syslog_drain_url BLOB,
    route_service_url TEXT,
    metadata TEXT NOT NULL,
    created_us BIGINT NOT NULL,
    updated_us BIGINT NOT NULL,
    CONSTRAINT service_instance_name UNIQUE (space, name)
);

CREATE TABLE bindings (
    guid TEXT PRIMARY KEY,
    app TEXT NOT NULL REFERENCES apps (guid) ON DELETE CASCADE,
    service_instance TEXT NOT NULL REFERENCES service_instances (guid),
    name TEXT,
    created_us BIGINT NOT NULL,
    CONSTRAINT binding_target UNIQUE (app, service_instance)
);
CREATE INDEX bindings_service_instance ON bindings (service_instance);

CREATE TABLE jobs (
    guid TEXT PRIMARY KEY,
    operation TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('PROCESSING', 'COMPLETE', 'FAILED')),
    errors TEXT NOT NULL,
    warnings TEXT NOT NULL,
    created_us BIGINT NOT NULL,
    updated_us BIGINT NOT NULL
);

CREATE TABLE events (
    guid TEXT PRIMARY KEY,
    type TEXT NOT NULL,
    actor TEXT NOT NULL,
    actor_name TEXT NOT NULL,
    target TEXT NOT NULL,
    target_type TEXT NOT NULL,
    target_name TEXT NOT NULL,
    space TEXT,
    org TEXT,
    data TEXT NOT NULL,
    created_us BIGINT NOT NULL
);
CREATE INDEX events_target ON events (target, created_us);

-- The cells that may hold instances. Written on join, loss and return only.
CREATE TABLE cells (
    guid TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    incarnation TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('JOINED', 'LOST')),
    updated_us BIGINT NOT NULL
);
