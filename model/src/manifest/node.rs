//! YAML text → a tree in which every value knows where it stands.
//!
//! Scalars keep their text and whether they were quoted, so that `"512"` and `512`, `"null"` and `null` stay apart and an
//! env value survives as written. Size, depth and what aliases expand to are bounded while the tree grows.

use std::collections::HashMap;

use serde_saphyr::granit_parser::{Event, Marker, Options, Parser, ScalarStyle};

use super::MAX_BYTES;
use super::error::{ManifestError, Position};

/// Lists and maps inside each other, after aliases and variables are replaced.
pub(super) const MAX_DEPTH: usize = 32;
/// Bytes of text and [`NODE_COST`] for each node, after aliases are expanded.
const MAX_COST: usize = 16 * 1024 * 1024;
pub(super) const NODE_COST: usize = 64;

#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) position: Position,
    pub(super) value: Value,
    /// Whether an anchor stands on this node or below it.
    pub(super) anchored: bool,
    cost: usize,
}

#[derive(Debug, Clone)]
pub(super) enum Value {
    Scalar(Scalar),
    List(Vec<Node>),
    /// In the order of the text; keys are unique.
    Map(Vec<(Key, Node)>),
}

impl Value {
    /// How many lists and maps stand inside each other, with this one; 0 for a scalar.
    pub(super) fn depth(&self) -> usize {
        let below = match self {
            Self::Scalar(_) => return 0,
            Self::List(items) => items.iter().map(|item| item.value.depth()).max(),
            Self::Map(entries) => entries.iter().map(|(_, node)| node.value.depth()).max(),
        };
        1 + below.unwrap_or(0)
    }
}

#[derive(Debug, Clone)]
pub(super) struct Key {
    pub(super) text: String,
    pub(super) position: Position,
}

#[derive(Debug, Clone)]
pub(super) struct Scalar {
    pub(super) text: String,
    /// Not quoted, so it may mean a number, a truth value or null.
    pub(super) plain: bool,
}

impl Scalar {
    pub(super) fn is_null(&self) -> bool {
        self.plain && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }

    /// The truth values of YAML 1.2, and `yes` and the like, which Cloud Foundry's parser takes too.
    pub(super) fn as_bool(&self) -> Option<bool> {
        match self.text.as_str() {
            _ if !self.plain => None,
            "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Some(true),
            "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Some(false),
            _ => None,
        }
    }
}

pub(super) fn position(mark: Marker) -> Position {
    Position {
        line: mark.line().max(1),
        column: mark.col() + 1,
    }
}

/// The one document in `text`.
pub(super) fn parse(text: &str) -> Result<Node, ManifestError> {
    let start = Position { line: 1, column: 1 };
    if text.len() > MAX_BYTES {
        let message = format!(
            "the manifest has {} bytes; at most {MAX_BYTES} are read",
            text.len()
        );
        return Err(ManifestError::at("", start, message));
    }
    let mut options = Options::default();
    options.set_emit_comments(false);
    let mut tree = Tree {
        text,
        open: Vec::new(),
        anchors: HashMap::new(),
        root: None,
        spent: 0,
    };
    let mut parser = Parser::new_from_str_with_options(text, options);
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| {
            let message = format!("this is not valid YAML: {}", error.kind());
            ManifestError::at(text, position(*error.marker()), message)
        })?;
        if matches!(event, Event::StreamEnd) {
            break;
        }
        tree.take(event, position(span.start))?;
    }
    tree.root.ok_or_else(|| {
        ManifestError::at(text, start, "the manifest is empty")
            .with_hint("applications: [{name: my-app}]")
    })
}

struct Tree<'a> {
    text: &'a str,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    root: Option<Node>,
    spent: usize,
}

/// A list or map whose end has not come yet.
struct Open {
    node: Node,
    anchor: usize,
    key: Option<Key>,
    /// What `<<` brings; own keys win over it.
    merged: Vec<(Key, Node)>,
}

