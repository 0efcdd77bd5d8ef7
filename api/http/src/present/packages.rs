//! Packages.

use api_control::records;
use api_types::{AppRelationship, Checksum, Link, Metadata, Package, PackageData, PackageState};

use super::time;
use crate::urls::Urls;

pub(crate) fn package(urls: &Urls, package: &records::Package) -> Package {
    let (state, data) = match &package.state {
        records::PackageState::AwaitingUpload => {
            (PackageState::AwaitingUpload, PackageData::default())
        }
        records::PackageState::Ready { digest, .. } => {
            let checksum = Checksum {
                kind: "sha256".into(),
                value: Some(digest.hex()),
            };
            (
                PackageState::Ready,
                PackageData {
                    checksum: Some(checksum),
                    ..PackageData::default()
                },
            )
        }
        records::PackageState::Failed { error } => (
            PackageState::Failed,
            PackageData {
                error: Some(error.clone()),
                ..PackageData::default()
            },
        ),
    };
    let own = format!("/v3/packages/{}", package.id);
    let mut links = urls.links([
        ("self", own.clone()),
        ("app", format!("/v3/apps/{}", package.app)),
        ("droplets", format!("{own}/droplets")),
    ]);
    links.insert(
        "upload".into(),
        Link::post(urls.to(&format!("{own}/upload"))),
    );
    Package {
        guid: package.id.to_string(),
        created_at: time(package.created_us),
        updated_at: Some(time(package.updated_us)),
        kind: "bits".into(),
        state,
        data,
        relationships: AppRelationship::to(package.app.to_string()),
        metadata: Metadata::default(),
        links,
    }
}
