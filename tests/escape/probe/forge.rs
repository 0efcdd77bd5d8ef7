//! What a build can put into its output folder to make the cell read, write or trust what it should not. The build's own
//! program runs as the same user, so hostile source can end it and leave a result of its own making.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::Context;
use super::sys;

pub(crate) const KINDS: [&str; 9] = [
    "result-is-a-link",
    "layer-is-a-link",
    "layers-folder-is-a-link",
    "layer-is-a-pipe",
    "layer-is-a-hard-link",
    "path-leads-out",
    "link-leads-out",
    "device-in-layer",
    "pax-header-hides-a-long-name",
];

const OUT: &str = "/.slipway/out";

/// Leaves a forged output and ends the builder, so that it cannot write another.
pub(crate) fn leave(kind: &str, context: &Context) -> io::Result<()> {
    let out = Path::new(OUT);
    let layers = out.join("layers");
    let canary = context.text("canary");
    let digest = "ab".repeat(32);
    let file = layers.join(format!("{digest}.tar.zst"));
    let result = out.join("result.json");
    let stack = fs::read_to_string("/.slipway/in/spec.json")?;
    let stack = stack
        .split("\"stack\":\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .unwrap_or_default()
        .to_owned();
    let mut packed = 10_u64;
    let mut size = 1024_u64;
    match kind {
        "layer-is-a-link" => {
            packed = fs::metadata("/etc/hosts")?.len();
            symlink(&canary, &file)?;
        }
        "layers-folder-is-a-link" => {
            fs::remove_dir_all(&layers)?;
            symlink(
                Path::new(&canary).parent().unwrap_or(Path::new("/")),
                &layers,
            )?;
        }
        "layer-is-a-pipe" => {
            let path =
                std::ffi::CString::new(file.as_os_str().as_encoded_bytes()).unwrap_or_default();
            sys::call(
                libc::SYS_mknodat,
                &[
                    libc::AT_FDCWD as usize,
                    path.as_ptr() as usize,
                    (libc::S_IFIFO | 0o666) as usize,
                    0,
                ],
            )?;
        }
        "layer-is-a-hard-link" => {
            // To a file of the host's that the build can name: refused by the mount, or by the kernel's protection.
            if let Err(error) = fs::hard_link("/.slipway/in/package.zip", &file) {
                fs::write(&file, error.to_string())?;
            }
            packed = fs::metadata(&file)?.len();
        }
        "path-leads-out" => {
            size = store(
                &file,
                &entry("../../../../../../tmp/forged-by-a-build", b'0', ""),
                &mut packed,
            )?
        }
        "link-leads-out" => {
            let mut tar = entry("way", b'2', "/tmp");
            tar.extend(entry("way/forged-by-a-build", b'0', ""));
            size = store(&file, &tar, &mut packed)?;
        }
        "device-in-layer" => size = store(&file, &entry("disk", b'4', ""), &mut packed)?,
        "pax-header-hides-a-long-name" => {
            // What one reader takes for the content of a file is to the other a header with a name as long as memory.
            const NAME: usize = 100_352;
            let mut tar = sized("pax", b'x', "", 9);
            tar.extend(b"9 size=0\n");
            tar.resize(2 * 512, 0);
            tar.extend(sized("file", b'0', "", 512 + NAME));
            tar.extend(sized("name", b'L', "", NAME));
            tar.resize(tar.len() + NAME, b'n');
            size = store(&file, &tar, &mut packed)?;
        }
        _ => {}
    }
    let image = format!(
        r#"{{"result":"built","image":{{"stack":"{stack}","layers":[{{"kind":"app","diff_id":"sha256:{digest}","size":{size},"compressed_size":{packed}}}],"process_types":{{"web":"true"}},"buildpacks":[]}}}}"#
    );
    if kind == "result-is-a-link" {
        let _ = fs::remove_file(&result);
        symlink(&canary, &result)?;
    } else {
        fs::write(out.join("forged"), image)?;
        fs::rename(out.join("forged"), result)?;
    }
    end_builder();
    Ok(())
}

/// All processes that run the platform's own program in here.
fn end_builder() {
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok())
            .filter(|pid| *pid > 1)
        else {
            continue;
        };
        if fs::read_link(entry.path().join("exe")).is_ok_and(|exe| exe.ends_with("slipway")) {
            let _ = sys::kill(pid, libc::SIGKILL);
        }
    }
}

/// One entry of a tar, and nothing in it.
fn entry(name: &str, kind: u8, link: &str) -> Vec<u8> {
    sized(name, kind, link, 0)
}

/// The header of an entry with `size` bytes of content.
fn sized(name: &str, kind: u8, link: &str, size: usize) -> Vec<u8> {
    let mut header = vec![0_u8; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..108].copy_from_slice(b"0000644\0");
    header[108..116].copy_from_slice(b"0003720\0");
    header[116..124].copy_from_slice(b"0003720\0");
    header[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    header[136..148].copy_from_slice(b"00000000000\0");
    header[148..156].copy_from_slice(b"        ");
    header[156] = kind;
    header[157..157 + link.len()].copy_from_slice(link.as_bytes());
    header[257..265].copy_from_slice(b"ustar\x0000");
    header[329..337].copy_from_slice(b"0000376\0");
    header[337..345].copy_from_slice(b"0000000\0");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

/// Writes a tar as one frame of zstd whose only block is not compressed (RFC 8878, 3.1.1). Returns the tar's size.
fn store(file: &Path, entries: &[u8], packed: &mut u64) -> io::Result<u64> {
    let mut tar = entries.to_vec();
    tar.extend([0; 1024]);
    let length = tar.len() as u32;
    let mut frame = 0xfd2f_b528_u32.to_le_bytes().to_vec();
    // A single segment, with its size in four bytes.
    frame.push(0b1010_0000);
    frame.extend(length.to_le_bytes());
    frame.extend(&((length << 3) | 1).to_le_bytes()[..3]);
    frame.extend(tar);
    *packed = frame.len() as u64;
    fs::write(file, frame)?;
    Ok(u64::from(length))
}
