use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;

use proptest::prelude::*;

use super::*;

const FILE: u32 = 0o100_644;
const LINK: u32 = 0o120_777;
const FOLDER: u32 = 0o040_755;

/// Name, mode and content of an entry.
type RawEntry<'a> = (&'a [u8], u32, &'a [u8]);

/// A zip file of stored entries with any names and modes, as no honest tool writes it.
fn raw_zip(entries: &[RawEntry<'_>]) -> Vec<u8> {
    let (mut zip, mut central) = (Vec::new(), Vec::new());
    for (name, mode, content) in entries {
        let mut crc = flate2::Crc::new();
        crc.update(content);
        let mut common = Vec::new();
        common.extend([10, 0, 0, 0, 0, 0, 0, 0, 0x21, 0]);
        common.extend(crc.sum().to_le_bytes());
        common.extend((content.len() as u32).to_le_bytes());
        common.extend((content.len() as u32).to_le_bytes());
        common.extend((name.len() as u16).to_le_bytes());
        common.extend([0, 0]);
        central.extend(*b"PK\x01\x02\x1e\x03");
        central.extend(&common);
        central.extend([0; 6]);
        central.extend((mode << 16).to_le_bytes());
        central.extend((zip.len() as u32).to_le_bytes());
        central.extend(*name);
        zip.extend(*b"PK\x03\x04");
        zip.extend(&common);
        zip.extend(*name);
        zip.extend(*content);
    }
    let start = zip.len() as u32;
    zip.extend(&central);
    zip.extend(*b"PK\x05\x06\0\0\0\0");
    zip.extend((entries.len() as u16).to_le_bytes());
    zip.extend((entries.len() as u16).to_le_bytes());
    zip.extend((central.len() as u32).to_le_bytes());
    zip.extend(start.to_le_bytes());
    zip.extend([0, 0]);
    zip
}

struct Unpacked {
    folder: tempfile::TempDir,
    result: Result<HashSet<PathBuf>, UnpackError>,
}

impl Unpacked {
    fn app(&self) -> PathBuf {
        self.folder.path().join("a/app")
    }

    /// Everything outside the app folder.
    fn outside(&self) -> Vec<PathBuf> {
        let mut seen = Vec::new();
        let mut to_see = vec![self.folder.path().to_owned()];
        while let Some(folder) = to_see.pop() {
            for entry in fs::read_dir(folder).expect("listed") {
                let path = entry.expect("listed").path();
                if path == self.app() {
                    continue;
                }
                if path.is_dir() {
                    to_see.push(path.clone());
                }
                seen.push(
                    path.strip_prefix(self.folder.path())
                        .expect("below")
                        .to_owned(),
                );
            }
        }
        seen.sort();
        seen
    }
}

fn unpacked(zip: &[u8], max_bytes: u64) -> Unpacked {
    let folder = tempfile::tempdir().expect("temporary folder");
    let app = folder.path().join("a/app");
    fs::create_dir_all(&app).expect("made");
    fs::write(folder.path().join("package.zip"), zip).expect("written");
    let result = unpack(&folder.path().join("package.zip"), &app, max_bytes);
    Unpacked { folder, result }
}

#[test]
fn hostile_archives_are_refused_and_nothing_is_written() {
    let long = vec![b'x'; 256];
    let deep = b"d/".repeat(2100);
    let cases: &[(&str, &[RawEntry<'_>])] = &[
        ("leads out", &[(b"../x", FILE, b"")]),
        ("leads out", &[(b"a/../../x", FILE, b"")]),
        ("leads out", &[(b"a/..", FOLDER, b"")]),
        ("absolute", &[(b"/etc/x", FILE, b"")]),
        ("backslash", &[(b"..\\x", FILE, b"")]),
        ("backslash", &[(b"C:\\x", FILE, b"")]),
        ("impossible", &[(b"a\0b", FILE, b"")]),
        ("impossible", &[(b"", FILE, b"")]),
        (
            "no name",
            &[
                (b"./", LINK & !0o170_000 | 0o100_644, b""),
                (b".", FILE, b""),
            ],
        ),
        ("too long", &[(&long, FILE, b"")]),
        ("too long", &[(&deep, FOLDER, b"")]),
        ("device", &[(b"x", 0o020_666, b"")]),
        ("device", &[(b"x", 0o060_666, b"")]),
        ("device", &[(b"x", 0o010_666, b"")]),
        ("device", &[(b"x", 0o140_666, b"")]),
        ("twice", &[(b"x", FILE, b"1"), (b"x", FILE, b"2")]),
        ("twice", &[(b"x", FILE, b"1"), (b"./x", FILE, b"2")]),
        ("twice", &[(b"x/y", FILE, b""), (b"x", FILE, b"")]),
        ("not a folder", &[(b"x", FILE, b""), (b"x/y", FILE, b"")]),
        ("not a folder", &[(b"x", LINK, b"y"), (b"x/y", FILE, b"")]),
        ("twice", &[(b"x/y", FILE, b""), (b"x", LINK, b"/etc")]),
        ("twice", &[(b"x/", FOLDER, b""), (b"x", FILE, b"")]),
        ("absolute path", &[(b"x", LINK, b"/etc/passwd")]),
        ("out of the source", &[(b"x", LINK, b"..")]),
        ("out of the source", &[(b"a/x", LINK, b"../../y")]),
        (
            "down and up",
            &[(b"a/b/f", LINK, b"../.."), (b"g", LINK, b"a/b/f/../../..")],
        ),
        ("points nowhere", &[(b"x", LINK, b"")]),
        ("points nowhere", &[(b"x", LINK, b"a\0b")]),
        ("not a possible link", &[(b"x/", LINK, b"y")]),
    ];
    for (want, entries) in cases {
        let unpacked = unpacked(&raw_zip(entries), 1000);
        let shown: Vec<_> = entries
            .iter()
            .map(|(name, ..)| String::from_utf8_lossy(name))
            .collect();
        match &unpacked.result {
            Err(UnpackError::Bad(message)) => {
                assert!(message.contains(want), "{shown:?}: {message}")
            }
            result => panic!("{shown:?}: {result:?}"),
        }
        assert_eq!(
            unpacked.outside(),
            [Path::new("a"), Path::new("package.zip")],
            "{shown:?}"
        );
    }
}

#[test]
fn too_many_files_and_too_many_bytes_are_refused() {
    let names: Vec<Vec<u8>> = (0..100_001)
        .map(|number| format!("f{number}").into_bytes())
        .collect();
    let many: Vec<RawEntry<'_>> = names
        .iter()
        .map(|name| (name.as_slice(), FILE, &b""[..]))
        .collect();
    // More entries than the classic end record can count: the crate writes the 64-bit one.
    let mut writer = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
    for (name, ..) in &many {
        writer
            .start_file(
                String::from_utf8_lossy(name),
                zip::write::SimpleFileOptions::default(),
            )
            .expect("begun");
    }
    let too_many = unpacked(&writer.finish().expect("finished").into_inner(), 1000);
    assert!(
        matches!(&too_many.result, Err(UnpackError::Bad(message)) if message.contains("100001 entries, and 100000 are allowed")),
        "{:?}",
        too_many.result
    );

    let exact = unpacked(
        &raw_zip(&[(b"a", FILE, &[7; 600]), (b"b", FILE, &[7; 400])]),
        1000,
    );
    assert_eq!(exact.result.expect("fits").len(), 2);
    let over = unpacked(
        &raw_zip(&[(b"a", FILE, &[7; 600]), (b"b", FILE, &[7; 401])]),
        1000,
    );
    assert!(matches!(over.result, Err(UnpackError::Bad(message)) if message.contains("more than")));

    // A bomb that lies about its size is cut where the lie ends.
    let mut writer = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
    let deflated = zip::write::SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Deflated);
    writer.start_file("bomb", deflated).expect("begun");
    writer.write_all(&vec![0; 10_000_000]).expect("written");
    let mut bomb = writer.finish().expect("finished").into_inner();
    let central = bomb
        .windows(4)
        .rposition(|window| window == b"PK\x01\x02")
        .expect("a directory");
    bomb[central + 24..central + 28].copy_from_slice(&10_u32.to_le_bytes());
    let cut = unpacked(&bomb, 1000);
    assert!(
        matches!(&cut.result, Err(UnpackError::Bad(message)) if message.contains("longer than stated")),
        "{:?}",
        cut.result
    );
    assert!(fs::metadata(cut.app().join("bomb")).expect("begun").len() < 1000);
}

#[test]
fn modes_links_and_folders_arrive() {
    let zip = raw_zip(&[
        (b"bin/", FOLDER, b""),
        (b"bin/run", 0o100_700, b"#!"),
        (b"./plain.txt", 0, b"text"),
        (b"bin/up", LINK, b"../plain.txt"),
        (b"bin", FOLDER, b""),
        (b"deep/er/link", LINK, b"../../bin/run"),
        (b"empty/", FOLDER, b""),
        (b"caf\xc3\xa9 'x' \xff", FILE, b"odd"),
        (b"dangling", LINK, b"not/there"),
    ]);
    let unpacked = unpacked(&zip, 1000);
    let written = unpacked.result.as_ref().expect("unpacks");
    assert_eq!(written.len(), 6);
    let app = unpacked.app();
    let mode = |path: &str| {
        fs::metadata(app.join(path))
            .expect("there")
            .permissions()
            .mode()
            & 0o111
    };
    assert_ne!(mode("bin/run"), 0);
    assert_eq!(mode("plain.txt"), 0);
    assert_eq!(
        fs::read(app.join("bin/up")).expect("a link that works"),
        b"text"
    );
    assert_eq!(
        fs::read(app.join("deep/er/link")).expect("a link that works"),
        b"#!"
    );
    assert!(app.join("empty").is_dir());
    assert_eq!(
        fs::read(app.join(OsStr::from_bytes(b"caf\xc3\xa9 'x' \xff"))).expect("odd name"),
        b"odd"
    );
    assert!(
        fs::symlink_metadata(app.join("dangling"))
            .expect("there")
            .is_symlink()
    );
}

#[test]
fn damage_is_a_clear_refusal() {
    let good = raw_zip(&[(b"a/b", FILE, b"content")]);
    let mut wrong_content = good.clone();
    wrong_content[34] ^= 1;
    let mut other_name = good.clone();
    other_name[30] = b'z';
    for (want, zip) in [
        ("not a zip archive", &b"hello"[..]),
        ("not a zip archive", b""),
        ("not a zip archive", &good[..good.len() - 1]),
        ("checksum", &wrong_content),
        ("headers of an entry differ", &other_name),
    ] {
        let unpacked = unpacked(zip, 1000);
        assert!(
            matches!(&unpacked.result, Err(UnpackError::Bad(message)) if message.contains(want)),
            "{want}: {:?}",
            unpacked.result
        );
    }
}

proptest! {
    #[test]
    fn no_name_leads_out_of_the_folder(name in "([./\\\\a\u{e9}]|\\.\\.|\\PC){0,12}") {
        if let Ok(path) = entry_path(name.as_bytes()) {
            prop_assert!(path.components().all(|part| matches!(part, Component::Normal(_))), "{:?}", path);
        }
    }

    #[test]
    fn no_link_resolves_outside(links in prop::collection::vec(("[ab](/[ab]){0,2}", "(\\.\\./){0,3}([ab]|\\.|\\.\\.)(/([ab]|\\.\\.)){0,3}"), 1..6)) {
        let entries: Vec<RawEntry<'_>> = links.iter().map(|(name, to)| (name.as_bytes(), LINK, to.as_bytes())).collect();
        let unpacked = unpacked(&raw_zip(&entries), 1000);
        if let Ok(written) = &unpacked.result {
            let root = fs::canonicalize(unpacked.app()).expect("there");
            for path in written {
                if let Ok(real) = fs::canonicalize(root.join(path)) {
                    prop_assert!(real.starts_with(&root), "{:?} leads to {:?}", path, real);
                }
            }
        }
    }

    #[test]
    fn any_damage_is_survived(cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut zip = raw_zip(&[(b"a/b", FILE, b"content"), (b"c", LINK, b"a/b"), (b"d/", FOLDER, b"")]);
        for (at, value) in cuts {
            let at = at.index(zip.len());
            zip[at] = value;
        }
        let unpacked = unpacked(&zip, 1000);
        prop_assert_eq!(unpacked.outside(), [Path::new("a"), Path::new("package.zip")]);
    }
}
