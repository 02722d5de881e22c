//! The grammar of the labels, all of it in this file:
//!
//! ```text
//! proxy.aliases: app, app.example.com     which aliases the container has (default: its name)
//! proxy.exclude: true                     not routed
//! proxy.<alias>.<field>: value            field: scheme, host, port; an unlisted alias is created
//! proxy.<alias>.middlewares.<rule>.<field>: value     who may ask; YAML for a rule or all of them
//! ```
//!
//! Keys are matched without regard to case and `_`. What GoDoxy knows beyond this is named as "not supported
//! yet", and what nobody knows as unknown; neither is passed over in silence. A route is withheld if serving
//! it without the label would send requests elsewhere than the label says, or let in whom it keeps out.

use super::guards::Guards;
use super::known::{FIELDS, KEYS, Known, known, plain};
use super::place::{self, shown};
use super::{Container, Place, Problem, Scheme, Target, canonical, check_alias};
use crate::access::Rules;
use crate::config;
use crate::limits::{ALIASES, LABEL_BYTES, LABELS};
use crate::route::{ServerName, Settings, Tuning, UpstreamTls};
use crate::util::suggest::nearest;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What the labels of one container say.
#[derive(Debug, Default)]
pub struct Labels {
    /// There is a `proxy.` label.
    pub explicit: bool,
    /// The label that excludes the container.
    pub exclude: Option<String>,
    /// `proxy.idle_timeout` is there: the container sleeps by design.
    pub idle: bool,
    /// Its aliases: the listed ones (or its name), then those that labels created.
    pub aliases: Vec<AliasLabels>,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// What the labels say about one alias.
#[derive(Debug)]
pub struct AliasLabels {
    /// As it is written.
    pub alias: String,
    /// Its canonical form.
    pub slot: String,
    pub scheme: Option<Said<Scheme>>,
    pub host: Option<Said<String>>,
    pub port: Option<Said<u16>>,
    pub redirect_http: Option<Said<bool>>,
    pub no_tls_verify: Option<Said<bool>>,
    pub ssl_server_name: Option<Said<ServerName>>,
    pub ssl_trusted_certificate: Option<Said<PathBuf>>,
    tuned: Tuned,
    /// Who may ask.
    pub access: Option<Arc<Rules>>,
    /// Why it must not be served.
    pub refused: Option<Target>,
}

#[derive(Debug, Default)]
struct Tuned {
    connect: Option<Said<Duration>>,
    response_header: Option<Said<Duration>>,
    body: Option<Said<Duration>>,
    response_body: Option<Said<Duration>>,
    max_conns: Option<Said<u32>>,
    access_log: Option<Said<bool>>,
}

impl AliasLabels {
    /// How its upstream is verified.
    pub fn tls(&self) -> UpstreamTls {
        let (name, trusted) = (&self.ssl_server_name, &self.ssl_trusted_certificate);
        UpstreamTls {
            no_verify: self.no_tls_verify.as_ref().is_some_and(|said| said.value),
            server_name: name.as_ref().map(|said| said.value.clone()).unwrap_or_default(),
            trusted: trusted.as_ref().map(|said| said.value.clone()),
        }
    }
}

/// A value and the label that said it.
#[derive(Debug)]
pub struct Said<T> {
    pub value: T,
    pub label: String,
}

/// Reads the labels of `container`.
pub fn read(engine: &str, container: &Container) -> Labels {
    let mut reader = Reader {
        engine,
        container: &container.name,
        labels: Labels::default(),
        guards: Vec::new(),
        refuse_all: None,
    };
    let labels = reader.collect(container);
    reader.aliases_and_exclude(&labels);
    for label in labels.iter().filter(|label| !label.is_first()) {
        reader.label(label);
    }
    reader.guard();
    if let Some(refused) = reader.refuse_all {
        for alias in &mut reader.labels.aliases {
            alias.refused.get_or_insert_with(|| refused.clone());
        }
    }
    reader.labels
}

const EXPECTED: &str = "expected `proxy.aliases`, `proxy.exclude` or `proxy.<alias>.<field>`";

struct Label<'a> {
    /// The whole key as it is written.
    key: &'a str,
    /// The key without `proxy.`.
    path: &'a str,
    value: &'a str,
}

