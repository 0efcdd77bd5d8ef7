//! A layer from a build. The input is the tar; its checksums, compression and digest are made right here, because a
//! build can make them right too and a search would not.

use model::digest::Digest;
use model::droplet::{Layer, LayerKind};
use sha2::{Digest as _, Sha256};

use crate::place::Place;

const BLOCK: usize = 512;
const CHECKSUM: std::ops::Range<usize> = 148..156;

pub(crate) fn run(bytes: &[u8]) {
    let tar = with_checksums(bytes);
    let packed = zstd::encode_all(tar.as_slice(), 1).expect("memory is enough");
    let layer = Layer {
        kind: LayerKind::App,
        diff_id: Digest::from_bytes(Sha256::digest(&tar).into()),
        size: tar.len() as u64,
        compressed_size: packed.len() as u64,
    };
    let place = Place::new();
    let checked = cells_agent::fuzz::check_layer(&packed, &layer);
    let unpacked = cells_agent::fuzz::unpack_layer(&packed, &layer, &place.inside());
    if unpacked.is_ok() {
        assert_eq!(
            checked,
            Ok(()),
            "checking must not refuse what unpacking takes"
        );
    }
    place.check(&[]);

    // The same bytes as the packed form.
    let _ = cells_agent::fuzz::check_layer(bytes, &layer);
}

/// The input with the checksum right in each block that a reader would take for a header.
fn with_checksums(bytes: &[u8]) -> Vec<u8> {
    let mut tar = bytes.to_vec();
    let mut at = 0;
    while at + BLOCK <= tar.len() {
        let block = &mut tar[at..at + BLOCK];
        at += BLOCK;
        if block.iter().all(|byte| *byte == 0) {
            continue;
        }
        block[CHECKSUM].fill(b' ');
        let sum = block.iter().map(|byte| u32::from(*byte)).sum::<u32>();
        block[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let size = tar::Header::from_byte_slice(block)
            .entry_size()
            .unwrap_or(0);
        let padded = usize::try_from(size)
            .ok()
            .and_then(|size| size.checked_next_multiple_of(BLOCK));
        at = padded
            .and_then(|size| at.checked_add(size))
            .filter(|at| *at <= tar.len())
            .unwrap_or(tar.len());
    }
    tar
}
