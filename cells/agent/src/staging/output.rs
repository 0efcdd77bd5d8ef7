//! What a build left in its output folder. Its writer is foreign code: no link is followed, sizes are bounded, and a layer
//! counts only when its bytes are what it is named after.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use model::digest::Digest;
use model::droplet::{Image, Layer, Stack};
use model::protocol::cell::layer_blob;
use model::protocol::lifecycle::BuildResult;
use model::task::StagingFailure;
use sha2::{Digest as _, Sha256};

use crate::cell::{blocking, text_of};
use crate::layers::{self, LayerError, Layers};
use crate::logs::cut;
use crate::server::{Server, ServerError};

const MAX_RESULT_BYTES: u64 = 1024 * 1024;
/// What a build reuses packed was never on its own disk: a runtime of Java.
const REUSED_BYTES: u64 = 1024 * 1024 * 1024;
const MAX_PROCESS_TYPES: usize = 64;
const MAX_COMMAND_BYTES: usize = 64 * 1024;
const MAX_BUILDPACKS: usize = 64;
/// Names in one list of evidence.
const MAX_NAMES: usize = 100;

#[derive(Debug)]
pub(super) enum Output {
    Built(Image),
    Failed(StagingFailure),
}

/// Reads and checks `result.json` of a build that could write `disk` bytes. Blocks.
pub(super) fn read(out: &Path, stack: &Stack, disk: u64) -> Result<Output, String> {
    let file = open_regular(&out.join("result.json"))
        .map_err(|error| format!("its result is not readable: {error}"))?;
    let mut text = Vec::new();
    file.take(MAX_RESULT_BYTES + 1)
        .read_to_end(&mut text)
        .map_err(|error| format!("its result is not readable: {error}"))?;
    if text.len() as u64 > MAX_RESULT_BYTES {
        return Err(format!(
            "its result is larger than {MAX_RESULT_BYTES} bytes"
        ));
    }
    match serde_json::from_slice(&text)
        .map_err(|error| format!("its result is not understood: {error}"))?
    {
        BuildResult::Failed { failure } => Ok(Output::Failed(bounded(failure))),
        BuildResult::Built { image } => {
            check(&image, stack, disk)?;
            Ok(Output::Built(image))
        }
    }
}

fn check(image: &Image, stack: &Stack, disk: u64) -> Result<(), String> {
    if image.stack != *stack {
        return Err(format!(
            "its result is for stack {} and not {stack}",
            image.stack
        ));
    }
    if image.layers.len() > Image::MAX_LAYERS {
        return Err(format!(
            "its result has {} layers, more than {}",
            image.layers.len(),
            Image::MAX_LAYERS
        ));
    }
    // Small files can hold layers that unpack to any size, and all of them are unpacked on this host, outside of the
    // build's disk.
    let bytes = image
        .layers
        .iter()
        .fold(0u64, |sum, layer| sum.saturating_add(layer.size));
    let most = layers::MAX_LAYER_BYTES.min(disk.saturating_add(REUSED_BYTES));
    if bytes > most {
        return Err(format!(
            "its result has layers of {bytes} bytes, more than the {most} of a build with its disk limit"
        ));
    }
    if image.process_types.len() > MAX_PROCESS_TYPES || image.buildpacks.len() > MAX_BUILDPACKS {
        return Err("its result has too many process types or buildpacks".into());
    }
    match image
        .process_types
        .iter()
        .find(|(_, command)| command.len() > MAX_COMMAND_BYTES)
    {
        Some((name, _)) => Err(format!(
            "the command of process type {name:.40} is longer than {MAX_COMMAND_BYTES} bytes"
        )),
        None => Ok(()),
    }
}

/// Cuts the evidence to what people read, and what fits into a report beside that of other builds.
fn bounded(mut failure: StagingFailure) -> StagingFailure {
    const MAX_TEXT_BYTES: usize = 4000;
    use StagingFailure as F;
    let shorten = |text: &mut String| *text = cut(text, MAX_TEXT_BYTES);
    match &mut failure {
        F::BuildFailed {
            buildpack,
            command,
            last_lines,
            ..
        } => {
            [buildpack, command].into_iter().for_each(shorten);
            keep_last(last_lines);
        }
        F::TimedOut { last_lines, .. } => keep_last(last_lines),
        F::NothingDetected {
            looked_for,
            found,
            hint,
        } => {
            for list in [looked_for, found] {
                list.truncate(MAX_NAMES);
                list.iter_mut()
                    .for_each(|name| *name = cut(name, super::MAX_LINE_BYTES));
            }
            hint.iter_mut().for_each(shorten);
        }
        F::Refused {
            buildpack,
            message,
            hint,
        } => [buildpack, message]
            .into_iter()
            .chain(hint)
            .for_each(shorten),
        F::Internal { message } | F::DiskFull { message } => shorten(message),
        F::NoCapacity { message } => shorten(message),
        F::OutOfMemory { .. } | F::OutOfDisk { .. } | F::CellLost => {}
    }
    failure
}

