//! The crate as a tree of modules, read from its files without compiling them.

use crate::findings::Finding;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use syn::spanned::Spanned;
use syn::visit::Visit;

/// The files of a crate: path below the repository's root → text. Real, or planted by a test.
pub type Files = BTreeMap<PathBuf, String>;

/// What a name in a module stands for.
#[derive(Clone, Debug)]
pub enum Name {
    /// A submodule.
    Module(usize),
    /// `use path as name`: the path as written in that module.
    Alias(Vec<String>),
    /// Something defined here.
    Item,
}

/// One module.
pub struct Module {
    /// Its path below the crate's root; empty for the root itself.
    pub path: Vec<String>,
    /// The module around it.
    pub parent: Option<usize>,
    /// The file it is written in.
    pub file: PathBuf,
    /// Its items without those that only tests see.
    pub items: Vec<syn::Item>,
    /// Its names.
    pub names: BTreeMap<String, Name>,
    /// Its glob imports, as written.
    pub globs: Vec<Vec<String>>,
}

/// The whole crate; module 0 is the library's root, module 1 the binary's.
pub struct Tree {
    pub modules: Vec<Module>,
    pub findings: Vec<Finding>,
    /// Every file that was read.
    pub seen: Vec<PathBuf>,
    /// Macros exported to the crate's root → the module that defines them.
    pub macros: BTreeMap<String, usize>,
}

/// Index of the library's root.
pub const LIB: usize = 0;
/// Index of the binary's root.
pub const MAIN: usize = 1;

impl Tree {
    /// Reads `src/lib.rs`, `src/main.rs` and every module they declare.
    pub fn read(files: &Files) -> Tree {
        let mut tree = Tree { modules: vec![], findings: vec![], seen: vec![], macros: BTreeMap::new() };
        let mut work = Vec::new();
        for root in ["src/lib.rs", "src/main.rs"] {
            let dir = PathBuf::from("src");
            let index = tree.add(vec![], None, PathBuf::from(root));
            work.push(Work { index, dir, items: None });
        }
        while let Some(next) = work.pop() {
            let items = match next.items {
                Some(items) => items,
                None => tree.parse(files, next.index),
            };
            let children = tree.fill(next.index, &next.dir, items, files);
            work.extend(children);
        }
        for path in files.keys().filter(|path| path.starts_with("src")) {
            if path.extension().is_some_and(|e| e == "rs") && !tree.seen.contains(path) {
                tree.findings.push(Finding::new(path, 1, "no module declares this file"));
            }
        }
        tree
    }

    /// The module of the top line that `index` lies in: `main`, a child of the root, or none for the root.
    pub fn top(&self, index: usize) -> Option<&str> {
        let mut at = index;
        while let Some(parent) = self.modules[at].parent {
            at = parent;
        }
        match at {
            MAIN => Some("main"),
            _ => self.modules[index].path.first().map(String::as_str),
        }
    }

    fn add(&mut self, path: Vec<String>, parent: Option<usize>, file: PathBuf) -> usize {
        let (items, globs) = (vec![], vec![]);
        self.modules.push(Module { path, parent, file, items, names: BTreeMap::new(), globs });
        self.modules.len() - 1
    }

    fn parse(&mut self, files: &Files, index: usize) -> Vec<syn::Item> {
        let path = self.modules[index].file.clone();
        self.seen.push(path.clone());
        let Some(text) = files.get(&path) else {
            self.findings.push(Finding::new(&path, 1, "a module is declared, but its file is missing"));
            return vec![];
        };
        match syn::parse_file(text) {
            Ok(file) if only_in_tests(&file.attrs) => vec![],
            Ok(file) => file.items,
            Err(e) => {
                self.findings.push(Finding::new(
                    &path,
                    e.span().start().line,
                    format!("does not parse: {e}"),
                ));
                vec![]
            }
        }
    }

