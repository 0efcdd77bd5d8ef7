//! How full the cell's disk is, and what is done about it.
//!
//! Where space is short, what was kept to be faster gives way. To remove it can take minutes, so that is one task's work,
//! and neither an order nor a heartbeat waits for its end: a cell that is silent for so long is held for lost.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use model::limits::Megabytes;
use model::protocol::cell::HEARTBEAT;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::capacity;
use crate::cell::blocking;

const MIB: u64 = 1024 * 1024;
/// How long an order waits for space that others make.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long one who writes waits for others who write to end.
const LONGEST_WRITE: Duration = Duration::from_secs(5 * 60);

#[derive(Debug)]
pub(crate) struct Room {
    data: PathBuf,
    /// With less free, nothing new begins.
    pub(crate) least: Megabytes,
    /// MiB, as last measured.
    free: AtomicU32,
    /// Bytes that are kept for those who write them now. What they have written already counts twice, as used and as kept.
    reserved: watch::Sender<u64>,
    /// Free bytes beyond the least that somebody could not have.
    wanted: AtomicU64,
    /// Somebody is in need of space.
    needed: Notify,
    looks: watch::Sender<Looks>,
}

/// How often the disk was looked at and, if need be, made emptier.
#[derive(Debug, Default)]
struct Looks {
    begun: u64,
    ended: u64,
}

/// Space that is kept for one who writes; given back when dropped.
#[derive(Debug)]
pub(crate) struct Reserved {
    room: Arc<Room>,
    bytes: u64,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let reserved = &self.room.reserved;
        reserved.send_modify(|reserved| *reserved -= self.bytes);
    }
}

