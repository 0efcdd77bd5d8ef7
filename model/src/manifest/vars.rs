//! `((name))` in a manifest, replaced by values from `--var` and vars files.

use std::collections::BTreeMap;

use super::error::{ManifestError, Position};
use super::node::{self, Key, MAX_DEPTH, NODE_COST, Node, Scalar, Value, short};

/// Values for `((name))`. One given with [`Vars::set`] wins over one from a file, a later file over an earlier one.
#[derive(Clone, Default)]
pub struct Vars {
    given: BTreeMap<String, String>,
    from_files: BTreeMap<String, Node>,
}

/// Values may be secrets; only names are shown.
impl std::fmt::Debug for Vars {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set()
            .entries(self.given.keys().chain(self.from_files.keys()))
            .finish()
    }
}

impl Vars {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.given.insert(name.into(), value.into());
    }

    /// Adds what a vars file holds: a YAML map from names to values of any kind.
    pub fn add_file(&mut self, text: &str) -> Result<(), ManifestError> {
        let root = node::parse(text)?;
        let at = root.position;
        let Value::Map(entries) = root.value else {
            return Err(ManifestError::at(
                text,
                at,
                "a vars file is a map from names to values",
            ));
        };
        self.from_files
            .extend(entries.into_iter().map(|(key, node)| (key.text, node)));
        Ok(())
    }

    /// The value of `name`; `a.b` looks for `b` in the map `a` where no variable has the whole name.
    fn find(&self, name: &str) -> Option<Value> {
        if let Some(text) = self.given.get(name) {
            return Some(Value::Scalar(Scalar {
                text: text.clone(),
                plain: !text.is_empty() && !looks_null(text),
            }));
        }
        if let Some(node) = self.from_files.get(name) {
            return Some(node.value.clone());
        }
        let mut parts = name.split('.');
        let mut node = self.from_files.get(parts.next()?)?;
        for part in parts {
            let Value::Map(entries) = &node.value else {
                return None;
            };
            node = &entries.iter().find(|(key, _)| key.text == part)?.1;
        }
        Some(node.value.clone())
    }
}

/// A value typed on a command line is a text; it never becomes null by accident.
fn looks_null(text: &str) -> bool {
    matches!(text, "~" | "null" | "Null" | "NULL")
}

/// Bytes that all substituted values together may have.
const MAX_SUBSTITUTED: usize = 4 * 1024 * 1024;

pub(super) fn substitute(root: &mut Node, vars: &Vars, text: &str) -> Result<(), ManifestError> {
    Substitution {
        vars,
        text,
        spent: 0,
    }
    .walk(root, 0)
}

struct Substitution<'a> {
    vars: &'a Vars,
    text: &'a str,
    spent: usize,
}

impl Substitution<'_> {
    /// Fills in `node`, which stands inside `depth` lists and maps.
    fn walk(&mut self, node: &mut Node, depth: usize) -> Result<(), ManifestError> {
        let at = node.position;
        match &mut node.value {
            Value::List(items) => {
                let mut items = items.iter_mut();
                items.try_for_each(|item| self.walk(item, depth + 1))
            }
            Value::Map(entries) => {
                for index in 0..entries.len() {
                    let key = &entries[index].0;
                    if let Some(text) = self.fill(&key.text, key.position)? {
                        self.check_key(&text, key.position, entries)?;
                        entries[index].0.text = text;
                    }
                    self.walk(&mut entries[index].1, depth + 1)?;
                }
                Ok(())
            }
            Value::Scalar(scalar) => {
                if let Some(name) = whole(&scalar.text) {
                    let mut value = self.value(name, at)?;
                    self.spend(size(&value), at)?;
                    if depth + value.depth() > MAX_DEPTH {
                        return Err(node::too_deep(self.text, at));
                    }
                    stand_at(&mut value, at);
                    node.value = value;
                } else if let Some(text) = self.fill(&scalar.text, at)? {
                    scalar.text = text;
                }
                Ok(())
            }
        }
    }

    /// What the parser asks of a key, of one that only now has its text.
    fn check_key(
        &self,
        text: &str,
        at: Position,
        entries: &[(Key, Node)],
    ) -> Result<(), ManifestError> {
        let message = if text == "<<" {
            "a key must not become '<<' by a variable".to_owned()
        } else if entries.iter().any(|(known, _)| known.text == text) {
            format!("by a variable the key '{}' stands here twice", short(text))
        } else {
            return Ok(());
        };
        Err(ManifestError::at(self.text, at, message))
    }

    fn value(&self, name: &str, at: Position) -> Result<Value, ManifestError> {
        self.vars.find(name).ok_or_else(|| {
            let message = format!("the variable '{}' has no value", short(name));
            let hint = format!(
                "--var {}=VALUE, or a line in the file of --vars-file",
                short(name)
            );
            ManifestError::at(self.text, at, message).with_hint(hint)
        })
    }

    fn spend(&mut self, bytes: usize, at: Position) -> Result<(), ManifestError> {
        self.spent = self.spent.saturating_add(bytes);
        if self.spent > MAX_SUBSTITUTED {
            return Err(ManifestError::at(
                self.text,
                at,
                "the values of the variables are too large together",
            ));
        }
        Ok(())
    }

    /// The text with every `((name))` in it replaced, or none if it has none.
    fn fill(&mut self, text: &str, at: Position) -> Result<Option<String>, ManifestError> {
        let mut filled = String::new();
        let mut rest = text;
        let mut found = false;
        while let Some(start) = rest.find("((") {
            let after = &rest[start + 2..];
            let end = after.find("))").filter(|end| is_name(&after[..*end]));
            let Some(end) = end else {
                filled.push_str(&rest[..start + 1]);
                rest = &rest[start + 1..];
                continue;
            };
            let name = &after[..end];
            let Value::Scalar(value) = self.value(name, at)? else {
                let message = format!(
                    "the variable '{}' is a list or map; it cannot stand inside a text",
                    short(name)
                );
                return Err(ManifestError::at(self.text, at, message));
            };
            self.spend(value.text.len() + start, at)?;
            filled.push_str(&rest[..start]);
            filled.push_str(&value.text);
            rest = &after[end + 2..];
            found = true;
        }
        filled.push_str(rest);
        Ok(found.then_some(filled))
    }
}

fn whole(text: &str) -> Option<&str> {
    text.strip_prefix("((")?
        .strip_suffix("))")
        .filter(|name| is_name(name))
}

/// What may stand between the parentheses; anything else, such as shell arithmetic, stays as it is.
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '/'))
}

/// Counted as the parser does, since it reads the result again.
fn size(value: &Value) -> usize {
    NODE_COST
        + match value {
            Value::Scalar(scalar) => scalar.text.len(),
            Value::List(items) => items.iter().map(|item| size(&item.value)).sum(),
            Value::Map(entries) => entries
                .iter()
                .map(|(key, node)| NODE_COST + key.text.len() + size(&node.value))
                .sum(),
        }
}

/// Gives all of `value` the place of the variable: a position in the vars file means nothing in the manifest.
fn stand_at(value: &mut Value, at: Position) {
    let node_at = |node: &mut Node| {
        node.position = at;
        stand_at(&mut node.value, at);
    };
    match value {
        Value::Scalar(_) => {}
        Value::List(items) => items.iter_mut().for_each(node_at),
        Value::Map(entries) => entries.iter_mut().for_each(|(key, node)| {
            key.position = at;
            node_at(node);
        }),
    }
}
