//! Takes out of a text what differs from run to run: addresses, ids, durations, figures of this machine.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;

use crate::harness::Platform;

pub(crate) struct Normal {
    places: Vec<(String, &'static str)>,
}

impl Normal {
    pub(crate) fn of_platform(platform: &Platform) -> Self {
        let front = platform.front;
        Self {
            places: vec![
                (front.to_string(), "127.0.0.1:PORT"),
                (format!(":{}", front.port()), ":PORT"),
                (platform.folder().display().to_string(), "FOLDER"),
            ],
        }
    }

    pub(crate) fn of(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (place, name) in &self.places {
            text = text.replace(place, name);
        }
        let mut lines = text.lines().map(line).collect::<Vec<_>>();
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        lines.into_iter().map(|line| line + "\n").collect()
    }
}

fn line(line: &str) -> String {
    let mut words = line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    for at in 0..words.len() {
        let after = |n: usize| words.get(at + n).map_or("", String::as_str).to_owned();
        let (word, next) = (words[at].clone(), after(1));
        let core = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        let unit = next.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        let is_fraction = core.contains('.') && core.parse::<f64>().is_ok();
        if is_fraction && unit == "s" {
            words[at] = word.replace(core, "N.N");
        } else if uuid(core) {
            words[at] = word.replace(core, "GUID");
        } else if word == "pid" && next.parse::<u32>().is_ok() {
            words[at + 1] = "N".into();
        } else if matches!(core, "has" | "is" | "holds") && is_size(unit) {
            // Room on this machine.
            words[at + 1] = next.replace(unit, "SIZE");
        } else if core == "peak" && is_size(unit) {
            words[at + 1] = next.replace(unit, "SIZE");
        } else if word == "in" && unit.parse::<u32>().is_ok() && after(2).starts_with("min") {
            words[at + 1] = "N".into();
        }
    }
    words.join(" ")
}

fn uuid(text: &str) -> bool {
    text.len() == 36 && text.chars().all(|c| c.is_ascii_hexdigit() || c == '-')
}

fn is_size(text: &str) -> bool {
    text.strip_suffix(['M', 'G']).is_some_and(|number| {
        !number.is_empty() && number.chars().all(|c| c.is_ascii_digit() || c == '.')
    })
}

/// What looks like an access token, which ended that many seconds ago.
pub(crate) fn token_that_ended(seconds_ago: i64) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs();
    let end = i64::try_from(now).expect("small") - seconds_ago;
    let encode = |text: String| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    format!(
        "{}.{}.{}",
        encode(r#"{"alg":"ES256"}"#.into()),
        encode(format!(r#"{{"exp":{end}}}"#)),
        encode("no signature".into())
    )
}
