//! How full the cell's disk is, and what is done about it.
//!
//! Where space is short, what was kept to be faster gives way. To remove it can take minutes, so that is one task's work,
//! and neither an order nor a heartbeat waits for its end: a cell that is silent for so long is held for lost.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use model::limits::Megabytes;
use model::protocol::cell::HEARTBEAT;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::capacity;
use crate::cell::blocking;

/// How long an order waits for space that others make.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(crate) struct Room {
    data: PathBuf,
    /// With less free, nothing new begins.
    pub(crate) least: Megabytes,
    /// MiB, as last measured.
    free: AtomicU32,
    /// Somebody is in need of space.
    needed: Notify,
    /// How often the disk was looked at and, if need be, made emptier.
    looks: watch::Sender<u64>,
}

impl Room {
    /// Measures the file system of `data`. Blocks.
    pub(crate) fn open(data: PathBuf, least: Megabytes) -> io::Result<Self> {
        let room = Self {
            data,
            least,
            free: AtomicU32::new(0),
            needed: Notify::new(),
            looks: watch::Sender::new(0),
        };
        room.measure()?;
        Ok(room)
    }

    /// Free space, as last measured.
    pub(crate) fn free(&self) -> Megabytes {
        Megabytes(self.free.load(Ordering::Relaxed))
    }

    /// Measures free space, and says whether it is too little to begin anything. Blocks.
    pub(crate) fn is_short(&self) -> io::Result<bool> {
        Ok(self.measure()? < self.least)
    }

    /// Looks after the disk until the agent ends. `give_way` removes what can be spared.
    pub(crate) async fn keep<F: Future<Output = io::Result<()>>>(
        &self,
        shutdown: &CancellationToken,
        mut give_way: impl FnMut() -> F,
    ) {
        let keep = async {
            loop {
                tokio::select! {
                    () = self.needed.notified() => {}
                    () = tokio::time::sleep(HEARTBEAT) => {}
                }
                if let Err(error) = self.look(&mut give_way).await {
                    tracing::warn!(%error, "could not look after the disk of this cell");
                }
                self.looks.send_modify(|looks| *looks += 1);
            }
        };
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            () = keep => {}
        }
    }

    async fn look<F: Future<Output = io::Result<()>>>(
        &self,
        give_way: &mut impl FnMut() -> F,
    ) -> io::Result<()> {
        if self.measure_apart().await? < self.least {
            give_way().await?;
            self.measure_apart().await?;
        }
        Ok(())
    }

    /// Better no start than one that fails halfway and takes the room that others need to go on. An error says why.
    pub(crate) async fn check(&self) -> Result<(), String> {
        let unknown = |error| format!("the cell's disk could not be measured: {error}");
        let mut looks = self.looks.subscribe();
        let mut free = self.measure_apart().await.map_err(unknown)?;
        if free < self.least {
            self.needed.notify_one();
            // Where it takes longer, the server tries again or elsewhere.
            let _ = timeout(PATIENCE, looks.changed()).await;
            free = self.measure_apart().await.map_err(unknown)?;
        }
        if free < self.least {
            let least = self.least;
            return Err(format!(
                "the cell's disk has {free} free, and with less than {least} it begins nothing new"
            ));
        }
        Ok(())
    }

    async fn measure_apart(&self) -> io::Result<Megabytes> {
        let data = self.data.clone();
        self.note(blocking(move || capacity::free_disk(&data)).await)
    }

    fn measure(&self) -> io::Result<Megabytes> {
        self.note(capacity::free_disk(&self.data))
    }

    /// What cannot be measured counts as full.
    fn note(&self, measured: io::Result<Megabytes>) -> io::Result<Megabytes> {
        let free = measured.as_ref().map_or(0, |free| free.0);
        self.free.store(free, Ordering::Relaxed);
        measured
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tokio::time::Instant;

    use super::*;

    const MINUTES: Duration = Duration::from_secs(600);

    fn room(least: u32) -> Room {
        Room::open(Path::new(".").to_owned(), Megabytes(least)).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_a_purge_that_takes_minutes_and_there_is_one_at_a_time() {
        let room = room(u32::MAX);
        let (shutdown, mut purges) = (CancellationToken::new(), 0);
        let keep = room.keep(&shutdown, || {
            purges += 1;
            async {
                tokio::time::sleep(MINUTES).await;
                Ok(())
            }
        });
        let orders = async {
            let begun = Instant::now();
            for _ in 0..50 {
                let refused = room.check().await.unwrap_err();
                assert!(refused.contains("begins nothing new"), "{refused}");
                assert!(room.free() > Megabytes(0), "known also meanwhile");
            }
            assert_eq!(begun.elapsed().as_secs(), 50 * PATIENCE.as_secs());
            shutdown.cancel();
        };
        tokio::join!(keep, orders);
        assert_eq!(purges, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_order_waits_for_room_that_is_made_soon_and_nothing_is_removed_where_there_is_enough()
     {
        let (short, wide) = (room(u32::MAX), room(0));
        let (shutdown, mut purges) = (CancellationToken::new(), 0);
        let keep = short.keep(&shutdown, || {
            purges += 1;
            std::future::ready(Ok(()))
        });
        let orders = async {
            let begun = Instant::now();
            short.check().await.unwrap_err();
            assert!(begun.elapsed() < PATIENCE);
            wide.check().await.unwrap();
            shutdown.cancel();
        };
        tokio::join!(keep, orders);
        assert_eq!(purges, 1);
        let shutdown = CancellationToken::new();
        let mut purges = 0;
        let keep = wide.keep(&shutdown, || {
            purges += 1;
            std::future::ready(Ok(()))
        });
        let _ = timeout(MINUTES, keep).await;
        assert_eq!(purges, 0);
    }
}