impl Label<'_> {
    /// Read before the others: what the others mean depends on it.
    fn is_first(&self) -> bool {
        matches!(plain(self.path).as_str(), "aliases" | "exclude")
    }

    /// A multi-line or `key: value` text, as GoDoxy reads it for a whole alias.
    fn is_yaml(&self) -> bool {
        let value = self.value.trim_end();
        value.contains('\n') || value.contains(": ") || value.ends_with(':')
    }
}

struct Reader<'a> {
    engine: &'a str,
    container: &'a str,
    labels: Labels,
    /// By the index of the alias.
    guards: Vec<(usize, Guards<'a>)>,
    refuse_all: Option<Target>,
}

impl<'a> Reader<'a> {
    /// The `proxy.` labels, within bounds. What is beyond them might say anything, so no alias is served.
    fn collect(&mut self, container: &'a Container) -> Vec<Label<'a>> {
        let mut labels = Vec::new();
        for (key, value) in &container.labels {
            let path = match key.split_once('.') {
                Some((first, path)) if first.eq_ignore_ascii_case("proxy") => path,
                None if key.eq_ignore_ascii_case("proxy") => {
                    self.problem(key, "says nothing".to_owned(), Some(EXPECTED.to_owned()));
                    continue;
                }
                _ => continue,
            };
            self.labels.explicit = true;
            if labels.len() == LABELS {
                let reason = format!("more than {LABELS} `proxy.` labels");
                self.problem(key, reason.clone(), None);
                self.refuse_all.get_or_insert(Target::Misconfigured { reason });
                break;
            }
            if value.len() > LABEL_BYTES {
                let reason = format!("its value is longer than {LABEL_BYTES} bytes");
                self.refuse_all.get_or_insert(misconfigured(key, &reason));
                self.problem(key, reason, None);
                continue;
            }
            labels.push(Label { key, path, value });
        }
        labels
    }

    fn aliases_and_exclude(&mut self, labels: &[Label<'a>]) {
        let mut aliases_by: Option<&str> = None;
        for label in labels.iter().filter(|label| label.is_first()) {
            if plain(label.path) == "exclude" {
                self.exclude(label);
            } else if let Some(first) = aliases_by {
                self.problem(label.key, format!("is said already by `{}`", shown(first)), None);
            } else {
                aliases_by = Some(label.key);
                self.aliases(label);
            }
        }
        if aliases_by.is_none() {
            self.name_as_alias();
        }
    }

    fn name_as_alias(&mut self) {
        let name = self.container.to_owned();
        match check_alias(&name) {
            Ok(()) => self.labels.aliases.push(AliasLabels::new(name)),
            Err(why) => {
                let message = format!("its name `{}` can't be an alias: it {why}", shown(&name));
                let problem = Problem::new(place::container(self.engine, self.container), message);
                self.labels.problems.push(problem.with_hint("set `proxy.aliases`"));
            }
        }
    }

    fn exclude(&mut self, label: &Label) {
        match boolean(label.value) {
            Some(false) => return,
            Some(true) => {}
            None => {
                let message = format!("expected `true` or `false`, got `{}`", shown(label.value));
                self.problem(label.key, message, Some("the container is not routed until then".to_owned()));
            }
        }
        self.labels.exclude = Some(shown(label.key));
    }

    fn aliases(&mut self, label: &Label) {
        let named = label.value.split(',').map(str::trim).filter(|alias| !alias.is_empty());
        let mut empty = true;
        for (n, alias) in named.enumerate() {
            if n == ALIASES {
                return self.problem(label.key, format!("names more than {ALIASES} aliases"), None);
            }
            empty = false;
            self.alias(label.key, alias);
        }
        if empty {
            let hint = "the container's name is its alias then";
            self.problem(label.key, "has no alias".to_owned(), Some(hint.to_owned()));
            self.name_as_alias();
        }
    }

    /// The index of `alias`, which is created if it is new; none (and a problem) if it can't be one.
    fn alias(&mut self, key: &str, alias: &str) -> Option<usize> {
        let slot = canonical(alias);
        if let Some(at) = self.labels.aliases.iter().position(|a| a.slot == slot) {
            return Some(at);
        }
        if let Err(why) = check_alias(alias) {
            self.problem(key, format!("alias `{}` {why}", shown(alias)), None);
            return None;
        }
        if self.labels.aliases.len() == ALIASES {
            self.problem(key, format!("more than {ALIASES} aliases"), None);
            return None;
        }
        self.labels.aliases.push(AliasLabels::new(alias.to_owned()));
        Some(self.labels.aliases.len() - 1)
    }

    fn label(&mut self, label: &Label<'a>) {
        if let Some((at, field)) = self.listed(label.path) {
            return self.field(label, at, field);
        }
        match label.path.split_once('.') {
            None => self.key(label),
            Some((many, field)) if self.group(many).is_some() => self.group_field(label, many, field),
            Some((alias, field)) => self.unlisted(label, alias, field),
        }
    }

    /// The alias that `path` begins with (the longest: aliases have dots) and the rest of it.
    fn listed<'p>(&self, path: &'p str) -> Option<(usize, &'p str)> {
        let rest = |alias: &str| {
            let start = path.get(..alias.len())?;
            let rest = path[alias.len()..].strip_prefix('.')?;
            start.eq_ignore_ascii_case(alias).then_some(rest)
        };
        let aliases = self.labels.aliases.iter().enumerate();
        let found = aliases.filter_map(|(at, a)| Some((at, rest(&a.slot)?)));
        found.min_by_key(|(_, rest)| rest.len())
    }

    /// The aliases that `*`, `#N` or `$N` stand for; none if `word` is none of these.
    fn group(&self, word: &str) -> Option<Vec<usize>> {
        if word == "*" {
            return Some((0..self.labels.aliases.len()).collect());
        }
        let number = word.strip_prefix(['#', '$'])?;
        let number: Option<usize> = number.parse().ok();
        let at = number.and_then(|n| n.checked_sub(1)).filter(|at| *at < self.labels.aliases.len());
        Some(at.into_iter().collect())
    }

    fn group_field(&mut self, label: &Label, word: &str, field: &str) {
        let withheld = match known(FIELDS, first_of(field)) {
            Some((_, Known::Read | Known::Guard | Known::Withhold)) => self.group(word).unwrap_or_default(),
            _ => Vec::new(),
        };
        let what = format!("`{}` in place of an alias", shown(word));
        self.not_yet(label, &what, &withheld);
    }

    /// A field of an alias that is not listed. Only a field that is known makes the alias: a slip of the pen
    /// must not publish a container under a further name.
    fn unlisted(&mut self, label: &Label<'a>, alias: &str, field: &'a str) {
        if known(FIELDS, first_of(field)).is_some() {
            if let Some(at) = self.alias(label.key, alias) {
                self.field(label, at, field);
            }
            return;
        }
        if let Err(why) = check_alias(alias) {
            return self.problem(label.key, format!("alias `{}` {why}", shown(alias)), None);
        }
        match label.path.rsplit_once('.') {
            Some((whole, last)) if whole.contains('.') && known(FIELDS, last).is_some() => {
                let message = format!("`{}` is not an alias of the container", shown(whole));
                self.problem(label.key, message, Some("list it in `proxy.aliases`".to_owned()));
            }
            _ => self.unknown_field(label, None, field),
        }
    }

    fn field(&mut self, label: &Label<'a>, at: usize, field: &'a str) {
        let (name, rest) = field.split_once('.').map_or((field, None), |(name, rest)| (name, Some(rest)));
        match (known(FIELDS, name), rest) {
            (Some((name, known @ (Known::Read | Known::Tune))), None) => {
                self.read_field(label, at, name, known);
            }
            (Some((name, Known::Read | Known::Tune)), Some(rest)) => {
                self.problem(label.key, format!("`{name}` has no field `{}`", shown(rest)), None);
            }
            (Some((_, Known::Guard)), rest) => {
                let rest = rest.unwrap_or_default();
                let known = self.guards.iter().position(|(alias, _)| *alias == at);
                let index = known.unwrap_or_else(|| {
                    self.guards.push((at, Guards::default()));
                    self.guards.len() - 1
                });
                self.guards[index].1.add(label.key, rest, label.value);
            }
            (Some((name, Known::Later)), _) => self.not_yet(label, &format!("`{name}`"), &[]),
            (Some((name, Known::Withhold)), _) => self.not_yet(label, &format!("`{name}`"), &[at]),
            (None, _) => self.unknown_field(label, Some(at), field),
        }
    }

    /// All that guards is known.
    fn guard(&mut self) {
        for (at, guards) in std::mem::take(&mut self.guards) {
            match guards.rules() {
                Ok(rules) => self.labels.aliases[at].access = rules,
                Err((withheld, faults)) => {
                    self.labels.aliases[at].refused.get_or_insert(withheld);
                    for fault in faults {
                        let hint = fault.hint.map_or_else(
                            || "not served until then".to_owned(),
                            |hint| until_then(hint, true),
                        );
                        self.problem(fault.key, fault.message, Some(hint));
                    }
                }
            }
        }
    }

    /// The value is decoded as a route file's is.
    fn read_field(&mut self, label: &Label, at: usize, name: &str, known: Known) {
        let mut said = Settings::new("", Place::Default);
        let decoded = config::labels::set_field(&mut said, name, label.value);
        let alias = &mut self.labels.aliases[at];
        let kept = decoded.and_then(|()| {
            say(&mut alias.scheme, said.scheme, label)?;
            say(&mut alias.host, said.host, label)?;
            say(&mut alias.port, said.port, label)?;
            say(&mut alias.redirect_http, said.redirect_http, label)?;
            let only = |field: &str| (name == field).then_some(());
            say(&mut alias.no_tls_verify, only("no_tls_verify").map(|()| said.tls.no_verify), label)?;
            let server_name = only("ssl_server_name").map(|()| said.tls.server_name);
            say(&mut alias.ssl_server_name, server_name, label)?;
            say(&mut alias.ssl_trusted_certificate, said.tls.trusted, label)?;
            alias.tune(&said.tuning, label)
        });
        if let Err((message, hint)) = kept {
            if known == Known::Tune {
                return self.problem(label.key, message, hint);
            }
            alias.refused.get_or_insert_with(|| misconfigured(label.key, &message));
            self.problem(label.key, message, hint);
        }
    }

    fn unknown_field(&mut self, label: &Label, at: Option<usize>, field: &str) {
        let name = first_of(field);
        if name.is_empty() {
            return self.problem(label.key, "names no field".to_owned(), Some(EXPECTED.to_owned()));
        }
        let near = suggestion(FIELDS, name);
        let message = format!("unknown field `{}`", shown(name));
        let withheld = at.filter(|_| matches!(near, Some((_, Known::Guard | Known::Withhold))));
        if let Some(at) = withheld {
            self.labels.aliases[at].refused.get_or_insert_with(|| misconfigured(label.key, &message));
        }
        let hint = match near {
            Some((near, _)) => format!("did you mean `{near}`?"),
            None => "known are `scheme`, `host` and `port`".to_owned(),
        };
        self.problem(label.key, message, Some(until_then(hint, withheld.is_some())));
    }

    /// A key without a further dot, other than `aliases` and `exclude`.
    fn key(&mut self, label: &Label) {
        let path = label.path;
        if let Some((name, known)) = known(KEYS, path) {
            self.labels.idle |= name == "idle_timeout";
            let all = self.group("*").filter(|_| known == Known::Withhold).unwrap_or_default();
            return self.not_yet(label, &format!("`{name}`"), &all);
        }
        if path.is_empty() {
            return self.problem(label.key, "names nothing".to_owned(), Some(EXPECTED.to_owned()));
        }
        let slot = canonical(path);
        let listed = self.labels.aliases.iter().position(|a| a.slot == slot);
        if let Some(group) = self.group(path) {
            return self.not_yet(label, "YAML in a label", &group);
        }
        if listed.is_some() || label.is_yaml() {
            let at = listed.or_else(|| self.alias(label.key, path));
            return self.not_yet(label, "YAML in a label", at.as_slice());
        }
        self.unknown_key(label);
    }

    /// A slip of the pen must not publish what was to be hidden or guarded.
    fn unknown_key(&mut self, label: &Label) {
        let mut message = format!("unknown key `{}`", shown(label.path));
        let (withheld, hint) = match (known(FIELDS, label.path), suggestion(KEYS, label.path)) {
            (Some((field, known)), _) => {
                message = format!("`{field}` belongs to an alias");
                (!matches!(known, Known::Later | Known::Tune), format!("write `proxy.<alias>.{field}`"))
            }
            (None, Some((key, known))) => {
                (key == "exclude" || known == Known::Withhold, format!("did you mean `{key}`?"))
            }
            (None, None) => (false, EXPECTED.to_owned()),
        };
        if withheld {
            self.refuse_all.get_or_insert_with(|| misconfigured(label.key, &message));
        }
        self.problem(label.key, message, Some(until_then(hint, withheld)));
    }

    /// A problem "not supported yet"; the aliases at `withheld` are not served.
    fn not_yet(&mut self, label: &Label, what: &str, withheld: &[usize]) {
        let message = format!("{what} is not supported yet");
        for at in withheld {
            let reason = format!("label `{}`: {message}", shown(label.key));
            self.labels.aliases[*at].refused.get_or_insert(Target::NotYet { reason });
        }
        let hint = (!withheld.is_empty()).then(|| "not served without it".to_owned());
        self.problem(label.key, message, hint);
    }

    fn problem(&mut self, key: &str, message: String, hint: Option<String>) {
        let place = place::label(self.engine, self.container, key);
        self.labels.problems.push(Problem { place, message, hint });
    }
}

impl AliasLabels {
    fn new(alias: String) -> Self {
        let slot = canonical(&alias);
        AliasLabels {
            alias,
            slot,
            scheme: None,
            host: None,
            port: None,
            redirect_http: None,
            no_tls_verify: None,
            ssl_server_name: None,
            ssl_trusted_certificate: None,
            tuned: Tuned::default(),
            access: None,
            refused: None,
        }
    }

