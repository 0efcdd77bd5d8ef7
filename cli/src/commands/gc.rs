//! What the server keeps without need.

use api_types::{Collection, DiskUse};
use serde_json::json;

use crate::context::Context;
use crate::error::Outcome;
use crate::ui::{count, size};

/// Free what the server need not keep: old releases, sources, builds and events
///
/// The server does so by itself; this does it now. What runs, the last 5 releases of each app, its current droplet and
/// its newest source always stay.
#[derive(Debug, clap::Args)]
pub(crate) struct Gc {
    /// Only say what would go
    #[arg(long)]
    dry_run: bool,
}

const PATH: &str = "/v3/x-collection";

impl Gc {
    pub(crate) async fn run(&self, cx: &Context) -> Outcome {
        let collection: Collection = if self.dry_run {
            cx.client.get(PATH).await?
        } else {
            cx.client.post(PATH, &json!({})).await?
        };
        cx.ui
            .answer(|| json!(collection), |ui| ui.data(text(&collection)))
    }
}

fn text(collection: &Collection) -> String {
    let mut lines = vec![outcome(collection)];
    lines.extend(disk(&collection.disk));
    lines.join("\n")
}

fn outcome(collection: &Collection) -> String {
    let parts = [
        (collection.releases, "release"),
        (collection.droplets, "droplet"),
        (collection.packages, "package"),
        (collection.builds, "build"),
        (collection.deployments, "deployment"),
        (collection.events, "event"),
    ];
    let parts = parts
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, noun)| count(usize::try_from(*number).unwrap_or(usize::MAX), noun))
        .collect::<Vec<_>>();
    let freed = size(collection.freed_bytes);
    match (collection.dry_run, parts.is_empty()) {
        (_, true) if collection.freed_bytes == 0 => "nothing to free".to_owned(),
        (true, true) => format!("would free {freed}"),
        (false, true) => format!("freed {freed}"),
        (true, false) => format!("would free {freed}: {}", parts.join(", ")),
        (false, false) => format!("freed {freed}: {}", parts.join(", ")),
    }
}

fn disk(disk: &DiskUse) -> Vec<String> {
    let line = |label: &str, text: String| format!("{label:<10} {text}");
    let mut lines = vec![line(
        "disk",
        format!(
            "{} free of {}; uploads and builds leave {} free",
            size(disk.free_bytes),
            size(disk.size_bytes),
            size(disk.keep_free_bytes)
        ),
    )];
    lines.push(line(
        "kept",
        format!(
            "droplets {}, packages {}, database {}",
            size(disk.droplets_bytes),
            size(disk.packages_bytes),
            size(disk.database_bytes)
        ),
    ));
    if !disk.largest_apps.is_empty() {
        let apps = disk.largest_apps.iter().map(|app| {
            let releases = usize::try_from(app.releases).unwrap_or(usize::MAX);
            format!(
                "{} {} ({})",
                app.name,
                size(app.bytes),
                count(releases, "release")
            )
        });
        lines.push(line("largest", apps.collect::<Vec<_>>().join(", ")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use api_types::AppDiskUse;

    use super::*;

    #[test]
    fn a_collection_says_what_went_and_what_is_left() {
        let mut collection = Collection {
            dry_run: true,
            freed_bytes: 13_003_000,
            releases: 3,
            droplets: 3,
            events: 1,
            disk: DiskUse {
                size_bytes: 20 << 30,
                free_bytes: 3 << 30,
                keep_free_bytes: 1 << 30,
                droplets_bytes: 5 << 20,
                packages_bytes: 1 << 20,
                database_bytes: 300_000,
                largest_apps: vec![AppDiskUse {
                    guid: "g".into(),
                    name: "shop".into(),
                    releases: 5,
                    bytes: 4 << 20,
                }],
            },
            ..Collection::default()
        };
        insta::assert_snapshot!(text(&collection), @r"
        would free 12.4M: 3 releases, 3 droplets, 1 event
        disk       3G free of 20G; uploads and builds leave 1G free
        kept       droplets 5M, packages 1M, database 292K
        largest    shop 4M (5 releases)
        ");
        collection.dry_run = false;
        assert!(text(&collection).starts_with("freed 12.4"));
        let nothing = Collection::default();
        assert!(text(&nothing).starts_with("nothing to free"));
    }
}
