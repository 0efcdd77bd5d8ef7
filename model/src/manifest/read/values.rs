//! Single values: of the kind that is expected, or an error that says what was.

use super::{JsonMap, Read, Reader};
use crate::limits::Megabytes;
use crate::manifest::error::{ManifestError, Position};
use crate::manifest::keys::{GONE, nearest};
use crate::manifest::node::{Key, Node, Scalar, Value, short};
use crate::manifest::{CheckType, Setting};

impl Reader<'_> {
    pub(super) fn megabytes(&self, node: &Node) -> Read<Megabytes> {
        let text = self.text(node, "a size such as 512M or 1G")?;
        let size: Megabytes = text.parse().map_err(|_| {
            self.error(
                node.position,
                format!(
                    "expected a size such as 512M or 1G, found '{}'",
                    short(&text)
                ),
            )
        })?;
        if size.0 == 0 {
            Err(self.error(node.position, "a size must be at least 1M"))
        } else {
            Ok(size)
        }
    }

    /// `-1`, or a number of bytes with an optional unit.
    pub(super) fn log_rate(&self, node: &Node) -> Read<i64> {
        let text = self.text(node, "a rate such as 16K, or -1 for no limit")?;
        let upper = text.trim().to_ascii_uppercase();
        let digits = upper.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let factor: Option<i64> = match &upper[digits.len()..] {
            "" | "B" => Some(1),
            "K" | "KB" => Some(1024),
            "M" | "MB" => Some(1024 * 1024),
            "G" | "GB" => Some(1024 * 1024 * 1024),
            _ => None,
        };
        let rate = digits
            .parse::<i64>()
            .ok()
            .zip(factor)
            .and_then(|(count, factor)| count.checked_mul(factor));
        rate.filter(|rate| *rate >= -1).ok_or_else(|| {
            self.error(
                node.position,
                format!(
                    "expected a rate such as 16K, or -1 for no limit, found '{}'",
                    short(&text)
                ),
            )
        })
    }

    pub(super) fn check_type(&self, node: &Node) -> Read<CheckType> {
        Ok(
            match self
                .one_of(node, &["port", "http", "process", "none"])?
                .as_str()
            {
                "port" => CheckType::Port,
                "http" => CheckType::Http,
                _ => CheckType::Process,
            },
        )
    }

    pub(super) fn one_of(&self, node: &Node, allowed: &[&str]) -> Read<String> {
        let list = allowed.join(", ");
        let text = self.text(node, &format!("one of {list}"))?;
        if allowed.contains(&text.as_str()) {
            return Ok(text);
        }
        Err(self.error(
            node.position,
            format!("expected one of {list}, found '{}'", short(&text)),
        ))
    }

    pub(super) fn number(&self, node: &Node, what: &str, least: u32) -> Read<u32> {
        let Value::Scalar(scalar) = &node.value else {
            return Err(self.expected(what, node));
        };
        match scalar.text.parse::<u32>() {
            Ok(number) if number >= least => Ok(number),
            Ok(_) => Err(self.error(
                node.position,
                format!("expected {what} of at least {least}"),
            )),
            Err(_) => Err(self.expected(what, node)),
        }
    }

    pub(super) fn bool(&self, node: &Node) -> Read<bool> {
        match &node.value {
            Value::Scalar(scalar) => scalar
                .as_bool()
                .ok_or_else(|| self.expected("true or false", node)),
            _ => Err(self.expected("true or false", node)),
        }
    }

    /// A text that must not be empty.
    pub(super) fn name(&self, node: &Node, what: &str) -> Read<String> {
        let text = self.text(node, what)?;
        if text.trim().is_empty() {
            Err(self.expected(what, node))
        } else {
            Ok(text)
        }
    }

    pub(super) fn text(&self, node: &Node, what: &str) -> Read<String> {
        match &node.value {
            Value::Scalar(scalar) if !scalar.is_null() => Ok(scalar.text.clone()),
            _ => Err(self.expected(what, node)),
        }
    }

    pub(super) fn setting<T>(
        &self,
        node: &Node,
        read: impl FnOnce(&Node) -> Read<T>,
    ) -> Read<Setting<T>> {
        Ok(self
            .optional(node, read)?
            .map_or(Setting::Reset, Setting::Set))
    }

    pub(super) fn optional<T>(
        &self,
        node: &Node,
        read: impl FnOnce(&Node) -> Read<T>,
    ) -> Read<Option<T>> {
        match &node.value {
            Value::Scalar(scalar) if scalar.is_null() => Ok(None),
            _ => read(node).map(Some),
        }
    }

    pub(super) fn list<T>(&self, node: &Node, read: impl Fn(&Node) -> Read<T>) -> Read<Vec<T>> {
        Ok(self
            .optional(node, |n| self.each(n, read))?
            .unwrap_or_default())
    }

    pub(super) fn each<T>(&self, node: &Node, read: impl Fn(&Node) -> Read<T>) -> Read<Vec<T>> {
        match &node.value {
            Value::List(items) => items.iter().map(read).collect(),
            _ => Err(self.expected("a list", node)),
        }
    }

    pub(super) fn map<'n>(&self, node: &'n Node) -> Read<&'n [(Key, Node)]> {
        match &node.value {
            Value::Map(entries) => Ok(entries),
            _ => Err(self.expected("a map of keys and values", node)),
        }
    }

    pub(super) fn json_map(&self, node: &Node) -> Read<JsonMap> {
        self.map(node)?;
        match json(node) {
            serde_json::Value::Object(map) => Ok(map),
            _ => Err(self.expected("a map of keys and values", node)),
        }
    }

    pub(super) fn required<T>(&self, value: Option<T>, node: &Node, key: &str) -> Read<T> {
        value.ok_or_else(|| self.error(node.position, format!("the key '{key}' is missing here")))
    }

    pub(super) fn unknown<'k>(
        &self,
        key: &Key,
        known: impl IntoIterator<Item = &'k str> + Clone,
    ) -> ManifestError {
        let shown = short(&key.text);
        if let Some((_, instead)) = GONE.iter().find(|(gone, _)| *gone == key.text) {
            let error = self.error(
                key.position,
                format!("the key '{shown}' is no longer known"),
            );
            return error.with_hint(*instead);
        }
        match nearest(&key.text, known.clone()) {
            Some(meant) => self.error(
                key.position,
                format!("unknown key '{shown}' — did you mean '{meant}'?"),
            ),
            None => {
                let mut known: Vec<_> = known.into_iter().collect();
                known.sort_unstable();
                let hint = format!("known here: {}", known.join(", "));
                self.error(key.position, format!("unknown key '{shown}'"))
                    .with_hint(hint)
            }
        }
    }

    pub(super) fn expected(&self, what: &str, node: &Node) -> ManifestError {
        let found = match &node.value {
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
            Value::Scalar(scalar) if scalar.is_null() => "nothing".to_owned(),
            Value::Scalar(scalar) => format!("'{}'", short(&scalar.text)),
        };
        self.error(node.position, format!("expected {what}, found {found}"))
    }

    pub(super) fn error(&self, at: Position, message: impl Into<String>) -> ManifestError {
        ManifestError::at(self.text, at, message)
    }
}

/// Plain scalars become what they mean in JSON.
pub(super) fn json(node: &Node) -> serde_json::Value {
    match &node.value {
        Value::List(items) => items.iter().map(json).collect(),
        Value::Map(entries) => entries
            .iter()
            .map(|(key, node)| (key.text.clone(), json(node)))
            .collect::<JsonMap>()
            .into(),
        Value::Scalar(scalar) => json_scalar(scalar),
    }
}

fn json_scalar(scalar: &Scalar) -> serde_json::Value {
    if scalar.is_null() {
        return serde_json::Value::Null;
    }
    if let Some(value) = scalar.as_bool() {
        return value.into();
    }
    match serde_json::from_str::<serde_json::Number>(&scalar.text) {
        Ok(number) if scalar.plain => number.into(),
        _ => scalar.text.clone().into(),
    }
}
