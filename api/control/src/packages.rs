//! Packages: source code as it was uploaded.

use std::collections::HashSet;

use model::ids::{AppId, PackageId, SpaceId};
use model::protocol::cell::package_blob;
use serde_json::json;
use store::PackageFilter;
use store::records::{Package, PackageState, Page, PageRequest, Resource};

use crate::archive::{self, ArchiveError, ArchiveLimits, Borrowed};
use crate::error::OrNotFound;
use crate::scratch::Scratch;
use crate::{Actor, Control, Error, Result};

/// A file that a client has and the server may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceRef {
    /// 40 hex digits.
    pub sha1: String,
    pub size: u64,
    /// Its path in the package to be; needed for the upload.
    pub path: Option<String>,
    /// Permission bits.
    pub mode: Option<u32>,
}

/// Cloud Foundry's limit of one resource-match request.
const MAX_MATCHES: usize = 5000;

impl Control {
    pub async fn create_package(&self, actor: &Actor, app: AppId) -> Result<Package> {
        let app = self.app(actor, app).await?;
        // Before the client sends anything.
        self.check_room("an upload", 0).await?;
        let package = self.store().insert_package(app.id).await?;
        self.audit_app(
            actor,
            "audit.app.package.create",
            &app,
            json!({ "package_guid": package.id }),
        )
        .await;
        Ok(package)
    }

    /// A package of `app` with the bits of another package that the actor may read.
    pub async fn copy_package(
        &self,
        actor: &Actor,
        source: PackageId,
        app: AppId,
    ) -> Result<Package> {
        let app = self.app(actor, app).await?;
        let source = self.package(actor, source).await?;
        let PackageState::Ready { digest, size } = source.state else {
            return Err(Error::unprocessable(
                "The source package is not ready; upload it first",
            ));
        };
        let package = self
            .store()
            .copy_package(app.id, app.space, digest, size)
            .await?;
        self.audit_app(
            actor,
            "audit.app.package.create",
            &app,
            json!({ "package_guid": package.id, "source_guid": source.id }),
        )
        .await;
        Ok(package)
    }

    pub async fn package(&self, _: &Actor, id: PackageId) -> Result<Package> {
        self.store().find_package(id).await.or_not_found("Package")
    }

    pub async fn list_packages(
        &self,
        _: &Actor,
        filter: &PackageFilter,
        page: PageRequest,
    ) -> Result<Page<Package>> {
        Ok(self.store().list_packages(filter, page).await?)
    }

    /// Which of these files need not be uploaded. Answers from spaces that the actor may push to, since a hash alone is no
    /// right to a file.
    pub async fn resource_matches(
        &self,
        actor: &Actor,
        wanted: Vec<ResourceRef>,
    ) -> Result<Vec<ResourceRef>> {
        if wanted.len() > MAX_MATCHES {
            return Err(Error::Unprocessable(format!(
                "at most {MAX_MATCHES} resources can be matched in one request"
            )));
        }
        let spaces = self.spaces_of(actor).await?;
        let sha1s = wanted
            .iter()
            .map(|resource| resource.sha1.to_lowercase())
            .collect::<Vec<_>>();
        let known = self.store().find_resources(&spaces, &sha1s).await?;
        let mut packages = known.iter().map(|known| known.package).collect::<Vec<_>>();
        packages.sort_unstable();
        packages.dedup();
        if !packages.is_empty() {
            self.store().match_packages(&packages).await?;
        }
        let known = known
            .iter()
            .map(|known| (known.sha1.as_str(), known.size))
            .collect::<HashSet<_>>();
        let is_known = |(resource, sha1): &(ResourceRef, String)| {
            known.contains(&(sha1.as_str(), resource.size))
        };
        Ok(wanted
            .into_iter()
            .zip(sha1s)
            .filter(is_known)
            .map(|(resource, _)| resource)
            .collect())
    }

    async fn spaces_of(&self, actor: &Actor) -> Result<Vec<SpaceId>> {
        let spaces = self
            .list_spaces(actor, &crate::SpaceFilter::default(), PageRequest::ALL)
            .await?;
        Ok(spaces.items.into_iter().map(|space| space.id).collect())
    }

    /// Makes a package of the uploaded zip (a file in [`Control::scratch`]) and of files that were matched.
    pub async fn upload_package(
        &self,
        actor: &Actor,
        id: PackageId,
        matched: Vec<ResourceRef>,
        bits: Option<Scratch>,
    ) -> Result<Package> {
        let package = self.package(actor, id).await?;
        if !matches!(package.state, PackageState::AwaitingUpload) {
            return Err(Error::unprocessable(
                "Package has already been uploaded; create a new one",
            ));
        }
        let app = self.app(actor, package.app).await?;
        let known_bytes = matched
            .iter()
            .fold(0_u64, |sum, resource| sum.saturating_add(resource.size));
        let borrowed = self.locate(actor, app.space, matched).await?;
        if !borrowed.is_empty() {
            self.check_room("this package", known_bytes).await?;
        }
        // What it borrows from stays until it has been copied.
        let _sources = self.store().blobs().hold(
            borrowed
                .iter()
                .map(|file| package_blob(&file.package))
                .collect::<std::collections::BTreeSet<_>>(),
        );
        let result = self.finish(&package, app.space, bits, borrowed).await;
        match result {
            Ok(package) => {
                self.audit_app(
                    actor,
                    "audit.app.package.upload",
                    &app,
                    json!({ "package_guid": package.id }),
                )
                .await;
                Ok(package)
            }
            Err(error) => {
                if !matches!(
                    error,
                    Error::Internal(_) | Error::DiskFull(_) | Error::Busy(_)
                ) {
                    self.store().fail_package(id, &error.to_string()).await?;
                }
                Err(error)
            }
        }
    }

