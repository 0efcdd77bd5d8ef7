//! Which keys a manifest knows, and which of them a wrong one was meant to be.

pub(super) const TOP: &[&str] = &["applications", "version"];

/// Keys of a process, and of an app for its `web` process.
pub(super) const PROCESS: &[&str] = &[
    "command",
    "disk-quota",
    "disk_quota",
    "health-check-http-endpoint",
    "health-check-interval",
    "health-check-invocation-timeout",
    "health-check-type",
    "instances",
    "log-rate-limit-per-second",
    "memory",
    "readiness-health-check-http-endpoint",
    "readiness-health-check-interval",
    "readiness-health-check-invocation-timeout",
    "readiness-health-check-type",
    "timeout",
];

pub(super) const APP_ONLY: &[&str] = &[
    "buildpack",
    "buildpacks",
    "default-route",
    "docker",
    "env",
    "features",
    "lifecycle",
    "metadata",
    "name",
    "no-route",
    "path",
    "processes",
    "random-route",
    "routes",
    "services",
    "sidecars",
    "stack",
];

/// Keys that Cloud Foundry had once, and what took their place.
pub(super) const GONE: &[(&str, &str)] = &[
    ("domain", "routes: [{route: HOST.DOMAIN}]"),
    ("domains", "routes: [{route: HOST.DOMAIN}]"),
    ("host", "routes: [{route: HOST.DOMAIN}]"),
    ("hosts", "routes: [{route: HOST.DOMAIN}]"),
    ("no-hostname", "routes: [{route: DOMAIN}]"),
    ("inherit", "YAML anchors (&name and *name) in one file"),
];

/// The candidate that differs least from `wrong`, if it is near enough to have been meant.
#[must_use]
pub fn nearest<'a>(wrong: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = fold(wrong);
    let allowed = (folded.chars().count() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .map(|candidate| (distance(&folded, &fold(candidate)), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `-` and `_` are confused most often, case next.
fn fold(text: &str) -> String {
    text.chars()
        .take(80)
        .map(|c| {
            if c == '_' {
                '-'
            } else {
                c.to_ascii_lowercase()
            }
        })
        .collect()
}

/// Damerau-Levenshtein distance with adjacent swaps.
fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, r) in right.iter().enumerate() {
            let replaced = last[j] + usize::from(l != r);
            let mut best = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *l == right[j - 1] && left[i - 1] == *r {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_keys_are_suggested_and_far_ones_are_not() {
        let known = || PROCESS.iter().chain(APP_ONLY).copied();
        for (wrong, want) in [
            ("memmory", Some("memory")),
            ("Memory", Some("memory")),
            ("no_route", Some("no-route")),
            ("instnaces", Some("instances")),
            ("healthcheck-type", Some("health-check-type")),
            ("evn", Some("env")),
            ("replicas", None),
            ("", None),
        ] {
            assert_eq!(nearest(wrong, known()), want, "{wrong}");
        }
    }
}
