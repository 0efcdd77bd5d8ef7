//! Reads a zip file's central directory.
//!
//! The `zip` crate merges entries of one name and hides the rest of what this crate must see: duplicates, entry types,
//! the place of each header. Format: PKWARE's APPNOTE 6.3.

use std::io::{self, Read, Seek, SeekFrom};

use flate2::read::DeflateDecoder;

const LOCAL_HEADER: u32 = 0x0403_4b50;
const CENTRAL_HEADER: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
const END_64: u32 = 0x0606_4b50;
const LOCATOR_64: u32 = 0x0706_4b50;
const END_BYTES: usize = 22;
const LOCAL_HEADER_BYTES: u64 = 30;
const MAX_DIRECTORY_BYTES: u64 = 64 * 1024 * 1024;

pub(crate) const STORED: u16 = 0;
pub(crate) const DEFLATED: u16 = 8;
pub(crate) const ENCRYPTED: u16 = 0x0001;

/// What makes a file unusable as a zip archive.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ZipError {
    #[error("it is not a zip archive, or its end is missing")]
    NoDirectory,
    #[error("its directory is damaged: {0}")]
    Damaged(&'static str),
    #[error("it has {0} entries, and {1} are allowed")]
    TooMany(u64, u64),
    #[error("it is compressed in a way that is not supported")]
    Method,
    #[error("it cannot be read")]
    Io(#[from] io::Error),
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// As written; usually UTF-8.
    pub(crate) name: Vec<u8>,
    pub(crate) made_by: u16,
    pub(crate) flags: u16,
    pub(crate) method: u16,
    pub(crate) crc: u32,
    pub(crate) compressed: u64,
    pub(crate) size: u64,
    pub(crate) external: u32,
    pub(crate) extra: Vec<u8>,
    pub(crate) comment: Vec<u8>,
    /// Of the local header, from the file's begin.
    pub(crate) offset: u64,
}

#[derive(Debug)]
pub(crate) struct Directory {
    /// In the directory's order.
    pub(crate) entries: Vec<Entry>,
    /// Bytes before the archive, such as the script of an executable jar.
    pub(crate) prefix: u64,
    pub(crate) is_zip64: bool,
    pub(crate) comment: Vec<u8>,
}

impl Directory {
    pub(crate) fn read(file: &mut (impl Read + Seek), max_entries: u64) -> Result<Self, ZipError> {
        let length = file.seek(SeekFrom::End(0))?;
        let tail_length = length.min(END_BYTES as u64 + 65_535);
        let tail = read_at(file, length - tail_length, tail_length)?;
        // The last signature whose comment ends with the file: a comment may hold the signature's bytes.
        let at = (0..=tail
            .len()
            .checked_sub(END_BYTES)
            .ok_or(ZipError::NoDirectory)?)
            .rev()
            .find(|at| {
                u32_at(&tail, *at) == Some(END)
                    && u16_at(&tail, at + 20).map(usize::from) == Some(tail.len() - at - END_BYTES)
            })
            .ok_or(ZipError::NoDirectory)?;
        let mut end = length - tail_length + at as u64;
        let damaged = || ZipError::Damaged("its end is cut");
        let field = |offset| {
            u32_at(&tail, at + offset)
                .map(u64::from)
                .ok_or_else(damaged)
        };
        let mut count = u64::from(u16_at(&tail, at + 10).ok_or_else(damaged)?);
        let (mut size, mut declared) = (field(12)?, field(16)?);
        let comment = tail[at + END_BYTES..].to_vec();
        let is_zip64 = count == 0xffff || size == 0xffff_ffff || declared == 0xffff_ffff;
        if is_zip64 {
            let locator = end.checked_sub(20).ok_or_else(damaged)?;
            let bytes = read_at(file, locator, 20)?;
            if u32_at(&bytes, 0) == Some(LOCATOR_64) {
                end = u64_at(&bytes, 8).ok_or_else(damaged)?;
                let bytes = read_at(file, end, 56)?;
                if u32_at(&bytes, 0) != Some(END_64) {
                    return Err(damaged());
                }
                count = u64_at(&bytes, 32).ok_or_else(damaged)?;
                size = u64_at(&bytes, 40).ok_or_else(damaged)?;
                declared = u64_at(&bytes, 48).ok_or_else(damaged)?;
            }
        }
        if count > max_entries {
            return Err(ZipError::TooMany(count, max_entries));
        }
        let start = end
            .checked_sub(size)
            .ok_or(ZipError::Damaged("it is longer than the file"))?;
        let prefix = start
            .checked_sub(declared)
            .ok_or(ZipError::Damaged("it does not lie where the end says"))?;
        if size > MAX_DIRECTORY_BYTES {
            return Err(ZipError::Damaged("it is longer than 64 MiB"));
        }
        let bytes = read_at(file, start, size)?;
        let mut rest = bytes.as_slice();
        let mut entries = Vec::new();
        while !rest.is_empty() {
            let (entry, length) =
                entry(rest, prefix).ok_or(ZipError::Damaged("an entry is malformed"))?;
            if entry.offset >= start || entries.len() as u64 >= count {
                return Err(ZipError::Damaged("an entry lies outside the archive"));
            }
            rest = &rest[length..];
            entries.push(entry);
        }
        if entries.len() as u64 != count {
            return Err(ZipError::Damaged("entries are missing"));
        }
        check_places(&entries, start)?;
        Ok(Self {
            entries,
            prefix,
            is_zip64,
            comment,
        })
    }
}

/// Refuses entries that share bytes: a small archive with many of them becomes a large one when each is copied.
fn check_places(entries: &[Entry], end: u64) -> Result<(), ZipError> {
    let mut places: Vec<(u64, u64)> = entries
        .iter()
        .map(|entry| {
            // The local header may have extra fields too, of a length that only it knows.
            let header = LOCAL_HEADER_BYTES + entry.name.len() as u64;
            (entry.offset, entry.compressed.saturating_add(header))
        })
        .collect();
    places.sort_unstable();
    let begins = places.iter().skip(1).map(|(begin, _)| *begin);
    let apart = places
        .iter()
        .zip(begins.chain([end]))
        .all(|((begin, length), next)| begin.saturating_add(*length) <= next);
    if apart {
        Ok(())
    } else {
        Err(ZipError::Damaged("an entry reaches into what follows it"))
    }
}

impl Entry {
    /// The compressed bytes.
    pub(crate) fn raw<'a, F: Read + Seek>(
        &self,
        file: &'a mut F,
    ) -> Result<io::Take<&'a mut F>, ZipError> {
        let header = read_at(file, self.offset, LOCAL_HEADER_BYTES)?;
        let lengths = u16_at(&header, 26).zip(u16_at(&header, 28));
        let (name, extra) = lengths
            .filter(|_| u32_at(&header, 0) == Some(LOCAL_HEADER))
            .ok_or(ZipError::Damaged("a header is missing"))?;
        // Readers that go by the local headers must not see another archive than this one does.
        let name_at = self.offset + LOCAL_HEADER_BYTES;
        if read_at(file, name_at, u64::from(name))? != self.name {
            return Err(ZipError::Damaged("two headers of an entry differ"));
        }
        file.seek(SeekFrom::Start(
            name_at + u64::from(name) + u64::from(extra),
        ))?;
        Ok(file.take(self.compressed))
    }

    /// The content, which must have exactly the length and checksum that the directory states.
    pub(crate) fn copy_to(
        &self,
        file: &mut (impl Read + Seek),
        to: &mut impl io::Write,
    ) -> Result<(), ZipError> {
        let raw = self.raw(file)?;
        let mut content: Box<dyn Read + '_> = match self.method {
            STORED => Box::new(raw),
            DEFLATED => Box::new(DeflateDecoder::new(raw)),
            _ => return Err(ZipError::Method),
        };
        let (mut crc, mut length) = (flate2::Crc::new(), 0u64);
        let mut chunk = vec![0; 64 * 1024];
        loop {
            let count = content.read(&mut chunk)?;
            if count == 0 {
                break;
            }
            length += count as u64;
            if length > self.size {
                return Err(ZipError::Damaged("an entry is longer than stated"));
            }
            crc.update(&chunk[..count]);
            to.write_all(&chunk[..count])?;
        }
        if length != self.size || crc.sum() != self.crc {
            return Err(ZipError::Damaged(
                "an entry's content does not match its checksum",
            ));
        }
        Ok(())
    }
}

