//! Facts by which a port and a scheme are chosen where nobody said them (GoDoxy's tables).

/// What a service speaks on its known port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
    /// A protocol of its own over TCP: a database, a game.
    Tcp,
}

/// The port that a known service listens on, and what it speaks there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// The protocol.
    pub speaks: Speaks,
    /// The port in the container.
    pub port: u16,
}

/// Ports that web applications like, best first.
pub const PREFERRED: [u16; 6] = [80, 8080, 3000, 8000, 443, 8443];

/// The known port of an image, by the last part of its name ([`super::image::Image::name`]).
pub fn by_image(name: &str) -> Option<Known> {
    http_image(name).or_else(|| tcp_image(name))
}

/// The known port of a service by its alias (canonical).
pub fn by_alias(alias: &str) -> Option<Known> {
    match alias {
        "portainer" => known(Speaks::Https, 9443),
        "crafty" => known(Speaks::Https, 8080),
        _ => None,
    }
}

/// The best of `ports`: the first of [`PREFERRED`] among them, else the lowest.
pub fn best(ports: impl IntoIterator<Item = u16>) -> Option<u16> {
    let rank = |port: &u16| PREFERRED.iter().position(|p| p == port).unwrap_or(PREFERRED.len());
    ports.into_iter().min_by_key(|port| (rank(port), *port))
}

/// True for a port whose number says TLS: 443, 8443, 9443, 10443, ...
pub fn looks_like_tls(port: u16) -> bool {
    port % 1000 == 443
}

fn http_image(name: &str) -> Option<Known> {
    let port = match name {
        "portainer-be" | "portainer-ce" => return known(Speaks::Https, 9443),
        "adguardhome" | "changedetection.io" | "gitea" | "gogs" | "grafana" => 3000,
        "bazarr" => 6767,
        "calibre-web" => 8083,
        "dockge" => 5001,
        "home-assistant" => 8123,
        "homebridge" => 8581,
        "httpd" | "nginx" | "rss-bridge" => 80,
        "immich" | "uptime-kuma" => 3001,
        "jellyfin" => 8096,
        "lidarr" => 8686,
        "microbin" | "open-webui" => 8080,
        "nginx-proxy-manager" => 81,
        "plex" => 32400,
        "prometheus" => 9090,
        "prowlarr" => 9696,
        "radarr" | "radarr-sma" => 7878,
        "rsshub" => 1200,
        "sonarr" | "sonarr-sma" => 8989,
        "whisparr" => 6969,
        _ => return None,
    };
    known(Speaks::Http, port)
}

fn tcp_image(name: &str) -> Option<Known> {
    let port = match name {
        "mssql" => 1433,
        "mysql" | "mariadb" => 3306,
        "postgres" | "pgvecto-rs" | "pgvector" => 5432,
        "rabbitmq" => 5672,
        "redis" => 6379,
        "memcached" => 11211,
        "mongo" => 27017,
        "minecraft-server" => 25565,
        _ => return None,
    };
    known(Speaks::Tcp, port)
}

fn known(speaks: Speaks, port: u16) -> Option<Known> {
    Some(Known { speaks, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preferred_port_beats_the_lowest() {
        assert_eq!(best([22, 1000, 3000]), Some(3000));
        assert_eq!(best([8443, 443, 8000]), Some(8000));
        assert_eq!(best([9000, 7000]), Some(7000));
        assert_eq!(best([8080]), Some(8080));
        assert_eq!(best([]), None);
    }

    #[test]
    fn tls_by_number() {
        assert!([443, 8443, 9443, 10443].into_iter().all(looks_like_tls));
        assert!(![80, 4430, 4443 + 1, 8080].into_iter().any(looks_like_tls));
    }
}
