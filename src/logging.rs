//! Logging never blocks a core: lines go over a bounded queue to one writer thread.
