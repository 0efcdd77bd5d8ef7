//! What one platform's containers are on the host: processes, cgroups, links, rules, mounts, files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::Platform;

/// Where to look for the traces of one platform.
pub(super) struct Traces {
    data: PathBuf,
    /// The cgroup below which its containers have theirs; links and rules are named after it.
    cgroup: String,
}

impl Traces {
    pub(super) fn of(platform: &Platform) -> Self {
        let settings = fs::read(platform.data().join("run/settings.json")).expect("settings");
        let settings: serde_json::Value = serde_json::from_slice(&settings).expect("JSON");
        let pool = settings["pool"].as_str().expect("a pool").replace('.', "-");
        Self {
            data: platform.data(),
            cgroup: format!("slipway-{pool}"),
        }
    }

    /// The cgroup of all containers, in each hierarchy that has one.
    fn parents(&self) -> Vec<PathBuf> {
        let root = Path::new("/sys/fs/cgroup");
        let hierarchies = fs::read_dir(root).expect("cgroups").flatten();
        let mut parents = hierarchies
            .map(|entry| entry.path())
            .chain([root.to_owned()])
            .map(|hierarchy| hierarchy.join(&self.cgroup))
            .filter(|parent| parent.is_dir())
            .collect::<Vec<_>>();
        parents.sort();
        parents.dedup();
        parents
    }

    fn containers(&self) -> Vec<PathBuf> {
        let below = self.parents().into_iter().flat_map(|parent| {
            let entries = fs::read_dir(parent).into_iter().flatten().flatten();
            entries
                .map(|entry| entry.path())
                .filter(|path| path.is_dir())
        });
        below.collect()
    }

    /// All processes of each container, by its name.
    pub(super) fn processes(&self) -> BTreeMap<String, BTreeSet<i32>> {
        let mut found: BTreeMap<String, BTreeSet<i32>> = BTreeMap::new();
        for container in self.containers() {
            let name = container.file_name().expect("a name").to_string_lossy();
            let pids = fs::read_to_string(container.join("cgroup.procs")).unwrap_or_default();
            let pids = pids.lines().filter_map(|pid| pid.parse::<i32>().ok());
            found.entry(name.into_owned()).or_default().extend(pids);
        }
        found.retain(|_, pids| !pids.is_empty());
        found
    }

