//! The rules that look at one file at a time.

use crate::findings::Finding;
use crate::layers::{FILE_LINES, FUNCTION_LINES, PRINTS, SCRIPTED, TEST_FILE_LINES, UNSAFE, UNSAFE_TESTS};
use crate::tokens;
use crate::tree::{Files, attributes, only_in_tests};
use proc_macro2::TokenTree;
use std::path::Path;
use std::str::FromStr;
use syn::spanned::Spanned;
use syn::visit::Visit;

/// All rules over all Rust files.
pub fn check(files: &Files) -> Vec<Finding> {
    let mut found = Vec::new();
    for (path, text) in files.iter().filter(|(path, _)| path.extension().is_some_and(|e| e == "rs")) {
        found.extend(file_length(path, text));
        found.extend(unsafety(path, text));
        let Ok(file) = syn::parse_file(text) else {
            found.push(Finding::new(path, 1, "does not parse"));
            continue;
        };
        let mut functions = Functions { path, found: vec![] };
        functions.visit_file(&file);
        found.extend(functions.found);
        let mut relaxed = Relaxed { path, lines: text.lines().collect(), found: vec![] };
        relaxed.visit_file(&file);
        found.extend(relaxed.found);
        if let Some(module) = module_of(path)
            && !only_in_tests(&file.attrs)
        {
            let mut code = Code { path, module, found: vec![] };
            code.visit_file(&file);
            found.extend(code.found);
        }
    }
    found
}

/// The module of the top line a file belongs to; none outside `src`.
fn module_of(path: &Path) -> Option<&str> {
    let below = path.strip_prefix("src").ok()?;
    let first = below.components().next()?.as_os_str().to_str()?;
    Some(first.strip_suffix(".rs").unwrap_or(first))
}

fn file_length(path: &Path, text: &str) -> Option<Finding> {
    let lines = text.lines().count();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let of_tests = !path.starts_with("src") || name.ends_with("tests.rs");
    let limit = if of_tests { TEST_FILE_LINES } else { FILE_LINES };
    let message = format!("{lines} lines in one file; {limit} are the limit");
    (lines > limit).then(|| Finding::new(path, lines, message))
}

/// The word `unsafe` and the lint's name are for a few modules only.
fn unsafety(path: &Path, text: &str) -> Vec<Finding> {
    let may = module_of(path).is_some_and(|module| UNSAFE.contains(&module));
    if may || UNSAFE_TESTS.iter().any(|start| path.to_string_lossy().starts_with(start)) {
        return vec![];
    }
    let Ok(stream) = proc_macro2::TokenStream::from_str(text) else { return vec![] };
    let idents = tokens::flat(stream).into_iter().filter_map(|token| match token {
        TokenTree::Ident(ident) if ident == "unsafe" || ident == "unsafe_code" => Some(ident),
        _ => None,
    });
    let message = format!("`unsafe` lives in {UNSAFE:?} only");
    idents.map(|ident| Finding::new(path, ident.span().start().line, message.clone())).collect()
}

/// Functions have a length limit.
struct Functions<'p> {
    path: &'p Path,
    found: Vec<Finding>,
}

impl Functions<'_> {
    fn judge(&mut self, sig: &syn::Signature, block: &syn::Block) {
        let from = sig.span().start().line;
        let lines = block.span().end().line + 1 - from;
        if lines > FUNCTION_LINES {
            let message = format!("`{}` has {lines} lines; {FUNCTION_LINES} are the limit", sig.ident);
            self.found.push(Finding::new(self.path, from, message));
        }
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.judge(&item.sig, &item.block);
        syn::visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.judge(&item.sig, &item.block);
        syn::visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.judge(&item.sig, block);
        }
        syn::visit::visit_trait_item_fn(self, item);
    }
}

/// A relaxed lint has its reason beside it: in the attribute, at the line's end or in the line above.
struct Relaxed<'p> {
    path: &'p Path,
    lines: Vec<&'p str>,
    found: Vec<Finding>,
}

