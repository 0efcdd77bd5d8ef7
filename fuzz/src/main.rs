//! With libFuzzer: runs the target that `SLIPWAY_FUZZ_TARGET` names; arguments are libFuzzer's. Without: `fuzz TARGET
//! FILE…` replays inputs, and `fuzz` alone lists the targets.

#![cfg_attr(feature = "libfuzzer", no_main)]

#[cfg(feature = "libfuzzer")]
mod driven {
    use std::sync::OnceLock;

    use fuzz::Target;

    static TARGET: OnceLock<&'static Target> = OnceLock::new();

    libfuzzer_sys::fuzz_target!(
        init: {
            let name = std::env::var("SLIPWAY_FUZZ_TARGET").unwrap_or_default();
            TARGET.get_or_init(|| fuzz::find(&name).expect("SLIPWAY_FUZZ_TARGET names a target"));
        },
        |bytes: &[u8]| {
            let target = TARGET.get().expect("set at the start");
            (target.run)(bytes);
        }
    );
}

#[cfg(not(feature = "libfuzzer"))]
#[allow(clippy::print_stdout, reason = "a tool for people")]
fn main() -> std::io::Result<()> {
    let mut words = std::env::args().skip(1);
    let Some(name) = words.next() else {
        fuzz::TARGETS
            .iter()
            .for_each(|target| println!("{}", target.name));
        return Ok(());
    };
    let target =
        fuzz::find(&name).ok_or_else(|| std::io::Error::other(format!("no target {name}")))?;
    for file in words {
        (target.run)(&std::fs::read(&file)?);
        println!("{file}: passed");
    }
    Ok(())
}
