//! The merge key `<<` (YAML 1.1's language-independent type `merge`): what is written wins over what is
//! merged, an earlier source over a later one.

use super::tree::{Content, Fault, Mark, Node, Pair};
use std::rc::Rc;

/// Replaces `<<` entries of `pairs` by the entries of their mappings, behind those that are written. Stops
/// to add beyond `most` entries: the caller refuses them.
pub(super) fn resolve(pairs: Vec<Pair>, faults: &mut Vec<Fault>, most: usize) -> Vec<Pair> {
    if !pairs.iter().any(is_merge) {
        return pairs;
    }
    let (merges, mut kept): (Vec<Pair>, Vec<Pair>) = pairs.into_iter().partition(is_merge);
    for again in merges.iter().skip(1) {
        let Mark { line, column } = merges[0].key.mark;
        let message = format!("duplicate key `<<`, first at {line}:{column}");
        let hint = Some("merge a list: `<<: [*a, *b]`".to_string());
        faults.push(Fault { mark: again.key.mark, message, hint });
    }
    let mut rank = 0;
    for source in sources(&merges[0].value, faults) {
        let first = rank + 1;
        for pair in entries(&source) {
            if kept.len() > most {
                return kept;
            }
            rank = rank.max(first + pair.rank);
            kept.push(Pair { rank: first + pair.rank, ..pair.clone() });
        }
    }
    kept
}

/// A plain `<<` merges; a quoted one is an ordinary key.
fn is_merge(pair: &Pair) -> bool {
    matches!(&pair.key.content, Content::Scalar(key) if key.plain && key.text == "<<")
}

/// The mappings that `<<` names: one, or a list.
fn sources(value: &Rc<Node>, faults: &mut Vec<Fault>) -> Vec<Rc<Node>> {
    let candidates = match &value.content {
        Content::List(items) => items.clone(),
        Content::Scalar(_) | Content::Map(_) => vec![Rc::clone(value)],
    };
    let (maps, others): (Vec<_>, Vec<_>) =
        candidates.into_iter().partition(|node| matches!(node.content, Content::Map(_)));
    for other in others {
        let message = "`<<` merges mappings, this is none".to_string();
        faults.push(Fault { mark: other.mark, message, hint: Some("name an anchor: `<<: *base`".into()) });
    }
    maps
}

fn entries(source: &Node) -> &[Pair] {
    match &source.content {
        Content::Map(pairs) => pairs,
        Content::Scalar(_) | Content::List(_) => &[],
    }
}
