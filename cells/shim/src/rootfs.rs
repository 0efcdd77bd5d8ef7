//! The container's view of files: mounts below a root folder, then that folder becomes `/`.
//!
//! Mount points are looked up as the container would see them (`RESOLVE_IN_ROOT`): the lower layers of the home folder
//! come from the app, and a link in them must not make us mount over the host.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};

use crate::config::{Config, Linux, Mount, Root};
use crate::disks::Disks;
use crate::{mapping, sys};

/// Device nodes that a container has, as binds of the host's.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
const DEVICE_LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("pts/ptmx", "ptmx"),
];

/// Builds the file tree in the current mount namespace and moves into it. `users` is the container's user namespace, where
/// it has one.
pub(crate) fn enter(
    config: &Config,
    root: &Root,
    linux: &Linux,
    users: Option<&OwnedFd>,
    disks: Disks,
) -> Result<(), String> {
    sys::mount(
        "none",
        Path::new("/"),
        "",
        libc::MS_REC | libc::MS_PRIVATE,
        "",
    )
    .map_err(|error| format!("make mounts private: {error}"))?;
    disks
        .attach()
        .map_err(|error| format!("attach the container's disk: {error}"))?;
    let root_fd = bind_root(root).map_err(|error| format!("bind the root folder: {error}"))?;
    for mount in &config.mounts {
        place(root_fd.as_fd(), mount, users)
            .map_err(|error| format!("mount {} ({}): {error}", mount.destination, mount.kind))?;
        if mount.destination == "/dev" {
            fill_dev(root_fd.as_fd(), root).map_err(|error| format!("fill /dev: {error}"))?;
        }
    }
    let attributes =
        sys::MOUNT_NOSUID | sys::MOUNT_NODEV | if root.readonly { sys::MOUNT_RDONLY } else { 0 };
    sys::set_mount_attributes(root_fd.as_fd(), attributes, false)
        .map_err(|error| format!("protect the root: {error}"))?;
    sys::change_dir(root_fd.as_fd())
        .and_then(|()| sys::pivot_here())
        .map_err(|error| format!("change the root: {error}"))?;
    std::env::set_current_dir("/").map_err(|error| format!("change to the new root: {error}"))?;
    hide(linux)
}

fn bind_root(root: &Root) -> io::Result<OwnedFd> {
    let tree = sys::clone_mount(&root.path, false)?;
    let at = std::fs::File::open(&root.path)?;
    sys::attach_mount(tree.as_fd(), at.as_fd())?;
    // The descriptor of the detached tree now is the attached mount, whose root is the folder itself.
    Ok(tree)
}

fn place(root: BorrowedFd<'_>, mount: &Mount, users: Option<&OwnedFd>) -> io::Result<()> {
    let destination = Path::new(&mount.destination);
    let options = Options::parse(&mount.options);
    if mount.kind == "bind" {
        let source = Path::new(&mount.source);
        let tree = sys::clone_mount(source, options.recursive)?;
        let target = mount_point(root, destination, std::fs::metadata(source)?.is_dir())?;
        sys::set_mount_attributes(tree.as_fd(), options.attributes, options.recursive)?;
        if let Some(users) = users.filter(|_| options.mapped) {
            sys::map_mount(tree.as_fd(), users.as_fd())?;
        }
        return sys::attach_mount(tree.as_fd(), target.as_fd());
    }
    if let Some(users) = users.filter(|_| mount.kind == "overlay") {
        for layer in options.lower_layers() {
            mapping::cover(layer, users)?;
        }
    }
    let target = mount_point(root, destination, true)?;
    let target = PathBuf::from(format!("/proc/self/fd/{}", target.as_raw_fd()));
    sys::mount(
        &mount.source,
        &target,
        &mount.kind,
        options.mount_flags(),
        &options.data,
    )
}

/// Opens the place to mount on, making it where it does not exist. Only a writable part of the tree can lack one.
fn mount_point(root: BorrowedFd<'_>, destination: &Path, folder: bool) -> io::Result<OwnedFd> {
    match sys::open_inside(root, destination, libc::O_PATH) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        found => return found,
    }
    let names: Vec<_> = destination
        .components()
        .filter_map(|part| match part {
            Component::Normal(name) => name.to_str(),
            _ => None,
        })
        .collect();
    let Some((last, parents)) = names.split_last() else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "no name in the mount's destination",
        ));
    };
    let mut here = PathBuf::from("/");
    for name in parents {
        let dir = sys::open_inside(root, &here, libc::O_PATH)?;
        ignore_existing(sys::mkdir_at(dir.as_fd(), name))?;
        here.push(name);
    }
    if folder {
        let dir = sys::open_inside(root, &here, libc::O_PATH)?;
        ignore_existing(sys::mkdir_at(dir.as_fd(), last))?;
    } else {
        sys::open_inside(root, destination, libc::O_CREAT | libc::O_WRONLY)?;
    }
    sys::open_inside(root, destination, libc::O_PATH)
}

