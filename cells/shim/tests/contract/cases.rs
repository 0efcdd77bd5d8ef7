//! What both engines promise.

use std::path::Path;
use std::time::Duration;

use cells_engine::{Container, Engine, EngineError, Signal};

use crate::bed::{Bed, eventually, listen_script, within};

pub(crate) async fn output_is_logged_by_stream_and_line<E: Engine>(bed: &Bed<E>) {
    let container = bed
        .start(bed.spec("a", "echo one; echo two >&2; printf 'no line feed'"))
        .await;
    let exit = within(container.wait()).await.expect("ends");
    assert_eq!((exit.status, exit.oom_killed), (0, false));
    let mut lines = bed.output("a");
    lines.sort();
    let lines: Vec<_> = lines
        .iter()
        .map(|(stream, line)| (*stream, line.as_str()))
        .collect();
    assert_eq!(lines, [('E', "two"), ('O', "no line feed"), ('O', "one")]);
    container.remove().await.expect("removed");
    assert_eq!(bed.output("a").len(), 3, "the output stays after removal");
}

pub(crate) async fn the_exit_status_is_the_commands<E: Engine>(bed: &Bed<E>) {
    for status in [0, 1, 42, 255] {
        let (exit, _) = bed
            .run(&format!("exit-{status}"), &format!("exit {status}"))
            .await;
        assert_eq!(exit.status, status);
        assert!(exit.ran < Duration::from_secs(60));
    }
}

pub(crate) async fn an_end_by_signal_is_128_and_its_number<E: Engine>(bed: &Bed<E>) {
    for (signal, status) in [("KILL", 137), ("TERM", 143), ("SEGV", 139)] {
        let (exit, _) = bed
            .run(&format!("sig-{status}"), &format!("kill -{signal} $$"))
            .await;
        assert_eq!(exit.status, status);
    }
}

pub(crate) async fn terminate_lets_the_command_clean_up<E: Engine>(bed: &Bed<E>) {
    let script = "trap 'echo cleaned up; exit 3' TERM; echo ready; while true; do sleep 0.05; done";
    let container = bed.start(bed.spec("a", script)).await;
    bed.until_written("a", "ready").await;
    container.signal(Signal::Terminate).await.expect("sent");
    assert_eq!(within(container.wait()).await.expect("ends").status, 3);
    bed.until_written("a", "cleaned up").await;
    container
        .signal(Signal::Terminate)
        .await
        .expect("too late is no error");
}

pub(crate) async fn kill_ends_a_command_that_ignores_terminate<E: Engine>(bed: &Bed<E>) {
    let script = "trap 'echo no' TERM; echo ready; while true; do sleep 0.05; done";
    let container = bed.start(bed.spec("a", script)).await;
    bed.until_written("a", "ready").await;
    container.signal(Signal::Terminate).await.expect("sent");
    bed.until_written("a", "no").await;
    let several = (container.clone(), container.clone());
    container.signal(Signal::Kill).await.expect("sent");
    let (one, two) = within(async { tokio::join!(several.0.wait(), several.1.wait()) }).await;
    assert_eq!(
        (one.expect("ends").status, two.expect("ends").status),
        (137, 137)
    );
}

pub(crate) async fn environment_survives_byte_for_byte_and_is_on_no_disk<E: Engine>(bed: &Bed<E>) {
    let secret = "mongodb://u:p$a`ß\"s'\\@h/d?x=1\nsecond line\t\u{1F511} ";
    let mut spec = bed.spec(
        "a",
        "printf '%s' \"$URI\" | od -An -v -tx1 | tr -d ' \\n'; echo; sleep 1000",
    );
    spec.env.set("URI", secret);
    let container = bed.start(spec).await;
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    bed.until_written("a", &hex).await;
    let needle = b"mongodb://u:p$a`";
    for file in files_below(bed.root.path()) {
        let bytes = std::fs::read(&file).unwrap_or_default();
        assert!(
            !contains(&bytes, needle),
            "{} holds a secret",
            file.display()
        );
    }
    for process in std::fs::read_dir("/proc").expect("proc").flatten() {
        let argv = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        assert!(!contains(&argv, needle), "an argv holds a secret");
    }
    container.remove().await.expect("removed");
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

fn files_below(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files.extend(files_below(&entry.path())),
            Ok(kind) if kind.is_file() => files.push(entry.path()),
            _ => {}
        }
    }
    files
}

