//! The one thread that decides: engine reports and signals in, snapshots out.
