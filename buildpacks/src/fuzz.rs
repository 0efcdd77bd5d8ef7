//! Doors to this crate's readers of sources, for the fuzz targets.

use std::collections::BTreeMap;

pub use crate::java::fuzz::{class_name, jar_main_class, pom};

/// Start commands by process type, or what is wrong with which line.
pub fn procfile(text: &str) -> Result<BTreeMap<String, String>, (usize, String)> {
    crate::procfile::parse(text)
}
