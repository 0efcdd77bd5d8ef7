//! Turns what the buildpacks made into layers.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use buildpacks::layer_cache::LayerCache;
use buildpacks::output::Output;
use buildpacks::{BuildOutput, LayerSource};
use model::droplet::{Layer, LayerKind};

use crate::{layer, normalise};

/// Writes all layers to `out`, lowest first: what the buildpacks name, then the app.
pub(crate) fn layers(
    home: &Path,
    built: &[BuildOutput],
    cache: &LayerCache,
    out: &Path,
    output: &mut Output,
) -> io::Result<Vec<Layer>> {
    fs::create_dir_all(out)?;
    let mut sources: Vec<LayerSource> = built
        .iter()
        .flat_map(|built| built.layers.iter().cloned())
        .collect();
    sources.push(LayerSource {
        kind: LayerKind::App,
        paths: vec!["app".into()],
        except: Vec::new(),
        cache_key: None,
    });
    sources.sort_by_key(|source| rank(source.kind));
    let mut layers = Vec::new();
    let mut kept = Vec::new();
    for source in sources {
        let cached = source.cache_key.as_ref().and_then(|key| cache.find(key));
        let layer = match cached {
            Some(cached) => {
                place(
                    &cached.archive,
                    &layer::archive_path(out, &cached.layer.diff_id),
                )?;
                cached.layer
            }
            None => {
                let layer = layer::write(home, source.kind, &source.paths, &source.except, out)?;
                if let Some(key) = &source.cache_key {
                    // The next build is slower without it, and this one is as good.
                    if cache
                        .store(key, &layer, &layer::archive_path(out, &layer.diff_id))
                        .is_err()
                    {
                        output.line("The runtime layer could not be kept for the next build");
                    }
                }
                layer
            }
        };
        output.line(&format!(
            "Layer {}: {}",
            name(layer.kind),
            size(layer.compressed_size)
        ));
        layers.push(layer);
        kept.extend(source.cache_key);
    }
    // Of other JDKs and earlier versions.
    let _ = cache.keep_only(&kept);
    Ok(layers)
}

/// A second name where the file system allows, else a copy.
fn place(from: &Path, to: &Path) -> io::Result<()> {
    match fs::remove_file(to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::hard_link(from, to).or_else(|_| fs::copy(from, to).map(|_| ()))
}

/// Makes archives that the build wrote independent of when it ran. Those of the source stay as they were uploaded.
pub(crate) fn normalise_archives(
    app: &Path,
    uploaded: &HashSet<PathBuf>,
    built: &[BuildOutput],
    output: &mut Output,
) {
    let mut archives = Vec::new();
    find_archives(app, app, uploaded, 0, &mut archives);
    archives.extend(
        built
            .iter()
            .flat_map(|built| built.fresh_archives.iter().cloned()),
    );
    for archive in archives {
        if let Err(error) = normalise::normalise(&archive) {
            let name = archive
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            output.line(&format!("{name} is kept with its times: {error}"));
        }
    }
}

fn find_archives(
    app: &Path,
    folder: &Path,
    uploaded: &HashSet<PathBuf>,
    depth: usize,
    found: &mut Vec<PathBuf>,
) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let (path, Ok(kind)) = (entry.path(), entry.file_type()) else {
            continue;
        };
        let is_archive = path
            .extension()
            .is_some_and(|end| ["jar", "war", "ear"].iter().any(|known| end == *known));
        let is_new = path
            .strip_prefix(app)
            .is_ok_and(|relative| !uploaded.contains(relative));
        if kind.is_dir() && depth < 40 {
            find_archives(app, &path, uploaded, depth + 1, found);
        } else if kind.is_file() && is_archive && is_new && found.len() < 10_000 {
            found.push(path);
        }
    }
}

const fn rank(kind: LayerKind) -> u8 {
    match kind {
        LayerKind::Runtime => 0,
        LayerKind::Dependencies => 1,
        LayerKind::App => 2,
    }
}

const fn name(kind: LayerKind) -> &'static str {
    match kind {
        LayerKind::Runtime => "runtime",
        LayerKind::Dependencies => "dependencies",
        LayerKind::App => "app",
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{} KiB", bytes / 1_024),
        _ => format!(
            "{}.{} MiB",
            bytes / 1_048_576,
            bytes % 1_048_576 * 10 / 1_048_576
        ),
    }
}
