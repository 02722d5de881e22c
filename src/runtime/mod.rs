//! Pinned coroutines, poller, timers and wake-ups: one OS thread per core.
