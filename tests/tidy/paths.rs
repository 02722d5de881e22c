//! Resolves every path of the crate and holds it against the layers.

use crate::findings::Finding;
use crate::layers::{BANNED_IN_PURE, HOMES, PURE, rank};
use crate::tokens;
use crate::tree::{LIB, MAIN, Name, Tree, attributes, leaves, only_in_tests};
use std::collections::BTreeSet;
use syn::visit::Visit;

/// The library's name, as the binary writes it.
const CRATE: &str = "tidegate";

/// Aliases followed before a path counts as foreign: a chain in real code has two or three.
const FUEL: usize = 16;

/// Every violation of the layers, in order.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut found: BTreeSet<Finding> = tree.findings.iter().cloned().collect();
    for (index, module) in tree.modules.iter().enumerate() {
        if let ([name], Some(LIB)) = (module.path.as_slice(), module.parent)
            && rank(name).is_none()
        {
            found.insert(Finding::new(&module.file, 1, format!("module `{name}` stands on no line")));
        }
        let mut walk = Walk { tree, index, found: &mut found };
        module.items.iter().for_each(|item| walk.visit_item(item));
    }
    found.into_iter().collect()
}

/// Where a path ends.
#[derive(Clone, Debug)]
enum End {
    /// Outside the crate: the path as another crate knows it.
    Outside(Vec<String>),
    /// A module of ours.
    Module(usize),
    /// Something defined in that module.
    Item(usize),
    /// A module of ours has nothing by that name (what a macro makes, or a slip).
    Unknown(usize, String),
}

/// Follows paths; `crossed` collects every module of ours that a path leads through.
struct Resolver<'t> {
    tree: &'t Tree,
    crossed: Vec<usize>,
}

impl Resolver<'_> {
    fn resolve(&mut self, from: usize, path: &[String], fuel: usize) -> End {
        let first = path.first().map(String::as_str).unwrap_or_default();
        let (start, rest) = match first {
            "" => match path.get(1) {
                Some(name) if name == CRATE && self.root(from) == MAIN => (End::Module(LIB), &path[2..]),
                _ => return End::Outside(path.iter().skip(1).cloned().collect()),
            },
            "crate" => (End::Module(self.root(from)), &path[1..]),
            "self" => (End::Module(from), &path[1..]),
            "super" => (End::Module(self.parent(from)), &path[1..]),
            CRATE if self.root(from) == MAIN => (End::Module(LIB), &path[1..]),
            name => match self.look_up(from, name, fuel) {
                Some(end) => (end, &path[1..]),
                None => return End::Outside(path.to_vec()),
            },
        };
        self.descend(start, rest, fuel)
    }

    fn descend(&mut self, start: End, rest: &[String], fuel: usize) -> End {
        let mut end = start;
        for segment in rest {
            self.note(&end);
            let module = match end {
                End::Module(module) => module,
                End::Outside(mut path) => {
                    path.push(segment.clone());
                    end = End::Outside(path);
                    continue;
                }
                other => return other,
            };
            end = match segment.as_str() {
                "self" => End::Module(module),
                "super" => End::Module(self.parent(module)),
                name => {
                    let unknown = End::Unknown(module, name.to_string());
                    self.look_up(module, name, fuel).unwrap_or(unknown)
                }
            };
        }
        self.note(&end);
        end
    }

    fn look_up(&mut self, module: usize, name: &str, fuel: usize) -> Option<End> {
        let fuel = fuel.checked_sub(1)?;
        let tree = self.tree;
        match tree.modules[module].names.get(name) {
            Some(Name::Module(child)) => return Some(End::Module(*child)),
            Some(Name::Item) => return Some(End::Item(module)),
            // `use log::log;`: the name of another crate
            Some(Name::Alias(path)) if path.len() > 1 && path[0] == name => {
                return Some(End::Outside(path.clone()));
            }
            Some(Name::Alias(path)) => return Some(self.resolve(module, path, fuel)),
            None => {}
        }
        if let (LIB, Some(definer)) = (module, tree.macros.get(name)) {
            return Some(End::Item(*definer));
        }
        for glob in &tree.modules[module].globs {
            let crossed = self.crossed.len();
            if let End::Module(target) = self.resolve(module, glob, fuel)
                && target != module
                && let Some(end) = self.look_up(target, name, fuel)
            {
                return Some(end);
            }
            self.crossed.truncate(crossed);
        }
        None
    }

    fn note(&mut self, end: &End) {
        if let End::Module(module) | End::Item(module) = end {
            self.crossed.push(*module);
        }
    }

    fn root(&self, mut index: usize) -> usize {
        while let Some(parent) = self.tree.modules[index].parent {
            index = parent;
        }
        index
    }

    fn parent(&self, index: usize) -> usize {
        self.tree.modules[index].parent.unwrap_or(index)
    }
}

