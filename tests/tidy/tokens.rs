//! What `syn` leaves as tokens: the insides of macros and attributes.

use proc_macro2::{TokenStream, TokenTree};

/// A path found among tokens.
pub struct Found {
    pub path: Vec<String>,
    pub line: usize,
    pub glob: bool,
}

/// Every path among `tokens`, also in nested groups; `a::{b, c}` gives two.
pub fn paths(tokens: TokenStream) -> Vec<Found> {
    let mut found = Vec::new();
    let mut work: Vec<(Vec<String>, TokenStream)> = vec![(vec![], tokens)];
    while let Some((prefix, tokens)) = work.pop() {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            let mut path = Reader { tokens: &tokens, at, path: prefix.clone(), group: None, glob: false };
            let line = tokens[at].span().start().line;
            if path.read() {
                at = path.at;
                match path.group.take() {
                    Some(group) => work.push((path.path, group)),
                    None => found.push(Found { path: path.path, line, glob: path.glob }),
                }
                continue;
            }
            if let TokenTree::Group(group) = &tokens[at] {
                work.push((vec![], group.stream()));
            }
            at += 1;
        }
    }
    found
}

/// Every string literal among `tokens` with its line.
pub fn strings(tokens: TokenStream) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for token in flat(tokens) {
        if let TokenTree::Literal(literal) = token {
            let line = literal.span().start().line;
            if let Ok(text) = syn::parse_str::<syn::LitStr>(&literal.to_string()) {
                found.push((text.value(), line));
            }
        }
    }
    found
}

/// The tokens of all nested groups in one list.
pub fn flat(tokens: TokenStream) -> Vec<TokenTree> {
    let mut found = Vec::new();
    let mut work = vec![tokens];
    while let Some(tokens) = work.pop() {
        for token in tokens {
            if let TokenTree::Group(group) = &token {
                work.push(group.stream());
            }
            found.push(token);
        }
    }
    found
}

/// Reads one path that starts at `at`.
struct Reader<'t> {
    tokens: &'t [TokenTree],
    at: usize,
    path: Vec<String>,
    /// The braces after `a::`.
    group: Option<TokenStream>,
    glob: bool,
}

impl Reader<'_> {
    /// True if there was a path; `at` is then behind it.
    fn read(&mut self) -> bool {
        if self.colons() && self.ident_at(self.at + 2).is_some() {
            self.path.push(String::new());
            self.at += 2;
        } else if self.punct_at(self.at, '$') && self.ident_at(self.at + 1).is_some() {
            self.at += 1;
        }
        let Some(first) = self.ident_at(self.at) else { return false };
        self.path.push(first);
        self.at += 1;
        while self.colons() {
            match self.tokens.get(self.at + 2) {
                Some(TokenTree::Ident(ident)) => self.path.push(ident.to_string()),
                Some(TokenTree::Group(group)) => self.group = Some(group.stream()),
                Some(TokenTree::Punct(star)) if star.as_char() == '*' => self.glob = true,
                _ => break,
            }
            self.at += 3;
        }
        true
    }

    fn colons(&self) -> bool {
        self.punct_at(self.at, ':') && self.punct_at(self.at + 1, ':')
    }

    fn punct_at(&self, at: usize, wanted: char) -> bool {
        matches!(self.tokens.get(at), Some(TokenTree::Punct(p)) if p.as_char() == wanted)
    }

    fn ident_at(&self, at: usize) -> Option<String> {
        match self.tokens.get(at) {
            Some(TokenTree::Ident(ident)) => Some(ident.to_string()),
            _ => None,
        }
    }
}
