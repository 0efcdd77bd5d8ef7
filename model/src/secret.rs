//! Values that must not reach logs, error texts or argv.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A value whose `Debug` shows nothing. Reading it takes the word [`Secret::expose`], which is easy to search for.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret<T = String>(T);

impl<T> Secret<T> {
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    pub const fn expose(&self) -> &T {
        &self.0
    }

    pub fn into_exposed(self) -> T {
        self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl From<String> for Secret<String> {
    fn from(value: String) -> Self {
        Self(value)
    }
}

/// Environment variables in the order in which they are set. Values are secrets.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Env(Vec<(String, Secret)>);

impl Env {
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Sets `name`, replacing an earlier value.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let name = name.into();
        let value = Secret::new(value.into());
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some(entry) => entry.1 = value,
            None => self.0.push((name, value)),
        }
    }

    /// Sets `name` only where it has no value yet.
    pub fn set_default(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let name = name.into();
        if self.get(&name).is_none() {
            self.0.push((name, Secret::new(value.into())));
        }
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.expose().as_str())
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.expose().as_str()))
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Env {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let mut env = Self::new();
        for (name, value) in pairs {
            env.set(name, value);
        }
        env
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_names_but_no_values() {
        let env = Env::from_iter([("MONGODB_URI", "mongodb://user:hunter2@db/x")]);
        let shown = format!("{env:?}");
        assert!(
            shown.contains("MONGODB_URI") && !shown.contains("hunter2"),
            "{shown}"
        );
    }

    #[test]
    fn a_later_value_replaces_an_earlier_one_and_a_default_does_not() {
        let mut env = Env::from_iter([("A", "1"), ("A", "2")]);
        env.set_default("A", "3");
        env.set_default("B", "4");
        assert_eq!(env.iter().collect::<Vec<_>>(), [("A", "2"), ("B", "4")]);
    }
}
