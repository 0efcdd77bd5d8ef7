//! What the client remembers between commands: one JSON file that only its owner may read.

use std::env;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use model::secret::Secret;
use serde::{Deserialize, Serialize};

use crate::error::{CliError, Exit};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Config {
    /// The API's address without a trailing slash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) api: Option<String>,
    /// Where tokens come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) login_url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) log_cache_url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) api_version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) org: Option<Named>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) space: Option<Named>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) access_token: Option<Secret<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) refresh_token: Option<Secret<String>>,
}

/// An org or space.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Named {
    pub(crate) guid: String,
    pub(crate) name: String,
}

impl Config {
    /// `$SLIPWAY_HOME/config.json`, else `slipway/config.json` in the XDG config folder.
    pub(crate) fn path() -> Result<PathBuf, CliError> {
        path_from(
            env::var_os("SLIPWAY_HOME"),
            env::var_os("XDG_CONFIG_HOME"),
            env::var_os("HOME"),
        )
        .ok_or_else(|| {
            CliError::other(
                "neither SLIPWAY_HOME nor HOME is set, so there is no place for the configuration",
            )
            .hint("SLIPWAY_HOME=/a/folder slipway login")
        })
    }

    /// The stored configuration; the default one where none is stored.
    pub(crate) fn load(path: &Path) -> Result<Self, CliError> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => return Err(CliError::file(path, "read", &error)),
        };
        serde_json::from_str(&text).map_err(|error| {
            let message = format!(
                "{} is damaged at line {}, column {}",
                path.display(),
                error.line(),
                error.column()
            );
            CliError::new("E-CONFIG", Exit::Other, message)
                .hint(format!("rm {}  and  slipway login", path.display()))
        })
    }

    /// Writes a new file beside the old one and renames it, so that no reader ever sees half of it.
    pub(crate) fn save(&self, path: &Path) -> Result<(), CliError> {
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        make_private_folder(folder)
            .map_err(|error| CliError::file(folder, "make the folder", &error))?;
        let text = serde_json::to_vec_pretty(self).expect("a configuration is plain JSON");
        // Temporary files are made with mode 0600.
        let written = tempfile::Builder::new()
            .prefix(".config-")
            .tempfile_in(folder)
            .and_then(|mut file| {
                file.write_all(&text)?;
                file.write_all(b"\n")?;
                file.as_file().sync_all()?;
                file.persist(path).map_err(|error| error.error).map(drop)
            });
        written.map_err(|error| CliError::file(path, "write", &error))
    }
}

fn make_private_folder(folder: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

fn path_from(
    slipway_home: Option<std::ffi::OsString>,
    xdg: Option<std::ffi::OsString>,
    home: Option<std::ffi::OsString>,
) -> Option<PathBuf> {
    let set = |value: Option<std::ffi::OsString>| {
        value.filter(|value| !value.is_empty()).map(PathBuf::from)
    };
    if let Some(folder) = set(slipway_home) {
        return Some(folder.join("config.json"));
    }
    // The XDG specification says to ignore a relative path.
    let base = set(xdg)
        .filter(|folder| folder.is_absolute())
        .or_else(|| Some(set(home)?.join(".config")))?;
    Some(base.join("slipway").join("config.json"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_file_is_where_the_environment_says() {
        let some = |text: &str| Some(text.into());
        for (home, xdg, user, want) in [
            (some("/s"), some("/x"), some("/h"), Some("/s/config.json")),
            (None, some("/x"), some("/h"), Some("/x/slipway/config.json")),
            (
                None,
                some("relative"),
                some("/h"),
                Some("/h/.config/slipway/config.json"),
            ),
            (
                some(""),
                None,
                some("/h"),
                Some("/h/.config/slipway/config.json"),
            ),
            (None, None, None, None),
        ] {
            assert_eq!(path_from(home, xdg, user), want.map(PathBuf::from));
        }
    }

    #[test]
    fn only_the_owner_can_read_what_is_stored() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("new").join("config.json");
        assert_eq!(
            Config::load(&path).expect("nothing stored yet"),
            Config::default()
        );
        let config = Config {
            access_token: Some("hunter2".to_owned().into()),
            ..Config::default()
        };
        config.save(&path).expect("stored");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644))
            .expect("opened up by someone");
        config.save(&path).expect("stored again");
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().expect("a folder")), 0o700);
        assert_eq!(Config::load(&path).expect("readable"), config);
        assert_eq!(
            fs::read_dir(path.parent().expect("a folder"))
                .expect("listed")
                .count(),
            1,
            "nothing is left over"
        );
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    #[test]
    fn a_damaged_file_is_named_and_nothing_of_it_shown() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("config.json");
        fs::write(&path, "{\"access_token\": \"hunter2\"").expect("written");
        let error = Config::load(&path).expect_err("damaged");
        assert!(
            error.message.contains("is damaged at line 1")
                && !error.to_string().contains("hunter2"),
            "{error}"
        );
    }
}
