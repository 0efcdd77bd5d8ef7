//! A disk that is nearly full is told early, with figures, before bytes are taken.

use std::fmt::Write as _;

use store::collect::Usage;
use store::disk::Disk;

use crate::collector::Collection;
use crate::{Actor, Control, Error, Result};

/// How many apps are named as the largest.
const LARGEST: u32 = 3;

/// How full the server is, and by what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    pub disk: Disk,
    /// Bytes that are kept free.
    pub floor: u64,
    pub usage: Usage,
}

impl Control {
    /// Refuses work that would leave less of the disk free than is kept free: `what` ("this upload") needs about `bytes`.
    pub async fn check_room(&self, what: &str, bytes: u64) -> Result<()> {
        let disk = self.store().disk()?;
        let floor = self.collector().bounds().floor(disk.size);
        if disk.free >= floor.saturating_add(bytes) {
            return Ok(());
        }
        self.collector().hurry();
        let usage = self.store().usage(LARGEST).await?;
        let room = Room { disk, floor, usage };
        Err(Error::NoRoom(no_room(what, bytes, &room)))
    }

    /// How full the server is.
    pub async fn room(&self, _: &Actor) -> Result<Room> {
        let disk = self.store().disk()?;
        Ok(Room {
            disk,
            floor: self.collector().bounds().floor(disk.size),
            usage: self.store().usage(LARGEST).await?,
        })
    }

    /// Collects now what is not needed any more; with `dry`, only says what would go.
    pub async fn collect(&self, _: &Actor, dry: bool) -> Result<Collection> {
        Ok(self.collector().collect(dry).await?)
    }
}

fn no_room(what: &str, bytes: u64, room: &Room) -> String {
    let mut text = format!(
        "E-DISK the server keeps {} of its disk free; {what} needs ",
        bytes_text(room.floor)
    );
    let _ = match bytes {
        0 => write!(text, "some"),
        bytes => write!(text, "about {}", bytes_text(bytes)),
    };
    let _ = write!(text, ", {} is left", bytes_text(room.disk.free));
    let usage = &room.usage;
    let mut users = usage
        .apps
        .iter()
        .map(|app| {
            let text = format!(
                "releases of '{}' {} ({} kept)",
                app.name,
                bytes_text(app.bytes),
                app.releases
            );
            (app.bytes, text)
        })
        .collect::<Vec<_>>();
    for (name, bytes) in [
        ("packages", usage.packages_bytes),
        ("database", usage.database_bytes),
    ] {
        users.push((bytes, format!("{name} {}", bytes_text(bytes))));
    }
    users.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
    let users = users
        .into_iter()
        .map(|(_, text)| text)
        .collect::<Vec<_>>()
        .join(", ");
    let _ = write!(text, "\n  biggest    {users}");
    text.push_str(
        "\n  try        slipway gc --dry-run  |  slipway delete APP  of an app that is not needed",
    );
    text
}

/// `1.4G`, `300M`, `12K`: as the client writes sizes, in binary units.
fn bytes_text(bytes: u64) -> String {
    for (unit, name) in [(1_u64 << 30, 'G'), (1 << 20, 'M')] {
        if bytes >= unit {
            let tenths = bytes.saturating_mul(10) / unit;
            return match tenths % 10 {
                0 => format!("{}{name}", tenths / 10),
                tenth => format!("{}.{tenth}{name}", tenths / 10),
            };
        }
    }
    format!("{}K", bytes.div_ceil(1024))
}

#[cfg(test)]
mod tests {
    use model::ids::AppId;
    use store::collect::AppUsage;

    use super::*;

    #[test]
    fn a_refusal_says_what_is_kept_needed_left_and_used_and_what_to_do() {
        let app = |name: &str, releases, bytes| AppUsage {
            app: AppId::random(),
            name: name.into(),
            releases,
            bytes,
        };
        let room = Room {
            disk: Disk {
                size: 20 << 30,
                free: 410 << 20,
            },
            floor: 1 << 30,
            usage: Usage {
                layers_bytes: 6 << 30,
                packages_bytes: 3 << 30,
                database_bytes: 5000,
                apps: vec![app("shop", 5, 5_583_457_485), app("blog", 2, 7 << 20)],
            },
        };
        insta::assert_snapshot!(no_room("this upload", 1_181_116_007, &room), @r"
        E-DISK the server keeps 1G of its disk free; this upload needs about 1.1G, 410M is left
          biggest    releases of 'shop' 5.2G (5 kept), packages 3G, releases of 'blog' 7M (2 kept), database 5K
          try        slipway gc --dry-run  |  slipway delete APP  of an app that is not needed
        ");
    }
}
