use std::fs;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

/// A folder with these files; a path that ends in `/` is an empty folder.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (path, text) in files {
        let full = folder.path().join(path);
        if path.ends_with('/') {
            fs::create_dir_all(full).expect("made");
            continue;
        }
        fs::create_dir_all(full.parent().expect("a parent")).expect("made");
        fs::write(full, text).expect("written");
    }
    folder
}

fn paths(set: &FileSet) -> Vec<&str> {
    set.entries
        .iter()
        .map(|entry| entry.path.as_str())
        .collect()
}

#[test]
fn ignore_rules_hold_as_in_cf() {
    let files = [
        ("pom.xml", "x"),
        ("manifest.yml", "x"),
        (".git/config", "x"),
        (".gitignore", "target"),
        ("sub/.DS_Store", "x"),
        ("sub/manifest.yml", "x"),
        ("target/app.jar", "x"),
        ("target/classes/A.class", "x"),
        ("logs/a.log", "x"),
        ("src/Main.java", "x"),
        ("empty/", ""),
    ];
    let base = [
        "empty",
        "logs/a.log",
        "pom.xml",
        "src/Main.java",
        "target/app.jar",
        "target/classes/A.class",
    ];
    for (rules, want) in [
        ("", base.to_vec()),
        (
            "target/\n",
            vec!["empty", "logs/a.log", "pom.xml", "src/Main.java"],
        ),
        (
            "target\n!target/app.jar\n",
            vec![
                "empty",
                "logs/a.log",
                "pom.xml",
                "src/Main.java",
                "target/app.jar",
            ],
        ),
        (
            "*.log\n# a comment\n\nempty\n",
            vec![
                "logs",
                "pom.xml",
                "src/Main.java",
                "target/app.jar",
                "target/classes/A.class",
            ],
        ),
        (
            "/src\r\n",
            vec![
                "empty",
                "logs/a.log",
                "pom.xml",
                "target/app.jar",
                "target/classes/A.class",
            ],
        ),
        ("!.git\n!manifest.yml\n", base.to_vec()),
        ("*\n!pom.xml\n", vec!["pom.xml"]),
    ] {
        let folder = folder(&files);
        fs::write(folder.path().join(".cfignore"), rules).expect("written");
        let set = FileSet::gather(folder.path()).expect("gathered");
        let got: Vec<_> = paths(&set)
            .into_iter()
            .filter(|path| !path.starts_with("sub"))
            .collect();
        assert_eq!(got, want, "{rules:?}");
    }
}

#[test]
fn modes_links_and_checksums_are_kept() {
    let folder = folder(&[("run.sh", "#!/bin/sh\n"), ("none", ""), ("a/b", "hello")]);
    let run = folder.path().join("run.sh");
    fs::set_permissions(&run, fs::Permissions::from_mode(0o755)).expect("set");
    symlink("a/b", folder.path().join("link")).expect("linked");
    let set = FileSet::gather(folder.path()).expect("gathered");
    let entry = |path: &str| {
        set.entries
            .iter()
            .find(|entry| entry.path == path)
            .expect(path)
    };
    assert_eq!(entry("run.sh").mode, 0o755);
    assert_eq!(
        entry("link").kind,
        Kind::Link {
            target: "a/b".into()
        }
    );
    assert_eq!(
        entry("a/b").matchable(),
        Some((5, "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d"))
    );
    assert_eq!(
        entry("none").matchable(),
        None,
        "empty files are never asked for"
    );
    assert_eq!((set.files(), set.bytes()), (3, 15));
}

#[test]
fn a_link_that_leads_outside_is_refused() {
    for target in ["/etc/passwd", "../outside", "a/../../outside"] {
        let folder = folder(&[("a/b", "x")]);
        symlink(target, folder.path().join("link")).expect("linked");
        let error = FileSet::gather(folder.path()).expect_err(target);
        assert_eq!(error.exit_code(), 2);
        assert!(error.message.contains("leads outside"), "{error}");
        fs::write(folder.path().join(".cfignore"), "link\n").expect("written");
        FileSet::gather(folder.path()).expect("ignored, so no matter");
    }
}

#[test]
fn what_cannot_be_pushed_says_so() {
    let missing = FileSet::gather(Path::new("does-not-exist")).expect_err("missing");
    assert_eq!(missing.exit_code(), 2);
    let empty = folder(&[(".gitignore", "x")]);
    assert!(
        FileSet::gather(empty.path())
            .expect_err("empty")
            .message
            .contains("nothing to push")
    );
    let text = folder(&[("app.txt", "not a zip")]);
    let error = FileSet::gather(&text.path().join("app.txt")).expect_err("no archive");
    assert!(
        error
            .message
            .contains("neither a folder nor a readable zip"),
        "{error}"
    );
    let pipe = folder(&[("a", "x")]);
    let made = std::process::Command::new("mkfifo")
        .arg(pipe.path().join("p"))
        .status()
        .expect("mkfifo runs");
    assert!(made.success());
    assert!(
        FileSet::gather(pipe.path())
            .expect_err("a pipe")
            .message
            .contains("neither file, folder nor link")
    );
}

fn up_to(entries: usize) -> Limits {
    Limits { entries, ..LIMITS }
}

