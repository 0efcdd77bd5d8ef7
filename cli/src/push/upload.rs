//! Sending the files that the space does not have yet.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use api_types::{
    CreatePackage, MAX_RESOURCES_PER_CALL, Package, PackageState, ResourceChecksum, ResourceMatch,
    ResourceMatches,
};
use http::Method;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::{dim, files_and_size};
use crate::client::{Call, FilePart, Payload, Upload};
use crate::context::Context;
use crate::error::{CliError, Exit, Outcome};
use crate::files::{Entry, FileSet, pack};
use crate::ui::{count, seconds, size};

const FIRST_PAUSE: Duration = Duration::from_millis(25);
const LAST_PAUSE: Duration = Duration::from_millis(500);
const LIMIT: Duration = Duration::from_secs(900);

/// Uploads the files as a new package of the app, and waits until the package is ready.
pub(super) async fn package(cx: &Context, app: &str, files: &FileSet) -> Outcome<String> {
    let started = Instant::now();
    let known = known_files(cx, files).await?;
    let is_known = |entry: &Entry| {
        entry
            .matchable()
            .is_some_and(|(size, sha1)| known.contains(&(size, sha1.to_owned())))
    };
    let package: Package = cx
        .client
        .post("/v3/packages", &CreatePackage::bits(app))
        .await?;
    let matched: Vec<_> = files
        .entries
        .iter()
        .filter(|entry| is_known(entry))
        .map(resource)
        .collect();
    let sent = files
        .entries
        .iter()
        .filter(|entry| !is_known(entry))
        .count();
    let file = if sent > 0 {
        Some(packed(files, &known).await?)
    } else {
        None
    };
    let length = file.as_ref().map_or(0, |part| part.length);
    let resources = serde_json::to_string(&matched).expect("resources are plain JSON");
    let progress = progress_bar(cx, length);
    let upload = Upload {
        resources: Some(resources),
        file,
        progress: progress.clone(),
    };
    let call = Call::new(
        Method::POST,
        cx.client
            .at(&format!("/v3/packages/{}/upload", package.guid)),
    );
    let result = cx.client.send(call.payload(Payload::Upload(upload))).await;
    progress.finish_and_clear();
    let mut package: Package = result?.read()?;
    let mut pause = FIRST_PAUSE;
    while !is_ready(&package)? {
        if started.elapsed() > LIMIT {
            let message = format!(
                "the server did not finish with the upload in {} min",
                LIMIT.as_secs() / 60
            );
            return Err(CliError::new("E-TIMEOUT", Exit::TryAgain, message));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LAST_PAUSE);
        package = cx
            .client
            .get(&format!("/v3/packages/{}", package.guid))
            .await?;
    }
    let took = started.elapsed();
    cx.ui.event(
        "upload.done",
        json!({"package": package.guid, "files": files.files(), "bytes": files.bytes(), "sent": sent, "sent_bytes": length,
               "seconds": took.as_secs_f64()}),
    )?;
    let text = if sent == 0 {
        format!(
            "nothing to send: the space has all of {}",
            files_and_size(files)
        )
    } else {
        let packed = size(length);
        format!(
            "{sent} of {}, {packed} packed",
            count(files.entries.len(), "file")
        )
    };
    cx.ui
        .step("upload", format!("{text}  {}", dim(seconds(took))));
    Ok(package.guid)
}

fn is_ready(package: &Package) -> Outcome<bool> {
    match package.state {
        PackageState::Ready => Ok(true),
        PackageState::Failed | PackageState::Expired => {
            let reason = package
                .data
                .error
                .as_deref()
                .unwrap_or("the server gave no reason");
            Err(CliError::from_text(reason, "E-UPLOAD", Exit::Other))
        }
        PackageState::AwaitingUpload | PackageState::ProcessingUpload | PackageState::Copying => {
            Ok(false)
        }
    }
}

fn resource(entry: &Entry) -> ResourceMatch {
    let (size_in_bytes, sha1) = entry.matchable().unwrap_or_default();
    ResourceMatch {
        checksum: ResourceChecksum {
            value: sha1.to_owned(),
        },
        size_in_bytes,
        path: entry.path.clone(),
        mode: format!("{:o}", entry.mode),
    }
}

/// Asks which contents the space has.
async fn known_files(cx: &Context, files: &FileSet) -> Outcome<HashSet<(u64, String)>> {
    let asked: Vec<_> = files
        .entries
        .iter()
        .filter(|entry| entry.matchable().is_some())
        .map(resource)
        .collect();
    let mut known = HashSet::new();
    for chunk in asked.chunks(MAX_RESOURCES_PER_CALL) {
        let request = ResourceMatches {
            resources: chunk.to_vec(),
        };
        let answer: ResourceMatches = cx.client.post("/v3/resource_matches", &request).await?;
        known.extend(
            answer
                .resources
                .into_iter()
                .map(|resource| (resource.size_in_bytes, resource.checksum.value)),
        );
    }
    Ok(known)
}

async fn packed(files: &FileSet, known: &HashSet<(u64, String)>) -> Outcome<FilePart> {
    let (origin, known) = (files.origin.clone(), known.clone());
    let set = FileSet {
        origin,
        entries: files.entries.clone(),
    };
    let wanted = move |entry: &Entry| {
        !entry
            .matchable()
            .is_some_and(|(size, sha1)| known.contains(&(size, sha1.to_owned())))
    };
    let result = tokio::task::spawn_blocking(move || pack(&set, wanted)).await;
    let (file, length) =
        result.map_err(|error| CliError::other(format!("packing failed: {error}")))??;
    Ok(FilePart { file, length })
}

/// Only where a person watches; a script sees the line at the end.
fn progress_bar(cx: &Context, length: u64) -> ProgressBar {
    if cx.ui.json() || length == 0 {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template(
        "upload  {bar:30} {binary_bytes} of {binary_total_bytes}  {binary_bytes_per_sec}",
    );
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar
}
