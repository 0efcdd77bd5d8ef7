//! Counts that keep the instances of a process apart.

/// How many instances of one process are on each cell and in each zone. Those that are on their way out do not count.
#[derive(Debug, Default)]
pub(crate) struct Spread {
    cells: Vec<(u32, u32)>,
    zones: Vec<(u32, u32)>,
}

impl Spread {
    pub(crate) fn on_cell(&self, cell: u32) -> u32 {
        count(&self.cells, cell)
    }

    pub(crate) fn in_zone(&self, zone: u32) -> u32 {
        count(&self.zones, zone)
    }

    pub(crate) fn add(&mut self, cell: u32, zone: u32) {
        add(&mut self.cells, cell);
        add(&mut self.zones, zone);
    }

    pub(crate) fn subtract(&mut self, cell: u32, zone: u32) {
        subtract(&mut self.cells, cell);
        subtract(&mut self.zones, zone);
    }
}

fn count(counts: &[(u32, u32)], key: u32) -> u32 {
    counts
        .binary_search_by_key(&key, |entry| entry.0)
        .map_or(0, |at| counts[at].1)
}

fn add(counts: &mut Vec<(u32, u32)>, key: u32) {
    match counts.binary_search_by_key(&key, |entry| entry.0) {
        Ok(at) => counts[at].1 += 1,
        Err(at) => counts.insert(at, (key, 1)),
    }
}

fn subtract(counts: &mut Vec<(u32, u32)>, key: u32) {
    let at = counts
        .binary_search_by_key(&key, |entry| entry.0)
        .expect("what is subtracted was added");
    counts[at].1 -= 1;
    if counts[at].1 == 0 {
        counts.remove(at);
    }
}
