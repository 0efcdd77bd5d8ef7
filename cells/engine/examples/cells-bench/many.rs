//! What idle containers cost, and how long it takes a new engine to have them all again.

use std::path::Path;
use std::time::{Duration, Instant};

use cells_engine::{Container as _, Engine as _};

use crate::{Bed, Fallible, figure};

const CONTAINERS: usize = 500;
/// As many starts at a time as a cell may have.
const AT_ONCE: usize = 8;
const SETTLES_WITHIN: Duration = Duration::from_secs(30);

pub(crate) async fn measure(bed: &Bed) -> Fallible<()> {
    let engine = bed.engine().await?;
    let begun = Instant::now();
    let mut names: Vec<String> = (0..CONTAINERS).map(|n| format!("many-{n}")).collect();
    for group in names.chunks(AT_ONCE) {
        let mut starts = tokio::task::JoinSet::new();
        for name in group {
            let (engine, spec) = (engine.clone(), bed.spec(name, "exec sleep 1000")?);
            starts.spawn(async move { engine.start(spec).await });
        }
        while let Some(started) = starts.join_next().await {
            started??;
        }
    }
    figure("start_500", begun.elapsed().as_secs_f64(), "s");
    drop(engine);

    let own = pss_kib(Path::new("/proc/self"))?;
    let begun = Instant::now();
    // What an agent does when it starts: it looks at all, waits for the end of each, and sweeps what it does not know.
    let engine = bed.engine().await?;
    let containers = engine.adopt().await?;
    let mut waits = tokio::task::JoinSet::new();
    for container in &containers {
        let container = container.clone();
        waits.spawn(async move { container.wait().await });
    }
    engine.sweep(&names).await?;
    // Connected to every shim, where an ended container would have been noticed.
    tokio::task::yield_now().await;
    figure("adopt_500", begun.elapsed().as_secs_f64(), "s");
    names.clear();
    if containers.len() != CONTAINERS || waits.try_join_next().is_some() {
        return Err("not all containers were adopted".into());
    }

    let shims = settled_shims(&bed.folder)?;
    let agent = pss_kib(Path::new("/proc/self"))?.saturating_sub(own);
    figure(
        "overhead",
        (shims + agent) as f64 / 1024.0 / CONTAINERS as f64,
        "MiB",
    );
    waits.abort_all();

    let begun = Instant::now();
    for group in containers.chunks(AT_ONCE) {
        let mut removals = tokio::task::JoinSet::new();
        for container in group {
            let container = container.clone();
            removals.spawn(async move { container.remove().await });
        }
        while let Some(removed) = removals.join_next().await {
            removed??;
        }
    }
    figure("remove_500", begun.elapsed().as_secs_f64(), "s");
    Ok(())
}

/// Proportional memory of all shims with something in `folder`, once two looks agree.
fn settled_shims(folder: &Path) -> Fallible<u64> {
    let deadline = Instant::now() + SETTLES_WITHIN;
    let mut before = 0;
    loop {
        let now = shims(folder)?;
        if now.abs_diff(before) * 100 <= now || Instant::now() > deadline {
            return Ok(now);
        }
        before = now;
        std::thread::sleep(Duration::from_millis(500));
    }
}

fn shims(folder: &Path) -> Fallible<u64> {
    let folder = folder.display().to_string();
    let mut sum = 0;
    for process in std::fs::read_dir("/proc")?.flatten() {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        let mut words = line.split('\0');
        if words.nth(1) == Some("shim") && words.any(|word| word.starts_with(&folder)) {
            // One that ends meanwhile has no memory.
            sum += pss_kib(&process.path()).unwrap_or(0);
        }
    }
    Ok(sum)
}

fn pss_kib(process: &Path) -> Fallible<u64> {
    let text = std::fs::read_to_string(process.join("smaps_rollup"))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Pss:"))
        .ok_or("no Pss")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}
