//! What the Java buildpack reads.

use crate::place::Place;

pub(crate) fn pom(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(texts) = buildpacks::fuzz::pom(&text) {
        let longest = texts.iter().map(String::len).max().unwrap_or(0);
        assert!(
            longest <= text.len().max(4096),
            "properties grew to {longest} bytes"
        );
    }
}

pub(crate) fn class_file(bytes: &[u8]) {
    if let Some(name) = buildpacks::fuzz::class_name(bytes) {
        assert!(name.len() < bytes.len());
    }
}

/// A jar that a build wrote: looked into, and made reproducible.
pub(crate) fn jar(bytes: &[u8]) {
    let place = Place::new();
    let jar = place.inside().join("app.jar");
    std::fs::write(&jar, bytes).expect("the folder is ours");
    let main_class = buildpacks::fuzz::jar_main_class(&jar);
    if builder::fuzz::normalise(&jar).is_ok() {
        let once = std::fs::read(&jar).expect("it is there");
        assert!(
            once.len() <= bytes.len() + 1024 * 1024,
            "it grew to {} bytes",
            once.len()
        );
        builder::fuzz::normalise(&jar).expect("a normal archive can be normalised");
        let twice = std::fs::read(&jar).expect("it is there");
        assert!(once == twice, "a normal archive changes again");
        if main_class.is_some() {
            assert_eq!(buildpacks::fuzz::jar_main_class(&jar), main_class);
        }
    } else {
        assert!(
            std::fs::read(&jar).expect("it is there") == bytes,
            "a refused archive was changed"
        );
    }
    let left = std::fs::read_dir(place.inside()).expect("listed").count();
    assert_eq!(left, 1, "an unfinished archive stays");
    place.check(&[]);
}
