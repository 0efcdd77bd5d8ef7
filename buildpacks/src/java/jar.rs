//! Looks into jars: their manifest and whether they carry what they need.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::source::Source;

const MAX_MANIFEST: u64 = 1024 * 1024;

/// What matters of a jar.
#[derive(Debug, Clone)]
pub(super) struct Jar {
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    pub(super) main_class: Option<String>,
    /// It starts with nothing on the class path besides itself, as far as its manifest tells.
    pub(super) self_contained: bool,
    pub(super) spring_boot: bool,
}

impl Jar {
    /// None where the file is not a jar.
    pub(super) fn open(path: &Path) -> Option<Self> {
        let file = File::open(path).ok()?;
        let bytes = file.metadata().ok()?.len();
        let mut archive = zip::ZipArchive::new(file).ok()?;
        let mut text = Vec::new();
        if let Ok(entry) = archive.by_name("META-INF/MANIFEST.MF") {
            entry.take(MAX_MANIFEST).read_to_end(&mut text).ok()?;
        }
        let manifest = manifest(&String::from_utf8_lossy(&text));
        let class_path = manifest.get("class-path");
        let folder = path.parent()?;
        let beside = class_path.is_some_and(|list| {
            let mut entries = list.split_ascii_whitespace().peekable();
            entries.peek().is_some() && entries.all(|entry| folder.join(entry).exists())
        });
        let spring_boot = is_spring_boot(&manifest);
        Some(Self {
            path: path.to_owned(),
            bytes,
            main_class: manifest.get("main-class").cloned(),
            self_contained: spring_boot || beside,
            spring_boot,
        })
    }

    pub(super) fn name(&self) -> String {
        self.path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default()
    }
}

pub(super) fn is_archive_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    [".jar", ".war"]
        .iter()
        .any(|suffix| name.len() > suffix.len() && name.ends_with(suffix))
}

fn is_spring_boot(manifest: &BTreeMap<String, String>) -> bool {
    ["start-class", "spring-boot-version", "spring-boot-classes"]
        .iter()
        .any(|key| manifest.contains_key(*key))
}

/// The main class of a source that is a jar's content, and whether Spring Boot made it.
pub(super) fn exploded_main_class(source: &Source) -> Option<(String, bool)> {
    let manifest = manifest(&source.text("META-INF/MANIFEST.MF", MAX_MANIFEST)?);
    Some((
        manifest.get("main-class")?.clone(),
        is_spring_boot(&manifest),
    ))
}

/// The main section of a manifest, keys in lower case. Lines of 72 bytes continue on the next after one space.
fn manifest(text: &str) -> BTreeMap<String, String> {
    let mut attributes: BTreeMap<String, String> = BTreeMap::new();
    let mut current: Option<String> = None;
    for line in text.lines() {
        if line.is_empty() {
            break;
        }
        if let Some(more) = line.strip_prefix(' ') {
            if let Some(value) = current.as_ref().and_then(|key| attributes.get_mut(key)) {
                value.push_str(more);
            }
        } else if let Some((key, value)) = line.split_once(':') {
            let key = key.trim().to_ascii_lowercase();
            attributes.insert(key.clone(), value.trim_start().to_owned());
            current = Some(key);
        }
    }
    for value in attributes.values_mut() {
        *value = value.trim().to_owned();
    }
    attributes.retain(|_, value| !value.is_empty());
    attributes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_are_read_as_the_jar_specification_says() {
        for (text, key, want) in [
            (
                "Manifest-Version: 1.0\r\nMain-Class: a.Main\r\n\r\n",
                "main-class",
                Some("a.Main"),
            ),
            (
                "Main-Class: a.very.lo\n ng.Name\nX: y\n",
                "main-class",
                Some("a.very.long.Name"),
            ),
            (
                "Class-Path: lib/a.jar \n lib/b.jar\n",
                "class-path",
                Some("lib/a.jar lib/b.jar"),
            ),
            ("MAIN-class:   a.B  \n", "main-class", Some("a.B")),
            (
                "Manifest-Version: 1.0\n\nName: x\nMain-Class: no\n",
                "main-class",
                None,
            ),
            (" leading\nMain-Class:\n", "main-class", None),
            ("", "main-class", None),
        ] {
            assert_eq!(
                manifest(text).get(key).map(String::as_str),
                want,
                "{text:?}"
            );
        }
    }
}
