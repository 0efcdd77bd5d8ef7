//! Makes an archive that a build wrote the same for the same content.
//!
//! Build tools put the time into every entry, in up to three places, and into `pom.properties`, and write entries in the
//! order in which the file system lists them. The compressed bytes are copied as they are.

use std::fs::{self, File};
use std::io::{self, BufWriter, Cursor, Read, Seek, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::unpack::MAX_ENTRIES;
use crate::zip_directory::{Directory, ENCRYPTED, Entry, STORED, ZipError, extra_fields};

/// 1980-02-01 00:00:00 in MS-DOS form: a date in January 1980 shows as 1979 in zones west of Greenwich, which some readers
/// refuse.
const DOS_TIME: u16 = 0;
const DOS_DATE: u16 = (2 << 5) | 1;
/// Extra fields that hold times or owners (APPNOTE 4.5 and Info-ZIP's extrafld.txt): NTFS, extended timestamp, old and new
/// Unix.
const TIMES_AND_OWNERS: [u16; 5] = [0x000a, 0x5455, 0x5855, 0x7855, 0x7875];
const DATA_DESCRIPTOR: u16 = 0x0008;
/// Most bytes of an entry whose content is looked at.
const MAX_CONTENT: u64 = 64 * 1024 * 1024;
const MAX_NESTING: u8 = 2;

/// Rewrites the archive at `path`. Archives that need 64-bit fields are left as they are.
pub(crate) fn normalise(path: &Path) -> Result<(), ZipError> {
    let mut file = File::open(path)?;
    let mode = file.metadata()?.permissions().mode();
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".part");
    let unfinished = Path::new(&unfinished);
    let mut out = BufWriter::new(File::create(unfinished)?);
    let rewritten = rewrite(&mut file, &mut out, 0).and_then(|done| {
        out.flush()?;
        if done {
            fs::set_permissions(unfinished, fs::Permissions::from_mode(mode))?;
            fs::rename(unfinished, path)?;
        }
        Ok(done)
    });
    if !matches!(rewritten, Ok(true)) {
        let _ = fs::remove_file(unfinished);
    }
    rewritten.map(|_| ())
}

/// False where the archive is of a kind that is not rewritten.
fn rewrite<F: Read + Seek>(
    file: &mut F,
    out: &mut impl Write,
    nesting: u8,
) -> Result<bool, ZipError> {
    let directory = Directory::read(file, MAX_ENTRIES)?;
    let encrypted = directory
        .entries
        .iter()
        .any(|entry| entry.flags & ENCRYPTED != 0);
    if directory.is_zip64 || encrypted {
        return Ok(false);
    }
    let signed = directory
        .entries
        .iter()
        .any(|entry| is_signature(&entry.name));
    let mut out = Counting { out, count: 0 };
    file.seek(io::SeekFrom::Start(0))?;
    io::copy(&mut file.take(directory.prefix), &mut out)?;

    let mut order: Vec<&Entry> = directory.entries.iter().collect();
    // Where an archive holds others, their order may be the order of a class path.
    if !order.iter().any(|entry| is_nested_archive(entry)) {
        order.sort_by_key(|entry| (rank(&entry.name), &entry.name));
    }
    let mut central = Vec::new();
    for entry in &order {
        let replaced = if signed {
            None
        } else {
            replacement(entry, file, nesting)?
        };
        write_entry(
            entry,
            replaced,
            file,
            &mut out,
            &mut central,
            directory.prefix,
        )?;
    }
    let start = offset32(out.count - directory.prefix)?;
    out.write_all(&central)?;
    let count = u16::try_from(order.len()).map_err(|_| too_large())?;
    let mut end = Vec::new();
    end.extend(0x0605_4b50_u32.to_le_bytes());
    end.extend([0; 4]);
    end.extend(count.to_le_bytes());
    end.extend(count.to_le_bytes());
    end.extend(offset32(central.len() as u64)?.to_le_bytes());
    end.extend(start.to_le_bytes());
    end.extend(
        u16::try_from(directory.comment.len())
            .map_err(|_| too_large())?
            .to_le_bytes(),
    );
    end.extend(&directory.comment);
    out.write_all(&end)?;
    Ok(true)
}

/// New content for entries whose content depends on the time of the build.
fn replacement<F: Read + Seek>(
    entry: &Entry,
    file: &mut F,
    nesting: u8,
) -> Result<Option<Vec<u8>>, ZipError> {
    let properties =
        entry.name.starts_with(b"META-INF/maven/") && entry.name.ends_with(b"/pom.properties");
    // A comment says more of the content: Spring Boot's of what is to be unpacked is its hash.
    let nested = is_nested_archive(entry)
        && entry.method == STORED
        && entry.comment.is_empty()
        && nesting < MAX_NESTING;
    if entry.size > MAX_CONTENT || !(properties || nested) {
        return Ok(None);
    }
    let mut content = Vec::new();
    entry.copy_to(file, &mut content)?;
    if properties {
        return Ok(Some(without_comments(&content)));
    }
    let mut rewritten = Vec::new();
    // What is named like an archive need not be one.
    Ok(matches!(
        rewrite(&mut Cursor::new(content), &mut rewritten, nesting + 1),
        Ok(true)
    )
    .then_some(rewritten))
}

