//! Users of a container's own: to the kernel, `vcap` of each container is another user than that of all others, and no user
//! of the host at all. What the kernel counts or allows by user ends at the container.
//!
//! The user namespace is entered last. All other namespaces, the mounts and the links belong to the host's, so that not
//! even all capabilities inside would be a right over them.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::sys;

/// Makes a user namespace in which `inside` is the host's `outside`, as user and as group, and nobody else is anybody.
///
/// It belongs to `outside` too, since what the kernel counts by user inside it also counts for the owner.
pub(crate) fn make(inside: u32, outside: u32) -> io::Result<OwnedFd> {
    let (mut ours, mut theirs) = UnixStream::pair()?;
    let holder = match sys::fork()? {
        0 => {
            drop(ours);
            let made =
                sys::lend_rights_to(outside).and_then(|()| sys::unshare(libc::CLONE_NEWUSER));
            let code = made
                .err()
                .map_or(0, |error| error.raw_os_error().unwrap_or(libc::EIO));
            let _ = theirs.write_all(&code.to_be_bytes());
            // Holds the namespace until it is mapped and opened.
            let _ = theirs.read(&mut [0]);
            sys::exit_now(0);
        }
        holder => holder,
    };
    drop(theirs);
    let opened = (|| {
        let mut code = [0; 4];
        ours.read_exact(&mut code)?;
        match i32::from_be_bytes(code) {
            0 => {}
            code => return Err(io::Error::from_raw_os_error(code)),
        }
        let map = format!("{inside} {outside} 1\n");
        std::fs::write(format!("/proc/{holder}/uid_map"), &map)?;
        std::fs::write(format!("/proc/{holder}/gid_map"), &map)?;
        File::open(format!("/proc/{holder}/ns/user")).map(OwnedFd::from)
    })();
    drop(ours);
    // It ends by itself once nobody holds the other end of its socket.
    sys::wait_for(holder)?;
    opened
}

/// Tries all that containers with users of their own need of the kernel and of the file system at `dir`, an empty folder.
/// Returns an exit code.
pub(crate) fn check(dir: &Path) -> i32 {
    match try_out(dir) {
        Ok(()) => 0,
        Err(reason) => {
            let _ = io::stdout().write_all(reason.as_bytes());
            1
        }
    }
}

fn try_out(dir: &Path) -> Result<(), String> {
    const INSIDE: u32 = 2000;
    const OUTSIDE: u32 = 0x7800_0001;
    let failed = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
    sys::unshare(libc::CLONE_NEWNS).map_err(failed("make a mount namespace"))?;
    sys::mount(
        "none",
        Path::new("/"),
        "",
        libc::MS_REC | libc::MS_PRIVATE,
        "",
    )
    .map_err(failed("make mounts private"))?;
    let users = make(INSIDE, OUTSIDE).map_err(failed("make a user namespace"))?;
    let [lower, upper, work, merged] =
        ["lower", "upper", "work", "merged"].map(|name| dir.join(name));
    for folder in [&lower, &upper, &work, &merged] {
        std::fs::create_dir_all(folder).map_err(failed("make a folder"))?;
    }
    let file = lower.join("file");
    std::fs::write(&file, "x")
        .and_then(|()| chown(&file, Some(INSIDE), Some(INSIDE)))
        .map_err(failed("make a file"))?;
    cover(&lower, &users).map_err(failed("map the users of a mount"))?;
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.display(),
        upper.display(),
        work.display()
    );
    sys::mount("overlay", &merged, "overlay", 0, &options)
        .map_err(failed("mount an overlay of a mapped layer"))?;
    let owner = |path: &Path| std::fs::metadata(path).map(|found| found.uid());
    let shown = owner(&merged.join("file")).map_err(failed("look at a mapped file"))?;
    File::options()
        .append(true)
        .open(merged.join("file"))
        .and_then(|mut file| file.write_all(b"y"))
        .map_err(failed("change a mapped file"))?;
    let copied = owner(&upper.join("file")).map_err(failed("look at a changed file"))?;
    if (shown, copied) == (OUTSIDE, OUTSIDE) {
        Ok(())
    } else {
        Err(format!(
            "a file of user {INSIDE} is shown as of {shown} and copied as of {copied}"
        ))
    }
}

/// Covers a folder with a view of itself whose users are mapped. Only in this mount namespace.
pub(crate) fn cover(folder: &Path, users: &OwnedFd) -> io::Result<()> {
    let tree = sys::clone_mount(folder, false)?;
    sys::map_mount(tree.as_fd(), users.as_fd())?;
    let at = File::open(folder)?;
    sys::attach_mount(tree.as_fd(), at.as_fd())
}