impl Room {
    /// Measures the file system of `data`. Blocks.
    pub(crate) fn open(data: PathBuf, least: Megabytes) -> io::Result<Self> {
        let room = Self {
            data,
            least,
            free: AtomicU32::new(0),
            reserved: watch::Sender::new(0),
            wanted: AtomicU64::new(0),
            needed: Notify::new(),
            looks: watch::Sender::default(),
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

    /// Whether so many bytes are free now. Blocks.
    pub(crate) fn has(&self, bytes: u64) -> io::Result<bool> {
        Ok(self.measure()?.bytes() >= bytes)
    }

    /// How many bytes shall be free where somebody wants `wanted` beyond the least and `spare` can be removed: what does not
    /// suffice for them is not removed for them. Blocks.
    pub(crate) fn goal(&self, wanted: u64, spare: u64) -> io::Result<u64> {
        let (free, least) = (self.measure()?.bytes(), self.least.bytes());
        let goal = least.saturating_add(wanted);
        Ok(if free.saturating_add(spare) < goal {
            least
        } else {
            goal
        })
    }

    /// Looks after the disk until the agent ends. `give_way` removes what can be spared, until there are as many bytes free
    /// beyond the least as it is given.
    pub(crate) async fn keep<F: Future<Output = io::Result<()>>>(
        &self,
        shutdown: &CancellationToken,
        mut give_way: impl FnMut(u64) -> F,
    ) {
        let keep = async {
            loop {
                tokio::select! {
                    () = self.needed.notified() => {}
                    () = tokio::time::sleep(HEARTBEAT) => {}
                }
                self.looks.send_modify(|looks| looks.begun += 1);
                if let Err(error) = self.look(&mut give_way).await {
                    tracing::warn!(%error, "could not look after the disk of this cell");
                }
                self.looks.send_modify(|looks| looks.ended += 1);
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
        give_way: &mut impl FnMut(u64) -> F,
    ) -> io::Result<()> {
        let wanted = self.wanted.swap(0, Ordering::Relaxed);
        if self.measure_apart().await?.bytes() < self.least.bytes().saturating_add(wanted) {
            give_way(wanted).await?;
            self.measure_apart().await?;
        }
        Ok(())
    }

    /// Better no start than one that fails halfway and takes the room that others need to go on. An error says why.
    pub(crate) async fn check(&self) -> Result<(), String> {
        let mut last = Megabytes(0);
        let enough = |free| {
            last = free;
            if free >= self.least { Ok(()) } else { Err(0) }
        };
        self.have(enough).await?.ok_or_else(|| {
            let least = self.least;
            format!(
                "the cell's disk has {last} free, and with less than {least} it begins nothing new"
            )
        })
    }

    /// Keeps space for one who is about to write `bytes`, so that the disk does not come below its least while many write.
    /// Waits for others who write where that may help. An error says why there is none.
    pub(crate) async fn reserve(self: &Arc<Self>, bytes: u64) -> Result<Reserved, String> {
        let until = Instant::now() + LONGEST_WRITE;
        let mut changes = self.reserved.subscribe();
        loop {
            let (mut last, mut others) = (Megabytes(0), 0);
            let spare = |free: Megabytes| free.bytes().saturating_sub(self.least.bytes());
            let take = |free: Megabytes| {
                let taken = self.reserved.send_if_modified(|reserved| {
                    (last, others) = (free, *reserved);
                    let fits = spare(free).saturating_sub(*reserved) >= bytes;
                    if fits {
                        *reserved += bytes;
                    }
                    fits
                });
                match taken {
                    true => Ok(()),
                    false if spare(free) < bytes => Err(bytes),
                    // It would do to wait, but what is only kept to be faster is no reason to.
                    false => Err(bytes.saturating_add(others)),
                }
            };
            if self.have(take).await?.is_some() {
                let room = self.clone();
                return Ok(Reserved { room, bytes });
            }
            // Others may have written any part of what is kept for them, and may remove it or not when they end.
            let may_fit = others > 0 && spare(last).saturating_add(others) >= bytes;
            if !may_fit || timeout_at(until, changes.changed()).await.is_err() {
                return Err(format!(
                    "the cell's disk has {last} free, of which {} stay free and {} are spoken for, and {} are needed",
                    self.least,
                    mebibytes(others),
                    mebibytes(bytes)
                ));
            }
        }
    }

    /// Tries to `take` of what is free, and once more after others had time to make room. Who cannot take says how many bytes
    /// beyond the least it would need.
    async fn have<T>(
        &self,
        mut take: impl FnMut(Megabytes) -> Result<T, u64>,
    ) -> Result<Option<T>, String> {
        let unknown = |error| format!("the cell's disk could not be measured: {error}");
        let wanted = match take(self.measure_apart().await.map_err(unknown)?) {
            Ok(taken) => return Ok(Some(taken)),
            Err(wanted) => wanted,
        };
        self.wanted.fetch_max(wanted, Ordering::Relaxed);
        // A look that has begun may have measured before anybody wanted more.
        let mut looks = self.looks.subscribe();
        let begun = looks.borrow().begun;
        self.needed.notify_one();
        // Where it takes longer, the server tries again or elsewhere.
        let _ = timeout(PATIENCE, looks.wait_for(|looks| looks.ended > begun)).await;
        Ok(take(self.measure_apart().await.map_err(unknown)?).ok())
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

    use super::*;

    const MINUTES: Duration = Duration::from_secs(600);

    fn room(least: u32) -> Arc<Room> {
        Arc::new(Room::open(Path::new(".").to_owned(), Megabytes(least)).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_a_purge_that_takes_minutes_and_there_is_one_at_a_time() {
        let room = room(u32::MAX);
        let (shutdown, mut purges) = (CancellationToken::new(), 0);
        let keep = room.keep(&shutdown, |_| {
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
        let keep = short.keep(&shutdown, |_| {
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
        let keep = wide.keep(&shutdown, |_| {
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
        room.reserve(most / 2).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_can_be_spared_gives_way_before_a_refusal() {
        let room = room(1);
        let (shutdown, mut purges) = (CancellationToken::new(), 0);
        let keep = room.keep(&shutdown, |_| {
            purges += 1;
            std::future::ready(Ok(()))
        });
        let order = async {
            room.reserve(u64::MAX).await.unwrap_err();
            shutdown.cancel();
        };
        tokio::join!(keep, order);
        assert_eq!(purges, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn one_who_writes_waits_for_another_who_ends_soon_and_not_for_ever() {
        let room = room(1);
        let half = room.free().bytes() / 2;
        let first = room.reserve(half).await.unwrap();
        let end = async {
            tokio::time::sleep(LONGEST_WRITE / 2).await;
            drop(first);
        };
        let (second, ()) = tokio::join!(room.reserve(half / 4 * 5), end);
        let _second = second.unwrap();
        let begun = Instant::now();
        let refused = room.reserve(half).await.unwrap_err();
        assert!(refused.contains("are spoken for"), "{refused}");
        assert!(begun.elapsed() >= LONGEST_WRITE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_began_before_somebody_was_in_need_refuses_nobody() {
        let room = room(u32::MAX);
        let (shutdown, purges) = (CancellationToken::new(), AtomicU32::new(0));
        let keep = room.keep(&shutdown, |_| async {
            tokio::time::sleep(PATIENCE / 3).await;
            purges.fetch_add(1, Ordering::Relaxed);
            Ok(())
        });
        let order = async {
            room.needed.notify_one();
            tokio::time::sleep(PATIENCE / 6).await;
            let take = |_| match purges.load(Ordering::Relaxed) {
                0 | 1 => Err(1),
                _ => Ok(()),
            };
            assert_eq!(room.have(take).await, Ok(Some(())));
            shutdown.cancel();
        };
        tokio::join!(keep, order);
    }

    #[test]
    fn nothing_is_removed_for_one_whom_it_does_not_help() {
        let (room, huge) = (room(1), u64::from(u32::MAX) * MIB);
        let least = room.least.bytes();
        assert_eq!(room.goal(huge, 0).unwrap(), least);
        assert_eq!(room.goal(huge, 2 * huge).unwrap(), least + huge);
        assert_eq!(room.goal(u64::MAX, 0).unwrap(), least);
        assert_eq!(room.goal(0, 0).unwrap(), least);
    }
}