/// The first entry of a directory, and its length there.
fn entry(bytes: &[u8], prefix: u64) -> Option<(Entry, usize)> {
    if u32_at(bytes, 0)? != CENTRAL_HEADER {
        return None;
    }
    let [name, extra, comment] = [28, 30, 32].map(|at| u16_at(bytes, at).map(usize::from));
    let (name, extra, comment) = (name?, extra?, comment?);
    let length = 46 + name + extra + comment;
    let mut entry = Entry {
        name: bytes.get(46..46 + name)?.to_vec(),
        made_by: u16_at(bytes, 4)?,
        flags: u16_at(bytes, 8)?,
        method: u16_at(bytes, 10)?,
        crc: u32_at(bytes, 16)?,
        compressed: u32_at(bytes, 20)?.into(),
        size: u32_at(bytes, 24)?.into(),
        external: u32_at(bytes, 38)?,
        extra: bytes.get(46 + name..46 + name + extra)?.to_vec(),
        comment: bytes.get(46 + name + extra..length)?.to_vec(),
        offset: u32_at(bytes, 42)?.into(),
    };
    let field = extra_fields(&entry.extra)
        .find(|(id, _)| *id == 1)
        .map(|(_, data)| data.to_vec());
    let mut at = 0;
    for value in [&mut entry.size, &mut entry.compressed, &mut entry.offset] {
        if *value == 0xffff_ffff
            && let Some(field) = &field
        {
            *value = u64_at(field, at)?;
            at += 8;
        }
    }
    entry.offset = entry.offset.checked_add(prefix)?;
    Some((entry, length))
}

/// The id and data of each extra field; ends where one is malformed.
pub(crate) fn extra_fields(mut extra: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (id, length) = (u16_at(extra, 0)?, usize::from(u16_at(extra, 2)?));
        let data = extra.get(4..4 + length)?;
        extra = &extra[4 + length..];
        Some((id, data))
    })
}

fn read_at(file: &mut (impl Read + Seek), at: u64, length: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(at))?;
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == length {
        Ok(bytes)
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(
        bytes.get(at..at.checked_add(2)?)?.try_into().ok()?,
    ))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(
        bytes.get(at..at.checked_add(4)?)?.try_into().ok()?,
    ))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(
        bytes.get(at..at.checked_add(8)?)?.try_into().ok()?,
    ))
}
