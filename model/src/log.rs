//! Log lines as they travel from cells and routers to clients.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ids::AppId;

/// Which part of the platform a line comes from; the text form is Cloud Foundry's `source_type` tag.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LogSource {
    /// `APP/PROC/<TYPE>`: the app's own output. Holds the process type in lower case.
    App(String),
    /// `APP/TASK/<name>`: the output of a one-off task. Holds its name as it is.
    Task(String),
    /// `STG`: a build.
    Staging,
    /// `CELL`: what a cell did with an instance.
    Cell,
    /// `RTR`: a request through the router.
    Router,
    /// `API`: a change somebody asked for.
    Api,
}

impl fmt::Display for LogSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::App(process_type) => write!(f, "APP/PROC/{}", process_type.to_uppercase()),
            Self::Task(name) => write!(f, "APP/TASK/{name}"),
            Self::Staging => f.write_str("STG"),
            Self::Cell => f.write_str("CELL"),
            Self::Router => f.write_str("RTR"),
            Self::Api => f.write_str("API"),
        }
    }
}

impl FromStr for LogSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "STG" => Ok(Self::Staging),
            "CELL" => Ok(Self::Cell),
            "RTR" => Ok(Self::Router),
            "API" => Ok(Self::Api),
            _ => {
                if let Some(process_type) = text.strip_prefix("APP/PROC/") {
                    Ok(Self::App(process_type.to_lowercase()))
                } else if let Some(name) = text.strip_prefix("APP/TASK/") {
                    Ok(Self::Task(name.to_owned()))
                } else {
                    Err(format!("'{text}' is not a log source"))
                }
            }
        }
    }
}

impl Serialize for LogSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LogSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputStream {
    Out,
    Err,
}

/// One line of output, without its line feed. Bytes are kept as the app wrote them; lines longer than
/// [`LogLine::MAX_BYTES`] arrive as several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    pub app: AppId,
    pub source: LogSource,
    /// The instance's index, or the number of a one-off task within its app.
    pub index: u32,
    /// Nanoseconds since the Unix epoch; strictly increasing within one instance, so it serves as a cursor.
    pub time_ns: i64,
    pub stream: OutputStream,
    #[serde(with = "base64_bytes")]
    pub bytes: Vec<u8>,
}

impl LogLine {
    /// Where Diego's log streamer splits a message.
    pub const MAX_BYTES: usize = 61_440;
}

mod base64_bytes {
    use super::*;

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&base64::engine::general_purpose::STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        base64::engine::general_purpose::STANDARD
            .decode(text)
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_keep_cloud_foundrys_names() {
        for text in [
            "APP/PROC/WEB",
            "APP/TASK/Nightly/a b",
            "STG",
            "CELL",
            "RTR",
            "API",
        ] {
            assert_eq!(text.parse::<LogSource>().expect("known").to_string(), text);
        }
        assert!("APP".parse::<LogSource>().is_err());
    }

    #[test]
    fn any_bytes_survive_the_wire() {
        let line = LogLine {
            app: AppId::random(),
            source: LogSource::App("web".into()),
            index: 2,
            time_ns: -5,
            stream: OutputStream::Err,
            bytes: vec![0, 255, b'\r', 0xc3],
        };
        let json = serde_json::to_string(&line).expect("serialises");
        assert_eq!(
            serde_json::from_str::<LogLine>(&json).expect("parses"),
            line
        );
    }
}
