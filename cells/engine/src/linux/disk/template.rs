//! An empty file system, made once for each size and then written again and again: `mkfs` takes longer than all the rest of a
//! container's start.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use model::limits::Megabytes;

use super::kernel;

const MIB: u64 = 1024 * 1024;
/// One inode for so many bytes; half of what ext4 has usually, as builds make many small files.
const BYTES_PER_INODE: &str = "8192";
/// Where distributions keep it, which is not in every search path.
const MKFS: [&str; 4] = [
    "mkfs.ext4",
    "/usr/sbin/mkfs.ext4",
    "/sbin/mkfs.ext4",
    "/usr/local/sbin/mkfs.ext4",
];

/// The parts of an image that are not empty.
#[derive(Debug)]
pub(super) struct Template {
    bytes: u64,
    parts: Vec<(u64, Vec<u8>)>,
}

impl Template {
    /// Makes a file system in a file in `folder`, lets `fill` put into it what each shall have, and takes its contents.
    pub(super) fn make(
        folder: &Path,
        size: Megabytes,
        fill: impl FnOnce(&Path) -> io::Result<()>,
    ) -> io::Result<Self> {
        let name = format!("template-{}-{}.img", size.0, std::process::id());
        let path = Unlinked(folder.join(name));
        let bytes = image_bytes(size);
        let file = create(&path.0)?;
        file.set_len(bytes)?;
        run_mkfs(&path.0)?;
        fill(&path.0)?;
        wait_until_free(&path.0)?;
        let parts = kernel::data_of(&file)?
            .into_iter()
            .map(|range| {
                let length = usize::try_from(range.end - range.start).map_err(io::Error::other)?;
                let mut part = vec![0; length];
                file.read_exact_at(&mut part, range.start)?;
                Ok((range.start, part))
            })
            .collect::<io::Result<_>>()?;
        Ok(Self { bytes, parts })
    }

    /// Replaces the file at `path` by a fresh image.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let file = create(path)?;
        file.set_len(self.bytes)?;
        self.parts
            .iter()
            .try_for_each(|(at, part)| file.write_all_at(part, *at))
    }
}

/// Waits until everything is in the file. A process that another thread is just starting has the mount's descriptor as well, up to
/// its `exec`, and only with the last one does the file system write what it has kept and mark itself as clean.
fn wait_until_free(image: &Path) -> io::Result<()> {
    const PATIENCE: Duration = Duration::from_secs(5);
    let deadline = Instant::now() + PATIENCE;
    while kernel::is_attached(image)? {
        if Instant::now() > deadline {
            return Err(io::Error::other(format!(
                "{} is still mounted",
                image.display()
            )));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Removes the file that templates are made in.
struct Unlinked(std::path::PathBuf);

impl Drop for Unlinked {
    fn drop(&mut self) {
        // The next template of that size takes its place.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn create(path: &Path) -> io::Result<File> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// The file system's own tables, and the blocks that ext4 holds back, are not at the container's expense.
fn image_bytes(size: Megabytes) -> u64 {
    size.bytes() + size.bytes() / 20 / MIB * MIB + 24 * MIB
}

fn run_mkfs(image: &Path) -> io::Result<()> {
    let mut missing = io::Error::from(io::ErrorKind::NotFound);
    for program in MKFS {
        let ended = Command::new(program)
            .args(["-q", "-F", "-m", "0", "-b", "4096", "-i", BYTES_PER_INODE])
            // Nothing is kept over a crash of the host, so nothing needs a journal.
            .args(["-O", "^has_journal,^resize_inode"])
            .args(["-E", "lazy_itable_init=1,nodiscard"])
            .arg(image)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .output();
        match ended {
            Ok(ended) if ended.status.success() => return Ok(()),
            Ok(ended) => {
                let said = String::from_utf8_lossy(&ended.stderr);
                let said: String = said.trim().chars().take(300).collect();
                return Err(io::Error::other(format!(
                    "{program}: {}: {said}",
                    ended.status
                )));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => missing = error,
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(
        missing.kind(),
        "mkfs.ext4 (of e2fsprogs) is not installed",
    ))
}

/// Whether an image has this size and was unmounted in order, by the state in its superblock
/// (<https://docs.kernel.org/filesystems/ext4/super.html>: `s_magic` at 0x38, `s_state` at 0x3A). Without a journal, nothing
/// else could be trusted after a crash of the host.
pub(super) fn is_usable(file: &File, size: Megabytes) -> io::Result<bool> {
    const SUPERBLOCK: u64 = 1024;
    const MAGIC: [u8; 2] = 0xEF53_u16.to_le_bytes();
    const CLEAN: [u8; 2] = 1_u16.to_le_bytes();
    if file.metadata()?.len() != image_bytes(size) {
        return Ok(false);
    }
    let mut state = [0; 4];
    file.read_exact_at(&mut state, SUPERBLOCK + 0x38)?;
    Ok(state[..2] == MAGIC && state[2..] == CLEAN)
}
