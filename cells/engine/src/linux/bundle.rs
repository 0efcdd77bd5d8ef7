//! The container's root folder and its OCI configuration.

use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use cells_shim::config::{
    self, Config, Extension, Linux, Mount, Namespace, NamespaceKind, Network, Process, Rlimit,
    RlimitKind, Root, User,
};

use model::protocol::cell::DiskLimit;

use super::cgroups::Cgroups;
use super::disk::{self, Disks};
use super::network::resolver;
use super::stack::HostStack;
use super::{RESULTS, SCRATCH, VCAP};
use crate::{ContainerSpec, EngineError};

const ROOT: &str = "rootfs";
/// Where a build cache with a disk of its own is mounted, for the container only.
const CACHE: &str = "cache";
const HOME: &str = "/home/vcap";
/// The kernel takes mount options of at most a page.
const MAX_MOUNT_OPTIONS: usize = 4000;

/// All of the host's terminals are 4,096 unless it says otherwise.
const TERMINALS: &str = "max=256";

const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    // Loop devices name the files of all tenants' disks there.
    "/sys/devices/virtual/block",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];
const FOLDERS: [&str; 11] = [
    "dev",
    "etc",
    "home",
    "home/vcap",
    "mnt",
    "proc",
    "run",
    "sys",
    "tmp",
    "usr",
    "var",
];

/// What the host has set aside for one container.
pub(super) struct Reserved {
    pub(super) cgroup_dirs: Vec<PathBuf>,
    pub(super) address: Ipv4Addr,
    pub(super) gateway: Ipv4Addr,
    pub(super) outer_user: Option<u32>,
}

/// Writes the root folder, and returns the configuration that goes with it.
pub(super) fn write(
    spec: &ContainerSpec,
    stack: &HostStack,
    cgroups: &Cgroups,
    disks: &Disks,
    reserved: Reserved,
) -> Result<Config, EngineError> {
    let Reserved {
        cgroup_dirs,
        address,
        gateway,
        outer_user,
    } = reserved;
    let root = spec.dir.join(ROOT);
    let resolver = resolver::for_containers(gateway);
    make_root(&root, spec, stack, &resolver.text, address, gateway).map_err(EngineError::io(
        format!("make the root folder {}", root.display()),
    ))?;
    let limit = |kind, value| Rlimit {
        kind,
        soft: value,
        hard: value,
    };
    use NamespaceKind as N;
    Ok(Config {
        oci_version: config::OCI_VERSION.to_owned(),
        process: Process {
            args: spec.args.clone(),
            cwd: spec.cwd.clone(),
            user: User {
                uid: VCAP,
                gid: VCAP,
            },
            rlimits: vec![
                limit(RlimitKind::OpenFiles, spec.limits.open_files),
                limit(RlimitKind::Core, 0),
            ],
            no_new_privileges: true,
        },
        root: Some(Root {
            path: root,
            readonly: true,
        }),
        hostname: Some(spec.hostname.clone()),
        mounts: mounts(spec, stack, cgroups, disks, outer_user.is_some())?,
        linux: Some(Linux {
            namespaces: [N::Pid, N::Mount, N::Ipc, N::Uts, N::Network, N::Cgroup]
                .map(|kind| Namespace { kind })
                .to_vec(),
            masked_paths: MASKED.map(str::to_owned).to_vec(),
            readonly_paths: READ_ONLY.map(str::to_owned).to_vec(),
        }),
        slipway: Extension {
            cgroups: cgroup_dirs,
            network: Some(Network {
                interface: "eth0".to_owned(),
                address,
                gateway,
            }),
            outer_user,
            max_log_bytes: spec.max_log_bytes,
            max_log_rate: spec.limits.log_rate,
            disks: disk_places(spec, disks).map_err(EngineError::io(format!(
                "make the places of disks in {}",
                spec.dir.display()
            )))?,
        },
    })
}

/// The folders on which the container's own disks go.
fn disk_places(spec: &ContainerSpec, disks: &Disks) -> io::Result<config::Disks> {
    if disks.limit() == DiskLimit::Sampled {
        return Ok(config::Disks::default());
    }
    let place = |name| {
        let place = spec.dir.join(name);
        std::fs::create_dir_all(&place)?;
        io::Result::Ok(place)
    };
    Ok(config::Disks {
        scratch: Some(place(SCRATCH)?),
        cache: spec.cache.as_ref().map(|_| place(CACHE)).transpose()?,
    })
}

