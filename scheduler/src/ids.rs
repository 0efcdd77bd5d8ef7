//! Where the ids of new instances come from.

use model::ids::InstanceId;

/// Makes instance ids from a seed and a counter, shaped as version 4 UUIDs.
///
/// The same seed gives the same ids, so a driver takes a seed that no earlier leader had, such as a random one.
#[derive(Debug, Clone)]
pub struct IdSource {
    seed: u64,
    made: u64,
}

impl IdSource {
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { seed, made: 0 }
    }

    /// The next id.
    pub fn next_id(&mut self) -> InstanceId {
        self.made += 1;
        let high = mix(self
            .seed
            .wrapping_add(self.made.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let low = mix(high ^ mix(self.seed));
        let bytes = (u128::from(high) << 64 | u128::from(low)).to_be_bytes();
        InstanceId::from_uuid(uuid::Builder::from_random_bytes(bytes).into_uuid())
    }
}

/// The finisher of SplitMix64 (Steele, Lea, Flood 2014).
const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn ids_are_valid_distinct_and_repeatable() {
        let take = |seed| {
            let mut source = IdSource::new(seed);
            (0..10_000).map(|_| source.next_id()).collect::<Vec<_>>()
        };
        let ids = take(7);
        assert_eq!(ids, take(7));
        assert_ne!(ids, take(8));
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
        assert!(ids.iter().all(|id| id.as_uuid().get_version_num() == 4));
    }
}
