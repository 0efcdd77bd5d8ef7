//! A bundle for another runtime, after the configuration of a container of ours.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::{Bed, Fallible, SAYS_HELLO, run};

/// Writes `DIR/config.json` and the folders that it names.
pub(crate) fn write(bed: &Bed, model: &str, dir: &Path, cgroup: &str, netns: &str) -> Fallible<()> {
    let source = bed.folder.join("containers").join(model);
    fs::create_dir_all(dir)?;
    run(Command::new("cp")
        .arg("-a")
        .arg(source.join("rootfs"))
        .arg(dir))?;
    for folder in ["upper", "work", "tmp"] {
        let folder = dir.join("scratch").join(folder);
        fs::create_dir_all(&folder)?;
        run(Command::new("chown").arg("2000:2000").arg(&folder))?;
    }
    let text = fs::read_to_string(source.join("config.json"))?;
    let text = text.replace(&source.display().to_string(), &dir.display().to_string());
    let mut config: Value = serde_json::from_str(&text)?;
    config["ociVersion"] = json!("1.0.2");
    config["process"]["args"] = json!(["/bin/sh", "-c", SAYS_HELLO]);
    config["process"]["env"] = json!(["PATH=/usr/local/bin:/usr/bin:/bin"]);
    if let Some(namespaces) = config["linux"]["namespaces"].as_array_mut() {
        for namespace in namespaces {
            if namespace["type"] == "network" {
                namespace["path"] = json!(PathBuf::from("/run/netns").join(netns));
            }
        }
    }
    config["linux"]["cgroupsPath"] = json!(format!("/{cgroup}"));
    config["linux"]["resources"] = json!({
        "memory": {"limit": 64 << 20},
        "cpu": {"shares": 1024},
        "pids": {"limit": 64},
        "devices": [
            {"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"},
            {"allow": true, "type": "c", "major": 1, "minor": 5, "access": "rwm"},
            {"allow": true, "type": "c", "major": 1, "minor": 7, "access": "rwm"},
            {"allow": true, "type": "c", "major": 1, "minor": 8, "access": "rwm"},
            {"allow": true, "type": "c", "major": 1, "minor": 9, "access": "rwm"},
        ],
    });
    fs::write(dir.join("config.json"), serde_json::to_vec(&config)?)?;
    Ok(())
}
