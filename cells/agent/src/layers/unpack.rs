//! Unpacks one layer and believes nothing it says: a layer comes from a build, and builds run foreign code.
//!
//! Names stay below the root and never lead through a link; there are only folders, files and links; sizes, the number of
//! entries and the digest are what was declared, or nothing of it is used.

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::{self, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use model::digest::Digest;
use model::droplet::Layer;
use sha2::{Digest as _, Sha256};
use tar::{Archive, Entry, EntryType};

use super::gate::Gate;
use super::names::{check_link, relative, shown};

/// Diego's limit of inodes for one container.
const MAX_ENTRIES: usize = 200_000;
/// All names together; they are held in memory while a layer is unpacked.
const MAX_NAMES_BYTES: usize = 64 * 1024 * 1024;
/// zstd windows beyond 128 MiB are refused, which bounds the memory of unpacking.
const MAX_WINDOW_LOG: u32 = 27;
/// Who owns unpacked files.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum UnpackError {
    #[error("the archive is broken")]
    Broken(#[source] io::Error),
    #[error("entry '{path}': {why}")]
    Entry { path: String, why: &'static str },
    #[error("could not unpack '{path}'")]
    Write {
        path: String,
        #[source]
        source: io::Error,
    },
    #[error("more than {MAX_ENTRIES} entries, or more than {MAX_NAMES_BYTES} bytes of names")]
    TooMany,
    #[error("unpacks to more than the declared {0} bytes")]
    TooLarge(u64),
    #[error("unpacks to {got} bytes with digest {digest}, which is not what was declared")]
    Differs { got: u64, digest: Digest },
}

/// Unpacks `packed` below the empty folder `root`.
pub(crate) fn unpack(
    packed: impl Read,
    layer: &Layer,
    root: &Path,
    owner: Option<Owner>,
) -> Result<(), UnpackError> {
    walk(
        packed,
        layer,
        &mut Target {
            root: Some(root),
            owner,
            ..Target::default()
        },
    )
}

/// Checks `packed` as [`unpack`] does, and writes nothing.
pub(crate) fn check(packed: impl Read, layer: &Layer) -> Result<(), UnpackError> {
    walk(packed, layer, &mut Target::default())
}

fn walk(packed: impl Read, layer: &Layer, target: &mut Target<'_>) -> Result<(), UnpackError> {
    let mut decoder = zstd::Decoder::new(packed).map_err(UnpackError::Broken)?;
    decoder
        .window_log_max(MAX_WINDOW_LOG)
        .map_err(UnpackError::Broken)?;
    let limit = layer.size;
    let measured = Measured {
        inner: decoder,
        gate: Gate::new(),
        hash: Sha256::new(),
        bytes: 0,
        limit,
        exceeded: false,
    };
    let mut archive = Archive::new(BufReader::with_capacity(128 * 1024, measured));
    let walked = target.take_all(&mut archive);
    let mut rest = archive.into_inner();
    if rest.get_ref().exceeded {
        return Err(UnpackError::TooLarge(layer.size));
    }
    walked?;
    // The digest is over all bytes, also those after the archive's end mark.
    let drained = io::copy(&mut rest, &mut io::sink());
    let measured = rest.into_inner();
    if measured.exceeded {
        return Err(UnpackError::TooLarge(layer.size));
    }
    drained.map_err(UnpackError::Broken)?;
    let digest = Digest::from_bytes(measured.hash.finalize().into());
    if digest != layer.diff_id || measured.bytes != layer.size {
        return Err(UnpackError::Differs {
            got: measured.bytes,
            digest,
        });
    }
    target.finish()
}

/// Counts and hashes what is read, up to a limit.
struct Measured<R> {
    inner: R,
    gate: Gate,
    hash: Sha256,
    bytes: u64,
    limit: u64,
    exceeded: bool,
}

impl<R: Read> Read for Measured<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.bytes += read as u64;
        if self.bytes > self.limit {
            self.exceeded = true;
            return Err(io::Error::other("larger than declared"));
        }
        self.hash.update(&buffer[..read]);
        self.gate.pass(&buffer[..read])?;
        Ok(read)
    }
}

/// What was unpacked so far; without a root nothing is written.
#[derive(Default)]
struct Target<'a> {
    root: Option<&'a Path>,
    owner: Option<Owner>,
    folders: HashSet<PathBuf>,
    files: HashSet<PathBuf>,
    links: HashSet<PathBuf>,
    names_bytes: usize,
    /// Modes that are set at the end, since a read-only folder could not be filled.
    modes: Vec<(PathBuf, u32)>,
}

