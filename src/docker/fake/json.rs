//! Docker's JSON, shaped as Docker 20.10's: what it leaves out has no meaning for a proxy.

use super::clock;
use super::spec::Options;
use super::world::{Container, Status, network_id};
use serde_json::{Map, Value, json};
use std::net::Ipv4Addr;

/// Docker's zero time.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// `GET /version`.
pub(super) fn version(options: &Options) -> Value {
    json!({
        "Platform": { "Name": "" },
        "Components": [],
        "Version": options.server_version,
        "ApiVersion": options.api_version,
        "MinAPIVersion": options.min_api_version,
        "GitCommit": "fake",
        "GoVersion": "go1.19.8",
        "Os": "linux",
        "Arch": arch(),
        "KernelVersion": "fake",
        "BuildTime": "2023-04-10T00:00:00.000000000+00:00",
    })
}

/// `GET /info`.
pub(super) fn info<'c>(options: &Options, containers: impl Iterator<Item = &'c Container>) -> Value {
    let mut counts = [0_usize; 3];
    for container in containers {
        counts[match container.status {
            Status::Running => 0,
            Status::Paused => 1,
            Status::Created | Status::Exited => 2,
        }] += 1;
    }
    json!({
        "ID": "FAKE:FAKE:FAKE:FAKE:FAKE:FAKE:FAKE:FAKE:FAKE:FAKE:FAKE:FAKE",
        "Containers": counts.iter().sum::<usize>(),
        "ContainersRunning": counts[0],
        "ContainersPaused": counts[1],
        "ContainersStopped": counts[2],
        "Images": 0,
        "Driver": "overlay2",
        "DriverStatus": [],
        "SystemTime": clock::rfc3339(clock::wall_nanos()),
        "LoggingDriver": "json-file",
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": "2",
        "KernelVersion": "fake",
        "OperatingSystem": "Tidegate's fake engine",
        "OSType": "linux",
        "Architecture": arch(),
        "NCPU": 1,
        "MemTotal": 1_073_741_824,
        "Name": "fake",
        "Labels": [],
        "ServerVersion": options.server_version,
        "DefaultRuntime": "runc",
        "Swarm": { "NodeID": "", "NodeAddr": "", "LocalNodeState": "inactive", "ControlAvailable": false,
                   "Error": "", "RemoteManagers": null },
        "LiveRestoreEnabled": options.live_restore,
        "Warnings": null,
    })
}

fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// An element of `GET /containers/json`.
pub(super) fn summary(container: &Container, gateway: Ipv4Addr) -> Value {
    let network_mode = mode(container);
    json!({
        "Id": container.id,
        "Names": [format!("/{}", container.spec.name)],
        "Image": container.spec.image,
        "ImageID": format!("sha256:{}", network_id(&container.spec.image)),
        "Command": "serve",
        "Created": container.created / 1_000_000_000,
        "Ports": summary_ports(container),
        "Labels": container.spec.labels,
        "State": container.status.as_str(),
        "Status": status_line(container),
        "HostConfig": { "NetworkMode": network_mode },
        "NetworkSettings": { "Networks": networks(container, gateway) },
        "Mounts": mounts(container),
    })
}

/// `GET /containers/{id}/json`.
pub(super) fn inspect(container: &Container, gateway: Ipv4Addr) -> Value {
    let time = |at: Option<i64>| at.map_or_else(|| NEVER.to_owned(), clock::rfc3339);
    let up = container.status.is_up();
    let address = container.ip.filter(|_| up).map(|ip| ip.to_string()).unwrap_or_default();
    json!({
        "Id": container.id,
        "Created": clock::rfc3339(container.created),
        "Path": "serve",
        "Args": [],
        "State": {
            "Status": container.status.as_str(),
            "Running": up,
            "Paused": container.status == Status::Paused,
            "Restarting": false,
            "OOMKilled": false,
            "Dead": false,
            "Pid": if up { i64::from(std::process::id()) } else { 0 },
            "ExitCode": container.exit_code,
            "Error": "",
            "StartedAt": time(container.started_at),
            "FinishedAt": time(container.finished_at),
        },
        "Image": format!("sha256:{}", network_id(&container.spec.image)),
        "Name": format!("/{}", container.spec.name),
        "RestartCount": 0,
        "Driver": "overlay2",
        "Platform": "linux",
        "HostConfig": {
            "NetworkMode": mode(container),
            "RestartPolicy": { "Name": container.spec.policy.as_str(), "MaximumRetryCount": 0 },
            "PortBindings": bindings(container, false),
            "AutoRemove": false,
        },
        "Mounts": mounts(container),
        "Config": {
            "Hostname": &container.id[..12],
            "Env": [],
            "Cmd": ["serve"],
            "Image": container.spec.image,
            "ExposedPorts": exposed(container).into_iter().map(|p| (p, json!({}))).collect::<Map<_, _>>(),
            "Labels": container.spec.labels,
        },
        "NetworkSettings": {
            "Bridge": "",
            "Ports": if up && !container.host_network() { bindings(container, true) } else { json!({}) },
            "Gateway": if address.is_empty() { String::new() } else { gateway.to_string() },
            "IPAddress": if container.spec.network == "bridge" { address.clone() } else { String::new() },
            "IPPrefixLen": if address.is_empty() { 0 } else { 20 },
            "MacAddress": "",
            "GlobalIPv6Address": "",
            "Networks": networks(container, gateway),
        },
    })
}

