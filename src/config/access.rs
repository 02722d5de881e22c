//! Access rules: their keys, and what follows from them.

use super::build::{is_told, too_many};
use super::decode::{Located, Section, Value};
use super::leaf::LeafValue;
use super::names::Name;
use super::schema::{Key, Kind, Leaf, Names, key, not_yet};
use crate::access::{AddressRule, BasicAuth, Rules, User};
use crate::error::{Place, Problem};
use crate::limits;
use crate::util::Cidr;
use std::sync::Arc;

const REFUSAL: u16 = 403;

const STATUS: Key = Key {
    default: "403",
    unit: "400 to 599",
    meaning: "The status of a refusal; `status_code` is another name for it.",
    example: "403",
    also: "status_code",
    ..key("status", Kind::Leaf(Leaf::Integer { min: 400, max: 599 }))
};

const MESSAGE: Key = Key {
    default: "IP not allowed",
    unit: "text on one line",
    meaning: "The body of a refusal.",
    example: "\"IP not allowed\"",
    ..key("message", Kind::Leaf(Leaf::Text))
};

const NETWORKS: &str = "list of networks (10.0.0.0/8) and addresses, or one of them; at most 256";
const NETWORK_LIST: Kind = Kind::OneOrList(Leaf::Network);

const ORDER: Key = Key {
    meaning: "can't be said: the order is fixed",
    example: "it is cidr_blacklist, cidr_whitelist, basic_auth",
    ..not_yet("priority")
};

/// The fields of `middlewares`.
pub(super) static MIDDLEWARES: &[Key] = &[
    Key { meaning: "Networks that are kept out.", ..key("cidr_blacklist", Kind::Optional(BLACKLIST)) },
    Key {
        meaning: "Networks that are let in; everybody else is kept out.",
        ..key("cidr_whitelist", Kind::Optional(WHITELIST))
    },
    Key {
        meaning: "A user name and a password by HTTP Basic (401). Over plain HTTP anybody on the way reads them: \
                  set `redirect_http`.",
        ..key("basic_auth", Kind::Optional(BASIC_AUTH))
    },
    not_yet("redirect_http"),
    not_yet("oidc"),
    not_yet("forward_auth"),
    not_yet("crowdsec"),
    not_yet("request"),
    not_yet("modify_request"),
    not_yet("response"),
    not_yet("modify_response"),
    not_yet("set_x_forwarded"),
    not_yet("hide_x_forwarded"),
    not_yet("modify_html"),
    not_yet("themed"),
    not_yet("error_page"),
    not_yet("custom_error_page"),
    not_yet("real_ip"),
    not_yet("cloudflare_real_ip"),
    not_yet("rate_limit"),
    not_yet("hcaptcha"),
];

static BLACKLIST: &[Key] = &[
    Key {
        default_words: "none, it must be said",
        unit: NETWORKS,
        meaning: "Who is kept out.",
        example: "[192.168.0.66]",
        ..key("deny", NETWORK_LIST)
    },
    STATUS,
    MESSAGE,
    Key {
        meaning: "is not a field of a blacklist",
        example: "write `cidr_whitelist: {allow: [...]}`",
        ..not_yet("allow")
    },
    ORDER,
    not_yet("bypass"),
];

static WHITELIST: &[Key] = &[
    Key {
        default_words: "none, it must be said",
        unit: NETWORKS,
        meaning: "Who is let in.",
        example: "[192.168.0.0/16, \"fd00::/8\"]",
        ..key("allow", NETWORK_LIST)
    },
    STATUS,
    MESSAGE,
    Key {
        meaning: "is not a field of a whitelist",
        example: "write `cidr_blacklist: {deny: [...]}`",
        ..not_yet("deny")
    },
    ORDER,
    not_yet("bypass"),
];

