//! Limits and accounting, on cgroup v1, v2, and hosts that mix both.
//!
//! Every container has a cgroup `PARENT/NAME` in each hierarchy that carries a controller we use. They are made here,
//! joined by the shim, and removed here.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::{ContainerLimits, EngineError};

/// Controllers that a container gets a cgroup in, where the host has them. `cpuset` limits nothing; a Java VM insists on it.
const CONTROLLERS: [&str; 7] = [
    "memory", "cpu", "cpuacct", "cpuset", "pids", "devices", "freezer",
];
/// Without these there is no containing an app.
const REQUIRED: [&str; 2] = ["memory", "pids"];
/// The kernel's default of `pid_max`.
const DEFAULT_PIDS: u64 = 32_768;
/// `CF`'s full share in the kernel's units.
const FULL_SHARES: u64 = 1024;

/// null, zero, full, random, urandom, tty, ptmx and ptys.
const DEVICES: [&str; 8] = [
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 1:8 rwm",
    "c 1:9 rwm",
    "c 5:0 rwm",
    "c 5:2 rwm",
    "c 136:* rwm",
];

#[derive(Debug)]
pub(super) struct Cgroups {
    parent: String,
    hierarchies: Vec<Hierarchy>,
}

/// A mounted hierarchy and those of our controllers that it carries.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hierarchy {
    mount: PathBuf,
    unified: bool,
    controllers: BTreeSet<String>,
}

impl Cgroups {
    /// Finds the host's hierarchies and makes the parent cgroup in each.
    pub(super) fn open(parent: &str) -> Result<Self, EngineError> {
        let fine = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if parent.is_empty() || !parent.chars().all(fine) {
            return Err(EngineError::Setup(
                "the engine's cgroup name must be of letters, digits, '-' and '_'".to_owned(),
            ));
        }
        let mounts = std::fs::read_to_string("/proc/self/mountinfo")
            .map_err(EngineError::io("read the mount table"))?;
        let hierarchies = discover(&mounts, |mount| {
            std::fs::read_to_string(mount.join("cgroup.controllers")).unwrap_or_default()
        });
        for required in REQUIRED {
            if !hierarchies
                .iter()
                .any(|hierarchy| hierarchy.controllers.contains(required))
            {
                return Err(EngineError::Setup(format!(
                    "no cgroup hierarchy with the '{required}' controller is mounted"
                )));
            }
        }
        let mut cgroups = Self {
            parent: parent.to_owned(),
            hierarchies,
        };
        for hierarchy in &mut cgroups.hierarchies {
            hierarchy.make_parent(parent)?;
        }
        Ok(cgroups)
    }

    /// Makes a container's cgroups, limited and empty, and returns their folders.
    pub(super) fn create(
        &self,
        name: &str,
        limits: &ContainerLimits,
    ) -> Result<Vec<PathBuf>, EngineError> {
        let make = |hierarchy: &Hierarchy| {
            let dir = hierarchy.mount.join(&self.parent).join(name);
            make_dir(&dir)?;
            if hierarchy.unified {
                limit_v2(hierarchy, &dir, limits)
            } else {
                limit_v1(hierarchy, &dir, limits)
            }?;
            Ok(dir)
        };
        self.hierarchies.iter().map(make).collect()
    }

    /// Where a container shall see its own cgroups: pairs of the folder outside and the place inside.
    pub(super) fn views(&self, name: &str) -> Vec<(PathBuf, PathBuf)> {
        let dir = |hierarchy: &Hierarchy| hierarchy.mount.join(&self.parent).join(name);
        let root = Path::new("/sys/fs/cgroup");
        if let [only] = self.hierarchies.as_slice()
            && only.unified
        {
            return vec![(dir(only), root.to_owned())];
        }
        let place =
            |hierarchy: &Hierarchy| root.join(hierarchy.mount.file_name().unwrap_or_default());
        self.hierarchies
            .iter()
            .map(|hierarchy| (dir(hierarchy), place(hierarchy)))
            .collect()
    }