impl<'ast> Visit<'ast> for Relaxed<'_> {
    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        let relaxes = ["allow", "expect"].iter().any(|name| attribute.path().is_ident(name));
        let syn::Meta::List(list) = &attribute.meta else { return };
        if !relaxes {
            return;
        }
        let inside = tokens::flat(list.tokens.clone());
        let reason = inside.iter().any(|t| matches!(t, TokenTree::Ident(ident) if ident == "reason"));
        let (from, to) = (attribute.span().start().line, attribute.span().end().line);
        let commented = self.lines[from - 1..to].iter().any(|line| line.contains("//"));
        let above = from >= 2 && self.lines[from - 2].trim_start().starts_with("//");
        if !(reason || commented || above) {
            self.found.push(Finding::new(self.path, from, "a lint is relaxed without a reason beside it"));
        }
    }
}

/// Rules for code that is not for tests.
struct Code<'p> {
    path: &'p Path,
    module: &'p str,
    found: Vec<Finding>,
}

impl Code<'_> {
    fn scripted(&self) -> bool {
        SCRIPTED.iter().any(|place| self.path.starts_with(place))
    }

    fn prints(&mut self, name: &str, line: usize) {
        let banned = ["println", "eprintln", "print", "eprint", "dbg"].contains(&name);
        if banned && !PRINTS.contains(&self.module) {
            let message = format!("`{name}!` outside {PRINTS:?}: use `log`");
            self.found.push(Finding::new(self.path, line, message));
        }
    }
}

impl<'ast> Visit<'ast> for Code<'_> {
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

    fn visit_macro(&mut self, mac: &'ast syn::Macro) {
        let last = mac.path.segments.last().map(|s| (s.ident.to_string(), s.ident.span()));
        if let Some((name, span)) = last {
            self.prints(&name, span.start().line);
        }
        let inner = tokens::flat(mac.tokens.clone());
        for pair in inner.windows(2) {
            if let [TokenTree::Ident(ident), TokenTree::Punct(bang)] = pair
                && bang.as_char() == '!'
            {
                self.prints(&ident.to_string(), ident.span().start().line);
            }
        }
    }

    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        let is_duration = matches!(&*item.ty, syn::Type::Path(p)
            if p.path.segments.last().is_some_and(|s| s.ident == "Duration"));
        if !is_duration {
            return syn::visit::visit_item_const(self, item);
        }
        if !self.scripted() {
            let message = format!("`{}` is a bound: it belongs in limits.rs", item.ident);
            self.found.push(Finding::new(self.path, item.ident.span().start().line, message));
        }
    }

    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        if let syn::Expr::Path(function) = &*call.func
            && let [.., ty, name] = &function.path.segments.iter().collect::<Vec<_>>()[..]
            && ty.ident == "Duration"
            && name.ident.to_string().starts_with("from_")
            && let Some(syn::Expr::Lit(literal)) = call.args.first()
            // The smallest step of a unit is no bound.
            && !(name.ident != "from_secs" && matches!(&literal.lit, syn::Lit::Int(n) if n.base10_digits() == "1"))
            && !self.scripted()
        {
            let message = "a time is written here: it belongs in limits.rs, with its unit and reason";
            self.found.push(Finding::new(self.path, ty.ident.span().start().line, message));
        }
        syn::visit::visit_expr_call(self, call);
    }
}

/// Every dependency says in the line above what it is for.
pub fn dependencies(path: &Path, manifest: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut in_dependencies = false;
    let mut before = "";
    for (number, line) in manifest.lines().enumerate().map(|(i, line)| (i + 1, line.trim())) {
        let mut names_one = None;
        if let Some(section) = line.strip_prefix('[').map(|s| s.trim_end_matches(']')) {
            in_dependencies = section.ends_with("dependencies");
            names_one = section.split_once("dependencies.").map(|(_, name)| name);
        } else if in_dependencies && !line.starts_with('#') {
            names_one = line.split_once('=').map(|(name, _)| name.trim());
        }
        let said = before.strip_prefix('#').is_some_and(|text| !text.trim().is_empty());
        if let Some(name) = names_one
            && !said
        {
            found.push(Finding::new(path, number, format!("`{name}` does not say what it is for")));
        }
        before = line;
    }
    found
}

/// Words that promise work instead of doing it. Split so that this file does not hold them.
const WORDS: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX")];

/// No file of the repository holds one of `WORDS` as a whole word.
pub fn words(path: &Path, text: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let mut words = line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        if let Some(word) = words.find(|word| WORDS.contains(word)) {
            found.push(Finding::new(path, number + 1, format!("`{word}`: do it, or file an issue")));
        }
    }
    found
}
