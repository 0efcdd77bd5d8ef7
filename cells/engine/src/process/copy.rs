//! Copying a layer: files, folders and links, as they are. Nothing else belongs in one.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// Copies what is in `from` into `to`, replacing files of lower layers. Links are copied, never followed.
pub(super) fn tree(from: &Path, to: &Path) -> io::Result<()> {
    let mut folders: Vec<(PathBuf, PathBuf)> = vec![(from.to_owned(), to.to_owned())];
    while let Some((from, to)) = folders.pop() {
        for entry in fs::read_dir(&from)? {
            let entry = entry?;
            let (source, target) = (entry.path(), to.join(entry.file_name()));
            let kind = entry.file_type()?;
            let existing = fs::symlink_metadata(&target).ok();
            if kind.is_dir() {
                if existing.as_ref().is_some_and(|found| !found.is_dir()) {
                    fs::remove_file(&target)?;
                }
                fs::create_dir_all(&target)?;
                // Writable for its owner, or the files could not be copied into it.
                let mode = entry.metadata()?.permissions().mode() | 0o700;
                fs::set_permissions(&target, Permissions::from_mode(mode))?;
                folders.push((source, target));
                continue;
            }
            match existing {
                Some(found) if found.is_dir() => fs::remove_dir_all(&target)?,
                Some(_) => fs::remove_file(&target)?,
                None => {}
            }
            if kind.is_symlink() {
                symlink(fs::read_link(&source)?, &target)?;
            } else if kind.is_file() {
                fs::copy(&source, &target)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_layer_replaces_and_a_link_is_not_followed() {
        let dir = tempfile::tempdir().expect("temp dir");
        let [one, two, home, outside] =
            ["one", "two", "home", "outside"].map(|name| dir.path().join(name));
        for folder in [&one.join("app"), &two.join("app"), &home, &outside] {
            fs::create_dir_all(folder).expect("folder");
        }
        fs::write(one.join("app/a"), "1").expect("file");
        symlink(&outside, one.join("app/link")).expect("link");
        fs::write(two.join("app/a"), "2").expect("file");
        fs::create_dir(two.join("app/link")).expect("folder");
        fs::write(two.join("app/link/file"), "inside").expect("file");
        tree(&one, &home).expect("copies");
        tree(&two, &home).expect("copies");
        assert_eq!(fs::read_to_string(home.join("app/a")).expect("file"), "2");
        assert_eq!(
            fs::read_to_string(home.join("app/link/file")).expect("file"),
            "inside"
        );
        assert_eq!(
            fs::read_dir(&outside).expect("folder").count(),
            0,
            "nothing was written through the link"
        );
    }
}
