//! Image references: `[registry[:port]/][author/]name[:tag][@digest]`.

/// An image reference in its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image<'a> {
    /// All before the name, with the registry (`ghcr.io/tensorchord`, `registry:5000`) unless that is
    /// Docker Hub; `library` for Docker Hub's own images; empty for a bare image id.
    pub author: &'a str,
    /// The last part of the path (`pgvecto-rs`); empty for a bare image id.
    pub name: &'a str,
    /// The tag; `latest` if neither a tag nor a digest was said, none beside a digest.
    pub tag: Option<&'a str>,
}

impl<'a> Image<'a> {
    /// Takes `reference` apart (grammar: distribution/reference). Never fails: what is no reference is
    /// all name.
    pub fn parse(reference: &'a str) -> Image<'a> {
        let reference = reference.trim();
        if is_image_id(reference) {
            return Image { author: "", name: "", tag: None };
        }
        let (path, digest) = match reference.split_once('@') {
            Some((path, digest)) => (path, Some(digest)),
            None => (reference, None),
        };
        // The tag's colon stands behind the last slash, the registry's port before one.
        let name_at = path.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match path[name_at..].split_once(':') {
            Some((name, tag)) => (name, Some(tag)),
            None => (&path[name_at..], digest.is_none().then_some("latest")),
        };
        let author = path[..name_at].trim_end_matches('/');
        Image { author: without_docker_hub(author), name, tag }
    }

    /// The author without a public registry before it: `ghcr.io/browserless` is `browserless`. A private
    /// registry stays, its directories mean nothing to us.
    pub fn public_author(&self) -> &'a str {
        let public = ["ghcr.io/", "quay.io/"];
        public.iter().find_map(|registry| self.author.strip_prefix(registry)).unwrap_or(self.author)
    }
}

fn without_docker_hub(author: &str) -> &str {
    let hub = ["docker.io", "index.docker.io", "registry-1.docker.io"];
    match author.split_once('/') {
        _ if author.is_empty() || hub.contains(&author) => "library",
        Some((registry, rest)) if hub.contains(&registry) => rest,
        _ => author,
    }
}

/// `sha256:` and 64 digits: what an engine shows for an image whose name went to another.
fn is_image_id(reference: &str) -> bool {
    let digits = reference.strip_prefix("sha256:").unwrap_or("");
    digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_references_apart() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let cases = [
            ("ghcr.io/tensorchord/pgvecto-rs", "ghcr.io/tensorchord", "pgvecto-rs", Some("latest")),
            ("redis:7.4.0-alpine", "library", "redis", Some("7.4.0-alpine")),
            ("grafana/grafana", "grafana", "grafana", Some("latest")),
            ("registry:5000/x", "registry:5000", "x", Some("latest")),
            ("registry.local:5000/team/app:1.2", "registry.local:5000/team", "app", Some("1.2")),
            ("localhost/app", "localhost", "app", Some("latest")),
            ("docker.io/library/redis:7", "library", "redis", Some("7")),
            ("docker.io/redis", "library", "redis", Some("latest")),
            ("index.docker.io/selenium/hub", "selenium", "hub", Some("latest")),
            ("", "library", "", Some("latest")),
            ("a/", "a", "", Some("latest")),
        ];
        for (reference, author, name, tag) in cases {
            assert_eq!(Image::parse(reference), Image { author, name, tag }, "{reference}");
        }
        let pinned = format!("registry:5000/redis@{digest}");
        assert_eq!(Image::parse(&pinned), Image { author: "registry:5000", name: "redis", tag: None });
        let both = format!("redis:7@{digest}");
        assert_eq!(Image::parse(&both), Image { author: "library", name: "redis", tag: Some("7") });
        assert_eq!(Image::parse(&digest), Image { author: "", name: "", tag: None });
    }

    #[test]
    fn a_public_registry_is_no_author() {
        assert_eq!(Image::parse("ghcr.io/browserless/chromium").public_author(), "browserless");
        assert_eq!(Image::parse("selenium/hub").public_author(), "selenium");
        assert_eq!(Image::parse("registry:5000/docker/app").public_author(), "registry:5000/docker");
    }
}