pub(crate) async fn a_program_that_does_not_exist_is_an_error_and_leaves_nothing<E: Engine>(
    bed: &Bed<E>,
) {
    let mut spec = bed.spec("a", "");
    spec.args = vec!["no-such-program".to_owned()];
    match bed.engine.start(spec).await {
        Err(EngineError::Setup(text)) => assert!(
            text.contains("no-such-program") && text.contains("No such file"),
            "{text}"
        ),
        Err(error) => panic!("{error:?}"),
        Ok(_) => panic!("it started"),
    }
    let mut spec = bed.spec("b", "true");
    spec.env.set("BAD", "nul\0byte");
    assert!(
        matches!(bed.engine.start(spec).await, Err(EngineError::Setup(text)) if text.contains("BAD"))
    );
    assert!(bed.engine.adopt().await.expect("listed").is_empty());
}

pub(crate) async fn later_layers_win_and_writing_leaves_them_alone<E: Engine>(bed: &Bed<E>) {
    let layers = ["low", "high"].map(|name| {
        let layer = bed.dir(name);
        std::fs::create_dir_all(layer.join("app")).expect("folder");
        std::fs::write(layer.join("app/both"), name).expect("file");
        std::fs::write(layer.join("app").join(name), name).expect("file");
        // A plain process belongs to whoever runs the engine.
        let app = layer.join("app");
        for path in [&layer, &app, &app.join("both"), &app.join(name)]
            .into_iter()
            .filter(|_| !bed.is_process())
        {
            std::os::unix::fs::chown(
                path,
                Some(cells_engine::linux::VCAP),
                Some(cells_engine::linux::VCAP),
            )
            .expect("root");
        }
        layer
    });
    let mut spec = bed.spec(
        "a",
        "cd app; cat both low high; echo; rm -f low; echo new > own; ls | tr '\\n' ' '; echo",
    );
    spec.layers = layers.to_vec();
    let (exit, output) = bed.run_spec(spec).await;
    assert_eq!(
        (exit.status, output.as_str()),
        (0, "highlowhigh\nboth high own \n")
    );
    assert_eq!(
        std::fs::read_to_string(layers[0].join("app/low")).expect("untouched"),
        "low"
    );
    assert!(!layers[1].join("app/own").exists());
}

pub(crate) async fn usage_counts_output_and_files<E: Engine>(bed: &Bed<E>) {
    let script = "head -c 2000000 /dev/zero > file; i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; printf '%099d\\n' 1; sleep 1000";
    let container = bed.start(bed.spec("a", script)).await;
    let usage = eventually(async || {
        let usage = container.usage().await.expect("known");
        if usage.log_bytes == 100 {
            Ok(usage)
        } else {
            Err(format!("{usage:?}"))
        }
    })
    .await;
    assert!(usage.disk_bytes >= 2_000_000, "{usage:?}");
    assert!(
        usage.memory_bytes > 100_000 && usage.cpu > Duration::ZERO,
        "{usage:?}"
    );
    container.signal(Signal::Kill).await.expect("sent");
    let exit = within(container.wait()).await.expect("ends");
    assert!(exit.peak_memory_bytes > 100_000, "{exit:?}");
    assert_eq!(
        container.usage().await.expect("known").log_bytes,
        100,
        "also after the end"
    );
}

pub(crate) async fn listeners_are_found_with_their_process<E: Engine>(bed: &Bed<E>) {
    // Plain processes share the machine's ports with the other tests.
    let port = if bed.is_process() { free_port() } else { 3000 };
    let container = bed
        .start(bed.spec("a", &listen_script("127.0.0.1", port)))
        .await;
    bed.until_written("a", "listening").await;
    let listeners = container.listeners().await.expect("known");
    let [listener] = listeners.as_slice() else {
        panic!("{listeners:?}")
    };
    assert_eq!(listener.address, ([127, 0, 0, 1], port).into());
    assert_eq!(listener.command.as_deref(), Some("perl"));
    let pid = listener.pid.expect("known");
    assert!(
        bed.is_process() || pid == 2,
        "the pid is the one inside: {pid}"
    );
    container.remove().await.expect("removed");
    assert!(container.listeners().await.expect("known").is_empty());
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    listener.local_addr().expect("bound").port()
}

