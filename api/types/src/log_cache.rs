//! Log-cache's read API. Its readers treat an unknown field as an error, so nothing may be added here.

use std::collections::BTreeMap;

use base64::Engine as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Answer to `GET /api/v1/read/SOURCE`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ReadResponse {
    #[serde(default)]
    pub envelopes: EnvelopeBatch,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EnvelopeBatch {
    #[serde(default)]
    pub batch: Vec<Envelope>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Envelope {
    /// Nanoseconds since the Unix epoch; a text on the wire, as protobuf's JSON has it.
    #[serde(with = "int64_text", default)]
    pub timestamp: i64,
    /// The app's GUID.
    #[serde(default)]
    pub source_id: String,
    /// The instance's index.
    #[serde(default)]
    pub instance_id: String,
    #[serde(default)]
    pub deprecated_tags: BTreeMap<String, serde_json::Value>,
    /// `source_type` is [`model::log::LogSource`] as text.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<Log>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Log {
    #[serde(with = "base64_text", default)]
    pub payload: Vec<u8>,
    #[serde(rename = "type", default)]
    pub kind: LogKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum LogKind {
    #[default]
    Out,
    Err,
}

/// Answer to `GET /api/v1/info`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LogCacheInfo {
    /// Strict semver.
    pub version: String,
    #[serde(default)]
    pub vm_uptime: String,
}

mod int64_text {
    use super::*;

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Text(String),
        Number(i64),
    }

    pub(super) fn serialize<S: Serializer>(value: &i64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
        match Either::deserialize(deserializer)? {
            Either::Number(value) => Ok(value),
            Either::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

mod base64_text {
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
    fn an_envelope_has_the_fields_of_the_protobuf_and_no_other() {
        let tags = BTreeMap::from([("source_type".to_owned(), "STG".to_owned())]);
        let log = Some(Log {
            payload: b"hi\xff".to_vec(),
            kind: LogKind::Err,
        });
        let envelope = Envelope {
            timestamp: -6_795_364_578_871_345_152,
            source_id: "app".into(),
            instance_id: "0".into(),
            tags,
            log,
            ..Envelope::default()
        };
        let json = serde_json::to_string(&envelope).expect("serialises");
        insta::assert_snapshot!(json, @r#"{"timestamp":"-6795364578871345152","source_id":"app","instance_id":"0","deprecated_tags":{},"tags":{"source_type":"STG"},"log":{"payload":"aGn/","type":"ERR"}}"#);
        assert_eq!(
            serde_json::from_str::<Envelope>(&json).expect("parses"),
            envelope
        );
    }

    #[test]
    fn a_numeric_timestamp_is_read_too() {
        let envelope: Envelope = serde_json::from_str(r#"{"timestamp": 5}"#).expect("parses");
        assert_eq!(envelope.timestamp, 5);
    }
}
