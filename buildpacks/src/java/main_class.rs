//! Finds the classes of a build that `java` could start.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use super::class_file::{ClassFile, Main};
use crate::source::{MAX_DEPTH, walk};

const MAX_CLASSES: usize = 50_000;
const MAX_CLASS_BYTES: u64 = 4 * 1024 * 1024;

/// Names of the classes with a main method below a folder of classes, sorted. Classes inside others are left out. Where
/// none has a static main method, those that only Java 25 starts are given.
pub(super) fn candidates(classes: &Path) -> Vec<String> {
    let (mut statics, mut instances, mut seen) = (Vec::new(), Vec::new(), 0);
    walk(classes, MAX_DEPTH, &mut |path| {
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        if name.ends_with(".class") && !name.contains('$') {
            seen += 1;
            match read(path) {
                Some(ClassFile {
                    name,
                    main: Main::Static,
                }) => statics.push(name),
                Some(ClassFile {
                    name,
                    main: Main::Instance,
                }) => instances.push(name),
                _ => {}
            }
        }
        seen < MAX_CLASSES
    });
    let mut found = if statics.is_empty() {
        instances
    } else {
        statics
    };
    found.sort();
    found
}

fn read(path: &Path) -> Option<ClassFile> {
    let file = File::open(path).ok()?;
    let mut bytes = Vec::new();
    file.take(MAX_CLASS_BYTES).read_to_end(&mut bytes).ok()?;
    ClassFile::parse(&bytes)
}

/// Whether `classes` holds the class called `name`.
pub(super) fn holds(classes: &Path, name: &str) -> bool {
    let file = classes.join(format!("{}.class", name.replace('.', "/")));
    fs::metadata(file).is_ok_and(|meta| meta.is_file())
}

/// Whether `name` can be a class name at all, so that it is safe in a command.
pub(super) fn is_class_name(name: &str) -> bool {
    name.len() <= 500
        && name.split('.').all(|part| {
            let mut chars = part.chars();
            chars
                .next()
                .is_some_and(|c| c.is_alphabetic() || matches!(c, '_' | '$'))
                && chars.all(|c| c.is_alphanumeric() || matches!(c, '_' | '$'))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_class_names_are_class_names() {
        for good in [
            "Main",
            "a.b.Main",
            "a.Outer$Inner",
            "_x.$y1",
            "caf\u{e9}.Main",
        ] {
            assert!(is_class_name(good), "{good}");
        }
        for bad in [
            "",
            "a..b",
            ".a",
            "1a",
            "a b",
            "a;rm",
            "-x",
            "a/b",
            "a.$(id)",
            &"a".repeat(501),
        ] {
            assert!(!is_class_name(bad), "{bad}");
        }
    }
}
