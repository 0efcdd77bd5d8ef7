//! How full the cell's disk is, and what is done about it.
//!
//! Where space is short, what was kept to be faster gives way. To remove it can take minutes, so that is one task's work,
//! and neither an order nor a heartbeat waits for its end: a cell that is silent for so long is held for lost.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::limits::Megabytes;
use model::protocol::cell::HEARTBEAT;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::capacity;
use crate::cell::blocking;

const MIB: u64 = 1024 * 1024;
/// How long an order waits for space that others make.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(crate) struct Room {
    data: PathBuf,
    /// With less free, nothing new begins.
    pub(crate) least: Megabytes,
    /// MiB, as last measured.
    free: AtomicU32,
    /// Bytes that are kept for those who write them now. What they have written already counts twice, as used and as kept.
    reserved: Mutex<u64>,
    /// Free bytes beyond the least that somebody could not have.
    wanted: AtomicU64,
    /// Somebody is in need of space.
    needed: Notify,
    /// How often the disk was looked at and, if need be, made emptier.
    looks: watch::Sender<u64>,
}

/// Space that is kept for one who writes; given back when dropped.
#[derive(Debug)]
pub(crate) struct Reserved<'a> {
    room: &'a Room,
    bytes: u64,
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        *self.room.reserved() -= self.bytes;
    }
}

impl Room {
    /// Measures the file system of `data`. Blocks.
    pub(crate) fn open(data: PathBuf, least: Megabytes) -> io::Result<Self> {
        let room = Self {
            data,
            least,
            free: AtomicU32::new(0),
            reserved: Mutex::new(0),
            wanted: AtomicU64::new(0),
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
        let wanted = self.wanted.swap(0, Ordering::Relaxed);
        if self.measure_apart().await?.bytes() < self.least.bytes().saturating_add(wanted) {
            give_way().await?;
            self.measure_apart().await?;
        }
        Ok(())
    }

    /// Better no start than one that fails halfway and takes the room that others need to go on. An error says why.
    pub(crate) async fn check(&self) -> Result<(), String> {
        let mut last = Megabytes(0);
        let enough = |free| {
            last = free;
            (free >= self.least).then_some(())
        };
        self.have(0, enough).await?.ok_or_else(|| {
            let least = self.least;
            format!(
                "the cell's disk has {last} free, and with less than {least} it begins nothing new"
            )
        })
    }

    /// Keeps space for one who is about to write `bytes`, so that the disk does not come below its least while many write.
    /// An error says why there is none.
    pub(crate) async fn reserve(&self, bytes: u64) -> Result<Reserved<'_>, String> {
        let (mut last, mut others) = (Megabytes(0), 0);
        let take = |free: Megabytes| {
            let mut reserved = self.reserved();
            (last, others) = (free, *reserved);
            let spare = free.bytes().saturating_sub(self.least.bytes());
            (spare.saturating_sub(*reserved) >= bytes).then(|| *reserved += bytes)
        };
        let wanted = bytes.saturating_add(*self.reserved());
        match self.have(wanted, take).await? {
            Some(()) => Ok(Reserved { room: self, bytes }),
            None => Err(format!(
                "the cell's disk has {last} free, of which {} stay free and {} are spoken for, and {} are needed",
                self.least,
                mebibytes(others),
                mebibytes(bytes)
            )),
        }
    }

    /// Tries to `take` of what is free, and once more after others had time to make `wanted` bytes more free than the least.
    async fn have<T>(
        &self,
        wanted: u64,
        mut take: impl FnMut(Megabytes) -> Option<T>,
    ) -> Result<Option<T>, String> {
        let unknown = |error| format!("the cell's disk could not be measured: {error}");
        let mut looks = self.looks.subscribe();
        if let Some(taken) = take(self.measure_apart().await.map_err(unknown)?) {
            return Ok(Some(taken));
        }
        self.wanted.fetch_max(wanted, Ordering::Relaxed);
        self.needed.notify_one();
        // Where it takes longer, the server tries again or elsewhere.
        let _ = timeout(PATIENCE, looks.changed()).await;
        Ok(take(self.measure_apart().await.map_err(unknown)?))
    }

    fn reserved(&self) -> MutexGuard<'_, u64> {
        self.reserved.lock().unwrap_or_else(PoisonError::into_inner)
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

fn mebibytes(bytes: u64) -> Megabytes {
    Megabytes(u32::try_from(bytes.div_ceil(MIB)).unwrap_or(u32::MAX))
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

    #[tokio::test(start_paused = true)]
    async fn writers_get_no_more_together_than_the_disk_can_spare() {
        let room = room(1);
        let most = room.free().bytes() / 4 * 3;
        let first = room.reserve(most).await.unwrap();
        let refused = room.reserve(most).await.unwrap_err();
        assert!(refused.contains("are spoken for"), "{refused}");
        drop(first);
        let _second = room.reserve(most / 2).await.unwrap();
        let (shutdown, mut purges) = (CancellationToken::new(), 0);
        let keep = room.keep(&shutdown, || {
            purges += 1;
            std::future::ready(Ok(()))
        });
        let order = async {
            room.reserve(u64::MAX).await.unwrap_err();
            shutdown.cancel();
        };
        tokio::join!(keep, order);
        assert_eq!(purges, 1, "what can be spared gives way before a refusal");
    }
}
