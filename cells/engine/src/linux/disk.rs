//! A disk of a container's own: a file with an ext4 file system of the size of the container's limit, so that whoever fills
//! it fills nothing else.
//!
//! A disk is only ever mounted detached, by descriptor: here for a moment, then in the container's own mount namespace. The
//! kernel takes loop device and mount back when the last of those is gone, so a crash leaves nothing but the file, which
//! lies in a folder that is cleared away. Where the host has no loop devices or no `mkfs.ext4`, containers write to the
//! host's own file system, and the agent looks at how much from time to time.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use model::limits::Megabytes;
use model::protocol::cell::DiskLimit;

use super::{VCAP, trial};
use crate::EngineError;

mod kernel;
mod template;

use template::Template;

/// The image of a container's scratch space, in the container's folder.
const SCRATCH_IMAGE: &str = "scratch.img";
/// The image of a build cache, in the cache's folder.
const CACHE_IMAGE: &str = "image";
/// The folder of a cache's files, on its image or in its folder.
pub(super) const FILES: &str = "files";
/// Different sizes that are kept prepared. Users choose sizes.
const MAX_TEMPLATES: usize = 16;
/// Small, so that trying it out costs next to nothing.
const TRIAL: Megabytes = Megabytes(16);

/// What is made on each disk: name, mode, owner.
const FOLDERS: [(&str, u32, u32); 5] = [
    ("upper", 0o755, VCAP),
    ("work", 0o700, 0),
    ("tmp", 0o1777, 0),
    (super::RESULTS, 0o755, VCAP),
    (FILES, 0o755, VCAP),
];

/// Makes disks, where this host can.
#[derive(Debug)]
pub(super) struct Disks {
    limit: DiskLimit,
    /// Where templates are made.
    state: PathBuf,
    templates: Mutex<BTreeMap<Megabytes, Arc<Template>>>,
}

impl Disks {
    /// Finds out what this host can do, by doing it. An error says nothing about that.
    pub(super) fn probe(state: &Path) -> Result<Self, EngineError> {
        let mut disks = Self {
            limit: DiskLimit::Hard,
            ..Self::none(state)
        };
        let trial = state.join(format!("trial-{}.img", std::process::id()));
        let tried = disks
            .make(&trial, TRIAL)
            .and_then(|mount| std::fs::write(inside(&mount).join(FILES).join("trial"), "trial"));
        // Where it is still there, it is empty and is made anew next time.
        let _ = std::fs::remove_file(&trial);
        disks.lock().clear();
        if let Err(error) = tried {
            if !trial::is_lack(&error) {
                let tried = format!("try out a disk of a container's own in {}", state.display());
                return Err(EngineError::io(tried)(error));
            }
            tracing::warn!(
                %error,
                "containers get no disk of their own here, so their use of the disk is looked at every few seconds instead; \
                 it takes loop devices, ext4, and the program mkfs.ext4 of e2fsprogs"
            );
            disks.limit = DiskLimit::Sampled;
        }
        Ok(disks)
    }

    /// Makes none.
    pub(super) fn none(state: &Path) -> Self {
        Self {
            limit: DiskLimit::Sampled,
            state: state.to_owned(),
            templates: Mutex::default(),
        }
    }

    pub(super) const fn limit(&self) -> DiskLimit {
        self.limit
    }

    /// A new disk for the container in `dir`, whose home belongs to `owner`, or plain folders where there are no disks.
    pub(super) fn scratch(
        &self,
        dir: &Path,
        size: Megabytes,
        owner: u32,
    ) -> Result<Option<OwnedFd>, EngineError> {
        let own = |root: &Path| chown(root.join("upper"), Some(owner), Some(owner));
        let place = dir.join(super::SCRATCH);
        let made = || {
            std::fs::create_dir_all(&place)?;
            // The path to it may be open to others of the host's users; the contents are not theirs.
            std::fs::set_permissions(dir, Permissions::from_mode(0o700))?;
            match self.limit {
                DiskLimit::Sampled => {
                    make_folders(&place)?;
                    own(&place)?;
                    Ok(None)
                }
                DiskLimit::Hard => {
                    let mount = self.make(&dir.join(SCRATCH_IMAGE), size)?;
                    own(&inside(&mount))?;
                    Ok(Some(mount))
                }
            }
        };
        made().map_err(EngineError::io(format!(
            "make the disk of the container in {}",
            dir.display()
        )))
    }