    /// Takes `items` into module `index`; gives the submodules still to be read.
    fn fill(&mut self, index: usize, dir: &Path, items: Vec<syn::Item>, files: &Files) -> Vec<Work> {
        let mut work = Vec::new();
        for item in items {
            if only_in_tests(attributes(&item)) {
                self.note_test_files(index, &item, dir, files);
                continue;
            }
            match item {
                syn::Item::Mod(item) => work.push(self.declare(index, dir, item, files)),
                item => {
                    for (path, alias) in imports(&item) {
                        self.import(index, path, alias);
                    }
                    if let Some(name) = defined(&item) {
                        self.modules[index].names.entry(name.clone()).or_insert(Name::Item);
                        if is_exported_macro(&item) {
                            self.macros.insert(name, index);
                        }
                    }
                    self.modules[index].items.push(item);
                }
            }
        }
        work
    }

    fn declare(&mut self, index: usize, dir: &Path, item: syn::ItemMod, files: &Files) -> Work {
        let name = item.ident.to_string();
        let mut path = self.modules[index].path.clone();
        path.push(name.clone());
        let parent_file = self.modules[index].file.clone();
        let inline = item.content.map(|(_, items)| items);
        let file = match inline {
            Some(_) => parent_file,
            None => file_of(dir, &name, path_attribute(&item.attrs), &parent_file, files),
        };
        let child = self.add(path, Some(index), file);
        self.modules[index].names.insert(name.clone(), Name::Module(child));
        Work { index: child, dir: dir.join(name), items: inline }
    }

    /// A module for tests may lie in a file of its own, which may import anything.
    fn note_test_files(&mut self, index: usize, item: &syn::Item, dir: &Path, files: &Files) {
        let syn::Item::Mod(item) = item else { return };
        let name = item.ident.to_string();
        let file = file_of(dir, &name, path_attribute(&item.attrs), &self.modules[index].file, files);
        self.seen.push(file);
        let below = dir.join(&name);
        self.seen.extend(files.keys().filter(|path| path.starts_with(&below)).cloned());
    }

    fn import(&mut self, index: usize, path: Vec<String>, alias: Option<String>) {
        let module = &mut self.modules[index];
        match alias {
            Some(alias) if matches!(module.names.get(&alias), Some(Name::Module(_))) => {}
            Some(alias) => drop(module.names.insert(alias, Name::Alias(path))),
            None => module.globs.push(path),
        }
    }
}

/// The imports of an item, also those inside its functions: path and name, no name for a glob.
fn imports(item: &syn::Item) -> Vec<(Vec<String>, Option<String>)> {
    let mut found = Imports(vec![]);
    found.visit_item(item);
    found.0
}

struct Imports(Vec<(Vec<String>, Option<String>)>);

impl<'ast> Visit<'ast> for Imports {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !only_in_tests(attributes(item)) {
            syn::visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.0.extend(leaves(item).into_iter().map(|leaf| (leaf.path, leaf.alias)));
    }

    fn visit_item_extern_crate(&mut self, item: &'ast syn::ItemExternCrate) {
        let Some((_, alias)) = &item.rename else { return };
        let name = if item.ident == "self" { "crate".to_string() } else { item.ident.to_string() };
        self.0.push((vec![name], Some(alias.to_string())));
    }
}

struct Work {
    index: usize,
    /// The directory its submodules' files lie in.
    dir: PathBuf,
    /// The items of an inline module.
    items: Option<Vec<syn::Item>>,
}

/// One path of a `use` item, braces resolved.
pub struct Leaf {
    /// The path; the first segment is empty for a leading `::`.
    pub path: Vec<String>,
    /// The name it is known by; none for a glob.
    pub alias: Option<String>,
    /// Its line.
    pub line: usize,
}

/// The paths of a `use` item.
pub fn leaves(item: &syn::ItemUse) -> Vec<Leaf> {
    let mut found = Vec::new();
    let start = match item.leading_colon {
        Some(_) => vec![String::new()],
        None => vec![],
    };
    let mut work = vec![(start, &item.tree)];
    while let Some((mut prefix, tree)) = work.pop() {
        let line = tree.span().start().line;
        match tree {
            syn::UseTree::Path(p) => {
                prefix.push(p.ident.to_string());
                work.push((prefix, &p.tree));
            }
            syn::UseTree::Name(n) if n.ident == "self" => {
                let alias = prefix.last().cloned();
                found.push(Leaf { path: prefix, alias, line });
            }
            syn::UseTree::Name(n) => {
                prefix.push(n.ident.to_string());
                found.push(Leaf { path: prefix, alias: Some(n.ident.to_string()), line });
            }
            syn::UseTree::Rename(r) => {
                if r.ident != "self" || prefix.is_empty() {
                    prefix.push(r.ident.to_string());
                }
                found.push(Leaf { path: prefix, alias: Some(r.rename.to_string()), line });
            }
            syn::UseTree::Glob(_) => found.push(Leaf { path: prefix, alias: None, line }),
            syn::UseTree::Group(group) => {
                work.extend(group.items.iter().map(|tree| (prefix.clone(), tree)));
            }
        }
    }
    found
}

