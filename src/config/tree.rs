//! One tree with places from the parser's events: aliases and `<<` are resolved, expansion is bounded.
//!
//! Nodes are shared, not copied: an alias costs a pointer, but all that it stands for is counted, since
//! the decoder will walk it. Depth is bounded, so dropping and walking a tree may recurse.

use super::merge;
use super::text::shown;
use crate::limits;
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Tag};
use std::borrow::Cow;
use std::collections::HashMap;
use std::rc::Rc;

/// A place in a file; line and column count from 1, a column is one character.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark {
    pub line: usize,
    pub column: usize,
}

/// What is wrong with the text itself.
#[derive(Debug)]
pub(super) struct Fault {
    pub mark: Mark,
    pub message: String,
    pub hint: Option<String>,
}

/// A node and what it weighs with all beneath it.
#[derive(Debug)]
pub(super) struct Node {
    pub mark: Mark,
    pub content: Content,
    /// Nodes, this one included.
    pub nodes: usize,
    /// Bytes of scalars.
    pub bytes: usize,
    /// Levels, 1 for a scalar.
    pub levels: usize,
}

#[derive(Debug)]
pub(super) enum Content {
    Scalar(Scalar),
    List(Vec<Rc<Node>>),
    Map(Vec<Pair>),
}

/// A scalar as written, unescaped. `plain` ones are typed by the core schema, others are strings.
#[derive(Clone, Debug)]
pub(super) struct Scalar {
    pub text: String,
    pub plain: bool,
}

/// An entry of a mapping.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub key: Rc<Node>,
    pub value: Rc<Node>,
    /// 0 if written here; greater if merged by `<<`. A lower rank hides the same key of a higher one;
    /// the same key twice in one rank is a mistake.
    pub rank: usize,
}

impl Pair {
    /// The key's text. Keys that are no scalars do not come this far.
    pub fn name(&self) -> &str {
        match &self.key.content {
            Content::Scalar(scalar) => &scalar.text,
            Content::List(_) | Content::Map(_) => "",
        }
    }
}

impl Node {
    pub fn new(mark: Mark, content: Content) -> Rc<Node> {
        let mut node = Node { mark, content, nodes: 1, bytes: 0, levels: 1 };
        let mut add = |below: &Node| {
            node.nodes = node.nodes.saturating_add(below.nodes);
            node.bytes = node.bytes.saturating_add(below.bytes);
            node.levels = node.levels.max(below.levels + 1);
        };
        match &node.content {
            Content::Scalar(scalar) => node.bytes = scalar.text.len(),
            Content::List(items) => items.iter().for_each(|item| add(item)),
            Content::Map(pairs) => pairs.iter().for_each(|pair| {
                add(&pair.key);
                add(&pair.value);
            }),
        }
        Rc::new(node)
    }
}

/// What became of a text.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub root: Option<Rc<Node>>,
    pub faults: Vec<Fault>,
    /// The tree ends where the text was no longer YAML: what is missing in it may stand behind.
    pub truncated: bool,
}

/// Parses one document. Both may come: a tree of what stands before a syntax error, and the error.
pub(super) fn parse(text: &str) -> Parsed {
    let mut builder = Builder::default();
    let mut parser = Parser::new_from_str(text);
    // A text that breaks off without a line end has a line more to the parser than to its reader.
    let end = end_of(text);
    while let Some(event) = parser.next_event() {
        let done = match event {
            Ok((event, span)) => builder.take(event, mark_of(span.start).min(end)),
            Err(error) => {
                builder.syntax_error(&error, mark_of(*error.marker()).min(end));
                builder.close_all()
            }
        };
        match done {
            Ok(()) => {}
            Err(Stop::Enough) => break,
            Err(Stop::Refused) => return Parsed { faults: builder.faults, ..Parsed::default() },
        }
    }
    Parsed { root: builder.root, faults: builder.faults, truncated: builder.truncated }
}

/// Why the events are left.
enum Stop {
    /// What was read so far is all that counts.
    Enough,
    /// Nothing of it may be used.
    Refused,
}

