use api_control::{AppUsage, Collection, Room};
use api_types::{AppDiskUse, DiskUse};

pub(crate) fn collection(dry: bool, found: &Collection, room: Room) -> api_types::Collection {
    let Collection { collected, swept } = found;
    let app = |app: AppUsage| AppDiskUse {
        guid: app.app.to_string(),
        name: app.name,
        releases: app.releases,
        bytes: app.bytes,
    };
    api_types::Collection {
        dry_run: dry,
        freed_bytes: swept.bytes,
        blobs: swept.blobs,
        releases: collected.releases,
        droplets: collected.droplets,
        packages: collected.packages,
        builds: collected.builds,
        deployments: collected.deployments,
        events: collected.events,
        disk: DiskUse {
            size_bytes: room.disk.size,
            free_bytes: room.disk.free,
            keep_free_bytes: room.floor,
            droplets_bytes: room.usage.layers_bytes,
            packages_bytes: room.usage.packages_bytes,
            database_bytes: room.usage.database_bytes,
            largest_apps: room.usage.apps.into_iter().map(app).collect(),
        },
    }
}
