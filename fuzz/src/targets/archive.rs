//! The zip files of a push: as the client reads one, as the server takes one in, as a build unpacks one.

use std::collections::BTreeSet;
use std::path::{Component, Path};

use api_control::archive::{self, ArchiveLimits};

use crate::place::{Place, check_links};

const FILES: usize = 1000;
const BYTES: u64 = 4 * 1024 * 1024;

pub(crate) fn push(bytes: &[u8]) {
    let place = Place::new();
    let zip = place.file("app.zip", bytes);
    if let Ok(paths) = cli::fuzz::archive(&zip) {
        assert!(paths.is_sorted(), "equal trees must make equal packages");
        paths.iter().for_each(|path| assert_inside(Path::new(path)));
    }
    place.check(&["app.zip"]);
}

pub(crate) fn upload(bytes: &[u8]) {
    let place = Place::new();
    let zip = place.file("bits.zip", bytes);
    let limits = ArchiveLimits {
        files: FILES,
        bytes: BYTES,
    };
    if let Ok(mut files) = archive::inspect(&zip, limits) {
        assert!(files.len() <= FILES && files.iter().map(|file| file.size).sum::<u64>() <= BYTES);
        let paths = files.iter().map(|file| file.path.as_str());
        assert_eq!(
            paths.clone().collect::<BTreeSet<_>>().len(),
            files.len(),
            "a file twice"
        );
        paths.for_each(|path| assert_inside(Path::new(path)));
        // What was accepted is stored as another archive of the same files.
        let out = place.inside().join("package.zip");
        archive::complete(Some(&zip), &[], &out).expect("a sound archive can be completed");
        let mut stored = archive::inspect(&out, limits).expect("a stored archive is sound");
        files.sort_by(|a, b| a.path.cmp(&b.path));
        stored.sort_by(|a, b| a.path.cmp(&b.path));
        assert_eq!(stored, files);
    }
    place.check(&["bits.zip"]);
}

pub(crate) fn unpack(bytes: &[u8]) {
    let place = Place::new();
    let zip = place.file("package.zip", bytes);
    let root = place.inside();
    if let Ok(paths) = builder::fuzz::unpack(&zip, &root, BYTES) {
        for path in &paths {
            assert_inside(path);
            assert!(
                root.join(path).symlink_metadata().is_ok(),
                "{} is missing",
                path.display()
            );
        }
    }
    check_links(&root);
    place.check(&["package.zip"]);
}

fn assert_inside(path: &Path) {
    let inside = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    assert!(
        path.components().all(inside),
        "{} leads out",
        path.display()
    );
}