    pub(super) fn pids(&self, name: &str) -> Vec<i32> {
        let dir = self.dir_of("pids", name).unwrap_or_default();
        let text = std::fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// CPU time so far, and memory in bytes that could not be taken back at once. Zero for a container that is gone.
    pub(super) fn usage(&self, name: &str) -> (Duration, u64) {
        let read = |controller: &str, file: &str| {
            self.dir_of(controller, name)
                .and_then(|dir| std::fs::read_to_string(dir.join(file)).ok())
                .unwrap_or_default()
        };
        let number = |text: String| text.trim().parse::<u64>().unwrap_or(0);
        let cpu = match number(read("cpuacct", "cpuacct.usage")) {
            0 => Duration::from_micros(keyed(&read("cpu", "cpu.stat"), "usage_usec")),
            nanoseconds => Duration::from_nanos(nanoseconds),
        };
        let statistics = read("memory", "memory.stat");
        let (used, idle_cache) = match number(read("memory", "memory.usage_in_bytes")) {
            0 => (
                number(read("memory", "memory.current")),
                keyed(&statistics, "inactive_file"),
            ),
            used => (used, keyed(&statistics, "total_inactive_file")),
        };
        (cpu, used.saturating_sub(idle_cache))
    }

    /// Names of all containers that have a cgroup.
    pub(super) fn names(&self) -> Result<BTreeSet<String>, EngineError> {
        let mut names = BTreeSet::new();
        for hierarchy in &self.hierarchies {
            let parent = hierarchy.mount.join(&self.parent);
            let entries = match std::fs::read_dir(&parent) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                entries => {
                    entries.map_err(EngineError::io(format!("read {}", parent.display())))?
                }
            };
            let folders = entries
                .flatten()
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            names.extend(folders.filter_map(|entry| entry.file_name().into_string().ok()));
        }
        Ok(names)
    }