fn make_root(
    root: &Path,
    spec: &ContainerSpec,
    stack: &HostStack,
    resolv_conf: &str,
    address: Ipv4Addr,
    gateway: Ipv4Addr,
) -> io::Result<()> {
    std::fs::create_dir_all(root)?;
    for folder in FOLDERS {
        std::fs::create_dir_all(root.join(folder))?;
    }
    for (name, target) in &stack.links {
        symlink(target, root.join(name))?;
    }
    symlink("/tmp", root.join("var/tmp"))?;
    symlink("/run", root.join("var/run"))?;
    symlink("/proc/self/mounts", root.join("etc/mtab"))?;
    let hostname = &spec.hostname;
    let hosts = format!(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n{address}\t{hostname}\n{gateway}\thost.slipway.internal\n"
    );
    let passwd = format!(
        "root:x:0:0:root:/root:/usr/sbin/nologin\nvcap:x:{VCAP}:{VCAP}:vcap:{HOME}:/bin/bash\n\
         nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    );
    for (name, text) in [
        ("hosts", hosts.as_str()),
        ("hostname", &format!("{hostname}\n")),
        ("passwd", &passwd),
        (
            "group",
            &format!("root:x:0:\ntty:x:5:\nvcap:x:{VCAP}:\nnogroup:x:65534:\n"),
        ),
        (
            "nsswitch.conf",
            "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\nservices: files\nprotocols: files\n",
        ),
        ("resolv.conf", resolv_conf),
    ] {
        std::fs::write(root.join("etc").join(name), text)?;
    }
    Ok(())
}

fn mounts(
    spec: &ContainerSpec,
    stack: &HostStack,
    cgroups: &Cgroups,
    disks: &Disks,
    mapped: bool,
) -> Result<Vec<Mount>, EngineError> {
    let mount = |destination: &str, kind: &str, options: &[&str]| Mount {
        destination: destination.to_owned(),
        kind: kind.to_owned(),
        source: kind.to_owned(),
        options: options.iter().map(|&option| option.to_owned()).collect(),
    };
    let bind = |source: &Path, destination: &str, options: &[&str]| -> Result<Mount, EngineError> {
        let source = source.to_str().ok_or_else(|| {
            EngineError::Setup(format!("the path {} is not UTF-8", source.display()))
        })?;
        Ok(Mount {
            source: source.to_owned(),
            ..mount(destination, "bind", options)
        })
    };
    let mut mounts = vec![
        mount("/proc", "proc", &["nosuid", "nodev", "noexec"]),
        mount(
            "/dev",
            "tmpfs",
            &["nosuid", "noexec", "mode=755", "size=64k"],
        ),
        mount(
            "/dev/pts",
            "devpts",
            &[
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                TERMINALS,
            ],
        ),
        mount(
            "/dev/shm",
            "tmpfs",
            &["nosuid", "nodev", "noexec", "mode=1777", "size=64m"],
        ),
        mount("/sys", "sysfs", &["ro", "nosuid", "nodev", "noexec"]),
    ];
    let views = cgroups.views(&spec.name);
    let root = Path::new("/sys/fs/cgroup");
    if !views.iter().any(|(_, place)| place == root) {
        mounts.push(mount(
            "/sys/fs/cgroup",
            "tmpfs",
            &["nosuid", "nodev", "noexec", "mode=755", "size=64k"],
        ));
    }
    for (outside, inside) in views {
        let inside = inside.to_string_lossy();
        mounts.push(bind(
            &outside,
            &inside,
            &["bind", "ro", "nosuid", "nodev", "noexec"],
        )?);
    }
    // A package that was removed since the stack was looked up takes its files with it, and must not keep all from starting.
    for path in stack.binds.iter().filter(|path| path.exists()) {
        // The stack's own paths are text, they are constants and what distributions link to.
        mounts.push(bind(
            path,
            &path.to_string_lossy(),
            &["bind", "ro", "nosuid", "nodev"],
        )?);
    }
    let scratch = spec.dir.join(SCRATCH);
    mounts.push(bind(
        &scratch.join("tmp"),
        "/tmp",
        &["bind", "nosuid", "nodev"],
    )?);
    mounts.push(home(spec, &scratch, bind)?);
    // Whose user is another one each time, they are `vcap`'s all the same.
    let own: &[&str] = if mapped {
        &["bind", "nosuid", "nodev", "idmap"]
    } else {
        &["bind", "nosuid", "nodev"]
    };
    if let Some(target) = &spec.results {
        mounts.push(bind(&scratch.join(RESULTS), target, own)?);
    }
    if let Some(cache) = &spec.cache {
        let files = match disks.limit() {
            DiskLimit::Hard => spec.dir.join(CACHE).join(disk::FILES),
            DiskLimit::Sampled => cache.files(),
        };
        mounts.push(bind(&files, &cache.target, own)?);
    }
    for extra in &spec.mounts {
        // What is only read is for everybody; what is written stays `vcap`'s, whichever user of the host that is this time.
        let options: &[&str] = match (extra.writable, mapped) {
            (true, true) => &["bind", "rw", "nosuid", "nodev", "idmap"],
            (true, false) => &["bind", "rw", "nosuid", "nodev"],
            (false, _) => &["bind", "ro", "nosuid", "nodev"],
        };
        mounts.push(bind(&extra.source, &extra.target, options)?);
    }
    Ok(mounts)
}

fn home(
    spec: &ContainerSpec,
    scratch: &Path,
    bind: impl Fn(&Path, &str, &[&str]) -> Result<Mount, EngineError>,
) -> Result<Mount, EngineError> {
    let upper = scratch.join("upper");
    if spec.layers.is_empty() {
        return bind(&upper, HOME, &["bind", "nosuid", "nodev"]);
    }
    let text = |path: &Path| -> Result<String, EngineError> {
        let text = path
            .to_str()
            .filter(|text| !text.contains([',', ':', '\\']));
        text.map(str::to_owned).ok_or_else(|| {
            EngineError::Setup(format!("the path {} cannot be a layer", path.display()))
        })
    };
    // The kernel wants the topmost first.
    let lower = spec
        .layers
        .iter()
        .rev()
        .map(|layer| text(layer))
        .collect::<Result<Vec<_>, _>>()?
        .join(":");
    let options = [
        "nosuid".to_owned(),
        "nodev".to_owned(),
        format!("lowerdir={lower}"),
        format!("upperdir={}", text(&upper)?),
        format!("workdir={}", text(&scratch.join("work"))?),
    ];
    if options.iter().map(|option| option.len() + 1).sum::<usize>() > MAX_MOUNT_OPTIONS {
        return Err(EngineError::Setup(format!(
            "{} layers are too many for one overlay",
            spec.layers.len()
        )));
    }
    Ok(Mount {
        destination: HOME.to_owned(),
        kind: "overlay".to_owned(),
        source: "overlay".to_owned(),
        options: options.to_vec(),
    })
}
