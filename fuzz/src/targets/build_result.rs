//! `result.json`, which foreign code may have written.

use model::droplet::Stack;

use crate::place::Place;

pub(crate) fn run(bytes: &[u8]) {
    let place = Place::new();
    std::fs::write(place.inside().join("result.json"), bytes).expect("the folder is ours");
    let _ = cells_agent::fuzz::build_result(&place.inside(), &Stack("host-1".into()));
    place.check(&[]);
}
