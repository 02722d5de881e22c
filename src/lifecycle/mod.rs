//! `Idle → Active(n) → Closed`: the lifecycle machine, its mutex shell, leases and the registry.