/// Turns events into nodes, with a stack of its own.
#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    root: Option<Rc<Node>>,
    anchors: HashMap<usize, Rc<Node>>,
    faults: Vec<Fault>,
    documents: usize,
    truncated: bool,
    /// Nodes and bytes so far, aliases and merges counted as what they stand for.
    nodes: usize,
    bytes: usize,
}

/// A collection whose end is still to come.
struct Open {
    mark: Mark,
    anchor: usize,
    is_map: bool,
    /// The items; of a mapping, keys and values in turn.
    items: Vec<Rc<Node>>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, mark: Mark) -> Result<(), Stop> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) => self.start_document(mark),
            Event::Alias(anchor) => self.alias(anchor, mark),
            Event::Scalar(text, style, anchor, tag) => {
                let plain = self.is_plain(style, tag.as_ref(), mark);
                self.scalar(Scalar { text: text.into_owned(), plain }, anchor, mark)
            }
            Event::SequenceStart(anchor, tag) => self.start(anchor, tag.as_ref(), false, mark),
            Event::MappingStart(anchor, tag) => self.start(anchor, tag.as_ref(), true, mark),
            Event::SequenceEnd | Event::MappingEnd => self.end(),
        }
    }

    fn start_document(&mut self, mark: Mark) -> Result<(), Stop> {
        self.documents += 1;
        if self.documents == 1 {
            return Ok(());
        }
        self.fault(mark, "a second document starts here, one file is one document");
        self.hint("take the line `---` away");
        Err(Stop::Enough)
    }

    fn scalar(&mut self, scalar: Scalar, anchor: usize, mark: Mark) -> Result<(), Stop> {
        self.spend(1, scalar.text.len(), mark)?;
        // An absent value has the place of its key: the parser's is where the next token starts.
        let absent = scalar.plain && scalar.text.is_empty();
        let mark = match self.open.last() {
            Some(open) if absent && open.wants_value() => open.items.last().map_or(mark, |key| key.mark),
            _ => mark,
        };
        let node = Node::new(mark, Content::Scalar(scalar));
        self.attach(node, anchor);
        Ok(())
    }

    fn start(
        &mut self,
        anchor: usize,
        tag: Option<&Cow<'_, Tag>>,
        is_map: bool,
        mark: Mark,
    ) -> Result<(), Stop> {
        self.spend(1, 0, mark)?;
        if let Some(tag) = tag {
            let wanted = if is_map { "map" } else { "seq" };
            if !(tag.is_yaml_core_schema() && tag.suffix == wanted) {
                self.unknown_tag(tag, mark);
            }
        }
        self.check_depth(1, mark)?;
        self.open.push(Open { mark, anchor, is_map, items: Vec::new() });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Stop> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let node = match open.is_map {
            true => self.map(open.mark, &open.items)?,
            false => Node::new(open.mark, Content::List(open.items)),
        };
        self.attach(node, open.anchor);
        Ok(())
    }

    /// Makes a mapping of keys and values in turn; a last key without a value (truncated) is dropped.
    fn map(&mut self, mark: Mark, items: &[Rc<Node>]) -> Result<Rc<Node>, Stop> {
        let mut pairs = Vec::with_capacity(items.len() / 2);
        for item in items.chunks_exact(2) {
            let (key, value) = (Rc::clone(&item[0]), Rc::clone(&item[1]));
            match &key.content {
                Content::Scalar(_) => pairs.push(Pair { key, value, rank: 0 }),
                Content::List(_) | Content::Map(_) => self.fault(key.mark, "expected a name as the key"),
            }
        }
        let pairs = merge::resolve(pairs, &mut self.faults, limits::CONFIG_NODES);
        // What was written is already paid for.
        for merged in pairs.iter().filter(|pair| pair.rank > 0) {
            self.spend(merged.key.nodes + merged.value.nodes, merged.key.bytes + merged.value.bytes, mark)?;
            self.check_depth(merged.value.levels + 1, mark)?;
        }
        Ok(Node::new(mark, Content::Map(pairs)))
    }

    fn alias(&mut self, anchor: usize, mark: Mark) -> Result<(), Stop> {
        let Some(node) = self.anchors.get(&anchor).map(Rc::clone) else {
            self.fault(mark, "this alias stands within what it names");
            return Err(Stop::Refused);
        };
        self.spend(node.nodes, node.bytes, mark)?;
        self.check_depth(node.levels, mark)?;
        self.attach(node, 0);
        Ok(())
    }

    fn attach(&mut self, node: Rc<Node>, anchor: usize) {
        if anchor > 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        match self.open.last_mut() {
            Some(open) => open.items.push(node),
            None => self.root = Some(node),
        }
    }

    /// Ends all that is open after a syntax error.
    fn close_all(&mut self) -> Result<(), Stop> {
        self.truncated = true;
        while !self.open.is_empty() {
            self.end()?;
        }
        Err(Stop::Enough)
    }

    fn spend(&mut self, nodes: usize, bytes: usize, mark: Mark) -> Result<(), Stop> {
        self.nodes = self.nodes.saturating_add(nodes);
        self.bytes = self.bytes.saturating_add(bytes);
        if self.nodes > limits::CONFIG_NODES {
            let most = limits::CONFIG_NODES;
            self.fault(mark, format!("more than {most} values, aliases taken for what they stand for"));
            return Err(Stop::Refused);
        }
        if self.bytes as u64 > limits::CONFIG_BYTES {
            let most = limits::CONFIG_BYTES;
            self.fault(mark, format!("more than {most} bytes, aliases taken for what they stand for"));
            return Err(Stop::Refused);
        }
        Ok(())
    }

    fn check_depth(&mut self, levels: usize, mark: Mark) -> Result<(), Stop> {
        if self.open.len() + levels <= limits::CONFIG_DEPTH {
            return Ok(());
        }
        self.fault(mark, format!("nested more than {} levels deep", limits::CONFIG_DEPTH));
        Err(Stop::Refused)
    }

    /// Whether a scalar is typed by the core schema.
    fn is_plain(&mut self, style: ScalarStyle, tag: Option<&Cow<'_, Tag>>, mark: Mark) -> bool {
        let Some(tag) = tag else { return style == ScalarStyle::Plain };
        let is_string =
            tag.handle.is_empty() && tag.suffix == "!" || tag.handle == "!" && tag.suffix.is_empty();
        match tag.suffix.as_str() {
            "str" if tag.is_yaml_core_schema() => false,
            "int" | "bool" | "float" | "null" if tag.is_yaml_core_schema() => true,
            _ if is_string => false,
            _ => {
                self.unknown_tag(tag, mark);
                style == ScalarStyle::Plain
            }
        }
    }

    fn unknown_tag(&mut self, tag: &Tag, mark: Mark) {
        let name = shown(&format!("{}{}", tag.handle, tag.suffix));
        self.fault(mark, format!("the tag {name} is not known here"));
    }

    fn syntax_error(&mut self, error: &ScanError, mark: Mark) {
        self.fault(mark, format!("not YAML: {}", error.info()));
        if error.info().contains('\t') || error.info().contains("tab") {
            self.hint("indent with spaces");
        }
    }

    fn fault(&mut self, mark: Mark, message: impl Into<String>) {
        if self.faults.len() <= limits::CONFIG_PROBLEMS {
            self.faults.push(Fault { mark, message: message.into(), hint: None });
        }
    }

    /// Adds a hint to the last fault.
    fn hint(&mut self, hint: &str) {
        if let Some(fault) = self.faults.last_mut() {
            fault.hint = Some(hint.to_string());
        }
    }
}

impl Open {
    /// A key stands last.
    fn wants_value(&self) -> bool {
        self.is_map && self.items.len() % 2 == 1
    }
}

fn mark_of(at: Marker) -> Mark {
    Mark { line: at.line().max(1), column: at.col() + 1 }
}

/// The place behind the last character; `\r\n`, `\n` and `\r` end lines (YAML 1.2 §5.4).
fn end_of(text: &str) -> Mark {
    let breaks = text.matches(['\r', '\n']).count() - text.matches("\r\n").count();
    let last = text.rsplit(['\r', '\n']).next().unwrap_or_default();
    Mark { line: breaks + 1, column: last.chars().count() + 1 }
}
