//! Revisions.

use api_control::records;
use api_types::{AppRelationship, Metadata, Ref, Revision, RevisionProcess};

use super::time;
use crate::urls::Urls;

pub(crate) fn revision(urls: &Urls, revision: records::Revision) -> Revision {
    let processes = revision.snapshot.processes.into_iter();
    Revision {
        guid: revision.id.to_string(),
        created_at: time(revision.created_us),
        updated_at: Some(time(revision.created_us)),
        version: u64::from(revision.version),
        droplet: Ref::new(revision.droplet.to_string()),
        processes: processes
            .map(|(name, spec)| {
                (
                    name,
                    RevisionProcess {
                        command: Some(spec.command),
                    },
                )
            })
            .collect(),
        description: revision.description,
        deployable: true,
        relationships: AppRelationship::to(revision.app.to_string()),
        metadata: Metadata::default(),
        links: urls.links([
            ("self", format!("/v3/revisions/{}", revision.id)),
            ("app", format!("/v3/apps/{}", revision.app)),
            (
                "environment_variables",
                format!("/v3/revisions/{}/environment_variables", revision.id),
            ),
        ]),
    }
}
