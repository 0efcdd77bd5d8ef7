//! The `Procfile`.

pub(crate) fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match buildpacks::fuzz::procfile(&text) {
        Ok(types) => {
            assert!((1..=100).contains(&types.len()));
            for (name, command) in &types {
                assert!(!name.is_empty() && name.len() <= 255, "{name:?}");
                assert!(
                    !command.is_empty() && !command.contains('\0'),
                    "{command:?}"
                );
            }
        }
        Err((line, _)) => assert!(
            (1..=text.lines().count().max(1)).contains(&line),
            "line {line}"
        ),
    }
}