/// Maven writes the date as a comment, with the line ends of its system. Properties have no comments that span lines.
fn without_comments(properties: &[u8]) -> Vec<u8> {
    let mut unix = properties.to_vec();
    unix.retain(|byte| *byte != b'\r');
    unix.split_inclusive(|byte| *byte == b'\n')
        .filter(|line| !line.starts_with(b"#"))
        .collect::<Vec<_>>()
        .concat()
}

/// Writes an entry to `out` and its directory record to `central`.
fn write_entry<F: Read + Seek>(
    entry: &Entry,
    replaced: Option<Vec<u8>>,
    file: &mut F,
    out: &mut Counting<impl Write>,
    central: &mut Vec<u8>,
    prefix: u64,
) -> Result<(), ZipError> {
    let (method, crc, compressed, size) = match &replaced {
        None => (entry.method, entry.crc, entry.compressed, entry.size),
        Some(content) => {
            let mut crc = flate2::Crc::new();
            crc.update(content);
            (
                STORED,
                crc.sum(),
                content.len() as u64,
                content.len() as u64,
            )
        }
    };
    // With sizes in the header there is no descriptor after the data.
    let flags = entry.flags & !DATA_DESCRIPTOR;
    let extra: Vec<u8> = extra_fields(&entry.extra)
        .filter(|(id, _)| !TIMES_AND_OWNERS.contains(id) && *id != 1)
        .flat_map(|(id, data)| {
            [
                &id.to_le_bytes()[..],
                &(data.len() as u16).to_le_bytes()[..],
                data,
            ]
            .concat()
        })
        .collect();
    let mut common = Vec::new();
    common.extend(if method == STORED { 10_u16 } else { 20 }.to_le_bytes());
    for value in [flags, method, DOS_TIME, DOS_DATE] {
        common.extend(value.to_le_bytes());
    }
    common.extend(crc.to_le_bytes());
    common.extend(offset32(compressed)?.to_le_bytes());
    common.extend(offset32(size)?.to_le_bytes());
    common.extend(
        u16::try_from(entry.name.len())
            .map_err(|_| too_large())?
            .to_le_bytes(),
    );
    common.extend(
        u16::try_from(extra.len())
            .map_err(|_| too_large())?
            .to_le_bytes(),
    );

    let offset = offset32(out.count - prefix)?;
    out.write_all(&0x0403_4b50_u32.to_le_bytes())?;
    out.write_all(&common)?;
    out.write_all(&entry.name)?;
    out.write_all(&extra)?;
    match replaced {
        Some(content) => out.write_all(&content)?,
        None => {
            if io::copy(&mut entry.raw(file)?, out)? != compressed {
                return Err(ZipError::Damaged("an entry is cut"));
            }
        }
    }
    central.extend(0x0201_4b50_u32.to_le_bytes());
    central.extend(entry.made_by.to_le_bytes());
    central.extend(&common);
    central.extend(
        u16::try_from(entry.comment.len())
            .map_err(|_| too_large())?
            .to_le_bytes(),
    );
    // On the first disk, no internal attributes.
    central.extend([0; 4]);
    central.extend(entry.external.to_le_bytes());
    central.extend(offset.to_le_bytes());
    central.extend(&entry.name);
    central.extend(&extra);
    central.extend(&entry.comment);
    Ok(())
}

/// Readers of streams want the manifest first.
fn rank(name: &[u8]) -> u8 {
    match name {
        b"META-INF/" => 0,
        b"META-INF/MANIFEST.MF" => 1,
        _ => 2,
    }
}

fn is_nested_archive(entry: &Entry) -> bool {
    [&b".jar"[..], b".war", b".zip"]
        .iter()
        .any(|suffix| entry.name.ends_with(suffix))
}

fn is_signature(name: &[u8]) -> bool {
    name.starts_with(b"META-INF/")
        && [&b".SF"[..], b".RSA", b".DSA", b".EC"]
            .iter()
            .any(|suffix| name.ends_with(suffix))
}

fn offset32(value: u64) -> Result<u32, ZipError> {
    u32::try_from(value)
        .ok()
        .filter(|value| *value != u32::MAX)
        .ok_or_else(too_large)
}

const fn too_large() -> ZipError {
    ZipError::Damaged("it is too large to be rewritten")
}

struct Counting<'a, W> {
    out: &'a mut W,
    count: u64,
}

impl<W: Write> Write for Counting<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.count += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests;
