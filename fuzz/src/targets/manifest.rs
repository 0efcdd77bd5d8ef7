//! `manifest.yml`, and vars files: what follows the first line `---vars` is one.

use model::manifest::{MAX_BYTES, Manifest, ManifestError, Vars};

pub(crate) fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let (text, vars_text) = text.split_once("---vars\n").unwrap_or((text, ""));
    let mut vars = Vars::new();
    vars.set("given", "value");
    if !vars_text.is_empty()
        && let Err(error) = vars.add_file(vars_text)
    {
        check(&error, vars_text);
    }
    match Manifest::parse_with_vars(text, &vars) {
        Ok(manifest) => survives(&manifest),
        Err(error) => check(&error, text),
    }
    match Manifest::parse(text) {
        // A server does not write what it reads, so what aliases make of it may be longer than it would read again.
        Ok(manifest) if manifest.to_yaml().len() > MAX_BYTES => {}
        Ok(manifest) => survives(&manifest),
        Err(error) => check(&error, text),
    }
}

/// What was read is written and read back the same.
fn survives(manifest: &Manifest) {
    let written = manifest.to_yaml();
    let again = match Manifest::parse(&written) {
        Ok(again) => again,
        Err(error) => panic!("ours is not readable: {error}\n{written}"),
    };
    assert_eq!(again.to_yaml(), written);
    assert_eq!(again.applications.len(), manifest.applications.len());
    for (app, again) in manifest.applications.iter().zip(&again.applications) {
        assert_eq!(
            (&app.name, &app.web),
            (&again.name, &again.web),
            "{written}"
        );
        assert_eq!(
            (&app.env, &app.routes),
            (&again.env, &again.routes),
            "{written}"
        );
        assert_eq!(
            (&app.services, &app.processes),
            (&again.services, &again.processes),
            "{written}"
        );
        assert_eq!(
            (&app.sidecars, &app.metadata),
            (&again.sidecars, &again.metadata),
            "{written}"
        );
    }
}

/// An error names a place in the text and is short enough to read.
fn check(error: &ManifestError, text: &str) {
    let lines = text.split(['\n', '\r']).count();
    assert!(error.line <= lines + 1, "{error}");
    assert!(error.to_string().len() <= 2000, "{error}");
    let excerpt = error.excerpt.iter();
    assert!(excerpt.clone().count() <= 2 && excerpt.clone().all(|(line, _)| *line <= error.line));
}
