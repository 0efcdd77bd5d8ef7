//! What this host can offer, measured.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use model::limits::Megabytes;
use model::protocol::cell::CellCapacity;

/// Diego's limit of containers per cell.
const MAX_CONTAINERS: u32 = 250;
/// Kept back for the system and for Slipway itself: a tenth, at least this much, but never more than a quarter.
const MIN_MEMORY_RESERVE_MB: u64 = 512;
const MIN_DISK_RESERVE_MB: u64 = 1024;
const MIB: u64 = 1024 * 1024;

/// Memory and disk that instances and builds may be promised. They live in `data`, and so does what the cell itself has on
/// disk now, of `own` bytes.
pub(crate) fn measure(data: &Path, own: u64) -> io::Result<CellCapacity> {
    let memory = total_memory(Path::new("/"))? / MIB;
    let free = u64::from(free_disk(data)?.0);
    Ok(offer(memory, free, own / MIB))
}

/// From what the host has, in MiB. The server subtracts what it has placed here, so what the cell itself takes of the disk
/// must not be subtracted before: an agent that is started anew offers what the one before it did.
fn offer(memory: u64, free_disk: u64, own_disk: u64) -> CellCapacity {
    let without = |amount: u64, least: u64| amount - (amount / 10).max(least.min(amount / 4));
    let megabytes = |amount: u64| Megabytes(u32::try_from(amount).unwrap_or(u32::MAX));
    CellCapacity {
        memory: megabytes(without(memory, MIN_MEMORY_RESERVE_MB)),
        disk: megabytes(without(free_disk + own_disk, MIN_DISK_RESERVE_MB)),
        containers: MAX_CONTAINERS,
    }
}

/// With less than this free, a cell begins nothing new: a twentieth of the file system, within bounds. What runs needs some
/// room to end in order, and so does the server beside it.
pub(crate) fn min_free_disk(path: &Path) -> io::Result<Megabytes> {
    const BOUNDS: (u64, u64) = (256, 2048);
    let kept = (total_disk(path)? / MIB / 20).clamp(BOUNDS.0, BOUNDS.1);
    Ok(Megabytes(u32::try_from(kept).unwrap_or(u32::MAX)))
}

/// The size of the file system of `path`, in bytes.
pub(crate) fn total_disk(path: &Path) -> io::Result<u64> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
    let found = statvfs(&path)?;
    let bytes = u128::from(found.f_blocks) * u128::from(found.f_frsize);
    Ok(u64::try_from(bytes).unwrap_or(u64::MAX))
}

/// Free space for unprivileged users on the file system of `path`.
pub(crate) fn free_disk(path: &Path) -> io::Result<Megabytes> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
    let found = statvfs(&path)?;
    let bytes = u128::from(found.f_bavail) * u128::from(found.f_frsize);
    Ok(Megabytes(
        u32::try_from(bytes / u128::from(MIB)).unwrap_or(u32::MAX),
    ))
}

#[allow(unsafe_code, reason = "std does not tell how full a file system is")]
fn statvfs(path: &CString) -> io::Result<libc::statvfs> {
    let mut found = std::mem::MaybeUninit::uninit();
    // SAFETY: the path ends with a zero byte, and statvfs fills the struct whenever it returns 0.
    unsafe {
        if libc::statvfs(path.as_ptr(), found.as_mut_ptr()) == 0 {
            Ok(found.assume_init())
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

/// The smaller of the host's memory and of this process's own cgroup limit, in bytes.
fn total_memory(root: &Path) -> io::Result<u64> {
    let meminfo = fs::read_to_string(root.join("proc/meminfo"))?;
    let kilobytes = meminfo.lines().find_map(|line| {
        line.strip_prefix("MemTotal:")?
            .trim()
            .strip_suffix("kB")?
            .trim()
            .parse::<u64>()
            .ok()
    });
    let host = kilobytes.ok_or_else(|| io::Error::other("/proc/meminfo has no MemTotal"))? * 1024;
    Ok(cgroup_limits(root).fold(host, u64::min))
}

/// Memory limits of this process's cgroup and of those above it, of either version.
fn cgroup_limits(root: &Path) -> impl Iterator<Item = u64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let files: Vec<_> = groups
        .lines()
        .filter_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next()?, parts.next()?.trim_start_matches('/'));
            let (top, file) = match controllers {
                "" => ("sys/fs/cgroup", "memory.max"),
                "memory" => ("sys/fs/cgroup/memory", "memory.limit_in_bytes"),
                _ => return None,
            };
            let groups = Path::new(path).ancestors();
            Some(groups.map(move |group| root.join(top).join(group).join(file)))
        })
        .flatten()
        .collect();
    files
        .into_iter()
        .filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_limit_below_the_hosts_memory_counts() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(
            "proc/meminfo",
            "MemFree: 1 kB\nMemTotal:       16384000 kB\n",
        );
        assert_eq!(total_memory(folder.path()).unwrap(), 16_384_000 * 1024);
        write(
            "proc/self/cgroup",
            "12:cpu:/x\n4:memory:/box\n0::/unified\n",
        );
        write(
            "sys/fs/cgroup/memory/box/memory.limit_in_bytes",
            "2147483648\n",
        );
        write("sys/fs/cgroup/unified/memory.max", "max\n");
        assert_eq!(total_memory(folder.path()).unwrap(), 2_147_483_648);
        write("sys/fs/cgroup/memory.max", "1073741824\n");
        assert_eq!(
            total_memory(folder.path()).unwrap(),
            1_073_741_824,
            "the limit of a cgroup above"
        );
        write("sys/fs/cgroup/unified/memory.max", "1048576\n");
        assert_eq!(total_memory(folder.path()).unwrap(), 1_048_576);
    }

    #[test]
    fn what_the_cell_itself_takes_of_the_disk_does_not_make_its_offer_smaller() {
        const GIB: u64 = 1024;
        let first = offer(16 * GIB, 80 * GIB, 0);
        assert_eq!((first.memory.0, first.disk.0), (14_746, 73_728));
        for own in [1, 38 * GIB, 80 * GIB] {
            assert_eq!(offer(16 * GIB, 80 * GIB - own, own), first, "{own} MiB");
        }
        let less = offer(16 * GIB, 40 * GIB, 38 * GIB).disk;
        assert!(less < first.disk, "others took 2 GiB");
    }

    #[test]
    fn this_host_has_something_to_offer() {
        let capacity = measure(Path::new("."), 0).unwrap();
        assert!(
            capacity.memory.0 > 0 && capacity.containers == 250,
            "{capacity:?}"
        );
    }
}
