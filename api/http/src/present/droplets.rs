//! Droplets.

use api_control::records;
use api_types::{
    AppRelationship, Droplet, DropletBuildpack, DropletLayer, DropletState, Lifecycle,
};

use super::time;
use crate::urls::Urls;

pub(crate) fn droplet(urls: &Urls, droplet: &records::Droplet) -> Droplet {
    let process_types = Some(droplet.image.process_types.clone());
    Droplet {
        process_types,
        ..droplet_in_list(urls, droplet)
    }
}

fn layer(layer: &model::droplet::Layer) -> DropletLayer {
    let kind = match layer.kind {
        model::droplet::LayerKind::Runtime => "runtime",
        model::droplet::LayerKind::Dependencies => "dependencies",
        model::droplet::LayerKind::App => "app",
    };
    DropletLayer {
        kind: kind.into(),
        diff_id: layer.diff_id.to_string(),
        size: layer.size,
        compressed_size: layer.compressed_size,
    }
}

/// Start commands may hold secrets; lists leave them out, as Cloud Foundry's do.
pub(crate) fn droplet_in_list(urls: &Urls, droplet: &records::Droplet) -> Droplet {
    let own = format!("/v3/droplets/{}", droplet.id);
    let buildpacks = droplet
        .image
        .buildpacks
        .iter()
        .map(|used| DropletBuildpack {
            name: used.name.clone(),
            detect_output: Some(used.detected.clone()),
            version: Some(used.version.clone()),
            buildpack_name: Some(used.name.clone()),
        });
    Droplet {
        guid: droplet.id.to_string(),
        created_at: time(droplet.created_us),
        updated_at: Some(time(droplet.created_us)),
        state: DropletState::Staged,
        lifecycle: Lifecycle {
            kind: "buildpack".into(),
            ..Lifecycle::default()
        },
        buildpacks: Some(buildpacks.collect()),
        stack: Some(droplet.image.stack.to_string()),
        layers: droplet.image.layers.iter().map(layer).collect(),
        relationships: AppRelationship::to(droplet.app.to_string()),
        links: urls.links([
            ("self", own),
            ("package", format!("/v3/packages/{}", droplet.package)),
            ("app", format!("/v3/apps/{}", droplet.app)),
            (
                "assign_current_droplet",
                format!("/v3/apps/{}/relationships/current_droplet", droplet.app),
            ),
        ]),
        ..Droplet::default()
    }
}