fn keep_last(lines: &mut Vec<String>) {
    let surplus = lines.len().saturating_sub(super::MAX_LINES);
    lines.drain(..surplus);
    for line in lines {
        *line = cut(line, super::MAX_LINE_BYTES);
    }
}

/// Checks one layer of the build, keeps it in this cell's cache, and stores it where the server lacks it.
pub(super) async fn store_layer(
    cache: &Layers,
    server: &Server,
    layer: &Layer,
    folder: &Path,
) -> Result<(), StagingFailure> {
    let internal = |message| StagingFailure::Internal { message };
    let refused = |error: ServerError| match error {
        ServerError::NoRoom(message) => StagingFailure::DiskFull { message },
        other => internal(text_of(&other)),
    };
    let blob = layer_blob(&layer.diff_id);
    let stored = server.has(&blob).await.map_err(refused)?;
    let file = folder.join(format!("{}.tar.zst", layer.diff_id.hex()));
    let (folder, at, declared) = (folder.to_owned(), file.clone(), layer.compressed_size);
    blocking(move || packed(&folder, &at, declared))
        .await
        .map_err(internal)?;
    cache
        .import(layer, &file)
        .await
        .map_err(|error| match error {
            LayerError::NoRoom { .. } => StagingFailure::DiskFull {
                message: text_of(&error),
            },
            other => internal(text_of(&other)),
        })?;
    if !stored {
        server.upload(&blob, &file).await.map_err(refused)?;
    }
    Ok(())
}

/// Checks that a packed layer is a plain file of the declared size.
fn packed(folder: &Path, file: &Path, declared: u64) -> Result<(), String> {
    let problem = |error: io::Error| format!("a declared layer is not readable: {error}");
    if !fs::symlink_metadata(folder).map_err(problem)?.is_dir() {
        return Err("its folder of layers is not a folder".into());
    }
    let size = open_regular(file)
        .and_then(|file| file.metadata())
        .map_err(problem)?
        .len();
    if size == declared {
        Ok(())
    } else {
        Err(format!(
            "a layer has {size} bytes where {declared} were declared"
        ))
    }
}

/// Opens a plain file, never through a link, never waiting for a pipe.
fn open_regular(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other("not a plain file"))
    }
}

/// The digest of a whole file. Blocks.
pub(super) fn digest_of(path: &Path) -> io::Result<Digest> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut block = vec![0; 64 * 1024];
    loop {
        let read = file.read(&mut block)?;
        if read == 0 {
            return Ok(Digest::from_bytes(hash.finalize().into()));
        }
        hash.update(&block[..read]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISK: u64 = 16 << 30;

    #[test]
    fn results_of_a_hostile_build_are_refused() {
        let stack = Stack("host-1".into());
        let folder = tempfile::tempdir().unwrap();
        let result = folder.path().join("result.json");
        let try_text = |text: &[u8]| {
            fs::write(&result, text).unwrap();
            read(folder.path(), &stack, DISK).unwrap_err()
        };
        let image = |stack: &str, command: &str| {
            format!(
                r#"{{"result":"built","image":{{"stack":"{stack}","layers":[],"process_types":{{"web":"{command}"}},"buildpacks":[]}}}}"#
            )
        };
        assert!(
            read(folder.path(), &stack, DISK)
                .unwrap_err()
                .contains("not readable")
        );
        assert!(try_text(b"{").contains("not understood"));
        assert!(try_text(&vec![b' '; 2_000_000]).contains("larger than"));
        assert!(try_text(image("other", "x").as_bytes()).contains("stack other"));
        assert!(
            try_text(image("host-1", &"x".repeat(70_000)).as_bytes()).contains("process type web")
        );
        let digest = "0".repeat(64);
        let layer = |gib: u64| {
            let size = gib << 30;
            format!(
                r#"{{"kind":"app","diff_id":"sha256:{digest}","size":{size},"compressed_size":9}}"#
            )
        };
        let large = image("host-1", "run").replace(
            "[],\"process_types",
            &format!("[{},{}],\"process_types", layer(5), layer(5)),
        );
        assert!(try_text(large.as_bytes()).contains("10737418240 bytes, more than the 8589934592"));
        fs::write(&result, large).unwrap();
        let refused = read(folder.path(), &stack, 4 << 30).unwrap_err();
        assert!(refused.contains("more than the 5368709120"), "{refused}");
        let noise = format!(
            r#"{{"result":"failed","failure":{{"kind":"internal","message":"{}"}}}}"#,
            "\\u0001".repeat(100_000)
        );
        fs::write(&result, noise).unwrap();
        let Ok(Output::Failed(StagingFailure::Internal { message })) =
            read(folder.path(), &stack, DISK)
        else {
            panic!("a failure is read");
        };
        assert!(serde_json::to_string(&message).unwrap().len() < 5000);
        fs::write(&result, image("host-1", "run")).unwrap();
        assert!(matches!(
            read(folder.path(), &stack, DISK),
            Ok(Output::Built(_))
        ));
        fs::rename(&result, folder.path().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink("elsewhere", &result).unwrap();
        assert!(
            read(folder.path(), &stack, DISK)
                .unwrap_err()
                .contains("not readable"),
            "no link is followed"
        );
    }
}
