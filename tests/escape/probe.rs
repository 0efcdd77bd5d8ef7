//! The hostile program: the suite's own binary under another name of arguments, pushed as an app.
//!
//! `serve` is an app that attacks when asked; `build` attacks from within a build; `forge KIND` leaves a forged output
//! there. Every attempt is one line: `refused|contained|ESCAPED NAME: DETAIL`.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

mod bombs;
mod files;
pub(crate) mod forge;
mod kernel;
mod network;
mod rights;
mod sys;
mod verdict;

pub(crate) use verdict::MARK;
use verdict::{Attempt, bomb};

/// What the suite tells the probe of the host, as lines `KEY=VALUE` in the file `context` beside it.
pub(crate) struct Context(HashMap<String, String>);

impl Context {
    fn read() -> Self {
        let text = std::fs::read_to_string("context").unwrap_or_default();
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        Self(
            pairs
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
        )
    }

    fn text(&self, key: &str) -> String {
        self.0.get(key).cloned().unwrap_or_default()
    }

    fn number(&self, key: &str) -> u64 {
        self.text(key).parse().unwrap_or(0)
    }
}

/// Returns the exit code if this process is to be the probe.
pub(crate) fn main(args: &[String]) -> Option<i32> {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["probe", "serve"] => serve(&Context::read()),
        ["probe", "build"] => {
            let context = Context::read();
            let mut out = std::io::stdout();
            tell(attempts(&context), &mut out);
            tell(bombs::all(), &mut out);
            Some(0)
        }
        ["probe", "flood", mib] => {
            bombs::flood_log(mib.parse().unwrap_or(64));
            Some(0)
        }
        ["probe", "forge", kind] => Some(i32::from(forge::leave(kind, &Context::read()).is_err())),
        _ => None,
    }
}

fn attempts(context: &Context) -> Vec<Attempt> {
    let mut all = kernel::attempts();
    all.extend(rights::attempts(context));
    all.extend(files::attempts(context));
    all.extend(network::attempts(context));
    all
}

fn tell(attempts: Vec<Attempt>, to: &mut impl Write) {
    for attempt in attempts {
        let line = attempt.run();
        let _ = writeln!(to, "{line}").and_then(|()| to.flush());
    }
}

fn serve(context: &Context) -> Option<i32> {
    let port = std::env::var("PORT").ok()?.parse().ok()?;
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).ok()?;
    for stream in listener.incoming().flatten() {
        answer(stream, context);
    }
    Some(1)
}

fn answer(mut stream: TcpStream, context: &Context) {
    let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
    let request = lines.next().unwrap_or_default();
    for line in lines {
        if line.is_empty() {
            break;
        }
    }
    let path = request.split(' ').nth(1).unwrap_or("/").to_owned();
    let mut body = Vec::new();
    match path.as_str() {
        "/attempts" => tell(attempts(context), &mut body),
        "/network" => tell(network::attempts(context), &mut body),
        "/flood-log" => tell(
            vec![bomb("flood of the log", || bombs::flood_log(64))],
            &mut body,
        ),
        "/fill-disk" => tell(
            vec![bomb("disk bomb", || bombs::fill_disk(false))],
            &mut body,
        ),
        "/fill-inodes" => tell(
            vec![bomb("bomb of empty files", || bombs::fill_disk(true))],
            &mut body,
        ),
        "/take-all" => tell(
            vec![bomb("all that one user may have", bombs::take_all)],
            &mut body,
        ),
        "/ordinary" => tell(
            vec![bomb("an ordinary app beside it", bombs::ordinary)],
            &mut body,
        ),
        path => {
            let number = path
                .strip_prefix("/bomb/")
                .and_then(|text| text.parse::<usize>().ok());
            match number.and_then(|number| bombs::all().into_iter().nth(number)) {
                Some(bomb) => tell(vec![bomb], &mut body),
                None => body.extend(b"ready"),
            }
        }
    }
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let _ = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(&body));
}