static BASIC_AUTH: &[Key] = &[
    Key {
        default_words: "none, it must be said",
        unit: "name: hash (bcrypt, argon2 or apr1), at most 256",
        meaning: "Who may log in. `tidegate hash` makes a hash of a password; one as it is is not taken.",
        example: "{alice: $2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW}",
        ..key(
            "users",
            Kind::Named { names: Names::User, value: &Kind::Leaf(Leaf::PasswordHash), example: "alice" },
        )
    },
    Key {
        default: "Restricted",
        unit: "printable ASCII",
        meaning: "What browsers show when they ask for the password.",
        example: "Restricted",
        ..key("realm", Kind::Leaf(Leaf::Ascii))
    },
    Key {
        default: "false",
        unit: "true or false",
        meaning: "The upstream is told the name and the password too.",
        example: "false",
        ..key("forward_credentials", Kind::Leaf(Leaf::Bool))
    },
    ORDER,
    not_yet("bypass"),
];

/// The rules of `middlewares`; none if it says none.
pub(super) fn rules(said: Option<&Located>, problems: &mut Vec<Problem>) -> Option<Arc<Rules>> {
    let Some(Located { value: Value::Section(section), .. }) = said else { return None };
    let mut list = |rule, networks| address_rule(section, rule, networks, problems);
    let rules = Rules {
        blacklist: list("cidr_blacklist", "deny"),
        whitelist: list("cidr_whitelist", "allow"),
        basic_auth: basic_auth(section, problems),
    };
    (!rules.is_empty()).then(|| Arc::new(rules))
}

fn address_rule(
    section: &Section,
    rule: &str,
    networks: &str,
    problems: &mut Vec<Problem>,
) -> Option<AddressRule> {
    let Some(Located { place, value: Value::Section(fields) }) = section.get(rule) else { return None };
    let listed = fields.list(networks);
    too_many(listed.iter().map(|item| &item.place), limits::ACCESS_NETWORKS, "networks", problems);
    let network = |item: &Located| match item.value {
        Value::Leaf(LeafValue::Network(network)) => Some(network),
        _ => None,
    };
    let taken: Vec<Cidr> = listed.iter().filter_map(network).take(limits::ACCESS_NETWORKS).collect();
    if taken.is_empty() {
        missing(place, networks, "network", problems);
    }
    let status = match fields.leaf("status") {
        Some(LeafValue::Integer(status)) => u16::try_from(*status).unwrap_or(REFUSAL),
        _ => REFUSAL,
    };
    let message = text(fields, "message");
    Some(AddressRule { networks: taken, status, message })
}

fn basic_auth(section: &Section, problems: &mut Vec<Problem>) -> Option<BasicAuth> {
    let Some(Located { place, value: Value::Section(fields) }) = section.get("basic_auth") else {
        return None;
    };
    let named = fields.named("users");
    too_many(named.iter().map(|(_, located)| &located.place), limits::BASIC_USERS, "users", problems);
    let user = |(name, located): &(Name, Located)| match (name, &located.value) {
        (Name::User(name), Value::Leaf(LeafValue::PasswordHash(hash))) => {
            Some(User { name: name.as_str().into(), hash: hash.clone() })
        }
        _ => None,
    };
    let users: Vec<User> = named.iter().filter_map(user).take(limits::BASIC_USERS).collect();
    if users.is_empty() {
        missing(place, "users", "user", problems);
    }
    let forward = fields.leaf("forward_credentials") == Some(&LeafValue::Bool(true));
    Some(BasicAuth::new(users, &text(fields, "realm"), forward))
}

fn text(fields: &Section, name: &str) -> String {
    match fields.leaf(name) {
        Some(LeafValue::Text(text)) => text.clone(),
        _ => String::new(),
    }
}

/// A rule that names nobody is a mistake, unless what it names was wrong already.
fn missing(place: &Place, field: &str, what: &str, problems: &mut Vec<Problem>) {
    if !is_told(problems, place) {
        problems.push(Problem::new(place.clone(), format!("expected `{field}` with at least one {what}")));
    }
}
