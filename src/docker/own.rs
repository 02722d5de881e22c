//! Which container this program runs in, if any: it must never be routed to itself.
//!
//! The host name alone proves nothing (`--hostname`, `--network host`, compose's `hostname:`), so only
//! what the engine itself put into `/proc` counts.

/// Digits of a container's id.
const ID_DIGITS: usize = 64;
/// Bytes of a file under /proc that are looked at: a host with thousands of mounts has some 500 KB.
const PROC_BYTES: u64 = 4 * 1024 * 1024;

/// The id (64 hex digits) of the container this process runs in; none outside of one.
pub fn own_container_id() -> Option<String> {
    let read = |path: &str| -> Option<String> {
        use std::io::Read;
        let mut text = Vec::new();
        std::fs::File::open(path).ok()?.take(PROC_BYTES).read_to_end(&mut text).ok()?;
        Some(String::from_utf8_lossy(&text).into_owned())
    };
    let mounts = read("/proc/self/mountinfo").and_then(|text| from_mountinfo(&text));
    mounts.or_else(|| read("/proc/self/cgroup").and_then(|text| from_cgroup(&text)))
}

/// From proc_pid_mountinfo(5): engines mount `/etc/hostname`, `/etc/resolv.conf` and `/etc/hosts` from the
/// container's own directory, `…/containers/<id>/hostname` (Docker) or
/// `…/overlay-containers/<id>/userdata/hostname` (Podman). The fourth field is the file, the fifth where it
/// is mounted.
pub fn from_mountinfo(text: &str) -> Option<String> {
    const FILES: [&str; 3] = ["/etc/hostname", "/etc/resolv.conf", "/etc/hosts"];
    text.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(3);
        let (root, mount_point) = (fields.next()?, fields.next()?);
        if !FILES.contains(&mount_point) {
            return None;
        }
        let mut segments = root.split('/').peekable();
        while let Some(segment) = segments.next() {
            if (segment == "containers" || segment.ends_with("-containers"))
                && let Some(id) = segments.peek().filter(|id| is_id(id))
            {
                return Some((*id).to_owned());
            }
        }
        None
    })
}

/// From proc_pid_cgroup(5): the last id in the path, `/docker/<id>`, `…/docker-<id>.scope` or
/// `…/libpod-<id>.scope[/container]`. With a cgroup namespace (the default of cgroup v2) the path is `/`
/// and tells nothing.
pub fn from_cgroup(text: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let path = line.splitn(3, ':').nth(2)?;
        // Kubernetes' pods and other people's scopes have hex names too: the engine's own must be there.
        let ours = |segment: &str, before: Option<&str>| -> Option<String> {
            let bare = segment.strip_suffix(".scope").unwrap_or(segment);
            let id = match bare.strip_prefix("docker-").or_else(|| bare.strip_prefix("libpod-")) {
                Some(id) => id,
                None if matches!(before, Some("docker" | "libpod_parent")) => bare,
                None => return None,
            };
            is_id(id).then(|| id.to_owned())
        };
        let segments: Vec<&str> = path.split('/').collect();
        (0..segments.len()).rev().find_map(|at| {
            let before = at.checked_sub(1).map(|before| segments[before]);
            ours(segments[at], before)
        })
    })
}

fn is_id(text: &str) -> bool {
    text.len() == ID_DIGITS && text.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3f4e8a0b1c2d3e4f5a6b7c8d9e0f1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b";
    const OTHER: &str = "aaaaaaaa1c2d3e4f5a6b7c8d9e0f1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b";

    #[test]
    fn docker_mounts_tell_the_id() {
        let text = format!(
            "612 540 0:52 / / rw,relatime - overlay overlay rw,lowerdir=/var/lib/docker/overlay2/l/X\n\
             620 612 8:1 /var/lib/docker/containers/{OTHER}/x /data rw - ext4 /dev/sda1 rw\n\
             621 612 8:1 /var/lib/docker/containers/{ID}/resolv.conf /etc/resolv.conf rw - ext4 /dev/sda1 rw\n\
             622 612 8:1 /var/lib/docker/containers/{ID}/hostname /etc/hostname rw - ext4 /dev/sda1 rw\n"
        );
        assert_eq!(from_mountinfo(&text).as_deref(), Some(ID));
    }

    #[test]
    fn a_private_data_root_and_podman_tell_it_too() {
        let own_root = format!("1 2 0:9 /engine/root/containers/{ID}/hosts /etc/hosts rw - tmpfs t rw\n");
        assert_eq!(from_mountinfo(&own_root).as_deref(), Some(ID));
        let podman = format!(
            "1 2 0:9 /containers/storage/overlay-containers/{ID}/userdata/hostname /etc/hostname rw - t t rw\n"
        );
        assert_eq!(from_mountinfo(&podman).as_deref(), Some(ID), "its outer `containers` is not the one");
    }

    #[test]
    fn the_host_is_no_container() {
        let host = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
                    23 22 0:21 / /proc rw - proc proc rw\n";
        assert_eq!(from_mountinfo(host), None);
        assert_eq!(from_mountinfo(""), None);
        assert_eq!(from_mountinfo("x\n1 2 3\n"), None);
    }

    #[test]
    fn cgroups_of_both_versions_and_of_podman() {
        let v1 = format!("12:memory:/docker/{ID}\n1:name=systemd:/docker/{ID}\n0::/system.slice\n");
        assert_eq!(from_cgroup(&v1).as_deref(), Some(ID));
        let v2_host_namespace = format!("0::/system.slice/docker-{ID}.scope\n");
        assert_eq!(from_cgroup(&v2_host_namespace).as_deref(), Some(ID));
        let nested = format!("0::/docker/{OTHER}/docker/{ID}/init\n");
        assert_eq!(from_cgroup(&nested).as_deref(), Some(ID), "the innermost is ours");
        let podman = format!("0::/machine.slice/libpod-{ID}.scope/container\n");
        assert_eq!(from_cgroup(&podman).as_deref(), Some(ID));
        let rootless =
            format!("0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope\n");
        assert_eq!(from_cgroup(&rootless).as_deref(), Some(ID));
    }

    #[test]
    fn what_is_no_container_of_ours_gives_none() {
        assert_eq!(from_cgroup("0::/\n"), None);
        assert_eq!(from_cgroup("0::/user.slice/user-1000.slice/session-2.scope\n"), None);
        assert_eq!(from_cgroup(&format!("0::/kubepods/pod1/{ID}\n")), None);
        assert_eq!(from_cgroup("0::/docker/short\n"), None);
        assert_eq!(from_cgroup("nonsense"), None);
    }
}