/// True if the attributes hide an item from all but tests.
pub fn only_in_tests(attrs: &[syn::Attribute]) -> bool {
    attrs.iter().any(|attr| match &attr.meta {
        meta if meta.path().is_ident("test") => true,
        syn::Meta::List(list) if list.path.is_ident("cfg") => {
            list.parse_args::<syn::Meta>().is_ok_and(|meta| needs_test(&meta))
        }
        _ => false,
    })
}

/// True if a `cfg` predicate holds only under `test`.
fn needs_test(meta: &syn::Meta) -> bool {
    let syn::Meta::List(list) = meta else { return meta.path().is_ident("test") };
    type Metas = syn::punctuated::Punctuated<syn::Meta, syn::Token![,]>;
    let Ok(inner) = list.parse_args_with(Metas::parse_terminated) else { return false };
    if list.path.is_ident("all") {
        inner.iter().any(needs_test)
    } else {
        list.path.is_ident("any") && !inner.is_empty() && inner.iter().all(needs_test)
    }
}

fn path_attribute(attrs: &[syn::Attribute]) -> Option<String> {
    attrs.iter().find_map(|attr| match &attr.meta {
        syn::Meta::NameValue(nv) if nv.path.is_ident("path") => match &nv.value {
            syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => Some(text.value()),
            _ => None,
        },
        _ => None,
    })
}

fn file_of(dir: &Path, name: &str, given: Option<String>, parent: &Path, files: &Files) -> PathBuf {
    if let Some(given) = given {
        return parent.parent().unwrap_or(Path::new("")).join(given);
    }
    let beside = dir.join(format!("{name}.rs"));
    if files.contains_key(&beside) { beside } else { dir.join(name).join("mod.rs") }
}

fn is_exported_macro(item: &syn::Item) -> bool {
    matches!(item, syn::Item::Macro(m) if m.attrs.iter().any(|a| a.path().is_ident("macro_export")))
}

fn defined(item: &syn::Item) -> Option<String> {
    let ident = match item {
        syn::Item::Const(i) => &i.ident,
        syn::Item::Enum(i) => &i.ident,
        syn::Item::Fn(i) => &i.sig.ident,
        syn::Item::Macro(i) => i.ident.as_ref()?,
        syn::Item::Static(i) => &i.ident,
        syn::Item::Struct(i) => &i.ident,
        syn::Item::Trait(i) => &i.ident,
        syn::Item::TraitAlias(i) => &i.ident,
        syn::Item::Type(i) => &i.ident,
        syn::Item::Union(i) => &i.ident,
        _ => return None,
    };
    Some(ident.to_string())
}

/// The attributes of an item.
pub fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(i) => &i.attrs,
        syn::Item::Enum(i) => &i.attrs,
        syn::Item::ExternCrate(i) => &i.attrs,
        syn::Item::Fn(i) => &i.attrs,
        syn::Item::ForeignMod(i) => &i.attrs,
        syn::Item::Impl(i) => &i.attrs,
        syn::Item::Macro(i) => &i.attrs,
        syn::Item::Mod(i) => &i.attrs,
        syn::Item::Static(i) => &i.attrs,
        syn::Item::Struct(i) => &i.attrs,
        syn::Item::Trait(i) => &i.attrs,
        syn::Item::TraitAlias(i) => &i.attrs,
        syn::Item::Type(i) => &i.attrs,
        syn::Item::Union(i) => &i.attrs,
        syn::Item::Use(i) => &i.attrs,
        _ => &[],
    }
}
