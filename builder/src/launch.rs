//! Becomes an app's process.
//!
//! The contract is Cloud Foundry's launcher: scripts of `../profile.d`, `.profile.d` and `.profile` are sourced in this
//! order in one shell, which then becomes `bash -c COMMAND`. The environment passes through byte for byte.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const SCRIPT: &str = include_str!("launch.sh");
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Starts `command` in place of this process, in the surroundings of the droplet at `home`, in which it makes the folder that
/// `TMPDIR` names. Returns only the reason why it
/// could not.
#[must_use]
pub fn launch(home: &Path, command: &OsStr) -> anyhow::Error {
    let home = match std::path::absolute(home) {
        Ok(home) => home,
        Err(error) => return anyhow::Error::new(error).context("cannot tell where the app lies"),
    };
    let (app, temporary) = (home.join("app"), home.join("tmp"));
    // No layer holds it, as an image has no place for folders that are empty.
    if let Err(error) = fs::create_dir_all(&temporary) {
        return anyhow::Error::new(error).context(format!(
            "cannot make the folder for temporary files, {}",
            temporary.display()
        ));
    }
    let shell = shell();
    let mut process = Command::new(&shell);
    process
        .arg("-c")
        .arg(SCRIPT)
        .arg("slipway-launch")
        .arg(&shell)
        .arg(command);
    process
        .env("HOME", &app)
        .env("TMPDIR", temporary)
        .env("DEPS_DIR", home.join("deps"));
    process.env("PATH", path(&home, std::env::var_os("PATH")));
    let error = process.current_dir(&app).exec();
    anyhow::Error::new(error).context(format!(
        "cannot start {} in {}",
        shell.display(),
        app.display()
    ))
}

fn shell() -> PathBuf {
    let bash = ["/bin/bash", "/usr/bin/bash"]
        .into_iter()
        .find(|path| Path::new(path).is_file());
    bash.unwrap_or("/bin/sh").into()
}

/// The programs of each buildpack come first.
fn path(home: &Path, inherited: Option<OsString>) -> OsString {
    let entries = fs::read_dir(home.join("deps"))
        .into_iter()
        .flatten()
        .flatten();
    let mut folders: Vec<PathBuf> = entries
        .map(|entry| entry.path().join("bin"))
        .filter(|folder| folder.is_dir())
        .collect();
    folders.sort();
    let mut path = OsString::new();
    // A colon in a folder's name cannot be written in PATH.
    for folder in folders
        .iter()
        .filter(|folder| !folder.as_os_str().as_encoded_bytes().contains(&b':'))
    {
        path.push(folder);
        path.push(":");
    }
    path.push(
        inherited
            .filter(|inherited| !inherited.is_empty())
            .unwrap_or_else(|| DEFAULT_PATH.into()),
    );
    path
}
