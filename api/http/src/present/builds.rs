//! Builds.

use api_control::{failure_text, records};
use api_types::{AppRelationship, Build, BuildState, CreatedBy, Lifecycle, Metadata, Ref};

use super::time;
use crate::urls::Urls;

pub(crate) fn build(urls: &Urls, build: &records::Build) -> Build {
    let (state, droplet, error) = match &build.state {
        records::BuildState::Staging => (BuildState::Staging, None, None),
        records::BuildState::Staged { droplet } => (BuildState::Staged, Some(*droplet), None),
        records::BuildState::Failed { failure } => {
            let (kind, text) = failure_text(failure);
            (BuildState::Failed, None, Some(format!("{kind} - {text}")))
        }
    };
    let mut links = urls.links([
        ("self", format!("/v3/builds/{}", build.id)),
        ("app", format!("/v3/apps/{}", build.app)),
        ("package", format!("/v3/packages/{}", build.package)),
    ]);
    if let Some(droplet) = droplet {
        links.insert(
            "droplet".into(),
            urls.link(&format!("/v3/droplets/{droplet}")),
        );
    }
    Build {
        guid: build.id.to_string(),
        created_at: time(build.created_us),
        updated_at: Some(time(build.updated_us)),
        created_by: Some(CreatedBy {
            name: Some(build.created_by.clone()),
            ..CreatedBy::default()
        }),
        state,
        error,
        staging_memory_in_mb: Some(build.limits.memory.0),
        staging_disk_in_mb: Some(build.limits.disk.0),
        lifecycle: Lifecycle::buildpack(build.buildpacks.clone(), None),
        package: Some(Ref::new(build.package.to_string())),
        droplet: droplet.map(|droplet| Ref::new(droplet.to_string())),
        relationships: AppRelationship::to(build.app.to_string()),
        metadata: Metadata::default(),
        links,
    }
}
