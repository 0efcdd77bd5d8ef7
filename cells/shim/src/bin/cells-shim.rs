//! The shim as a program of its own: what `slipway shim …` does, for tests that have no `slipway` binary.

fn main() {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    // The engine spawns `EXE shim --dir DIR`; the leading word is the product's dispatch.
    let args = if args.first().is_some_and(|word| word == "shim") {
        &args[1..]
    } else {
        &args[..]
    };
    std::process::exit(cells_shim::main(args));
}
