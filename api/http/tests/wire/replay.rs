//! What the real `cf` sends for each command, and what it reads of the answers, as tables of steps.
//!
//! A line is `METHOD PATH [BODY] => STATUS WORDS`. The words are `/pointer=json` (must be that), `/pointer` (must be there) and
//! `name=/pointer` (is `$name` from then on). `POLL` asks until all words hold; `JOB` follows the last `Location` like `cf`
//! does; `YAML`, `FORM` and `UPLOAD` post their kind of body. A line that begins with `#` names the command.

use std::collections::BTreeMap;

use http::{Method, StatusCode};
use serde_json::Value;

use crate::client::Answer;
use crate::world::{PASSWORD, World, eventually, zip};

struct Replay<'a> {
    world: &'a World,
    names: BTreeMap<String, String>,
    location: Option<String>,
    /// The command, for whoever reads a failure.
    command: String,
}

async fn replay(steps: &str) {
    let mut world = World::logged_in().await;
    world.add_cell().await;
    let mut replay = Replay {
        world: &world,
        names: BTreeMap::from([("password".to_owned(), PASSWORD.replace(' ', "+"))]),
        location: None,
        command: String::new(),
    };
    for line in steps.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match line.strip_prefix('#') {
            Some(command) => command.trim().clone_into(&mut replay.command),
            None => replay.step(line).await,
        }
    }
}

impl Replay<'_> {
    async fn step(&mut self, line: &str) {
        let filled = self.filled(line);
        let (request, want) = filled.split_once(" => ").unwrap_or((&filled, "200"));
        let (status, words) = want.split_once(' ').unwrap_or((want, ""));
        let words = words.split_whitespace().collect::<Vec<_>>();
        let mut parts = request.splitn(3, ' ');
        let verb = parts.next().unwrap_or_default();
        let path = parts.next().unwrap_or_default().to_owned();
        let body = parts.next().unwrap_or_default().to_owned();
        let what = format!("{}: {line}", self.command);
        let client = &self.world.client;
        let answer = match verb {
            "POLL" => {
                eventually(&what, || async {
                    let answer = client.get(&path).await;
                    unmet(&answer, &words).is_none().then_some(answer)
                })
                .await
            }
            "JOB" => {
                let location = self
                    .location
                    .take()
                    .unwrap_or_else(|| panic!("no Location: {what}"));
                let path = location
                    .strip_prefix("http://127.0.0.1:8080")
                    .unwrap_or_else(|| panic!("{location} is not absolute: {what}"));
                let answer = client.get(path).await;
                assert_eq!(answer.json()["state"], "COMPLETE", "{what}");
                answer
            }
            "YAML" => client.yaml(&path, &body.replace("\\n", "\n")).await,
            "FORM" => client.form(&path, &body).await,
            "UPLOAD" => {
                let bits = zip(&[("app.jar", body.as_bytes())]);
                let parts = [
                    ("resources", None, &b"[]"[..]),
                    ("bits", Some("package.zip"), &bits),
                ];
                client.upload(&path, &parts).await
            }
            verb => {
                let method = Method::from_bytes(verb.as_bytes()).expect("a method");
                // `cf` names this type also where it sends no body.
                let headers = [
                    ("content-type", "application/json"),
                    ("accept", "application/json"),
                ];
                client.send(method, &path, &headers, body).await
            }
        };
        assert_eq!(answer.status.as_str(), status, "{what}\n{}", answer.text);
        if let Some(unmet) = unmet(&answer, &words) {
            panic!("{what}\n{unmet} in {}", answer.text);
        }
        for word in &words {
            if let Some((name, pointer)) = word.split_once('=')
                && !name.starts_with('/')
            {
                let found = answer.json().pointer(pointer).cloned().unwrap_or_default();
                let text = found
                    .as_str()
                    .map_or_else(|| found.to_string(), str::to_owned);
                self.names.insert(name.to_owned(), text);
            }
        }
        let location = answer.header("location").map(str::to_owned);
        if verb != "JOB" && answer.status.is_success() {
            // Clients poll every `Location` they see, so only what goes on may have one.
            let goes_on = answer.status == StatusCode::ACCEPTED && location.is_some();
            assert!(goes_on || location.is_none(), "a stray Location: {what}");
        }
        self.location = location;
    }

    /// The longest names first, so that `$app` leaves `$apps` alone.
    fn filled(&self, line: &str) -> String {
        let mut names = self.names.iter().collect::<Vec<_>>();
        names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        let fill = |line: String, (name, value): (&String, &String)| {
            line.replace(&format!("${name}"), value)
        };
        names.into_iter().fold(line.to_owned(), fill)
    }
}

/// The first word that does not hold.
fn unmet<'a>(answer: &Answer, words: &[&'a str]) -> Option<&'a str> {
    if words.is_empty() {
        return None;
    }
    let json = answer.json();
    words.iter().copied().find(|word| {
        let found = |pointer: &str| json.pointer(pointer);
        match word.split_once('=') {
            Some((pointer, want)) if pointer.starts_with('/') => {
                let want = serde_json::from_str::<Value>(want).expect("a JSON value");
                found(pointer) != Some(&want)
            }
            Some((_, pointer)) => found(pointer).is_none_or(Value::is_null),
            None => found(word).is_none(),
        }
    })
}

macro_rules! replays {
    ($($test:ident $file:literal)*) => {$(
        #[tokio::test]
        async fn $test() {
            replay(include_str!(concat!("replay/", $file))).await;
        }
    )*};
}

replays! {
    cf_finds_its_way_in_and_among_orgs_and_spaces "target.steps"
    cf_pushes_and_looks_after_an_app "push.steps"
    cf_deploys_and_goes_back "deploy.steps"
    cf_runs_tasks "tasks.steps"
    cf_binds_services_and_maps_routes "bind.steps"
    cf_asks_for_what_the_platform_has "platform.steps"
}