fn ignore_existing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

fn fill_dev(root: BorrowedFd<'_>, root_config: &Root) -> io::Result<()> {
    let attributes = sys::MOUNT_NOSUID | sys::MOUNT_NOEXEC;
    for device in DEVICES {
        let host = Path::new("/dev").join(device);
        let tree = sys::clone_mount(&host, false)?;
        let target = mount_point(root, &host, false)?;
        sys::set_mount_attributes(tree.as_fd(), attributes, false)?;
        sys::attach_mount(tree.as_fd(), target.as_fd())?;
    }
    // The mount at `/dev` is a fresh, empty tmpfs of ours, so plain paths lead nowhere else.
    for (target, name) in DEVICE_LINKS {
        symlink(target, root_config.path.join("dev").join(name))?;
    }
    Ok(())
}

/// Masks and protects what the kernel shows of the host below `/proc` and `/sys`, as Docker does.
fn hide(linux: &Linux) -> Result<(), String> {
    for path in &linux.masked_paths {
        let path = Path::new(path);
        let masked = match std::fs::symlink_metadata(path) {
            Err(_) => continue,
            Ok(found) if found.is_dir() => {
                let flags = libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
                sys::mount("tmpfs", path, "tmpfs", flags, "size=0k,nr_inodes=2")
            }
            Ok(_) => bind(
                Path::new("/dev/null"),
                path,
                sys::MOUNT_NOSUID | sys::MOUNT_NOEXEC,
            ),
        };
        masked.map_err(|error| format!("mask {}: {error}", path.display()))?;
    }
    for path in linux
        .readonly_paths
        .iter()
        .map(Path::new)
        .filter(|path| path.exists())
    {
        let attributes =
            sys::MOUNT_RDONLY | sys::MOUNT_NOSUID | sys::MOUNT_NODEV | sys::MOUNT_NOEXEC;
        bind(path, path, attributes)
            .map_err(|error| format!("protect {}: {error}", path.display()))?;
    }
    Ok(())
}

fn bind(source: &Path, target: &Path, attributes: u64) -> io::Result<()> {
    let tree = sys::clone_mount(source, false)?;
    let root = std::fs::File::open("/")?;
    let target = sys::open_inside(root.as_fd(), target, libc::O_PATH)?;
    sys::set_mount_attributes(tree.as_fd(), attributes, false)?;
    sys::attach_mount(tree.as_fd(), target.as_fd())
}

/// An OCI mount's options, sorted by where the kernel takes them.
struct Options {
    attributes: u64,
    recursive: bool,
    mapped: bool,
    data: String,
}

impl Options {
    fn parse(options: &[String]) -> Self {
        let mut parsed = Self {
            attributes: 0,
            recursive: false,
            mapped: false,
            data: String::new(),
        };
        for option in options {
            match option.as_str() {
                "ro" => parsed.attributes |= sys::MOUNT_RDONLY,
                "nosuid" => parsed.attributes |= sys::MOUNT_NOSUID,
                "nodev" => parsed.attributes |= sys::MOUNT_NODEV,
                "noexec" => parsed.attributes |= sys::MOUNT_NOEXEC,
                "rbind" => parsed.recursive = true,
                "idmap" => parsed.mapped = true,
                "bind" | "rw" => {}
                data => {
                    if !parsed.data.is_empty() {
                        parsed.data.push(',');
                    }
                    parsed.data.push_str(data);
                }
            }
        }
        parsed
    }

    /// Of an overlay.
    fn lower_layers(&self) -> impl Iterator<Item = &Path> {
        let lower = self
            .data
            .split(',')
            .find_map(|option| option.strip_prefix("lowerdir="));
        lower
            .into_iter()
            .flat_map(|lower| lower.split(':'))
            .map(Path::new)
    }

    fn mount_flags(&self) -> libc::c_ulong {
        [
            (sys::MOUNT_RDONLY, libc::MS_RDONLY),
            (sys::MOUNT_NOSUID, libc::MS_NOSUID),
            (sys::MOUNT_NODEV, libc::MS_NODEV),
            (sys::MOUNT_NOEXEC, libc::MS_NOEXEC),
        ]
        .into_iter()
        .filter(|(attribute, _)| self.attributes & attribute != 0)
        .fold(0, |flags, (_, flag)| flags | flag)
    }
}
