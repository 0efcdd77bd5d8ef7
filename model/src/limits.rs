//! Sizes and limits, in Cloud Foundry's units: `M` is MiB, `G` is GiB.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A whole number of mebibytes.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Megabytes(pub u32);

impl Megabytes {
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0 as u64 * 1024 * 1024
    }
}

/// `512M`, or `2G` where that is exact.
impl fmt::Display for Megabytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 >= 1024 && self.0.is_multiple_of(1024) {
            write!(f, "{}G", self.0 / 1024)
        } else {
            write!(f, "{}M", self.0)
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a size: write a whole number with a unit, such as 256M, 1G or 1024MB")]
pub struct InvalidSize(pub String);

/// Accepts what Cloud Foundry's manifests accept: `512M`, `512MB`, `1G`, `1GB`, `1T`, in either case.
impl FromStr for Megabytes {
    type Err = InvalidSize;

    fn from_str(text: &str) -> Result<Self, InvalidSize> {
        let invalid = || InvalidSize(text.chars().take(40).collect());
        let upper = text.trim().to_ascii_uppercase();
        let digits = upper.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let factor: u32 = match &upper[digits.len()..] {
            "M" | "MB" | "MIB" => 1,
            "G" | "GB" | "GIB" => 1024,
            "T" | "TB" | "TIB" => 1024 * 1024,
            _ => return Err(invalid()),
        };
        digits
            .parse::<u32>()
            .ok()
            .and_then(|count| count.checked_mul(factor))
            .map(Self)
            .ok_or_else(invalid)
    }
}

/// What one instance or task may use. Enforced by the cell's engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Limits {
    pub memory: Megabytes,
    pub disk: Megabytes,
    /// Processes and threads together.
    pub pids: u32,
}

impl Limits {
    /// Cloud Foundry's pid limit (capi-release), Slipway's default memory, Cloud Foundry's default disk.
    pub const DEFAULT: Self = Self {
        memory: Megabytes(512),
        disk: Megabytes(1024),
        pids: 1024,
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_cloud_foundry_reads_them() {
        for (text, want) in [
            ("512M", 512),
            ("512MB", 512),
            ("1G", 1024),
            ("2gb", 2048),
            (" 64m ", 64),
            ("1T", 1 << 20),
        ] {
            assert_eq!(text.parse(), Ok(Megabytes(want)), "{text}");
        }
        for bad in ["", "512", "M", "-1M", "1.5G", "1K", "5000000T", "1 G B"] {
            assert!(bad.parse::<Megabytes>().is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_print_in_the_largest_exact_unit() {
        assert_eq!(
            [Megabytes(512), Megabytes(1024), Megabytes(1536)].map(|m| m.to_string()),
            ["512M", "1G", "1536M"]
        );
    }
}