    /// The shims, by the name of their container.
    pub(super) fn shims(&self) -> BTreeMap<String, i32> {
        let folder = self.data.join("cell/containers");
        let mut shims = BTreeMap::new();
        for entry in fs::read_dir("/proc").expect("proc").flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else {
                continue;
            };
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let args = line.split(|byte| *byte == 0).map(String::from_utf8_lossy);
            let args = args.collect::<Vec<_>>();
            if args.get(1).is_some_and(|role| role == "shim")
                && let Some(dir) = args
                    .iter()
                    .map(|arg| Path::new(arg.as_ref()))
                    .find(|dir| dir.starts_with(&folder))
                && let Some(name) = dir.file_name()
            {
                shims.insert(name.to_string_lossy().into_owned(), pid);
            }
        }
        shims
    }

    /// Six or eight characters in which the engine's links and rules are named after its cgroup.
    fn short(&self, length: u32) -> String {
        let letters = b"abcdefghijklmnopqrstuvwxyz0123456789";
        let hash = self
            .cgroup
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
        (0..length)
            .map(|at| letters[(hash / 36u64.pow(at) % 36) as usize] as char)
            .collect()
    }

    pub(super) fn links(&self) -> Vec<String> {
        let prefix = format!("sw{}-", self.short(6));
        let links = fs::read_dir("/sys/class/net").expect("links").flatten();
        links
            .map(|link| link.file_name().to_string_lossy().into_owned())
            .filter(|name| name.starts_with(&prefix))
            .collect()
    }

    /// The tables of the packet filter.
    fn tables(&self) -> Vec<String> {
        let mark = self.short(8);
        let listed = output("nft", &["list", "tables"]);
        listed
            .lines()
            .filter(|line| line.contains(&mark))
            .map(str::to_owned)
            .collect()
    }

    /// What is left of containers while the platform runs and nothing is wanted. Empty folders and logs are no leftovers.
    pub(super) fn of_containers(&self) -> Vec<String> {
        let mut left = Vec::new();
        let mut note = |what: &str, found: Vec<String>| {
            left.extend(found.into_iter().map(|found| format!("{what} {found}")));
        };
        let text = |paths: Vec<PathBuf>| {
            let texts = paths.iter().map(|path| path.display().to_string());
            texts.collect::<Vec<_>>()
        };
        note("cgroup", text(self.containers()));
        note("link", self.links());
        let shims = self.shims();
        note("shim", shims.values().map(i32::to_string).collect());
        for folder in [
            "cell/containers",
            "engine/containers",
            "cell/instances",
            "cell/tasks",
        ] {
            let entries = fs::read_dir(self.data.join(folder)).into_iter().flatten();
            note(
                "file",
                text(entries.flatten().map(|entry| entry.path()).collect()),
            );
        }
        let data = self.data.display().to_string();
        let mounts = fs::read_to_string("/proc/mounts").expect("mounts");
        let mounts = mounts.lines().filter(|line| line.contains(&data));
        note("mount", mounts.map(str::to_owned).collect());
        let loops = fs::read_dir("/sys/block").expect("block devices").flatten();
        let backing = loops
            .filter_map(|device| fs::read_to_string(device.path().join("loop/backing_file")).ok());
        note(
            "loop device",
            backing.filter(|file| file.contains(&data)).collect(),
        );
        left
    }

    /// What is left on the host after `slipway down`.
    pub(super) fn of_platform(&self) -> Vec<String> {
        let mut left = self.of_containers();
        let parents = self.parents();
        left.extend(
            parents
                .iter()
                .map(|parent| format!("cgroup {}", parent.display())),
        );
        left.extend(
            self.tables()
                .into_iter()
                .map(|table| format!("rules {table}")),
        );
        left
    }

    /// Does to this platform what a start of the host does to all: no process, cgroup, link or rule of it is left.
    pub(super) fn lose_host(&self) {
        for role in ["up", "server", "cell", "router"] {
            if let Ok(pid) = fs::read_to_string(self.data.join(format!("run/{role}.pid"))) {
                let _ = Command::new("kill").args(["-KILL", pid.trim()]).output();
            }
        }
        for pid in self.shims().into_values() {
            let _ = Command::new("kill")
                .args(["-KILL", &pid.to_string()])
                .output();
        }
        for pid in self.processes().into_values().flatten() {
            let _ = Command::new("kill")
                .args(["-KILL", &pid.to_string()])
                .output();
        }
        let gone = crate::harness::eventually(std::time::Duration::from_secs(20), || {
            self.processes().is_empty().then_some(())
        });
        assert!(gone.is_some(), "{:?}", self.processes());
        for link in self.links() {
            output("ip", &["link", "delete", &link]);
        }
        for table in self.tables() {
            let words = table.split_whitespace().collect::<Vec<_>>();
            output("nft", &[&["delete"], &words[..]].concat());
        }
        for cgroup in self.containers().iter().chain(&self.parents()) {
            let gone = crate::harness::eventually(std::time::Duration::from_secs(10), || {
                match fs::remove_dir(cgroup) {
                    Ok(()) => Some(()),
                    Err(error) => (error.kind() == std::io::ErrorKind::NotFound).then_some(()),
                }
            });
            assert!(gone.is_some(), "{} stays", cgroup.display());
        }
        fs::remove_dir_all(self.data.join("run")).expect("what /run holds goes");
    }
}

fn output(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().expect(program);
    String::from_utf8_lossy(&output.stdout).into_owned()
}