pub(crate) async fn background_processes_end_with_the_command<E: Engine>(bed: &Bed<E>) {
    // Out of the session and without the output pipes' help: nothing but the engine can find it.
    let script = "up=$(setsid perl -e 'fork and exit; $0 = shift; print \"up\"; close STDOUT; sleep 1000' $MARK 2>/dev/null); test \"$up\" = up";
    let mark = format!(
        "stray-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    )
    .replace(['(', ')'], "");
    let mut spec = bed.spec("a", script);
    spec.env.set("MARK", mark.as_str());
    let container = bed.start(spec).await;
    assert_eq!(within(container.wait()).await.expect("ends").status, 0);
    let alive: Vec<_> = std::fs::read_dir("/proc")
        .expect("proc")
        .flatten()
        .filter(|process| {
            contains(
                &std::fs::read(process.path().join("cmdline")).unwrap_or_default(),
                mark.as_bytes(),
            )
        })
        .collect();
    assert!(alive.is_empty(), "{alive:?}");
}

pub(crate) async fn folders_deeper_than_any_path_are_cleared_away<E: Engine>(bed: &Bed<E>) {
    let nest = "perl -e 'for (1..3000) { mkdir \"d\" or die $!; chdir \"d\" or die $! } print \"done\\n\"'";
    let (_, output) = bed.run("deep", nest).await;
    assert_eq!(output, "done\n");
    let left = std::fs::read_dir(bed.dir("deep")).expect("the output stays");
    let left: Vec<_> = left
        .map(|entry| entry.expect("entry").file_name())
        .collect();
    assert_eq!(left, ["logs"]);
}

pub(crate) async fn a_container_that_has_ended_can_still_be_adopted<E: Engine>(bed: &Bed<E>) {
    let container = bed.start(bed.spec("a", "exit 5")).await;
    within(container.wait()).await.expect("ends");
    drop(container);
    let adopted = bed.engine.adopt().await.expect("listed");
    assert_eq!(
        adopted.iter().map(Container::name).collect::<Vec<_>>(),
        ["a"]
    );
    assert_eq!(within(adopted[0].wait()).await.expect("ended").status, 5);
    adopted[0].remove().await.expect("removed");
    adopted[0]
        .remove()
        .await
        .expect("removing twice is no error");
    assert!(bed.engine.adopt().await.expect("listed").is_empty());
}

pub(crate) async fn sweep_removes_what_nobody_knows<E: Engine>(bed: &Bed<E>) {
    let kept = bed.start(bed.spec("kept", "echo up; sleep 1000")).await;
    let lost = bed.start(bed.spec("lost", "sleep 1000")).await;
    bed.engine
        .sweep(&["kept".to_owned()])
        .await
        .expect("sweeps");
    assert_eq!(
        within(lost.wait())
            .await
            .map(|exit| exit.status)
            .unwrap_or(137),
        137
    );
    let left = bed.engine.adopt().await.expect("listed");
    assert_eq!(
        left.iter().map(Container::name).collect::<Vec<_>>(),
        ["kept"]
    );
    let still = tokio::time::timeout(Duration::from_millis(200), kept.wait()).await;
    assert!(still.is_err(), "the known one runs on");
}

pub(crate) async fn many_start_and_end_at_the_same_time<E: Engine>(bed: &Bed<E>) {
    let mut starts = tokio::task::JoinSet::new();
    for number in 0..16 {
        let (engine, spec) = (
            bed.engine.clone(),
            bed.spec(
                &format!("c{number}"),
                &format!("echo {number}; exit {number}"),
            ),
        );
        starts.spawn(async move {
            let container = engine
                .start(spec)
                .await
                .map_err(|error| crate::bed::with_causes(&error))?;
            let status = container.wait().await.expect("ends").status;
            container
                .remove()
                .await
                .map_err(|error| crate::bed::with_causes(&error))?;
            Ok::<_, String>((number, status, (container.address(), container.port())))
        });
    }
    let ends: Vec<_> = within(starts.join_all())
        .await
        .into_iter()
        .map(|end| end.expect("starts and ends"))
        .collect();
    assert!(
        ends.iter().all(|(number, status, _)| number == status),
        "{ends:?}"
    );
    let places: std::collections::HashSet<_> = ends.iter().map(|(_, _, place)| place).collect();
    assert!(
        places.len() == ends.len() || bed.is_process(),
        "no two had the same address: {ends:?}"
    );
}
