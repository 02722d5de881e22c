//! From a tree to values, by the schema table: types, unknown and duplicate keys, defaults.
//!
//! The functions call each other as deep as the table is, which no input can change.

use super::expand::{Env, Wrong, expand};
use super::leaf::{self, LeafValue};
use super::names::{self, Name};
use super::schema::{self, Key, Kind, Leaf, Names};
use super::text::{bare, shown};
use super::tree::{self, Content, Mark, Node, Pair, Scalar};
use crate::error::{Place, Problem};
use crate::limits;
use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;

/// A decoded value and where it was said.
#[derive(Debug)]
pub(super) struct Located {
    pub place: Place,
    pub value: Value,
}

#[derive(Debug)]
pub(super) enum Value {
    Section(Section),
    Named(Vec<(Name, Located)>),
    List(Vec<Located>),
    Leaf(LeafValue),
}

/// The values of a section; what nobody said is there if it has a default.
#[derive(Debug, Default)]
pub(super) struct Section(Vec<(&'static str, Located)>);

impl Section {
    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&Located> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// The section `name`; empty if it is none.
    pub fn section(&self, name: &str) -> &Section {
        static EMPTY: Section = Section(Vec::new());
        match self.get(name) {
            Some(Located { value: Value::Section(section), .. }) => section,
            _ => &EMPTY,
        }
    }

    /// The leaf `name`.
    pub fn leaf(&self, name: &str) -> Option<&LeafValue> {
        match &self.get(name)?.value {
            Value::Leaf(leaf) => Some(leaf),
            _ => None,
        }
    }

    /// The items of the list `name`.
    pub fn list(&self, name: &str) -> &[Located] {
        match self.get(name) {
            Some(Located { value: Value::List(items), .. }) => items,
            _ => &[],
        }
    }

    /// The entries of `name`.
    pub fn named(&self, name: &str) -> &[(Name, Located)] {
        match self.get(name) {
            Some(Located { value: Value::Named(entries), .. }) => entries,
            _ => &[],
        }
    }
}

/// Decodes one file (or, without a path, the defaults) and gathers its problems.
pub(super) struct Decoder<'a> {
    path: Option<&'a Path>,
    env: Env<'a>,
    pub problems: Vec<Problem>,
    /// Problems beyond `limits::CONFIG_PROBLEMS`.
    pub untold: usize,
    /// The file was read in part: what is missing is no problem of its own.
    pub truncated: bool,
    /// Bytes that variables may still add to values.
    room: usize,
    /// `$` in values is a dollar.
    literal: bool,
}

impl<'a> Decoder<'a> {
    pub fn new(path: Option<&'a Path>, env: Env<'a>) -> Self {
        let room = limits::CONFIG_BYTES as usize;
        Decoder { path, env, problems: Vec::new(), untold: 0, truncated: false, room, literal: false }
    }

    /// For a label: it has no line, and the environment is not its own.
    pub fn of_label() -> Decoder<'static> {
        Decoder { literal: true, ..Decoder::new(Some(Path::new("")), &|_| None) }
    }

    /// Parses and decodes `text`. A file that is empty says nothing.
    pub fn file(&mut self, text: &str, kind: &'static Kind) -> Value {
        let parsed = tree::parse(text);
        self.truncated = parsed.truncated;
        for fault in parsed.faults {
            let problem =
                Problem { hint: fault.hint, ..Problem::new(self.place(fault.mark, ""), fault.message) };
            self.push(problem);
        }
        let value = parsed.root.and_then(|root| self.value(&root, kind, "")).map(|located| located.value);
        value.unwrap_or_else(|| match kind {
            Kind::Section(keys) => Value::Section(self.pairs(&[], keys, "")),
            _ => Value::Named(Vec::new()),
        })
    }

    /// The place of a node of this file.
    fn place(&self, mark: Mark, at: &str) -> Place {
        match self.path {
            Some(path) => Place::File {
                path: path.to_path_buf(),
                line: mark.line,
                column: mark.column,
                key: at.to_string(),
            },
            None => Place::Default,
        }
    }

    /// Adds a problem, or counts it if there are too many.
    pub fn push(&mut self, problem: Problem) {
        match self.is_full() {
            true => self.untold += 1,
            false => self.problems.push(problem),
        }
    }

    fn is_full(&self) -> bool {
        self.problems.len() >= limits::CONFIG_PROBLEMS
    }

    fn wrong(&mut self, mark: Mark, at: &str, (message, hint): Wrong) {
        let problem = Problem { hint, ..Problem::new(self.place(mark, at), message) };
        self.push(problem);
    }

    fn wrong_type(&mut self, node: &Node, at: &str, expected: &str) {
        let got = match &node.content {
            Content::Scalar(_) if at.split('.').any(|key| schema::same_name(key, "basic_auth")) => {
                "a text".into()
            }
            Content::Scalar(scalar) => leaf::describe(&scalar.text, scalar.plain),
            Content::List(_) => "a list".into(),
            Content::Map(_) => "a mapping".into(),
        };
        self.wrong(node.mark, at, (format!("expected {expected}, got {got}"), None));
    }

    /// Decodes `node` as `kind`; none if it is wrong (said) or says nothing.
    fn value(&mut self, node: &Node, kind: &'static Kind, at: &str) -> Option<Located> {
        let value = match (kind, &node.content) {
            (Kind::NotYet, _) => return None,
            (Kind::Section(keys) | Kind::Optional(keys), Content::Map(pairs)) => {
                Value::Section(self.pairs(pairs, keys, at))
            }
            (Kind::Section(keys) | Kind::Optional(keys), Content::Scalar(scalar)) if says_nothing(scalar) => {
                Value::Section(self.pairs(&[], keys, at))
            }
            (Kind::Named { names, value, .. }, Content::Map(pairs)) => {
                Value::Named(self.named(pairs, *names, value, at))
            }
            (Kind::Short(keys), _) => Value::Section(self.short(node, keys, at)?),
            (_, Content::Scalar(scalar)) if says_nothing(scalar) => return None,
            (Kind::Leaf(leaf), _) => Value::Leaf(self.leaf(node, *leaf, at)?),
            (Kind::List(leaf) | Kind::OneOrList(leaf), Content::List(items)) => {
                Value::List(self.list(items, *leaf, at))
            }
            (Kind::OneOrList(leaf), Content::Scalar(_)) => {
                let value = Value::Leaf(self.leaf(node, *leaf, at)?);
                Value::List(vec![Located { place: self.place(node.mark, at), value }])
            }
            (Kind::List(leaf) | Kind::OneOrList(leaf), _) => {
                self.wrong_type(node, at, &format!("a list, each item {}", leaf::expected(*leaf)));
                return None;
            }
            (Kind::Each(keys), Content::List(items)) => Value::List(self.each(items, keys, at)),
            (Kind::Uses(keys), Content::List(items)) => Value::Section(self.uses(items, keys, at)),
            (Kind::Each(_) | Kind::Uses(_), _) => {
                self.wrong_type(node, at, "a list of mappings");
                return None;
            }
            (Kind::Section(_) | Kind::Optional(_) | Kind::Named { .. }, _) => {
                self.wrong_type(node, at, "a mapping");
                return None;
            }
        };
        Some(Located { place: self.place(node.mark, at), value })
    }

    /// A mapping of known keys.
    pub fn pairs(&mut self, pairs: &[Pair], keys: &'static [Key], at: &str) -> Section {
        let mut section = Section::default();
        let mut seen = Seen::default();
        for pair in pairs {
            let name = pair.name();
            if at.is_empty() && name.starts_with("x-") {
                continue;
            }
            let below = join(at, name);
            let Some(key) = schema::find(keys, name) else {
                if self.is_new(&mut seen, name.to_string(), pair, &below) {
                    self.unknown(pair.key.mark, &below, name, keys);
                }
                continue;
            };
            if seen.is_hidden(key.name, pair) {
                continue;
            }
            let is_new = self.is_new(&mut seen, key.name.to_string(), pair, &below);
            if matches!(key.kind, Kind::NotYet) {
                self.not_yet(pair.key.mark, &below, name, key);
            }
            let value = self.value(&pair.value, &key.kind, &below);
            if let Some(value) = value.filter(|_| is_new) {
                section.0.push((key.name, value));
            }
        }
        self.defaults(&mut section, keys);
        section
    }

    /// Fills in what nobody said.
    fn defaults(&mut self, section: &mut Section, keys: &'static [Key]) {
        for key in keys {
            if section.get(key.name).is_some() {
                continue;
            }
            let mut decoder = Decoder::new(None, self.env);
            let value = match &key.kind {
                Kind::Section(keys) => Some(Value::Section(decoder.pairs(&[], keys, key.name))),
                Kind::Optional(_) | Kind::Uses(_) => None,
                _ if key.default.is_empty() => None,
                // The short way for what every route and engine has.
                Kind::Leaf(leaf) => leaf::convert(*leaf, key.default, true).ok().map(Value::Leaf),
                kind => {
                    let node = tree::parse(key.default).root;
                    node.and_then(|node| decoder.value(&node, kind, key.name)).map(|located| located.value)
                }
            };
            // Of the defaults only `$DOCKER_HOST` comes from outside.
            for problem in decoder.problems {
                self.push(Problem { place: Place::Env { name: "DOCKER_HOST".into() }, ..problem });
            }
            if let Some(value) = value {
                section.0.push((key.name, Located { place: Place::Default, value }));
            }
        }
    }

    /// A mapping of free names.
    fn named(&mut self, pairs: &[Pair], rule: Names, kind: &'static Kind, at: &str) -> Vec<(Name, Located)> {
        let mut entries = Vec::new();
        let mut seen = Seen::default();
        for pair in pairs {
            if rule == Names::Alias && pair.name().starts_with("x-") {
                continue;
            }
            let below = join(at, pair.name());
            let name = match names::check(rule, pair.name()) {
                Ok(name) => name,
                Err(wrong) => {
                    self.wrong(pair.key.mark, at, wrong);
                    continue;
                }
            };
            let identity = name.identity();
            if seen.is_hidden(&identity, pair) {
                continue;
            }
            let is_new = self.is_new(&mut seen, identity, pair, &below);
            if let Some(mut value) = self.value(&pair.value, kind, &below).filter(|_| is_new) {
                value.place = self.place(pair.key.mark, &below);
                entries.push((name, value));
            }
        }
        entries
    }

    /// A mapping of known keys, or its first value alone.
    fn short(&mut self, node: &Node, keys: &'static [Key], at: &str) -> Option<Section> {
        let main = keys.first()?;
        let Kind::Leaf(leaf) = main.kind else { return None };
        match &node.content {
            Content::Map(pairs) => {
                let problems = self.problems.len() + self.untold;
                let section = self.pairs(pairs, keys, at);
                let said = section.get(main.name).is_some();
                if !said && !self.truncated && self.problems.len() + self.untold == problems {
                    self.wrong(node.mark, at, (format!("the key `{}` is missing", main.name), None));
                }
                Some(section)
            }
            Content::Scalar(scalar) if !says_nothing(scalar) => {
                let value = Value::Leaf(self.leaf(node, leaf, at)?);
                let mut section =
                    Section(vec![(main.name, Located { place: self.place(node.mark, at), value })]);
                self.defaults(&mut section, keys);
                Some(section)
            }
            Content::Scalar(_) | Content::List(_) => {
                self.wrong_type(node, at, &format!("{} or a mapping", leaf::expected(leaf)));
                None
            }
        }
    }

    /// A list of mappings of known keys.
    fn each(&mut self, items: &[Rc<Node>], keys: &'static [Key], at: &str) -> Vec<Located> {
        let mut values = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let below = format!("{at}[{index}]");
            let Content::Map(pairs) = &item.content else {
                self.wrong_type(item, &below, "a mapping");
                continue;
            };
            let value = Value::Section(self.pairs(pairs, keys, &below));
            values.push(Located { place: self.place(item.mark, &below), value });
        }
        values
    }

    /// A list of mappings, each of which names one of `keys` by `use`.
    fn uses(&mut self, items: &[Rc<Node>], keys: &'static [Key], at: &str) -> Section {
        let mut section = Section::default();
        for (index, item) in items.iter().enumerate() {
            let below = format!("{at}[{index}]");
            let Content::Map(pairs) = &item.content else {
                self.wrong_type(item, &below, "a mapping with `use`");
                continue;
            };
            let (uses, rest): (Vec<&Pair>, Vec<&Pair>) =
                pairs.iter().partition(|pair| schema::same_name(pair.name(), "use"));
            let Some(Content::Scalar(name)) = uses.first().map(|pair| &pair.value.content) else {
                self.wrong(item.mark, &below, ("expected the name of a rule under `use`".into(), None));
                continue;
            };
            let mark = uses[0].value.mark;
            match schema::find(keys, &name.text) {
                _ if uses.len() > 1 => {
                    self.wrong(uses[1].key.mark, &below, ("`use` is said twice".into(), None));
                }
                None => self.unknown(mark, &below, &name.text, keys),
                Some(key) if section.get(key.name).is_some() => {
                    self.wrong(mark, &below, (format!("`{}` is used already", key.name), None));
                }
                Some(key) => match key.kind {
                    Kind::Optional(fields) => {
                        let rest: Vec<Pair> = rest.into_iter().cloned().collect();
                        // The name is part of the path: what lies below a rule is told apart by it.
                        let at = format!("{below}.{}", key.name);
                        let value = Value::Section(self.pairs(&rest, fields, &at));
                        section.0.push((key.name, Located { place: self.place(item.mark, &at), value }));
                    }
                    _ => self.not_yet(mark, &below, &name.text, key),
                },
            }
        }
        section
    }

    /// What is known and not there.
    fn not_yet(&mut self, mark: Mark, at: &str, name: &str, key: &Key) {
        let (what, hint) = match key.meaning {
            "" => ("is not supported yet", None),
            what => (what, Some(key.example.to_string())),
        };
        self.wrong(mark, at, (format!("{} {what}", shown(name)), hint));
    }

    fn list(&mut self, items: &[Rc<Node>], leaf: Leaf, at: &str) -> Vec<Located> {
        let mut values = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let below = format!("{at}[{index}]");
            if let Some(value) = self.leaf(item, leaf, &below) {
                values.push(Located { place: self.place(item.mark, &below), value: Value::Leaf(value) });
            }
        }
        values
    }

    fn leaf(&mut self, node: &Node, leaf: Leaf, at: &str) -> Option<LeafValue> {
        let Content::Scalar(scalar) = &node.content else {
            self.wrong_type(node, at, &leaf::expected(leaf));
            return None;
        };
        let converted = match scalar.text.contains('$') && !self.literal {
            false => leaf::convert(leaf, &scalar.text, scalar.plain),
            true => self.expanded(&scalar.text).and_then(|text| leaf::convert(leaf, &text, false)),
        };
        converted.map_err(|wrong| self.wrong(node.mark, at, wrong)).ok()
    }

    fn expanded(&mut self, text: &str) -> Result<String, Wrong> {
        let expanded = expand(text, self.env)?;
        let added = expanded.len().saturating_sub(text.len());
        let Some(room) = self.room.checked_sub(added) else {
            return Err((format!("variables add more than {} bytes", limits::CONFIG_BYTES), None));
        };
        self.room = room;
        Ok(expanded)
    }

    fn unknown(&mut self, mark: Mark, at: &str, name: &str, keys: &'static [Key]) {
        if name.ends_with("@file") {
            return self.wrong(mark, at, (format!("{} is not supported yet", shown(name)), None));
        }
        // Looking for a near one is dear: not for a problem that is only counted.
        let hint = if self.is_full() { None } else { names::hint(name, keys) };
        self.wrong(mark, at, (format!("unknown key {}", shown(name)), hint));
    }

    /// Remembers a key; says so and gives false if it was there before.
    fn is_new(&mut self, seen: &mut Seen, identity: String, pair: &Pair, at: &str) -> bool {
        if seen.is_hidden(&identity, pair) {
            return false;
        }
        let Some((_, first)) = seen.0.get(&identity) else {
            seen.0.insert(identity, (pair.rank, pair.key.mark));
            return true;
        };
        let first = match self.literal {
            true => String::new(),
            false => format!(", first at {}", self.place(*first, "")),
        };
        self.wrong(pair.key.mark, at, (format!("duplicate key {}{first}", shown(pair.name())), None));
        false
    }
}

/// The keys of one mapping so far: by identity, their rank and place.
#[derive(Default)]
struct Seen(HashMap<String, (usize, Mark)>);

impl Seen {
    /// A merged key is hidden by the same key of a lower rank.
    fn is_hidden(&self, identity: &str, pair: &Pair) -> bool {
        self.0.get(identity).is_some_and(|(rank, _)| *rank < pair.rank)
    }
}

fn says_nothing(scalar: &Scalar) -> bool {
    leaf::is_null(&scalar.text, scalar.plain)
}

fn join(at: &str, name: &str) -> String {
    match at {
        "" => bare(name),
        _ => format!("{at}.{}", bare(name)),
    }
}