    async fn finish(
        &self,
        package: &Package,
        space: SpaceId,
        bits: Option<Scratch>,
        borrowed: Vec<Borrowed>,
    ) -> Result<Package> {
        let whole = Scratch::new(self.scratch());
        let work = move || -> std::result::Result<_, ArchiveError> {
            // The upload alone is looked through first: a bomb must not be copied.
            if let Some(bits) = &bits {
                archive::inspect(bits.path(), ArchiveLimits::DEFAULT)?;
            }
            match &bits {
                Some(bits) if borrowed.is_empty() => std::fs::rename(bits.path(), whole.path())
                    .map_err(|source| ArchiveError::Io {
                        tried: "keep the upload".into(),
                        source,
                    })?,
                _ => archive::complete(bits.as_ref().map(Scratch::path), &borrowed, whole.path())?,
            }
            // Its bytes are in the whole, and the disk may be small.
            drop(bits);
            let files = archive::inspect(whole.path(), ArchiveLimits::DEFAULT)?;
            let (digest, size) = archive::digest(whole.path())?;
            Ok((whole, files, digest, size))
        };
        let (whole, files, digest, size) = tokio::task::spawn_blocking(work)
            .await
            .map_err(Error::internal)?
            .map_err(refused)?;
        // Until its row names it.
        let _hold = self.store().blobs().hold([package_blob(&digest)]);
        self.store()
            .blobs()
            .adopt_file(&package_blob(&digest), whole.path())
            .await?;
        let resources = files
            .into_iter()
            .map(|file| Resource {
                sha1: file.sha1,
                size: file.size,
                package: digest,
                path: file.path,
                mode: file.mode,
            })
            .collect::<Vec<_>>();
        self.store()
            .finish_package(package.id, space, digest, size, &resources)
            .await
            .map_err(|error| match error {
                store::Error::Missing => {
                    Error::unprocessable("Package has already been uploaded; create a new one")
                }
                other => other.into(),
            })
    }

    /// Where the matched files lie now: in the app's own space, else in another one of the actor's.
    async fn locate(
        &self,
        actor: &Actor,
        space: SpaceId,
        matched: Vec<ResourceRef>,
    ) -> Result<Vec<Borrowed>> {
        if matched.is_empty() {
            return Ok(Vec::new());
        }
        if matched.len() > ArchiveLimits::DEFAULT.files {
            return Err(refused(ArchiveError::TooManyFiles(
                ArchiveLimits::DEFAULT.files,
            )));
        }
        // Copies are written before the whole is looked through: one large file may be named many times.
        let bytes = matched
            .iter()
            .fold(0_u64, |sum, resource| sum.saturating_add(resource.size));
        if bytes > ArchiveLimits::DEFAULT.bytes {
            return Err(refused(ArchiveError::TooLarge(
                ArchiveLimits::DEFAULT.bytes,
            )));
        }
        let mut spaces = self.spaces_of(actor).await?;
        spaces.sort_by_key(|known| *known != space);
        let sha1s = matched
            .iter()
            .map(|resource| resource.sha1.to_lowercase())
            .collect::<Vec<_>>();
        let known = self.store().find_resources(&spaces, &sha1s).await?;
        let by_key = known
            .iter()
            .map(|known| ((known.sha1.as_str(), known.size), known))
            .collect::<std::collections::HashMap<_, _>>();
        matched
            .iter()
            .zip(&sha1s)
            .map(|(resource, sha1)| {
                let path = resource
                    .path
                    .clone()
                    .ok_or_else(|| Error::unprocessable("a matched resource has no path"))?;
                archive::check_path(&path).map_err(refused)?;
                let known = by_key.get(&(sha1.as_str(), resource.size));
                let known =
                    known.ok_or_else(|| refused(ArchiveError::MissingFile(path.clone())))?;
                Ok(Borrowed {
                    package: known.package,
                    from: self
                        .store()
                        .blobs()
                        .local_path(&package_blob(&known.package)),
                    path: known.path.clone(),
                    target: path,
                    mode: resource.mode.unwrap_or(known.mode),
                })
            })
            .collect()
    }
}

fn refused(error: ArchiveError) -> Error {
    match error {
        ArchiveError::Io { ref source, .. } if is_full(source) => Error::DiskFull(error.into()),
        ArchiveError::Io { .. } => Error::internal(error),
        other => Error::Unprocessable(other.to_string()),
    }
}

fn is_full(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
    )
}