    fn tune(&mut self, said: &Tuning, label: &Label) -> Result<(), (String, Option<String>)> {
        let tuned = &mut self.tuned;
        say(&mut tuned.connect, said.connect_timeout, label)?;
        say(&mut tuned.response_header, said.response_header_timeout, label)?;
        say(&mut tuned.body, said.body_timeout, label)?;
        say(&mut tuned.response_body, said.response_body_timeout, label)?;
        say(&mut tuned.max_conns, said.max_conns_per_host, label)?;
        say(&mut tuned.access_log, said.access_log, label)
    }

    /// What the labels say about the route's connections.
    pub fn tuning(&self) -> Tuning {
        fn value<T: Copy>(said: &Option<Said<T>>) -> Option<T> {
            said.as_ref().map(|said| said.value)
        }
        Tuning {
            connect_timeout: value(&self.tuned.connect),
            response_header_timeout: value(&self.tuned.response_header),
            body_timeout: value(&self.tuned.body),
            response_body_timeout: value(&self.tuned.response_body),
            max_conns_per_host: value(&self.tuned.max_conns),
            access_log: value(&self.tuned.access_log),
        }
    }
}

/// Go's booleans, and what people write in YAML.
fn boolean(value: &str) -> Option<bool> {
    match value.trim().to_ascii_lowercase().as_str() {
        "true" | "t" | "1" | "yes" | "y" | "on" => Some(true),
        "false" | "f" | "0" | "no" | "n" | "off" => Some(false),
        _ => None,
    }
}

/// Keeps the first of two labels for one field (`proxy.App.port` and `proxy.app.port`).
fn say<T: PartialEq>(
    slot: &mut Option<Said<T>>,
    value: Option<T>,
    label: &Label,
) -> Result<(), (String, Option<String>)> {
    match (slot, value) {
        (_, None) => Ok(()),
        (Some(said), Some(value)) if said.value == value => Ok(()),
        (Some(said), Some(_)) => {
            Err((format!("says otherwise than `{}`", said.label), Some("keep one of them".to_owned())))
        }
        (slot, Some(value)) => {
            *slot = Some(Said { value, label: shown(label.key) });
            Ok(())
        }
    }
}

fn misconfigured(key: &str, message: &str) -> Target {
    Target::Misconfigured { reason: format!("label `{}`: {message}", shown(key)) }
}

fn first_of(path: &str) -> &str {
    path.split('.').next().unwrap_or(path)
}

/// The known word that is meant: a slip of the pen away, or begun and not ended (`alias`, `idle`).
fn suggestion(table: &[(&'static str, Known)], name: &str) -> Option<(&'static str, Known)> {
    let begun = |known: &str| name.len() >= 4 && plain(known).starts_with(&plain(name));
    let near = nearest(name, table.iter().map(|(known, _)| *known));
    table.iter().find(|(known, _)| near.map_or_else(|| begun(known), |near| near == *known)).copied()
}

fn until_then(hint: String, withheld: bool) -> String {
    if withheld { format!("{hint} (not served until then)") } else { hint }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_label_can_say_the_fields_that_a_route_file_can() {
        let labels: BTreeSet<&str> = FIELDS.iter().map(|(name, _)| *name).collect();
        let files: BTreeSet<&str> = config::labels::fields().collect();
        assert_eq!(labels, files);
    }
}
