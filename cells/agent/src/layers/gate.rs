//! Watches the headers of a tar as it streams by. Long names are held in memory by every reader of the format, so their
//! size is bounded here, before a reader sees them. That holds only while this gate and the reader agree on where each
//! header is: what could give an entry another size than its own header does is refused.

use std::io;

use tar::{EntryType, Header};

const BLOCK: usize = 512;
/// Names end at 4,096 bytes.
const MAX_NAME_BYTES: u64 = 64 * 1024;

pub(super) struct Gate {
    header: [u8; BLOCK],
    filled: usize,
    /// Bytes of the current entry, padding included, that are still to come.
    content: u64,
}

impl Gate {
    pub(super) const fn new() -> Self {
        Self {
            header: [0; BLOCK],
            filled: 0,
            content: 0,
        }
    }

    /// Takes note of the next bytes; an error where they must not be read on.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.content > 0 {
                let skipped = usize::try_from(self.content)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                self.content -= skipped as u64;
                bytes = &bytes[skipped..];
                continue;
            }
            let taken = bytes.len().min(BLOCK - self.filled);
            self.header[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
            self.filled += taken;
            bytes = &bytes[taken..];
            if self.filled == BLOCK {
                self.filled = 0;
                self.content = content_after(&self.header)?;
            }
        }
        Ok(())
    }
}

fn content_after(header: &[u8; BLOCK]) -> io::Result<u64> {
    if header.iter().all(|byte| *byte == 0) {
        return Ok(0);
    }
    let header = Header::from_byte_slice(header);
    let size = header.entry_size()?;
    match header.entry_type() {
        EntryType::GNULongName | EntryType::GNULongLink if size > MAX_NAME_BYTES => {
            return Err(io::Error::other(format!("a long name of {size} bytes")));
        }
        // They may set the size of the entry after them. The lifecycle writes none.
        EntryType::XHeader | EntryType::XGlobalHeader => {
            return Err(io::Error::other("a pax header, which layers do not have"));
        }
        EntryType::GNUSparse => return Err(io::Error::other("a sparse file")),
        _ => {}
    }
    size.checked_next_multiple_of(BLOCK as u64)
        .ok_or_else(|| io::Error::other("an entry of impossible size"))
}
