//! Packed layers as a hostile build might make them.

use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

use super::*;
use model::droplet::LayerKind;
use model::limits::Megabytes;

struct Packed {
    layer: Layer,
    bytes: Vec<u8>,
}

fn pack(tar: &[u8]) -> Packed {
    let bytes = zstd::encode_all(tar, 1).unwrap();
    let diff_id = Digest::from_bytes(Sha256::digest(tar).into());
    let layer = Layer {
        kind: LayerKind::App,
        diff_id,
        size: tar.len() as u64,
        compressed_size: bytes.len() as u64,
    };
    Packed { layer, bytes }
}

/// Kind, name, and content or link target.
type Raw<'a> = (EntryType, &'a str, &'a str);

/// A tar of entries whose names are written raw, as no well-meant library would.
fn tar_of(entries: &[Raw<'_>]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (kind, name, content) in entries {
        let mut header = Header::new_ustar();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(0o4755);
        header.set_mtime(1_000_000);
        let link = matches!(kind, EntryType::Symlink | EntryType::Link);
        if link {
            header.as_mut_bytes()[157..157 + content.len()].copy_from_slice(content.as_bytes());
        }
        let content = if link { "" } else { content };
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, content.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

fn cache(folder: &Path, budget: u64) -> Layers {
    reopen(folder, budget, false)
}

fn reopen(folder: &Path, budget: u64, rebooted: bool) -> Layers {
    let folder = folder.join("layers");
    let server = Server::new(&folder.join("no-server"));
    Layers::open(
        Options {
            folder,
            budget,
            owner: None,
            room: Arc::new(Room::open(PathBuf::from("."), Megabytes(0)).unwrap()),
            rebooted,
            tracker: TaskTracker::new(),
        },
        server,
    )
    .unwrap()
}

async fn import(cache: &Layers, folder: &Path, packed: &Packed) -> Result<Lease, LayerError> {
    let file = folder.join("packed");
    fs::write(&file, &packed.bytes).unwrap();
    cache.import(&packed.layer, &file).await
}

fn reason(error: LayerError) -> String {
    let LayerError::Unpack { source, .. } = error else {
        panic!("{error:?}")
    };
    crate::cell::text_of(&source)
}

use EntryType as T;

#[tokio::test]
async fn a_layer_is_unpacked_with_times_modes_and_links() {
    let folder = tempfile::tempdir().unwrap();
    let packed = pack(&tar_of(&[
        (T::Directory, "./app/", ""),
        (T::Regular, "app/run", "#!/bin/sh"),
        (T::Link, "app/again", "app/run"),
        (
            T::Symlink,
            "deps/java/cacerts",
            "/etc/ssl/certs/java/cacerts",
        ),
        (T::Symlink, "deps/java/up", "../../app/run"),
    ]));
    let cache = cache(folder.path(), u64::MAX);
    let lease = import(&cache, folder.path(), &packed).await.unwrap();
    let run = fs::metadata(lease.path.join("app/run")).unwrap();
    assert_eq!(
        std::os::unix::fs::MetadataExt::mode(&run) & 0o7777,
        0o755,
        "no setuid"
    );
    assert_eq!(
        run.modified().unwrap(),
        SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000)
    );
    assert_eq!(
        fs::read(lease.path.join("deps/java/up")).unwrap(),
        b"#!/bin/sh"
    );
    assert_eq!(
        fs::read(lease.path.join("app/again")).unwrap(),
        b"#!/bin/sh"
    );
}

#[tokio::test]
async fn hostile_entries_are_refused_and_leave_nothing() {
    let cases: &[(&[Raw<'_>], &str)] = &[
        (&[(T::Regular, "../outside", "x")], "'..'"),
        (&[(T::Regular, "app/../../outside", "x")], "'..'"),
        (&[(T::Regular, "/outside", "x")], "absolute"),
        (&[(T::Symlink, "app/link", "../../outside")], "leads out"),
        (&[(T::Symlink, "app/link", "/root/.ssh")], "leads out"),
        (&[(T::Symlink, "app/link", "/usr/../root")], "leads out"),
        (
            &[(T::Symlink, "link", "app"), (T::Regular, "link/file", "x")],
            "below or in place",
        ),
        (
            &[(T::Symlink, "link", "app"), (T::Regular, "link", "x")],
            "twice",
        ),
        (
            &[(T::Regular, "file", "x"), (T::Regular, "file", "y")],
            "twice",
        ),
        (&[(T::Link, "app/hard", "../../outside")], "leads out"),
        (&[(T::Link, "app/hard", "app/missing")], "hard link"),
        (
            &[(T::Symlink, "s", "app"), (T::Link, "hard", "s")],
            "hard link",
        ),
        (&[(T::Char, "tty", "")], "device"),
        (&[(T::Block, "disk", "")], "device"),
        (&[(T::Fifo, "pipe", "")], "device"),
    ];
    for (entries, want) in cases {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path(), u64::MAX);
        let packed = pack(&tar_of(entries));
        let refused = reason(import(&cache, folder.path(), &packed).await.unwrap_err());
        assert!(refused.contains(want), "{entries:?}: {refused}");
        let checked = check(packed.bytes.as_slice(), &packed.layer)
            .unwrap_err()
            .to_string();
        assert!(checked.contains(want), "{entries:?}: {checked}");
        assert_eq!(
            fs::read_dir(folder.path().join("layers")).unwrap().count(),
            0,
            "{entries:?}"
        );
        assert!(
            !folder.path().join("outside").exists()
                && !folder.path().join("layers/outside").exists()
        );
    }
}

#[tokio::test]
async fn a_layer_that_is_not_what_was_declared_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache(folder.path(), u64::MAX);
    let content = "0".repeat(3_000_000);
    let good = pack(&tar_of(&[(T::Regular, "zeros", &content)]));
    let bomb = Packed {
        layer: Layer {
            size: 10_000,
            ..good.layer.clone()
        },
        bytes: good.bytes.clone(),
    };
    assert!(
        reason(import(&cache, folder.path(), &bomb).await.unwrap_err())
            .contains("more than the declared 10000")
    );
    let other = Digest::from_bytes([7; 32]);
    let wrong = Packed {
        layer: Layer {
            diff_id: other,
            ..good.layer.clone()
        },
        bytes: good.bytes.clone(),
    };
    assert!(
        reason(import(&cache, folder.path(), &wrong).await.unwrap_err())
            .contains("not what was declared")
    );
    let cut = Packed {
        layer: good.layer.clone(),
        bytes: good.bytes[..good.bytes.len() / 2].to_vec(),
    };
    assert!(
        reason(import(&cache, folder.path(), &cut).await.unwrap_err()).contains("could not unpack")
    );
    let long = pack(&tar_of(&[
        (T::GNULongName, "x", &"n".repeat(200_000)),
        (T::Regular, "a", ""),
    ]));
    assert!(reason(import(&cache, folder.path(), &long).await.unwrap_err()).contains("long name"));
    import(&cache, folder.path(), &good).await.unwrap();
}

#[tokio::test]
async fn a_pax_header_hides_no_long_name_from_the_gate() {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache(folder.path(), u64::MAX);
    let hidden = tar_of(&[
        (T::GNULongName, "x", &"n".repeat(200_000)),
        (T::Regular, "a", ""),
    ]);
    for kind in [T::XHeader, T::XGlobalHeader] {
        // One reader takes what is hidden for the content of the file, the other believes that the file is empty.
        let mut tar = tar_of(&[(kind, "pax", "9 size=0\n")]);
        tar.truncate(1024);
        let mut header = Header::new_ustar();
        header.set_path("file").unwrap();
        header.set_size(hidden.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        tar.extend(header.as_bytes());
        tar.extend(&hidden);
        let packed = pack(&tar);
        let refused = reason(import(&cache, folder.path(), &packed).await.unwrap_err());
        assert!(refused.contains("pax header"), "{kind:?}: {refused}");
    }
}

#[tokio::test]
async fn unused_layers_make_room_and_leased_ones_stay() {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache(folder.path(), 150_000);
    let layers: Vec<_> = ["a", "b", "c"]
        .map(|name| pack(&tar_of(&[(T::Regular, name, &"x".repeat(60_000))])))
        .into();
    let lease = import(&cache, folder.path(), &layers[0]).await.unwrap();
    drop(import(&cache, folder.path(), &layers[1]).await.unwrap());
    drop(import(&cache, folder.path(), &layers[2]).await.unwrap());
    let there: Vec<_> = layers
        .iter()
        .map(|packed| cache.lease_present(packed.layer.diff_id).is_some())
        .collect();
    assert_eq!(there, [true, false, true]);
    assert!(lease.path.join("a").exists());
    cache.inner.options.tracker.close();
    cache.inner.options.tracker.wait().await;
    let [kept, gone, other] = layers.as_slice() else {
        panic!()
    };
    let mark = folder
        .path()
        .join("layers")
        .join(other.layer.diff_id.hex())
        .join("synced");
    fs::remove_file(mark).unwrap();
    let there = |cache: &Layers| {
        [kept, gone, other].map(|packed| cache.lease_present(packed.layer.diff_id).is_some())
    };
    assert_eq!(
        there(&reopen(folder.path(), 150_000, false)),
        [true, false, true],
        "a restart loses nothing"
    );
    assert_eq!(
        there(&reopen(folder.path(), 150_000, true)),
        [true, false, false],
        "a power cut loses what was not synced"
    );
}

#[tokio::test]
async fn space_is_kept_for_a_layer_as_long_as_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache(folder.path(), u64::MAX);
    let holders = || Arc::strong_count(&cache.inner.options.room);
    let (pipe, before) = (folder.path().join("pipe"), holders());
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let layer = pack(&tar_of(&[])).layer;
    let opened = async {
        let nonblocking = || {
            let mut options = File::options();
            std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK);
            options.write(true).open(&pipe)
        };
        loop {
            // Only when somebody reads can it be opened to write.
            match nonblocking() {
                Ok(writer) => return writer,
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(1)).await,
            }
        }
    };
    let writer = tokio::select! {
        _ = cache.import(&layer, &pipe) => panic!("nothing was written"),
        writer = opened => writer,
    };
    assert_eq!(holders(), before + 1, "nobody waits, but it goes on");
    drop(writer);
    while holders() > before {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}
