//! See [`crate::fuzz`].

use std::path::Path;

use super::class_file::ClassFile;
use super::jar::Jar;
use super::pom::Pom;

/// The name that a class file gives itself.
#[must_use]
pub fn class_name(bytes: &[u8]) -> Option<String> {
    ClassFile::parse(bytes).map(|class| class.name)
}

/// The main class of a jar's manifest.
#[must_use]
pub fn jar_main_class(jar: &Path) -> Option<String> {
    Jar::open(jar)?.main_class
}

/// The texts that a pom is asked for: its main class, its Java version, its modules.
pub fn pom(text: &str) -> Result<Vec<String>, String> {
    let pom = Pom::parse(text)?;
    let mut texts = pom.modules.clone();
    texts.extend(pom.main_class());
    texts.extend(pom.java_version.clone());
    Ok(texts)
}
