//! Every input that begins a search, or once broke a target, passes its target.

use std::fs;
use std::path::Path;

#[test]
#[allow(
    clippy::print_stdout,
    reason = "names the input, should it break its target"
)]
fn what_once_broke_a_reader_does_not_break_it_again() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    let mut named = Vec::new();
    for folder in fs::read_dir(&seeds).expect("there are seeds") {
        let folder = folder.expect("listed");
        let name = folder.file_name().to_string_lossy().into_owned();
        let target = fuzz::find(&name).unwrap_or_else(|| panic!("no target {name}"));
        for seed in fs::read_dir(folder.path()).expect("a folder") {
            let path = seed.expect("listed").path();
            println!("{}", path.display());
            (target.run)(&fs::read(&path).expect("readable"));
        }
        named.push(name);
    }
    for target in fuzz::TARGETS {
        assert!(
            named.iter().any(|name| name == target.name),
            "{} has no seed",
            target.name
        );
    }
}