impl Tree<'_> {
    fn error(&self, at: Position, message: impl Into<String>) -> ManifestError {
        ManifestError::at(self.text, at, message)
    }

    fn take(&mut self, event: Event<'_>, at: Position) -> Result<(), ManifestError> {
        match event {
            Event::DocumentStart(..) if self.root.is_some() => Err(self.error(
                at,
                "a manifest is one YAML document; here begins a second one",
            )),
            Event::Scalar(text, style, anchor, tag) => {
                let tagged_text = tag.is_some_and(|tag| tag.is_yaml_core_schema_tag("str"));
                let plain = style == ScalarStyle::Plain && !tagged_text;
                let cost = NODE_COST + text.len();
                let value = Value::Scalar(Scalar {
                    text: text.into_owned(),
                    plain,
                });
                let node = Node {
                    position: at,
                    value,
                    anchored: anchor != 0,
                    cost,
                };
                self.spend(cost, at)?;
                self.place(node, anchor)
            }
            Event::SequenceStart(_, anchor, _) => self.begin(Value::List(Vec::new()), anchor, at),
            Event::MappingStart(_, anchor, _) => self.begin(Value::Map(Vec::new()), anchor, at),
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(id) => {
                let Some(node) = self.anchors.get(&id) else {
                    return Err(self.error(at, "this alias stands inside what it refers to"));
                };
                let cost = node.cost;
                self.spend(cost, at)?;
                let mut node = self.anchors[&id].clone();
                if self.open.len() + node.value.depth() > MAX_DEPTH {
                    return Err(too_deep(self.text, at));
                }
                node.position = at;
                self.place(node, 0)
            }
            _ => Ok(()),
        }
    }

    fn spend(&mut self, cost: usize, at: Position) -> Result<(), ManifestError> {
        self.spent = self.spent.saturating_add(cost);
        if self.spent > MAX_COST {
            return Err(self.error(
                at,
                "the manifest grows too large when its aliases are expanded",
            ));
        }
        Ok(())
    }

    fn begin(&mut self, value: Value, anchor: usize, at: Position) -> Result<(), ManifestError> {
        if self.open.len() >= MAX_DEPTH {
            return Err(too_deep(self.text, at));
        }
        self.spend(NODE_COST, at)?;
        let node = Node {
            position: at,
            value,
            anchored: anchor != 0,
            cost: NODE_COST,
        };
        self.open.push(Open {
            node,
            anchor,
            key: None,
            merged: Vec::new(),
        });
        Ok(())
    }

    fn end(&mut self) -> Result<(), ManifestError> {
        let Some(mut done) = self.open.pop() else {
            return Ok(());
        };
        if let Value::Map(entries) = &mut done.node.value {
            for (key, node) in done.merged {
                if !entries.iter().any(|(known, _)| known.text == key.text) {
                    entries.push((key, node));
                }
            }
        }
        self.place(done.node, done.anchor)
    }

    /// Puts a finished node where it belongs.
    fn place(&mut self, node: Node, anchor: usize) -> Result<(), ManifestError> {
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
            self.spend(node.cost, node.position)?;
        }
        let Some(mut parent) = self.open.pop() else {
            self.root = Some(node);
            return Ok(());
        };
        let result = self.put(&mut parent, node);
        self.open.push(parent);
        result
    }

    fn put(&self, parent: &mut Open, node: Node) -> Result<(), ManifestError> {
        let at = node.position;
        parent.node.cost = parent.node.cost.saturating_add(node.cost);
        parent.node.anchored |= node.anchored;
        let entries = match &mut parent.node.value {
            Value::List(items) => {
                items.push(node);
                return Ok(());
            }
            Value::Map(entries) => entries,
            Value::Scalar(_) => return Err(self.error(at, "a value stands where none can be")),
        };
        let Some(key) = parent.key.take() else {
            let Value::Scalar(Scalar { text, .. }) = node.value else {
                return Err(self.error(at, "a key must be a text, not a list or map"));
            };
            parent.key = Some(Key { text, position: at });
            return Ok(());
        };
        if key.text == "<<" {
            return self.merge(&mut parent.merged, node);
        }
        if entries.iter().any(|(known, _)| known.text == key.text) {
            return Err(self.error(
                key.position,
                format!("the key '{}' stands here twice", short(&key.text)),
            ));
        }
        entries.push((key, node));
        Ok(())
    }

    fn merge(&self, merged: &mut Vec<(Key, Node)>, node: Node) -> Result<(), ManifestError> {
        let at = node.position;
        match node.value {
            Value::Map(entries) => {
                for (key, node) in entries {
                    if !merged.iter().any(|(known, _)| known.text == key.text) {
                        merged.push((key, node));
                    }
                }
                Ok(())
            }
            Value::List(items) => {
                for item in items {
                    if !matches!(item.value, Value::Map(_)) {
                        return Err(self.error(at, "'<<' takes a map or a list of maps"));
                    }
                    self.merge(merged, item)?;
                }
                Ok(())
            }
            Value::Scalar(_) => Err(self.error(at, "'<<' takes a map or a list of maps")),
        }
    }
}

pub(super) fn too_deep(text: &str, at: Position) -> ManifestError {
    let message = format!("more than {MAX_DEPTH} levels inside each other");
    ManifestError::at(text, at, message)
}

/// At most 40 characters of a text from outside, for a message.
pub(super) fn short(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(40)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.chars().nth(40).is_some() {
        shown.push('…');
    }
    shown
}