/// Visits the items of one module.
struct Walk<'t> {
    tree: &'t Tree,
    index: usize,
    found: &'t mut BTreeSet<Finding>,
}

impl Walk<'_> {
    fn path(&mut self, path: &[String], line: usize, glob: bool) {
        let mut resolver = Resolver { tree: self.tree, crossed: vec![] };
        let end = resolver.resolve(self.index, path, FUEL);
        let crossed = resolver.crossed;
        match &end {
            End::Outside(path) => self.foreign(path, line, glob),
            End::Unknown(LIB, name) => self.say(line, format!("`crate::{name}`: no such name")),
            _ => {}
        }
        let Some(own) = self.tree.top(self.index) else { return };
        for other in crossed.into_iter().filter_map(|module| self.tree.top(module)) {
            let (Some(mine), Some(theirs)) = (rank(own), rank(other)) else { continue };
            if own == other || theirs > mine {
                continue;
            }
            let why = if theirs == mine { "a neighbour on its line" } else { "above it" };
            let written = path.join("::");
            self.say(line, format!("`{own}` must not know `{other}`, {why} (`{written}`)"));
        }
    }

    /// A path into another crate: the pure line and the crates with one home.
    fn foreign(&mut self, path: &[String], line: usize, glob: bool) {
        let Some(own) = self.tree.top(self.index) else { return };
        let mut written = path.join("::");
        if let Some(rest) = written.strip_prefix("core::").or(written.strip_prefix("alloc::")) {
            written = format!("std::{rest}");
        }
        let begins = |long: &str, short: &str| {
            long.strip_prefix(short).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        };
        let named = |banned: &str| begins(&written, banned) || (glob && begins(banned, &written));
        if PURE.contains(&own)
            && let Some((_, why)) = BANNED_IN_PURE.iter().find(|(banned, _)| named(banned))
        {
            self.say(line, format!("the pure `{own}` must not name `{written}`: {why}"));
        }
        let module = self.tree.modules[self.index].path.join("::");
        for (name, homes) in HOMES {
            if begins(&written, name) && !homes.iter().any(|home| begins(&module, home)) {
                self.say(line, format!("only {homes:?} may use `{name}`, not `{own}`"));
            }
        }
    }

    fn scan(&mut self, tokens: proc_macro2::TokenStream) {
        for found in tokens::paths(tokens) {
            if found.path.len() > 1 {
                self.path(&found.path, found.line, found.glob);
            }
        }
    }

    fn say(&mut self, line: usize, message: String) {
        let file = &self.tree.modules[self.index].file;
        self.found.insert(Finding::new(file, line, message));
    }
}

impl<'ast> Visit<'ast> for Walk<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !only_in_tests(attributes(item)) {
            syn::visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !only_in_tests(&item.attrs) {
            syn::visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        if !only_in_tests(&field.attrs) {
            syn::visit::visit_field(self, field);
        }
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        if !only_in_tests(&local.attrs) {
            syn::visit::visit_local(self, local);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        for leaf in leaves(item) {
            self.path(&leaf.path, leaf.line, leaf.alias.is_none());
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let mut written: Vec<String> = path.segments.iter().map(|s| s.ident.to_string()).collect();
        let line = path.segments.first().map_or(1, |s| s.ident.span().start().line);
        if path.leading_colon.is_some() {
            written.insert(0, String::new());
        }
        // A single name was imported, and judged there, or is defined here.
        if written.len() > 1 {
            self.path(&written, line, false);
        }
        syn::visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, mac: &'ast syn::Macro) {
        self.visit_path(&mac.path);
        self.scan(mac.tokens.clone());
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        if attribute.path().is_ident("doc") {
            return;
        }
        self.visit_path(attribute.path());
        if let syn::Meta::List(list) = &attribute.meta {
            self.scan(list.tokens.clone());
            for (text, line) in tokens::strings(list.tokens.clone()) {
                if let Ok(path) = syn::parse_str::<syn::Path>(&text) {
                    let written: Vec<_> = path.segments.iter().map(|s| s.ident.to_string()).collect();
                    self.path(&written, line, false);
                }
            }
        }
    }
}
