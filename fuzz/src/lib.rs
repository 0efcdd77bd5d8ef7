//! Fuzz targets: each takes any bytes to one reader of untrusted input and asserts what must hold whatever they are.
//!
//! A target never asserts that an input is accepted. It asserts bounds, that what was accepted is sound, that what a
//! writer of ours makes of it is read back the same, and that nothing was touched outside the folder given. A panic,
//! a failed assertion, 2 minutes or 1 GiB for one input is a finding.
//!
//! `script/fuzz` runs them under libFuzzer; `cargo run -p fuzz -- TARGET FILE…` replays inputs without it. `seeds/TARGET`
//! holds inputs to begin with, and every one that once found something: the test `seeds` replays them all.

pub mod place;
mod targets;

/// A target's name and what it does with an input.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
}

/// All targets, in the order in which a push meets them.
pub const TARGETS: &[Target] = &[
    Target {
        name: "manifest",
        run: targets::manifest::run,
    },
    Target {
        name: "cfignore",
        run: targets::cfignore::run,
    },
    Target {
        name: "archive_push",
        run: targets::archive::push,
    },
    Target {
        name: "archive_upload",
        run: targets::archive::upload,
    },
    Target {
        name: "archive_unpack",
        run: targets::archive::unpack,
    },
    Target {
        name: "procfile",
        run: targets::procfile::run,
    },
    Target {
        name: "pom",
        run: targets::java::pom,
    },
    Target {
        name: "class_file",
        run: targets::java::class_file,
    },
    Target {
        name: "jar",
        run: targets::java::jar,
    },
    Target {
        name: "build_result",
        run: targets::build_result::run,
    },
    Target {
        name: "layer",
        run: targets::layer::run,
    },
    Target {
        name: "container",
        run: targets::container::run,
    },
    Target {
        name: "messages",
        run: targets::messages::run,
    },
    Target {
        name: "log_file",
        run: targets::log_file::run,
    },
    Target {
        name: "list_query",
        run: targets::query::list,
    },
    Target {
        name: "log_query",
        run: targets::query::log,
    },
    Target {
        name: "request",
        run: targets::request::run,
    },
    Target {
        name: "answer",
        run: targets::answer::run,
    },
];

/// The target of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
