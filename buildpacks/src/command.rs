//! Runs a tool of the build and shows its output as it comes.

use std::io::{self, BufRead, BufReader, PipeReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::contract::BuildFailure;
use crate::output::Output;

/// A longer line of output is shown in pieces.
const MAX_LINE: u64 = 16 * 1024;
/// How long after a command's end its background children may still write.
const GRACE: Duration = Duration::from_secs(1);

/// Runs `command`, called `shown` in messages, to its end.
///
/// # Errors
/// [`BuildFailure::Command`] if it fails, with the end of its output.
pub(crate) fn run(output: &mut Output, shown: &str, command: Command) -> Result<(), BuildFailure> {
    output.take_last_lines();
    let began = Instant::now();
    let status = stream(output, command).map_err(BuildFailure::io(format!("run '{shown}'")))?;
    let last_lines = output.take_last_lines();
    if status.success() {
        return Ok(());
    }
    // As shells say it: a process that a signal ended has the status 128 and the signal's number.
    let code = status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    let ran_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    Err(BuildFailure::Command {
        command: shown.to_owned(),
        status: code,
        ran_ms,
        last_lines,
    })
}

/// Runs `command` silently. The answer is whether it succeeded.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    let quiet = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

fn stream(output: &mut Output, mut command: Command) -> io::Result<ExitStatus> {
    let (reader, writer) = io::pipe()?;
    command
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer);
    let mut child = command.spawn()?;
    // The command holds the writing ends of the pipe, without which it would never end.
    drop(command);
    let (send, lines) = mpsc::sync_channel(64);
    // Ends with the pipe's last writer. A daemon that a build left behind may be one: the thread then ends with this
    // process, which the build's end ends.
    std::thread::spawn(move || read_lines(reader, &send));
    let mut ended: Option<(ExitStatus, Instant)> = None;
    loop {
        match lines.recv_timeout(Duration::from_millis(100)) {
            Ok(line) => output.command_line(&line),
            Err(RecvTimeoutError::Disconnected) => return child.wait(),
            Err(RecvTimeoutError::Timeout) => {}
        }
        match ended {
            Some((status, at)) if at.elapsed() > GRACE => return Ok(status),
            Some(_) => {}
            None => ended = child.try_wait()?.map(|status| (status, Instant::now())),
        }
    }
}

fn read_lines(reader: PipeReader, send: &mpsc::SyncSender<Vec<u8>>) {
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = Vec::new();
        match reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                if line.last() == Some(&b'\n') {
                    line.pop();
                }
                if send.send(line).is_err() {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_failed_command_is_quoted_with_its_status() {
        let mut output = Output::new(Box::new(io::sink()));
        let failure = run(&mut output, "sh x", shell("echo out; echo err >&2; exit 7"))
            .expect_err("status 7");
        let BuildFailure::Command {
            command,
            status,
            last_lines,
            ..
        } = failure
        else {
            panic!("{failure}")
        };
        assert_eq!((command.as_str(), status), ("sh x", 7));
        assert_eq!(last_lines, ["out", "err"]);
        let killed = run(&mut output, "sh", shell("kill -9 $$")).expect_err("killed");
        assert!(
            matches!(killed, BuildFailure::Command { status: 137, .. }),
            "{killed:?}"
        );
    }

    #[test]
    fn a_daemon_that_keeps_the_output_open_does_not_hold_up_the_build() {
        let mut output = Output::new(Box::new(io::sink()));
        let began = Instant::now();
        run(&mut output, "sh", shell("sleep 20 & echo done")).expect("succeeds");
        assert!(began.elapsed() < Duration::from_secs(10));
    }
}