#[test]
fn more_bytes_than_the_limit_are_neither_read_nor_packed() {
    let ten = folder(&[("a/1", "12345"), ("b", "12345")]);
    let set = FileSet::gather(ten.path()).expect("gathered");
    let (mut file, length) = pack(&set, |_| true).expect("packed");
    let mut bytes = Vec::new();
    file.rewind()
        .and_then(|()| file.read_to_end(&mut bytes))
        .expect("read");
    let outside = tempfile::tempdir().expect("a folder");
    let zip = outside.path().join("app.zip");
    fs::write(&zip, bytes).expect("written");
    for place in [ten.path(), &zip] {
        let within = |bytes| FileSet::gather_within(place, Limits { bytes, ..LIMITS });
        assert_eq!(within(10).expect("just enough").bytes(), 10);
        let error = within(9).expect_err("too much");
        assert_eq!((error.code.as_str(), error.exit_code()), ("E-TOOLARGE", 2));
    }
    let packed = pack::pack_within(&set, |_| true, length).expect("just enough");
    assert_eq!(packed.1, length);
    for less in [length - 1, length / 2, 40, 1] {
        let error = pack::pack_within(&set, |_| true, less).expect_err("too much");
        assert_eq!((error.code.as_str(), error.exit_code()), ("E-TOOLARGE", 2));
    }
}

#[test]
fn more_than_the_limit_is_refused_before_anything_is_sent() {
    let four = folder(&[("a/1", ""), ("a/2", ""), ("b/3", ""), ("c/", "")]);
    assert_eq!(
        FileSet::gather_within(four.path(), up_to(4))
            .expect("just enough")
            .entries
            .len(),
        4
    );
    let error = FileSet::gather_within(four.path(), up_to(3)).expect_err("too many");
    assert!(
        error.message.contains("more than 3 files") && error.exit_code() == 2,
        "{error}"
    );

    let path = four.path().join("app.zip");
    let mut writer = ::zip::ZipWriter::new(fs::File::create(&path).expect("made"));
    for name in ["1", "2", "3"] {
        writer
            .start_file(name, ::zip::write::SimpleFileOptions::default())
            .expect("begun");
    }
    writer.finish().expect("finished");
    assert_eq!(
        FileSet::gather_within(&path, up_to(3))
            .expect("just enough")
            .entries
            .len(),
        3
    );
    assert_eq!(
        FileSet::gather_within(&path, up_to(2))
            .expect_err("too many")
            .exit_code(),
        2
    );
}

fn unpacked(mut file: fs::File) -> Vec<(String, u32, String)> {
    file.rewind().expect("rewound");
    let mut archive = ::zip::ZipArchive::new(file).expect("a zip");
    (0..archive.len())
        .map(|index| {
            let mut entry = archive.by_index(index).expect("an entry");
            let mut text = String::new();
            entry.read_to_string(&mut text).expect("text");
            (
                entry.name().expect("a name").into_owned(),
                entry.unix_mode().unwrap_or_default(),
                text,
            )
        })
        .collect()
}

#[test]
fn equal_trees_make_equal_packages() {
    let files = [("b", "2"), ("a/x.jar", "PK"), ("c/", ""), ("a-b", "1")];
    let bytes = || {
        let folder = folder(&files);
        symlink("b", folder.path().join("d")).expect("linked");
        let set = FileSet::gather(folder.path()).expect("gathered");
        let (mut file, length) = pack(&set, |_| true).expect("packed");
        let mut bytes = Vec::new();
        file.rewind()
            .and_then(|()| file.read_to_end(&mut bytes))
            .expect("read");
        assert_eq!(bytes.len() as u64, length);
        (bytes, unpacked(file))
    };
    let ((first, entries), (second, _)) = (bytes(), bytes());
    assert_eq!(first, second);
    let got: Vec<_> = entries
        .iter()
        .map(|(name, mode, text)| (name.as_str(), mode & 0o170_000, text.as_str()))
        .collect();
    assert_eq!(
        got,
        [
            ("a-b", 0o100_000, "1"),
            ("a/x.jar", 0o100_000, "PK"),
            ("b", 0o100_000, "2"),
            ("c/", 0o040_000, ""),
            ("d", 0o120_000, "b")
        ]
    );
}

#[test]
fn of_a_jar_the_entries_are_pushed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.jar");
    let mut writer = ::zip::ZipWriter::new(fs::File::create(&path).expect("made"));
    let options = ::zip::write::SimpleFileOptions::default();
    for (name, text) in [
        ("META-INF/MANIFEST.MF", "Main-Class: A"),
        ("A.class", "cafe"),
        (".cfignore", "secret\n"),
        ("secret", "x"),
    ] {
        writer.start_file(name, options).expect("begun");
        writer.write_all(text.as_bytes()).expect("written");
    }
    writer.add_directory("META-INF/", options).expect("added");
    writer.add_directory("lib/", options).expect("added");
    writer.finish().expect("finished");
    let set = FileSet::gather(&path).expect("gathered");
    assert_eq!(paths(&set), ["A.class", "META-INF/MANIFEST.MF", "lib"]);
    assert_eq!(set.landmarks(), ["META-INF/MANIFEST.MF"]);
    let (file, _) = pack(&set, |entry| entry.path != "A.class").expect("packed");
    let got = unpacked(file);
    assert_eq!(
        got[0],
        (
            "META-INF/MANIFEST.MF".into(),
            0o100_744,
            "Main-Class: A".into()
        )
    );
    assert_eq!(got.len(), 2);
}

#[test]
fn an_archive_whose_names_lead_outside_is_refused() {
    for name in ["../evil", "/etc/passwd", "a/../../b"] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("app.zip");
        let mut writer = ::zip::ZipWriter::new(fs::File::create(&path).expect("made"));
        writer
            .start_file(name, ::zip::write::SimpleFileOptions::default())
            .expect("begun");
        writer.finish().expect("finished");
        let error = FileSet::gather(&path).expect_err(name);
        assert!(error.message.contains("leads outside"), "{error}");
    }
}