    /// Kills what is left in a container's cgroups and removes them.
    pub(super) async fn remove(&self, name: &str) -> Result<(), EngineError> {
        const DEADLINE: Duration = Duration::from_secs(10);
        const PAUSE: Duration = Duration::from_millis(5);
        let deadline = tokio::time::Instant::now() + DEADLINE;
        for hierarchy in &self.hierarchies {
            let dir = hierarchy.mount.join(&self.parent).join(name);
            loop {
                // An ended process leaves its cgroup a moment after it was waited for, and nothing announces that.
                match std::fs::remove_dir(&dir) {
                    Ok(()) => break,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                    Err(error) if tokio::time::Instant::now() >= deadline => {
                        return Err(EngineError::io(format!("remove cgroup {}", dir.display()))(
                            error,
                        ));
                    }
                    Err(_) => kill_all(&dir),
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
        Ok(())
    }

    pub(super) fn remove_parent(&self) -> Result<(), EngineError> {
        for hierarchy in &self.hierarchies {
            let dir = hierarchy.mount.join(&self.parent);
            match std::fs::remove_dir(&dir) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(EngineError::io(format!("remove cgroup {}", dir.display()))(
                        error,
                    ));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn dir_of(&self, controller: &str, name: &str) -> Option<PathBuf> {
        let found = self
            .hierarchies
            .iter()
            .find(|hierarchy| hierarchy.controllers.contains(controller))?;
        Some(found.mount.join(&self.parent).join(name))
    }
}

/// Our controllers' hierarchies in a mount table. A controller that v1 has is not looked for in v2.
fn discover(mountinfo: &str, unified_controllers: impl Fn(&Path) -> String) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    let mut unified: Option<PathBuf> = None;
    for line in mountinfo.lines() {
        let Some((before, after)) = line.split_once(" - ") else {
            continue;
        };
        let mut after = after.split(' ');
        let (kind, options) = (
            after.next().unwrap_or_default(),
            after.nth(1).unwrap_or_default(),
        );
        let Some(mount) = before
            .split(' ')
            .nth(4)
            .map(|path| PathBuf::from(path.replace("\\040", " ")))
        else {
            continue;
        };
        match kind {
            "cgroup2" if unified.is_none() => unified = Some(mount),
            "cgroup" => {
                let ours = options
                    .split(',')
                    .filter(|option| CONTROLLERS.contains(option));
                let new = ours
                    .filter(|name| !found.iter().any(|known| known.controllers.contains(*name)));
                let controllers: BTreeSet<String> = new.map(str::to_owned).collect();
                if !controllers.is_empty() {
                    found.push(Hierarchy {
                        mount,
                        unified: false,
                        controllers,
                    });
                }
            }
            _ => {}
        }
    }
    if let Some(mount) = unified {
        let available = unified_controllers(&mount);
        let ours = available
            .split_ascii_whitespace()
            .filter(|name| CONTROLLERS.contains(name));
        let new = ours.filter(|name| !found.iter().any(|known| known.controllers.contains(*name)));
        let controllers: BTreeSet<String> = new.map(str::to_owned).collect();
        if !controllers.is_empty() {
            found.push(Hierarchy {
                mount,
                unified: true,
                controllers,
            });
        }
    }
    found
}

impl Hierarchy {
    fn has(&self, controller: &str) -> bool {
        self.controllers.contains(controller)
    }

    fn make_parent(&mut self, parent: &str) -> Result<(), EngineError> {
        let dir = self.mount.join(parent);
        make_dir(&dir)?;
        if self.unified {
            vacate(&self.mount)?;
            for name in self.controllers.clone() {
                let enable = |place: &Path| {
                    write(&place.join("cgroup.subtree_control"), &format!("+{name}"))
                };
                match enable(&self.mount).and_then(|()| enable(&dir)) {
                    Err(error) if REQUIRED.contains(&name.as_str()) => return Err(error),
                    // The `cpu` controller, for one, is refused where real-time processes run on certain kernels.
                    Err(error) => {
                        tracing::warn!(controller = name, %error, "containers go without a cgroup controller");
                        self.controllers.remove(&name);
                    }
                    Ok(()) => {}
                }
            }
        }
        if self.has("cpuset") && !self.unified {
            inherit_cpuset(&dir)?;
        }
        if self.has("pids") {
            write(
                &dir.join("pids.max"),
                &most_processes(&self.mount).to_string(),
            )?;
        }
        Ok(())
    }
}

/// Processes and threads that all containers may have together: three quarters of what there may be at all, so that the
/// host can go on whatever they do.
fn most_processes(mount: &Path) -> u64 {
    let read =
        |file: &Path| -> Option<u64> { std::fs::read_to_string(file).ok()?.trim().parse().ok() };
    let bounds = [
        PathBuf::from("/proc/sys/kernel/pid_max"),
        PathBuf::from("/proc/sys/kernel/threads-max"),
        // Of what this runs in itself. The host's own top has none.
        mount.join("pids.max"),
    ];
    let least = bounds.iter().filter_map(|file| read(file)).min();
    least.unwrap_or(DEFAULT_PIDS) / 4 * 3
}

/// Moves the processes at the top of a v2 hierarchy into a cgroup of their own, where that top is not the host's.
///
/// So it is when this runs in a container itself. Only the host's own top may hold processes and share out controllers.
fn vacate(mount: &Path) -> Result<(), EngineError> {
    const TRIES: usize = 10;
    if !mount.join("cgroup.type").exists() {
        return Ok(());
    }
    let aside = mount.join("init");
    make_dir(&aside)?;
    for _ in 0..TRIES {
        let processes = mount.join("cgroup.procs");
        let text = std::fs::read_to_string(&processes)
            .map_err(EngineError::io(format!("read {}", processes.display())))?;
        if text.trim().is_empty() {
            break;
        }
        for pid in text.lines() {
            // One that has ended meanwhile is no matter; any other is there at the next look, and in the end in the way.
            let _ = std::fs::write(aside.join("cgroup.procs"), pid);
        }
    }
    Ok(())
}

/// A new v1 cpuset is empty, and nothing can join an empty one.
fn inherit_cpuset(dir: &Path) -> Result<(), EngineError> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let above = dir
            .parent()
            .expect("a cgroup lies below its mount")
            .join(file);
        let value = std::fs::read_to_string(&above)
            .map_err(EngineError::io(format!("read {}", above.display())))?;
        write(&dir.join(file), value.trim())?;
    }
    Ok(())
}

fn limit_v1(
    hierarchy: &Hierarchy,
    dir: &Path,
    limits: &ContainerLimits,
) -> Result<(), EngineError> {
    if hierarchy.has("memory") {
        let bytes = limits.memory.bytes().to_string();
        write(&dir.join("memory.limit_in_bytes"), &bytes)?;
        let with_swap = dir.join("memory.memsw.limit_in_bytes");
        if with_swap.exists() {
            write(&with_swap, &bytes)?;
        }
        // v1 counts what sockets of TCP hold beside all other memory, and without a limit not at all: one app could use up
        // what the host has for everybody's connections.
        let sockets = dir.join("memory.kmem.tcp.limit_in_bytes");
        if sockets.exists() {
            write(&sockets, &bytes)?;
        }
    }
    if hierarchy.has("cpu") {
        write(&dir.join("cpu.shares"), &shares(limits).to_string())?;
    }
    if hierarchy.has("pids") {
        write(&dir.join("pids.max"), &limits.pids.to_string())?;
    }
    if hierarchy.has("cpuset") {
        inherit_cpuset(dir)?;
    }
    if hierarchy.has("devices") {
        write(&dir.join("devices.deny"), "a")?;
        DEVICES
            .iter()
            .try_for_each(|device| write(&dir.join("devices.allow"), device))?;
    }
    Ok(())
}

/// v2 has no device list; the container has no capability to make a node, and no mount that would honour one.
fn limit_v2(
    hierarchy: &Hierarchy,
    dir: &Path,
    limits: &ContainerLimits,
) -> Result<(), EngineError> {
    if hierarchy.has("memory") {
        write(&dir.join("memory.max"), &limits.memory.bytes().to_string())?;
        let swap = dir.join("memory.swap.max");
        if swap.exists() {
            write(&swap, "0")?;
        }
    }
    if hierarchy.has("cpu") {
        // The conversion that systemd and runc use: 2..262144 shares become 1..10000.
        let weight = 1 + (shares(limits).saturating_sub(2) * 9999) / 262_142;
        write(&dir.join("cpu.weight"), &weight.to_string())?;
    }
    if hierarchy.has("pids") {
        write(&dir.join("pids.max"), &limits.pids.to_string())?;
    }
    Ok(())
}

fn shares(limits: &ContainerLimits) -> u64 {
    (u64::from(limits.cpu_weight) * FULL_SHARES / 100).clamp(2, 262_144)
}

fn make_dir(dir: &Path) -> Result<(), EngineError> {
    match std::fs::create_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map_err(EngineError::io(format!("make cgroup {}", dir.display()))),
    }
}

fn write(file: &Path, value: &str) -> Result<(), EngineError> {
    std::fs::write(file, value).map_err(EngineError::io(format!(
        "write '{value}' to {}",
        file.display()
    )))
}

fn keyed(text: &str, key: &str) -> u64 {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines
        .find(|(name, _)| *name == key)
        .and_then(|(_, value)| value.trim().parse().ok())
        .unwrap_or(0)
}

#[allow(
    unsafe_code,
    reason = "the standard library cannot signal a process by its pid"
)]
fn kill_all(dir: &Path) {
    let text = std::fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    for pid in text
        .lines()
        .filter_map(|line| line.parse::<i32>().ok())
        .filter(|pid| *pid > 0)
    {
        // SAFETY: plain integers. The pid was read from a cgroup that only this container's processes are in.
        unsafe { libc::kill(pid, libc::SIGKILL) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(mountinfo: &str, unified: &str) -> Vec<(String, bool, String)> {
        let found = discover(mountinfo, |_| unified.to_owned());
        let row = |h: Hierarchy| {
            (
                h.mount.display().to_string(),
                h.unified,
                h.controllers.into_iter().collect::<Vec<_>>().join(" "),
            )
        };
        found.into_iter().map(row).collect()
    }

    #[test]
    fn hierarchies_are_found_on_v1_v2_and_mixed_hosts() {
        let v2 = "30 25 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate";
        let all = "cpuset cpu io memory pids";
        assert_eq!(
            summary(v2, all),
            [(
                "/sys/fs/cgroup".to_owned(),
                true,
                "cpu cpuset memory pids".to_owned()
            )]
        );
        let mixed = "35 31 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                     32 31 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                     39 31 0:36 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n\
                     40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
                     41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw";
        let got = summary(mixed, "hugetlb");
        let got: Vec<_> = got
            .iter()
            .map(|(mount, unified, names)| (mount.as_str(), *unified, names.as_str()))
            .collect();
        let want = [
            ("/sys/fs/cgroup/memory", false, "memory"),
            ("/sys/fs/cgroup/cpu,cpuacct", false, "cpu cpuacct"),
            ("/sys/fs/cgroup/pids", false, "pids"),
        ];
        assert_eq!(got, want);
    }

    fn limits() -> ContainerLimits {
        ContainerLimits {
            memory: model::limits::Megabytes(64),
            disk: model::limits::Megabytes(64),
            cpu_weight: 50,
            pids: 99,
            open_files: 1024,
            log_rate: None,
        }
    }

    /// A folder with the files that the kernel would have made.
    fn pretend(folder: &Path, files: &[(&str, &str)]) {
        std::fs::create_dir_all(folder).expect("folder");
        for (name, text) in files {
            std::fs::write(folder.join(name), text).expect("file");
        }
    }

    #[test]
    fn the_unified_hierarchy_shares_out_controllers_and_limits_a_container() {
        let mount = tempfile::tempdir().expect("temp dir");
        let controllers = ["cpu", "cpuset", "memory", "pids"].map(str::to_owned);
        let mut hierarchy = Hierarchy {
            mount: mount.path().to_owned(),
            unified: true,
            controllers: controllers.into(),
        };
        let read = |path: &str| std::fs::read_to_string(mount.path().join(path)).expect("file");
        pretend(mount.path(), &[("pids.max", "400\n")]);
        hierarchy.make_parent("parent").expect("makes it");
        // Each write replaces the one before in a plain file, where the kernel adds up.
        assert_eq!(read("cgroup.subtree_control"), "+pids");
        assert_eq!(read("parent/cgroup.subtree_control"), "+pids");
        // Of all containers together, whatever the host would allow.
        assert_eq!(read("parent/pids.max"), "300");
        pretend(
            &mount.path().join("parent/a"),
            &[("memory.swap.max", "max")],
        );
        let cgroups = Cgroups {
            parent: "parent".to_owned(),
            hierarchies: vec![hierarchy],
        };
        let dirs = cgroups.create("a", &limits()).expect("limits it");
        assert_eq!(dirs, [mount.path().join("parent/a")]);
        let written = [
            ("memory.max", "67108864"),
            ("memory.swap.max", "0"),
            ("cpu.weight", "20"),
            ("pids.max", "99"),
        ];
        for (file, value) in written {
            assert_eq!(read(&format!("parent/a/{file}")), value, "{file}");
        }
        let view = cgroups.views("a");
        let root = PathBuf::from("/sys/fs/cgroup");
        assert_eq!(view, [(mount.path().join("parent/a"), root)]);
        pretend(
            &mount.path().join("parent/a"),
            &[
                ("cpu.stat", "usage_usec 2500000\nuser_usec 1\n"),
                ("memory.current", "5000000\n"),
                ("memory.stat", "anon 1\ninactive_file 1000000\n"),
                ("cgroup.procs", "12\n34\n"),
            ],
        );
        assert_eq!(cgroups.usage("a"), (Duration::from_millis(2500), 4_000_000));
        assert_eq!(cgroups.pids("a"), [12, 34]);
        assert_eq!(cgroups.names().expect("reads"), ["a".to_owned()].into());
    }

    #[test]
    fn processes_at_the_top_of_a_containers_hierarchy_make_way() {
        let mount = tempfile::tempdir().expect("temp dir");
        // The host's own top has no type, and its processes stay.
        pretend(mount.path(), &[("cgroup.procs", "7\n")]);
        vacate(mount.path()).expect("nothing to do");
        assert!(!mount.path().join("init").exists());
        pretend(mount.path(), &[("cgroup.type", "domain\n")]);
        vacate(mount.path()).expect("moves");
        let moved = std::fs::read_to_string(mount.path().join("init/cgroup.procs"));
        assert_eq!(moved.expect("moved"), "7");
    }

    #[test]
    fn version_one_limits_sockets_and_devices_too() {
        let mount = tempfile::tempdir().expect("temp dir");
        let controllers = ["memory", "pids", "cpu", "devices"].map(str::to_owned);
        let hierarchy = Hierarchy {
            mount: mount.path().to_owned(),
            unified: false,
            controllers: controllers.into(),
        };
        let optional = [
            ("memory.memsw.limit_in_bytes", ""),
            ("memory.kmem.tcp.limit_in_bytes", ""),
        ];
        pretend(mount.path(), &optional);
        limit_v1(&hierarchy, mount.path(), &limits()).expect("limits it");
        let read = |file: &str| std::fs::read_to_string(mount.path().join(file)).expect("file");
        for file in [
            "memory.limit_in_bytes",
            "memory.memsw.limit_in_bytes",
            "memory.kmem.tcp.limit_in_bytes",
        ] {
            assert_eq!(read(file), "67108864", "{file}");
        }
        assert_eq!(
            (read("cpu.shares"), read("pids.max")),
            ("512".to_owned(), "99".to_owned())
        );
        assert_eq!(read("devices.deny"), "a");
    }

    #[test]
    fn an_odd_name_cannot_lead_out_of_the_hierarchy() {
        for name in ["", "..", "a/b", "a b"] {
            assert!(Cgroups::open(name).is_err(), "{name}");
        }
    }
}