/// `HostConfig.NetworkMode`: the default bridge is called `default` there.
fn mode(container: &Container) -> &str {
    match container.spec.network.as_str() {
        "bridge" => "default",
        other => other,
    }
}

fn networks(container: &Container, gateway: Ipv4Addr) -> Value {
    let up = container.status.is_up();
    let ip = container.ip.filter(|_| up);
    let joined = up || container.status == Status::Exited;
    let network = json!({
        "IPAMConfig": null,
        "Links": null,
        "Aliases": null,
        "NetworkID": if joined { network_id(&container.spec.network) } else { String::new() },
        "EndpointID": if up { network_id(&container.id) } else { String::new() },
        "Gateway": if ip.is_some() { gateway.to_string() } else { String::new() },
        "IPAddress": ip.map(|ip| ip.to_string()).unwrap_or_default(),
        "IPPrefixLen": if ip.is_some() { 20 } else { 0 },
        "IPv6Gateway": "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "MacAddress": "",
        "DriverOpts": null,
    });
    json!({ container.spec.network.as_str(): network })
}

/// The exposed ports as Docker writes them, `80/tcp`: those of the image, the page's, the published ones.
fn exposed(container: &Container) -> Vec<String> {
    let mut ports = container.spec.exposed.clone();
    ports.extend(container.spec.page.as_ref().map(|_| format!("{}/tcp", container.port)));
    ports.extend(container.spec.published.iter().map(|(private, _)| format!("{private}/tcp")));
    ports.sort();
    ports.dedup();
    ports
}

/// `Ports` of a list: empty while it doesn't run, and on the host network.
fn summary_ports(container: &Container) -> Value {
    if !container.status.is_up() || container.host_network() {
        return json!([]);
    }
    let mut ports = Vec::new();
    for port in exposed(container) {
        let (number, protocol) = port.split_once('/').unwrap_or((&port, "tcp"));
        let private: u16 = number.parse().unwrap_or(0);
        let public = container.spec.published.iter().find(|(p, _)| *p == private && protocol == "tcp");
        match public {
            // Docker lists a published port twice.
            Some((_, public)) => ports.extend(["0.0.0.0", "::"].map(
                |ip| json!({ "IP": ip, "PrivatePort": private, "PublicPort": public, "Type": protocol }),
            )),
            None => ports.push(json!({ "PrivatePort": private, "Type": protocol })),
        }
    }
    Value::Array(ports)
}

/// `HostConfig.PortBindings`, and with `all` `NetworkSettings.Ports`.
fn bindings(container: &Container, all: bool) -> Value {
    let mut map = Map::new();
    if all {
        map.extend(exposed(container).into_iter().map(|port| (port, Value::Null)));
    }
    for (private, public) in &container.spec.published {
        let ips: &[&str] = if all { &["0.0.0.0", "::"] } else { &[""] };
        let bind = |ip: &&str| json!({ "HostIp": ip, "HostPort": public.to_string() });
        map.insert(format!("{private}/tcp"), ips.iter().map(bind).collect());
    }
    Value::Object(map)
}

fn mounts(container: &Container) -> Value {
    let mount = |destination: &String| {
        json!({ "Type": "bind", "Source": "/fake", "Destination": destination, "Mode": "", "RW": true,
                "Propagation": "rprivate" })
    };
    container.spec.mounts.iter().map(mount).collect()
}

/// `Up 3 seconds`, `Exited (137) 3 seconds ago`, `Created`.
fn status_line(container: &Container) -> String {
    let ago = |at: Option<i64>| {
        let seconds = at.map_or(0, |at| (clock::wall_nanos() - at) / 1_000_000_000);
        match seconds {
            ..1 => "Less than a second".to_owned(),
            1 => "1 second".to_owned(),
            2..60 => format!("{seconds} seconds"),
            60..120 => "About a minute".to_owned(),
            120..3600 => format!("{} minutes", seconds / 60),
            _ => format!("{} hours", seconds / 3600),
        }
    };
    match container.status {
        Status::Created => "Created".to_owned(),
        Status::Running => format!("Up {}", ago(container.started_at)),
        Status::Paused => format!("Up {} (Paused)", ago(container.started_at)),
        Status::Exited => format!("Exited ({}) {} ago", container.exit_code, ago(container.finished_at)),
    }
}