impl Target<'_> {
    fn take_all<R: Read>(&mut self, archive: &mut Archive<R>) -> Result<(), UnpackError> {
        for (count, entry) in archive.entries().map_err(UnpackError::Broken)?.enumerate() {
            if count >= MAX_ENTRIES {
                return Err(UnpackError::TooMany);
            }
            self.take(entry.map_err(UnpackError::Broken)?)?;
        }
        Ok(())
    }

    fn take<R: Read>(&mut self, mut entry: Entry<'_, R>) -> Result<(), UnpackError> {
        let kind = entry.header().entry_type();
        let raw = entry.path_bytes().into_owned();
        let refuse = |why| UnpackError::Entry {
            path: shown(&raw),
            why,
        };
        let path = relative(&raw).map_err(refuse)?;
        if path.as_os_str().is_empty() {
            return if kind.is_dir() {
                Ok(())
            } else {
                Err(refuse("has no name"))
            };
        }
        let mode = entry.header().mode().map_err(UnpackError::Broken)? & 0o777;
        self.make_parents(&path, &refuse)?;
        match kind {
            EntryType::Directory => self.make_folder(path, mode, &refuse),
            EntryType::Regular | EntryType::Continuous => {
                self.claim(&path, &refuse)?;
                self.write_file(&path, mode, &mut entry)
            }
            EntryType::Symlink => {
                let target = entry
                    .link_name_bytes()
                    .ok_or_else(|| refuse("is a link without a target"))?
                    .into_owned();
                check_link(&path, &target).map_err(refuse)?;
                self.reserve(&path, &refuse)?;
                self.links.insert(path.clone());
                self.write(&path, |at, owner| {
                    std::os::unix::fs::symlink(std::ffi::OsStr::from_bytes(&target), at)?;
                    own(owner, at)
                })
            }
            EntryType::Link => {
                let target = entry
                    .link_name_bytes()
                    .ok_or_else(|| refuse("is a link without a target"))?
                    .into_owned();
                let target = relative(&target)
                    .map_err(|_| refuse("is a link that leads out of the layer"))?;
                if !self.files.contains(&target) {
                    return Err(refuse(
                        "is a hard link to something that is no file before it",
                    ));
                }
                self.claim(&path, &refuse)?;
                let from = self.root.map(|root| root.join(target));
                self.write(&path, |at, _| {
                    from.map_or(Ok(()), |from| fs::hard_link(from, at))
                })
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => Err(refuse("is a device")),
            _ => Err(refuse("has a kind that layers do not have")),
        }
    }

    /// Makes the folders above `path`. None of them can be a link, since only folders made here count.
    fn make_parents(
        &mut self,
        path: &Path,
        refuse: &impl Fn(&'static str) -> UnpackError,
    ) -> Result<(), UnpackError> {
        match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() && !self.folders.contains(parent) => {
                self.make_parents(parent, refuse)?;
                self.make_folder(parent.to_owned(), 0o755, refuse)
            }
            _ => Ok(()),
        }
    }

    fn make_folder(
        &mut self,
        path: PathBuf,
        mode: u32,
        refuse: &impl Fn(&'static str) -> UnpackError,
    ) -> Result<(), UnpackError> {
        if self.folders.contains(&path) {
            // As its name is in the archive again, it counts again.
            self.count(&path)?;
        } else {
            if self.files.contains(&path) || self.links.contains(&path) {
                return Err(refuse("stands below or in place of a file or link"));
            }
            self.count(&path)?;
            self.write(&path, |at, owner| {
                fs::create_dir(at)?;
                own(owner, at)
            })?;
            self.folders.insert(path.clone());
        }
        self.modes.push((path, mode | 0o700));
        Ok(())
    }

    fn write_file<R: Read>(
        &self,
        path: &Path,
        mode: u32,
        entry: &mut Entry<'_, R>,
    ) -> Result<(), UnpackError> {
        let modified =
            entry.header().mtime().ok().and_then(|seconds| {
                SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
            });
        if self.root.is_none() {
            io::copy(entry, &mut io::sink()).map_err(UnpackError::Broken)?;
            return Ok(());
        }
        self.write(path, |at, owner| {
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(at)?;
            io::copy(entry, &mut file)?;
            if let Some(owner) = owner {
                std::os::unix::fs::fchown(&file, Some(owner.uid), Some(owner.gid))?;
            }
            file.set_permissions(fs::Permissions::from_mode(mode))?;
            // Archives of classes made at build time compare these times.
            modified.map_or(Ok(()), |modified| file.set_modified(modified))
        })
    }

    /// Notes a name that becomes a file.
    fn claim(
        &mut self,
        path: &Path,
        refuse: &impl Fn(&'static str) -> UnpackError,
    ) -> Result<(), UnpackError> {
        self.reserve(path, refuse)?;
        self.files.insert(path.to_owned());
        Ok(())
    }

    fn reserve(
        &mut self,
        path: &Path,
        refuse: &impl Fn(&'static str) -> UnpackError,
    ) -> Result<(), UnpackError> {
        if self.folders.contains(path) || self.files.contains(path) || self.links.contains(path) {
            return Err(refuse("is there twice"));
        }
        self.count(path)
    }

    fn count(&mut self, path: &Path) -> Result<(), UnpackError> {
        self.names_bytes += path.as_os_str().len();
        // Parents that are only implied count too.
        if self.folders.len() + self.files.len() + self.links.len() >= MAX_ENTRIES
            || self.names_bytes > MAX_NAMES_BYTES
        {
            Err(UnpackError::TooMany)
        } else {
            Ok(())
        }
    }

    fn write(
        &self,
        path: &Path,
        act: impl FnOnce(&Path, Option<Owner>) -> io::Result<()>,
    ) -> Result<(), UnpackError> {
        let Some(root) = self.root else { return Ok(()) };
        act(&root.join(path), self.owner).map_err(|source| UnpackError::Write {
            path: path.display().to_string(),
            source,
        })
    }

    fn finish(&self) -> Result<(), UnpackError> {
        for (path, mode) in self.modes.iter().rev() {
            self.write(path, |at, _| {
                fs::set_permissions(at, fs::Permissions::from_mode(*mode))
            })?;
        }
        let top = Path::new("");
        self.write(top, |at, owner| {
            fs::set_permissions(at, fs::Permissions::from_mode(0o755))?;
            own(owner, at)
        })
    }
}

fn own(owner: Option<Owner>, path: &Path) -> io::Result<()> {
    owner.map_or(Ok(()), |owner| {
        std::os::unix::fs::lchown(path, Some(owner.uid), Some(owner.gid))
    })
}