    /// The disk of a build cache, which stays; none where there are no disks, and the cache is a plain folder. One that was not
    /// unmounted in order, or has another size, begins empty.
    pub(super) fn cache(
        &self,
        folder: &Path,
        size: Megabytes,
    ) -> Result<Option<OwnedFd>, EngineError> {
        if self.limit == DiskLimit::Sampled {
            return Ok(None);
        }
        let image = folder.join(CACHE_IMAGE);
        let mounted = || -> io::Result<OwnedFd> {
            let usable = match File::open(&image) {
                Ok(file) => template::is_usable(&file, size)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => false,
                Err(error) => return Err(error),
            };
            if !usable {
                return self.make(&image, size);
            }
            match mount(&image, Access::Write) {
                Ok(mount) => Ok(mount),
                Err(error) => {
                    tracing::warn!(image = %image.display(), %error, "a build cache cannot be used and begins anew");
                    self.make(&image, size)
                }
            }
        };
        mounted().map(Some).map_err(EngineError::io(format!(
            "make the disk of the build cache in {}",
            folder.display()
        )))
    }

    /// Waits until nobody uses the disk of a cache. The kernel lets go of it a moment after its last user, and does not say so.
    pub(super) async fn cache_is_free(&self, folder: &Path) -> Result<(), EngineError> {
        const PATIENCE: Duration = Duration::from_secs(5);
        const PAUSE: Duration = Duration::from_millis(10);
        let image = folder.join(CACHE_IMAGE);
        let tried = || EngineError::io(format!("use the build cache in {}", folder.display()));
        let deadline = Instant::now() + PATIENCE;
        while kernel::is_attached(&image).map_err(tried())? {
            if Instant::now() > deadline {
                return Err(tried()(io::Error::other("another build uses it")));
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Where the scratch space of an ended container is to be read. The folder is gone once the second part is dropped.
    pub(super) fn open_ended(&self, dir: &Path) -> Result<(PathBuf, Option<OwnedFd>), EngineError> {
        let image = dir.join(SCRATCH_IMAGE);
        if !image.exists() {
            return Ok((dir.join(super::SCRATCH), None));
        }
        let mount = mount(&image, Access::ReadOnly).map_err(EngineError::io(format!(
            "open the disk of the container in {}",
            dir.display()
        )))?;
        Ok((inside(&mount), Some(mount)))
    }

    fn make(&self, image: &Path, size: Megabytes) -> io::Result<OwnedFd> {
        let template = self.template(size)?;
        template.write(image)?;
        mount(image, Access::Write)
    }

    fn template(&self, size: Megabytes) -> io::Result<Arc<Template>> {
        // Held meanwhile: whoever needs the same template waits for it instead of making another.
        let mut templates = self.lock();
        if let Some(found) = templates.get(&size) {
            return Ok(found.clone());
        }
        let template = Arc::new(Template::make(&self.state, size, |image| {
            let mount = mount(image, Access::Write)?;
            make_folders(&inside(&mount))
        })?);
        if templates.len() >= MAX_TEMPLATES {
            templates.clear();
        }
        templates.insert(size, template.clone());
        Ok(template)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Megabytes, Arc<Template>>> {
        self.templates
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Write,
    ReadOnly,
}

/// Mounts an image, detached. Dropping the descriptor unmounts it, unless it was attached somewhere meanwhile.
fn mount(image: &Path, access: Access) -> io::Result<OwnedFd> {
    let file = OpenOptions::new()
        .read(true)
        .write(access == Access::Write)
        .custom_flags(libc::O_NOFOLLOW)
        .open(image)?;
    let read_only = access == Access::ReadOnly;
    let (name, _device) = kernel::attach(&file, read_only)?;
    kernel::mount_ext4(&name, read_only)
}

/// The path of a detached mount, for this process.
fn inside(mount: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd()))
}

/// The folders that a container may write to: its home's upper layer, `/tmp`, results, the files of a cache.
fn make_folders(root: &Path) -> io::Result<()> {
    for (name, mode, owner) in FOLDERS {
        let folder = root.join(name);
        std::fs::create_dir_all(&folder)?;
        std::fs::set_permissions(&folder, Permissions::from_mode(mode))?;
        chown(&folder, Some(owner), Some(owner))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_that_could_not_be_made_says_nothing_about_disks() {
        let found = Disks::probe(Path::new("/dev/null"));
        assert!(found.is_err(), "{:?}", found.map(|disks| disks.limit));
    }
}
